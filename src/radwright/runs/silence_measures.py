"""What is measured of a silence: probabilities fitted on some drafts, bars set on others, both held against more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radwright.data.splits import patient_fraction
from radwright.errors import ConfigError
from radwright.evaluation.page.silence import LevelRow
from radwright.evidence.confidence import Confidence, brier, fit_confidence
from radwright.evidence.features import FEATURES
from radwright.evidence.risk import (
    EVERYTHING,
    NUM_RESAMPLES,
    JudgedDrafts,
    Scored,
    chance_of_as_many,
    find_bar,
    kept_at_random,
    losses,
    resample,
)
from radwright.evidence.silence import Silence, digest_of, unreachable
from radwright.metrics.base import FloatArray
from radwright.metrics.detection import auc, calibration, calibration_error

BY_NAME, RANDOM, OURS = "by_name", "random", "ours"
ALARM = 0.01
"""A check speaks of a shift where so many losses have a smaller chance than this, shared out over the levels."""


@dataclass(frozen=True, slots=True)
class JudgedDraft:
    """A drafted study: its patient, its images' digest, and what its draft asserts.

    Attributes:
        asserted: (sentence, finding, whether the reference bears it out, features).
    """

    study_id: str
    patient: str
    digest: str
    asserted: tuple[tuple[int, str, bool, Mapping[str, float]], ...]


def _arrays(drafts: Sequence[JudgedDraft]) -> JudgedDrafts:
    return JudgedDrafts.of([[each[:3] for each in draft.asserted] for draft in drafts])


def _probabilities(confidence: Confidence, drafts: Sequence[JudgedDraft]) -> FloatArray:
    found = [each for draft in drafts for each in draft.asserted]
    return confidence.probabilities([each[1] for each in found], [each[3] for each in found])


def _fit(drafts: Sequence[JudgedDraft], names: Sequence[str]) -> Confidence:
    found = [each for draft in drafts for each in draft.asserted]
    return fit_confidence(
        [each[1] for each in found], [each[3] for each in found], [each[2] for each in found], names=names
    )


@dataclass(frozen=True, slots=True)
class FoundSilence:
    """What was measured.

    Attributes:
        silence: the calibration that it was measured of.
        rows: a row per level.
        values: everything, as JSON-able values but for numbers that are none.
        notes: what a reader of the numbers should know.
        alarm: why the bars cannot be trusted on these studies; empty where nothing speaks against it.
    """

    silence: Silence
    rows: tuple[LevelRow, ...]
    values: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    alarm: str = ""


def set_bars(
    drafts: Sequence[JudgedDraft],
    job: Mapping[str, Any],
    source: Mapping[str, Any],
    *,
    levels: Sequence[float],
    fit_share: float,
) -> FoundSilence:
    """Fit the probabilities on some patients' drafts and set the bars on the others'.

    Args:
        drafts: of the studies that calibrate.
        job: what the calibration holds for.
        source: where the studies come from.
        levels: of the table.
        fit_share: share of the patients that fits, by a hash.

    Raises:
        ConfigError: no study is left to set the bars.
    """
    fitting = [draft for draft in drafts if patient_fraction(draft.patient, purpose="confidence") < fit_share]
    fitted = {draft.study_id for draft in fitting}
    others = sorted((draft for draft in drafts if draft.study_id not in fitted), key=lambda draft: draft.digest)
    # Two studies of one patient are no two draws of a new patient: the first by digest stands for both.
    setting = list({draft.patient: draft for draft in reversed(others)}.values())
    if not setting:
        raise ConfigError(
            f"no study is left to set the bars ({len(drafts)} drafted, {len(fitting)} of them to fit on); take more "
            "studies, or a smaller --fit-share"
        )
    confidence, by_name = _fit(fitting, list(FEATURES)), _fit(fitting, [])
    judged, probability_A = _arrays(setting), _probabilities(confidence, setting)
    scored = Scored.of(judged, probability_A)
    orders = {OURS: probability_A, BY_NAME: _probabilities(by_name, setting), RANDOM: None}
    measured = resample(judged, orders, levels)
    rows = []
    for place, level in enumerate(levels):
        bar = find_bar(scored.limits_N, level)
        ours, named, drawn = (measured[name][place] if measured[name] else None for name in (OURS, BY_NAME, RANDOM))
        risk = math.nan if ours is None else ours.risk
        error = math.nan if ours is None else ours.error
        kept = [math.nan if each is None else each.kept for each in (ours, named, drawn)]
        rows.append(LevelRow(level, bar.bar, bar.reachable, risk, risk - 2 * error, risk + 2 * error, *kept))
    numbers = {
        "studies": len(drafts),
        "fit": len(fitting),
        "bars": len(setting),
        "same_patient": len(others) - len(setting),
    }
    values = {
        "studies": numbers,
        "resamples": NUM_RESAMPLES,
        **_measured(judged, probability_A, scored),
        "levels": [row.plain() for row in rows],
    }
    members = tuple(sorted({draft.digest for draft in drafts}))
    silence = Silence(
        job=dict(job),
        source={**source, **numbers},
        members=members,
        digest=digest_of(members),
        confidence=confidence,
        limits=tuple(np.sort(scored.limits_N)[::-1].tolist()),
        report=plain(values),
    )
    return FoundSilence(silence, tuple(rows), values, tuple(_notes(str(source.get("split")), numbers, judged, rows)))


def hold_up(drafts: Sequence[JudgedDraft], silence: Silence, *, levels: Sequence[float]) -> FoundSilence:
    """What a calibration's bars do to other studies' drafts."""
    judged, probability_A = _arrays(drafts), _probabilities(silence.confidence, drafts)
    scored = Scored.of(judged, probability_A)
    rows = []
    for level in levels:
        bar = silence.bar(level)
        loss_N = losses(scored.limits_N, bar.bar)
        risk = float(loss_N.mean())
        kept = scored.kept(bar.bar), math.nan, kept_at_random(judged, risk)
        count = int(loss_N.sum())
        chance = chance_of_as_many(count, len(loss_N), silence.num_studies, level)
        rows.append(LevelRow(level, bar.bar, bar.reachable, risk, *_wilson(count, len(loss_N)), *kept, chance))
    numbers = {"studies": len(drafts), "calibrated_on": silence.num_studies}
    values = {
        "studies": numbers,
        **_measured(judged, probability_A, scored),
        "levels": [row.plain() for row in rows],
    }
    above = [f"{row.level:g}" for row in rows if row.chance < ALARM / len(rows)]
    alarm = (
        f"The bars do not hold on these studies: at {', '.join(above)} more of them have a fabrication than studies "
        f"like those that calibrated would (chance below {ALARM:g} over all levels). Calibrate on studies like these."
        if above
        else ""
    )
    return FoundSilence(silence, tuple(rows), values, alarm=alarm)


def _measured(judged: JudgedDrafts, probability_A: FloatArray, scored: Scored) -> dict[str, Any]:
    """The drafts unfiltered, and how far the probabilities can be believed."""
    right_A = judged.right_A
    share = float(right_A.mean()) if len(right_A) else math.nan
    return {
        "unfiltered": {
            "risk": float(losses(scored.limits_N, EVERYTHING).mean()),
            "asserting": len(np.unique(judged.study_A)),
            "asserted": len(right_A),
            "right": int(right_A.sum()),
            "true_findings": judged.num_right,
        },
        "calibration": {
            "auc": float(auc(probability_A, right_A)[0]),
            "brier": brier(probability_A, right_A),
            "brier_of_share": share * (1 - share),
            "error": calibration_error(probability_A, right_A) if len(right_A) else math.nan,
            "reliability": calibration(probability_A, right_A).tolist() if len(right_A) else [],
        },
    }


def _notes(split: str, numbers: Mapping[str, int], judged: JudgedDrafts, rows: Sequence[LevelRow]) -> list[str]:
    notes = []
    if split == "tune":
        notes.append(
            "tune chose the weights and thresholds, so it flatters them: new studies may be worse than the bars say"
        )
    if numbers["same_patient"]:
        notes.append(f"{numbers['same_patient']} further studies of patients who have set a bar already set none")
    if not len(judged.study_A):
        notes.append("no draft asserts anything: every level is kept because nothing is said")
    if lost := [row for row in rows if not row.reachable]:
        notes.append(unreachable(lost[-1].level, judged.num_studies))
    return notes


def _wilson(count: int, number: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    z = 1.959964
    centre = (count + z * z / 2) / (number + z * z)
    half = z / (number + z * z) * math.sqrt(count * (number - count) / number + z * z / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def plain(values: Any) -> Any:
    """The same with None for what is not a number."""
    if isinstance(values, Mapping):
        return {name: plain(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [plain(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values
