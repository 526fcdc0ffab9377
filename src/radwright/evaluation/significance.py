"""Whether two systems differ at all: approximate randomisation on the metrics' rows, and Holm's correction.

If the systems were interchangeable, swapping their reports of any study would change nothing but chance. So the
difference is held against those after random swaps (Noreen 1989; Riezler and Maxwell, ACL workshop 2005).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from radwright.metrics.base import FloatArray, Metric

NUM_PERMUTATIONS = 10_000
_SWAPS_AT_ONCE = 1 << 18
_TIE = 1e-10


def randomisation_p_values(
    metrics: Sequence[Metric],
    rows: Sequence[FloatArray],
    other_rows: Sequence[FloatArray],
    *,
    num_permutations: int = NUM_PERMUTATIONS,
    seed: int,
) -> dict[str, float]:
    """Two-sided p of every score's difference: (1 + swaps with at least this difference) / (1 + swaps).

    All metrics see the same swaps, and no text is looked at: what a swap adds to the summed rows is one matrix product.
    A difference that equals the observed one up to rounding counts as reaching it, so two equal systems have p = 1. A
    score that is not a number has p = 1.

    Args:
        metrics: whose rows these are.
        rows: per metric (n, S) statistics.
        other_rows: the other system's, of the same studies in the same order.
        num_permutations: random swaps, each study's with probability 1/2.
        seed: of the swaps.
    """
    num_studies = len(rows[0]) if rows else 0
    sums, other_sums = ([each.sum(axis=0) for each in side] for side in (rows, other_rows))
    changes = [theirs - own for own, theirs in zip(rows, other_rows, strict=True)]
    observed = [
        metric.scores(own) - metric.scores(theirs)
        for metric, own, theirs in zip(metrics, sums, other_sums, strict=True)
    ]
    # Rounding grows with the scores that are subtracted, not with their difference.
    bounds = [
        np.abs(difference) - _TIE * np.maximum(np.abs(metric.scores(own)), np.abs(metric.scores(theirs)))
        for metric, difference, own, theirs in zip(metrics, observed, sums, other_sums, strict=True)
    ]
    reached = [np.zeros(len(metric.names), dtype=np.int64) for metric in metrics]
    random = np.random.default_rng(seed)
    at_once = max(1, _SWAPS_AT_ONCE // max(1, num_studies))
    for begin in range(0, num_permutations, at_once):
        number = min(at_once, num_permutations - begin)
        swapped = (random.random((number, num_studies)) < 0.5).astype(np.float64)
        for k, metric in enumerate(metrics):
            moved = swapped @ changes[k]
            differences = metric.scores(sums[k] + moved) - metric.scores(other_sums[k] - moved)
            reached[k] += (~(np.abs(differences) < bounds[k])).sum(axis=0)
    return {
        name: float((1 + count) / (1 + num_permutations))
        for metric, counts in zip(metrics, reached, strict=True)
        for name, count in zip(metric.names, counts, strict=True)
    }


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p of every test, in [0, 1]; of those at most ``level``, all are right with probability 1 - ``level``.

    The k-th smallest of m is multiplied by m - k + 1 and never put below a smaller one (Holm 1979). It holds however
    the tests depend on each other.
    """
    adjusted: dict[str, float] = {}
    least = 0.0
    for place, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        least = max(least, min(1.0, p_values[name] * (len(p_values) - place)))
        adjusted[name] = least
    return {name: adjusted[name] for name in p_values}
