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
    Resampled,
    Scored,
    chance_of_as_many,
    fewest_studies,
    find_bar,
    kept_at_random,
    losses,
    resample,
)
from radwright.evidence.silence import Silence, digest_of, unreachable
from radwright.metrics.base import FloatArray
from radwright.metrics.detection import auc, calibration, calibration_error

BY_NAME, RANDOM, OURS = "by_name", "random", "ours"
_UNKNOWN = Resampled(math.nan, math.nan, math.nan, math.nan)
DEFAULT_RISK = 0.1
"""The level where none is named; a calibration must be able to serve it."""
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


def fits(patient: str, fit_share: float) -> bool:
    """Whether a patient's studies fit the probabilities; all others set bars. By a hash of the patient."""
    return patient_fraction(patient, purpose="confidence") < fit_share


def check_numbers(patients: Sequence[str], *, levels: Sequence[float], fit_share: float) -> None:
    """Hold that enough studies are left to set bars that are not silence, before they are drafted as well as after.

    Args:
        patients: of the studies that calibrate, one each.
        levels: of the table; one at least, and ``DEFAULT_RISK``, must be to be had.
        fit_share: as for ``set_bars``.

    Raises:
        ConfigError: they are too few; the message names the numbers and the cure.
    """
    num_setting = len({patient for patient in patients if not fits(patient, fit_share)})
    level = min(max(levels), DEFAULT_RISK)
    if num_setting < fewest_studies(level):
        fitting = sum(fits(patient, fit_share) for patient in patients)
        raise ConfigError(
            f"{len(patients)} studies to calibrate on, of which {fitting} fit the probabilities, leave {num_setting} "
            f"patients to set the bars: level {level:g} takes {fewest_studies(level)} at least (level >= 1 / (n + 1)), "
            "with fewer there is silence only. Nothing was calibrated; take more studies (a larger --share or --limit, "
            "a larger split), or a smaller --fit-share"
        )


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
        ConfigError: too few studies are left to set the bars (``check_numbers``).
    """
    fitting = [draft for draft in drafts if fits(draft.patient, fit_share)]
    fitted = {draft.study_id for draft in fitting}
    others = sorted((draft for draft in drafts if draft.study_id not in fitted), key=lambda draft: draft.digest)
    # Two studies of one patient are no two draws of a new patient: the first by digest stands for both.
    setting = list({draft.patient: draft for draft in reversed(others)}.values())
    check_numbers([draft.patient for draft in drafts], levels=levels, fit_share=fit_share)
    confidence, by_name = _fit(fitting, list(FEATURES)), _fit(fitting, [])
    judged, probability_A = _arrays(setting), _probabilities(confidence, setting)
    scored = Scored.of(judged, probability_A)
    orders = {OURS: probability_A, BY_NAME: _probabilities(by_name, setting), RANDOM: None}
    # Half of few studies has only silence for a level that all of them reach: that would say nothing of the bar.
    halved = [level for level in levels if len(setting) // 2 >= fewest_studies(level)]
    measured = {name: dict(zip(halved, rows, strict=True)) for name, rows in resample(judged, orders, halved).items()}
    rows = []
    for level in levels:
        bar = find_bar(scored.limits_N, level)
        found = [measured[name].get(level, _UNKNOWN) for name in (OURS, BY_NAME, RANDOM)]
        risk, error = found[0].risk, found[0].error
        spread = risk, risk - 2 * error, risk + 2 * error
        halves = [each.kept for each in found]
        rows.append(LevelRow(level, bar.bar, bar.reachable, scored.kept(bar.bar), *spread, *halves))
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
        count = int(loss_N.sum())
        spread = risk, *_wilson(count, len(loss_N))
        others = math.nan, math.nan, kept_at_random(judged, risk)
        chance = chance_of_as_many(count, len(loss_N), silence.num_studies, level)
        rows.append(LevelRow(level, bar.bar, bar.reachable, scored.kept(bar.bar), *spread, *others, chance))
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
    if few := [row.level for row in rows if row.reachable and not math.isfinite(row.risk)]:
        notes.append(
            f"level {', '.join(f'{level:g}' for level in few)}: the bar stands, but half of the {judged.num_studies} "
            f"studies that set it is too few for such a level (it takes {fewest_studies(min(few))}), so halvings say "
            "nothing of its risk; --check on other studies does"
        )
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
