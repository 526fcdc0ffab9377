"""Silence put in force: a checkpoint's calibration held against what is to be drafted, and its own studies kept out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radwright.errors import ConfigError, near
from radwright.evidence.asserting import Asserter, Filter
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
from radwright.types import Study

UNCERTAIN = ("mark", "drop")


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

    def plain(self) -> dict[str, Any]:
        """What drafts depend on, for their identity and in the summary."""
        return {
            "risk": self.bar.level,
            "bar": self.bar.bar,
            "uncertain": self.uncertain,
            "studies": self.silence.num_studies,
            "digest": self.silence.digest,
        }

    @property
    def notes(self) -> list[str]:
        """What a reader of the drafts must know."""
        notes = [] if self.bar.reachable else [unreachable(self.bar.level, self.silence.num_studies)]
        return [
            *notes,
            f"of studies like the {self.silence.num_studies} that set the bars, a share of at most "
            f"{self.bar.level:.3g} is expected to have a standing sentence with a fabricated finding; of other studies "
            "nothing is promised",
        ]


def plan_silence(predictor: Predictor, plan: CluePlan | None, *, risk: float, uncertain: str = "mark") -> SilencePlan:
    """The filter for a level of risk.

    Raises:
        ConfigError: no such level, or no such treatment of uncertain sentences.
        CheckpointError: the checkpoint was not calibrated, or with other settings than these.
    """
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
        num_found: so far.
    """

    members: frozenset[str] = field(default=frozenset())
    num_found: int = 0

    @classmethod
    def of(cls, checkpoint: Path) -> CalibratingStudies:
        """Of a checkpoint directory."""
        found = find_silence(checkpoint)
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
