"""Writing a prepared store shard by shard: a kill costs one shard at most, and a second run does the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from radwright.data import files
from radwright.data.store import SHARDS, Shard, ShardFile, check_size

BATCH_BYTES = 4 * 2**20
"""A record batch is written when it holds this many bytes; writing needs some four times that in memory."""
SHARD_BYTES = 256 * 2**20
SHARD_STUDIES = 4096
"""A shard ends at whichever of the two comes first: what a kill can cost, and what a checksum covers."""


class StoreWriter:
    """Appends studies to a store; a shard counts once its row is in ``shards.jsonl``.

    Use as a context manager: leaving it by an error drops the unfinished shard, leaving it normally closes the last.

    Args:
        path: the store's folder; it exists and holds a header.
        shards: the finished shards, from ``finished_shards``.
    """

    def __init__(self, path: Path, shards: Sequence[Shard]) -> None:
        self.path = path
        self.next_reference = shards[-1].end_reference if shards else 0
        self._number = len(shards)
        self._first = self.next_reference
        self._skipped: list[tuple[str, str, str]] = []
        self._rows: list[dict[str, Any]] = []
        self._row_bytes = 0
        self._open: ShardFile | None = None

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish_shard()
        finally:
            # A finished shard is no longer open here; what is open is half a shard.
            if self._open is not None:
                self._open.drop()

    def add(self, row: dict[str, Any]) -> None:
        """Append the next reference's study, as ``study_row`` made it.

        Raises:
            OutputError: the disk is full or read-only; every finished shard stays valid.
        """
        self._rows.append(row)
        self._row_bytes += sum(len(view["image"]) for view in row["views"]) + 1024
        self.next_reference += 1
        if self._row_bytes >= BATCH_BYTES:
            self._write_batch()
        written = self._open.num_bytes if self._open else 0
        count = (self._open.num_studies if self._open else 0) + len(self._rows)
        if written >= SHARD_BYTES or count >= SHARD_STUDIES:
            self._finish_shard()

    def skip(self, study_id: str, kind: str, reason: str) -> None:
        """Record that the next reference's study is left out, and why."""
        self._skipped.append((study_id, kind, reason))
        self.next_reference += 1

    def _write_batch(self) -> None:
        if not self._rows:
            return
        if self._open is None:
            self._open = ShardFile(self.path / f"shard-{self._number:05d}.arrow")
        self._open.write(self._rows)
        self._rows = []
        self._row_bytes = 0

    def _finish_shard(self) -> None:
        self._write_batch()
        if self.next_reference == self._first:
            return
        if self._open is None:
            shard = Shard("", self._first, self.next_reference, 0, 0, "", tuple(self._skipped))
        else:
            sha256 = self._open.close()
            shard = Shard(
                self._open.path.name,
                self._first,
                self.next_reference,
                self._open.num_studies,
                self._open.num_bytes,
                sha256,
                tuple(self._skipped),
            )
        files.append_line(self.path / SHARDS, shard.row())
        self._open = None
        self._number += 1
        self._first = self.next_reference
        self._skipped = []


def finished_shards(path: Path) -> list[Shard]:
    """The shards whose row is whole, after clearing what a kill left unfinished; for a writer that goes on.

    Raises:
        StoreError: a finished shard is missing or cut.
    """
    files.drop_torn_line(path / SHARDS)
    for leftover in path.glob(files.TEMPORARY_PREFIX + "*"):
        with files.output_errors(leftover):
            leftover.unlink()
    shards = [Shard.of(row) for row in files.read_lines(path / SHARDS)]
    for shard in shards:
        if shard.num_studies:
            check_size(path / shard.file, shard.num_bytes)
    return shards
