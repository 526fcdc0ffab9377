"""What a recipe may say about training: length, batch, optimiser, choice of the kept weights, logging."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from radwright.config import Config
from radwright.training.engine import EngineConfig
from radwright.training.optim import ClipConfig, EmaConfig, OptimizerConfig
from radwright.training.schedules import Constant, Schedule

IMMATERIAL = frozenset(
    {
        "max_minutes",
        "log_every_steps",
        "checkpoint_every_steps",
        "checkpoint_every_s",
        "engine.timeout_minutes",
        "engine.processes",
        "engine.machines",
        "engine.sharding",
    }
)
"""Fields of `TrainConfig` that a resumed run may change: they change no weight, the last three none beyond rounding
(and dropout's masks, where ``micro_batch_size`` is left to the number of processes)."""


class SelectionConfig(Config):
    """Which validated weights are kept, and when to stop waiting for better ones."""

    metric: str = "bleu_4"
    """Name of the score, as `validate` returns it (free-running decoding of `tune`)."""
    mode: Literal["max", "min"] = "max"
    """Whether larger or smaller is better."""
    min_delta: float = Field(default=0.0, ge=0)
    """How much better than the best so far a score must be to count, in the metric's unit."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many validations in a row without a better score; None: never."""

    def better(self, score: float, best: float | None) -> bool:
        """Whether ``score`` beats ``best`` (None: nothing yet). A score that is not a number loses to any number."""
        if best is None or math.isnan(best):
            return best is None or not math.isnan(score)
        return score > best + self.min_delta if self.mode == "max" else score < best - self.min_delta


class TrainConfig(Config):
    """One training stage."""

    epochs: int | None = Field(default=None, ge=1)
    """Passes over the training studies."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimiser steps; with `epochs` too, whichever comes first."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Wall-clock limit in minutes over all resumes, validation included: stops at a step, then validates and keeps the
    best. Schedules follow steps, not time, so a run cut short has not reached the end of its schedule."""
    batch_size: int = Field(default=16, ge=1)
    """Studies per optimiser step, over all processes."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Studies per forward pass; gradients of several add up to one step. None: batch_size / processes."""
    seed: int = Field(default=0, ge=0)
    """Seed of the order of studies, of augmentation and of dropout."""
    frozen: tuple[str, ...] = ()
    """Names of parameters to leave as they are; ``*`` stands for anything, a name covers all below it."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Optimiser, learning rates, weight decay."""
    schedule: Schedule = Constant()
    """Learning rate over the steps, e.g. {name: warmup_cosine, warmup: 0.1}."""
    clip: ClipConfig | None = None
    """Gradient clipping; None: none."""
    ema: EmaConfig | None = None
    """Average of the weights for validation and the kept checkpoint; None: the weights themselves."""
    selection: SelectionConfig = SelectionConfig()
    """Choice of the kept checkpoint, early stopping."""
    validate_every_epochs: float = Field(default=1.0, gt=0)
    """Epochs between validations; the last step is always validated."""
    validate_every_steps: int | None = Field(default=None, ge=1)
    """Optimiser steps between validations; None: by `validate_every_epochs`."""
    log_every_steps: int = Field(default=10, ge=1)
    """Optimiser steps per logged line."""
    checkpoint_every_steps: int | None = Field(default=None, ge=1)
    """Optimiser steps between saved states; None: by time only."""
    checkpoint_every_s: float = Field(default=300.0, gt=0)
    """Seconds between saved states."""
    engine: EngineConfig = EngineConfig()
    """Devices, processes, precision."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.epochs is None and self.max_steps is None:
            raise ValueError("say how long to train: epochs or max_steps")
        ranks = self.engine.processes * self.engine.machines
        if self.micro_batch_size is not None and self.micro_batch_size > self.batch_size:
            raise ValueError(
                f"micro_batch_size {self.micro_batch_size} is larger than batch_size {self.batch_size}: "
                "batch_size counts the studies of a whole optimiser step"
            )
        if self.batch_size < ranks:
            raise ValueError(f"batch_size {self.batch_size} leaves some of {ranks} processes without a study")
        return self

    @property
    def studies_per_micro_batch(self) -> int:
        """`micro_batch_size`, or the share of one process when it is not given (rounded up)."""
        if self.micro_batch_size is not None:
            return self.micro_batch_size
        return -(-self.batch_size // (self.engine.processes * self.engine.machines))

    def total_steps(self, steps_per_epoch: int) -> int:
        """Optimiser steps of the whole stage."""
        limits = [] if self.epochs is None else [self.epochs * steps_per_epoch]
        return min(limits + ([] if self.max_steps is None else [self.max_steps]))

    def validation_interval(self, steps_per_epoch: int) -> int:
        """Optimiser steps between validations."""
        return self.validate_every_steps or max(1, round(self.validate_every_epochs * steps_per_epoch))

    def material(self) -> dict[str, Any]:
        """The plain values that decide the weights: what a resumed run must share with the run it continues."""
        values = self.plain()
        for path in IMMATERIAL:
            *parents, leaf = path.split(".")
            inner = values
            for parent in parents:
                inner = inner[parent]
            del inner[leaf]
        return values
