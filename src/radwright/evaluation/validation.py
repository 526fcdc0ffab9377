"""Scores that choose an epoch: free-running drafts of tune studies against their reports, no intervals, in a moment."""

from __future__ import annotations

from collections.abc import Sequence

from radwright.tables import METRICS, resolve
from radwright.text.cleaning import clean_report

VALIDATION_METRICS = ("bleu", "rouge_l", "cider")
CLINICAL_SCORES = {"finding_score": ("finding_score",), "clinical": ("f1_14_micro", "f1_14_macro")}
"""Metric -> those of its scores that are shown: what drafts say of findings, which n-grams alone do not tell."""


def validation_scores(drafts: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Corpus scores under the ``report`` convention, and the share of distinct drafts (a collapse shows at once).

    Args:
        drafts: one per study.
        references: one per study, none empty.
    """
    cleaned = [clean_report(draft) for draft in drafts]
    targets = [[clean_report(reference)] for reference in references]
    scores: dict[str, float] = {}
    for name in VALIDATION_METRICS:
        metric = resolve(METRICS, name, kind="metric")()
        values = metric.scores(metric.rows(cleaned, targets).sum(0))
        scores |= {score: float(value) for score, value in zip(metric.names, values, strict=True)}
    for name, wanted in CLINICAL_SCORES.items():
        metric = resolve(METRICS, name, kind="metric")()
        values = metric.scores(metric.rows(list(drafts), [[reference] for reference in references]).sum(0))
        named = dict(zip(metric.names, map(float, values), strict=True))
        scores |= {score: named[score] for score in wanted}
    scores["distinct_share"] = len(set(cleaned)) / max(1, len(cleaned))
    return scores
