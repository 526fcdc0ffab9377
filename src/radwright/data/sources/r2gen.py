"""R2Gen's layout: ``annotation.json`` (records under train, val, test) beside a folder ``images``; a folder or a zip.

Beyond R2Gen's own keys (id, report, image_path, split) a record may have uid, views, indication, impression and
comparison. A ``manifest.csv`` beside the annotation restores the aspect of squashed images and names bad ones.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from radwright.config import Config
from radwright.data.remote import Place
from radwright.data.sources.base import StudyReference, read_options
from radwright.data.sources.tree import MAX_INDEX_BYTES, locate, open_tree
from radwright.errors import SourceError, StudyError
from radwright.imaging.positions import view_position
from radwright.types import Split, Study, View

_SPLITS: Mapping[str, Split] = {"train": "train", "val": "val", "test": "test"}
_SECTION_KEYS = {"report": "findings", "impression": "impression", "indication": "indication"}
_SECTION_KEYS |= {"comparison": "comparison"}
_PATIENT = re.compile(r"CXR(\d+)_")


class R2GenOptions(Config):
    """Options of ``--format r2gen``."""

    images: str = "images"
    """Folder of the images, beside annotation.json."""

    keep_known_bad: bool = False
    """Keep images that manifest.csv marks as known_bad (turned, upside down, or of no use)."""


class R2GenSource:
    """IU X-Ray and MIMIC-CXR as distributed with R2Gen (Chen et al., 2020), and everything laid out like them.

    The patient is ``uid``, ``subject_id``, or the number in an id ``CXR<number>_...``, whichever comes first.

    Args:
        path: a folder (by path or URL) or zip that holds annotation.json, or that file itself.
        options: see ``R2GenOptions``.
    """

    terms: ClassVar[Mapping[str, Any]] = {
        "licence": "of the dataset behind it: IU X-Ray CC BY-NC-ND 4.0; MIMIC-CXR credentialed, not to be redistributed"
    }
    has_reports = True
    reads_urls: ClassVar[bool] = True

    def __init__(self, path: Place, options: Mapping[str, Any]) -> None:
        self.options = read_options(R2GenOptions, options, name="r2gen")
        if isinstance(path, Path) and path.suffix == ".json" and path.is_file():
            self.tree, self.annotation = open_tree(path.parent), path.name
        else:
            self.tree = open_tree(path)
            top = self.tree.has("annotation.json")
            self.annotation = "annotation.json" if top else locate(self.tree.names(), "annotation.json", where=path)
        self.folder = self.annotation.rpartition("/")[0]

    def references(self) -> Sequence[StudyReference]:
        """All records, in the annotation's order."""
        records = self._records()
        manifest = self._manifest()
        references = []
        for split, record in records:
            study_id = str(record.get("id", "")).strip()
            if not study_id:
                raise SourceError(f"{self.tree.path}: annotation.json has a record without id under {split!r}")
            facts = {path: manifest[path] for path in _paths(record) if path in manifest}
            references.append(StudyReference(study_id, _patient(record, study_id), _SPLITS[split], (record, facts)))
        return references

    def load(self, reference: StudyReference) -> Study:
        """One record as a study.

        Raises:
            StudyError: an image path that is none, or a section that is no text.
        """
        record, facts = reference.content
        paths = _paths(record)
        named = record.get("views")
        names = named if isinstance(named, list) and len(named) == len(paths) else [""] * len(paths)
        views, left_out = [], []
        for path, name in zip(paths, names, strict=True):
            fact = facts.get(path, {})
            if fact.get("known_bad") == "1" and not self.options.keep_known_bad:
                left_out.append(path)
                continue
            position = view_position(str(name) or fact.get("projection"))
            views.append(View(self.tree.image(self._image_name(path)), position, _original_size(fact)))
        sections = {
            section: _text(record[key], f"study {reference.study_id}: its {key}")
            for key, section in _SECTION_KEYS.items()
            if record.get(key) is not None
        }
        extra = {"views_left_out": left_out} if left_out else {}
        return Study(reference.study_id, tuple(views), reference.patient_id, reference.split, sections, extra)

    def _image_name(self, path: str) -> str:
        return "/".join(part for part in (self.folder, self.options.images, path) if part)

    def _records(self) -> list[tuple[str, dict[str, Any]]]:
        where = f"{self.tree.path}: {self.annotation}"
        try:
            annotation = json.loads(self.tree.read(self.annotation, max_bytes=MAX_INDEX_BYTES))
        except StudyError as error:
            raise SourceError(str(error)) from error
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{where}: is not valid JSON: {error}") from error
        if not isinstance(annotation, dict) or not set(annotation) <= set(_SPLITS) or not annotation:
            raise SourceError(f"{where}: lists of records under train, val and test are expected")
        records = []
        for split in _SPLITS:
            group = annotation.get(split, [])
            if not isinstance(group, list) or not all(isinstance(record, dict) for record in group):
                raise SourceError(f"{where}: {split!r} is no list of records")
            records += [(split, record) for record in group]
        return records

    def _manifest(self) -> dict[str, dict[str, str]]:
        name = f"{self.folder}/manifest.csv" if self.folder else "manifest.csv"
        if not self.tree.has(name):
            return {}
        text = self.tree.read(name, max_bytes=MAX_INDEX_BYTES).decode("utf-8-sig", errors="replace")
        rows = csv.DictReader(io.StringIO(text, newline=""))
        return {row["image"]: row for row in rows if row.get("image")}


def _paths(record: Mapping[str, Any]) -> list[str]:
    paths = record.get("image_path")
    paths = [paths] if isinstance(paths, str) else paths
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        return []
    return paths


def _patient(record: Mapping[str, Any], study_id: str) -> str:
    for key in ("uid", "subject_id"):
        if record.get(key) not in (None, ""):
            return str(record[key])
    match = _PATIENT.match(study_id)
    return match.group(1) if match else ""


def _text(value: Any, what: str) -> str:
    if isinstance(value, str):
        return value
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    raise StudyError(f"{what} is {kinds.get(type(value), type(value).__name__)}, a text is expected")


def _original_size(fact: Mapping[str, str]) -> tuple[int, int] | None:
    """(width, height) that the radiograph had before it was squashed to a square."""
    try:
        width, height = int(fact["dicom_cols"]), int(fact["dicom_rows"])
    except (KeyError, ValueError, TypeError):
        return None
    return (width, height) if width > 0 and height > 0 else None
