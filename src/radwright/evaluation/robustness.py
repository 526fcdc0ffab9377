"""How far a checkpoint's drafts fall when something goes wrong with the images: scores, and paired differences.

Shape legend: n studies, R resamples, M diseases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from radwright.evaluation.bootstrap import PERCENTILES, Interval, draw_counts
from radwright.evaluation.clue_labels import OPEN, PRESENT, ClueLabels
from radwright.evaluation.clues import MIN_POSITIVES
from radwright.evaluation.outside import OutsideScores
from radwright.evaluation.score import NUM_RESAMPLES, Evaluation, score
from radwright.metrics.base import FloatArray
from radwright.metrics.detection import auc

METRICS = ("finding_score", "clinical", "clinical_errors", "cider")
SHOWN = ("finding_score", "f1_14_micro", "fabricated", "missed", "cider")
"""Scores of the card, the one that plots and sentences speak of first; of ``fabricated`` and ``missed`` fewer is
better."""
LOWER_IS_BETTER = frozenset({"fabricated", "missed"})
AUC = "auc_macro"
CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class ConditionScores:
    """What the drafts score under one condition.

    Attributes:
        name: of what went wrong; ``CLEAN`` for the images as they are.
        amount: how far; None where it has no amounts.
        key: name and amount.
        meaning: what it is, for a reader.
        unit: what the amount counts; empty where there is none.
        num_studies: scored under this condition.
        scores: name in ``SHOWN`` (and ``AUC``) -> value with interval.
        differences: the same -> minus the clean value on the same studies, with the paired interval.
        changed: share of the studies whose draft differs from the clean one.
        num_distinct: different drafts.
        left_out: study id -> why it is not scored under this condition.
        why_not: why there are no scores at all; None where there are.
    """

    name: str
    amount: float | None
    key: str
    meaning: str
    unit: str = ""
    num_studies: int = 0
    scores: Mapping[str, Interval] = field(default_factory=dict)
    differences: Mapping[str, Interval] = field(default_factory=dict)
    changed: float = math.nan
    num_distinct: int = 0
    left_out: Mapping[str, str] = field(default_factory=dict)
    why_not: str | None = None

    @property
    def told(self) -> str:
        """What it is and what its amount counts, in words."""
        return f"{self.meaning}; {self.unit}" if self.unit else self.meaning

    def is_worse(self, name: str) -> bool:
        """Whether the paired interval of a score lies wholly on the bad side."""
        found = self.differences.get(name)
        if found is None:
            return False
        return found.low > 0 if name in LOWER_IS_BETTER else found.high < 0

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "name": self.name,
            "amount": self.amount,
            "meaning": self.meaning,
            "unit": self.unit,
            "n": self.num_studies,
            "scores": {name: value.plain() for name, value in self.scores.items()},
            "differences": {name: value.plain() for name, value in self.differences.items()},
            "changed": None if math.isnan(self.changed) else self.changed,
            "num_distinct": self.num_distinct,
            "left_out": dict(self.left_out),
            "why_not": self.why_not,
        }


@dataclass(frozen=True, slots=True)
class RobustnessCard:
    """A checkpoint's card.

    Attributes:
        checkpoint: what it is called.
        data: which studies, in words.
        clean: the scores on the images as they are.
        conditions: the scores under each condition.
        outside: what the drafts of another source assert; None where none was given.
        facts: where the numbers come from.
        notes: what a reader of the numbers should know.
    """

    checkpoint: str
    data: str
    clean: ConditionScores
    conditions: Sequence[ConditionScores]
    outside: OutsideScores | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """The scores that there are."""
        return [name for name in (*SHOWN, AUC) if name in self.clean.scores]

    @property
    def worst(self) -> ConditionScores | None:
        """The condition that costs the first score most; None where there are no scores."""
        scored = [each for each in self.conditions if SHOWN[0] in each.differences]
        return min(scored, key=lambda each: each.differences[SHOWN[0]].value, default=None)

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "checkpoint": self.checkpoint,
            "data": self.data,
            CLEAN: self.clean.plain(),
            "conditions": {each.key: each.plain() for each in self.conditions},
            "outside": None if self.outside is None else self.outside.plain(),
            "lower_is_better": sorted(LOWER_IS_BETTER),
            "notes": list(self.notes),
            **self.facts,
        }


def score_drafts(
    drafts: Mapping[str, str],
    clean: Mapping[str, str],
    references: Mapping[str, str],
    priors: Mapping[str, bool | None],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> tuple[dict[str, Interval], dict[str, Interval], Evaluation]:
    """Scores of drafts, and their paired differences from the clean drafts of the same studies.

    Args:
        drafts: study id -> draft under a condition; at least one of a study with a reference.
        clean: study id -> draft of the images as they are; studies without one do not count.
        references: study id -> the study's own report.
        priors: study id -> whether there is an earlier examination.
        num_resamples, seed: of the bootstrap over studies.

    Raises:
        ScoringError: no study has both drafts and a reference with words.
    """
    both = {study_id: text for study_id, text in drafts.items() if study_id in clean}
    evaluation = score(
        both,
        {study_id: references[study_id] for study_id in both},
        against={CLEAN: clean},
        priors=priors,
        metrics=METRICS,
        allow_missing=True,
        num_resamples=num_resamples,
        seed=seed,
    )
    kept = [name for name in SHOWN if name in evaluation.metrics]
    scores = {name: evaluation.metrics[name] for name in kept}
    return scores, {name: evaluation.differences[CLEAN][name] for name in kept}, evaluation


def share_changed(drafts: Mapping[str, str], clean: Mapping[str, str]) -> float:
    """Share of the studies in both whose draft is another text; NaN where there is none in both."""
    both = [study_id for study_id in drafts if study_id in clean]
    return sum(drafts[each] != clean[each] for each in both) / len(both) if both else math.nan


def compare_perception(
    probabilities: Mapping[str, FloatArray],
    clean: Mapping[str, FloatArray],
    labels: ClueLabels,
    diseases: Sequence[str],
    *,
    min_positives: int = MIN_POSITIVES,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> tuple[Interval, Interval] | None:
    """Macro-AUC of perceived diseases under a condition, and its paired difference from the clean images'.

    Args:
        probabilities: study id -> probability of every disease (M,) under the condition.
        clean: the same of the images as they are; only studies in both count.
        labels: of studies.
        diseases: names of the M diseases.
        min_positives: positives, and negatives, that a disease needs to count in the macro.
        num_resamples, seed: of the bootstrap over studies.

    Returns:
        None where no disease has enough of both.
    """
    study_ids = sorted(probabilities.keys() & clean.keys() & labels.of_study.keys())
    if not study_ids:
        return None
    draws_Rn = draw_counts(len(study_ids), num_resamples=num_resamples, seed=seed)
    values: list[tuple[float, float]] = []
    draws: list[tuple[FloatArray, FloatArray]] = []
    for place, name in enumerate(diseases):
        if name in labels.not_checkable:
            continue
        label_n = np.array([labels.of_study[study_id][name] for study_id in study_ids])
        known_n, present_n = label_n != OPEN, label_n == PRESENT
        if not min_positives <= present_n.sum() <= known_n.sum() - min_positives:
            continue
        both = [np.array([each[study_id][place] for study_id in study_ids])[known_n] for each in (probabilities, clean)]
        present = present_n[known_n]
        here, there = (float(auc(each, present)[0]) for each in both)
        values.append((here, here - there))
        here_R, there_R = (auc(each, present, draws_Rn[:, known_n]) for each in both)
        draws.append((here_R, here_R - there_R))
    if not values:
        return None
    own, difference = (
        _mean_interval([each[side] for each in values], [each[side] for each in draws]) for side in (0, 1)
    )
    return own, difference


def _mean_interval(values: Sequence[float], draws: Sequence[FloatArray]) -> Interval:
    """The mean over diseases; a resample is the mean over the diseases that it defines."""
    draws_RM = np.stack(draws, axis=1)
    defined_RM = ~np.isnan(draws_RM)
    some_R = defined_RM.any(axis=1)
    mean_R = np.where(defined_RM, draws_RM, 0).sum(axis=1)[some_R] / defined_RM.sum(axis=1)[some_R]
    low, high = np.percentile(mean_R, PERCENTILES) if len(mean_R) else (math.nan, math.nan)
    return Interval(math.fsum(values) / len(values), float(low), float(high))
