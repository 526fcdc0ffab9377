"""Drafts for very many studies: pieces of them, each by one worker into one Parquet file.

A piece's file appears whole or not at all, and holds a row for every study of the piece, with a draft or with the
reason for none. So a study has exactly one row over any number of kills and restarts, and what is left to do can be
seen from the names of the files.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from radwright.data.files import json_line
from radwright.data.parquet import parquet_bytes, parquet_column
from radwright.data.remote import OutputFolder, Place
from radwright.errors import ConfigError, OutputError
from radwright.evaluation.predict import report_row
from radwright.runs.drafting import Inputs, ParquetStudies, StoredStudies
from radwright.runs.generation import Drafting, DraftingRequest
from radwright.scale.cluster import Cluster, ClusterConfig
from radwright.scale.pieces import Piece, cut, piece_size
from radwright.types import Report, Skipped, Study

JOB, SUMMARY = "job.json", "summary.json"
DRAFT_COLUMNS: Mapping[str, str] = {
    "study_id": "string",
    "report": "string",
    "score": "double",
    "seconds": "double",
    "num_tokens": "int64",
    "finished": "bool",
    "clues": "map",
    "assertions": "string",
    "clue_policy": "string",
    "skipped": "string",
}
"""As in a predictions file; ``assertions`` as JSON. ``skipped`` is why a study has no draft, null where it has one."""
_NAMED = 10
_READING_THREADS = 16
_WHOLE_SET = ("shuffled", "oracle")


@dataclass(frozen=True, slots=True)
class ScaledSummary:
    """What a job has done, counted from its files.

    Attributes:
        num_studies: rows, one per study.
        num_reports: of them, drafts.
        num_unfinished: of them, drafts that ended at the length limit.
        num_skipped: studies without a draft.
        num_resumed: studies that earlier calls had done.
        num_pieces: files.
        num_workers: that worked in this call.
        seconds: of this call, from the first piece handed out to the last one done.
        skipped: (study id, reason) of the first few without a draft.
        notes: what a reader of the drafts must know.
    """

    num_studies: int
    num_reports: int
    num_unfinished: int
    num_skipped: int
    num_resumed: int
    num_pieces: int
    num_workers: int
    seconds: float
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)


class DraftingWorker:
    """Holds the network; a call drafts one piece into its file.

    Args:
        request: how.
        studies: all of the job, of which a piece names some.
        out: where the files go.
    """

    def __init__(self, request: DraftingRequest, studies: Sequence[Study], out: Place) -> None:
        self.drafting = Drafting.open(request)
        if self.drafting.plan is not None:
            self.drafting.plan.put_in_force(self.drafting.predictor, (), {}, _no_progress)
        self.studies = studies
        self.folder = OutputFolder(out)

    def __call__(self, piece: Mapping[str, Any]) -> dict[str, Any]:
        """Draft studies ``first`` to ``end - 1``; how many, and how many of them calibrated the silence."""
        calibrating = self.drafting.calibrating()
        studies = (self.studies[place] for place in range(piece["first"], piece["end"]))
        facts = self.drafting.row_facts
        rows = [_row(outcome, facts) for outcome in self.drafting.drafter.draft(calibrating.watch(studies))]
        self.folder.write(part_name(piece["number"]), parquet_bytes(rows, DRAFT_COLUMNS))
        return {"number": piece["number"], "num_studies": len(rows), "num_calibrated": calibrating.num_found}


def draft_on_cluster(
    request: DraftingRequest,
    inputs: Inputs,
    out: Place,
    cluster: ClusterConfig,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ScaledSummary:
    """Draft every study into Parquet files in the folder ``out``; go on where an earlier call stopped.

    Args:
        request: how; its threads are the cluster's. Its checkpoint is read by every worker.
        inputs: what; the images are read by every worker.
        out: the folder, by path (which all machines see) or URL.
        cluster: where.
        on_progress: called with (studies done, in all) as pieces end.

    Raises:
        ConfigError: clues that depend on all studies at once, or no cluster.
        OutputError: ``out`` holds another job or other files, or cannot be written.
        CheckpointError, StoreError, SourceError: the checkpoint or an input cannot be read.
    """
    if request.clues.policy in _WHOLE_SET:
        raise ConfigError(
            f"--clues {request.clues.policy}: needs all studies in one process, so it goes without --engine ray only"
        )
    drafting = Drafting.open(replace(request, device="cpu"))  # for what it is, not to draft with
    studies = inputs.absolute().find()
    identity = {**drafting.identity(inputs.absolute()), "studies": digest_of(studies), "num_studies": len(studies)}
    # Where the same weights and the same store lie is another matter for every machine.
    for place in ("checkpoint", *(["inputs"] if isinstance(studies, StoredStudies) else [])):
        del identity[place]
    folder = OutputFolder(out.resolve() if isinstance(out, Path) else out)
    names = folder.names()
    job = _job(folder, names, identity, len(studies), cluster)
    pieces = cut(len(studies), job["piece_size"], studies.ends if isinstance(studies, ParquetStudies) else ())
    missing = [piece for piece in pieces if part_name(piece.number) not in names]
    done = num_resumed = len(studies) - sum(map(len, missing))
    on_progress(done, len(studies))
    calibrating = drafting.calibrating()
    num_workers, seconds = 0, 0.0
    if missing:
        arguments = (_elsewhere(request, cluster), studies, folder.place)
        with Cluster(cluster, takes_gpus=request.device in {"auto", "cuda"} and request.onnx is None) as joined:
            num_workers = min(joined.num_workers, len(missing))
            if JOB not in names:
                folder.write(JOB, json_line(job))
            started = time.monotonic()
            for answer in joined.run(DraftingWorker, arguments, [asdict(piece) for piece in missing]):
                calibrating.num_found += answer["num_calibrated"]
                done += answer["num_studies"]
                on_progress(done, len(studies))
            seconds = time.monotonic() - started
    num_reports, num_unfinished, skipped = _count(folder, pieces)
    left_out = [Skipped(*entry) for entry in skipped]
    summary = ScaledSummary(
        num_studies=len(studies),
        num_reports=num_reports,
        num_unfinished=num_unfinished,
        num_skipped=len(skipped),
        num_resumed=num_resumed,
        num_pieces=len(pieces),
        num_workers=num_workers,
        seconds=round(seconds, 3),
        skipped=tuple(skipped[:_NAMED]),
        notes=(
            *studies.notes,
            *(drafting.plan.notes if drafting.plan else ()),
            *(drafting.silence.notes(left_out, num_reports) if drafting.silence else calibrating.notes),
        ),
    )
    folder.write(SUMMARY, json_line(summary.plain()))
    return summary


def _elsewhere(request: DraftingRequest, cluster: ClusterConfig) -> DraftingRequest:
    """The request for a worker, which may stand in another folder."""
    onnx = None if request.onnx is None else request.onnx.resolve()
    return replace(request, checkpoint=request.checkpoint.resolve(), onnx=onnx, threads=cluster.cpus)


def part_name(number: int) -> str:
    """The file of a piece."""
    return f"part-{number:06d}.parquet"


def digest_of(studies: Sequence[Study]) -> str:
    """What tells two lists of studies apart: a store's checksums, otherwise all ids."""
    digest = hashlib.sha256()
    if isinstance(studies, StoredStudies):
        digest.update(json.dumps(studies.store.fingerprint).encode())
    else:
        for study_id in studies.study_ids:  # type: ignore[attr-defined]
            digest.update(json_line(study_id))
    return digest.hexdigest()


def _job(
    folder: OutputFolder, names: Collection[str], identity: Mapping[str, Any], num_studies: int, cluster: ClusterConfig
) -> dict[str, Any]:
    """The job that the folder has, or a new one for an empty folder: its identity, and studies per piece.

    Raises:
        OutputError: the folder holds another job, or other files.
    """
    identity = json.loads(json.dumps(identity))
    if JOB in names:
        job = json.loads(folder.read(JOB))
        if different := [name for name in identity if job["identity"].get(name) != identity[name]]:
            raise OutputError(
                f"{folder.place}: holds a job with another {' and '.join(different)}; choose another --out, or go on "
                "with that job's own command"
            )
        return dict(job)
    if names:
        raise OutputError(f"{folder.place}: is not empty (it holds {min(names)}); choose another --out")
    return {"identity": identity, "piece_size": cluster.piece_size or piece_size(num_studies)}


def _row(outcome: Report | Skipped, facts: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(outcome, Skipped):
        return {"study_id": outcome.study_id, "skipped": outcome.reason}
    row = {**report_row(outcome), **facts}
    if "assertions" in row:
        row["assertions"] = json.dumps(row["assertions"])
    return row


def _count(folder: OutputFolder, pieces: Sequence[Piece]) -> tuple[int, int, list[tuple[str, str]]]:
    """(drafts, unfinished ones, (study id, reason) of the skipped) by what the files hold.

    Raises:
        OutputError: a file has not its piece's number of rows.
    """

    def look(piece: Piece) -> tuple[int, int, list[tuple[str, str]]]:
        content = folder.read(part_name(piece.number))
        finished, skipped, ids = (parquet_column(content, name) for name in ("finished", "skipped", "study_id"))
        if len(ids) != len(piece) or len(set(ids)) != len(ids):
            raise OutputError(
                f"{folder.place}/{part_name(piece.number)}: has {len(set(ids))} studies instead of {len(piece)}; "
                "remove it and run the same command again"
            )
        left_out = [(study_id, why) for study_id, why in zip(ids, skipped, strict=True) if why is not None]
        return len(ids) - len(left_out), finished.count(False), left_out

    num_reports = num_unfinished = 0
    skipped: list[tuple[str, str]] = []
    with ThreadPoolExecutor(_READING_THREADS) as threads:
        for drafted, unfinished, left_out in threads.map(look, pieces):
            num_reports, num_unfinished = num_reports + drafted, num_unfinished + unfinished
            skipped += left_out
    return num_reports, num_unfinished, skipped


class _NoBar:
    def advance(self, count: int = 1) -> None:
        """Nobody looks at a worker."""

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _no_progress(what: str, total: int) -> Any:
    return _NoBar()
