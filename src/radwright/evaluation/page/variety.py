"""How varied the drafts are, and the collapse alarm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from radwright.evaluation.page.content import DraftedStudy
from radwright.metrics.diversity import COLLAPSE_SHARE
from radwright.text.cleaning import clean_report

FEW_SHARE = 0.1
"""So few different drafts per study, or fewer, raise the alarm too, where the references are more varied."""
_ALARM_FROM = 10


@dataclass(frozen=True, slots=True)
class Variety:
    """How varied the drafts are.

    Attributes:
        num_drafts: drafts counted.
        num_distinct: different ones.
        num_distinct_references: different references of the same studies; None without references.
        most_common_share: share of the studies that got the most frequent draft.
        collapsed: the alarm: one draft for more than half of the studies, or at most one different draft for every
            ten, while the references are at least twice as varied.
    """

    num_drafts: int
    num_distinct: int
    num_distinct_references: int | None
    most_common_share: float
    collapsed: bool

    @classmethod
    def of(cls, studies: Sequence[DraftedStudy]) -> Variety:
        """Of at least one study; texts are compared cleaned."""
        drafts = Counter(clean_report(study.draft) for study in studies)
        references = Counter(clean_report(study.reference) for study in studies if study.reference is not None)
        total = len(studies)
        share = drafts.most_common(1)[0][1] / total
        same_reference = max(references.values(), default=0) / total
        repeated = total > 1 and share > COLLAPSE_SHARE and share > same_reference
        num_references = len(references) or None
        return cls(total, len(drafts), num_references, share, repeated or _are_few(total, len(drafts), num_references))

    @classmethod
    def scored(cls, scores: Mapping[str, Any] | None) -> Variety | None:
        """Of all scored studies, which may be more than the page shows; None where the scores do not tell."""
        told = (scores or {}).get("diversity")
        if not told:
            return None
        total, distinct, references = told["num_reports"], told["num_distinct"], told["num_distinct_references"]
        collapsed = bool(told["collapsed"]) or _are_few(total, distinct, references)
        return cls(total, distinct, references, told["most_common_share"], collapsed)


def _are_few(total: int, distinct: int, references: int | None) -> bool:
    few = total >= _ALARM_FROM and distinct <= FEW_SHARE * total
    return few and (references is None or 2 * distinct <= references)
