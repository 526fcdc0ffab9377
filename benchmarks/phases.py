"""CPU-seconds and floating-point operations of the network's phases, by watching its modules from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
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


def phases(model: Any, encode: Callable[[], Any], decode: Callable[[Any], Any], rounds: int) -> dict[str, Any]:
    """Per phase the least CPU-seconds of ``rounds`` and GFLOP; the encoder is what is left of encoding."""
    modules = {"stem": [model.backbone], "mediators": [getattr(model, name) for name in MEDIATORS]}

    def once(meter: Callable[[], float]) -> dict[str, float]:
        with watched(modules, meter) as spent:
            begin = meter()
            encoded = encode()
            middle = meter()
            decode(encoded)
            end = meter()
        encoder = middle - begin - sum(spent.values())
        return {"stem": spent["stem"], "encoder": encoder, "mediators": spent["mediators"], "decoder": end - middle}

    times = [once(time.process_time) for _ in range(rounds + 1)][1:]
    counter = FlopCounterMode(display=False)
    # Fused attention on a CPU is not counted; its plain form does the same products.
    with counter, sdpa_kernel(SDPBackend.MATH):
        flops = once(lambda: float(counter.get_total_flops()))
    return {
        phase: {"cpu_s": min(each[phase] for each in times), "gflop": flops[phase] / 1e9, "read_gb": 0.0}
        for phase in flops
    }


def decoder_traffic_gb(model: Any, num_studies: int, num_steps: int) -> float:
    """GB that decoding has to read: every step the weights it uses and the encoded studies' keys and values.

    One core's cache holds neither. The weights that make those keys and values are read once and left out.
    """
    weights = sum(weight.numel() for weight in model.decoder.parameters())
    for layer in model.decoder.layers:
        weights -= sum(
            w.numel() for part in ("key", "value") for w in getattr(layer.cross_attention, part).parameters()
        )
    num_patches = model.get_buffer("patch_positions_PD").shape[0]
    memory = num_studies * len(model.decoder.layers) * 2 * (1 + 2 * num_patches) * model.config.dim
    return float(4 * (weights + memory) * num_steps / 1e9)


def no_grad(call: Callable[..., Any]) -> Callable[..., Any]:
    """``call`` without gradients."""
    return torch.no_grad()(call)
