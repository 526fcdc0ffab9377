"""Scores within groups of the evaluated studies, from the same per-study statistics as the scores of all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from radwright.evaluation.bootstrap import Interval, Resamples, score_with_intervals
from radwright.metrics.base import FloatArray, Metric

Members = Mapping[str, Mapping[str, Collection[str]]]
"""Fact -> name of a group -> ids of its studies."""


@dataclass(frozen=True, slots=True)
class GroupScores:
    """Scores of the drafts of some of the studies.

    ``metrics`` is empty for a single study: an interval over one study would say nothing.
    """

    num_studies: int
    metrics: dict[str, Interval]

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {"n": self.num_studies, "metrics": {name: value.plain() for name, value in self.metrics.items()}}


def score_groups(
    groups: Members,
    metrics: Sequence[Metric],
    rows: Sequence[FloatArray],
    study_ids: Sequence[str],
    *,
    num_resamples: int,
    seed: int,
) -> dict[str, dict[str, GroupScores]]:
    """Scores of every group that holds an evaluated study, resampled within the group.

    CIDEr weighs n-grams as over all evaluated studies, so that groups can be compared.

    Args:
        groups: which studies belong together; ids that are not evaluated count for nothing.
        metrics: whose ``rows`` these are.
        rows: per metric (n, S) statistics.
        study_ids: the n evaluated studies.
        num_resamples: bootstrap resamples.
        seed: of the resamples.
    """
    places = {study_id: place for place, study_id in enumerate(study_ids)}
    scored: dict[str, dict[str, GroupScores]] = {}
    for fact, members in groups.items():
        scored[fact] = {}
        for name, ids in members.items():
            chosen = sorted(places[study_id] for study_id in ids if study_id in places)
            found: dict[str, Interval] = {}
            if len(chosen) > 1:
                resamples = Resamples.draw(len(chosen), num_resamples=num_resamples, seed=seed)
                for metric, statistics in zip(metrics, rows, strict=True):
                    found |= score_with_intervals(metric, statistics[chosen], resamples)
            if chosen:
                scored[fact][name] = GroupScores(len(chosen), found)
    return scored
