"""Silence put in force: a checkpoint's calibration held against what is to be drafted, and its own studies kept out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radwright.errors import CheckpointError, ConfigError, near
from radwright.evidence.asserting import CALIBRATED, Asserter, Filter
from radwright.evidence.risk import Bar
from radwright.evidence.silence import (
    Silence,
    find_silence,
    network_digest,
    plain_job,
    read_silence,
    study_digest,
    unreachable,
)
from radwright.findings import VERSION
from radwright.inference.predictor import Predictor
from radwright.runs.clue_policies import CluePlan
from radwright.runs.silence_measures import DEFAULT_RISK
from radwright.types import Skipped, Study

UNCERTAIN = ("mark", "drop")
"""What can become of a sentence under the bar; the first where a level alone is given."""


def job_of(predictor: Predictor, plan: CluePlan | None) -> dict[str, Any]:
    """What a calibration holds for: network, decoding, clues, and the reader of reports."""
    return plain_job(
        {
            "weights": predictor.fingerprint,
            "network": network_digest(predictor.checkpoint.config.plain()),
            "decoding": predictor.decoding.plain(),
            "clues": None if plan is None else plan.plain(),
            "reader": VERSION,
        }
    )


@dataclass(frozen=True, slots=True)
class SilencePlan:
    """A level of risk that this checkpoint's drafts are to keep.

    Attributes:
        asserter: drafts and filters.
        silence: the calibration.
        bar: of the level.
        uncertain: what becomes of a sentence under the bar, one of ``UNCERTAIN``.
    """

    asserter: Asserter
    silence: Silence
    bar: Bar
    uncertain: str

    @property
    def marks(self) -> bool:
        """Whether sentences under the bar stay and are marked; else they are left out."""
        return self.uncertain == UNCERTAIN[0]

    def plain(self) -> dict[str, Any]:
        """What drafts depend on, for their identity and in the summary."""
        return {
            "risk": self.bar.level,
            "bar": self.bar.bar,
            "uncertain": self.uncertain,
            "studies": self.silence.num_studies,
            "digest": self.silence.digest,
        }

    def notes(self, skipped: Sequence[Skipped], num_reports: int) -> list[str]:
        """What a reader of the drafts must know.

        Args:
            skipped: studies that have no draft.
            num_reports: drafts that there are.
        """
        notes = [] if self.bar.reachable else [unreachable(self.bar.level, self.silence.num_studies)]
        if num := sum(study.reason == CALIBRATED for study in skipped):
            notes.append(
                f"{num} {'study' if num == 1 else 'studies'} of these calibrated the checkpoint's silence and "
                f"{'is' if num == 1 else 'are'} skipped: the bars promise nothing for them. Draft other studies, or "
                "these without --risk and --uncertain"
            )
        if not num_reports:
            return notes
        return [
            *notes,
            f"of studies like the {self.silence.num_studies} that set the bars, a share of at most "
            f"{self.bar.level:.3g} is expected to have a standing sentence with a fabricated finding; of other studies "
            "nothing is promised",
        ]


def plan_silence(
    predictor: Predictor, plan: CluePlan | None, *, risk: float | None = None, uncertain: str | None = None
) -> SilencePlan | None:
    """The filter for a level of risk; None, and drafts as they come, where neither argument is given.

    Args:
        predictor: drafts.
        plan: its clues.
        risk: in (0, 1); ``DEFAULT_RISK`` where only ``uncertain`` is given.
        uncertain: one of ``UNCERTAIN``, the first where only ``risk`` is given.

    Raises:
        ConfigError: no such level, or no such treatment of uncertain sentences.
        CheckpointError: the checkpoint was not calibrated, or with other settings than these.
    """
    if risk is None and uncertain is None:
        return None
    risk = DEFAULT_RISK if risk is None else risk
    uncertain = UNCERTAIN[0] if uncertain is None else uncertain
    if uncertain not in UNCERTAIN:
        raise ConfigError(
            f"--uncertain {uncertain}: no such treatment{near(uncertain, UNCERTAIN)}; there are {', '.join(UNCERTAIN)}"
        )
    path = predictor.checkpoint.path
    silence = read_silence(path)
    silence.check(job_of(predictor, plan), where=path)
    bar = silence.bar(risk)
    return SilencePlan(Asserter(predictor, Filter(silence, bar.bar, uncertain == "mark")), silence, bar, uncertain)


@dataclass(slots=True)
class CalibratingStudies:
    """Counts, among studies that pass through, those that calibrated a checkpoint's silence.

    Attributes:
        members: digests of those that did; empty where it has none.
        damage: why the calibration cannot be read, so that nobody knows which did; empty where it can.
        num_found: so far.
    """

    members: frozenset[str] = field(default=frozenset())
    damage: str = ""
    num_found: int = 0

    @classmethod
    def of(cls, checkpoint: Path) -> CalibratingStudies:
        """Of a checkpoint directory."""
        try:
            found = find_silence(checkpoint)
        except CheckpointError as error:  # drafts that need no bar do not fail for one
            return cls(damage=str(error))
        return cls(frozenset(found.members) if found else frozenset())

    def watch(self, studies: Iterable[Study]) -> Iterator[Study]:
        """The same studies."""
        for study in studies:
            self.look_at(study)
            yield study

    def look_at(self, study: Study) -> None:
        """Count one study if it is one of them."""
        self.num_found += bool(self.members) and self._is_member(study)

    @property
    def notes(self) -> list[str]:
        """The loud word where there is cause."""
        if self.damage:
            return [f"which of these studies calibrated the checkpoint's silence cannot be told: {self.damage}"]
        if not self.num_found:
            return []
        studies = "study" if self.num_found == 1 else "studies"
        return [
            f"{self.num_found} {studies} of these calibrated the checkpoint's silence and should serve nothing "
            "else: no score of theirs says how it does on new studies"
        ]

    def _is_member(self, study: Study) -> bool:
        try:
            return study_digest(study) in self.members
        except (OSError, KeyError):
            return False  # whoever drafts it will say so
