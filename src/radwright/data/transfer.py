"""Batches on their way to the network's device."""

from __future__ import annotations

from functools import cache

import torch

from radwright.types import Batch


def send(batch: Batch, device: torch.device) -> Batch:
    """The batch on ``device``; called ahead of its use from a thread of its own, it makes neither host nor GPU wait.

    To a GPU it goes through pinned memory on a stream of its own, while the kernels of the batch before run.
    """
    if device.type != "cuda":
        return batch.to(device)
    stream = _sending(device)
    with torch.cuda.device(device), torch.cuda.stream(stream):
        sent = batch.pinned().to(device)
    stream.synchronize()
    for tensor in sent.tensors:
        # Its memory must not be given away on the other stream while kernels on this one still read it.
        tensor.record_stream(torch.cuda.current_stream(device))
    return sent


@cache
def _sending(device: torch.device) -> torch.cuda.Stream:
    """One stream for all batches: memory freed on a stream serves that stream again, and no other."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
