"""Encoded images as they came, on disk by the SHA-256 of their bytes: kept once each, and never changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import time
from pathlib import Path

from radwright.data.files import TEMPORARY_PREFIX, output_errors, sync
from radwright.errors import StoreError

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Blobs:
    """Bytes under ``folder/ab/abcd...``.

    Args:
        folder: made where it is missing; what a killed process left half-written in it is removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Keep bytes durably; their digest.

        Raises:
            OutputError: they cannot be written.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if path.is_file():
            return digest
        with output_errors(path):
            is_new = not path.parent.is_dir()
            path.parent.mkdir(exist_ok=True)
            # A name of its own: two processes may receive the same image at once.
            number, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
            try:
                with os.fdopen(number, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(name).unlink()
                raise
            sync(path.parent)
            if is_new:
                sync(self.folder)
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes, checked against their digest.

        Raises:
            StoreError: they are missing or were changed.
        """
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StoreError(f"{path}: an image of the reading room is missing: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise StoreError(f"{path}: an image of the reading room was changed: its bytes do not fit its name")
        return data

    def sweep(self, *, older_than_s: float = 3600.0) -> int:
        """Remove what a killed process left half-written; how many files.

        Args:
            older_than_s: younger files stay: another process may be writing them right now.
        """
        before, removed = time.time() - older_than_s, 0
        for path in self.folder.glob(f"*/{TEMPORARY_PREFIX}*"):
            with contextlib.suppress(FileNotFoundError):  # its writer was quicker
                if path.stat().st_mtime <= before:
                    path.unlink()
                    removed += 1
        return removed

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise StoreError(f"{digest!r}: is no SHA-256 in hexadecimal")
        return self.folder / digest[:2] / digest
