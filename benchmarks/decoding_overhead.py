"""What the decoding loop costs per step, apart from the model: a dummy model hands out log-probabilities made before.

OMP_NUM_THREADS=1 python benchmarks/decoding_overhead.py
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from radwright.decoding.config import Beam, DecodingConfig, Greedy, Sampling, Strategy
from radwright.decoding.generate import generate
from radwright.types import Batch

NUM_STUDIES, NUM_TOKENS, NUM_STEPS = 16, 4347, 60


class Dummy:
    """Never ends a report, and costs nothing but handing out a tensor."""

    def __init__(self, device: str) -> None:
        draw = torch.Generator().manual_seed(0)
        logits = torch.randn(64, NUM_STUDIES, 8, NUM_TOKENS, generator=draw) * 3
        logits[..., 1] = -1e4
        self.log_probs = torch.log_softmax(logits, -1).to(device)

    def start(self, batch: Batch) -> int:
        return 0

    def step(self, state: int, token_ids_BW: Tensor) -> tuple[Tensor, int]:
        num_studies, width = token_ids_BW.shape
        return self.log_probs[state % 64, :num_studies, :width], state + 1

    def reorder(self, state: int, studies_C: Tensor | None, parents_CW: Tensor) -> int:
        return state


def milliseconds_per_step(model: Dummy, strategy: Strategy, device: str, **options: Any) -> float:
    batch = Batch(
        tuple(f"study {number}" for number in range(NUM_STUDIES)),
        torch.zeros(NUM_STUDIES, 1, 1, 1, 1, device=device),
        torch.ones(NUM_STUDIES, 1, dtype=torch.bool, device=device),
        torch.zeros(NUM_STUDIES, 1, dtype=torch.int64, device=device),
    )
    config = DecodingConfig(strategy=strategy, max_tokens=NUM_STEPS, **options)
    best = float("inf")
    for _ in range(6):
        start_s = time.perf_counter()
        generate(model, batch, config, bos_id=0, eos_id=1, suppressed_ids=[0, 2, 3])
        best = min(best, time.perf_counter() - start_s)
    return best / NUM_STEPS * 1e3


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Dummy(device)
    cases: dict[str, tuple[Strategy, dict[str, Any]]] = {
        "greedy": (Greedy(), {}),
        "beam 3": (Beam(num_beams=3), {}),
        "beam 3, trigrams blocked": (Beam(num_beams=3), {"no_repeat_ngram": 3}),
        "beam 8": (Beam(num_beams=8), {}),
        "sampling": (Sampling(), {}),
        "sampling, top-k 50, top-p 0.9": (Sampling(top_k=50, top_p=0.9), {}),
    }
    print(f"{device}, B={NUM_STUDIES}, U={NUM_TOKENS}, {NUM_STEPS} steps, {torch.get_num_threads()} thread(s)")
    for name, (strategy, options) in cases.items():
        print(f"{name:32} {milliseconds_per_step(model, strategy, device, **options):6.2f} ms per step")


if __name__ == "__main__":
    main()
