"""Writing that survives a kill or a full disk: whole files appear under their name, or nothing does."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from radwright.errors import OutputError, StoreError

TEMPORARY_PREFIX = ".writing-"
"""Names of unfinished files start with this; a later run removes them."""


def strangers(folder: Path) -> list[str]:
    """Names of what is in a folder, sorted, without the unfinished files of a run that was killed."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(TEMPORARY_PREFIX))


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn an operating-system error while writing ``path`` into an OutputError that says what to do.

    Raises:
        OutputError: the disk is full, the place is read-only, or anything else the system refuses.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {why_not_written(error)}") from error


def why_not_written(error: Exception) -> str:
    """Why writing failed, and the cure.

    Args:
        error: an OSError, or the error of a library that names the system's only in its text, as safetensors does
            ("... (os error 28)").
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := re.search(r"\bos error (\d+)\b", str(error))):
        number = int(found[1])
    if number in {errno.ENOSPC, errno.EDQUOT}:
        return "no space is left; free some and run the same command again"
    if number == errno.EFBIG:
        return "the file would be larger than this system or its limits (ulimit -f) allow"
    if number in {errno.EROFS, errno.EACCES, errno.EPERM}:
        return f"{os.strerror(number)}; choose a folder that you may write to"
    if number in {errno.ENOTDIR, errno.EEXIST}:
        return "a file stands where a folder is needed; choose another place, or move the file away"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def prepare_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path | None]) -> None:
    """Before the work: refuse outputs that cannot be what is wanted, and make the folders above them.

    Args:
        outputs: files that a command will write; None stands for one that is not asked for.
        inputs: files that it reads.

    Raises:
        OutputError: an output is one of the inputs, or exists and is no regular file; or a folder cannot be made.
    """
    read = [path for path in inputs if path is not None and path.exists()]
    for path in outputs:
        if path is None:
            continue
        _check_replaceable(path)
        if path.exists() and any(path.samefile(other) for other in read):
            raise OutputError(f"{path}: is read by this very command; choose another file to write")
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)


def _check_replaceable(path: Path) -> None:
    if not path.name or path.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file to write")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path}: is no regular file, and would be replaced by one; choose another name")


class AtomicFile:
    """A temporary file beside ``path`` that replaces it when committed.

    Write, flush, fsync, rename, fsync of the folder: after a kill at any moment ``path`` holds the old bytes or all
    of the new ones.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        _check_replaceable(path)
        self.path = path
        self._temporary = path.with_name(TEMPORARY_PREFIX + path.name)
        with output_errors(path):
            self._stream = self._temporary.open("wb")

    def write(self, chunk: bytes | memoryview) -> int:
        """Append bytes."""
        with output_errors(self.path):
            return self._stream.write(chunk)

    def commit(self) -> None:
        """Put the file in place, durably."""
        with output_errors(self.path):
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
            self._temporary.replace(self.path)
            sync(self.path.parent)

    def drop(self) -> None:
        """Leave ``path`` as it was and remove the temporary file."""
        with contextlib.suppress(OSError):
            self._stream.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[AtomicFile]:
    """An ``AtomicFile`` that is committed when the block ends well and dropped when it does not."""
    file = AtomicFile(path)
    try:
        yield file
        file.commit()
    except BaseException:
        file.drop()
        raise


def sync(path: Path) -> None:
    """Make a file's bytes, or the renames in a folder, durable (POSIX; elsewhere there is no such call)."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, value: Any) -> None:
    """Append one JSON line durably.

    Raises:
        OutputError: it cannot be written; a torn line that is left then is ignored by ``read_lines``.
    """
    with output_errors(path):
        new = not path.exists()
        with path.open("ab") as stream:
            stream.write(json_line(value))
            stream.flush()
            os.fsync(stream.fileno())
        if new:
            sync(path.parent)


def json_line(value: Any) -> bytes:
    """One value as one line of UTF-8 JSON."""
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """Write values as JSON lines, atomically."""
    with atomic_file(path) as stream:
        for value in values:
            stream.write(json_line(value))


def read_lines(path: Path) -> list[Any]:
    """Values of a JSON-lines file written by ``append_line``; a torn last line counts as not written.

    Raises:
        StoreError: a line before the last is no JSON.
    """
    return [value for _, value in each_line(path)]


def each_line(path: Path) -> Iterator[tuple[bytes, Any]]:
    """The lines of such a file with their values, one after the other; none where there is no file.

    Raises:
        StoreError: a line before the last is no JSON.
    """
    if not path.exists():
        return
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                value = json.loads(line)
            except ValueError as error:
                raise StoreError(f"{path}:{number}: is damaged; delete the folder and prepare it again") from error
            yield line, value


def drop_torn_line(path: Path) -> None:
    """Cut what a kill during ``append_line`` left after the last whole line."""
    if not path.exists():
        return
    with output_errors(path), path.open("r+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        whole = _end_of_whole_lines(stream, size)
        if whole != size:
            stream.truncate(whole)
            os.fsync(stream.fileno())


def _end_of_whole_lines(stream: IO[bytes], size: int, block: int = 2**16) -> int:
    """Where the last whole line of ``size`` bytes ends, sought from the end backwards; 0 where there is none."""
    end = size
    while end:
        start = max(0, end - block)
        stream.seek(start)
        if (place := stream.read(end - start).rfind(b"\n")) >= 0:
            return start + place + 1
        end = start
    return 0


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process alone (POSIX; elsewhere nothing is locked). No file is left behind.

    Raises:
        OutputError: another process holds it.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(
                f"{folder}: another process is writing here; wait for it or choose another --out"
            ) from error
        yield
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file, UTF-8; folders above it are made, and a kill leaves no half file.

    Raises:
        OutputError: it cannot be written.
    """
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(text.encode())
