"""A run's micro-batches on their way to its device: one step ahead on a GPU, so that it never waits for its images."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import torch

from radwright.data.transfer import send
from radwright.types import Batch


@dataclass(frozen=True, slots=True)
class Fed:
    """The micro-batches of one step.

    Attributes:
        host: as they were made: what is counted there waits for no device.
        device: on the device, finished.
    """

    host: Sequence[Batch]
    device: Sequence[Batch]


def feed(steps: Generator[Sequence[Batch], None, None], device: torch.device) -> Generator[Fed, None, None]:
    """Every step's micro-batches on ``device``; closes ``steps`` when it is closed.

    For a GPU the next step's are made and sent by a thread while the present step runs, never more than one ahead.
    """
    with closing(steps):
        if device.type != "cuda":
            for micro_batches in steps:
                yield Fed(micro_batches, [send(batch, device) for batch in micro_batches])
            return

        def fetch() -> Fed | None:
            micro_batches = next(steps, None)
            return None if micro_batches is None else Fed(micro_batches, [send(each, device) for each in micro_batches])

        with ThreadPoolExecutor(1, thread_name_prefix="radwright-feeding") as pool:
            coming = pool.submit(fetch)
            while (fed := coming.result()) is not None:
                coming = pool.submit(fetch)
                yield fed
