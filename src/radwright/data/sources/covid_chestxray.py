"""The COVID-19 image data collection: chest radiographs from publications with a diagnosis each, and no reports.

``metadata.csv`` (one row per image: ``patientid``, ``offset``, ``finding``, ``view``, ``sex``, ``age``, file name)
beside a folder ``images``; a folder, or a zip read in place. For judging what was trained elsewhere.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from radwright.config import Config
from radwright.data.sources.base import StudyReference, read_options
from radwright.data.sources.tree import MAX_INDEX_BYTES, locate, open_tree
from radwright.errors import SourceError, StudyError, near
from radwright.imaging.positions import view_position
from radwright.types import Study, View

TABLE = "metadata.csv"
_NAMES = ("image", "filename")
_WANTED = ("patientid", "finding", "view")
_SAME_VISIT = ("patientid", "offset", "date", "finding")
_FACTS = ("finding", "sex", "age")
_CT = ("Axial", "Coronal")
Row = dict[str, str]


class CovidChestXrayOptions(Config):
    """Options of ``--format covid-chestxray``: there are none."""


class CovidChestXraySource:
    """The COVID-19 image data collection (Cohen et al. 2020), in its own layout or with images renamed (``image``).

    A frontal and a lateral image of one patient with the same day, date and diagnosis are one study; any other image is
    a study of its own. Slices of computed tomography are left out. The clinical notes are not read: they are no
    reports, and they describe the images.

    Args:
        path: the folder or the zip.
        options: none.
    """

    terms: ClassVar[Mapping[str, Any]] = {"licence": "per image, in metadata.csv: CC BY-NC-SA and others"}
    has_reports = False
    no_reports = "the COVID-19 image data collection has no reports, diagnoses only"

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        read_options(CovidChestXrayOptions, options, name="covid-chestxray")
        self.path = path
        self.tree = open_tree(path)
        self.table = locate(self.tree.names(), TABLE, where=path)
        self.folder = self.table.rpartition("/")[0]

    def references(self) -> Sequence[StudyReference]:
        """All studies, in the order of their first images."""
        rows = [row for row in self._rows() if not any(word in row["view"] for word in _CT)]
        visits: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            visits.setdefault(tuple(row.get(name, "") for name in _SAME_VISIT), []).append(row)
        references = []
        for visit in visits.values():
            positions = sorted(view_position(row["view"]) for row in visit)
            for views in [visit] if positions == ["frontal", "lateral"] else [[row] for row in visit]:
                name = Path(views[0]["image"]).stem
                references.append(StudyReference(name, views[0]["patientid"], None, tuple(views)))
        return references

    def load(self, reference: StudyReference) -> Study:
        """One study: one image, or a frontal and a lateral one; its diagnosis is the fact ``finding``.

        Raises:
            StudyError: an image is missing, or its name leads out of the dataset.
        """
        rows: Sequence[Row] = reference.content
        views = []
        for row in rows:
            name = "/".join(part for part in (self.folder, "images", row["image"]) if part)
            if not self.tree.has(name):
                raise StudyError(f"study {reference.study_id}: {self.path} has no image {name}")
            views.append(View(self.tree.image(name), view_position(row["view"])))
        facts = {name: text for name in _FACTS if (text := rows[0].get(name, "").removesuffix(".0"))}
        return Study(reference.study_id, tuple(views), reference.patient_id, reference.split, {}, facts)

    def _rows(self) -> list[Row]:
        try:
            text = self.tree.read(self.table, max_bytes=MAX_INDEX_BYTES).decode("utf-8-sig", errors="replace")
            table = csv.DictReader(io.StringIO(text, newline=""), restval="")
            columns = table.fieldnames or []
            name = next((each for each in _NAMES if each in columns), _NAMES[0])
            for wanted in (name, *_WANTED):
                if wanted not in columns:
                    listed = ", ".join(columns)
                    raise SourceError(
                        f"{self.path}: {self.table} has no column {wanted!r}{near(wanted, columns)}; it has: {listed}"
                    )
            rows = [{key: (value or "").strip() for key, value in row.items() if key is not None} for row in table]
        except (StudyError, csv.Error) as error:
            raise SourceError(f"{self.path}: {self.table} cannot be read: {error}") from error
        used = {*_WANTED, *_SAME_VISIT, *_FACTS}
        return [{key: row[key] for key in row if key in used} | {"image": row[name]} for row in rows if row[name]]
