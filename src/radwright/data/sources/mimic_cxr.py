"""MIMIC-CXR and MIMIC-CXR-JPG in their official layout; credentialed data, read where it lies and never copied out.

Below the folder: ``files/p10/p10000032/s50414267/<dicom_id>.jpg`` (or ``.dcm``), the reports as
``files/p10/p10000032/s50414267.txt`` (or ``mimic-cxr-reports.zip``, or ``mimic_cxr_sectioned.csv``), and
``mimic-cxr-2.0.0-split.csv.gz`` and ``-metadata.csv.gz`` (unpacked ones work too).
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from radwright.config import Config
from radwright.data.sources.base import StudyReference, read_options
from radwright.data.sources.tree import FolderTree, ZipTree, open_tree
from radwright.errors import SourceError, StudyError, near
from radwright.imaging.positions import view_position
from radwright.text.sections import split_sections
from radwright.types import ImageFile, ImageOnDisk, Split, Study, View

_SPLITS: Mapping[str, Split] = {"train": "train", "validate": "val", "val": "val", "test": "test"}
_FACTS: Mapping[str, str] = {"projection": "ViewPosition", "procedure": "PerformedProcedureStepDescription"}
"""Facts of a study -> columns of the metadata file; sex and age are in MIMIC-IV, not here."""
_DIGITS = re.compile(r"\d+")


class MimicCxrOptions(Config):
    """Options of ``--format mimic-cxr``."""

    reports: Path | None = None
    """Folder with ``files/`` below it or ``mimic-cxr-reports.zip``, where the reports do not lie below SOURCE."""

    sections: Path | None = None
    """``mimic_cxr_sectioned.csv`` (study, findings, impression, ...); by default the one below SOURCE, if any.
    Reports are then not read."""


class MimicCxrSource:
    """MIMIC-CXR (Johnson et al., 2019) with its official split; a study's views come in the split file's order.

    Args:
        path: the folder that holds ``files/`` and the CSV files.
        options: see ``MimicCxrOptions``.
    """

    terms: ClassVar[Mapping[str, Any]] = {
        "licence": "PhysioNet Credentialed Health Data License 1.5.0",
        "credentialed": True,
    }
    has_reports = True

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        self.options = read_options(MimicCxrOptions, options, name="mimic-cxr")
        if not path.is_dir():
            raise SourceError(
                f"{path}: is no folder; give the folder that holds files/ and mimic-cxr-2.0.0-split.csv.gz"
            )
        self.path = path
        reports = self.options.reports or path
        archive = reports / "mimic-cxr-reports.zip" if reports.is_dir() else reports
        self.reports: FolderTree | ZipTree = ZipTree(archive) if archive.is_file() else FolderTree(reports)
        if archive.is_file():
            open_tree(archive)
        found = path / "mimic_cxr_sectioned.csv"
        self.sections_path = self.options.sections or (found if found.is_file() else None)

    def references(self) -> Sequence[StudyReference]:
        """All studies of the split file."""
        positions: dict[str, str] = {}
        said: dict[str, tuple[str, ...]] = {}
        shared: dict[tuple[str, ...], tuple[str, ...]] = {}
        metadata = self._find("metadata")
        if metadata is not None:
            for row in _rows(metadata, {"dicom_id", "ViewPosition"}):
                positions[row["dicom_id"]] = row["ViewPosition"]
                facts = tuple(row.get(column, "").strip() for column in _FACTS.values())
                said[row["dicom_id"]] = shared.setdefault(facts, facts)
        split_path = self._find("split")
        if split_path is None:
            raise SourceError(f"{self.path}: has no mimic-cxr-2.0.0-split.csv or .csv.gz")
        studies: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
        for row in _rows(split_path, {"dicom_id", "study_id", "subject_id", "split"}):
            key = (_digits(row["study_id"]), _digits(row["subject_id"]), row["split"].strip().lower())
            if key[2] not in _SPLITS:
                raise SourceError(f"{split_path}: unknown split {row['split']!r}; known: {', '.join(_SPLITS)}")
            studies.setdefault(key, []).append((row["dicom_id"].strip(), positions.get(row["dicom_id"], "")))
        sections = self._sections()
        return [
            StudyReference(
                f"s{study}",
                f"p{subject}",
                _SPLITS[split],
                (
                    views,
                    None if sections is None else sections.get(study),
                    _facts([said[dicom_id] for dicom_id, _ in views if dicom_id in said]),
                ),
            )
            for (study, subject, split), views in studies.items()
        ]

    def load(self, reference: StudyReference) -> Study:
        """One study: its images and the sections of its report.

        Raises:
            StudyError: an image or the report is missing.
        """
        named, sections, facts = reference.content
        folder = f"files/{reference.patient_id[:3]}/{reference.patient_id}/{reference.study_id}"
        views = tuple(View(self._image(folder, dicom_id), view_position(position)) for dicom_id, position in named)
        if self.sections_path is None:
            report = self.reports.read(f"{folder}.txt", max_bytes=2**20)
            sections = split_sections(report.decode("utf-8", errors="replace"))
        elif sections is None:
            raise StudyError(f"study {reference.study_id}: has no row in {self.sections_path}")
        return Study(reference.study_id, views, reference.patient_id, reference.split, sections, facts)

    def _image(self, folder: str, dicom_id: str) -> ImageFile:
        stem = self.path / folder / dicom_id
        if Path(dicom_id).name != dicom_id or dicom_id in {"", ".."}:
            raise StudyError(f"dicom_id {dicom_id!r} is no file name")
        for suffix in (".jpg", ".dcm", ".png"):
            path = stem.with_name(dicom_id + suffix)
            if path.is_file():
                return ImageOnDisk(path)
        raise StudyError(f"{stem}.jpg (or .dcm): is missing")

    def _find(self, kind: str) -> Path | None:
        for pattern in (f"mimic-cxr-*-{kind}.csv", f"mimic-cxr-*-{kind}.csv.gz"):
            found = sorted(self.path.glob(pattern))
            if found:
                return found[-1]
        return None

    def _sections(self) -> dict[str, dict[str, str]] | None:
        if self.sections_path is None:
            return None
        names = ("findings", "impression", "comparison", "indication")
        return {
            _digits(row["study"]): {name: " ".join(row[name].split()) for name in names if row.get(name)}
            for row in _rows(self.sections_path, {"study", "findings", "impression"})
        }


def _facts(views: Sequence[tuple[str, ...]]) -> dict[str, str]:
    """Facts of a study from those of its views, different ones in alphabetical order: ``"AP / LATERAL"``."""
    facts = {name: " / ".join(sorted({view[place] for view in views} - {""})) for place, name in enumerate(_FACTS)}
    return {name: text for name, text in facts.items() if text}


def _digits(text: str) -> str:
    """``s50414267`` or ``50414267`` -> ``50414267``."""
    match = _DIGITS.search(text or "")
    return match.group() if match else (text or "").strip()


def _rows(path: Path, wanted: set[str]) -> Iterator[dict[str, str]]:
    """Rows of a CSV or CSV.GZ file.

    Raises:
        SourceError: unreadable, or a wanted column is absent.
    """
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig", newline="") as text:
            rows = csv.DictReader(text, restval="")
            columns = rows.fieldnames or []
            for name in sorted(wanted - set(columns)):
                raise SourceError(f"{path}: has no column {name!r}{near(name, columns)}; it has: {', '.join(columns)}")
            yield from rows
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read: {error}") from error
