"""How well numbers find what is there: AUC, the threshold with the best F1, calibration. No torch.

Shape legend: n studies, R resamples, Q bins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from radwright.metrics.base import FloatArray

BoolArray = NDArray[np.bool_]


def auc(scores: FloatArray, present: BoolArray, counts: FloatArray | None = None) -> FloatArray:
    """Area under the ROC curve: the chance that a study with the finding scores above one without it; ties count half.

    One sort serves all resamples; the area is the Mann-Whitney statistic of weighted studies.

    Args:
        scores: (n,) any numbers.
        present: (n,) which studies have the finding.
        counts: (R, n) how often each study is in each resample; None: once, R = 1.

    Returns:
        (R,); NaN where a resample has no study with, or none without.
    """
    weights_RN = np.ones((1, len(scores))) if counts is None else counts
    order = np.argsort(scores, kind="stable")
    group_N = np.unique(scores[order], return_inverse=True)[1]
    starts = np.flatnonzero(np.diff(group_N, prepend=-1)) if len(group_N) else np.zeros(0, dtype=np.int64)
    sorted_RN, present_N = weights_RN[:, order], present[order]
    if not len(starts):
        return np.full(len(weights_RN), np.nan)
    with_RG = np.add.reduceat(sorted_RN * present_N, starts, axis=1)
    without_RG = np.add.reduceat(sorted_RN * ~present_N, starts, axis=1)
    below_RG = np.cumsum(without_RG, axis=1) - without_RG
    won_R = (with_RG * (below_RG + without_RG / 2)).sum(1)
    pairs_R = with_RG.sum(1) * without_RG.sum(1)
    area_R: FloatArray = np.divide(won_R, pairs_R, out=np.full(len(won_R), np.nan), where=pairs_R > 0)
    return area_R


def f1(chosen: BoolArray, present: BoolArray) -> float:
    """2 right / (chosen + present); 0 where both are empty."""
    total = int(chosen.sum()) + int(present.sum())
    return 2 * int((chosen & present).sum()) / total if total else 0.0


def best_threshold(
    scores: FloatArray, present: BoolArray, *, beta: float = 1.0, most: int | None = None
) -> float | None:
    """The threshold theta whose choice ``score > theta`` has the highest F-beta, midway between two scores.

    F-beta = (1 + beta^2) right / (chosen + beta^2 present). Of equals the highest is taken (the fewest chosen).

    Args:
        scores: (n,) finite.
        present: (n,).
        beta: how many times as much recall weighs as precision.
        most: at most so many studies are chosen, if need be none; None: any number.

    Returns:
        None where no study has the finding, or none lacks it: nothing can be learnt then.
    """
    if not present.any() or present.all():
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(present[order])
    ends = np.flatnonzero(np.diff(ranked, append=-np.inf))
    values = hits[ends] / (ends + 1 + beta**2 * hits[-1])
    if most is not None:
        values = values[ends < most]
    if not len(values):
        return matched_threshold(scores, 0)
    place = int(np.argmax(values))
    last = ends[place]
    below = ranked[last + 1] if last + 1 < len(ranked) else ranked[last] - 2 * abs(ranked[last]) - 1e-6
    return float((ranked[last] + below) / 2)


def matched_threshold(scores: FloatArray, number: int) -> float:
    """The threshold that at most ``number`` of the scores are above: ties at the place are all left out.

    Args:
        scores: (n,) finite, n at least 1.
        number: at least 0.
    """
    ranked = np.sort(scores)[::-1]
    if number >= len(ranked):
        return float(ranked[-1]) - 1e-6
    return float(ranked[number]) if number and ranked[number - 1] == ranked[number] else _between(ranked, number)


def _between(ranked: FloatArray, number: int) -> float:
    above = ranked[number - 1] if number else max(1.0, ranked[0])
    return float((above + ranked[number]) / 2) if above > ranked[number] else float(ranked[number])


def calibration(probabilities: FloatArray, present: BoolArray, *, num_bins: int = 10) -> FloatArray:
    """Reliability by bins of equal numbers of studies (Q, 3): mean probability, observed share, studies.

    Args:
        probabilities: (n,) in [0, 1].
        present: (n,).
        num_bins: at most so many; fewer where there are fewer studies.
    """
    order = np.argsort(probabilities, kind="stable")
    rows = [
        (probabilities[share].mean(), present[share].mean(), len(share))
        for share in np.array_split(order, max(1, min(num_bins, len(order))))
        if len(share)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def calibration_error(probabilities: FloatArray, present: BoolArray, *, num_bins: int = 10) -> float:
    """Expected calibration error: the mean over studies of |mean probability - observed share| of their bin."""
    table = calibration(probabilities, present, num_bins=num_bins)
    return float((np.abs(table[:, 0] - table[:, 1]) * table[:, 2]).sum() / max(1, table[:, 2].sum()))
