"""Parquet files, on disk or behind a URL: listing, reading by row group or column, writing rows.

Together with the store the only file that imports pyarrow.
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radwright.data.remote import Place, RemoteTree, filesystem, last_part
from radwright.errors import SourceError, StudyError, require

_LISTING_THREADS = 16


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """One file, and what its footer says; light and picklable.

    Attributes:
        place: path or URL.
        columns: their names.
        group_rows: rows of each row group.
    """

    place: str
    columns: tuple[str, ...]
    group_rows: tuple[int, ...]

    def read_group(self, number: int, columns: Sequence[str]) -> Any:
        """An Arrow table of one row group.

        Raises:
            StudyError: it is damaged or cannot be had.
        """
        try:
            return _opened(self.place, os.getpid()).read_row_group(number, columns=list(columns))
        except Exception as error:  # Arrow's, and every protocol's own
            raise StudyError(f"{self.place}: row group {number} cannot be read: {error}") from error

    def read_column(self, column: str) -> list[Any]:
        """A column's values.

        Raises:
            SourceError: it is damaged or cannot be had.
        """
        try:
            values: list[Any] = _opened(self.place, os.getpid()).read(columns=[column]).column(column).to_pylist()
        except Exception as error:  # Arrow's, and every protocol's own
            raise SourceError(f"{self.place}: cannot be read: {error}") from error
        return values


@functools.lru_cache(maxsize=4)
def _opened(place: str, process: int) -> Any:
    parquet = require("pyarrow.parquet", extra="data")
    system, path = filesystem(place)
    return parquet.ParquetFile(system.open(path, "rb"))


def _footer(place: str) -> ParquetFile:
    parquet = require("pyarrow.parquet", extra="data")
    system, path = filesystem(place)
    try:
        with system.open(path, "rb") as stream:
            file = parquet.ParquetFile(stream)
            metadata = file.metadata
            rows = tuple(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
            return ParquetFile(place, tuple(file.schema_arrow.names), rows)
    except Exception as error:  # Arrow's, and every protocol's own
        raise SourceError(f"{place}: is no readable Parquet file: {error}") from error


def is_parquet(place: Place) -> bool:
    """Whether a place is a Parquet file by its name, or a folder with some directly in it."""
    if last_part(place).lower().endswith(".parquet"):
        return True
    if isinstance(place, Path):
        return place.is_dir() and any(place.glob("*.parquet"))
    return any(name.endswith(".parquet") and "/" not in name for name in RemoteTree(place).names())


def find_parquet(path: Place) -> list[ParquetFile]:
    """The files at a place (a file, or a folder and all below it), by name, with their footers; empty ones left out.

    Raises:
        SourceError: there is none, none has a row, or one cannot be read.
    """
    system, root = filesystem(path)
    try:
        is_file = system.isfile(root)
        if not is_file and last_part(path).lower().endswith(".parquet"):
            is_file = system.info(root)["type"] == "file"  # says why it cannot be had, which `isfile` does not
        names = [root] if is_file else sorted(system.find(root))
    except FileNotFoundError:
        names = []
    except Exception as error:  # every protocol has errors of its own
        raise SourceError(f"{path}: cannot be listed: {error}") from error
    names = [name for name in names if name.lower().endswith(".parquet")]
    if not names:
        raise SourceError(f"{path}: no Parquet file there")
    places = names if isinstance(path, Path) else [system.unstrip_protocol(name) for name in names]
    with ThreadPoolExecutor(_LISTING_THREADS) as threads:
        found = [file for file in threads.map(_footer, places) if file.group_rows]
    if not found:
        raise SourceError(f"{path}: its Parquet files hold no row")
    return found


def parquet_bytes(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> bytes:
    """Rows as one Parquet file.

    Args:
        rows: plain values; what a row lacks is null.
        columns: name -> Arrow's name of its type (``string``, ``double``, ``int64``, ``bool``), or ``map`` for
            text -> number.
    """
    pa, parquet = require("pyarrow", extra="data"), require("pyarrow.parquet", extra="data")
    types = {name: pa.map_(pa.string(), pa.float64()) if kind == "map" else kind for name, kind in columns.items()}
    schema = pa.schema(list(types.items()))
    maps = [name for name, kind in columns.items() if kind == "map"]
    # Arrow takes a map as a list of pairs.
    pairs = ({name: list(row[name].items()) for name in maps if row.get(name) is not None} for row in rows)
    plain = [{**row, **own} for row, own in zip(rows, pairs, strict=True)]
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(plain, schema=schema), sink, compression="zstd")
    return sink.getvalue()


def parquet_column(content: bytes, name: str) -> list[Any]:
    """A column of a Parquet file at hand.

    Raises:
        SourceError: it is damaged, or has no such column.
    """
    pa, parquet = require("pyarrow", extra="data"), require("pyarrow.parquet", extra="data")
    try:
        values: list[Any] = parquet.read_table(io.BytesIO(content), columns=[name]).column(name).to_pylist()
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise SourceError(f"column {name}: cannot be read from Parquet: {error}") from error
    return values
