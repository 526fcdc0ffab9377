"""Where the time of drafting goes: the network's phases, the search around it and the text, watched from outside.

Shape legend: B studies, W beams, T tokens, U vocabulary, D width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

MEDIATORS = (
    "local_sampling",
    "global_sampling",
    "fusion",
    "visual_front_door",
    "linguistic_mediator",
)
NUM_BEAMS = 3


@dataclass(frozen=True)
class Stage:
    """One stage of drafting a batch.

    Attributes:
        cpu_s: CPU-seconds it took.
        gflop: operations of its products, counted by torch.
        moved_gb: what it has to read and write at least, in 10^9 bytes, where no cache holds it.
        kind: which rate its products are held against: ``conv`` or ``gemm``.
        floor_s: CPU-seconds of somebody else's code that does the same alone, where that is the floor; else None.
    """

    cpu_s: float
    gflop: float = 0.0
    moved_gb: float = 0.0
    kind: str = "gemm"
    floor_s: float | None = None

    def floor(self, speed: dict[str, float]) -> float:
        """CPU-seconds that this machine needs for it at its own best rates.

        Args:
            speed: see ``published_size.machine_speed``.
        """
        if self.floor_s is not None:
            return self.floor_s
        return max(self.gflop / speed[f"{self.kind}_gflops"], self.moved_gb / speed["read_gb_per_s"])


class Timed:
    """A network whose ``start``, ``step`` and ``reorder`` are watched.

    Args:
        model: the network.
        meter: what grows while something is done: CPU-seconds, or operations.
    """

    def __init__(self, model: Any, meter: Callable[[], float]) -> None:
        self._model = model
        self._meter = meter
        self.spent = {"start": 0.0, "step": 0.0, "reorder": 0.0}

    def _watch(self, name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        before = self._meter()
        made = call(*arguments)
        self.spent[name] += self._meter() - before
        return made

    def start(self, batch: Any) -> Any:
        """See ``Decodable``."""
        return self._watch("start", self._model.start, batch)

    def step(self, state: Any, token_ids_BW: Any) -> Any:
        """See ``Decodable``."""
        return self._watch("step", self._model.step, state, token_ids_BW)

    def reorder(self, state: Any, studies_C: Any, parents_CW: Any) -> Any:
        """See ``Decodable``."""
        return self._watch("reorder", self._model.reorder, state, studies_C, parents_CW)


@contextmanager
def watched(modules: dict[str, list[nn.Module]], meter: Callable[[], float]) -> Iterator[dict[str, float]]:
    """Inside, what ``meter`` grows by during the forward passes of each phase's modules is added up per phase."""
    spent = dict.fromkeys(modules, 0.0)
    handles = []
    for phase, parts in modules.items():
        for part in parts:

            def enter(*_: Any, phase: str = phase) -> None:
                spent[phase] -= meter()

            def leave(*_: Any, phase: str = phase) -> None:
                spent[phase] += meter()

            handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave)]
    try:
        yield spent
    finally:
        for handle in handles:
            handle.remove()


def stages_of(model: Any, generate: Callable[[Any], None], *, num_studies: int, num_tokens: int, rounds: int) -> Any:
    """Stage -> what it took of one batch, the least of several rounds, beside what it has to do.

    Args:
        model: VLCI.
        generate: drafts the batch with the network it is handed.
        num_studies: B.
        num_tokens: T steps.
        rounds: measured, after a warm-up.
    """
    modules = {
        "stem": [model.backbone],
        "mediators": [getattr(model, name) for name in MEDIATORS],
        "vocabulary projection": [model.decoder.logit],
    }

    def once(meter: Callable[[], float]) -> dict[str, float]:
        with watched(modules, meter) as inside:
            timed = Timed(model, meter)
            before = meter()
            generate(timed)
            whole = meter() - before
        spent = timed.spent
        return {
            "stem": inside["stem"],
            "encoder": spent["start"] - inside["stem"] - inside["mediators"],
            "mediators": inside["mediators"],
            "decoder": spent["step"] - inside["vocabulary projection"],
            "vocabulary projection": inside["vocabulary projection"],
            "beams": whole - spent["start"] - spent["step"],
        }

    times = [once(time.process_time) for _ in range(rounds + 1)][1:]
    counter = FlopCounterMode(display=False)
    # Fused attention on a CPU is not counted; its plain form does the same products.
    with counter, sdpa_kernel(SDPBackend.MATH):
        flops = once(lambda: float(counter.get_total_flops()))
    moved = _traffic_gb(model, num_studies, num_tokens)
    return {
        name: Stage(
            min(each[name] for each in times),
            flops[name] / 1e9,
            moved.get(name, 0.0),
            "conv" if name == "stem" else "gemm",
        )
        for name in flops
    }


def _traffic_gb(model: Any, num_studies: int, num_tokens: int) -> dict[str, float]:
    """10^9 bytes that the steps have to move: weights, keys and values of studies, log-probabilities.

    One core's cache holds none of them. The weights that make a study's keys and values are read once and left out; so
    are the words' keys and values, which are few.
    """
    projection = sum(weight.numel() for weight in model.decoder.logit.parameters())
    weights = sum(weight.numel() for weight in model.decoder.parameters()) - projection
    for layer in model.decoder.layers:
        weights -= sum(
            w.numel() for part in ("key", "value") for w in getattr(layer.cross_attention, part).parameters()
        )
    num_patches = model.get_buffer("patch_positions_PD").shape[0]
    memory = num_studies * len(model.decoder.layers) * 2 * (1 + 2 * num_patches) * model.config.dim
    log_probs = num_studies * NUM_BEAMS * model.decoder.logit.weight.shape[0]
    per_step = {
        "decoder": weights + memory + log_probs,  # the softmax writes the log-probabilities
        "vocabulary projection": projection + log_probs,
        "beams": log_probs,
    }
    return {name: 4 * count * num_tokens / 1e9 for name, count in per_step.items()}
