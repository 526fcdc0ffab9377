"""CheXpert's observations one by one: how often references and drafts assert each, and how well that agrees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from radwright.evaluation.bootstrap import PERCENTILES, Interval, Resamples
from radwright.findings.ontology import CHEXPERT
from radwright.metrics.base import FloatArray
from radwright.metrics.clinical import POLICIES, class_counts, class_scores

_PATHOLOGY = [place for place, name in enumerate(CHEXPERT) if name != "No Finding"]


@dataclass(frozen=True, slots=True)
class PolicyScores:
    """One class under one policy for open findings.

    Attributes:
        support: references that assert it.
        asserted: drafts that assert it.
        precision: with interval; 0 where no draft asserts it.
        recall: with interval; 0 where no reference asserts it.
        f1: with interval; 0 where neither does.
    """

    support: int
    asserted: int
    precision: Interval
    recall: Interval
    f1: Interval

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        scores = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {"support": self.support, "asserted": self.asserted} | {
            name: interval.plain() for name, interval in scores.items()
        }


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One observation of CheXpert.

    Attributes:
        name: as in ``CHEXPERT``.
        open_negative: where findings that are left open count as negative.
        open_positive: where they count as positive.
    """

    name: str
    open_negative: PolicyScores
    open_positive: PolicyScores

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {"open_negative": self.open_negative.plain(), "open_positive": self.open_positive.plain()}


SILENT_SHARE = 0.2
"""Drafts that assert something in fewer than this share of as many studies as the references do are silent."""
FEWEST_ASSERTING = 5
"""References with a finding that are needed to tell."""


@dataclass(frozen=True, slots=True)
class Asserting:
    """In how many studies anything is asserted at all, of CheXpert's observations but "No Finding".

    Attributes:
        num_studies: studies looked at.
        drafts: studies whose draft asserts something.
        references: studies whose reference does.
    """

    num_studies: int
    drafts: int
    references: int

    @property
    def silent(self) -> bool:
        """The alarm: the references assert findings, and the drafts hardly ever do."""
        return self.references >= FEWEST_ASSERTING and self.drafts < SILENT_SHARE * self.references

    def plain(self) -> dict[str, int | bool]:
        """As JSON-able values."""
        counts = {"num_studies": self.num_studies, "drafts": self.drafts, "references": self.references}
        return {**counts, "silent": self.silent}


def count_asserting(rows: FloatArray) -> Asserting:
    """Count over the (n, 89) rows of ``ClinicalF1``; what is left open does not count."""
    right, fabricated, missed = np.moveaxis(class_counts(rows)[:, 0, _PATHOLOGY], -1, 0)
    drafts, references = ((right + other).any(axis=-1).sum() for other in (fabricated, missed))
    return Asserting(len(rows), int(drafts), int(references))


def class_table(rows: FloatArray, resamples: Resamples) -> tuple[ClassScores, ...]:
    """Every observation with its scores and their intervals.

    Args:
        rows: (n, 89) rows of ``ClinicalF1``.
        resamples: of the n studies.
    """
    sums = rows.sum(axis=0)
    values = class_scores(sums)
    low, high = np.percentile(class_scores(resamples.sums(rows)), PERCENTILES, axis=0)
    totals = class_counts(sums)

    def scores(policy: int, place: int) -> PolicyScores:
        right, fabricated, missed = map(int, totals[policy, place])
        intervals = [
            Interval(float(values[policy, place, k]), float(low[policy, place, k]), float(high[policy, place, k]))
            for k in range(values.shape[-1])
        ]
        return PolicyScores(right + missed, right + fabricated, *intervals)

    assert len(POLICIES) == 2
    return tuple(ClassScores(name, scores(0, place), scores(1, place)) for place, name in enumerate(CHEXPERT))
