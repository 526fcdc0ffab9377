"""What a planted confounder does to drafts: how often they go wrong as it comes and goes, and what it does by itself.

Every test study is drafted twice, with the confounder and without it and with nothing else changed. A test set in which
the confounder goes along with the finding, or against it, is then a choice of one of the two drafts per study: the same
patients, the same findings, only the confounder moves.

Shape legend: n studies, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radwright.errors import ScoringError
from radwright.evaluation.bootstrap import PERCENTILES, Interval, draw_counts
from radwright.metrics.base import FloatArray

BoolArray = NDArray[np.bool_]

SETS = ("equal", "zero", "reversed")
"""Test sets: the confounder goes along with the finding as in the strongest training, not at all, or as strongly
against it."""
NUM_RESAMPLES = 2000
LEARNT = 0.5
"""Youden's J (``youden``) from which on drafts say enough of the finding for their drop to mean anything."""
# 97.5 % points of Student's t for 1, 2, ... degrees of freedom; beyond them the last is a little too wide.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True, eq=False, slots=True)
class Pairs:
    """What the drafts of one system assert of one finding, with the confounder and without it.

    Attributes:
        present_N: whether the study has the finding.
        with_N: whether the draft of its version with the confounder asserts the finding.
        without_N: whether that of its version without does.
        sets: test set -> whether each of its studies has the confounder.
    """

    present_N: BoolArray
    with_N: BoolArray
    without_N: BoolArray
    sets: Mapping[str, BoolArray]

    def __post_init__(self) -> None:
        shapes = {array.shape for array in (self.present_N, self.with_N, self.without_N, *self.sets.values())}
        if len(shapes) != 1 or len(self.present_N) == 0 or self.present_N.ndim != 1:
            raise ScoringError(f"pairs of drafts: one value per study is needed everywhere, got shapes {shapes}")


def stress_scores(pairs: Pairs, counts_RN: FloatArray) -> dict[str, FloatArray]:
    """Every score, (R,), of resampled studies; NaN where there is nothing to divide by.

    Args:
        pairs: of n studies.
        counts_RN: how often each study is in each resample; a row of ones for the studies as they are.

    Returns:
        Per test set S: ``fabricated.S`` (of the studies without the finding, those whose draft asserts it),
        ``missed.S`` (of those with it, those whose draft does not), ``accuracy.S`` (1 - (fabricated + missed) / n) and
        ``f1.S``. ``drop``: accuracy where the confounder goes along minus accuracy where it is reversed. Accuracy,
        since prevalences are the same in all sets, silence counts where it is right, and the drop is then the sum
        of what individual drafts do; F1 gives no credit for a finding that is rightly left out.

        ``flips``: share of studies whose assertion changes with the confounder alone; ``towards``: those that assert
        the finding with it only; ``against``: those that assert it without it only. ``towards_absent`` is the same
        of studies that do not have the finding: fabricated by nothing but the confounder. ``effect``: towards minus
        against, the mean change of P(asserted).

        ``youden``: sensitivity + specificity - 1 (Youden's J), in [-1, 1], where exactly the studies with the finding
        have the confounder: 1 for a system that sees the finding and for one that copies the confounder, 0 for one
        that never or always asserts it, or asserts it by chance (see ``has_learnt``).
    """
    found: dict[str, FloatArray] = {}
    total_R = counts_RN.sum(1)
    present = pairs.present_N
    for name, effect_N in pairs.sets.items():
        said = np.where(effect_N, pairs.with_N, pairs.without_N)
        fabricated_R, missed_R, right_R = (
            counts_RN @ rows for rows in (said & ~present, ~said & present, said & present)
        )
        found[f"fabricated.{name}"] = _ratio(fabricated_R, counts_RN @ ~present)
        found[f"missed.{name}"] = _ratio(missed_R, counts_RN @ present)
        found[f"accuracy.{name}"] = 1 - (fabricated_R + missed_R) / total_R
        found[f"f1.{name}"] = _ratio(2 * right_R, 2 * right_R + fabricated_R + missed_R)
    if {"equal", "reversed"} <= pairs.sets.keys():
        found["drop"] = found["accuracy.equal"] - found["accuracy.reversed"]
    towards, against = pairs.with_N & ~pairs.without_N, pairs.without_N & ~pairs.with_N
    found["towards"], found["against"] = counts_RN @ towards / total_R, counts_RN @ against / total_R
    found["flips"] = found["towards"] + found["against"]
    found["effect"] = found["towards"] - found["against"]
    found["towards_absent"] = _ratio(counts_RN @ (towards & ~present), counts_RN @ ~present)
    sensitivity_R = _ratio(counts_RN @ (pairs.with_N & present), counts_RN @ present)
    found["youden"] = sensitivity_R - _ratio(counts_RN @ (pairs.without_N & ~present), counts_RN @ ~present)
    return found


def has_learnt(scores: Mapping[str, Interval]) -> bool:
    """Whether drafts follow the finding or the confounder at all, so that their drop means something (ours).

    A silent system has no drop, and neither has one that always asserts the finding, or does so by chance. F1 with the
    confounder independent does not tell them from others: always asserting a finding that half of the studies have
    gives .67, copying the confounder, which the benchmark is there to show, about .5. ``youden`` does.

    Args:
        scores: of ``measure_stress``.
    """
    return scores["youden"].value >= LEARNT


def _ratio(above_R: FloatArray, below_R: FloatArray) -> FloatArray:
    ratio: FloatArray = np.divide(above_R, below_R, out=np.full(len(above_R), math.nan), where=below_R > 0)
    return ratio


def measure_stress(
    pairs: Pairs, reference: Pairs | None = None, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> tuple[dict[str, Interval], dict[str, Interval]]:
    """Every score with its 95 % interval over studies, and the same of its paired difference to another system.

    Args:
        pairs: the system's.
        reference: the other system's, of the same studies; None: no differences.
        num_resamples: bootstrap resamples over studies.
        seed: of the resamples; the same one draws the same studies for every system.

    Raises:
        ScoringError: the two are of different studies.
    """
    counts_RN = draw_counts(len(pairs.present_N), num_resamples=num_resamples, seed=seed)
    ones_1N = np.ones((1, len(pairs.present_N)))
    values, resampled = stress_scores(pairs, ones_1N), stress_scores(pairs, counts_RN)
    scores = {name: _interval(values[name], resampled[name]) for name in values}
    if reference is None:
        return scores, {}
    if not np.array_equal(reference.present_N, pairs.present_N):
        raise ScoringError("paired differences: the two systems were drafted for different studies")
    others, other_resampled = stress_scores(reference, ones_1N), stress_scores(reference, counts_RN)
    return scores, {
        name: _interval(values[name] - others[name], resampled[name] - other_resampled[name]) for name in values
    }


def _interval(value_1: FloatArray, resampled_R: FloatArray) -> Interval:
    """Over the resamples that have the score."""
    known = resampled_R[~np.isnan(resampled_R)]
    value = float(value_1[0])
    if math.isnan(value) or not len(known):
        return Interval(value, math.nan, math.nan)
    low, high = np.percentile(known, PERCENTILES)
    return Interval(value, float(low), float(high))


def over_seeds(values: Sequence[float]) -> Interval:
    """Mean of a score over seeds with its 95 % interval by Student's t; no interval from one seed."""
    array = np.array(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return Interval(mean, math.nan, math.nan)
    half = _T[min(len(array) - 2, len(_T) - 1)] * float(array.std(ddof=1)) / math.sqrt(len(array))
    return Interval(mean, mean - half, mean + half)


def plain(scores: Mapping[str, Interval]) -> dict[str, Any]:
    """Scores as JSON-able values."""
    return {name: interval.plain() for name, interval in scores.items()}
