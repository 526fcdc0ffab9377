"""What the speed benchmarks share: VLCI at the published size, its studies, the machine's own speed, a process apart.

Nothing here imports torch at the top: the peak memory of a process counts from its parent's on, so the parent that
starts a measurement has to stay small.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BOS, EOS, NEVER = 1, 2, (0, 1, 3)


@dataclass(frozen=True)
class Size:
    """A network and its studies; the defaults are the published ones.

    Attributes:
        network: changes to the default ``VlciConfig``.
        size_px: image side.
        num_words: vocabulary without the four special ids.
        num_tokens: tokens of a report, EOS included (and BOS, where it is a training target's).
        batches: the two batch sizes of generation.
        num_training_studies: studies of a training step.
    """

    network: dict[str, Any] = field(default_factory=lambda: {"backbone": {"name": "resnet", "in_channels": 3}})
    size_px: int = 224
    num_words: int = 4347
    num_tokens: int = 60
    batches: tuple[int, int] = (1, 16)
    num_training_studies: int = 4


PUBLISHED = Size()
TINY = Size(
    network={
        "backbone": {"name": "resnet", "depth": 18, "width": 8, "in_channels": 3},
        "dim": 32,
        "hidden_dim": 64,
        "linguistic_hidden_dim": 64,
    },
    size_px=64,
    num_words=60,
    num_tokens=6,
    batches=(1, 2),
    num_training_studies=2,
)


@dataclass(frozen=True)
class Ids:
    """A tokenizer's size and special ids: all the network sees of it."""

    vocab_size: int
    pad_id: int = 0
    bos_id: int = BOS
    eos_id: int = EOS


def parse(doc: str | None) -> argparse.Namespace:
    """The options both benchmarks have."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--threads", type=int, default=1, help="threads of the measured process")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=7, help="measured studies or steps, after a warm-up")
    parser.add_argument("--tiny", action="store_true", help="a toy network: only shows that the benchmark runs")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    return parser.parse_args()


def size_of(arguments: argparse.Namespace) -> Size:
    return TINY if arguments.tiny else PUBLISHED


def in_own_process(script: str, part: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one part of a benchmark in a process that does nothing else; what it printed as JSON."""
    threads = str(arguments.threads)
    command = [sys.executable, str(Path(script).resolve()), "--part", part, "--threads", threads]
    command += ["--rounds", str(arguments.rounds)] + (["--tiny"] if arguments.tiny else [])
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def build(size: Size) -> Any:
    """VLCI with both interventions, the corrected preset, random weights."""
    import torch

    from radwright.methods.cmcrl.vlci import Vlci, VlciConfig

    torch.manual_seed(0)
    return Vlci(VlciConfig.parse(size.network, where="benchmark"), Ids(size.num_words + 4), size.size_px)


def make_batch(size: Size, num_studies: int) -> Any:
    """Studies of two random views with random reports of full length."""
    import torch

    from radwright.types import Batch

    images = torch.rand(num_studies, 2, 1, size.size_px, size.size_px)
    ids = torch.randint(4, size.num_words + 4, (num_studies, size.num_tokens))
    ids[:, 0], ids[:, -1] = BOS, EOS
    return Batch(
        tuple(f"study {number}" for number in range(num_studies)),
        images,
        torch.ones(num_studies, 2, dtype=torch.bool),
        torch.tensor([[1, 2]] * num_studies),
        ids,
        torch.full((num_studies,), size.num_tokens),
    )


def cpu_seconds(call: Callable[[], Any], *, rounds: int, warm_up: int = 2) -> list[float]:
    """CPU-seconds of this process per call."""
    taken = []
    for number in range(warm_up + rounds):
        start_s = time.process_time()
        call()
        if number >= warm_up:
            taken.append(time.process_time() - start_s)
    return taken


def summary(seconds: list[float], per: int = 1) -> dict[str, float]:
    """Median and minimum, each divided by ``per``."""
    return {"median": round(statistics.median(seconds) / per, 3), "minimum": round(min(seconds) / per, 3)}


def peak_mb() -> float:
    """Largest resident size of this process so far, in 10^6 bytes (Linux counts it in KiB, macOS in bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def machine_speed() -> dict[str, float]:
    """What this machine reaches now: GFLOP/s of a matrix product and of a convolution, GB/s of reading memory."""
    import torch
    from torch.nn import functional as F

    left, right = torch.randn(1536, 512), torch.randn(512, 2048)
    maps = torch.randn(8, 256, 14, 14).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(256, 256, 3, 3).contiguous(memory_format=torch.channels_last)
    far = torch.randn(64 * 1024 * 1024)

    def rate(call: Callable[[], Any], amount: float) -> float:
        with torch.inference_mode():
            return round(amount / min(cpu_seconds(call, rounds=9)) / 1e9, 1)

    return {
        "gemm_gflops": rate(lambda: left @ right, 2 * 1536 * 512 * 2048),
        "conv_gflops": rate(lambda: F.conv2d(maps, kernel, padding=1), 2 * 8 * 196 * 256 * 256 * 9),
        "read_gb_per_s": rate(far.sum, far.numel() * 4),
    }


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns aligned, the first to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) if not place else cell.rjust(width) for place, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    )
