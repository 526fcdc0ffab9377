"""The Perceiver: a checkpoint that says which diseases it sees; it need not write reports (TRRG's stage 1 or 2).

Shape legend: M diseases.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from radwright.errors import CheckpointError
from radwright.inference.checkpoint import Checkpoint
from radwright.inference.reading import StudyReader
from radwright.methods.trrg.clue_bank import ClueBank
from radwright.types import ClueGuided, Skipped, Study

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


class Perceiver(StudyReader):
    """Probabilities of a bank's diseases for studies, in batches, in order; an unreadable study becomes a ``Skipped``.

    Args:
        checkpoint: a loaded checkpoint.
        bank: other diseases than its own; those that both share keep their calibrated thresholds.
        batch_size: studies that go through the network at once.
        num_decoders: threads that decode images while the network works.

    Raises:
        CheckpointError: the network perceives no diseases (``radwright.types.ClueGuided``).
    """

    def __init__(
        self, checkpoint: Checkpoint, *, bank: ClueBank | None = None, batch_size: int = 16, num_decoders: int = 2
    ) -> None:
        model: Any = checkpoint.model
        perceives = isinstance(model, ClueGuided)
        if not (perceives and isinstance(getattr(model, "bank", None), ClueBank)):
            raise CheckpointError(
                f"{checkpoint.path}: is a checkpoint of {checkpoint.config.method!r}, which perceives no diseases; "
                "give one of a TRRG run: RUN/best, or RUN/stages/alignment/best"
            )
        super().__init__(checkpoint, batch_size=batch_size, num_decoders=num_decoders)
        if bank is not None:
            model.bank = model.bank.replaced_by(bank)

    @property
    def bank(self) -> ClueBank:
        """The M diseases with their thresholds."""
        bank: ClueBank = self.checkpoint.model.bank
        return bank

    def perceive(self, studies: Iterable[Study]) -> Iterator[tuple[str, FloatArray] | Skipped]:
        """(study id, probability of every disease (M,)) or the reason for none per study, in order."""
        for outcomes, batch in self._chunks(studies):
            rows: Iterator[FloatArray] = iter(())
            if batch is not None:
                with torch.inference_mode(), self._computing():
                    probability_BM = self.checkpoint.model.perceive(batch)
                rows = iter(probability_BM.double().cpu().numpy())
            for views in outcomes:
                yield views if isinstance(views, Skipped) else _checked(views.study_id, next(rows))

    def chosen(self, study_id: str, probability_M: FloatArray) -> BoolArray:
        """Bool (M,): what the network would be told of a study with these probabilities.

        By its own policy where it writes from clues; stage 1, which has none, takes every disease above its threshold.
        """
        policy = getattr(self.checkpoint.model, "choose", None)
        if policy is None:
            return probability_M > np.array(self.bank.thresholds)
        told: BoolArray = policy([study_id], torch.from_numpy(probability_M[None]), self.bank).keep_BM[0].numpy()
        return told


def _checked(study_id: str, probability_M: FloatArray) -> tuple[str, FloatArray] | Skipped:
    if np.isfinite(probability_M).all():
        return study_id, probability_M
    return Skipped(study_id, "the network's probabilities are not numbers; its weights or this image are damaged")
