"""Drafts of another source whose studies have labels instead of reports: what they assert where a label lets one tell.

The mapping from labels to findings is data (``outside_labels.toml``).
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import Field

from radwright.config import Config
from radwright.errors import ConfigError, ScoringError, near
from radwright.evaluation.bootstrap import Interval
from radwright.findings import read_report
from radwright.findings.signature import check_finding, signature

PRESENT, ABSENT, OPEN = 1, 0, -1
_NAMED = 5
_Z = 1.959964
"""Of a two-sided 95 % interval."""


class FindingLabels(Config):
    """Which labels say something of one finding."""

    present: tuple[str, ...] = ()
    """Labels of studies that have it."""
    absent: tuple[str, ...] = ()
    """Labels of studies that do not."""


class LabelMap(Config):
    """What a dataset's labels let one expect of a draft."""

    fact: str
    """Fact of a study (``Study.extra``) that holds its label."""
    about: str = ""
    """What a reader must know of these labels."""
    findings: dict[str, FindingLabels] = Field(min_length=1)
    """Concept of the ontology, or observation of CheXpert's -> labels."""


def find_label_map(format_: str, path: Path | None = None) -> LabelMap:
    """The map of a dataset format: the built-in one, or that of a TOML file with a table of the format's name.

    Raises:
        ConfigError: there is none, it cannot be read, or it names an unknown finding or a label twice.
    """
    where = str(path or "evaluation/outside_labels.toml")
    try:
        text = (path or files("radwright.evaluation").joinpath("outside_labels.toml")).read_text(encoding="utf-8")
        maps = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{where}: cannot be read as TOML: {error}") from error
    if format_ not in maps:
        raise ConfigError(
            f"{where}: has no table for format {format_!r}{near(format_, maps)}; known: {', '.join(maps)}; write one "
            "like evaluation/outside_labels.toml and give it with --labels-map"
        )
    found = LabelMap.parse(maps[format_], where=f"{where} [{format_}]")
    for finding, labels in found.findings.items():
        check_finding(finding)
        if both := set(labels.present) & set(labels.absent):
            raise ConfigError(f"{where}: {finding}: label {min(both)!r} is both present and absent")
    return found


@dataclass(frozen=True, slots=True)
class Share:
    """A share of studies.

    Attributes:
        value: with its interval; NaN where there is no study.
        num_studies: of which it is a share.
        num_patients: they belong to.
    """

    value: Interval
    num_studies: int
    num_patients: int

    @classmethod
    def of(cls, hits: Sequence[bool], patients: Sequence[str]) -> Share:
        """The share of the studies that hit, with Wilson's interval.

        Studies of a patient are alike, so the interval is that of as many studies as there are patients: it is rather
        too wide than too narrow, and does not shrink to a point where all of a few hit.
        """
        num_patients = len(set(patients))
        if not hits:
            return cls(Interval(math.nan, math.nan, math.nan), 0, 0)
        share = sum(hits) / len(hits)
        spread = _Z**2 / num_patients
        centre = (share + spread / 2) / (1 + spread)
        half = math.sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
        # Where none or all hit, the end is 0 or 1 exactly; the formula misses it by its rounding.
        low, high = (share if share == end else centre + side * half for end, side in ((0.0, -1), (1.0, 1)))
        return cls(Interval(share, low, high), len(hits), num_patients)

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {**self.value.plain(), "studies": self.num_studies, "patients": self.num_patients}


@dataclass(frozen=True, slots=True)
class Detection:
    """How often drafts assert one finding.

    Attributes:
        sensitivity: of the studies that have it, those whose draft asserts it.
        specificity: of the studies that do not, those whose draft does not assert it.
    """

    sensitivity: Share
    specificity: Share

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {"sensitivity": self.sensitivity.plain(), "specificity": self.specificity.plain()}


@dataclass(frozen=True, slots=True)
class OutsideScores:
    """What drafts of another source assert, beside the drafts of the own one.

    Attributes:
        data: which studies, in words.
        about: what a reader must know of the labels.
        num_studies: with a draft.
        findings: finding -> how often it is asserted, by the labels.
        at_home: the same of the own source's clean drafts, by the labeler's reading of the reports.
        labels: label -> finding -> share of its studies whose draft asserts the finding.
        unknown: label -> studies, of labels that say nothing of any finding.
        skipped: study id -> why it has no draft.
    """

    data: str
    about: str
    num_studies: int
    findings: Mapping[str, Detection]
    at_home: Mapping[str, Detection]
    labels: Mapping[str, Mapping[str, Share]]
    unknown: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "data": self.data,
            "about": self.about,
            "n": self.num_studies,
            "findings": {name: found.plain() for name, found in self.findings.items()},
            "at_home": {name: found.plain() for name, found in self.at_home.items()},
            "labels": {
                label: {name: share.plain() for name, share in shares.items()} for label, shares in self.labels.items()
            },
            "unknown": dict(self.unknown),
            "skipped": dict(self.skipped),
        }


def detect(
    drafts: Mapping[str, str], truth: Mapping[str, Mapping[str, int]], patients: Mapping[str, str]
) -> dict[str, Detection]:
    """Hold what drafts assert against what is there.

    Args:
        drafts: study id -> draft.
        truth: finding -> study id -> present, absent or open (1, 0, -1); a study that is missing is open.
        patients: study id -> patient; a study without one counts as its own patient.
    """
    asserted = asserted_findings(drafts, list(truth))
    found = {}
    for finding, of_study in truth.items():
        sides = [
            [study_id for study_id in drafts if of_study.get(study_id, OPEN) == side] for side in (PRESENT, ABSENT)
        ]
        sensitivity, specificity = (
            Share.of(
                [(finding in asserted[study_id]) == wanted for study_id in side],
                [patients.get(study_id) or study_id for study_id in side],
            )
            for side, wanted in zip(sides, (True, False), strict=True)
        )
        found[finding] = Detection(sensitivity, specificity)
    return found


def asserted_findings(drafts: Mapping[str, str], findings: Sequence[str]) -> dict[str, frozenset[str]]:
    """Study id -> the findings that its draft asserts; what it leaves open is not asserted."""
    return {
        study_id: frozenset(
            name
            for name, status in zip(findings, signature(read_report(text), findings), strict=True)
            if status == PRESENT
        )
        for study_id, text in drafts.items()
    }


def stated_findings(reports: Mapping[str, str], findings: Sequence[str]) -> dict[str, dict[str, int]]:
    """Finding -> study id -> 1, 0 or -1, as the labeler reads the reports; not mentioned is absent."""
    said = {study_id: signature(read_report(text), findings) for study_id, text in reports.items()}
    return {name: {each: said[each][place] or ABSENT for each in said} for place, name in enumerate(findings)}


def score_outside(
    drafts: Mapping[str, str],
    labels: Mapping[str, str],
    label_map: LabelMap,
    patients: Mapping[str, str],
    *,
    data: str,
    at_home: Mapping[str, Detection],
    skipped: Mapping[str, str],
) -> OutsideScores:
    """What drafts of another source assert.

    Args:
        drafts: study id -> draft.
        labels: study id -> label.
        label_map: what the labels say.
        patients: study id -> patient.
        data: which studies, in words.
        at_home: of the own source.
        skipped: study id -> why it has no draft.

    Raises:
        ScoringError: no drafted study has a label that says anything.
    """
    findings = list(label_map.findings)
    truth = {
        name: {
            study_id: PRESENT if label in said.present else ABSENT if label in said.absent else OPEN
            for study_id, label in labels.items()
        }
        for name, said in label_map.findings.items()
    }
    speaking = {label for said in label_map.findings.values() for label in (*said.present, *said.absent)}
    if not any(labels.get(study_id) in speaking for study_id in drafts):
        seen = sorted(set(labels.values()))[:_NAMED]
        raise ScoringError(
            f"{data}: no study with a draft has a label that the map knows (fact {label_map.fact!r}); labels there "
            f"are: {', '.join(map(repr, seen)) or 'none'}"
        )
    asserted = asserted_findings(drafts, findings)
    by_label: dict[str, list[str]] = {}
    for study_id in drafts:
        by_label.setdefault(labels.get(study_id, ""), []).append(study_id)
    return OutsideScores(
        data,
        label_map.about,
        len(drafts),
        detect(drafts, truth, patients),
        at_home,
        {
            label: {
                name: Share.of(
                    [name in asserted[study_id] for study_id in studies],
                    [patients.get(study_id) or study_id for study_id in studies],
                )
                for name in findings
            }
            for label, studies in sorted(by_label.items(), key=lambda pair: (-len(pair[1]), pair[0]))
            if label in speaking
        },
        {label or "no label": len(studies) for label, studies in by_label.items() if label not in speaking},
        skipped,
    )
