"""The prepared store: Arrow shards of studies with their encoded images, random access through memory mapping.

A store is a folder: ``store.json`` (what it is, whether it is complete), ``shards.jsonl`` (one row per finished shard,
with its checksum), ``shard-*.arrow``, and for people and for ``radwright score`` ``reports.jsonl``, ``skipped.jsonl``
and ``report.json``. The only file that imports pyarrow.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from radwright.data import files
from radwright.data.splits import indices_of
from radwright.errors import StoreError, require
from radwright.types import SECTIONS, ImageInMemory, Study, View, ViewPosition

STORE_VERSION = 1
HEADER = "store.json"
SHARDS = "shards.jsonl"
REPORTS = "reports.jsonl"
SKIPPED = "skipped.jsonl"
SUMMARY = "report.json"


def _pyarrow() -> Any:
    pyarrow = require("pyarrow", extra="data")
    require("pyarrow.ipc", extra="data")
    return pyarrow


def _schema() -> Any:
    pa = _pyarrow()
    view = pa.struct(
        [
            ("name", pa.string()),
            ("position", pa.string()),
            ("original_width_px", pa.int32()),
            ("original_height_px", pa.int32()),
            ("image", pa.large_binary()),
        ]
    )
    columns = [("study_id", pa.string()), ("patient_id", pa.string()), ("split", pa.string())]
    columns += [(section, pa.string()) for section in SECTIONS]
    return pa.schema([*columns, ("extra", pa.string()), ("views", pa.list_(view))])


def study_row(study: Study) -> dict[str, Any]:
    """One study as a row of plain values, its images read.

    An image is named by its study, its place in it, and its file's name: a store never holds a path.

    Raises:
        OSError, KeyError: an image cannot be read.
    """
    views = []
    for number, view in enumerate(study.views):
        width, height = view.original_size or (None, None)
        views.append(
            {
                "name": f"{study.study_id}/{number} ({_last_part(view.image.name)})",
                "position": view.position,
                "original_width_px": width,
                "original_height_px": height,
                "image": view.image.read(),
            }
        )
    row: dict[str, Any] = {"study_id": study.study_id, "patient_id": study.patient_id, "split": study.split}
    row |= {section: study.sections.get(section) for section in SECTIONS}
    return row | {"extra": json.dumps(study.extra, ensure_ascii=False) if study.extra else None, "views": views}


def _last_part(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1].rsplit("::", 1)[-1]


def _row_study(row: Mapping[str, Any]) -> Study:
    views = tuple(
        View(
            ImageInMemory(view["name"], view["image"]),
            _position(view["position"]),
            None
            if view["original_width_px"] is None
            else (int(view["original_width_px"]), int(view["original_height_px"])),
        )
        for view in row.get("views", ())
    )
    return Study(
        study_id=row["study_id"],
        views=views,
        patient_id=row["patient_id"],
        split=row["split"],
        sections={section: row[section] for section in SECTIONS if row[section] is not None},
        extra=json.loads(row["extra"]) if row["extra"] else {},
    )


def _position(text: str) -> ViewPosition:
    if text == "frontal":
        return "frontal"
    return "lateral" if text == "lateral" else "unknown"


class PreparedStore:
    """Random access to a prepared store; memory-mapped, so opening is cheap and a study costs its own bytes only.

    Picklable: a worker process that receives it opens the files again by itself.

    Args:
        path: the folder that ``radwright prepare --out`` wrote.
        allow_incomplete: read what is there of a store that is still being written.

    Raises:
        StoreError: no store, an incomplete one, or one of another version; a shard that is missing or cut.
        MissingExtraError: pyarrow is not installed.
    """

    def __init__(self, path: Path, *, allow_incomplete: bool = False) -> None:
        self.path = Path(path)
        self.allow_incomplete = allow_incomplete
        self.header = read_header(self.path)
        if not (self.header["complete"] or allow_incomplete):
            raise StoreError(
                f"{self.path}: is not finished; run the same `radwright prepare` command again to finish it"
            )
        self.shards = [shard for shard in read_shards(self.path) if shard.num_studies]
        self._ends = list(itertools.accumulate(shard.num_studies for shard in self.shards))
        self._open: dict[int, _OpenShard] = {}
        for shard in self.shards:
            check_size(self.path / shard.file, shard.num_bytes)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "allow_incomplete": self.allow_incomplete}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"], allow_incomplete=state["allow_incomplete"])  # type: ignore[misc]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Study:
        return self.study(index)

    def __iter__(self) -> Iterator[Study]:
        return (self.study(index) for index in range(len(self)))

    def study(self, index: int, *, images: bool = True) -> Study:
        """One study.

        Args:
            index: 0 to ``len(self) - 1``; negative counts from the end.
            images: False leaves the views out, so that only the text's pages are read from disk.

        Raises:
            IndexError: there is no such study.
            StoreError: the shard is damaged.
        """
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"{self.path}: study {index} of {size}")
        index %= size
        number = bisect.bisect_right(self._ends, index)
        start = self._ends[number - 1] if number else 0
        shard = self._shard(number)
        try:
            return _row_study(shard.row(index - start, images=images))
        except (_pyarrow().ArrowException, ValueError, OSError) as error:
            raise _damaged(shard.path, str(error)) from error

    @cached_property
    def study_ids(self) -> tuple[str, ...]:
        """Ids of all studies, in order."""
        return tuple(self._column("study_id"))

    @cached_property
    def patient_ids(self) -> tuple[str, ...]:
        """Patient of every study, in order; empty where the dataset names none."""
        return tuple(self._column("patient_id"))

    @cached_property
    def positions(self) -> tuple[tuple[ViewPosition, ...], ...]:
        """Positions of every study's views, in order, without touching the images."""
        return tuple(
            tuple(_position(name) for name in names)
            for number in range(len(self.shards))
            for names in self._shard(number).positions()
        )

    @cached_property
    def splits(self) -> tuple[str | None, ...]:
        """Split of every study, in order."""
        return tuple(self._column("split"))

    def indices(self, split: str | None = None) -> list[int]:
        """Indices of the studies of one split (None: of all), in order.

        Raises:
            StoreError: the store has no such split; the message names those it has.
        """
        return indices_of(split, self.splits, where=str(self.path))

    @property
    def name(self) -> str:
        """The folder, for messages."""
        return str(self.path)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Number of studies and checksums of the shards: what tells two stores apart, wherever they lie."""
        return {"studies": len(self), "shards": [shard.sha256 for shard in self.shards]}

    @property
    def terms(self) -> dict[str, Any]:
        """What the header says of the dataset's licence; empty in stores that record none."""
        return dict(self.header.get("terms", {}))

    def verify(self) -> None:
        """Read every shard and compare its SHA-256 with the recorded one.

        Raises:
            StoreError: a shard differs; the message names it.
        """
        for shard in self.shards:
            with (self.path / shard.file).open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != shard.sha256:
                    raise _damaged(self.path / shard.file, "its checksum is wrong")

    def _shard(self, number: int) -> _OpenShard:
        if number not in self._open:
            self._open[number] = _OpenShard(self.path / self.shards[number].file)
        return self._open[number]

    def _column(self, name: str) -> list[Any]:
        return [value for number in range(len(self.shards)) for value in self._shard(number).column(name)]


@dataclass(frozen=True, slots=True)
class Shard:
    """A row of ``shards.jsonl``: one finished shard, and the references that it and its skipped studies came from.

    Attributes:
        file: name in the store's folder.
        first_reference: index of its first reference in the source's list.
        end_reference: index after its last one; the next shard starts here.
        num_studies: rows in it (its other references were skipped).
        num_bytes: size of the file.
        sha256: checksum of the file.
        skipped: (study_id, kind, reason) of the references that were left out.
    """

    file: str
    first_reference: int
    end_reference: int
    num_studies: int
    num_bytes: int
    sha256: str
    skipped: tuple[tuple[str, str, str], ...]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Shard:
        """The shard that a row of ``shards.jsonl`` describes."""
        return cls(**{**row, "skipped": tuple((study_id, kind, reason) for study_id, kind, reason in row["skipped"])})

    def row(self) -> dict[str, Any]:
        """Plain values for ``shards.jsonl``."""
        return {name: getattr(self, name) for name in self.__slots__}


class _OpenShard:
    """A memory-mapped shard."""

    def __init__(self, path: Path) -> None:
        pa = _pyarrow()
        self.path = path
        try:
            self.reader = pa.ipc.open_file(pa.memory_map(str(path)))
            if self.reader.schema != _schema():
                raise pa.ArrowInvalid("its columns are not a store's")
            batches = [self.reader.get_batch(number) for number in range(self.reader.num_record_batches)]
            for batch in batches:
                # In full: Arrow follows a wrong offset out of the file, and the process dies. It reads offsets and
                # texts, no image.
                batch.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, str(error)) from error
        self.batches = batches
        self.ends = list(itertools.accumulate(batch.num_rows for batch in batches))

    def row(self, index: int, *, images: bool) -> dict[str, Any]:
        number = bisect.bisect_right(self.ends, index)
        batch = self.batches[number]
        inner = index - (self.ends[number - 1] if number else 0)
        names = [name for name in batch.schema.names if images or name != "views"]
        return {name: batch.column(name)[inner].as_py() for name in names}

    def positions(self) -> Iterator[list[str]]:
        for batch in self.batches:
            views = batch.column("views")
            names = views.values.field("position").to_pylist()
            ends = views.offsets.to_pylist()
            yield from (names[start:end] for start, end in itertools.pairwise(ends))

    def column(self, name: str) -> Iterator[Any]:
        for batch in self.batches:
            yield from batch.column(name).to_pylist()


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(f"{path}: is damaged ({why}); delete the store's folder and prepare it again")


def check_size(path: Path, num_bytes: int) -> None:
    """Hold that a shard's file is there and whole.

    Raises:
        StoreError: it is missing or has another size.
    """
    try:
        found = path.stat().st_size
    except OSError as error:
        raise _damaged(path, "it is missing") from error
    if found != num_bytes:
        raise _damaged(path, f"it has {found} bytes instead of {num_bytes}")


def read_header(path: Path) -> dict[str, Any]:
    """What ``store.json`` says.

    Raises:
        StoreError: there is none, it is damaged, or a newer version wrote it.
    """
    try:
        header = json.loads((path / HEADER).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(
            f"{path}: is no prepared store (it has no {HEADER}); make one with `radwright prepare SOURCE --out {path}`"
        ) from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{path / HEADER}: cannot be read: {error}") from error
    if not isinstance(header, dict) or "version" not in header or "complete" not in header:
        raise StoreError(f"{path / HEADER}: is no header of a prepared store")
    if header["version"] != STORE_VERSION:
        raise StoreError(
            f"{path}: has store version {header['version']}, this Radwright reads {STORE_VERSION}; prepare it again"
        )
    return header


def read_shards(path: Path) -> list[Shard]:
    """What ``shards.jsonl`` says, in the order of the references; the rows may stand in any order."""
    shards = (Shard.of(row) for row in files.read_lines(path / SHARDS))
    return sorted(shards, key=lambda shard: shard.first_reference)


class ShardFile:
    """One shard being written under a temporary name, hashed on the way.

    Raises:
        OutputError: it cannot be written; ``drop`` removes what is there.
    """

    def __init__(self, path: Path) -> None:
        pa = _pyarrow()
        self.path = path
        self.num_studies = 0
        self._stream = _HashedStream(files.AtomicFile(path))
        self._schema = _schema()
        try:
            self._writer = pa.ipc.new_file(pa.PythonFile(self._stream, mode="w"), self._schema)
        except BaseException:
            self.drop()
            raise

    @property
    def num_bytes(self) -> int:
        """Bytes written so far."""
        return self._stream.num_bytes

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows as one record batch."""
        self._writer.write_batch(_pyarrow().RecordBatch.from_pylist(list(rows), schema=self._schema))
        self.num_studies += len(rows)

    def close(self) -> str:
        """Put the shard in place; its SHA-256 in hexadecimal digits."""
        self._writer.close()
        self._stream.file.commit()
        return self._stream.sha256.hexdigest()

    def drop(self) -> None:
        """Remove the unfinished file."""
        self._stream.file.drop()


class _HashedStream:
    """The file interface that Arrow writes to; Arrow's file format only ever appends."""

    closed = False

    def __init__(self, file: files.AtomicFile) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()
        self.num_bytes = 0

    def write(self, chunk: Any) -> int:
        # Arrow hands over whole columns: a copy would be one more batch in memory.
        content = memoryview(chunk).cast("B")
        self.file.write(content)
        self.sha256.update(content)
        self.num_bytes += content.nbytes
        return content.nbytes

    def tell(self) -> int:
        return self.num_bytes

    def flush(self) -> None:
        """Arrow asks for it; ``AtomicFile.commit`` flushes."""

    def close(self) -> None:
        """Arrow may ask for it; the file ends by commit or drop."""
