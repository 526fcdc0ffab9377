"""Writing on a GPU out of recorded graphs: the kernels of a block of tokens are launched by one call.

A decoding step is some two hundred small kernels, and the host takes longer to launch them than the GPU to run them.
Every shape of batch is recorded block by block when it comes for the second time; from then on a batch is copied to
where the recording reads it, and the blocks are replayed until every study is settled.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from radwright.decoding.generate import (
    BLOCK,
    Progress,
    Rules,
    Writer,
    draw_block,
    release,
    write_block,
    write_on,
)
from radwright.types import Decodable, Recordable

MOST_SHAPES = 8
"""Shapes of batches whose recordings are kept; the one unused for longest goes first."""


def recorder(model: Any, device: torch.device) -> Writer | None:
    """A ``Recorder`` where the device is a GPU and the model can be recorded; None elsewhere."""
    return Recorder() if device.type == "cuda" and isinstance(model, Recordable) and model.recordable else None


class Recorder:
    """A ``Writer`` for one model on one GPU. The recordings read the weights where they lie: they may change, not move.

    A batch whose reports have given beginnings is written without recording.
    """

    def __init__(self) -> None:
        self._recordings: OrderedDict[Hashable, _Recording | None] = OrderedDict()
        self._lock = Lock()

    @torch.no_grad()
    def __call__(self, model: Decodable, progress: Progress, rules: Rules) -> Progress:
        """See ``Writer``."""
        if any(progress.beginnings):
            return write_on(model, progress, rules)
        with self._lock:
            key = _key(progress, rules)
            if key not in self._recordings:
                # Most jobs have one last, smaller batch: recording it would cost more than it saves. This first time
                # also sets up the libraries, which cannot be done while recording.
                self._recordings[key] = None
                if len(self._recordings) > MOST_SHAPES:
                    self._recordings.popitem(last=False)
                return write_together(model, progress, rules)
            self._recordings.move_to_end(key)
            recording = self._recordings[key]
            if recording is None:
                recording = self._recordings[key] = _Recording(progress)
            return write_together(model, recording.load(progress), rules, recording.block)


_Blocks = Callable[[Decodable, Progress, Rules, int, Tensor | None], Progress]


def write_together(model: Decodable, progress: Progress, rules: Rules, write: _Blocks = write_block) -> Progress:
    """A ``Writer`` that keeps all studies together, block after block, until none is open."""
    while True:
        num_tokens = min(BLOCK, rules.longest - progress.num_tokens)
        progress = write(model, progress, rules, num_tokens, draw_block(progress, rules, num_tokens))
        settled_at = progress.settled_at_C.tolist()  # the one wait for the device
        if all(settled_at) or min(settled_at) < 0:
            return release(model, progress, settled_at)


class _Recording:
    """The blocks of one shape of batch, and where they read and write."""

    def __init__(self, progress: Progress) -> None:
        self._inputs: Progress = _changed(progress, lambda tensor: tensor.clone())
        self._pool = torch.cuda.graph_pool_handle()
        self._blocks: dict[int, _Block] = {}

    def load(self, progress: Progress) -> Progress:
        """Put a batch where the first block reads it."""
        for mine, given in zip(_tensors(self._inputs), _tensors(progress), strict=True):
            mine.copy_(given)
        return replace(self._inputs, study_ids=progress.study_ids, rows=progress.rows)

    def block(
        self, model: Decodable, progress: Progress, rules: Rules, num_tokens: int, draws_TCX: Tensor | None
    ) -> Progress:
        """``write_block``, replayed; ``progress`` is what ``load`` or the block before returned."""
        block = self._blocks.get(progress.num_tokens)
        if block is None:
            block = self._record(model, progress, rules, num_tokens, draws_TCX)
            self._blocks[progress.num_tokens] = block
        if block.draws_TCX is not None and draws_TCX is not None:
            block.draws_TCX.copy_(draws_TCX)
        block.graph.replay()
        return replace(block.after, study_ids=progress.study_ids, rows=progress.rows)

    def _record(
        self, model: Decodable, progress: Progress, rules: Rules, num_tokens: int, draws_TCX: Tensor | None
    ) -> _Block:
        graph = torch.cuda.CUDAGraph()
        draws_TCX = None if draws_TCX is None else draws_TCX.clone()
        # Autocast remembers half-precision weights until its region ends; the graph must make its own at every replay.
        torch.clear_autocast_cache()
        # Other threads may go on allocating: images are fetched ahead while this one records.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            after = write_block(model, progress, rules, num_tokens, draws_TCX)
        torch.clear_autocast_cache()
        return _Block(graph, draws_TCX, after)


@dataclass(frozen=True, slots=True)
class _Block:
    """A recorded block: its random numbers are read from ``draws_TCX``, its outcome lies in ``after``."""

    graph: torch.cuda.CUDAGraph
    draws_TCX: Tensor | None
    after: Progress


def _key(progress: Progress, rules: Rules) -> Hashable:
    """What two batches must share to be written by one recording."""
    device = progress.sums_CW.device.type
    precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    constraints = rules.constraints
    ids = (rules.bos_id, rules.eos_id, constraints.suppressed_ids)
    return rules.config, ids, precision, len(progress.rows), _shape(progress.state)


def _shape(value: Any) -> Hashable:
    """Shapes and dtypes of the tensors in a nested value, and its plain values."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype
    if is_dataclass(value) and not isinstance(value, type):
        return type(value), *(_shape(getattr(value, each.name)) for each in fields(value))
    if isinstance(value, tuple | list):
        return type(value), *map(_shape, value)
    if isinstance(value, Mapping):
        return type(value), *((name, _shape(each)) for name, each in value.items())
    return repr(value)


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in a nested value, in a fixed order."""
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            yield from _tensors(getattr(value, each.name))
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors(each)


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A nested value with other tensors."""
    if isinstance(value, Tensor):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: _changed(getattr(value, each.name), change) for each in fields(value)})
    if isinstance(value, tuple | list):
        return type(value)(_changed(each, change) for each in value)
    if isinstance(value, Mapping):
        return {name: _changed(each, change) for name, each in value.items()}
    return value
