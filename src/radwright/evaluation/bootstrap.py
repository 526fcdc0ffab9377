"""95 % intervals: studies are drawn again with replacement, and every metric is scored from its summed rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

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
    random = np.random.default_rng(seed)
    counts = random.multinomial(num_studies, np.full(num_studies, 1 / num_studies), size=num_resamples)
    return counts.astype(np.float64)


def score_with_intervals(metric: Metric, rows: FloatArray, counts: FloatArray) -> dict[str, Interval]:
    """Every score of ``metric`` with its percentile interval.

    Args:
        metric: whose rows these are.
        rows: (n, S) statistics per study.
        counts: (num_resamples, n) from ``draw_counts``.
    """
    values = metric.scores(rows.sum(axis=0))
    low, high = np.percentile(metric.scores(counts @ rows), PERCENTILES, axis=0)
    return {name: Interval(float(values[k]), float(low[k]), float(high[k])) for k, name in enumerate(metric.names)}


def paired_differences(
    metric: Metric, rows: FloatArray, other_rows: FloatArray, counts: FloatArray
) -> dict[str, Interval]:
    """Every score of ``metric`` minus the same score of another system, with the interval of that difference.

    Both systems are scored on the same resamples, so what makes a resample easy for both falls out of the difference
    (the paired bootstrap; Koehn 2004).

    Args:
        metric: whose rows these are.
        rows: (n, S) statistics per study.
        other_rows: the other system's, of the same studies in the same order.
        counts: (num_resamples, n) from ``draw_counts``.
    """
    values = metric.scores(rows.sum(axis=0)) - metric.scores(other_rows.sum(axis=0))
    resampled = metric.scores(counts @ rows) - metric.scores(counts @ other_rows)
    low, high = np.percentile(resampled, PERCENTILES, axis=0)
    return {name: Interval(float(values[k]), float(low[k]), float(high[k])) for k, name in enumerate(metric.names)}
