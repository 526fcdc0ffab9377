"""Open-i's download of the Indiana University chest X-rays: XML reports and PNG images, unpacked or as downloaded.

Expected below the folder: ``ecgen-radiology/*.xml`` (or ``NLMCXR_reports.tgz``) and ``NLMCXR_png/*.png`` (or
``NLMCXR_png.tgz``); other names of folders work too. ``indiana_projections.csv`` (filename, projection), where it lies
there, names the projections, which the XML does not.
"""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from radwright.config import Config
from radwright.data.sources.base import StudyReference, read_options
from radwright.data.sources.tree import MAX_INDEX_BYTES, FileTree, open_tree
from radwright.errors import SourceError, StudyError
from radwright.imaging.positions import view_position
from radwright.types import SECTIONS, ImageFile, Study, View, ViewPosition

_MAX_XML_BYTES = 4 * 2**20


class OpenIOptions(Config):
    """Options of ``--format openi``."""

    reports: Path | None = None
    """Folder or archive of the XML reports, where they do not lie below SOURCE."""

    images: Path | None = None
    """Folder or archive of the PNG images, where they do not lie below SOURCE."""


class OpenISource:
    """Open-i (Demner-Fushman et al., 2016): one report is one study of one patient; there is no official split.

    Args:
        path: the folder of the download.
        options: see ``OpenIOptions``.
    """

    terms: ClassVar[Mapping[str, Any]] = {"licence": "CC BY-NC-ND 4.0 (Open-i, Indiana University)"}
    has_reports = True

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        self.path = path
        self.options = read_options(OpenIOptions, options, name="openi")
        open_tree(path)

    def references(self) -> Sequence[StudyReference]:
        """All reports, in the order of their images in the archive, else of their numbers."""
        images: dict[str, tuple[int, ImageFile]] = {}
        positions: dict[str, ViewPosition] = {}
        reports: list[tuple[str, bytes]] = []
        for tree in self._trees():
            for name in tree.names():
                last = name.rsplit("/", 1)[-1]
                if last.lower().endswith((".png", ".jpg", ".jpeg", ".dcm")):
                    images[last.rsplit(".", 1)[0]] = (len(images), tree.image(name))
                elif last.lower().endswith(".xml"):
                    reports.append((name, tree.read(name, max_bytes=_MAX_XML_BYTES)))
                elif last == "indiana_projections.csv":
                    positions |= _projections(tree.read(name, max_bytes=MAX_INDEX_BYTES))
        if not reports:
            raise SourceError(f"{self.path}: has no XML reports (ecgen-radiology/*.xml or NLMCXR_reports.tgz)")
        if not images:
            raise SourceError(f"{self.path}: has no images (NLMCXR_png/*.png or NLMCXR_png.tgz)")
        placed = []
        for name, xml in reports:
            study_id, image_ids = _identify(name, xml)
            found = [images[image] for image in image_ids if image in images]
            views = [
                (image, images[image][1] if image in images else None, positions.get(image)) for image in image_ids
            ]
            place = min((place for place, _ in found), default=len(images))
            placed.append((place, _number(study_id), StudyReference(study_id, study_id, None, (name, xml, views))))
        return [reference for _, _, reference in sorted(placed, key=lambda entry: entry[:2])]

    def load(self, reference: StudyReference) -> Study:
        """One report and its images.

        Raises:
            StudyError: the XML is damaged, or an image that it names is missing.
        """
        name, xml, named = reference.content
        root = _parse(xml, name)
        views = []
        for image_id, image, position in named:
            if image is None:
                raise StudyError(f"study {reference.study_id}: its image {image_id}.png is missing")
            views.append(View(image, position or "unknown"))
        sections = {}
        for element in root.iter("AbstractText"):
            label = element.get("Label", "").strip().lower()
            if label in SECTIONS:
                sections[label] = " ".join("".join(element.itertext()).split())
        return Study(reference.study_id, tuple(views), reference.patient_id, None, sections)

    def _trees(self) -> Iterator[FileTree]:
        for given in (self.path, self.options.reports, self.options.images):
            if given is None:
                continue
            tree = open_tree(given)
            yield tree
            if given.is_dir():
                for archive in sorted(given.iterdir()):
                    if archive.name.endswith((".tgz", ".tar.gz", ".tar", ".zip")):
                        yield open_tree(archive)


def _identify(name: str, xml: bytes) -> tuple[str, list[str]]:
    """(study id, image ids); a damaged report keeps its file's name and is recorded when it is loaded."""
    stem = "CXR" + name.rsplit("/", 1)[-1].rsplit(".", 1)[0].removeprefix("CXR")
    try:
        root = _parse(xml, name)
    except StudyError:
        return stem, []
    uid = root.find(".//uId")
    study_id = (uid.get("id", "") if uid is not None else "") or stem
    images = [element.get("id", "").strip() for element in root.iter("parentImage")]
    return study_id, list(dict.fromkeys(image for image in images if image))


def _parse(xml: bytes, name: str) -> ET.Element:
    """Parse a report; entity definitions, which can blow up without limit, are refused.

    Raises:
        StudyError: it is no well-formed XML.
    """
    if b"<!ENTITY" in xml or b"<!DOCTYPE" in xml:
        raise StudyError(f"{name}: the XML defines entities, which reports never need; it is not read")
    try:
        return ET.fromstring(xml)
    except (ET.ParseError, ValueError, LookupError) as error:
        raise StudyError(f"{name}: is not valid XML: {error}") from error


def _projections(table: bytes) -> dict[str, ViewPosition]:
    """Image id -> position from ``indiana_projections.csv``, whose file names are ``<n>_IM-....dcm.png``."""
    rows = csv.DictReader(io.StringIO(table.decode("utf-8-sig", errors="replace"), newline=""))
    positions = {}
    for row in rows:
        image = "CXR" + (row.get("filename") or "").removesuffix(".png").removesuffix(".dcm").removeprefix("CXR")
        positions[image] = view_position(row.get("projection"))
    return positions


def _number(study_id: str) -> tuple[int, str]:
    digits = "".join(character for character in study_id if character.isdigit())
    return (int(digits) if digits else 0, study_id)
