"""A dataset's files, wherever they lie: a folder, a zip, or a tar archive, read in place and never unpacked.

Since nothing is unpacked, a member's name cannot write anywhere; names that lead out of the dataset are refused for
reading, too.
"""

from __future__ import annotations

import functools
import gzip
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol, cast

from radwright.errors import ImageError, SourceError, StudyError, near
from radwright.types import ImageFile, ImageOnDisk

MAX_FILE_BYTES = 268_435_456
"""Larger images and reports in an archive are refused before they are unpacked."""
MAX_INDEX_BYTES = 4 * 2**30
"""Larger index files (tables, annotations) are refused before they are unpacked."""


class FileTree(Protocol):
    """Read access to a dataset's files by relative name with ``/``; light and picklable."""

    @property
    def path(self) -> Path | str:
        """The folder or the archive; a URL as text."""
        ...

    def names(self) -> list[str]:
        """Every file's name, in the order in which reading is cheapest."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        ...

    def read(self, name: str, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """A file's bytes.

        Raises:
            StudyError: it is missing, damaged, outside the dataset, or larger than ``max_bytes``.
        """
        ...

    def image(self, name: str) -> ImageFile:
        """An image whose bytes are read later, in any process.

        Raises:
            StudyError: the name leads out of the dataset.
        """
        ...


def open_tree(path: Path | str) -> FileTree:
    """The files of a folder (by path or URL), ``.zip``, ``.tar``, ``.tar.gz`` or ``.tgz``.

    Raises:
        SourceError: it is missing, or is none of these.
    """
    if isinstance(path, str):
        from radwright.data.remote import RemoteTree  # which needs this file's words

        return RemoteTree(path)
    if path.is_dir():
        return FolderTree(path)
    if not path.exists():
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise SourceError(f"{path}: does not exist{near(path.name, siblings)}")
    try:
        if zipfile.is_zipfile(path):
            tree = ZipTree(path)
            tree.names()
            return tree
        if path.name.endswith((".tar", ".tar.gz", ".tgz")):
            return TarTree(path)
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error) as error:
        raise SourceError(f"{path}: the archive is damaged or truncated: {error}") from error
    if _starts_as_zip(path):
        raise SourceError(f"{path}: is a zip that was cut off (its directory, at the end, is missing); fetch it again")
    raise SourceError(f"{path}: is no folder and no zip or tar archive")


def _starts_as_zip(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def safe_name(name: str) -> str:
    """A relative name with ``/`` that stays below its root.

    Raises:
        StudyError: the name is absolute or leads out by ``..``.
    """
    parts = name.replace("\\", "/").split("/")
    kept = [part for part in parts if part not in {"", "."}]
    if name.startswith("/") or ".." in kept or (kept and kept[0].endswith(":")) or "\0" in name:
        raise StudyError(f"the file name {name!r} leads out of the dataset's folder")
    return "/".join(kept)


def locate(names: Iterable[str], wanted: str, *, where: Path | str) -> str:
    """The name whose last part is ``wanted`` and that lies least deep.

    Raises:
        SourceError: none, or two equally deep ones.
    """
    names = list(names)
    found = sorted((name.count("/"), name) for name in names if name.rsplit("/", 1)[-1] == wanted)
    if not found:
        last_parts = {name.rsplit("/", 1)[-1] for name in names}
        raise SourceError(f"{where}: has no {wanted}{near(wanted, last_parts)}")
    if len(found) > 1 and found[0][0] == found[1][0]:
        raise SourceError(f"{where}: has two files {wanted}: {found[0][1]} and {found[1][1]}; name one as SOURCE")
    return found[0][1]


@dataclass(frozen=True, slots=True)
class FolderTree:
    """Files below a folder."""

    path: Path

    def names(self) -> list[str]:
        """Every file, sorted."""
        return sorted(
            Path(folder, file).relative_to(self.path).as_posix()
            for folder, _, files in os.walk(self.path)
            for file in files
        )

    def has(self, name: str) -> bool:
        """Whether the file exists."""
        return (self.path / safe_name(name)).is_file()

    def read(self, name: str, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """The file's bytes."""
        path = self.path / safe_name(name)
        try:
            if path.stat().st_size > max_bytes:
                raise StudyError(f"{path}: is larger than {max_bytes} bytes")
            return path.read_bytes()
        except OSError as error:
            raise StudyError(f"{path}: {_strerror(error)}") from error

    def image(self, name: str) -> ImageFile:
        """The file as an image."""
        return ImageOnDisk(self.path / safe_name(name))


@dataclass(frozen=True, slots=True)
class ZipTree:
    """Members of a zip archive."""

    path: Path

    def names(self) -> list[str]:
        """Every member that is a file, in the archive's order."""
        return [entry.filename for entry in _zip(self.path).infolist() if not entry.is_dir()]

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return safe_name(name) in _zip(self.path).NameToInfo

    def read(self, name: str, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """The member's bytes."""
        return read_zipped(self.path, safe_name(name), max_bytes)

    def image(self, name: str) -> ImageFile:
        """The member as an image."""
        return ZippedImage(self.path, safe_name(name))


@dataclass(frozen=True, slots=True)
class ZippedImage:
    """A member of a zip archive that is opened once per process, not once per image."""

    archive: Path
    member: str

    @property
    def name(self) -> str:
        """``archive::member``."""
        return f"{self.archive}::{self.member}"

    def read(self) -> bytes:
        """The member's bytes."""
        return read_zipped(self.archive, self.member, MAX_FILE_BYTES)


def read_zipped(archive: Path, member: str, max_bytes: int) -> bytes:
    """One member's bytes; its unpacked size is held against ``max_bytes`` first.

    Raises:
        ImageError: missing, damaged, encrypted or too large.
    """
    name = f"{archive}::{member}"
    try:
        opened = _zip(archive)
        entry = opened.getinfo(member)
        # zipfile never unpacks more than the size that the directory states.
        if entry.file_size > max_bytes:
            raise ImageError(f"{name}: unpacks to {entry.file_size} bytes, more than {max_bytes}")
        return opened.read(entry)
    except KeyError as error:
        raise ImageError(f"{name}: is missing in the archive") from error
    except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise ImageError(f"{name}: cannot be unpacked, it is damaged or encrypted: {error}") from error


def _zip(path: Path) -> zipfile.ZipFile:
    state = path.stat()
    return _open_zip(path, os.getpid(), state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _open_zip(path: Path, process: int, num_bytes: int, changed_ns: int) -> zipfile.ZipFile:
    """An open archive per process and state of the file: reading its directory costs more than reading an image."""
    return zipfile.ZipFile(path)


@dataclass(frozen=True, slots=True)
class TarTree:
    """Regular members of a tar archive, compressed or not. Reading in the archive's order never seeks back."""

    path: Path
    places: dict[str, tuple[int, int]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        with tarfile.open(self.path) as archive:
            for member in archive:
                if member.isreg():
                    self.places[member.name.removeprefix("./")] = (member.offset_data, member.size)

    def __reduce__(self) -> tuple[type[_PlainTarTree], tuple[Path]]:
        # What workers need of an image is in the image; the directory stays in the parent process.
        return (_PlainTarTree, (self.path,))

    def names(self) -> list[str]:
        """Every regular member, in the archive's order."""
        return list(self.places)

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return safe_name(name) in self.places

    def read(self, name: str, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """The member's bytes."""
        image = self.image(name)
        if self.places[safe_name(name)][1] > max_bytes:
            raise StudyError(f"{image.name}: is larger than {max_bytes} bytes")
        return image.read()

    def image(self, name: str) -> ImageFile:
        """The member as an image.

        Raises:
            StudyError: there is no such member.
        """
        if safe_name(name) not in self.places:
            raise StudyError(f"{self.path}::{name}: is missing in the archive")
        return TarredImage(self.path, safe_name(name), *self.places[safe_name(name)])


class _PlainTarTree:
    """A ``TarTree`` in a worker process: its members are reached through the references only."""

    def __init__(self, path: Path) -> None:
        self.path = path


@dataclass(frozen=True, slots=True)
class TarredImage:
    """Bytes at a place of a (decompressed) tar archive."""

    archive: Path
    member: str
    offset: int
    num_bytes: int

    @property
    def name(self) -> str:
        """``archive::member``."""
        return f"{self.archive}::{self.member}"

    def read(self) -> bytes:
        """The member's bytes.

        Raises:
            ImageError: truncated or too large.
        """
        if self.num_bytes > MAX_FILE_BYTES:
            raise ImageError(f"{self.name}: unpacks to {self.num_bytes} bytes, more than {MAX_FILE_BYTES}")
        try:
            stream = _open_tar(self.archive, os.getpid())
            stream.seek(self.offset)
            data = stream.read(self.num_bytes)
        except (OSError, EOFError, zlib.error) as error:
            raise ImageError(f"{self.name}: cannot be unpacked: {error}") from error
        if len(data) != self.num_bytes:
            raise ImageError(f"{self.name}: is truncated in the archive")
        return data


@functools.lru_cache(maxsize=8)
def _open_tar(path: Path, process: int) -> IO[bytes]:
    """The uncompressed tar stream, opened once per process."""
    return path.open("rb") if path.name.endswith(".tar") else cast("IO[bytes]", gzip.open(path))


def _strerror(error: OSError) -> str:
    return "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror or error}"
