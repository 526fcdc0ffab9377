"""The robustness card put together: a split drafted as it is and under each condition, scored in pairs, resumable."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from radwright.data.degraded import NAMES, Condition, degrade_study, parse_conditions
from radwright.data.files import output_errors, read_lines, write_lines, write_text
from radwright.data.store import REPORTS, PreparedStore
from radwright.errors import ConfigError, OutputError, StudyError
from radwright.evaluation.clue_labels import ClueLabels, labels_of_file, labels_of_reports
from radwright.evaluation.clues import MIN_POSITIVES
from radwright.evaluation.page.content import PageView
from radwright.evaluation.page.robustness import Example, RobustnessPage, write_robustness_page
from radwright.evaluation.reports import name_some, read_reports
from radwright.evaluation.robustness import (
    AUC,
    CLEAN,
    ConditionScores,
    RobustnessCard,
    compare_perception,
    score_drafts,
    share_changed,
)
from radwright.evaluation.robustness_text import card_markdown, card_summary
from radwright.imaging.degradation import VERSION
from radwright.inference.card import put_section
from radwright.inference.perceiver import Perceiver
from radwright.inference.predictor import Predictor
from radwright.metrics.base import FloatArray
from radwright.runs.drafting import ShowProgress, StoredStudies, open_predictor
from radwright.runs.other_source import Home, OtherSource, draft_once, judge_other
from radwright.runs.outputs import claimed, write_json
from radwright.runs.provenance import provenance
from radwright.text.sections import names_prior
from radwright.types import ClueGuided, Skipped, Study

CARD = "robustness.json"
TABLE = "robustness.md"
PAGE = "index.html"
DRAFTS, PERCEIVED, OTHER = "drafts", "perceived", "other"
MODEL_CARD, SECTION = "MODEL_CARD.md", "Robustness"
_ALARMS = ("collapsed", "silent")
_NOT_CORRECTED = (
    "every interval stands for itself: of twenty differences that are chance, one lies outside its interval"
)


@dataclass(frozen=True, slots=True)
class RobustnessRequest:
    """What is to be tried.

    Attributes:
        checkpoint: a checkpoint directory.
        data: a prepared store.
        split: its split.
        out: folder for everything that is made.
        conditions: ``blur``, ``noise=0.05``, ...; empty: all of them.
        seed: of every draw of a degradation.
        labels: a CSV of labels for the perceived diseases; None: the labeler's reading of the reports.
        min_positives: positives, and negatives, that a perceived disease needs to count in the macro-AUC.
        other: another source: a dataset, or a prepared store; None: none.
        format, options: how to read that dataset, as for ``radwright prepare``.
        labels_map: a TOML file of what its labels say; None: the built-in one.
        into_card: put a summary into the checkpoint's model card.
        limit: the first N studies of the split, and of the other source.
        device, threads, batch_size, decoding: as for drafting.
    """

    checkpoint: Path
    data: Path
    split: str
    out: Path
    conditions: tuple[str, ...] = ()
    seed: int = 0
    labels: Path | None = None
    min_positives: int = MIN_POSITIVES
    other: Path | None = None
    format: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    labels_map: Path | None = None
    into_card: bool = False
    limit: int | None = None
    device: str = "auto"
    threads: int | None = None
    batch_size: int = 16
    decoding: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RobustnessResult:
    """What was found.

    Attributes:
        page: the HTML page.
        card: the scores.
        num_resumed: drafts that an earlier call had made.
    """

    page: Path
    card: RobustnessCard
    num_resumed: int

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {"page": str(self.page), "num_resumed": self.num_resumed, **self.card.plain()}


def run_robustness(request: RobustnessRequest, *, show_progress: ShowProgress) -> RobustnessResult:
    """Make the card; what an earlier call has drafted under a condition is taken as it is.

    Args:
        request: what to try.
        show_progress: makes a progress bar.

    Raises:
        CheckpointError: no checkpoint, or one that writes no reports.
        StoreError: no store, or none with this split.
        ConfigError: an unknown condition or format, no map of the other source's labels, or a split without reports.
        ScoringError: the labels cannot be used.
        OutputError: the folder holds another job, cannot be written, or no study can be drafted.
    """
    conditions = parse_conditions(request.conditions or NAMES)
    if request.other is None and (request.format or request.options or request.labels_map):
        raise ConfigError("--format, --option and --labels-map say how to read another source; name it with --other")
    job = _Job(request)
    predictor = open_predictor(
        request.checkpoint,
        device=request.device,
        threads=request.threads,
        batch_size=request.batch_size,
        decoding=request.decoding,
    )
    identity = job.identity(predictor)
    with claimed(request.out, "robustness", identity):
        trial = _Trial(job, predictor, identity, show_progress)
        clean = trial.score(None)
        scored = [trial.score(condition) for condition in conditions]
        outside = None
        if request.other is not None:
            source = OtherSource(
                request.other, request.format, request.options, request.labels_map, request.limit, request.out / OTHER
            )
            outside, num_resumed = judge_other(source, predictor, identity, trial.home(), show_progress=show_progress)
            trial.num_resumed += num_resumed
        card = RobustnessCard(
            checkpoint=request.checkpoint.resolve().parent.name,
            data=f"split {request.split!r} of {request.data.resolve().name}, {clean.num_studies} studies",
            clean=clean,
            conditions=scored,
            outside=outside,
            facts=_facts(request, job, predictor),
            notes=(*trial.notes(scored), _NOT_CORRECTED),
        )
        write_json(request.out / CARD, card.plain())
        write_text(request.out / TABLE, card_markdown(card))
        page = RobustnessPage(card, trial.examples(conditions), _made(job, predictor))
        write_robustness_page(request.out / PAGE, page)
        if request.into_card:
            path = request.checkpoint / MODEL_CARD
            with output_errors(path):
                text = path.read_text(encoding="utf-8") if path.exists() else ""
            write_text(path, put_section(text, SECTION, card_summary(card)))
    return RobustnessResult(request.out / PAGE, card, trial.num_resumed)


class _Job:
    """The studies to try, and what is known of them."""

    def __init__(self, request: RobustnessRequest) -> None:
        self.request = request
        self.store = PreparedStore(request.data)
        file = read_reports(request.data / REPORTS)
        self.reports = {row.study_id: row.report for row in file.rows if row.report.strip()}
        asked = self.store.indices(request.split)
        self.indices = [index for index in asked if self.store.study_ids[index] in self.reports][: request.limit]
        if not self.indices:
            raise ConfigError(
                f"{request.data}: no study of split {request.split!r} has a report to hold a draft against; prepare it "
                "with its reports"
            )
        self.references = {
            self.store.study_ids[index]: self.reports[self.store.study_ids[index]] for index in self.indices
        }
        self.patients = {self.store.study_ids[index]: self.store.patient_ids[index] for index in self.indices}
        self.priors = {
            study.study_id: names_prior(study.section("comparison"))
            for study in (self.store.study(index, images=False) for index in self.indices)
        }

    def identity(self, predictor: Predictor) -> dict[str, Any]:
        """What the drafts of every condition depend on, besides the condition."""
        values = {
            "weights": predictor.fingerprint,
            "model": predictor.checkpoint.config.plain()["model"],
            "store": self.store.fingerprint,
            "split": self.request.split,
            "limit": self.request.limit,
            "seed": self.request.seed,
            "degradations": VERSION,
            "decoding": predictor.decoding.plain(),
        }
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain


class _Conditioned(Sequence[Study]):
    """Studies of a store under a condition, made when asked for."""

    def __init__(self, job: _Job, indices: Sequence[int], condition: Condition | None, predictor: Predictor) -> None:
        self.studies = StoredStudies(job.store, indices)
        self.condition, self.seed = condition, job.request.seed
        self.image = predictor.checkpoint.config.image

    def __len__(self) -> int:
        return len(self.studies)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        study = self.studies[place]
        return study if self.condition is None else degrade_study(study, self.condition, self.image, seed=self.seed)

    def __iter__(self) -> Iterator[Study]:
        return (self[place] for place in range(len(self)))


class _Trial:
    """Drafts and scores, condition by condition; the first to be scored is none at all."""

    def __init__(
        self, job: _Job, predictor: Predictor, identity: Mapping[str, Any], show_progress: ShowProgress
    ) -> None:
        self.job, self.predictor, self.identity, self.show_progress = job, predictor, identity, show_progress
        self.num_resumed = 0
        self.drafts: dict[str, dict[str, str]] = {}
        self.alarms: dict[str, list[str]] = {}
        self.perceiver, self.labels = self._perceiving()
        self.clean_perceived: dict[str, FloatArray] = {}

    def score(self, condition: Condition | None) -> ConditionScores:
        """The scores under a condition (None: the images as they are)."""
        blank = _blank(condition)
        key = blank.key
        indices, left_out = self._possible(condition)
        if not indices:
            why = next(iter(left_out.values()))
            return replace(blank, left_out=left_out, why_not=f"no study can be so: each {why}")
        studies = _Conditioned(self.job, indices, condition, self.predictor)
        drafts, skipped = self._draft(key, studies)
        left_out |= skipped
        self.drafts[key] = drafts
        clean = self.drafts[CLEAN]
        if not drafts.keys() & clean.keys():
            return replace(blank, left_out=left_out, why_not=f"no draft: {next(iter(skipped.values()))}")
        scores, differences, evaluation = score_drafts(drafts, clean, self.job.references, self.job.priors)
        self.alarms[key] = [note for note in evaluation.notes if note.startswith(_ALARMS)]
        if self.perceiver is not None and self.labels is not None:
            perceived = self._perceive(key, studies)
            if lacking := drafts.keys() - perceived.keys():
                self.alarms[key].append(f"nothing is perceived in {name_some(sorted(lacking), 'study')}")
            if condition is None:
                self.clean_perceived = perceived
            found = compare_perception(
                perceived,
                self.clean_perceived,
                self.labels,
                self.perceiver.bank.names,
                min_positives=self.job.request.min_positives,
            )
            if found is not None:
                scores[AUC], differences[AUC] = found
        return replace(
            blank,
            num_studies=len(evaluation.study_ids),
            scores=scores,
            differences={} if condition is None else differences,
            changed=share_changed(drafts, clean),
            num_distinct=evaluation.diversity.num_distinct,
            left_out=left_out,
        )

    def home(self) -> Home:
        """The clean drafts beside their reports."""
        return Home(self.drafts[CLEAN], self.job.references, self.job.patients)

    def notes(self, scored: Sequence[ConditionScores]) -> list[str]:
        """What a reader of the numbers should know."""
        known = {note.partition(":")[0] for note in self.alarms[CLEAN]}
        notes = [f"{CLEAN}: {note}" for note in self.alarms[CLEAN]]
        for key, alarms in self.alarms.items():  # what is so of the clean images is no news under a condition
            notes += [f"{key}: {note}" for note in alarms if note.partition(":")[0] not in known]
        for each in scored:
            if each.why_not is not None:
                notes.append(f"{each.key}: {each.why_not}")
            elif each.left_out:
                reasons = sorted(set(each.left_out.values()))
                told = reasons[0] if len(reasons) == 1 else f"{len(reasons)} reasons, in {CARD}"
                notes.append(f"{each.key}: left out {name_some(each.left_out, 'study')}: {told}")
        return notes

    def examples(self, conditions: Sequence[Condition]) -> list[Example]:
        """One study under every condition that is possible for it, with its drafts."""
        drafted = [index for index in self.job.indices if self.job.store.study_ids[index] in self.drafts.get(CLEAN, {})]
        # The one with most conditions shows most; of equals, the first.
        index = max(
            drafted,
            key=lambda each: sum(not condition.why_not(self.job.store.positions[each]) for condition in conditions),
        )
        found = []
        for condition in (None, *conditions):
            key = CLEAN if condition is None else condition.key
            text = self.drafts.get(key, {}).get(self.job.store.study_ids[index])
            if text is None:
                continue
            [study] = _Conditioned(self.job, [index], condition, self.predictor)
            views = study.views[:1] if condition is not None and condition.degradation is not None else study.views
            if condition is None or condition.degradation is None:  # at the network's resolution, too
                views = degrade_study(study, Condition("blur", 0), self.predictor.checkpoint.config.image).views
            try:
                shown = tuple(map(PageView.of, views))
            except (StudyError, OSError, KeyError):
                continue
            found.append(Example(key, "as it is" if condition is None else condition.meaning, shown, text))
        return found

    def _possible(self, condition: Condition | None) -> tuple[list[int], dict[str, str]]:
        """Which studies it can happen to, and why not to the others."""
        indices, left_out = [], {}
        for index in self.job.indices:
            why = None if condition is None else condition.why_not(self.job.store.positions[index])
            if why is None:
                indices.append(index)
            else:
                left_out[self.job.store.study_ids[index]] = why
        return indices, left_out

    def _draft(self, key: str, studies: Sequence[Study]) -> tuple[dict[str, str], dict[str, str]]:
        path = self.job.request.out / DRAFTS / f"{key}.jsonl"
        drafts, skipped, num_resumed = draft_once(
            self.predictor, studies, path, {**self.identity, "condition": key}, f"drafting, {key}", self.show_progress
        )
        self.num_resumed += num_resumed
        if not drafts and key == CLEAN:
            first, reason = next(iter(skipped.items()))
            raise OutputError(f"{path}: none of {len(studies)} studies could be drafted; the first: {first}: {reason}")
        return drafts, skipped

    def _perceiving(self) -> tuple[Perceiver | None, ClueLabels | None]:
        """What perceives diseases, where the network does, and what they are held against."""
        checkpoint, request = self.predictor.checkpoint, self.job.request
        if not isinstance(checkpoint.model, ClueGuided):
            if request.labels is not None:
                raise ConfigError(
                    f"--labels {request.labels}: {checkpoint.path} is a checkpoint of {checkpoint.config.method!r}, "
                    "which perceives no diseases; leave --labels out"
                )
            return None, None
        perceiver = Perceiver(
            checkpoint, batch_size=self.predictor.batch_size, num_decoders=self.predictor.num_decoders
        )
        if request.labels is not None:
            return perceiver, labels_of_file(request.labels, perceiver.bank, self.job.patients)
        return perceiver, labels_of_reports(self.job.references, perceiver.bank)

    def _perceive(self, key: str, studies: _Conditioned) -> dict[str, FloatArray]:
        assert self.perceiver is not None
        path = self.job.request.out / PERCEIVED / f"{key}.jsonl"
        if not path.exists():
            rows = []
            with self.show_progress(f"perceiving, {key}", len(studies)) as bar:
                for outcome in self.perceiver.perceive(studies):
                    bar.advance()
                    if not isinstance(outcome, Skipped):
                        rows.append({"study_id": outcome[0], "probabilities": outcome[1].tolist()})
            with output_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            write_lines(path, rows)
        return {row["study_id"]: np.array(row["probabilities"]) for row in read_lines(path)}


def _blank(condition: Condition | None) -> ConditionScores:
    """A condition that nothing was scored under yet; None: the images as they are."""
    if condition is None:
        return ConditionScores(CLEAN, None, CLEAN, "the images as they are")
    amount = condition.amount if condition.unit else None
    return ConditionScores(condition.name, amount, condition.key, condition.meaning, condition.unit)


def _facts(request: RobustnessRequest, job: _Job, predictor: Predictor) -> dict[str, Any]:
    made = provenance()
    return {
        "radwright": made["radwright"],
        "commit": made["commit"],
        "command": made["command"],
        "method": predictor.checkpoint.config.method,
        "weights": predictor.fingerprint,
        "store": job.store.fingerprint,
        "split": request.split,
        "limit": request.limit,
        "seed": request.seed,
        "decoding": predictor.decoding.plain(),
    }


def _made(job: _Job, predictor: Predictor) -> dict[str, str]:
    made, checkpoint = provenance(), predictor.checkpoint
    facts = {
        "command": made["command"],
        "checkpoint": f"{checkpoint.config.method}, weights {predictor.fingerprint[:12]}",
        "image": f"{checkpoint.config.image.size_px} pixels a side",
        "data": "; ".join(filter(None, [job.store.path.resolve().name, job.store.terms.get("licence")])),
        "not to be passed on": "this page holds an image of credentialed data"
        if job.store.terms.get("credentialed")
        else "",
        "machine": f"{made['machine']}, {made['threads']} threads" + (f", {made['gpu']}" if made["gpu"] else ""),
        "version": f"{made['radwright']} ({made['commit'] or 'no commit'}), torch {made['torch']}",
    }
    return {name: text for name, text in facts.items() if text}
