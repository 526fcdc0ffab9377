"""How well a network perceives diseases: AUC, F1 and calibration per disease and over them, with 95 % intervals.

Shape legend: n studies, M diseases, R resamples.
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
from radwright.evaluation.clue_labels import OPEN, PRESENT, ClueLabels
from radwright.methods.trrg.clue_bank import FALLBACK_THRESHOLD, ClueBank, Disease
from radwright.metrics.detection import auc, calibration, calibration_error

NUM_RESAMPLES = 1000
MIN_POSITIVES = 10
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class DiseaseScores:
    """How well one disease is perceived.

    Attributes:
        name, finding: of the bank.
        threshold: above which it is a clue.
        calibrated: whether it was found on ``tune`` or set; otherwise it is 0.5.
        num_studies: with a label, present or absent.
        num_positives: present, of them.
        num_open: left open, not among ``num_studies``.
        num_chosen: above the threshold, of ``num_studies``.
        auc, f1: with 95 % intervals; NaN where they are not defined.
        precision, recall: at the threshold; NaN where nothing is chosen or present.
        calibration_error: expected, by bins of equal numbers of studies.
        reliability: bins as (mean probability, share of positives, studies).
        in_macro: enough positives and negatives to count in the mean over diseases.
        num_undefined: resamples without a positive or without a negative, which its intervals leave out.
    """

    name: str
    finding: str | None
    threshold: float
    calibrated: bool
    num_studies: int
    num_positives: int
    num_open: int
    num_chosen: int
    auc: Interval
    f1: Interval
    precision: float
    recall: float
    calibration_error: float
    reliability: tuple[tuple[float, float, int], ...]
    in_macro: bool
    num_undefined: int

    def plain(self) -> dict[str, Any]:
        """As JSON-able values; None for what is not defined."""
        values = {name: getattr(self, name) for name in self.__slots__}
        values |= {"auc": self.auc.plain(), "f1": self.f1.plain()}
        values["reliability"] = [list(bin_) for bin_ in self.reliability]
        return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in values.items()}


@dataclass(frozen=True, slots=True)
class ClueEvaluation:
    """How well a bank's diseases are perceived.

    Attributes:
        diseases: those that something is known of, in the bank's order.
        not_checkable: the others, and why.
        auc, f1: mean over the diseases with ``in_macro``; NaN without one.
        num_studies: with labels and probabilities.
        num_incomplete: resamples in which a disease of the macro lacks positives or negatives.
        min_positives: positives, and negatives, that a disease needs for the macro.
        num_resamples, seed: of the bootstrap.
    """

    diseases: tuple[DiseaseScores, ...]
    not_checkable: Mapping[str, str]
    auc: Interval
    f1: Interval
    num_studies: int
    num_incomplete: int
    min_positives: int
    num_resamples: int
    seed: int

    @property
    def in_macro(self) -> tuple[str, ...]:
        """Names of the diseases behind the macro scores."""
        return tuple(disease.name for disease in self.diseases if disease.in_macro)

    @property
    def notes(self) -> tuple[str, ...]:
        """How the numbers are to be read."""
        drawn = f"intervals: {self.num_resamples} resamples of {self.num_studies} studies (seed {self.seed}); "
        drawn += "a resample without a positive or without a negative of a disease is left out for that disease"
        if self.in_macro:
            drawn += (
                ", and the macro of such a resample is the mean over its other diseases "
                f"({self.num_incomplete} of {self.num_resamples})"
            )
            return (drawn,)
        need = f"no disease has {self.min_positives} positives and as many negatives, so there is no macro; "
        return need + "score more studies, or lower --min-positives", drawn

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "num_studies": self.num_studies,
            "min_positives": self.min_positives,
            "num_resamples": self.num_resamples,
            "seed": self.seed,
            "macro": {
                "diseases": list(self.in_macro),
                "auc": self.auc.plain(),
                "f1": self.f1.plain(),
                "num_incomplete_resamples": self.num_incomplete,
            },
            "diseases": [disease.plain() for disease in self.diseases],
            "not_checkable": dict(self.not_checkable),
        }


def evaluate_clues(
    probabilities: Mapping[str, FloatArray],
    labels: ClueLabels,
    bank: ClueBank,
    *,
    min_positives: int = MIN_POSITIVES,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> ClueEvaluation:
    """Hold probabilities against labels; the order of the studies changes nothing.

    Args:
        probabilities: study id -> probability of every disease of the bank (M,).
        labels: of studies; those in only one of both are left out.
        bank: M diseases with their thresholds.
        min_positives: positives, and negatives, that a disease needs to count in the macro.
        num_resamples: R of the bootstrap over studies.
        seed: of the bootstrap.

    Raises:
        ScoringError: no study has both labels and probabilities.
    """
    study_ids = sorted(probabilities.keys() & labels.of_study.keys())
    if not study_ids:
        raise ScoringError("no study has both labels and probabilities: there is nothing to hold against each other")
    counts_RN = draw_counts(len(study_ids), num_resamples=num_resamples, seed=seed)
    probability_NM = np.stack([probabilities[study_id] for study_id in study_ids])
    scores, draws = [], []
    for column, disease in enumerate(bank.diseases):
        if disease.name in labels.not_checkable:
            continue
        label_N = np.array([labels.of_study[study_id][disease.name] for study_id in study_ids])
        found, drawn = _disease(disease, probability_NM[:, column], label_N, counts_RN, min_positives)
        scores.append(found)
        draws += [drawn] if found.in_macro else []
    counted = [found for found in scores if found.in_macro]
    auc_RD, f1_RD = (np.stack(kind, axis=1) for kind in zip(*draws, strict=True)) if draws else (_NONE, _NONE)
    return ClueEvaluation(
        diseases=tuple(scores),
        not_checkable=dict(labels.not_checkable),
        auc=_interval(_mean([found.auc.value for found in counted]), _mean_of_defined(auc_RD)),
        f1=_interval(_mean([found.f1.value for found in counted]), _mean_of_defined(f1_RD)),
        num_studies=len(study_ids),
        num_incomplete=int(np.isnan(auc_RD).any(axis=1).sum()),
        min_positives=min_positives,
        num_resamples=num_resamples,
        seed=seed,
    )


_NONE: FloatArray = np.zeros((0, 0))


def _disease(
    disease: Disease, probability_N: FloatArray, label_N: NDArray[np.int64], counts_RN: FloatArray, min_positives: int
) -> tuple[DiseaseScores, tuple[FloatArray, FloatArray]]:
    """Its scores, and AUC and F1 of every resample (R,)."""
    known_N = label_N != OPEN
    probability, present, counts = probability_N[known_N], label_N[known_N] == PRESENT, counts_RN[:, known_N]
    threshold = FALLBACK_THRESHOLD if disease.threshold is None else disease.threshold
    chosen = probability > threshold
    auc_R, f1_R = auc(probability, present, counts), _f1(chosen, present, counts)
    once = np.ones((1, len(present)))
    num_positives, num_chosen, right = int(present.sum()), int(chosen.sum()), int((chosen & present).sum())
    scores = DiseaseScores(
        name=disease.name,
        finding=disease.finding,
        threshold=threshold,
        calibrated=disease.threshold is not None,
        num_studies=len(present),
        num_positives=num_positives,
        num_open=int((~known_N).sum()),
        num_chosen=num_chosen,
        auc=_interval(float(auc(probability, present)[0]), auc_R),
        f1=_interval(float(_f1(chosen, present, once)[0]), f1_R),
        precision=right / num_chosen if num_chosen else math.nan,
        recall=right / num_positives if num_positives else math.nan,
        calibration_error=calibration_error(probability, present) if len(present) else math.nan,
        reliability=tuple(
            (float(mean), float(share), int(number)) for mean, share, number in calibration(probability, present)
        ),
        in_macro=min_positives <= num_positives <= len(present) - min_positives,
        num_undefined=int(np.isnan(auc_R).sum()),
    )
    return scores, (auc_R, f1_R)


def _f1(chosen: BoolArray, present: BoolArray, counts_RN: FloatArray) -> FloatArray:
    """F1 of every resample (R,); NaN in one without a positive or without a negative, as the AUC is."""
    right_R, chosen_R, present_R = (counts_RN @ kind.astype(np.float64) for kind in (chosen & present, chosen, present))
    defined_R = (present_R > 0) & (present_R < counts_RN.sum(axis=1))
    total_R = chosen_R + present_R
    scores: FloatArray = np.divide(2 * right_R, total_R, out=np.full(len(counts_RN), np.nan), where=defined_R)
    return scores


def _interval(value: float, draws_R: FloatArray) -> Interval:
    defined = draws_R[~np.isnan(draws_R)]
    if math.isnan(value) or not len(defined):
        return Interval(value, math.nan, math.nan)
    low, high = np.percentile(defined, PERCENTILES)
    return Interval(value, float(low), float(high))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _mean_of_defined(draws_RD: FloatArray) -> FloatArray:
    """Mean over the diseases that each resample defines (R,); NaN where it defines none."""
    defined_RD = ~np.isnan(draws_RD)
    number_R = defined_RD.sum(axis=1)
    total_R = np.where(defined_RD, draws_RD, 0.0).sum(axis=1)
    mean_R: FloatArray = np.divide(total_R, number_R, out=np.full(len(draws_RD), np.nan), where=number_R > 0)
    return mean_R
