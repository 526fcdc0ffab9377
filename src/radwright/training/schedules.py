"""Learning-rate schedules: pure functions of (step, total steps), so that a resumed run needs no scheduler state.

Lengths are shares of the run, not steps: a recipe keeps its shape when it is made longer. "3 of 30 epochs" is 0.1.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field

from radwright.config import Config


class _Schedule(Config):
    """What every schedule can do."""

    @abstractmethod
    def factor(self, step: int, total: int) -> float:
        """What every group's learning rate is multiplied with in optimiser step ``step``.

        Args:
            step: 0 for the first step, at most ``total - 1``.
            total: optimiser steps of the whole run, at least 1.
        """


class Constant(_Schedule):
    """The same learning rate from the first step to the last."""

    name: Literal["constant"] = "constant"
    """Selects this schedule."""

    def factor(self, step: int, total: int) -> float:
        """1."""
        return 1.0


class StepDecay(_Schedule):
    """Multiplied with ``gamma`` at every milestone (the released fine-tuning: .1 after half of 100 epochs)."""

    name: Literal["step"] = "step"
    """Selects this schedule."""
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5,)
    """Shares of the run at which the rate drops, in (0, 1)."""
    gamma: float = Field(default=0.1, gt=0, le=1)
    """Factor per milestone, in (0, 1]."""

    def factor(self, step: int, total: int) -> float:
        """gamma ** (number of milestones passed)."""
        # Milestones are rounded to a whole step, so 1/3 of 3 steps is step 1 whatever the binary fraction says.
        passed = sum(step >= round(milestone * total) for milestone in self.milestones)
        return float(self.gamma**passed)


class _Warmup(_Schedule):
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the run in which the rate climbs linearly to its full value, in [0, 1)."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """Share of the full rate that the decay ends at, in [0, 1]."""

    def factor(self, step: int, total: int) -> float:
        """(step + 1) / warm-up steps while warming up, then the decay from 1 to ``floor`` over what remains."""
        warmup_steps = round(self.warmup * total)
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        # The last step runs at the floor itself; a decay of one step runs at the full rate.
        progress = (step - warmup_steps) / max(total - 1 - warmup_steps, 1)
        return self.floor + (1 - self.floor) * self._decay(min(progress, 1.0))

    @abstractmethod
    def _decay(self, progress: float) -> float:
        """From 1 at progress 0 to 0 at progress 1."""


class WarmupCosine(_Warmup):
    """Linear warm-up, then half a cosine down to ``floor`` (RadCARE as released: warm-up .1, floor .001)."""

    name: Literal["warmup_cosine"] = "warmup_cosine"
    """Selects this schedule."""

    def _decay(self, progress: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * progress))


class WarmupLinear(_Warmup):
    """Linear warm-up, then a straight line down to ``floor``."""

    name: Literal["warmup_linear"] = "warmup_linear"
    """Selects this schedule."""

    def _decay(self, progress: float) -> float:
        return 1 - progress


Schedule = Annotated[Constant | StepDecay | WarmupCosine | WarmupLinear, Field(discriminator="name")]
"""Any schedule, chosen by its ``name``."""
