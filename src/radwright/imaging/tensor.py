"""The one function that turns encoded bytes into the network's tensor; the only file here that imports torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from radwright.imaging.config import ImageConfig
from radwright.imaging.decode import Pixels
from radwright.imaging.pixels import image_pixels


def image_tensor(
    data: bytes, config: ImageConfig, *, name: str, original_size: tuple[int, int] | None = None
) -> Tensor:
    """Turn one encoded image (PNG, JPEG, DICOM) into the network's input.

    Args:
        data: encoded bytes; where they come from (file, archive, store, upload) makes no difference to the result.
        config: size, fit, padding, limits.
        name: what to call the image in an error message.
        original_size: (width, height) in pixels that the image had before its dataset squashed it, where known.

    Returns:
        Float32 tensor (1, S, S) in [0, 1]; 0 is black, bright is dense.

    Raises:
        ImageError: the bytes are truncated, of an unknown type, too large, or hold several frames.
        MissingExtraError: DICOM bytes without the ``dicom`` extra.
    """
    return pixels_to_tensor(image_pixels(data, config, name=name, original_size=original_size))


def pixels_to_tensor(pixels_SS: Pixels) -> Tensor:
    """Scale uint8 or uint16 pixels (S, S) to float32 (1, S, S) in [0, 1]; the last step of ``image_tensor``."""
    # NumPy divides here, not torch, so that loading threads start no thread pools of their own.
    unit_SS = pixels_SS.astype(np.float32) / np.float32(np.iinfo(pixels_SS.dtype).max)
    return torch.from_numpy(unit_SS).unsqueeze(0)
