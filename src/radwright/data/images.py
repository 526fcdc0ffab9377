"""Studies from loose image files: what a person hands to ``radwright generate`` without preparing a dataset."""

from __future__ import annotations

import functools
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import IO

from radwright.data.remote import Place, RemoteImage, RemoteTree, filesystem, last_part
from radwright.data.sources.tree import MAX_FILE_BYTES, ZippedImage
from radwright.errors import SourceError, StudyError
from radwright.imaging.config import ImageConfig
from radwright.imaging.decode import decode, is_dicom, probe
from radwright.imaging.dicom import read_dicom_header
from radwright.imaging.dicom_tags import DicomHeader
from radwright.imaging.positions import SEEN_AT, image_position
from radwright.types import ImageFile, ImageOnDisk, Study, View

_PICTURES = frozenset({".png", ".jpg", ".jpeg"})
SUFFIXES = _PICTURES | {".dcm", ".dicom"}
"""File names taken from folders and archives, besides DICOM files of any name, which are told by their first bytes; a
file named on the command line is taken whatever its name."""
NOTES = "reading_notes"
"""Name in ``Study.extra``: what a person must know of how a study was put together, a list of texts."""
_MOST_NOTES = 10
_BEGINNING = 136


class LooseStudies(Sequence[Study]):
    """Studies of loose images. A view whose position no tag says gets it by its picture when its study is asked for."""

    def __init__(self, studies: Sequence[Study]) -> None:
        self._studies = list(studies)

    def __len__(self) -> int:
        return len(self._studies)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        if isinstance(place, slice):
            return LooseStudies(self._studies[place])
        return self.study(place)

    def study(self, index: int) -> Study:
        """One study, with the position of every view that can be told."""
        study = self._studies[index]
        return replace(study, views=tuple(map(_with_position, study.views)))

    @property
    def study_ids(self) -> tuple[str, ...]:
        """Ids of all studies, in order."""
        return tuple(study.study_id for study in self._studies)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person must know: images left out of their studies, text written into pixels. At most some of it."""
        told = [note for study in self._studies for note in study.extra.get(NOTES, ())]
        more = (f"{len(told) - _MOST_NOTES} more such notes",) if len(told) > _MOST_NOTES else ()
        return (*told[:_MOST_NOTES], *more)


@dataclass(frozen=True, slots=True)
class _File:
    """An image, where it lies below its input, and its header where it is DICOM that can be read."""

    place: PurePosixPath
    image: ImageFile
    header: DicomHeader | None

    @property
    def view(self) -> View:
        return View(self.image, self.header.position if self.header else "unknown")

    @property
    def refusal(self) -> str:
        return self.header.refusal if self.header else ""

    @property
    def study_uid(self) -> str:
        return self.header.study_uid if self.header else ""


def find_studies(inputs: Sequence[Place], *, together: bool = False) -> LooseStudies:
    """Turn files, folders (by path or URL) and zip archives into studies, in a stable order.

    A file is a study of one view, called by its name without the suffix. In a folder or an archive, DICOM files belong
    to one study by their StudyInstanceUID, wherever they lie; it is called by the folder that holds them and nothing
    else, or by that UID. Of all other images every sub-folder is one study with these as its views, called by its path;
    images directly in it are a study each. Of a study that holds chest radiographs and other images, the others are
    left out, with a note.

    Args:
        inputs: files, folders, zip archives.
        together: all images of all inputs are the views of one study, called after the first.

    Raises:
        SourceError: an input does not exist, holds no image, or two studies would have the same id.
        MissingExtraError: a DICOM file without the ``dicom`` extra.
    """
    studies = [study for path in inputs for study in _studies_at(path)]
    if together and studies:
        notes = [note for study in studies for note in study.extra.get(NOTES, ())]
        views = tuple(view for study in studies for view in study.views)
        return LooseStudies([Study(studies[0].study_id, views, extra={NOTES: notes} if notes else {})])
    seen: dict[str, Study] = {}
    for study in studies:
        if study.study_id in seen:
            names = seen[study.study_id].views[0].image.name, study.views[0].image.name
            raise SourceError(
                f"{names[0]} and {names[1]} would both be study {study.study_id!r}; rename one, "
                "or give their common folder instead of the files"
            )
        seen[study.study_id] = study
    return LooseStudies(studies)


def _with_position(view: View) -> View:
    if view.position != "unknown":
        return view
    name = view.image.name
    try:
        encoded = probe(view.image.read(), name=name, max_pixels=ImageConfig().max_pixels)
        return replace(view, position=image_position(encoded, decode(encoded, at_least=SEEN_AT)))
    except (StudyError, OSError, KeyError):
        return view  # whoever loads it meets the same error, and says so


def _studies_at(path: Place) -> list[Study]:
    if isinstance(path, str):
        return _remote_studies(path)
    if path.is_dir():
        names = (file.relative_to(path).as_posix() for file in sorted(path.rglob("*")) if file.is_file())
        return _found(path, names, lambda name: ImageOnDisk(path / name), lambda name: (path / name).open("rb"))
    if not path.is_file():
        raise SourceError(f"{path}: no such image, folder or archive")
    if path.suffix.lower() != ".zip":
        place = PurePosixPath(path.name)
        return [_study(_stem(place), [_File(place, ImageOnDisk(path), _header(lambda: path.open("rb"), path.name)[1])])]
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info.file_size for info in archive.infolist() if not info.is_dir()}

            def opened(name: str) -> IO[bytes]:
                if members[name] > MAX_FILE_BYTES:
                    raise OSError("too large; whoever loads it says so")
                return archive.open(name)

            return _found(path, sorted(members), lambda name: ZippedImage(path, name), opened)
    except (zipfile.BadZipFile, OSError) as error:
        raise SourceError(f"{path}: is no readable zip archive: {error}") from error


def _remote_studies(url: str) -> list[Study]:
    """Those of one image, or of the folder, that a URL names."""
    system, path = filesystem(url)
    if _has_suffix(url):
        place = PurePosixPath(last_part(url))
        return [_study(_stem(place), [_File(place, RemoteImage(url), _header(lambda: system.open(path), url)[1])])]
    tree = RemoteTree(url)
    return _found(url, tree.names(), tree.image, lambda name: system.open(f"{path.rstrip('/')}/{name}"))


def _found(
    root: Place, names: Iterable[str], image: Callable[[str], ImageFile], opened: Callable[[str], IO[bytes]]
) -> list[Study]:
    """The studies among the files of a folder or an archive."""
    files: list[_File] = []
    no_images: Counter[str] = Counter()
    for name in names:
        place = PurePosixPath(name)
        if place.name.startswith(".") or "__MACOSX" in place.parts:
            continue
        is_picture = place.suffix.lower() in _PICTURES
        signed, header = (False, None) if is_picture else _header(functools.partial(opened, name), name)
        if header is not None and header.no_image:
            no_images[header.no_image.partition(";")[0]] += 1
        elif signed or _has_suffix(name):
            files.append(_File(place, image(name), header))
    if not files:
        others = "".join(f"; {count} x {what}" for what, count in no_images.items())
        raise SourceError(f"{root}: holds no image ({', '.join(sorted(SUFFIXES))}, or DICOM of any name){others}")
    return _grouped(files)


def _header(opened: Callable[[], IO[bytes]], name: str) -> tuple[bool, DicomHeader | None]:
    """Whether a file is signed as DICOM, and its header; None where it cannot be read (loading it will say why)."""
    signed = False
    try:
        with opened() as stream:
            beginning = stream.read(_BEGINNING)
            signed = beginning[128:132] == b"DICM"
            if not (signed or (is_dicom(beginning) and _has_suffix(name))):
                return False, None
            stream.seek(0)
            return signed, read_dicom_header(stream, name=name)
    except (StudyError, OSError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error):
        return signed, None


def _has_suffix(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _stem(place: PurePosixPath) -> str:
    """A file's name without a suffix that is one: what follows the last point of a UID is none."""
    return str(place.with_suffix("")) if _has_suffix(place.name) else str(place)


def _grouped(files: Sequence[_File]) -> list[Study]:
    # An archive often holds one folder that holds everything: that folder is the root, not a study.
    root = PurePosixPath(*_common_parts([file.place.parent.parts for file in files]))
    files = [replace(file, place=file.place.relative_to(root)) for file in files]
    ids = _ids_of_dicom([file for file in files if file.study_uid])
    groups: dict[str, list[_File]] = {}
    for file in files:
        own = _stem(file.place) if len(file.place.parts) == 1 else str(file.place.parent)
        groups.setdefault(ids.get(file.study_uid, own), []).append(file)
    return [_study(study_id, group) for study_id, group in groups.items()]


def _ids_of_dicom(files: Sequence[_File]) -> dict[str, str]:
    """StudyInstanceUID -> what to call the study: the folder that is its own, or (a lone file at the top) its name."""
    members: dict[str, list[_File]] = {}
    for file in files:
        members.setdefault(file.study_uid, []).append(file)
    folders = {uid: _common_parts([file.place.parent.parts for file in group]) for uid, group in members.items()}
    ids = {}
    for uid, group in members.items():
        folder = folders[uid]
        shared = any(other[: len(folder)] == folder for name, other in folders.items() if name != uid)
        if folder:
            ids[uid] = uid if shared else "/".join(folder)
        else:
            ids[uid] = _stem(group[0].place) if len(group) == 1 else uid
    return ids


def _study(study_id: str, files: Sequence[_File]) -> Study:
    """One study of some files; of several, those that are no chest radiographs are left out where others are."""
    once, again = _apart(files)
    fit = [file for file in once if not file.refusal] or once
    notes = [*_left_out([file for file in once if file not in fit]), *again, *_burned_in(fit)]
    return Study(study_id, tuple(file.view for file in fit), extra={NOTES: notes} if notes else {})


def _apart(files: Sequence[_File]) -> tuple[list[_File], list[str]]:
    """The first file of every image (SOPInstanceUID), and notes of the others."""
    first: dict[str, _File] = {}
    once, notes = list[_File](), list[str]()
    for file in files:
        uid = file.header.image_uid if file.header else ""
        if uid and uid in first:
            notes.append(f"{file.image.name}: is the same image as {first[uid].image.name} (SOPInstanceUID), read once")
            continue
        once.append(file)
        first[uid] = file
    return once, notes


def _left_out(files: Sequence[_File]) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for file in files:
        reasons.setdefault(file.refusal, []).append(file.image.name)
    for reason, names in reasons.items():
        more = f" and {len(names) - 1} more like it" if len(names) > 1 else ""
        yield f"left out of its study: {names[0]}{more}: {reason}"


def _burned_in(files: Sequence[_File]) -> Iterator[str]:
    for file in files:
        if file.header and file.header.is_burned_in:
            yield (
                f"{file.image.name}: BurnedInAnnotation is YES: text written into the pixels may name the patient, and "
                "the network sees it"
            )


def _common_parts(paths: Sequence[tuple[str, ...]]) -> list[str]:
    common: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return common
