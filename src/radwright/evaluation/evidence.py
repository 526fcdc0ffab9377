"""Scores of evidence maps over studies: pointing game and deletion, with intervals, beside maps that know nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radwright.errors import ScoringError
from radwright.evaluation.bootstrap import PERCENTILES, Interval, draw_counts
from radwright.metrics.base import FloatArray

MEASURES = ("points", "near", "strongest", "deletion")
"""Pointing game in each view, exact and with a tolerance, that of all views together, and area of the deletion curve;
the higher, the better."""
CONTROLS = ("usual_place", "centre", "random")
"""Maps that have seen no image of the study; differences are taken from them."""
MAP_NAMES = {"usual_place": "usual place*", "centre": "centre*", "random": "random*", "perfect": "the mask itself"}
"""What maps that are not the network's are called."""
MEASURE_NAMES = {"points": "pointing", "near": "with tolerance", "strongest": "strongest", "deletion": "deletion, nats"}
_ORDER = ("occlusion", "attention", *CONTROLS, "perfect")
_VIEWS = ("points", "near")


@dataclass(frozen=True, slots=True)
class MapScores:
    """How well maps of one kind point.

    Attributes:
        name: ``occlusion``, ``attention``, one of ``CONTROLS``, or ``perfect`` (the mask itself).
        scores: measure -> its mean: over views in which a finding can be seen (``points``, ``near``, in [0, 1]), over
            sentences (``strongest``, in [0, 1]; ``deletion``, in nats).
        above: control -> measure -> the difference from it, in pairs.
    """

    name: str
    scores: Mapping[str, Interval]
    above: Mapping[str, Mapping[str, Interval]]

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "scores": {measure: interval.plain() for measure, interval in self.scores.items()},
            "above": {
                control: {measure: interval.plain() for measure, interval in found.items()}
                for control, found in self.above.items()
            },
        }


@dataclass(frozen=True, slots=True)
class EvidenceEvaluation:
    """How well a checkpoint's evidence points at what its sentences speak of.

    Attributes:
        num_studies: drafted.
        num_sentences: of all drafts.
        num_fabricated: sentences that assert a finding which the study does not show: they have no place.
        num_judged: sentences that assert a finding that is there.
        num_places: views in which these can be seen.
        chance: ``points``, ``near`` and ``strongest`` of a pixel drawn at random: the masks' mean share of the image.
        maps: the network's first.
        kinds: kind of finding -> its number of places, and by map the share that is pointed at (``points``).
        curves: map -> mean deletion curve, nats lost from 0 pixels deleted to all.
    """

    num_studies: int
    num_sentences: int
    num_fabricated: int
    num_judged: int
    num_places: int
    chance: Mapping[str, float]
    maps: tuple[MapScores, ...]
    kinds: Mapping[str, Mapping[str, float]]
    curves: Mapping[str, Sequence[float]]

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "num_studies": self.num_studies,
            "num_sentences": self.num_sentences,
            "num_fabricated": self.num_fabricated,
            "num_judged": self.num_judged,
            "num_places": self.num_places,
            "chance": {name: None if math.isnan(value) else value for name, value in self.chance.items()},
            "maps": {scores.name: scores.plain() for scores in self.maps},
            "kinds": {kind: dict(found) for kind, found in self.kinds.items()},
            "curves": {name: list(curve) for name, curve in self.curves.items()},
        }


def evaluate_evidence(
    rows: Sequence[Mapping[str, Any]], *, num_resamples: int = 1000, seed: int = 0
) -> EvidenceEvaluation:
    """Score the rows of ``radwright.evidence.judging.judge_study``.

    Args:
        rows: one per study.
        num_resamples: of the studies, for intervals; the same for all maps.
        seed: of the resamples.

    Raises:
        ScoringError: no sentence of any study could be judged.
    """
    sentences = [sentence for row in rows for sentence in row["sentences"]]
    if not sentences:
        raise ScoringError(
            f"no draft of {len(rows)} studies asserts a finding that is there, so no map can be judged; take more "
            "studies, or a checkpoint that was trained on the phantom"
        )
    names = [name for name in _ORDER if name in sentences[0]["maps"]]
    counts = draw_counts(len(rows), num_resamples=num_resamples, seed=seed)
    sums = {(name, measure): _sums(rows, name, measure) for name in names for measure in MEASURES}
    maps = []
    for name in names:
        scores = {measure: _mean(sums[name, measure], None, counts) for measure in MEASURES}
        above = {
            control: {measure: _mean(sums[name, measure], sums[control, measure], counts) for measure in MEASURES}
            for control in CONTROLS
            if control in names and name not in {*CONTROLS, "perfect"}
        }
        maps.append(MapScores(name, scores, above))
    chances = {
        measure: [value for sentence in sentences for value in sentence[key].values()]
        for measure, key in (("points", "chance"), ("near", "chance_near"))
    }
    chances["strongest"] = [sentence["chance_strongest"] for sentence in sentences]
    return EvidenceEvaluation(
        num_studies=len(rows),
        num_sentences=sum(row["num_sentences"] for row in rows),
        num_fabricated=sum(row["num_fabricated"] for row in rows),
        num_judged=len(sentences),
        num_places=len(chances["points"]),
        chance={measure: float(np.mean(values)) for measure, values in chances.items()},
        maps=tuple(maps),
        kinds=_by_kind(sentences, names),
        curves={
            name: np.mean([sentence["maps"][name]["curve"] for sentence in sentences], axis=0).round(5).tolist()
            for name in names
        },
    )


def _values(sentence: Mapping[str, Any], name: str, measure: str) -> list[float]:
    found = sentence["maps"][name][measure]
    return list(found.values()) if measure in _VIEWS else [found]


def _sums(rows: Sequence[Mapping[str, Any]], name: str, measure: str) -> FloatArray:
    """Sum and number of a measure's values in each study, (n, 2)."""
    per_study = [[value for sentence in row["sentences"] for value in _values(sentence, name, measure)] for row in rows]
    return np.array([[sum(values), len(values)] for values in per_study], dtype=np.float64)


def _mean(sums: FloatArray, minus: FloatArray | None, counts: FloatArray) -> Interval:
    """Mean of all values, or its difference from another map's on the same studies, with its interval."""
    difference = sums if minus is None else np.stack([sums[:, 0] - minus[:, 0], sums[:, 1]], axis=1)
    total = difference.sum(0)
    resampled = counts @ difference
    # A resample without a judged sentence says nothing.
    resampled = resampled[resampled[:, 1] > 0]
    low, high = np.percentile(resampled[:, 0] / resampled[:, 1], PERCENTILES)
    return Interval(float(total[0] / total[1]), float(low), float(high))


def _by_kind(sentences: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, dict[str, float]]:
    kinds = sorted({kind for sentence in sentences for kind in sentence["kinds"]})
    found: dict[str, dict[str, float]] = {}
    for kind in kinds:
        own = [sentence for sentence in sentences if kind in sentence["kinds"]]
        chance = [value for sentence in own for value in sentence["chance"].values()]
        found[kind] = {"num_places": len(chance), "chance": float(np.mean(chance))} | {
            name: float(np.mean([value for sentence in own for value in _values(sentence, name, "points")]))
            for name in names
        }
    return found
