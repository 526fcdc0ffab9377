"""One phantom study's evidence, held against what the phantom drew: a plain row per study.

Shape legend: V views, S image side in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radwright.data.phantom import PhantomStudy
from radwright.data.phantom.overlay import VIEW_NAMES
from radwright.evidence.explainer import SentenceEvidence, StudyEvidence
from radwright.evidence.localisation import (
    centre_map,
    chance_of,
    curve_area,
    deletion_curves,
    points_at,
    random_map,
)
from radwright.evidence.phantom_truth import UsualPlaces, masks_of, spoken_of
from radwright.types import ReportModel

FloatArray = NDArray[np.float64]

TOLERANCE = 1 / 16
"""A maximum may lie so far beside a mask, as a share of the image's side (Zhang et al. 2016: 15 pixels)."""


def judge_study(
    model: ReportModel,
    evidence: StudyEvidence,
    study: PhantomStudy,
    usual: UsualPlaces,
    *,
    num_steps: int = 10,
    batch_size: int = 32,
) -> dict[str, Any]:
    """How well each sentence's maps point at what the sentence speaks of.

    A sentence is judged where it asserts a finding whose kind the study shows; in each view in which it can be seen.

    Args:
        model: that the evidence is of.
        evidence: of the study's draft.
        study: with its masks.
        usual: the population's usual places.
        num_steps: of a deletion curve.
        batch_size: images that go through the network at once.

    Returns:
        JSON-able: ``study_id``, ``report``, ``num_sentences``, ``num_fabricated`` (sentences that assert a finding
        which the study does not show), and ``sentences``: ``text``, ``log_prob``, ``kinds``, ``chance`` and
        ``chance_near`` by view, ``chance_strongest``, and ``maps``: by name the pointing game by view, exact
        (``points``) and with the tolerance (``near``), that of the one maximum over all views (``strongest``), the
        deletion ``curve`` and its area (``deletion``).
    """
    num_views, size_px = evidence.batch.images_BV1SS.shape[1], evidence.batch.images_BV1SS.shape[-1]
    views = VIEW_NAMES[:num_views]  # a network that takes one view of a study reads the frontal one
    tolerance_px = TOLERANCE * size_px
    sentences = [one.sentence for one in evidence.sentences]
    judged: dict[int, dict[str, Any]] = {}
    maps: dict[tuple[int, str], FloatArray] = {}
    num_fabricated = 0
    for place, one in enumerate(evidence.sentences):
        shown, fabricated = spoken_of(one.sentence.text, study)
        num_fabricated += bool(fabricated)
        if not shown:
            continue
        mask_VSS = masks_of(shown, study, size_px)[:num_views]
        seen = {view: number for number, view in enumerate(views) if mask_VSS[number].any()}
        if not seen:
            continue
        own = _maps_of(one, f"{study.study_id}/{place}", num_views, size_px)
        own |= {"usual_place": usual.of(shown)[:num_views], "perfect": mask_VSS.astype(np.float64)}
        maps |= {(place, name): map_VSS for name, map_VSS in own.items()}
        judged[place] = {
            "text": one.sentence.text,
            "log_prob": one.log_prob,
            "kinds": [finding.kind for finding in shown],
            "chance": {view: chance_of(mask_VSS[number]) for view, number in seen.items()},
            "chance_near": {
                view: chance_of(mask_VSS[number], tolerance_px=tolerance_px) for view, number in seen.items()
            },
            "chance_strongest": chance_of(_side_by_side(mask_VSS)),
            "maps": {
                name: {
                    "strongest": points_at(_side_by_side(map_VSS), _side_by_side(mask_VSS)),
                    "points": {view: points_at(map_VSS[number], mask_VSS[number]) for view, number in seen.items()},
                    "near": {
                        view: points_at(map_VSS[number], mask_VSS[number], tolerance_px=tolerance_px)
                        for view, number in seen.items()
                    },
                }
                for name, map_VSS in own.items()
            },
        }
    curves = deletion_curves(model, evidence.batch, sentences, maps, num_steps=num_steps, batch_size=batch_size)
    for (place, name), curve in curves.items():
        measured = judged[place]["maps"][name]
        measured["curve"] = [round(float(value), 5) for value in curve]
        measured["deletion"] = round(curve_area(curve), 5)
    return {
        "study_id": study.study_id,
        "report": evidence.report.text,
        "num_sentences": len(sentences),
        "num_fabricated": num_fabricated,
        "sentences": list(judged.values()),
    }


def _maps_of(one: SentenceEvidence, key: str, num_views: int, size_px: int) -> dict[str, FloatArray]:
    """The network's maps, and those that know nothing."""
    own: Mapping[str, Any] = {"occlusion": one.occlusion_VSS, "attention": one.attention_VSS}
    found = {name: map_VSS.numpy() for name, map_VSS in own.items() if map_VSS is not None}
    return found | {"centre": centre_map(size_px, num_views), "random": random_map(size_px, num_views, key)}


def _side_by_side(map_VSS: NDArray[Any]) -> NDArray[Any]:
    """All views as one image, (S, V * S)."""
    return np.concatenate(list(map_VSS), axis=1)
