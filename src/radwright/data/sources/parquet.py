"""Studies in Parquet files, a row each, with their images' encoded bytes inside: how large sets travel.

A file is read row group by row group, so studies asked for in their order cost each byte once.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from radwright.config import Config
from radwright.data.parquet import find_parquet
from radwright.data.remote import Place, last_part
from radwright.data.sources.base import StudyReference, read_options
from radwright.errors import SourceError, StudyError, near
from radwright.imaging.positions import view_position
from radwright.text.sections import split_sections
from radwright.types import SECTIONS, SPLITS, ImageInMemory, Split, Study, View

Column = Literal[
    "study_id", "patient_id", "split", "image", "view", "report", "findings", "impression", "indication", "comparison"
]
COLUMNS: tuple[str, ...] = ("study_id", "patient_id", "split", "image", "view", "report", *SECTIONS)
_IMAGE_NAMES = ("image", "images", "views")
_BYTES = ("bytes", "image")
"""Fields of an image that is a struct: the first that is there holds its bytes."""


class ParquetOptions(Config):
    """Options of ``--format parquet``."""

    columns: dict[Column, str] = Field(default_factory=dict)
    """What Radwright calls a column -> its name in the files (``--column image=pixels``). A column that is not mapped
    is taken by its own name where the files have it; ``image`` also as ``images`` or ``views``."""


class ParquetSource:
    """Studies from Parquet: a file, a folder of them, or a URL (``s3://bucket/folder``) of either.

    A row is a study. ``study_id`` is a text or a number. ``image`` holds encoded bytes (PNG, JPEG, DICOM), a struct
    with ``bytes`` and perhaps ``path`` and ``position``, or a list of either for several views; ``view`` names their
    positions, a text or a list of texts. ``report`` is a whole report and is cut at its headings; sections have
    columns of their own names.

    Args:
        path: where the files are.
        options: see ``ParquetOptions``.

    Raises:
        SourceError: no Parquet file, files of different columns, or no column with ids.
    """

    terms: ClassVar[Mapping[str, Any]] = {"licence": "not known to Radwright; say it with --licence"}
    reads_urls: ClassVar[bool] = True

    def __init__(self, path: Place, options: Mapping[str, Any]) -> None:
        self.options = read_options(ParquetOptions, options, name="parquet")
        self.path = path
        self.files = find_parquet(path)
        self.names = self._column_names()
        self.has_reports = bool({"report", *SECTIONS} & set(self.names))
        self.has_images = "image" in self.names
        self.group_ends = list(itertools.accumulate(rows for file in self.files for rows in file.group_rows))
        self._groups = [(file, number) for file in self.files for number in range(len(file.group_rows))]
        self._kept: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    def __len__(self) -> int:
        """Number of rows."""
        return self.group_ends[-1] if self.group_ends else 0

    def references(self) -> Sequence[StudyReference]:
        """All rows, in the order of the files' names."""
        ids = self._column("study_id")
        patients = self._column("patient_id") if "patient_id" in self.names else itertools.repeat("")
        splits = self._column("split") if "split" in self.names else itertools.repeat("")
        return [
            StudyReference(self._id(study_id, row), _text(patient), self._split(split, row), row)
            for row, (study_id, patient, split) in enumerate(zip(ids, patients, splits, strict=False))
        ]

    def study_ids(self) -> list[str]:
        """The id of every row, in order.

        Raises:
            SourceError: a row has none.
        """
        return [self._id(value, row) for row, value in enumerate(self._column("study_id"))]

    def load(self, reference: StudyReference) -> Study:
        """One row as a study.

        Raises:
            StudyError: its image is no image bytes, or the file is damaged there.
        """
        return self._study(reference.study_id, reference.patient_id, reference.split, int(reference.content))

    def study(self, row: int) -> Study:
        """The study of a row, by its place in all files.

        Raises:
            IndexError: there is no such row.
            StudyError: as ``load``.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"{self.path}: row {row} of {len(self)}")
        return self._study(self._id(self._cells(row).get("study_id"), row), "", None, row)

    def _study(self, study_id: str, patient_id: str, split: Split | None, row: int) -> Study:
        cells = self._cells(row)
        report = _text(cells.get("report"))
        sections = (split_sections(report) or {"findings": report}) if report else {}
        sections |= {name: text for name in SECTIONS if (text := _text(cells.get(name)))}
        return Study(study_id, tuple(_views(study_id, cells)), patient_id, split, sections)

    def _cells(self, row: int) -> dict[str, Any]:
        """A row's cells by Radwright's names for the columns; its row group is kept until another is asked for."""
        number = bisect.bisect_right(self.group_ends, row)
        if self._kept is None or self._kept[0] != number:
            file, group = self._groups[number]
            self._kept = None  # never two row groups in memory
            self._kept = (number, file.read_group(group, list(self.names.values())))
        start = self.group_ends[number - 1] if number else 0
        table = self._kept[1]
        return {name: table.column(column)[row - start].as_py() for name, column in self.names.items()}

    def _column(self, name: str) -> Iterator[Any]:
        for file in self.files:
            yield from file.read_column(self.names[name])

    def _id(self, value: Any, row: int) -> str:
        text = _text(value)
        if not text:
            raise SourceError(f"{self.path}: row {row} has no {self.names['study_id']}")
        return text

    def _split(self, value: Any, row: int) -> Split | None:
        word = _text(value).lower()
        if not word:
            return None
        for split in SPLITS:
            if word == split or (word in {"valid", "validate", "validation"} and split == "val"):
                return split
        raise SourceError(f"{self.path}: row {row}: unknown split {word!r}; known: {', '.join(SPLITS)}")

    def _column_names(self) -> dict[str, str]:
        present = self.files[0].columns
        for file in self.files:
            if file.columns != present:
                raise SourceError(f"{file.place}: has other columns than {self.files[0].place}; give one set at a time")
        listed = f"it has: {', '.join(present)}"
        names: dict[str, str] = {}
        for column in COLUMNS:
            mapped = self.options.columns.get(column)  # type: ignore[call-overload]
            if mapped is not None and mapped not in present:
                raise SourceError(f"{self.path}: has no column {mapped!r}{near(mapped, present)}; {listed}")
            likely = _IMAGE_NAMES if column == "image" else (column,)
            found = mapped or next((name for name in likely if name in present), None)
            if found is not None:
                names[column] = found
        if "study_id" not in names:
            raise SourceError(f"{self.path}: has no column 'study_id'{near('study_id', present)}; {listed}")
        return names


def _views(study_id: str, cells: Mapping[str, Any]) -> Iterator[View]:
    value = cells.get("image")
    images = [] if value is None else value if isinstance(value, list) else [value]
    named = cells.get("view")
    positions = named if isinstance(named, list) else [named] * len(images)
    for number, image in enumerate(images):
        position = positions[number] if number < len(positions) else None
        path = ""
        if isinstance(image, Mapping):
            path, position = _text(image.get("path") or image.get("name")), image.get("position") or position
            image = next((image[name] for name in _BYTES if isinstance(image.get(name), bytes)), None)
        if not isinstance(image, bytes):
            raise StudyError(f"study {study_id}: its image {number} holds no bytes (found {type(image).__name__})")
        name = f"{study_id}/{number}" + (f" ({last_part(path)})" if path else "")
        yield View(ImageInMemory(name, image), view_position(_text(position)))


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
