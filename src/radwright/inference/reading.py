"""Studies as a checkpoint's network reads them: decoded ahead in threads, in batches, in order."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from radwright.data.loading import LoadedStudy, LoadingConfig, collate, load_study
from radwright.errors import StudyError
from radwright.inference.checkpoint import Checkpoint
from radwright.types import Batch, Skipped, Study


class StudyReader:
    """What everything that runs a checkpoint over studies shares: its images' way in, and its device.

    Args:
        checkpoint: a loaded checkpoint.
        batch_size: studies that go through the network at once.
        num_decoders: threads that decode images while the network works.
    """

    def __init__(self, checkpoint: Checkpoint, *, batch_size: int = 16, num_decoders: int = 2) -> None:
        self.checkpoint = checkpoint
        self.batch_size = batch_size
        self.num_decoders = num_decoders
        network: Any = checkpoint.model
        self.device = next(network.parameters()).device

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights file: which model said something."""
        with (self.checkpoint.path / "model.safetensors").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _loaded(self, studies: Iterable[Study]) -> Iterator[list[LoadedStudy | Skipped]]:
        """Batches of studies; the next one's images decode while the caller works on one."""
        chunks = _chunks(studies, self.batch_size)
        with ThreadPoolExecutor(self.num_decoders) as pool:

            def load(chunk: Sequence[Study]) -> list[Future[LoadedStudy | Skipped]]:
                return [pool.submit(self.read_study, study) for study in chunk]

            waiting = [load(chunk) for chunk in itertools.islice(chunks, 1)]
            while waiting:
                current = waiting.pop(0)
                waiting += [load(chunk) for chunk in itertools.islice(chunks, 1)]
                yield [future.result() for future in current]

    def read_study(self, study: Study) -> LoadedStudy | Skipped:
        """A study's images decoded, or the reason why they cannot be; any thread may call this."""
        config = self.checkpoint.config
        try:
            return load_study(study, config.image, LoadingConfig(max_views=config.max_views))
        except StudyError as error:
            return Skipped(study.study_id, str(error))

    def batch_of(self, views: Sequence[LoadedStudy]) -> Batch:
        """Loaded studies (at least one) as a batch on the network's device."""
        batch = collate(views, self.checkpoint.config.image.size_px, None)
        dtype = next(self.checkpoint.model.parameters()).dtype
        batch.images_BV1SS = batch.images_BV1SS.to(dtype)
        return batch.to(self.device)


def _chunks(studies: Iterable[Study], size: int) -> Iterator[list[Study]]:
    studies = iter(studies)
    while chunk := list(itertools.islice(studies, size)):
        yield chunk
