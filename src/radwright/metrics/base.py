"""What a metric is: one row of statistics per study, and scores of summed rows.

A corpus score is ``scores(rows.sum(0))`` and a bootstrap resample is ``scores(counts @ rows)``, so intervals cost one
matrix product and never look at a text again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class Metric(Protocol):
    """A score of drafts against references whose value over a corpus follows from additive statistics."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the scores are called, in the order of the last axis of ``scores``."""
        ...

    @property
    def higher_is_better(self) -> tuple[bool, ...]:
        """Per name, whether more is better; False for counts of errors."""
        ...

    @property
    def variant(self) -> str:
        """The choices behind the numbers, for the signature."""
        ...

    @property
    def reads_as_written(self) -> bool:
        """Whether ``rows`` wants texts as they were written; False: as the scoring convention prepares them."""
        ...

    def rows(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> FloatArray:
        """Statistics of each study.

        Args:
            hypotheses: n drafts, already cleaned (words are separated by spaces), or as written where
                ``reads_as_written``. A draft may be empty.
            references: n non-empty lists of references, prepared alike.

        Returns:
            (n, S) statistics that add up over studies.
        """
        ...

    def scores(self, sums: FloatArray) -> FloatArray:
        """Scores (..., len(names)) of summed statistics (..., S); of a single study's row: that study's scores."""
        ...


def check_pairs(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raise ValueError unless every draft has at least one reference."""
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} drafts but {len(references)} lists of references")
    if not all(references):
        raise ValueError("every draft needs at least one reference")
    if any(isinstance(texts, str) for texts in references):
        raise ValueError("references must be lists of texts: [[reference], ...]")


def divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Element-wise quotient; 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)


def add_up(places: NDArray[np.int64], values: FloatArray, length: int) -> FloatArray:
    """(length,) sum of the values at each place, in their order; 0 where there is none."""
    # bincount of nothing gives integers.
    return np.bincount(places, values, minlength=length).astype(np.float64, copy=False)
