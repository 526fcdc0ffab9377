"""The de-identification check over files, folders and archives: what each DICOM file still tells of its patient."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radwright.data.sources.tree import open_tree
from radwright.errors import SourceError, StudyError
from radwright.imaging.decode import is_dicom
from radwright.imaging.dicom import read_dicom_tags
from radwright.serving.names import names_in
from radwright.serving.privacy import IdentifyingTag, burned_in, identifying_tags
from radwright.serving.records import ReadingStudy

_BEGINNING = 136
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """What one file tells.

    Attributes:
        file: as it was given, or below the folder or archive that was.
        study: a number per StudyInstanceUID, from 1; 0 where the file cannot be read.
        tags: that identify.
        burned_in: ``yes``, ``no`` or ``not stated``, of text in the pixels.
        named_by_path: whether the file's or a folder's name holds part of the patient's name or an id.
        error: why it could not be read; else empty.
    """

    file: str
    study: int
    tags: tuple[IdentifyingTag, ...] = ()
    burned_in: str = "not stated"
    named_by_path: bool = False
    error: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether the file was read, and nothing was found in it."""
        return not (self.error or self.tags or self.named_by_path or self.burned_in == "yes")

    def plain(self) -> dict[str, Any]:
        """The same as JSON-able values; no value of a tag in full."""
        return asdict(self) | {"clean": self.is_clean}


def check_files(paths: Sequence[Path]) -> Iterator[CheckedFile]:
    """Check DICOM files, and every DICOM file in folders and zip or tar archives; others in these are passed over.

    Raises:
        SourceError: a path does not exist, or there is no DICOM file in any of them.
    """
    numbers: dict[str, int] = {}
    for name, below, data in _dicom_files(paths):
        try:
            if isinstance(data, StudyError):
                raise data
            dataset = read_dicom_tags(io.BytesIO(data), name=name)
        except StudyError as error:
            yield CheckedFile(name, 0, error=str(error))
            continue
        uid = str(dataset.get("StudyInstanceUID") or name)
        yield CheckedFile(
            name,
            numbers.setdefault(uid, len(numbers) + 1),
            tuple(identifying_tags(dataset)),
            burned_in(dataset),
            bool(names_in(below.replace("/", " ").replace("_", " "), _identity(dataset))),
        )


def _dicom_files(paths: Sequence[Path]) -> Iterator[tuple[str, str, bytes | StudyError]]:
    """Each file's name, what of it came with the file (not where the user keeps it), its bytes or why it has none."""
    found = 0
    for path in paths:
        if path.is_file() and not path.name.lower().endswith(_ARCHIVES):
            found += 1
            try:
                own = path.read_bytes()
            except OSError as error:
                raise SourceError(f"{path}: {error.strerror}") from error
            unfit = StudyError(f"{path}: is no DICOM file; this looks at DICOM's tags alone, and has looked at nothing")
            yield str(path), path.name, own if is_dicom(own[:_BEGINNING]) else unfit
            continue
        tree = open_tree(path)
        for name in tree.names():
            data: bytes | StudyError
            try:
                data = tree.read(name)
            except StudyError as error:  # too large, or damaged in its archive: it may be DICOM
                data = error
            if isinstance(data, StudyError) or is_dicom(data[:_BEGINNING]):
                found += 1
                yield str(path / name), f"{path.name}/{name}", data
    if not found:
        raise SourceError(f"{', '.join(map(str, paths))}: holds no DICOM file")


def _identity(dataset: Any) -> ReadingStudy:
    """What ``names_in`` looks for, of a dataset; malformed tags count as missing."""

    def text(keyword: str) -> str:
        try:
            return str(dataset.get(keyword) or "")
        except Exception:  # malformed tags raise anything in pydicom
            return ""

    return ReadingStudy(
        "",
        "receiving",
        "",
        "",
        patient_name=text("PatientName").replace("_", "^"),
        patient_id=text("PatientID"),
        accession=text("AccessionNumber"),
        referring_physician=text("ReferringPhysicianName"),
    )
