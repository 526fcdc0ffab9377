"""Batches on their way to the network's device, where their images become what a network takes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch

from radwright.imaging.tensor import augment, unit_images
from radwright.types import Batch


def send(batch: Batch, device: torch.device) -> Batch:
    """The batch on ``device``, finished; called ahead of its use by a thread of its own, neither host nor GPU waits.

    To a GPU it goes through pinned memory on a stream of its own, while the kernels of the batch before run.
    """
    if device.type != "cuda":
        return finished(batch.to(device))
    stream = _sending(device)
    with torch.cuda.device(device), torch.cuda.stream(stream):
        sent = finished(batch.pinned().to(device))
    stream.synchronize()
    for tensor in sent.tensors:
        # Its memory must not be given away on the other stream while kernels on this one still read it.
        tensor.record_stream(torch.cuda.current_stream(device))
    return sent


def finished(batch: Batch) -> Batch:
    """The batch with float32 images in [0, 1] that have had their random changes, where it is; itself if it is so."""
    images_BV1SS, changes_B7 = batch.images_BV1SS, batch.changes_B7
    if images_BV1SS.dtype == torch.uint8:
        images_BV1SS = unit_images(images_BV1SS)
    if changes_B7 is not None:
        changed = augment(images_BV1SS[:, :, 0], changes_B7)
        # A view that a study lacks stays zero, whatever the brightness from outside.
        images_BV1SS = changed.mul_(batch.view_mask_BV[:, :, None, None]).unsqueeze(2)
    return batch if images_BV1SS is batch.images_BV1SS else replace(batch, images_BV1SS=images_BV1SS, changes_B7=None)


@cache
def _sending(device: torch.device) -> torch.cuda.Stream:
    """One stream for all batches: memory freed on a stream serves that stream again, and no other."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
