"""A toy objective and toy batches for the training tests; as a script it trains them, in one or more processes."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from radwright.training.config import TrainConfig
from radwright.training.engine import Engine
from radwright.training.hooks import Hook, JsonlHook
from radwright.training.loop import Summary, Trainer
from radwright.types import Batch

SIDE = 4
NUM_STUDIES = 22


def study(number: int) -> tuple[Tensor, int]:
    """Image (16,) and report length of study ``number``."""
    generator = torch.Generator().manual_seed(number)
    return torch.rand(SIDE * SIDE, generator=generator, dtype=torch.float64), 3 + number % 5


def batch_of(numbers: Sequence[int]) -> Batch:
    images = torch.stack([study(number)[0] for number in numbers]).reshape(-1, 1, 1, SIDE, SIDE)
    ones = torch.ones(len(numbers), 1, dtype=torch.bool)
    lengths = torch.tensor([study(number)[1] for number in numbers])
    ids = torch.zeros(len(numbers), int(lengths.max()), dtype=torch.int64)
    return Batch(tuple(f"s{number}" for number in numbers), images, ones, ones.long(), ids, lengths)


class ToyBatches:
    """Shuffled by (seed, epoch), cut into micro-batches that are dealt round robin."""

    def __init__(self, size: int, micro: int, *, rank: int = 0, num_ranks: int = 1, seed: int = 0) -> None:
        self.size, self.micro, self.rank, self.num_ranks, self.seed = size, micro, rank, num_ranks, seed
        self.closed = 0
        self.steps_per_epoch = -(-NUM_STUDIES // size)

    def numbers(self, epoch: int, step: int) -> list[int]:
        generator = torch.Generator().manual_seed(1000 * self.seed + epoch)
        order: list[int] = torch.randperm(NUM_STUDIES, generator=generator).tolist()
        return order[step * self.size : (step + 1) * self.size]

    def steps(self, epoch: int, start_step: int = 0) -> Iterator[list[Batch]]:
        try:
            for step in range(start_step, self.steps_per_epoch):
                numbers = self.numbers(epoch, step)
                micro = [numbers[i : i + self.micro] for i in range(0, len(numbers), self.micro)]
                yield [batch_of(part) for part in micro[self.rank :: self.num_ranks]]
        finally:
            self.closed += 1


class ToyObjective(nn.Module):
    """Two terms with different denominators; ``rare`` is used by some studies only, ``never`` by none.

    With ``scalar`` a weight without dimensions, with ``mixed`` one of another precision, with ``tied`` a layer whose
    weight is the embedding's; the images of study ``poison`` make the loss infinite.
    """

    def __init__(
        self,
        *,
        dropout: float = 0.0,
        dtype: torch.dtype = torch.float64,
        scalar: bool = False,
        mixed: bool = False,
        tied: bool = False,
        poison: int | None = None,
    ) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.weights: Mapping[str, float] = {"words": 1.0, "images": 0.3}
        self.stem = nn.Linear(SIDE * SIDE, 8, dtype=dtype)
        self.norm = nn.LayerNorm(8, dtype=dtype)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, 1, dtype=dtype)
        self.rare = nn.Linear(8, 1, dtype=dtype)
        self.never = nn.Linear(8, 1, dtype=dtype)
        self.embedding = nn.Embedding(6, 8, dtype=dtype)
        self.scale = nn.Parameter(torch.ones((), dtype=dtype)) if scalar else None
        self.other = nn.Linear(2, 2, dtype=torch.float32) if mixed else None
        self.tied = nn.Linear(8, 6, bias=False, dtype=dtype) if tied else None
        if self.tied is not None:
            self.tied.weight = self.embedding.weight
        self.poison = poison
        self.register_buffer("seen", torch.zeros(()))
        self.delay_s = 0.0

    def counts(self, batch: Batch) -> dict[str, float]:
        assert batch.lengths_B is not None
        return {"words": float(batch.lengths_B.sum()), "images": float(len(batch))}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.lengths_B is not None
        time.sleep(self.delay_s)
        if self.training:
            self.seen += len(batch)
        x = batch.images_BV1SS.flatten(1).to(self.stem.weight.dtype)
        h = self.norm(torch.tanh(self.stem(x))) + self.embedding(batch.lengths_B % 6)
        h = self.dropout(h if self.scale is None else h * self.scale)
        if f"s{self.poison}" in batch.study_ids:
            h = h / 0.0
        words = (batch.lengths_B * (self.head(h).squeeze(1) - x.mean(1)).square()).sum()
        images = (h.mean(1) - x[:, 0]).square().sum()
        if self.tied is not None:
            words = words + self.tied(h).square().sum()
        rare = [int(name[1:]) % 11 == 0 for name in batch.study_ids]
        if any(rare):
            images = images + self.rare(h[torch.tensor(rare)]).square().sum()
        return {"words": words, "images": images}


def configure(**changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 8,
        "micro_batch_size": 4,
        "optimizer": {"lr": 0.01, "amsgrad": True},
        "schedule": {"name": "warmup_cosine", "warmup": 0.2},
        "clip": {"norm": 1.0},
        "selection": {"metric": "fit"},
        "log_every_steps": 1,
        "engine": {"accelerator": "cpu"},
        **changes,
    }
    return TrainConfig.parse(values, where="toy")


def fit_score(objective: nn.Module) -> dict[str, float]:
    """Minus the loss of all studies: a deterministic score of the weights."""
    sums = objective(batch_of(range(NUM_STUDIES)))
    return {"fit": -float(sums["words"]), "other": 0.0}


def train(
    run_dir: Path,
    config: TrainConfig,
    *,
    resume: bool = False,
    validate: Callable[[nn.Module], Mapping[str, float]] | None = fit_score,
    hooks: Sequence[Hook] = (),
    dropout: float = 0.0,
    dtype: torch.dtype = torch.float64,
    delay_s: float = 0.0,
    objective: ToyObjective | None = None,
    interrupt_at: int | None = None,
    final: dict[str, Tensor] | None = None,
    **toy: Any,
) -> tuple[ToyObjective, Summary]:
    """Train the toy; the kept weights go to ``run_dir/best.pt``, and the last ones into ``final``."""
    engine = Engine(config.engine)
    objective = objective or ToyObjective(dropout=dropout, dtype=dtype, **toy)
    objective.delay_s = delay_s
    batches = ToyBatches(
        config.batch_size,
        config.studies_per_micro_batch,
        rank=engine.rank,
        num_ranks=engine.num_ranks,
        seed=config.seed,
    )

    def save_best(best: nn.Module, scores: Mapping[str, float]) -> None:
        torch.save(best.state_dict(), run_dir / "best.partial")
        (run_dir / "best.partial").replace(run_dir / "best.pt")

    trainer = Trainer(
        config,
        objective,
        batches,
        engine=engine,
        run_dir=run_dir,
        validate=validate,
        save_best=save_best,
        hooks=(
            JsonlHook(run_dir / "metrics.jsonl"),
            *hooks,
            *(() if interrupt_at is None else (InterruptAt(interrupt_at),)),
        ),
    )
    try:
        summary = trainer.fit(resume=resume)
        if final is not None:
            with engine.weights.whole():
                final |= {name: tensor.clone() for name, tensor in objective.state_dict().items()}
        return objective, summary
    finally:
        engine.close()


class InterruptAt(Hook):
    """Sends this process a signal after a step."""

    def __init__(self, step: int, number: signal.Signals = signal.SIGINT) -> None:
        self.at, self.number = step, number

    def step(self, step: int, loss: float, studies_per_s: float, remaining_s: float) -> None:
        if step == self.at:
            os.kill(os.getpid(), self.number)


def train_and_store(run_dir: Path, changes: dict[str, Any], options: dict[str, Any]) -> None:
    """Train and write final weights and summary; a target for other processes."""
    rank = os.environ.get("LOCAL_RANK", "0")
    final: dict[str, Tensor] = {}
    _, summary = train(run_dir, configure(**changes), final=final, **options)
    torch.save(final, run_dir / f"final{rank}.pt")
    if rank == "0":
        (run_dir / "summary.json").write_text(json.dumps(summary.plain()), encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    train_and_store(Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3]))
