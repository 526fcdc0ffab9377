"""From a dataset to a prepared store: in parallel, in a fixed order, resumable, with every image decoded once.

What cannot be used is recorded with its reason and left out; what would make scores meaningless (a patient in two
splits) stops before any work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from radwright.config import Config
from radwright.data import files
from radwright.data.remote import Place, last_part
from radwright.data.reports import Target
from radwright.data.sources.base import Source, StudyReference
from radwright.data.splits import assign_splits, patient_of
from radwright.data.store import HEADER, REPORTS, SHARDS, SKIPPED, STORE_VERSION, SUMMARY, PreparedStore, read_header
from radwright.data.summary import left_out_rows, report_rows, summarise
from radwright.data.workers import Outcome, Task, run_tasks
from radwright.data.writing import StoreWriter, finished_shards, missing_references
from radwright.errors import SourceError, StoreError
from radwright.imaging.config import ImageConfig
from radwright.tables import SOURCES, resolve
from radwright.types import Split

Progress = Callable[[int, int, int], None]
"""Called with (references done, references in all, studies skipped so far)."""


class PrepareConfig(Config):
    """How a dataset is prepared. Everything here but ``workers`` shows in the store."""

    format: str
    """A name in ``radwright.tables.SOURCES``, or ``module:Class``."""

    options: dict[str, Any] = Field(default_factory=dict)
    """The source's own options."""

    target: Target = "findings"
    """What a report is: its findings, its impression, or both."""

    as_split: Split | None = None
    """Put every study into this split, whatever the dataset says (an outside test set)."""

    limit: int | None = Field(default=None, ge=1)
    """Take the first studies only."""

    allow_patient_overlap: bool = False
    """Go on where a patient's studies are in two splits; it is reported all the same."""

    keep_without_report: bool = False
    """Keep studies without a report (pre-training on images, drafting)."""

    keep_without_image: bool = False
    """Keep studies that have a report but no image (pre-training on text)."""

    licence: str | None = None
    """The dataset's licence, for the cards of models trained on it; None: as the format states it."""

    image: ImageConfig = Field(default_factory=ImageConfig)
    """Its limits are held when images are checked; size and fit do not matter here."""

    workers: int = Field(default=1, ge=1)
    """Processes. The store is the same for any number."""


@dataclass(frozen=True, slots=True)
class StoreJob:
    """What of a store is still to be written.

    Attributes:
        source: the dataset.
        tasks: one for every reference, those already written too.
        missing: runs of references that no shard covers yet.
        out: the store's folder.
        config: how.
        on_progress: called with (references done, studies skipped), each counted from this job's start.
    """

    source: Source
    tasks: Sequence[Task]
    missing: Sequence[range]
    out: Path
    config: PrepareConfig
    on_progress: Callable[[int, int], None]


def prepare(
    path: Place,
    out: Path,
    config: PrepareConfig,
    *,
    on_progress: Progress | None = None,
    write: Callable[[StoreJob], None] | None = None,
) -> dict[str, Any]:
    """Turn the dataset at ``path`` into a store at ``out``; finish one that an earlier run left unfinished.

    Args:
        path: the dataset; a URL as text, where its format reads them.
        out: the store's folder.
        config: how.
        on_progress: told how far it is.
        write: does the work; None: ``write_here``. Whoever does it, the store's files are the same to the byte.

    Returns:
        The summary, as in ``report.json``: counts per split, skipped studies by kind, duplicates, lengths. Its
        ``resumed_from`` is the number of studies that an earlier run had done.

    Raises:
        SourceError: the dataset cannot be read, a patient is in two splits, or no study of it can be used.
        ConfigError: unknown format or option.
        StoreError: ``out`` holds something else.
        OutputError: ``out`` is full, read-only, or being written by another process.
    """
    format_class = resolve(SOURCES, config.format, kind="dataset format")
    if isinstance(path, str) and not getattr(format_class, "reads_urls", False):
        raise SourceError(f"{path}: --format {config.format} reads folders and archives on disk only")
    source: Source = format_class(path, config.options)
    tasks, overlap = plan(source, config, path)
    terms = dict(source.terms) if config.licence is None else {**source.terms, "licence": config.licence}
    header = {**_header(path, config, tasks), "terms": terms}
    with files.output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with files.folder_lock(out):
        already = _start(out, header)
        if already:
            return already
        facts = {"patients_across_splits": overlap, "notes": _notes(source, tasks)}
        shards = finished_shards(out)
        missing = missing_references(shards, len(tasks))
        start = len(tasks) - sum(map(len, missing))
        skipped = sum(len(shard.skipped) for shard in shards)

        def tell(done: int, left_out: int) -> None:
            if on_progress:
                on_progress(start + done, len(tasks), skipped + left_out)

        tell(0, 0)
        (write or write_here)(StoreJob(source, tasks, missing, out, config, tell))
        return {**_finish(out, config, facts, header), "resumed_from": start}


def write_here(job: StoreJob) -> None:
    """Write what is missing of a store in this process, with ``job.config.workers`` of its own that load and check.

    Raises:
        OutputError, SourceError: see ``prepare``.
    """
    done = num_skipped = 0
    for run in job.missing:
        tasks = job.tasks[run.start : run.stop]
        with (
            StoreWriter(job.out, run.start) as writer,
            closing(run_tasks(job.source, tasks, job.config)) as outcomes,
        ):
            for outcome in outcomes:
                num_skipped += put(outcome, writer)
                done += 1
                job.on_progress(done, num_skipped)


def put(outcome: Outcome, writer: StoreWriter) -> bool:
    """Write the next reference's outcome; whether its study is skipped."""
    if outcome.row is None:
        writer.skip(outcome.study_id, outcome.kind, outcome.reason)
        return True
    writer.add(outcome.row)
    return False


def plan(source: Source, config: PrepareConfig, path: Place) -> tuple[list[Task], dict[str, Any]]:
    """Decide what happens to every study before any of them is loaded.

    Returns:
        A task per reference, and which patients are in several splits (None where the dataset names no patients).

    Raises:
        SourceError: no studies; no reports, no images, or a patient in several splits (these unless allowed).
    """
    if not source.has_reports and not config.keep_without_report:
        missing = getattr(source, "no_reports", "the dataset has no reports")
        raise SourceError(f"{path}: {missing}, or keep its studies without one by --keep-without-report")
    if not getattr(source, "has_images", True) and not config.keep_without_image:
        missing = getattr(source, "no_images", "the dataset has no images")
        raise SourceError(f"{path}: {missing}, or keep its studies without one by --keep-without-image")
    references = list(source.references())[: config.limit]
    if not references:
        raise SourceError(f"{path}: has no studies")
    splits = [config.as_split] * len(references) if config.as_split else assign_splits(references)
    tasks = [
        Task(reference, split, *refusal)
        for reference, split, refusal in zip(references, splits, _refusals(references), strict=True)
        if refusal is not None
    ]
    overlap = _patients_across_splits(tasks)
    if overlap["patients"] and not config.allow_patient_overlap:
        listed = "; ".join(f"{patient} in {', '.join(names)}" for patient, names in overlap["examples"].items())
        patients = "1 patient is" if overlap["patients"] == 1 else f"{overlap['patients']} patients are"
        raise SourceError(
            f"{path}: {patients} in more than one split, so scores would be too good: {listed}."
            " Correct the splits, leave the split column out, or say --allow-patient-overlap"
        )
    return tasks, overlap


def _refusals(references: Sequence[StudyReference]) -> list[tuple[str, str] | None]:
    """(kind, reason) for every reference that cannot be told apart from another one; empty texts for the good ones.

    None for the further references of a study that names several patients: it is skipped once, not once per row.
    """
    patients = _by_key((reference.study_id, reference.patient_id) for reference in references)
    seen: set[str] = set()
    refusals: list[tuple[str, str] | None] = []
    for reference in references:
        study_id = reference.study_id
        if study_id in patients and study_id in seen:
            refusals.append(None)
        elif study_id in patients:
            named = ", ".join(sorted(patients[study_id]))
            refusals.append(("two patients", f"study {study_id}: names two patients: {named}"))
        elif study_id in seen:
            refusals.append(("duplicate id", f"study {study_id}: this id was used before; the first study keeps it"))
        else:
            refusals.append(("", ""))
        seen.add(study_id)
    return refusals


def _by_key(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """The values of each key that has several; of all others, which may be millions, no set is made."""
    first: dict[str, str] = {}
    several: dict[str, set[str]] = {}
    for key, value in pairs:
        if (known := first.setdefault(key, value)) != value:
            several.setdefault(key, {known}).add(value)
    return several


def _patients_across_splits(tasks: Sequence[Task], num_examples: int = 5) -> dict[str, Any]:
    splits = _by_key((patient_of(task.reference), task.split) for task in tasks if not task.refusal)
    found = {patient: sorted(names) for patient, names in splits.items()}
    if not any(task.reference.patient_id for task in tasks):
        return {"patients": None, "examples": {}}  # 0 would claim what nobody can know
    return {"patients": len(found), "examples": dict(list(found.items())[:num_examples])}


def _notes(source: Source, tasks: Sequence[Task]) -> list[str]:
    """What a reader of the summary must know about the dataset."""
    notes = list(getattr(source, "notes", ()))
    unnamed = sum(not task.reference.patient_id for task in tasks)
    if unnamed and not notes:
        notes.append(f"{unnamed} of {len(tasks)} studies name no patient: each counts as its own patient")
    return notes


def _header(path: Place, config: PrepareConfig, tasks: Sequence[Task]) -> dict[str, Any]:
    """What makes this store this store; a run that resumes must have the same."""
    digest = hashlib.sha256()
    for task in tasks:
        digest.update(files.json_line([task.reference.study_id, task.reference.patient_id, task.split, task.refusal]))
    return {
        "version": STORE_VERSION,
        "source": last_part(path),
        **{name: value for name, value in config.plain().items() if name != "workers"},
        "num_references": len(tasks),
        "references_sha256": digest.hexdigest(),
        "complete": False,
    }


def _start(out: Path, header: Mapping[str, Any]) -> dict[str, Any] | None:
    """Make the folder a store of this header; the summary, where it is complete already.

    Raises:
        StoreError: the folder holds something else.
    """
    if not (out / HEADER).exists():
        if held := files.strangers(out):
            raise StoreError(f"{out}: is not empty (it holds {held[0]}); choose another --out")
        files.write_lines(out / HEADER, [header])
        return None
    found = read_header(out)
    different = [name for name in header if name != "complete" and found.get(name) != header[name]]
    if different:
        raise StoreError(
            f"{out}: holds a store made from another {' and '.join(different)}; choose another --out, or delete it"
        )
    if not found["complete"]:
        return None
    PreparedStore(out).verify()
    return {**read_summary(out), "resumed_from": found["num_references"]}


def _finish(out: Path, config: PrepareConfig, facts: Mapping[str, Any], header: Mapping[str, Any]) -> dict[str, Any]:
    """Write what is derived from the shards, then mark the store complete."""
    shards = finished_shards(out)
    files.write_lines(out / SHARDS, [shard.row() for shard in shards])  # several writers leave them in any order
    skipped = [entry for shard in shards for entry in shard.skipped]
    names = ("study_id", "kind", "reason")
    store = PreparedStore(out, allow_incomplete=True)
    rows = [dict(zip(names, entry, strict=True)) for entry in skipped]
    files.write_lines(out / SKIPPED, [*rows, *(left_out_rows(store) if len(store) else ())])
    if not len(store):
        with files.output_errors(out):
            (out / SHARDS).unlink(missing_ok=True)
        studies = "1 study" if len(skipped) == 1 else f"{len(skipped)} studies"
        raise SourceError(f"none of {studies} can be used; the first: {skipped[0][2]} (all: {out / SKIPPED})")
    files.write_lines(out / REPORTS, report_rows(store, config.target))
    summary = {
        "source": header["source"],
        "format": config.format,
        "target": config.target,
        **summarise(store, config.target, skipped),
        **facts,
    }
    files.write_lines(out / SUMMARY, [summary])
    files.write_lines(out / HEADER, [{**header, "complete": True, "num_studies": len(store)}])
    return summary


def read_summary(out: Path) -> dict[str, Any]:
    """What ``report.json`` of a finished store says.

    Raises:
        StoreError: it is missing or damaged.
    """
    lines = files.read_lines(out / SUMMARY)
    if len(lines) != 1:
        raise StoreError(f"{out / SUMMARY}: is missing or damaged; delete the folder and prepare it again")
    return dict(lines[0])
