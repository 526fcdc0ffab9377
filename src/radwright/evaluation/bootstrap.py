"""95 % intervals: studies are drawn again with replacement, and every metric is scored from its summed rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radwright.metrics.base import FloatArray, Metric

PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Interval:
    """A score, or a difference of two, over all studies, and the middle 95 % of its resamples."""

    value: float
    low: float
    high: float

    def plain(self) -> dict[str, float | None]:
        """The three numbers by name; None where there is none (nothing could be scored)."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {name: None if math.isnan(number) else number for name, number in numbers.items()}


def draw_counts(num_studies: int, *, num_resamples: int, seed: int) -> FloatArray:
    """How often each study is in each resample, (num_resamples, num_studies); every row sums to ``num_studies``.

    The same seed gives the same resamples, so two systems scored on the same studies are compared in pairs.
    """
    return Resamples.draw(num_studies, num_resamples=num_resamples, seed=seed).counts_Rn.astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Resamples:
    """What ``draw_counts`` draws, kept small: a byte per study and resample, and sums worked out part by part.

    Attributes:
        counts_Rn: (num_resamples, n) uint8. More than 255 of one study has a probability below 1e-500.
    """

    counts_Rn: npt.NDArray[np.uint8]

    @classmethod
    def draw(cls, num_studies: int, *, num_resamples: int, seed: int) -> Resamples:
        """The resamples of ``draw_counts``."""
        random = np.random.default_rng(seed)
        shares = np.full(num_studies, 1 / num_studies)
        counts_Rn = np.empty((num_resamples, num_studies), dtype=np.uint8)
        for rows in _parts(num_resamples, num_studies):
            counts_Rn[rows] = random.multinomial(num_studies, shares, size=rows.stop - rows.start)
        return cls(counts_Rn)

    def sums(self, rows_nS: FloatArray) -> FloatArray:
        """(num_resamples, S): statistics (n, S) summed over the studies of each resample."""
        sums_RS = np.empty((len(self.counts_Rn), rows_nS.shape[1]))
        for rows in _parts(*self.counts_Rn.shape):
            sums_RS[rows] = self.counts_Rn[rows].astype(np.float64) @ rows_nS
        return sums_RS


def _parts(num_resamples: int, num_studies: int, numbers: int = 2**19) -> Iterator[slice]:
    """Resamples in parts of about so many counts."""
    size = max(1, numbers // max(1, num_studies))
    return (slice(start, min(start + size, num_resamples)) for start in range(0, num_resamples, size))


def score_with_intervals(metric: Metric, rows: FloatArray, resamples: Resamples) -> dict[str, Interval]:
    """Every score of ``metric`` with its percentile interval.

    Args:
        metric: whose rows these are.
        rows: (n, S) statistics per study.
        resamples: of the n studies.
    """
    values = metric.scores(rows.sum(axis=0))
    low, high = np.percentile(metric.scores(resamples.sums(rows)), PERCENTILES, axis=0)
    return {name: Interval(float(values[k]), float(low[k]), float(high[k])) for k, name in enumerate(metric.names)}


def paired_differences(
    metric: Metric, rows: FloatArray, other_rows: FloatArray, resamples: Resamples
) -> dict[str, Interval]:
    """Every score of ``metric`` minus the same score of another system, with the interval of that difference.

    Both systems are scored on the same resamples, so what makes a resample easy for both falls out of the difference
    (the paired bootstrap; Koehn 2004).

    Args:
        metric: whose rows these are.
        rows: (n, S) statistics per study.
        other_rows: the other system's, of the same studies in the same order.
        resamples: of the n studies.
    """
    values = metric.scores(rows.sum(axis=0)) - metric.scores(other_rows.sum(axis=0))
    resampled = metric.scores(resamples.sums(rows)) - metric.scores(resamples.sums(other_rows))
    low, high = np.percentile(resampled, PERCENTILES, axis=0)
    return {name: Interval(float(values[k]), float(low[k]), float(high[k])) for k, name in enumerate(metric.names)}
