"""What a page shows, as plain values: the caller gathers them, the page only lays them out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from radwright.errors import ScoringError
from radwright.evaluation.facts import MIN_STUDIES
from radwright.evaluation.marks import Reading, read_both
from radwright.text.sections import names_prior
from radwright.types import Study, View


@dataclass(frozen=True, slots=True)
class PageView:
    """One radiograph of a study.

    Attributes:
        position: what stands under the image (``frontal``, ``lateral``).
        image: encoded bytes of a PNG, JPEG or DICOM image, or a Pillow image. It is encoded anew, so that nothing but
            its pixels (no metadata) reaches the page. One that cannot be decoded shows as a box with the reason.
        original_size: (width, height) in pixels before a dataset squashed the image; its aspect is restored.
    """

    position: str
    image: bytes | Image.Image = field(repr=False)
    original_size: tuple[int, int] | None = None

    @classmethod
    def of(cls, view: View) -> PageView:
        """The page's view of a study's view.

        Raises:
            OSError, KeyError: the image's bytes cannot be had.
        """
        return cls(view.position, view.image.read(), view.original_size)


@dataclass(frozen=True, slots=True)
class DraftedStudy:
    """A study with its draft.

    Attributes:
        study_id: unique on the page.
        draft: the model's text; may be empty.
        reference: the report it is held against; None where there is none.
        views: any number of radiographs.
        reading: both texts, read and held against one another; None where they were not read, or there is one only.
        score: summed log-probability of the draft, natural log.
        metrics: the study's own scores by name (``rouge_l``), for sorting; the first three stand in the row's head.
        clues: disease -> probability, as the model was told before it wrote; None of a model without clues.
    """

    study_id: str
    draft: str
    reference: str | None = None
    views: tuple[PageView, ...] = ()
    reading: Reading | None = None
    score: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    clues: Mapping[str, float] | None = None

    @classmethod
    def of(cls, study: Study, row: Mapping[str, Any], reference: str, metrics: Mapping[str, float]) -> DraftedStudy:
        """A study of a store with its line of a predictions file; both reports are read for their findings."""
        return cls(
            study_id=study.study_id,
            draft=row["report"],
            reference=reference,
            views=tuple(map(PageView.of, study.views)),
            reading=read_both(reference, row["report"], prior=names_prior(study.section("comparison"))),
            score=row["score"],
            metrics=metrics,
            clues=row.get("clues"),
        )


class Estimate(NamedTuple):
    """A value with its 95 % interval, where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class FindingScore:
    """How well one finding is reported; every share lies in [0, 1] and is None where it is not defined.

    Attributes:
        name: the finding.
        precision: share of the drafts with the finding whose references have it.
        recall: share of the references with the finding whose drafts have it.
        f1: their harmonic mean.
        support: references with the finding.
    """

    name: str
    precision: Estimate | None
    recall: Estimate | None
    f1: Estimate | None
    support: int


@dataclass(frozen=True, slots=True)
class FindingTable:
    """Scores per finding, and over all of them beside texts that look at no image.

    Attributes:
        findings: one row per finding.
        micro_f1: 2 TP / (2 TP + FP + FN) over all studies and findings, in [0, 1].
        constants: name of a constant set of findings (``"always effusion"``), or of a baseline, -> its micro-F1.
        lead: where the findings come from, in a sentence.
    """

    findings: tuple[FindingScore, ...]
    micro_f1: Estimate
    constants: Mapping[str, Estimate] = field(default_factory=dict)
    lead: str = "Findings read out of drafts and of references."


@dataclass(frozen=True, slots=True)
class Curve:
    """How training went.

    Attributes:
        losses: (optimiser step, mean loss since the point before).
        validations: score name -> (optimiser step, score).
        best_step: the step whose weights were kept.
    """

    losses: tuple[tuple[int, float], ...] = ()
    validations: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    best_step: int | None = None

    @classmethod
    def read(cls, path: Path) -> Curve:
        """Read a run's ``metrics.jsonl``; values that are not finite are left out, and so is a torn last line.

        Raises:
            ScoringError: the file cannot be read, or a line before its last one is no record.
        """
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise ScoringError(f"{path}: cannot be read: {error.strerror or error}") from error
        losses: list[tuple[int, float]] = []
        validations: dict[str, list[tuple[int, float]]] = {}
        best_step = None
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
                step, kind = int(record["step"]), record["kind"]
                values = {"loss": record["loss"]} if kind == "train" else dict(record["scores"])
            except (ValueError, KeyError, TypeError) as error:
                if number == len(lines):
                    break
                raise ScoringError(f"{path}:{number}: is no line of metrics.jsonl ({error!r})") from error
            for name, value in values.items():
                if isinstance(value, int | float) and math.isfinite(value):
                    points = losses if kind == "train" else validations.setdefault(name, [])
                    points.append((step, float(value)))
            if kind != "train" and record.get("best"):
                best_step = step
        return cls(tuple(losses), {name: tuple(points) for name, points in validations.items()}, best_step)


@dataclass(frozen=True, slots=True)
class Page:
    """Everything on the page. What is left out leaves no trace on it.

    Attributes:
        title: of the page.
        statement: one or two sentences on what was run.
        facts: name -> text in the order shown: command, machine, commit, seeds.
        seconds: phase -> wall-clock seconds.
        scores: what ``radwright score --json`` writes (``Evaluation.plain()``).
        findings: scores per finding.
        curve: how training went.
        studies: in the order shown.
        shown: which studies these are, where they are not all.
        worst_first: name of the score in ``DraftedStudy.metrics`` by which rows are sorted at first; None: as given.
        min_group: groups in ``scores`` of fewer studies are marked as too small to say anything.
    """

    title: str
    statement: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, Any] | None = None
    findings: FindingTable | None = None
    curve: Curve | None = None
    studies: tuple[DraftedStudy, ...] = ()
    shown: str = ""
    worst_first: str | None = None
    min_group: int = MIN_STUDIES
