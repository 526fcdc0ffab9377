"""Any dataset that is a table (CSV, TSV, JSONL) of images: columns are mapped, rows of one study are its views."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field

from radwright.config import Config
from radwright.data.remote import Place
from radwright.data.sources.base import StudyReference, read_options
from radwright.data.sources.tree import MAX_INDEX_BYTES, FileTree, open_tree
from radwright.errors import ConfigError, SourceError, StudyError, near
from radwright.imaging.positions import view_position
from radwright.text.sections import split_sections
from radwright.types import SECTIONS, Split, Study, View

Column = Literal[
    "image",
    "study_id",
    "patient_id",
    "view",
    "split",
    "report",
    "findings",
    "impression",
    "indication",
    "comparison",
    "original_width",
    "original_height",
]
COLUMNS: tuple[Column, ...] = get_args(Column)
_SPLIT_WORDS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "tune": "tune",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}
_PATIENT_NAMES = ("patientid", "patient", "subjectid")
"""Names (lower case, without ``_``, ``-`` and spaces) that mean the patient in every dataset that we know."""
_LIKELY_PATIENT = ("patient", "subject", "uid", "person", "mrn")
_SUFFIXES = (".csv", ".tsv", ".jsonl")


class TableOptions(Config):
    """Options of ``--format table``."""

    columns: dict[Column, str] = Field(default_factory=dict)
    """What Radwright calls a column -> its name in the table (``--column image=filename``). A column that is not mapped
    is taken by its own name where the table has it; ``patient_id`` also as ``PatientID``, ``patient`` or
    ``subject_id``, where there is one of them only. ``report`` is a whole report: it is cut at its headings, or counts
    as findings where it has none."""

    images: Path | None = None
    """Folder or archive of the images, where they do not lie beside the table or in ``images`` beside it."""

    table: str | None = None
    """Name of the table inside SOURCE, where SOURCE is a folder or archive with several tables."""

    facts: dict[str, str] = Field(default_factory=dict)
    """Facts of a study, to group scores by later -> their columns (``--option "facts={sex: gender}"``). They go into
    ``Study.extra``; ``radwright evaluate --by`` knows ``sex`` and ``age``, and takes any other as it is."""

    separator: str = ""
    """What separates several images (and views) in one cell; empty: one image per row."""


@dataclass(slots=True)
class _Rows:
    """The rows of one study."""

    rows: list[tuple[int, dict[str, Any]]] = field(default_factory=list)


class TableSource:
    """Images and reports by a table.

    Without a study_id column every row is its own study, named after its image.

    Args:
        path: the table, or a folder or archive with one table in it; the first two also by URL.
        options: see ``TableOptions``.
    """

    terms: ClassVar[Mapping[str, Any]] = {"licence": "not known to Radwright; say it with --licence"}

    reads_urls: ClassVar[bool] = True

    def __init__(self, path: Place, options: Mapping[str, Any]) -> None:
        _check_columns(options.get("columns"))
        self.options = read_options(TableOptions, options, name="table")
        self.path = path
        if isinstance(path, str) and path.lower().endswith(_SUFFIXES):
            folder, _, self.table = path.rpartition("/")
            self.tree = open_tree(folder)
        elif isinstance(path, Path) and path.is_file() and path.suffix.lower() in _SUFFIXES:
            self.tree, self.table = open_tree(path.parent), path.name
        else:
            self.tree = open_tree(path)
            self.table = self._find_table()
        self.folder = self.table.rpartition("/")[0]
        self.images: FileTree = self.tree if self.options.images is None else open_tree(self.options.images)
        present = self._present()
        self.names = self._column_names(present)
        self.notes = self._notes(present)
        self.has_reports = bool({"report", *SECTIONS} & set(self.names))
        self.has_images = "image" in self.names
        self.no_images = (
            f"the table has no column 'image'{near('image', present)};"
            f" name it with --column image=NAME; it has: {', '.join(present)}"
        )
        self.no_reports = (
            f"the table has no column with reports; it has: {', '.join(present)}; name one with --column findings=NAME"
        )

    def references(self) -> Sequence[StudyReference]:
        """All studies, in the order of their first rows."""
        studies: dict[tuple[str, str], _Rows] = {}
        for line, row in self._rows():
            study_id = self._cell(row, "study_id") or Path(self._images_of(row)[0] if self._images_of(row) else "").stem
            if not study_id:
                raise SourceError(f"{self._where(line)}: has neither a study_id nor an image")
            key = (study_id, self._cell(row, "patient_id"))
            studies.setdefault(key, _Rows()).rows.append((line, self._used(row)))
        return [
            StudyReference(study_id, patient, self._split(rows.rows), rows.rows)
            for (study_id, patient), rows in studies.items()
        ]

    def load(self, reference: StudyReference) -> Study:
        """One study.

        Raises:
            StudyError: rows that contradict each other in a section or in the split.
        """
        rows: list[dict[str, Any]] = [row for _, row in reference.content]
        splits = {self._cell(row, "split") for row in rows}
        if len(splits) > 1:
            raise StudyError(f"study {reference.study_id}: its rows name two splits: {', '.join(sorted(splits))}")
        views = [view for row in rows for view in self._views(row)]
        texts: dict[str, str] = {}
        for name in ("report", *SECTIONS):
            found = list(dict.fromkeys(text for row in rows if (text := self._cell(row, name))))
            if len(found) > 1:
                raise StudyError(
                    f"study {reference.study_id}: its rows have different texts under {self.names[name]!r};"
                    " is study_id mapped to the right column?"
                )
            if found:
                texts[name] = found[0]
        report = texts.pop("report", "")
        sections = (split_sections(report) or {"findings": report}) if report else {}
        facts = {name: fact for name, column in self.options.facts.items() if (fact := self._fact(rows, column))}
        return Study(reference.study_id, tuple(views), reference.patient_id, reference.split, sections | texts, facts)

    def _fact(self, rows: Sequence[Mapping[str, Any]], column: str) -> str:
        """What a study's rows say in a column; where they differ (the scanners of two views), all of it."""
        said = (str(row[column]).strip() for row in rows if row.get(column) is not None)
        return " / ".join(dict.fromkeys(text for text in said if text))

    def _views(self, row: Mapping[str, Any]) -> Iterator[View]:
        images = self._images_of(row)
        positions = self._list(row, "view")
        if len(positions) != len(images):
            positions = positions[:1] * len(images) if len(positions) == 1 else [""] * len(images)
        width, height = self._pixels(row, "original_width"), self._pixels(row, "original_height")
        size = (width, height) if width and height and len(images) == 1 else None
        for name, position in zip(images, positions, strict=True):
            yield View(self.images.image(self._image_name(name)), view_position(position), size)

    def _image_name(self, name: str) -> str:
        """The image's name in its tree: as it stands, beside the table, or in ``images`` beside the table."""
        folder = "" if self.options.images is not None else self.folder
        beside = "/".join(part for part in (folder, name) if part)
        below = "/".join(part for part in (folder, "images", name) if part)
        return below if not self.images.has(beside) and self.images.has(below) else beside

    def _find_table(self) -> str:
        names = [name for name in self.tree.names() if name.lower().endswith(_SUFFIXES)]
        if self.options.table is not None:
            chosen = [name for name in names if name == self.options.table or name.endswith("/" + self.options.table)]
            if len(chosen) != 1:
                raise SourceError(
                    f"{self.path}: has no one table {self.options.table!r}{near(self.options.table, names)}"
                )
            return chosen[0]
        if len(names) != 1:
            if not names:
                raise SourceError(f"{self.path}: has no CSV, TSV or JSONL table")
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise SourceError(
                f"{self.path}: one CSV, TSV or JSONL table is expected, found: {', '.join(names[:5])}{more};"
                f" choose one, e.g. --option table={names[0]}"
            )
        return names[0]

    def _present(self) -> list[str]:
        # JSON objects leave out what they lack, so all of them are asked.
        asked = None if self.table.lower().endswith(".jsonl") else 1
        return list(dict.fromkeys(str(name) for _, row in itertools.islice(self._rows(), asked) for name in row))

    def _notes(self, present: Sequence[str]) -> tuple[str, ...]:
        """What ``prepare`` must tell: without patients, one patient's studies fall into several splits unseen."""
        if "patient_id" in self.names:
            return ()
        likely = [name for name in present if any(part in _plain(name) for part in _LIKELY_PATIENT)]
        listed = f" (likely: {', '.join(likely)})" if likely else ""
        return (
            "no patient column: each study counts as its own patient; map it with --column patient_id=NAME" + listed,
        )

    def _column_names(self, present: Sequence[str]) -> dict[str, str]:
        listed = f"it has: {', '.join(present)}"
        names: dict[str, str] = {}
        for column in COLUMNS:
            mapped = self.options.columns.get(column)
            if mapped is not None and mapped not in present:
                raise SourceError(f"{self.path}: the table has no column {mapped!r}{near(mapped, present)}; {listed}")
            if mapped is not None or column in present:
                names[column] = mapped or column
        for fact, named in self.options.facts.items():
            if named not in present:
                raise SourceError(
                    f"{self.path}: fact {fact!r}: the table has no column {named!r}{near(named, present)}; {listed}"
                )
        patients = [name for name in present if _plain(name) in _PATIENT_NAMES]
        if "patient_id" not in names and len(patients) == 1:
            names["patient_id"] = patients[0]
        return names

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            text = self.tree.read(self.table, max_bytes=MAX_INDEX_BYTES).decode("utf-8-sig")
        except StudyError as error:
            raise SourceError(str(error)) from error
        except UnicodeDecodeError as error:
            raise SourceError(f"{self.path}: the table is not UTF-8 text: {error}") from error
        rows = self._json_rows(text) if self.table.lower().endswith(".jsonl") else self._csv_rows(text)
        empty = True
        for line, row in rows:
            empty = False
            yield line, row
        if empty:
            raise SourceError(f"{self.path}: the table {self.table} has no rows")

    def _csv_rows(self, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
        reader = csv.DictReader(
            io.StringIO(text, newline=""), delimiter="\t" if self.table.lower().endswith(".tsv") else ",", restval=""
        )
        try:
            for row in reader:
                if None in row:
                    raise SourceError(f"{self._where(reader.line_num)}: has more cells than the table has columns")
                yield reader.line_num, row
        except csv.Error as error:
            raise SourceError(f"{self._where(reader.line_num)}: is no valid CSV: {error}") from error

    def _json_rows(self, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for line, content in enumerate(text.split("\n"), start=1):
            if not content.strip():
                continue
            try:
                row = json.loads(content)
            except (ValueError, RecursionError) as error:
                raise SourceError(f"{self._where(line)}: is no valid JSON: {error}") from error
            if not isinstance(row, dict):
                raise SourceError(f"{self._where(line)}: an object with the columns as keys is expected")
            yield line, row

    def _where(self, line: int) -> str:
        return f"{self.path}: {self.table} line {line}"

    def _used(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: row[name] for name in (*self.names.values(), *self.options.facts.values()) if name in row}

    def _value(self, row: Mapping[str, Any], column: str) -> Any:
        # Never the column "": a table that was written with row numbers has one.
        name = self.names.get(column)
        return None if name is None else row.get(name)

    def _cell(self, row: Mapping[str, Any], column: str) -> str:
        value = self._value(row, column)
        return "" if value is None else str(value).strip()

    def _list(self, row: Mapping[str, Any], column: str) -> list[str]:
        value = self._value(row, column)
        if isinstance(value, list):
            return [str(entry).strip() for entry in value]
        text = self._cell(row, column)
        entries = text.split(self.options.separator) if self.options.separator else [text]
        return [entry.strip() for entry in entries if entry.strip()]

    def _images_of(self, row: Mapping[str, Any]) -> list[str]:
        return self._list(row, "image")

    def _pixels(self, row: Mapping[str, Any], column: str) -> int:
        try:
            return max(0, int(float(self._cell(row, column))))
        except (ValueError, OverflowError):
            return 0

    def _split(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> Split | None:
        line, first = rows[0]
        word = self._cell(first, "split").lower()
        if word and word not in _SPLIT_WORDS:
            raise ConfigError(f"{self._where(line)}: unknown split {word!r}; known: {', '.join(_SPLIT_WORDS)}")
        return _SPLIT_WORDS[word] if word else None


def _check_columns(columns: Any) -> None:
    """Hold the names on the left of ``--column NAME=COLUMN`` against those that Radwright knows.

    Raises:
        ConfigError: an unknown one.
    """
    for name in columns if isinstance(columns, Mapping) else ():
        if name not in COLUMNS:
            raise ConfigError(
                f"--column {name}={columns[name]}: {name!r} is no name of Radwright's{near(str(name), COLUMNS)};"
                f" known: {', '.join(COLUMNS)}; write it as NAME=COLUMN, the table's own name on the right"
            )


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character not in "_- ")
