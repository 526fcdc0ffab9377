"""Pixels as the network's tensors, and the random changes that training makes to them; the only file here that imports
torch.

Shape legend: B studies, V views, S image side in pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

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


def unit_images(images: Tensor) -> Tensor:
    """uint8 images of any shape to float32 in [0, 1], the same to the bit as ``pixels_to_tensor``."""
    if images.device.type == "cpu":
        return pixels_to_tensor(images.numpy())[0]
    return images.float() / 255


def augment(images_BVSS: Tensor, changes_B7: Tensor) -> Tensor:
    """Warp and change in brightness, all views of a study by its one draw.

    Args:
        images_BVSS: float32 in [0, 1].
        changes_B7: float32, a row for each study (``radwright.imaging.augment.Draw.numbers``), on the same device.

    Returns:
        Float32 (B, V, S, S): clip(gain * warped ** gamma, 0, 1), warped bilinearly.
    """
    angle, shift_x, shift_y, scale, gain, gamma, padding = changes_B7.unbind(1)
    # Output -> input about the centre, x_in = R(angle) (x_out - shift) / scale, in coordinates from -1 to 1.
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    across = torch.stack([cosine, -sine, 2 * (sine * shift_y - cosine * shift_x)], 1)
    down = torch.stack([sine, cosine, -2 * (sine * shift_x + cosine * shift_y)], 1)
    grid_BSS2 = F.affine_grid(torch.stack([across, down], 1), list(images_BVSS.shape), align_corners=False)
    padding, gain, gamma = (each[:, None, None, None] for each in (padding, gain, gamma))
    # Outside is zero to `grid_sample`: what it is to be is taken off before and put on again.
    inside = images_BVSS - padding
    warped = F.grid_sample(inside, grid_BSS2, mode="bilinear", padding_mode="zeros", align_corners=False)
    return warped.add_(padding).clamp_(0, 1).pow_(gamma).mul_(gain).clamp_(0, 1)
