"""Reading texts by study: JSON lines, CSV or Parquet with ``study_id`` and ``report``, R2Gen's annotation.json, or
plain text with a report a line; text files gzip or not.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radwright.data.parquet import find_parquet, is_parquet
from radwright.errors import ScoringError, SourceError, near
from radwright.text.sections import names_prior

GIVEN_CLUES = {
    "oracle": "oracle clues: an upper bound, not a result",
    "random": "random clues: a control",
    "shuffled": "another study's clues: a control",
}
"""``clue_policy`` of drafts whose clues do not come from their own images -> what a reader must know of it."""
_NAMED = 5
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_MAX_FIELD = 16 << 20
_DEVELOPMENT = ("train", "tune")
_CURE = (
    "give JSON lines with study_id and report (drafts, a store's reports.jsonl), R2Gen's annotation.json, a CSV or "
    "Parquet with the columns study_id and report, or a .txt file with a report a line"
)


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One study's text.

    Attributes:
        study_id: unique within the file.
        report: the text, which may be empty.
        split: the split that the file puts it in, if it says so.
        prior: whether there is an earlier examination to compare with, by the file's ``comparison`` (the section's
            text); None where it does not say.
        clue_policy: how the clues came about that a draft was written from; None of a text without any.
    """

    study_id: str
    report: str
    split: str | None = None
    prior: bool | None = None
    clue_policy: str | None = None


@dataclass(frozen=True, slots=True)
class ReportFile:
    """The rows of one file, in its order."""

    path: Path
    rows: tuple[ReportRow, ...]

    @property
    def splits(self) -> list[str]:
        """The splits that have rows, in the file's order."""
        return list(dict.fromkeys(row.split for row in self.rows if row.split is not None))

    def reports(self, split: str | None = None) -> dict[str, str]:
        """study_id -> report, of one split or of all.

        Raises:
            ScoringError: the split has no rows; the message lists those that have.
        """
        if split is None:
            return {row.study_id: row.report for row in self.rows}
        chosen = {row.study_id: row.report for row in self.rows if row.split == split}
        if not chosen:
            has = f"it has {', '.join(self.splits)}" if self.splits else "it names no splits: leave --split out"
            raise ScoringError(f"{self.path}: no study of split {split!r}{near(split, self.splits)}; {has}")
        return chosen

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of scores must know of these texts: drafts from clues that no image gave."""
        policies = {row.clue_policy: None for row in self.rows if row.clue_policy in GIVEN_CLUES}
        return tuple(f"{self.path.name}: {GIVEN_CLUES[str(policy)]}" for policy in policies)

    def priors(self) -> dict[str, bool | None]:
        """study_id -> whether there is an earlier examination to compare with; None where the file does not say."""
        return {row.study_id: row.prior for row in self.rows}

    def choosing_reports(self, split: str | None) -> dict[str, str]:
        """The rows that a constant for ``split`` may be chosen on: ``train`` and ``tune`` where the file has them.

        ``split`` itself is left out. Where nothing is left of the two, the rows of every other split.
        """
        outside = {row.study_id: row for row in self.rows if split is None or row.split != split}
        seen_in_training = {study_id: row for study_id, row in outside.items() if row.split in _DEVELOPMENT}
        return {study_id: row.report for study_id, row in (seen_in_training or outside).items()}

    def train_reports(self) -> dict[str, str]:
        """The rows of split ``train`` where the file names splits and has such rows, otherwise all rows."""
        return self.reports("train" if "train" in self.splits else None)


def read_reports(path: Path) -> ReportFile:
    """Read a file of reports; its name's ending tells a table (``.csv``, ``.tsv``) and plain text (``.txt``).

    Lines of plain text are called by their number, from 1; empty lines are no reports. Of Parquet, a file or a folder
    of them as ``generate --engine ray`` writes, rows whose report is null have none.

    Raises:
        ScoringError: the file cannot be read, is neither layout, names a study twice, or has no study; the message
            names the line or the entry.
    """
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    text = "" if is_parquet(path) else _read_text(path)
    if is_parquet(path):
        rows = tuple(_parquet_rows(path))
    elif kind in _SEPARATORS:
        rows = tuple(_table(text, path, _SEPARATORS[kind]))
    elif kind == ".txt":
        rows = tuple(
            ReportRow(str(number), line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()
        )
    else:
        annotation = _as_annotation(text)
        rows = tuple(_lines(text, path) if annotation is None else _entries(annotation, path))
    if not rows:
        raise ScoringError(f"{path}: holds no study")
    twice = [study_id for study_id, count in Counter(row.study_id for row in rows).items() if count > 1]
    if twice:
        raise ScoringError(f"{path}: {name_some(twice, 'study')} given more than once; leave one row per study")
    return ReportFile(path, rows)


def name_some(study_ids: Iterable[str], noun: str) -> str:
    """``3 studies ('a', 'b', 'c')``, naming five at most."""
    listed = list(study_ids)
    names = ", ".join(repr(study_id) for study_id in listed[:_NAMED]) + (", ..." if len(listed) > _NAMED else "")
    plural = noun if len(listed) == 1 else {"study": "studies"}.get(noun, noun + "s")
    return f"{len(listed)} {plural} ({names})"


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ScoringError(f"{path}: is no UTF-8 text (byte {error.start}); {_CURE}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ScoringError(f"{path}: the gzip file is damaged or cut off: {error}") from error
    except OSError as error:
        raise ScoringError(f"{path}: cannot be read: {error.strerror or error}; {_CURE}") from error


def _as_annotation(text: str) -> dict[str, Any] | None:
    """The annotation when ``text`` is one JSON mapping of lists; None when it is anything else."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        values = json.loads(text)
    except ValueError:
        return None
    is_annotation = isinstance(values, dict) and "study_id" not in values and values
    return values if is_annotation and all(isinstance(entries, list) for entries in values.values()) else None


def _entries(annotation: dict[str, Any], path: Path) -> Iterator[ReportRow]:
    for split, entries in annotation.items():
        for index, entry in enumerate(entries):
            yield _row(entry, f"{path}: {split}[{index}]", id_key="id", split=split)


def _table(text: str, path: Path, separator: str) -> Iterator[ReportRow]:
    limit = csv.field_size_limit(_MAX_FIELD)  # of the whole process: given back below
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        columns = reader.fieldnames or []
        for name in ("study_id", "report"):
            if name not in columns:
                raise ScoringError(f"{path}: has no column {name!r}{near(name, columns)}; it has: {', '.join(columns)}")
        for entry in reader:
            yield _row(entry, f"{path}:{reader.line_num}", id_key="study_id", split=None)
    except csv.Error as error:
        raise ScoringError(f"{path}:{reader.line_num}: is no line of a table: {error}") from error
    finally:
        csv.field_size_limit(limit)


def _parquet_rows(path: Path) -> Iterator[ReportRow]:
    known = ("study_id", "report", "split", "comparison", "clue_policy")
    try:
        for file in find_parquet(path):
            for name in known[:2]:
                if name not in file.columns:
                    listed = f"{near(name, file.columns)}; it has: {', '.join(file.columns)}"
                    raise ScoringError(f"{file.place}: has no column {name!r}{listed}")
            columns = {name: file.read_column(name) for name in known if name in file.columns}
            for number, cells in enumerate(zip(*columns.values(), strict=True)):
                entry = dict(zip(columns, cells, strict=True))
                if entry["report"] is not None:
                    yield _row(entry, f"{file.place}: row {number}", id_key="study_id", split=None)
    except SourceError as error:
        raise ScoringError(str(error)) from error


def _lines(text: str, path: Path) -> Iterator[ReportRow]:
    # Only "\n" ends a line: JSON may hold other separators (U+2028) within a text.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise ScoringError(
                f"{where}: is no JSON ({error}); a line per study with study_id and report is expected, or R2Gen's "
                "annotation.json"
            ) from error
        yield _row(entry, where, id_key="study_id", split=None)


def _row(entry: Any, where: str, *, id_key: str, split: str | None) -> ReportRow:
    if not isinstance(entry, dict):
        raise ScoringError(f"{where}: an object with {id_key} and report is expected, found {type(entry).__name__}")
    study_id, report = entry.get(id_key), entry.get("report")
    if not isinstance(study_id, str | int) or isinstance(study_id, bool) or study_id == "":
        raise ScoringError(f"{where}: {id_key!r} is missing or no text (found {study_id!r}){near(id_key, entry)}")
    if not isinstance(report, str):
        hint = "" if "report" in entry else near("report", entry)
        raise ScoringError(f"{where}: 'report' of study {study_id!r} is missing or no text (found {report!r}){hint}")
    if split is None and entry.get("split") is not None:
        split = str(entry["split"])
    comparison = entry.get("comparison")
    prior = names_prior(comparison) if isinstance(comparison, str) else None
    policy = entry.get("clue_policy")
    return ReportRow(str(study_id), report, split, prior, policy if isinstance(policy, str) else None)
