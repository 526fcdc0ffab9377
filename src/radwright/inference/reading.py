"""Studies as a checkpoint's network reads them: decoded ahead in threads, in batches, in order."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import nn

from radwright.data.loading import LoadedStudy, LoadingConfig, collate, load_study
from radwright.data.transfer import send
from radwright.errors import StudyError
from radwright.inference.checkpoint import Checkpoint
from radwright.types import Batch, Skipped, Study

Precision = Literal["fp32", "bf16"]
"""``bf16``: matrix products in bfloat16 (autocast), weights and sums in float32; as in training."""

Chunk = tuple[list[LoadedStudy | Skipped], Batch | None]
"""Studies that go through the network at once, and those of them that could be read as a batch; None: none could."""


class StudyReader:
    """What everything that runs a checkpoint over studies shares: its images' way in, and its device.

    Args:
        checkpoint: a loaded checkpoint.
        batch_size: studies that go through the network at once.
        num_decoders: threads that decode images while the network works.
        precision: of the network's matrix products.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, batch_size: int = 16, num_decoders: int = 2, precision: Precision = "fp32"
    ) -> None:
        self.checkpoint = checkpoint
        self.batch_size = batch_size
        self.num_decoders = num_decoders
        self.precision: Precision = precision
        # Of a network that another engine runs there are no weights here, and that engine is the CPU's.
        network: Any = checkpoint.model
        weights = next(iter(network.parameters()), None) if isinstance(network, nn.Module) else None
        self.device = torch.device("cpu") if weights is None else weights.device
        self._dtype = torch.float32 if weights is None else weights.dtype

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights file: which model said something."""
        with (self.checkpoint.path / "model.safetensors").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _computing(self) -> AbstractContextManager[Any]:
        """Inside, the network computes in this reader's precision."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def _chunks(self, studies: Iterable[Study]) -> Iterator[Chunk]:
        """Studies with their batch on the device; the next ones are decoded and sent while the caller works."""
        chunks = _cut(studies, self.batch_size)
        with ThreadPoolExecutor(self.num_decoders) as pool:

            def load(chunk: Sequence[Study]) -> Future[Chunk]:
                # The pool is served in order, so whatever the last task waits for has been begun before it.
                return pool.submit(self._joined, [pool.submit(self.read_study, study) for study in chunk])

            waiting = [load(chunk) for chunk in itertools.islice(chunks, 1)]
            while waiting:
                current = waiting.pop(0)
                waiting += [load(chunk) for chunk in itertools.islice(chunks, 1)]
                yield current.result()

    def _joined(self, loading: Sequence[Future[LoadedStudy | Skipped]]) -> Chunk:
        outcomes = [future.result() for future in loading]
        readable = [outcome for outcome in outcomes if not isinstance(outcome, Skipped)]
        return outcomes, self.batch_of(readable) if readable else None

    def read_study(self, study: Study) -> LoadedStudy | Skipped:
        """A study's images decoded, or the reason why they cannot be; any thread may call this."""
        config = self.checkpoint.config
        try:
            return load_study(study, config.image, LoadingConfig(max_views=config.max_views))
        except StudyError as error:
            return Skipped(study.study_id, str(error))

    def batch_of(self, views: Sequence[LoadedStudy]) -> Batch:
        """Loaded studies (at least one) as a batch on the network's device."""
        batch = send(collate(views, self.checkpoint.config.image.size_px, None), self.device)
        batch.images_BV1SS = batch.images_BV1SS.to(self._dtype)
        return batch


def _cut(studies: Iterable[Study], size: int) -> Iterator[list[Study]]:
    studies = iter(studies)
    while chunk := list(itertools.islice(studies, size)):
        yield chunk
