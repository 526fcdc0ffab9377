"""A GPU at the published size: studies per second of training and drafting, beside what the chip was measured to reach.

``python benchmarks/gpu.py --json gpu.json`` (a few minutes; ``--tiny --device cpu`` only shows that it runs). Random
weights and images, 224 px, two views, 60 tokens, beam 3 and no early stop; decoding of image files is not part.
FLOP are counted by torch; the ceilings are a large matrix product and a large copy of the same process.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from published_size import BOS, EOS, NEVER, PUBLISHED, TINY, Size, build, make_batch, table
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from radwright.decoding.config import Beam, DecodingConfig
from radwright.decoding.generate import Progress, Rules, Writer, advance, generate
from radwright.decoding.graphs import Recorder, recorder, write_together
from radwright.methods.objectives import TeacherForcing, TeacherForcingConfig
from radwright.training.feeding import feed
from radwright.training.optim import OptimizerConfig, make_optimizer
from radwright.types import Decodable

WIDTH = 3
"""Beams."""


class Arithmetic(NamedTuple):
    """How products are computed, and the measured product that is their ceiling."""

    bf16: bool
    tf32_convolutions: bool
    tf32_products: bool
    ceiling: str


ARITHMETIC = {
    "fp32": Arithmetic(False, False, False, "fp32"),
    "fp32, TF32 convolutions": Arithmetic(False, True, False, "tf32"),
    "bf16": Arithmetic(True, True, False, "bf16"),
}
"""The second is what PyTorch does unless it is told otherwise, and so does Radwright with ``precision: fp32``."""


@contextmanager
def computing(how: Arithmetic, device: torch.device) -> Iterator[None]:
    torch.backends.cudnn.allow_tf32 = how.tf32_convolutions
    torch.backends.cuda.matmul.allow_tf32 = how.tf32_products
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=how.bf16):
        yield


class Clock:
    """Seconds per call on one device, and what it reaches."""

    def __init__(self, device: torch.device, tiny: bool) -> None:
        self.device, self.tiny = device, tiny

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, call: Callable[[], Any], *, rounds: int = 5, warm_up: int = 2) -> float:
        """Median; the device has finished before and after each call."""
        taken = []
        for number in range(warm_up + rounds):
            self.wait()
            start_s = time.perf_counter()
            call()
            self.wait()
            if number >= warm_up:
                taken.append(time.perf_counter() - start_s)
        return statistics.median(taken)

    def peak_gb(self, call: Callable[[], Any]) -> float:
        """Most device memory taken during a call, weights and all."""
        if self.device.type != "cuda":
            return 0.0
        torch.cuda.reset_peak_memory_stats()
        call()
        return round(torch.cuda.max_memory_allocated() / 1e9, 2)

    def product_rate(self, how: Arithmetic) -> float:
        """TFLOP/s of a square matrix product of random numbers."""
        side = 128 if self.tiny else 8192
        dtype = torch.bfloat16 if how.bf16 else torch.float32
        left, right = (torch.randn(side, side, device=self.device, dtype=dtype) for _ in range(2))
        torch.backends.cuda.matmul.allow_tf32 = how.tf32_products
        return 2 * side**3 / self.seconds(lambda: left @ right, rounds=9) / 1e12

    def ceilings(self) -> dict[str, float]:
        """TFLOP/s of products, TB/s of a copy (read and written)."""
        numbers = torch.randn(1 << (16 if self.tiny else 30), device=self.device)
        target = torch.empty_like(numbers)
        copied = 2 * numbers.numel() * 4 / self.seconds(lambda: target.copy_(numbers), rounds=9) / 1e12
        kinds = {
            "fp32": Arithmetic(False, False, False, ""),
            "tf32": Arithmetic(False, True, True, ""),
            "bf16": Arithmetic(True, True, False, ""),
        }
        return {"copy": copied} | {name: self.product_rate(how) for name, how in kinds.items()}


def counted_tflop(call: Callable[[], Any]) -> float:
    """Fused attention is not always counted; its plain form does the same products."""
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        call()
    return counter.get_total_flops() / 1e12


def training(clock: Clock, size: Size, how: Arithmetic, num_studies: int, *, fed: bool) -> dict[str, float]:
    """Studies per second of whole optimiser steps, the loss read at each; ``fed``: batches come from the host."""
    device = clock.device
    objective = TeacherForcing(build(size), TeacherForcingConfig()).to(device).train()
    optimizer = make_optimizer(objective, OptimizerConfig())
    host = make_batch(size, num_studies)
    resident, count = host.to(device), objective.counts(host)["report"]

    def step(batch: Any) -> None:
        optimizer.zero_grad(set_to_none=True)
        with computing(how, device):
            loss = objective(batch)["report"] / count
        loss.backward()
        optimizer.step()
        loss.item()

    def epoch() -> None:
        for each in feed(([host] for _ in range(10)), device):
            step(each.device[0])

    def forward_backward() -> None:
        with computing(how, device):
            loss = objective(resident)["report"]
        loss.backward()

    step(resident)
    peak = clock.peak_gb(lambda: step(resident))
    tflop = counted_tflop(forward_backward)
    seconds = clock.seconds(epoch, rounds=1, warm_up=0) / 10 if fed else clock.seconds(lambda: step(resident), rounds=7)
    return {"studies_per_s": num_studies / seconds, "ms": 1e3 * seconds, "tflop": tflop, "peak_gb": peak}


def by_token(model: Decodable, progress: Progress, rules: Rules) -> Progress:
    """The ``Writer`` that looks at every token."""
    while progress.rows:
        progress = advance(model, progress, rules)
    return progress


class Encoded:
    """A network started from studies that are encoded already."""

    def __init__(self, model: Any, encoded: Any) -> None:
        self.model, self.encoded = model, encoded

    def start(self, batch: Any) -> Any:
        return self.model.start_from(self.encoded)

    def step(self, state: Any, token_ids_BW: torch.Tensor) -> Any:
        return self.model.step(state, token_ids_BW)

    def reorder(self, state: Any, studies_C: torch.Tensor | None, parents_CW: torch.Tensor) -> Any:
        return self.model.reorder(state, studies_C, parents_CW)


def waits(device: torch.device, call: Callable[[], Any]) -> int:
    """How often the host waits for the device in a call."""
    if device.type != "cuda":
        return 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        call()
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(each.message) for each in caught)


def drafting(
    clock: Clock, size: Size, model: Any, how: Arithmetic, num_studies: int, rates: dict[str, float]
) -> list[dict[str, Any]]:
    """Seconds of encoding and of decoding for each way to run the steps, beside their floor."""
    device, batch = clock.device, make_batch(size, num_studies).to(clock.device)
    # EOS only at the last token: every study takes all steps with three live beams.
    beam = Beam(num_beams=WIDTH, early_stop=False)
    config = DecodingConfig(strategy=beam, max_tokens=size.num_tokens, min_tokens=size.num_tokens)

    def encode(how: Arithmetic = how) -> Any:
        with torch.no_grad(), computing(how, device):
            return model.encode(batch)

    encoded = encode()
    encoding_s = clock.seconds(encode, rounds=5)
    # In float32: torch does not count the convolutions that bf16 fuses with what follows them.
    tflop = counted_tflop(lambda: encode(ARITHMETIC["fp32"]))
    floor_s = {
        "encode": tflop / rates[how.ceiling],
        "decode": read_tb(model, num_studies, size.num_tokens, half=how.bf16) / rates["copy"],
    }
    ways: dict[str, Writer] = {"a look per token": by_token, "blocks": write_together}
    if recorder(model, device) is not None:
        ways["recorded blocks"] = Recorder()
    rows = []
    for way, writer in ways.items():
        decode = partial(_decode, model, encoded, batch, config, how, writer)
        peak = clock.peak_gb(decode)
        decode()  # a recorder records now
        decoding_s = clock.seconds(decode, rounds=3, warm_up=1)
        row: dict[str, Any] = {"way": way, "studies": num_studies, "encode_s": encoding_s, "decode_s": decoding_s}
        row |= {"studies_per_s": num_studies / (encoding_s + decoding_s), "peak_gb": peak, "tflop": tflop}
        row |= {"waits_per_token": waits(device, decode) / size.num_tokens}
        row |= {"encode_floor_s": floor_s["encode"], "decode_floor_s": floor_s["decode"]}
        rows.append(row)
    return rows


def _decode(model: Any, encoded: Any, batch: Any, config: DecodingConfig, how: Arithmetic, writer: Writer) -> None:
    with computing(how, batch.images_BV1SS.device):
        ready = Encoded(model, encoded)
        generate(ready, batch, config, bos_id=BOS, eos_id=EOS, suppressed_ids=NEVER, writer=writer)


def read_tb(model: Any, num_studies: int, num_steps: int, *, half: bool) -> float:
    """TB that decoding must move: per step the weights, the encoded studies and, in float32, the mediators' sums.

    Of its own keys and values a step reads as many tokens as there are; the sums are read and written.
    """
    unit = 2 if half else 4
    dim, layers = model.config.dim, len(model.decoder.layers)
    weights = unit * sum(weight.numel() for weight in model.decoder.parameters())
    patches = 1 + 2 * model.get_buffer("patch_positions_PD").shape[0]
    memory = unit * num_studies * layers * 2 * patches * dim
    own = unit * num_studies * WIDTH * layers * 2 * dim * num_steps / 2
    mediators = model.config.num_local_per_head * model.config.num_heads
    sums = 2 * 4 * num_studies * WIDTH * mediators * dim
    return float(num_steps * (weights + memory + own + sums) / 1e12)


def sparing(call: Callable[[], Any]) -> Any:
    """The call's value, or None where the device's memory does not suffice."""
    try:
        return call()
    except torch.OutOfMemoryError:
        return None
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def measure(clock: Clock, size: Size, trained: list[int], drafted: list[int]) -> dict[str, Any]:
    """Everything."""
    rates = clock.ceilings()
    found: dict[str, Any] = {"ceilings": rates, "training": [], "drafting": []}
    for name, how in ARITHMETIC.items():
        for num_studies in trained:
            for fed in (False, True) if name == "bf16" else (False,):
                row = sparing(partial(training, clock, size, how, num_studies, fed=fed))
                row = row or {"studies_per_s": 0.0, "ms": 0.0, "tflop": 0.0, "peak_gb": 0.0}
                reached = row["tflop"] / row["ms"] * 1e3 if row["ms"] else 0.0
                row |= {"arithmetic": name, "studies": num_studies, "from_host": fed, "tflop_per_s": reached}
                found["training"].append(row | {"share": reached / rates[how.ceiling]})
    model = build(size).eval().to(clock.device)
    for name, how in ARITHMETIC.items():
        for num_studies in drafted:
            rows = sparing(partial(drafting, clock, size, model, how, num_studies, rates)) or []
            found["drafting"] += [{"arithmetic": name, **row} for row in rows]
    return found


def show(found: dict[str, Any]) -> str:
    """Three tables."""
    rates = found["ceilings"]
    names = ("training", "studies", "from host", "studies/s", "ms/step", "TFLOP/s", "share", "peak GB")
    rows: list[tuple[str, ...]] = [names]
    for row in found["training"]:
        numbers = (row["studies_per_s"], row["ms"], row["tflop_per_s"], row["share"], row["peak_gb"])
        texts = [f"{number:.{digits}f}" for number, digits in zip(numbers, (0, 1, 1, 3, 1), strict=True)]
        rows.append((row["arithmetic"], str(row["studies"]), "yes" if row["from_host"] else "", *texts))
    second = (
        "drafting",
        "studies",
        "way",
        "studies/s",
        "encode ms",
        "floor",
        "decode ms",
        "floor",
        "waits/token",
        "GB",
    )
    drafts: list[tuple[str, ...]] = [second]
    for row in found["drafting"]:
        keys = (
            "studies_per_s",
            "encode_s",
            "encode_floor_s",
            "decode_s",
            "decode_floor_s",
            "waits_per_token",
            "peak_gb",
        )
        numbers = tuple(row[key] * (1e3 if key.endswith("_s") and key != "studies_per_s" else 1) for key in keys)
        texts = [f"{number:.{digits}f}" for number, digits in zip(numbers, (0, 1, 1, 1, 1, 2, 1), strict=True)]
        drafts.append((row["arithmetic"], str(row["studies"]), row["way"], *texts))
    reached = ", ".join(f"{name} {rates[name]:.1f}" for name in ("fp32", "tf32", "bf16"))
    return f"{table(rows)}\n\n{table(drafts)}\n\nmeasured: products {reached} TFLOP/s; copy {rates['copy']:.2f} TB/s"


def numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu with --tiny")
    parser.add_argument("--train", type=numbers, default=[16, 64, 128], help="studies of a training step")
    parser.add_argument("--draft", type=numbers, default=[16, 64, 256], help="studies drafted together")
    parser.add_argument("--tiny", action="store_true", help="a toy network: only shows that the benchmark runs")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    arguments = parser.parse_args()
    device, size = torch.device(arguments.device), TINY if arguments.tiny else PUBLISHED
    found = measure(Clock(device, arguments.tiny), size, arguments.train, arguments.draft)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    found |= {"device": name, "torch": torch.__version__}
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(f"{name}, torch {torch.__version__}\n\n{show(found)}")


if __name__ == "__main__":
    main()
