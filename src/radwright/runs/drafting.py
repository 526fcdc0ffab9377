"""Drafting put together: which studies, which checkpoint, on which device."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast, get_args

from radwright.config import apply_overrides
from radwright.data.images import LooseStudies, find_studies
from radwright.data.parquet import is_parquet
from radwright.data.remote import Place
from radwright.data.sources.parquet import ParquetSource
from radwright.data.store import HEADER, REPORTS, PreparedStore
from radwright.decoding.config import DecodingConfig
from radwright.errors import CheckpointError, ConfigError, ImageError, SourceError, StudyError, near
from radwright.evaluation.reports import read_reports
from radwright.inference.checkpoint import load_checkpoint
from radwright.inference.predictor import Predictor
from radwright.inference.reading import Precision
from radwright.types import Study, View


class Bar(Protocol):
    """A running progress bar."""

    def advance(self, count: int = 1) -> None:
        """``count`` more studies are done."""
        ...


ShowProgress = Callable[[str, int], AbstractContextManager[Bar]]
"""(what is done, how many studies) -> a progress bar."""


def choose_device(name: str) -> str:
    """``auto`` -> a GPU where there is one, else the CPU.

    Raises:
        ConfigError: no such device here.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {name}: is not to be had here: {str(error).splitlines()[0]}") from error
    return name


def set_threads(threads: int | None, *, processes: int = 1) -> None:
    """CPU threads of this process; None: ``OMP_NUM_THREADS``, or the cores shared out over ``processes``."""
    import torch

    if threads is None and "OMP_NUM_THREADS" in os.environ:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads or max(1, cores // processes))


def open_predictor(
    checkpoint: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    batch_size: int = 16,
    decoding: Sequence[str] = (),
    beginnings: Mapping[str, str] | None = None,
    precision: str = "fp32",
    onnx: Path | None = None,
    compiled: bool = False,
) -> Predictor:
    """A predictor as the command line asks for it; ``decoding`` holds ``key=value`` changes of the checkpoint's own.

    Raises:
        ConfigError: an unknown precision, decoding that does not fit, or a device or precision beside ``onnx``.
        CheckpointError: the exported network is not this checkpoint's, or this one has no stem to be compiled.
    """
    if onnx is not None and (precision != "fp32" or device not in {"auto", "cpu"}):
        raise ConfigError("--onnx: runs on the CPU in the exported precision; leave out --device and --precision")
    if onnx is not None and compiled:
        raise ConfigError("--onnx and --compile: choose one, either runs the network in its own way")
    if precision not in get_args(Precision):
        known = get_args(Precision)
        raise ConfigError(f"--precision {precision}: is none of {', '.join(known)}{near(precision, known)}")
    set_threads(threads)
    loaded = load_checkpoint(checkpoint, device="cpu" if onnx else choose_device(device))
    if onnx is not None:
        from radwright.inference.onnx_backend import on_onnx

        loaded = on_onnx(loaded, onnx)
    if compiled:
        if not hasattr(loaded.model, "compile_stem"):
            raise CheckpointError(f"{checkpoint}: {type(loaded.model).__name__} has no stem to be compiled")
        loaded.model.compile_stem()
    return Predictor(
        loaded,
        decoding=change_decoding(loaded.config.decoding, decoding),
        batch_size=batch_size,
        num_decoders=max(1, min(4, (os.cpu_count() or 2) // 2)),
        beginnings=beginnings,
        precision=cast(Precision, precision),
    )


def change_decoding(decoding: DecodingConfig, changes: Sequence[str]) -> DecodingConfig:
    """A checkpoint's decoding with the ``key=value`` changes of the command line.

    Raises:
        ConfigError: an unknown key, or a value that does not fit.
    """
    values = apply_overrides(decoding.plain(), changes)
    if any(change.startswith("strategy.kind=") for change in changes):
        # Another kind of strategy: the old kind's settings are none of its own.
        chosen = apply_overrides({}, [change for change in changes if change.startswith("strategy.")])
        values["strategy"] = chosen["strategy"]
    return DecodingConfig.parse(values, where="--decoding")


def read_beginnings(path: Path) -> dict[str, str]:
    """Study id -> the text that its draft begins with, from JSON lines ``{"study_id": ..., "beginning": ...}``.

    Raises:
        ConfigError: the file cannot be read, a line is none of these, or a study has two.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    beginnings: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            study_id, text = row["study_id"], row["beginning"]
        except (ValueError, KeyError, TypeError):
            study_id = text = None
        if not isinstance(study_id, str) or not isinstance(text, str):
            raise ConfigError(f'{path}:{number}: is no {{"study_id": ..., "beginning": ...}}: {line[:80]!r}')
        if study_id in beginnings:
            raise ConfigError(f"{path}:{number}: study {study_id!r} has a beginning already")
        beginnings[study_id] = text
    return beginnings


class StoredStudies(Sequence[Study]):
    """Some studies of a prepared store, read when asked for."""

    notes: tuple[str, ...] = ()
    """What a person must know of them, as for ``LooseStudies``: nothing, ``prepare`` has told it."""

    def __init__(self, store: PreparedStore, indices: Sequence[int]) -> None:
        self.store, self.indices = store, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        if isinstance(place, slice):
            return StoredStudies(self.store, self.indices[place])
        return self.store.study(self.indices[place])


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """An image that cannot be had, and why."""

    name: str
    reason: str

    def read(self) -> bytes:
        raise ImageError(self.reason)


class ParquetStudies(Sequence[Study]):
    """Studies in Parquet, read row group by row group when asked for in their order.

    Raises:
        SourceError: two rows have one id.
    """

    notes: tuple[str, ...] = ()
    """As for ``LooseStudies``: nothing is known of them."""

    def __init__(self, source: ParquetSource, limit: int | None = None) -> None:
        self.source = source
        self._size = min(len(source), len(source) if limit is None else limit)
        counts = Counter(self.study_ids)
        if twice := [study_id for study_id, count in counts.most_common(5) if count > 1]:
            raise SourceError(f"{source.path}: several rows have one study_id ({', '.join(twice)}); each needs its own")

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        if isinstance(place, slice):
            raise TypeError("Parquet is read by place, or in order")
        try:
            return self.source.study(place if place >= 0 else place + self._size)
        except StudyError as error:  # whoever reads its image is told
            return Study(f"row {place}", (View(_Unreadable(f"row {place}", str(error))),))

    @property
    def study_ids(self) -> list[str]:
        """Ids of all studies, in order."""
        return self.source.study_ids()[: self._size]

    @property
    def ends(self) -> list[int]:
        """After which studies it is cheap to go on elsewhere: the ends of the row groups."""
        return [end for end in self.source.group_ends if end < self._size]


def find_inputs(
    inputs: Sequence[Place], *, split: str | None = None, limit: int | None = None, together: bool = False
) -> StoredStudies | LooseStudies | ParquetStudies:
    """The studies that ``generate`` is asked for: a prepared store's, those in Parquet, or those of loose images.

    Raises:
        ConfigError: a store or Parquet mixed with other inputs, or ``split`` without a store.
        SourceError, StoreError: an input cannot be read.
    """
    paths = [place for place in inputs if isinstance(place, Path)]
    if stray := [path for path in paths if "=" in path.name and not path.exists()]:
        raise ConfigError(f"{stray[0]}: no such input; each change of decoding has an option: --decoding {stray[0]}")
    stores = [path for path in paths if (path / HEADER).is_file()]
    if stores and len(inputs) > 1:
        raise ConfigError(f"{stores[0]} is a prepared store: give it alone")
    if stores:
        store = PreparedStore(stores[0])
        return StoredStudies(store, range(len(store))[:limit] if split is None else store.indices(split)[:limit])
    tables = [place for place in inputs if is_parquet(place)]
    if tables and (len(inputs) > 1 or together):
        raise ConfigError(f"{tables[0]} holds Parquet, a study a row: give it alone, without --together")
    if tables:
        if split is not None:
            raise ConfigError(f"--split {split}: {tables[0]} is Parquet; prepare it first, or leave --split out")
        return ParquetStudies(ParquetSource(tables[0], {}), limit)
    if split is not None:
        raise ConfigError(f"--split {split}: only a prepared store has splits, {inputs[0]} is none")
    found: LooseStudies = find_studies(inputs, together=together)[:limit]
    return found


@dataclass(frozen=True, slots=True)
class Inputs:
    """Which studies a command is asked to draft; see ``find_inputs``."""

    places: tuple[Place, ...]
    split: str | None = None
    limit: int | None = None
    together: bool = False

    def find(self) -> StoredStudies | LooseStudies | ParquetStudies:
        """The studies."""
        return find_inputs(self.places, split=self.split, limit=self.limit, together=self.together)

    def absolute(self) -> Inputs:
        """The same, for a process that may stand in another folder."""
        return replace(self, places=tuple(p.resolve() if isinstance(p, Path) else p for p in self.places))

    def plain(self) -> dict[str, Any]:
        """Plain values, for a job's identity."""
        return {
            "inputs": [str(place) for place in self.places],
            "split": self.split,
            "limit": self.limit,
            "together": self.together,
        }


def find_reports(inputs: Sequence[Place]) -> dict[str, str]:
    """Study id -> its own report, where ``inputs`` is a prepared store; nothing for loose images."""
    [*others, last] = inputs
    if others or not isinstance(last, Path) or not (last / HEADER).is_file():
        return {}
    return {row.study_id: row.report for row in read_reports(last / REPORTS).rows if row.report.strip()}
