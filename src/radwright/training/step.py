"""One optimiser step: token-exact over micro-batches and ranks, reproducible draws, a stop at what is not finite."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from radwright.errors import TrainingError
from radwright.training.engine import Engine
from radwright.training.optim import ClipConfig, clip_gradients, set_learning_rate
from radwright.types import Batch, Objective


def derive_seed(*key: object) -> int:
    """A seed in [0, 2**63) that depends on ``key`` only: the first 63 bits of the SHA-256 of ``key[0]/key[1]/...``.

    Stable over processes, machines and versions of Python, unlike `hash`.
    """
    text = "/".join(str(part) for part in key)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What the ranks agree on before a step.

    Attributes:
        counts: denominator per term over all micro-batches and ranks.
        num_micro_batches: forward passes that every rank runs, the longest rank's number.
        num_studies: studies over all ranks.
        wishes: for each wish handed in, whether any rank has it.
    """

    counts: dict[str, float]
    num_micro_batches: int
    num_studies: int
    wishes: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did.

    Attributes:
        sums: sum per term over all micro-batches and ranks.
        grad_norm: L2 norm of the gradient before clipping.
        learning_rates: by group label.
    """

    sums: dict[str, float]
    grad_norm: float
    learning_rates: dict[str, float]


class Stepper:
    """Runs optimiser steps of one objective."""

    def __init__(
        self,
        engine: Engine,
        objective: nn.Module,
        wrapped: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        weights: Mapping[str, float],
        clip: ClipConfig | None,
        seed: int,
    ) -> None:
        """Hold what a step needs; ``wrapped`` is ``engine.wrap(objective)``, ``weights`` the objective's."""
        self._engine = engine
        self._objective: Objective = objective  # type: ignore[assignment]  # the protocol, met by an nn.Module
        self._wrapped = wrapped
        self._optimizer = optimizer
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._weights = dict(weights)
        self._clip = clip
        self._seed = seed

    def agree(self, micro_batches: Sequence[Batch], wishes: Sequence[bool] = ()) -> StepPlan:
        """Add up over the ranks what has to be known before the backward passes.

        Raises:
            TrainingError: the objective counts a term that has no weight.
        """
        counts = dict.fromkeys(self._weights, 0.0)
        for batch in micro_batches:
            for name, count in self._objective.counts(batch).items():
                if name not in counts:
                    raise TrainingError(f"the objective counts a term without a weight: {name}")
                counts[name] += count
        lengths = [0.0] * self._engine.num_ranks
        lengths[self._engine.rank] = float(len(micro_batches))
        studies = float(sum(len(batch) for batch in micro_batches))
        totals = self._engine.sum([*counts.values(), *map(float, wishes), *lengths, studies])
        num_terms, num_wishes = len(counts), len(wishes)
        return StepPlan(
            counts=dict(zip(counts, totals[:num_terms], strict=True)),
            # At least one, so that a step whose studies were all skipped still has its (zero) sums.
            num_micro_batches=max(1, round(max(totals[num_terms + num_wishes : -1]))),
            num_studies=round(totals[-1]),
            wishes=tuple(total > 0 for total in totals[num_terms : num_terms + num_wishes]),
        )

    def run(self, step: int, micro_batches: Sequence[Batch], plan: StepPlan, factor: float) -> StepResult:
        """Make optimiser step ``step``: loss = sum_n weights[n] * sum_n / count_n, clip, update.

        Args:
            step: 0 for the run's first.
            micro_batches: this rank's, on its device.
            plan: from `agree`, called by every rank for this step.
            factor: of every group's learning rate.

        Raises:
            TrainingError: a loss or gradient is not finite; the weights and moments are those of before.
        """
        self._wrapped.zero_grad(set_to_none=True)
        self._optimizer.zero_grad(set_to_none=True)
        sums = []
        for index in range(plan.num_micro_batches):
            last = index == plan.num_micro_batches - 1
            with self._engine.unsynced(self._wrapped, enabled=not last):
                sums.append(self._accumulate(step, index, micro_batches, plan))
        rates = set_learning_rate(self._optimizer, factor)
        self._engine.weights.settle()
        norm = clip_gradients(self._parameters, self._clip, self._engine.weights.norm)
        # The one wait for the device in a step: losses and norm have to be known before the weights may move.
        *local, grad_norm = torch.stack([*torch.stack(sums).sum(dim=0), norm.double().to(sums[0].device)]).tolist()
        totals = dict(zip(self._weights, self._engine.sum(local), strict=True))
        if not all(math.isfinite(value) for value in (*totals.values(), grad_norm)):
            self._refuse(step, micro_batches, plan, sums, totals)
        self._optimizer.step()
        return StepResult(sums=totals, grad_norm=grad_norm, learning_rates=rates)

    def _accumulate(self, step: int, index: int, micro_batches: Sequence[Batch], plan: StepPlan) -> Tensor:
        """Add one micro-batch's gradients; return its sums. A rank whose micro-batches are used up adds zeros."""
        engine = self._engine
        # Keyed by the micro-batch's number in the whole step (they are dealt round robin), not by the process.
        torch.manual_seed(derive_seed(self._seed, step, index * engine.num_ranks + engine.rank))
        batch = micro_batches[index] if index < len(micro_batches) else None
        scales = {
            name: weight * engine.num_ranks / plan.counts[name] if plan.counts[name] else 0.0
            for name, weight in self._weights.items()
        }
        loss, sums = self._wrapped(batch, scales)
        engine.backward(loss)
        return sums  # type: ignore[no-any-return]

    def _refuse(
        self,
        step: int,
        micro_batches: Sequence[Batch],
        plan: StepPlan,
        sums: Sequence[Tensor],
        totals: Mapping[str, float],
    ) -> None:
        """Find which micro-batches, on which rank, are to blame, and raise on every rank."""
        blamed = [
            batch.study_ids
            for batch, terms in zip(micro_batches, sums, strict=False)
            if not bool(torch.isfinite(terms).all())
        ]
        bad = [name for name, total in totals.items() if not math.isfinite(total)]
        what = f"the loss ({', '.join(bad)})" if bad else "the gradient"
        if not bad and not self._engine.is_sharded:
            # Processes have different numbers of micro-batches, and shared weights are gathered by all of them.
            with self._engine.unsynced(self._wrapped):
                for index, batch in enumerate(micro_batches):
                    self._wrapped.zero_grad(set_to_none=True)
                    self._accumulate(step, index, micro_batches, plan)
                    if not bool(torch.isfinite(clip_gradients(self._parameters, None))):
                        blamed.append(batch.study_ids)
        self._wrapped.zero_grad(set_to_none=True)
        everyone = [ids for rank in self._engine.gather(blamed) for ids in rank]
        # Each micro-batch fine and their sum not: all of them are named.
        everyone = everyone or [
            ids for rank in self._engine.gather([batch.study_ids for batch in micro_batches]) for ids in rank
        ]
        studies = "; ".join(", ".join(ids) for ids in everyone)
        raise TrainingError(
            f"step {step + 1}: {what} is not finite in the micro-batch of {studies}. No weight was changed by it, and "
            "the saved state is of an earlier step. Look at these studies; lower the learning rate or clip the gradient"
        )
