"""Files that lie elsewhere: object storage and other places named by a URL, reached through fsspec.

A place is a path, or a text with ``://`` in it (``s3://bucket/folder``, ``gs://...``, ``file:///...``). What a protocol
needs beyond fsspec (s3fs, gcsfs, ...) the user installs. The only file that imports fsspec.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radwright.data.files import atomic_file, output_errors
from radwright.data.sources.tree import MAX_FILE_BYTES, safe_name
from radwright.errors import ConfigError, ImageError, OutputError, SourceError, require
from radwright.types import ImageFile

Place = Path | str
"""A path, or a URL as text."""


def place_of(text: str) -> Place:
    """What a person wrote for a place: a path (``file://`` before it or not), or a URL, which stays a text."""
    if text.startswith("file://"):
        return Path(text.removeprefix("file://"))
    return text if "://" in text else Path(text)


def last_part(place: Place) -> str:
    """The name of a place without the folders above it."""
    return place.name if isinstance(place, Path) else place.rstrip("/").rsplit("/", 1)[-1]


def filesystem(place: Place) -> tuple[Any, str]:
    """(fsspec's file system, the path in it) of a place.

    Raises:
        ConfigError: an unknown protocol, or one whose library is not installed.
    """
    return _filesystem(str(place), os.getpid())


@functools.lru_cache(maxsize=64)
def _filesystem(place: str, process: int) -> tuple[Any, str]:
    """Once per process: connections do not survive a fork."""
    core = require("fsspec.core", extra="scale")
    try:
        # Without a memory of listings: other machines write there, too.
        system, path = core.url_to_fs(place, **({"use_listings_cache": False} if "://" in place else {}))
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{place}: cannot be reached: {error}") from error
    return system, path


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """An image in a place that a URL names."""

    url: str

    @property
    def name(self) -> str:
        """The URL."""
        return self.url

    def read(self) -> bytes:
        """The image's bytes.

        Raises:
            ImageError: it is too large, or cannot be had.
        """
        return _read(self.url, MAX_FILE_BYTES)


@dataclass(frozen=True, slots=True)
class RemoteTree:
    """Files below a URL; listed by one call, read one by one."""

    url: str

    @property
    def path(self) -> Place:
        """The URL."""
        return self.url

    def names(self) -> list[str]:
        """Every file's name below the URL, sorted.

        Raises:
            SourceError: there is none, or the place cannot be reached.
        """
        system, root = filesystem(self.url)
        try:
            found = system.find(root)
        except Exception as error:  # every protocol has errors of its own
            raise SourceError(f"{self.url}: cannot be listed: {error}") from error
        if not found:
            raise SourceError(f"{self.url}: no such place, or nothing in it")
        above = root.rstrip("/") + "/"
        return sorted(name.removeprefix(above) for name in found if name.startswith(above))

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        system, root = filesystem(self.url)
        return bool(system.isfile(f"{root.rstrip('/')}/{safe_name(name)}"))

    def read(self, name: str, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """The file's bytes."""
        return _read(self._url(name), max_bytes)

    def image(self, name: str) -> ImageFile:
        """The file as an image."""
        return RemoteImage(self._url(name))

    def _url(self, name: str) -> str:
        return f"{self.url.rstrip('/')}/{safe_name(name)}"


def _read(url: str, max_bytes: int) -> bytes:
    system, path = filesystem(url)
    try:
        content: bytes = system.cat_file(path, start=0, end=max_bytes + 1)  # one request, and no more than is allowed
    except FileNotFoundError as error:
        raise ImageError(f"{url}: is missing") from error
    except Exception as error:  # every protocol has errors of its own
        raise ImageError(f"{url}: cannot be read: {error}") from error
    if len(content) > max_bytes:
        raise ImageError(f"{url}: has more than {max_bytes} bytes")
    return content


class OutputFolder:
    """A folder to write whole files into, on disk or in object storage: a file is there whole, or not at all.

    On disk that is an atomic rename; in object storage an upload by one request appears when it is complete.

    Args:
        place: the folder; it is made.

    Raises:
        OutputError: it cannot be made or listed.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        if isinstance(place, Path):
            with output_errors(place):
                place.mkdir(parents=True, exist_ok=True)

    def names(self) -> set[str]:
        """Names of the files directly in it."""
        if isinstance(self.place, Path):
            with output_errors(self.place):
                return {entry.name for entry in self.place.iterdir()}
        system, root = filesystem(self.place)
        with self._errors(""):
            return {name.rsplit("/", 1)[-1] for name in system.ls(root, detail=False)} if system.exists(root) else set()

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        with self._errors(name):
            if isinstance(self.place, Path):
                return (self.place / name).read_bytes()
            system, root = filesystem(self.place)
            content: bytes = system.cat_file(f"{root.rstrip('/')}/{name}")
            return content

    def write(self, name: str, content: bytes) -> None:
        """Write or replace a file.

        Raises:
            OutputError: it cannot be written; the old file, or none, is there.
        """
        if isinstance(self.place, Path):
            with atomic_file(self.place / name) as file:
                file.write(content)
            return
        system, root = filesystem(self.place)
        with self._errors(name):
            system.pipe_file(f"{root.rstrip('/')}/{name}", content)

    def _errors(self, name: str) -> _Refusal:
        return _Refusal(f"{self.place}/{name}".rstrip("/"))


class _Refusal:
    """Any error of a protocol becomes an OutputError that names the file."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, *_: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise OutputError(f"{self.where}: is missing") from error
        if isinstance(error, Exception) and not isinstance(error, OutputError):
            raise OutputError(f"{self.where}: cannot be written or read: {error}") from error
