"""Evaluation put together: draft a split, score it beside trivial baselines, and lay out a page to browse."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from radwright.data.files import atomic_file, read_lines
from radwright.data.store import HEADER, REPORTS, PreparedStore
from radwright.errors import ConfigError, OutputError
from radwright.evaluation.conventions import find_convention
from radwright.evaluation.facts import StudyFacts, read_facts
from radwright.evaluation.faithfulness import Faithfulness, measure_faithfulness
from radwright.evaluation.nearest import StudyFeatures, make_features, nearest_studies
from radwright.evaluation.page import write_page
from radwright.evaluation.predict import draft_to_file
from radwright.evaluation.reports import ReportFile, read_reports
from radwright.evaluation.score import Evaluation, score
from radwright.inference.predictor import Predictor
from radwright.runs.clue_policies import CluePlan, ClueRequest, plan_clues
from radwright.runs.drafting import ShowProgress, StoredStudies, open_predictor
from radwright.runs.evaluation_page import MAX_SHOWN, Drafted, lay_out
from radwright.runs.outputs import claimed, write_json
from radwright.runs.silence import CalibratingStudies
from radwright.types import ImageFeatures

DRAFTS = "drafts.jsonl"
SKIPPED = f"{DRAFTS}.skipped.jsonl"
SCORES = "scores.json"
PER_STUDY = "per_study.csv"
PAGE = "index.html"
FEATURES = "features"
NEAREST = "nearest_train_report"


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What is to be evaluated.

    Attributes:
        checkpoint: a checkpoint directory.
        data: a prepared store.
        split: the split to draft.
        out: folder for everything that is made.
        by: facts of the studies to split the scores by.
        train: a prepared store or a file of reports to take the baselines from; None: the store's own train studies.
        convention: scoring convention.
        limit: the first N studies only.
        max_shown: studies on the page.
        device, threads, batch_size, decoding: as for drafting.
        clues: which clues a model that is told any gets.
    """

    checkpoint: Path
    data: Path
    split: str
    out: Path
    by: tuple[str, ...] = ()
    train: Path | None = None
    convention: str = "report"
    limit: int | None = None
    max_shown: int = MAX_SHOWN
    device: str = "auto"
    threads: int | None = None
    batch_size: int = 16
    decoding: tuple[str, ...] = ()
    clues: ClueRequest = field(default_factory=ClueRequest)


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What was found.

    Attributes:
        page: the HTML page.
        evaluation: scores with intervals, baselines and groups.
        num_resumed: drafts that an earlier call had made.
        skipped: study id -> why it has no draft.
        notes: what a reader of the numbers should know.
        facts: the facts of the drafted studies.
        clues: the policy of the clues; None for a model without any.
        faithfulness: what the drafts do with their clues; None for a model without any.
    """

    page: Path
    evaluation: Evaluation
    num_resumed: int
    skipped: Mapping[str, str]
    notes: tuple[str, ...]
    facts: StudyFacts
    clues: CluePlan | None = None
    faithfulness: Faithfulness | None = None

    def scores(self) -> dict[str, Any]:
        """Everything measured, as JSON-able values: what ``scores.json`` holds and the page shows."""
        scores = self.evaluation.plain()
        scores["notes"] = [*self.notes, *scores["notes"]]
        if self.clues is not None and self.faithfulness is not None:
            scores |= {"clues": self.clues.plain(), "faithfulness": self.faithfulness.plain()}
        return scores

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "page": str(self.page),
            "num_resumed": self.num_resumed,
            "skipped": dict(self.skipped),
            "notes": list(self.notes),
            "scores": self.scores(),
        }


def run_evaluation(request: EvaluationRequest, *, show_progress: ShowProgress) -> EvaluationResult:
    """Evaluate; what an earlier call of the same job has drafted and encoded is taken as it is.

    Args:
        request: what to evaluate.
        show_progress: makes a progress bar.

    Raises:
        CheckpointError: no checkpoint, or one that writes no reports.
        StoreError: no store, or none with this split.
        ConfigError: the split has no reports, no study says a fact that scores are to be split by, or clues were asked
            for that this checkpoint cannot be told.
        OutputError: the folder holds another job, or cannot be written.
        ScoringError: nothing can be scored.
    """
    started = time.monotonic()
    find_convention(request.convention)
    job = _Job(request)
    facts = job.read_facts()
    predictor = open_predictor(
        request.checkpoint,
        device=request.device,
        threads=request.threads,
        batch_size=request.batch_size,
        decoding=request.decoding,
    )
    plan = plan_clues(predictor, request.clues)
    identity = job.identity(predictor, plan)
    with claimed(request.out, "evaluate", identity):
        drafts, num_resumed = job.draft(predictor, plan, identity, show_progress)
        references = {study_id: job.reports[study_id] for study_id in drafts.rows}
        baselines, notes = job.nearest_reports(predictor, list(drafts.rows), show_progress)
        evaluation = score(
            {study_id: row["report"] for study_id, row in drafts.rows.items()},
            references,
            convention=request.convention,
            train=job.train.reports,
            constants_from=job.train.choosing,
            baselines=baselines,
            groups=facts.groups(),
            priors=facts.priors,
            allow_missing=True,
        )
        notes = [*(plan.notes if plan else ()), *job.calibrating(drafts), *job.notes(drafts), *notes]
        faithfulness = _measure_faithfulness(predictor, drafts.rows, references, evaluation.study_ids) if plan else None
        result = EvaluationResult(
            request.out / PAGE, evaluation, num_resumed, drafts.skipped, tuple(notes), facts, plan, faithfulness
        )
        _write_scores(request.out, result, identity)
        content = lay_out(
            Drafted(job.store, job.indices, job.reports, drafts.rows),
            evaluation,
            predictor,
            names=(request.checkpoint.resolve().parent.name, request.split),
            scores=result.scores(),
            max_shown=request.max_shown,
            seconds=time.monotonic() - started,
        )
        write_page(request.out / PAGE, content)
    return result


@dataclass(frozen=True, slots=True)
class _Drafts:
    """Lines of the predictions file by study, in its order, and the studies without one."""

    rows: Mapping[str, Mapping[str, Any]]
    skipped: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Train:
    """Where the baselines come from.

    Attributes:
        reports: train reports; None where there are none.
        choosing: reports that constants are chosen on; None where there are none.
        store: the train studies' images; None where there are reports only.
    """

    reports: Mapping[str, str] | None = None
    choosing: Mapping[str, str] | None = None
    store: PreparedStore | None = field(default=None, repr=False)

    @classmethod
    def of(cls, path: Path | None, store: PreparedStore, file: ReportFile, split: str) -> _Train:
        """Of ``--train``, or of the evaluated store itself."""
        if path is None:
            reports = file.reports("train") if "train" in file.splits else None
            return cls(reports, file.choosing_reports(split) or None, None if reports is None else store)
        if (path / HEADER).is_file():
            others = read_reports(path / REPORTS)
            return cls(others.train_reports(), others.choosing_reports(None), PreparedStore(path))
        others = read_reports(path)
        return cls(others.train_reports(), others.choosing_reports(None))


class _Job:
    """The studies to evaluate, and what is made of them."""

    def __init__(self, request: EvaluationRequest) -> None:
        self.request = request
        self.store = PreparedStore(request.data)
        file = read_reports(request.data / REPORTS)
        self.reports = {row.study_id: row.report for row in file.rows if row.report.strip()}
        asked = self.store.indices(request.split)
        self.indices = [index for index in asked if self.store.study_ids[index] in self.reports][: request.limit]
        self.num_without_report = sum(self.store.study_ids[index] not in self.reports for index in asked)
        if not self.indices:
            raise ConfigError(
                f"{request.data}: no study of split {request.split!r} has a report to hold a draft against; prepare it "
                "with its reports, or draft without scores by `radwright generate`"
            )
        self.train = _Train.of(request.train, self.store, file, request.split)

    @cached_property
    def study_ids(self) -> list[str]:
        """Ids of the studies to evaluate."""
        return [self.store.study_ids[index] for index in self.indices]

    def read_facts(self) -> StudyFacts:
        """Facts of the studies; see ``radwright.evaluation.facts.read_facts`` for what is raised."""
        studies = ((self.store.study(index, images=False), self.store.positions[index]) for index in self.indices)
        return read_facts(studies, self.request.by, where=f"split {self.request.split!r} of {self.request.data}")

    def identity(self, predictor: Predictor, plan: CluePlan | None) -> dict[str, Any]:
        """What the drafts depend on."""
        values = {
            "weights": predictor.fingerprint,
            "store": self.store.fingerprint,
            "split": self.request.split,
            "limit": self.request.limit,
            "decoding": predictor.decoding.plain(),
            **({} if plan is None else {"clues": plan.plain()}),
        }
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain

    def draft(
        self,
        predictor: Predictor,
        plan: CluePlan | None,
        identity: Mapping[str, Any],
        show_progress: ShowProgress,
    ) -> tuple[_Drafts, int]:
        """The drafts, and how many of them were there already."""
        path = self.request.out / DRAFTS
        skipped_path = self.request.out / SKIPPED
        num_resumed = len(self.indices)
        if not path.exists():
            studies = StoredStudies(self.store, self.indices)
            if plan is not None:
                plan.put_in_force(predictor, studies, self.reports, show_progress)
            with show_progress("drafting", len(studies)) as bar:
                summary = draft_to_file(
                    predictor,
                    (studies[place] for place in range(len(studies))),
                    path,
                    identity=identity,
                    facts=None if plan is None else plan.row_facts,
                    on_progress=lambda outcome: bar.advance(),
                )
            num_resumed = summary.num_resumed
            if not summary.num_reports:
                first = summary.skipped[0]
                raise OutputError(
                    f"{path}: none of {len(self.indices)} studies could be drafted; the first: {first.study_id}: "
                    f"{first.reason} (all: {skipped_path})"
                )
        rows = {row["study_id"]: row for row in read_lines(path)}
        skipped = {row["study_id"]: row["reason"] for row in read_lines(skipped_path)}
        return _Drafts(rows, skipped), min(num_resumed, len(rows))

    def calibrating(self, drafts: _Drafts) -> list[str]:
        """Whether studies are scored that calibrated the checkpoint's silence and should serve nothing else."""
        found = CalibratingStudies.of(self.request.checkpoint)
        for index in self.indices:
            if found.members and self.store.study_ids[index] in drafts.rows:
                found.look_at(self.store.study(index))
        return found.notes

    def nearest_reports(
        self, predictor: Predictor, study_ids: Sequence[str], show_progress: ShowProgress
    ) -> tuple[dict[str, dict[str, str]], list[str]]:
        """The baseline of the most similar train study's report, or a note why there is none."""
        train = self.train.store
        if train is None or self.train.reports is None:
            return {}, ["no nearest train report as a baseline: it needs train images; give a store with --train"]
        if not isinstance(predictor.checkpoint.model, ImageFeatures):
            method = predictor.checkpoint.config.method
            return {}, [f"no nearest train report as a baseline: method {method!r} has no image features to compare"]
        wanted = set(study_ids)
        asked = [index for index in self.indices if self.store.study_ids[index] in wanted]
        known = [
            index for index in train.indices("train") if self.train.reports.get(train.study_ids[index], "").strip()
        ]
        queries = self._features(predictor, self.store, asked, "encoding the split", show_progress)
        others = self._features(predictor, train, known, "encoding train", show_progress)
        nearest = nearest_studies(queries, others)
        if missing := [study_id for study_id in study_ids if study_id not in nearest]:
            return {}, [f"no nearest train report as a baseline: study {missing[0]} has none"]
        notes = []
        if others.skipped:
            notes.append(f"{len(others.skipped)} train studies cannot be read and are nobody's nearest")
        return {NEAREST: {study_id: self.train.reports[nearest[study_id]] for study_id in study_ids}}, notes

    def _features(
        self,
        predictor: Predictor,
        store: PreparedStore,
        indices: Sequence[int],
        what: str,
        show_progress: ShowProgress,
    ) -> StudyFeatures:
        config = predictor.checkpoint.config
        with show_progress(what, len(indices)) as bar:
            return make_features(
                predictor,
                StoredStudies(store, indices),
                [store.study_ids[index] for index in indices],
                self.request.out / FEATURES,
                identity={
                    "weights": predictor.fingerprint,
                    "store": store.fingerprint,
                    "image": config.image.plain(),
                    "max_views": config.max_views,
                },
                on_progress=bar.advance,
            )

    def notes(self, drafts: _Drafts) -> list[str]:
        """What was left out."""
        notes = []
        if self.num_without_report:
            notes.append(f"{self.num_without_report} studies of the split have no report: neither drafted nor scored")
        if drafts.skipped:
            notes.append(f"{len(drafts.skipped)} studies could not be drafted, so they are not scored ({SKIPPED})")
        unfinished = sum(not row["finished"] for row in drafts.rows.values())
        if unfinished:
            notes.append(f"{unfinished} drafts reached the length limit without ending by themselves")
        return notes


def _measure_faithfulness(
    predictor: Predictor,
    rows: Mapping[str, Mapping[str, Any]],
    references: Mapping[str, str],
    study_ids: Sequence[str],
) -> Faithfulness:
    """Of the scored studies, by the clues that stand in the predictions file."""
    return measure_faithfulness(
        {study_id: rows[study_id]["clues"] for study_id in study_ids},
        {study_id: rows[study_id]["report"] for study_id in study_ids},
        references,
        predictor.checkpoint.model.findings,
    )


def _write_scores(out: Path, result: EvaluationResult, identity: Mapping[str, Any]) -> None:
    evaluation, facts = result.evaluation, result.facts
    write_json(out / SCORES, {**result.scores(), "job": identity, "skipped": dict(result.skipped)})
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["study_id", *facts.values, "prior", *evaluation.study_rows[0]])
    for study_id, row in zip(evaluation.study_ids, evaluation.study_rows, strict=True):
        own = [values[study_id] for values in facts.values.values()]
        prior = {True: "yes", False: "no", None: ""}[facts.priors[study_id]]
        writer.writerow([study_id, *own, prior, *(f"{value:.6g}" for value in row.values())])
    with atomic_file(out / PER_STUDY) as file:
        file.write(table.getvalue().encode())
