"""Writing a prepared store shard by shard: a kill costs one shard at most, and a second run does the rest.

Where a shard ends depends on the references and their images alone, and its name on its first reference, so the shards
of a store can be written in any order, by any number of processes and machines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from radwright.data import files
from radwright.data.store import SHARDS, Shard, ShardFile, check_size, read_shards

BATCH_BYTES = 4 * 2**20
"""A record batch is written when it holds this many bytes; writing needs some four times that in memory."""
SHARD_BYTES = 256 * 2**20
SHARD_REFERENCES = 1024
"""A shard ends when it holds so many bytes, and before every reference whose number is a multiple of so many: what a
kill can cost, and what a checksum covers."""


class StoreWriter:
    """Appends the studies of successive references to a store's folder; a shard counts once its row is recorded.

    Use as a context manager: leaving it by an error drops the unfinished shard, leaving it normally closes the last.

    Args:
        path: the store's folder; it exists and holds a header.
        first: number of the first reference; a shard starts there.
        record: called with every shard that is in place; None: ``record_shard``.
    """

    def __init__(self, path: Path, first: int = 0, record: Callable[[Shard], None] | None = None) -> None:
        self.path = path
        self.next_reference = first
        self._record = record or partial(record_shard, path)
        self._first = first
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
        self._end_where_due()

    def skip(self, study_id: str, kind: str, reason: str) -> None:
        """Record that the next reference's study is left out, and why."""
        self._skipped.append((study_id, kind, reason))
        self.next_reference += 1
        self._end_where_due()

    def _end_where_due(self) -> None:
        is_full = self._open is not None and self._open.num_bytes >= SHARD_BYTES
        if is_full or self.next_reference % SHARD_REFERENCES == 0:
            self._finish_shard()

    def _write_batch(self) -> None:
        if not self._rows:
            return
        if self._open is None:
            self._open = ShardFile(self.path / f"shard-{self._first:09d}.arrow")
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
        self._record(shard)
        self._open = None
        self._first = self.next_reference
        self._skipped = []


def record_shard(path: Path, shard: Shard) -> None:
    """Let a shard that is in place count.

    Raises:
        OutputError: its row cannot be written; the shard will be written anew.
    """
    files.append_line(path / SHARDS, shard.row())


def missing_references(shards: Sequence[Shard], num_references: int) -> list[range]:
    """The runs of references that no finished shard covers, in order; each starts where a shard starts."""
    missing, start = [], 0
    for shard in shards:
        if shard.first_reference > start:
            missing.append(range(start, shard.first_reference))
        start = shard.end_reference
    return missing + ([range(start, num_references)] if start < num_references else [])


def finished_shards(path: Path) -> list[Shard]:
    """The shards whose row is whole, by their first reference, after clearing what a kill left unfinished.

    Raises:
        StoreError: a finished shard is missing or cut.
    """
    files.drop_torn_line(path / SHARDS)
    for leftover in path.glob(files.TEMPORARY_PREFIX + "*"):
        with files.output_errors(leftover):
            leftover.unlink()
    shards = read_shards(path)
    for shard in shards:
        if shard.num_studies:
            check_size(path / shard.file, shard.num_bytes)
    return shards
