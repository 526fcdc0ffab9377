"""Calibration put together: studies that serve nothing else are drafted, and their findings set the bars."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radwright import __version__
from radwright.data.files import read_lines
from radwright.data.splits import patient_fraction
from radwright.data.store import REPORTS, PreparedStore
from radwright.errors import ConfigError, OutputError
from radwright.evaluation.page.silence import LevelRow, SilencePage, write_silence_page
from radwright.evaluation.predict import draft_to_file
from radwright.evaluation.reports import read_reports
from radwright.evidence.asserted import borne_out
from radwright.evidence.asserting import Asserter
from radwright.evidence.risk import find_bar
from radwright.evidence.silence import SILENCE_FILE, Silence, find_silence, read_silence, study_digest
from radwright.runs.clue_policies import CluePlan, ClueRequest, plan_clues
from radwright.runs.drafting import ShowProgress, StoredStudies, open_predictor
from radwright.runs.outputs import claimed, write_json
from radwright.runs.silence import job_of
from radwright.runs.silence_measures import FoundSilence, JudgedDraft, check_numbers, hold_up, plain, set_bars

LEVELS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
SHARE = 0.5
FIT_SHARE = 0.5
DRAFTS, RESULT, PAGE = "drafts.jsonl", "calibration.json", "index.html"


@dataclass(frozen=True, slots=True)
class CalibrationRequest:
    """What is to calibrate, or to be held against a calibration.

    Attributes:
        checkpoint: a checkpoint directory.
        data: a prepared store.
        split: of it; never train.
        out: folder for drafts, numbers and page.
        check: hold the checkpoint's own calibration against these studies instead of making one.
        share: share of the split's patients that calibrates, by a hash of the patient; a check takes all studies that
            did not calibrate.
        fit_share: share of them that fits the probabilities; the others set the bars.
        levels: of the table; any other level can be asked for later.
        replace: an earlier calibration of the checkpoint.
        limit: the first N studies of the split only.
        device, threads, batch_size, decoding: as for drafting.
    """

    checkpoint: Path
    data: Path
    split: str
    out: Path
    check: bool = False
    share: float = SHARE
    fit_share: float = FIT_SHARE
    levels: tuple[float, ...] = LEVELS
    replace: bool = False
    limit: int | None = None
    device: str = "auto"
    threads: int | None = None
    batch_size: int = 16
    decoding: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """What was found.

    Attributes:
        page: the HTML page.
        silence: the calibration.
        rows: a row per level.
        values: everything measured, as JSON-able values.
        num_resumed: drafts that an earlier call had made.
        skipped: study id -> why it has no draft.
        notes: what a reader of the numbers should know.
    """

    page: Path
    silence: Silence
    rows: tuple[LevelRow, ...]
    values: Mapping[str, Any]
    num_resumed: int
    skipped: Mapping[str, str]
    notes: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {**self.values, "num_resumed": self.num_resumed, "page": str(self.page)}


def run_calibration(request: CalibrationRequest, *, show_progress: ShowProgress) -> CalibrationResult:
    """Calibrate a checkpoint, or hold its calibration against other studies; drafts that are there are taken.

    Raises:
        CheckpointError: no checkpoint, one that writes no reports, or (a check) one that was not calibrated so.
        StoreError: no store, or none with this split.
        ConfigError: studies of train, none with a report, too few to set a bar other than silence, a share or a level
            that is none, or there is a calibration already and it is not to be replaced.
        OutputError: the folder holds another job, cannot be written, or no study could be drafted.
    """
    _check_request(request)
    store = PreparedStore(request.data)
    reports = _reports(request, store)
    predictor = open_predictor(
        request.checkpoint,
        device=request.device,
        threads=request.threads,
        batch_size=request.batch_size,
        decoding=request.decoding,
    )
    plan = plan_clues(predictor, ClueRequest())
    job = job_of(predictor, plan)
    known = _known(request, job, store)
    digests = _digests(store, request, reports, frozenset(known.members) if known else frozenset())
    if known is None:
        patients = [_patient(store, index) for index in digests]
        check_numbers(patients, levels=request.levels, fit_share=request.fit_share)
    identity = {**job, **_source(request, store), **({} if known is None else {"silence": known.digest})}
    with claimed(request.out, "calibrate --check" if request.check else "calibrate", identity):
        drafting = _Drafting(request, store, Asserter(predictor), plan, identity)
        num_resumed, skipped = drafting.draft([*digests], show_progress)
        drafts = _judged(request.out / DRAFTS, store, digests, reports)
        if known is None:
            source = {**_source(request, store), "data": request.data.name, "radwright": __version__}
            found = set_bars(drafts, job, source, levels=request.levels, fit_share=request.fit_share)
            write_json(request.checkpoint / SILENCE_FILE, found.silence.plain())
        else:
            found = hold_up(drafts, known, levels=request.levels)
        return _told(request, found, num_resumed, skipped)


def _source(request: CalibrationRequest, store: PreparedStore) -> dict[str, Any]:
    """Which studies, and what for."""
    shares = {} if request.check else {"share": request.share, "fit_share": request.fit_share}
    return {"store": store.fingerprint, "split": request.split, "limit": request.limit, **shares}


def _check_request(request: CalibrationRequest) -> None:
    if request.split == "train":
        raise ConfigError(
            "--split train: the network has seen these reports, so it would be sure of them, and its bars would hold "
            "for no other study; calibrate on val, or on a store of its own"
        )
    for name, share, most in (("share", request.share, 1.0), ("fit-share", request.fit_share, 0.99)):
        if not 0 < share <= most:
            raise ConfigError(f"--{name} {share}: must lie above 0 and not above {most:g}")
    if not request.levels:
        raise ConfigError("--levels: names none; give shares of studies, 0.05,0.1")
    for level in request.levels:
        find_bar(np.zeros(1), level)  # refuses what is no level


def _known(request: CalibrationRequest, job: Mapping[str, Any], store: PreparedStore) -> Silence | None:
    """The calibration to be checked; None where one is to be made."""
    if request.check:
        silence = read_silence(request.checkpoint)
        silence.check(job, where=request.checkpoint)
        return silence
    found = None if request.replace else find_silence(request.checkpoint)
    wanted = _source(request, store)
    if found and (found.job != job or any(found.source.get(name) != value for name, value in wanted.items())):
        raise ConfigError(
            f"{request.checkpoint / SILENCE_FILE}: this checkpoint is calibrated already; calibrating until a bar "
            "pleases voids its promise. To hold it against other studies: --check; to make a new one: --replace"
        )
    return None


def _reports(request: CalibrationRequest, store: PreparedStore) -> dict[str, str]:
    rows = read_reports(request.data / REPORTS).rows if (request.data / REPORTS).is_file() else ()
    reports = {row.study_id: row.report for row in rows if row.report.strip()}
    asked = {store.study_ids[index] for index in store.indices(request.split)}
    if not asked & reports.keys():
        raise ConfigError(
            f"{request.data}: no study of split {request.split!r} has a report to hold a draft against; prepare it "
            "with its reports"
        )
    return reports


def _digests(
    store: PreparedStore, request: CalibrationRequest, reports: Mapping[str, str], members: frozenset[str]
) -> dict[int, str]:
    """Place in the store -> digest of the studies to draft; a check leaves out those that calibrated."""
    asked = [index for index in store.indices(request.split) if store.study_ids[index] in reports][: request.limit]
    if request.check:
        found = {index: study_digest(store.study(index)) for index in asked}
        chosen = {index: digest for index, digest in found.items() if digest not in members}
        if not chosen:
            raise ConfigError(
                f"{request.data}: all {len(found)} studies of split {request.split!r} calibrated these very bars; "
                "check them on others"
            )
        return chosen
    chosen = {
        index: study_digest(store.study(index))
        for index in asked
        if request.share >= 1 or patient_fraction(_patient(store, index), purpose="calibration") < request.share
    }
    if not chosen:
        raise ConfigError(
            f"{request.data}: --share {request.share} of split {request.split!r} is no study; take a larger share"
        )
    return chosen


def _patient(store: PreparedStore, index: int) -> str:
    return store.patient_ids[index] or store.study_ids[index]


@dataclass(frozen=True, slots=True)
class _Drafting:
    """The drafts that everything is read from."""

    request: CalibrationRequest
    store: PreparedStore
    asserter: Asserter
    plan: CluePlan | None
    identity: Mapping[str, Any]

    def draft(self, indices: Sequence[int], show_progress: ShowProgress) -> tuple[int, dict[str, str]]:
        """How many drafts were there already, and study id -> why it has none."""
        path = self.request.out / DRAFTS
        skipped_path = self.request.out / f"{DRAFTS}.skipped.jsonl"
        if path.exists():
            return len(read_lines(path)), {row["study_id"]: row["reason"] for row in read_lines(skipped_path)}
        studies = StoredStudies(self.store, indices)
        if self.plan is not None:
            self.plan.put_in_force(self.asserter, studies, {}, show_progress)
        with show_progress("drafting", len(studies)) as bar:
            summary = draft_to_file(
                self.asserter,
                (studies[place] for place in range(len(studies))),
                path,
                identity=self.identity,
                facts=None if self.plan is None else self.plan.row_facts,
                on_progress=lambda outcome: bar.advance(),
            )
        if not summary.num_reports:
            first = summary.skipped[0]
            raise OutputError(
                f"{path}: none of {len(indices)} studies could be drafted; the first: {first.study_id}: {first.reason}"
            )
        return summary.num_resumed, {study.study_id: study.reason for study in summary.skipped}


def _judged(
    path: Path, store: PreparedStore, digests: Mapping[int, str], reports: Mapping[str, str]
) -> list[JudgedDraft]:
    places = {store.study_ids[index]: index for index in digests}
    drafts = []
    for row in read_lines(path):
        found = row["assertions"]["findings"]
        right = borne_out(reports[row["study_id"]], [each["finding"] for each in found])
        asserted = tuple(
            (
                each["sentence"],
                each["finding"],
                right[each["finding"]],
                {name: math.nan if value is None else value for name, value in each["features"].items()},
            )
            for each in found
        )
        index = places[row["study_id"]]
        drafts.append(JudgedDraft(row["study_id"], _patient(store, index), digests[index], asserted))
    return drafts


def _told(
    request: CalibrationRequest, found: FoundSilence, num_resumed: int, skipped: Mapping[str, str]
) -> CalibrationResult:
    notes = [*found.notes]
    if skipped:
        notes.append(f"{len(skipped)} studies could not be drafted and count nowhere ({DRAFTS}.skipped.jsonl)")
    values = plain(
        {**found.values, "job": found.silence.job, "notes": notes, "alarm": found.alarm, "skipped": dict(skipped)}
    )
    write_json(request.out / RESULT, values)
    name = request.checkpoint.resolve().parent.name
    page = request.out / PAGE
    write_silence_page(
        page,
        SilencePage(
            title=f"Silence of {name}" + (f", held against {request.split}" if request.check else ""),
            check=request.check,
            rows=found.rows,
            unfiltered=values["unfiltered"],
            calibration=values["calibration"],
            studies=values["studies"],
            notes=tuple(notes),
            alarm=found.alarm,
            facts={
                "checkpoint": str(request.checkpoint),
                "weights, SHA-256": str(found.silence.job["weights"]),
                "data": f"{request.data}, split {request.split}",
                "features": ", ".join(found.silence.confidence.features) or "none",
                "decoding": json.dumps(found.silence.job["decoding"]),
                "studies that calibrated, digest": found.silence.digest[:16],
                "Radwright": __version__,
            },
        ),
    )
    return CalibrationResult(page, found.silence, found.rows, values, num_resumed, skipped, tuple(notes))
