"""The training loop: one optimiser step after another over any objective, any source of batches and any validation.

The batches' protocol (met structurally; `Batches` below): one object per rank, made by the composition root with the
rank, the number of ranks, batch_size, micro_batch_size and the seed. Which studies step s of epoch e holds depends on
(seed, e, s) only, never on the number of ranks nor on where a run was resumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from radwright.types import Batch


class Batches(Protocol):
    """One rank's share of every epoch's studies."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one epoch; equal for every epoch and rank."""
        ...

    def steps(self, epoch: int, start_step: int = 0) -> Iterator[Sequence[Batch]]:
        """This rank's micro-batches per optimiser step, for steps ``start_step .. steps_per_epoch - 1`` of the epoch.

        Deal a step's micro-batches round robin: micro-batch m of the step goes to rank m % num_ranks (random draws are
        keyed by m, so two ranks then see the dropout that one would). At an epoch's tail a rank may hold fewer than
        another, or none: yield a shorter or an empty list. Tensors stay on the CPU; the loop moves them. The loop
        closes the iterator when it stops early, so a generator can end its workers in ``finally``.
        """
        ...
