"""What every image backbone has in common: config, batch statistics in small batches, loading weights from a file.

Shape legend: I images, S image side in pixels, G patches per side, C channels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from radwright.config import Config
from radwright.errors import CheckpointError, ConfigError
from radwright.tables import BACKBONES, resolve

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
GRAY_MEAN, GRAY_STD = 0.45, 0.25


class BackboneConfig(Config):
    """Fields that every backbone has."""

    in_channels: int = 1
    """Channels the first convolution reads: 1 for networks trained here from scratch, 3 where ImageNet weights are
    loaded (the gray image is then repeated and normalised as ImageNet's channels)."""
    weights: Path | None = None
    """File of pre-trained weights to start from (.safetensors, .bin, .pt, .pth), torchvision or Hugging Face names.
    Read once, when training starts; a trained checkpoint does not need it."""
    min_images_for_batch_statistics: int = 16
    """Batch norm keeps its running statistics fixed while a training batch holds fewer images than this (corrected: the
    released code trains batch norm on any batch; statistics of a few images corrupt it). 0: always train them."""


def parse_backbone(value: Any) -> Any:
    """A backbone's config as a recipe gives it: a mapping whose ``name`` picks the class (for pydantic's validators).

    Raises:
        ValueError: no mapping with a name, an unknown one, or a config it refuses.
    """
    if isinstance(value, BackboneConfig):
        return value
    if not isinstance(value, dict) or "name" not in value:
        raise ValueError("a backbone is a mapping with a 'name', e.g. {name: resnet, depth: 18}")
    try:
        stem = resolve(BACKBONES, value["name"], kind="backbone")
        return stem.Config.parse(value, where="backbone")
    except ConfigError as error:
        raise ValueError(str(error)) from error


def normalise(images_I1SS: Tensor, in_channels: int) -> Tensor:
    """Gray images in [0, 1] to a network's input (I, in_channels, S, S), zero mean and unit variance, about."""
    if in_channels == 1:
        return (images_I1SS - GRAY_MEAN) / GRAY_STD
    mean = torch.tensor(IMAGENET_MEAN, dtype=images_I1SS.dtype, device=images_I1SS.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, dtype=images_I1SS.dtype, device=images_I1SS.device).view(1, 3, 1, 1)
    return (images_I1SS - mean) / std


def set_batch_statistics(module: nn.Module, *, training: bool) -> None:
    """Batch norm layers use (and update) the batch's statistics, or the running ones."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.train(training)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a weights file; nothing is unpickled but tensors.

    Raises:
        CheckpointError: missing, unreadable, or a file that holds more than tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path}: cannot be read as weights (tensors only, no pickled code): {_why(error)}"
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise CheckpointError(f"{path}: a mapping of names to tensors is expected")
    return dict(loaded)


def _why(error: Exception) -> str:
    """The cause alone: PyTorch's own text is a page long and advises to run what is in the file."""
    if named := re.search(r"GLOBAL (\S+)", str(error)):
        return f"it holds {named[1]}; who trusts its source saves the tensors alone: torch.save(state_dict, FILE)"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def load_renamed(module: nn.Module, path: Path, rename: Callable[[str], str | None]) -> list[str]:
    """Load a weights file into ``module``, names translated by ``rename`` (None = not a part of this network).

    Every parameter of ``module`` must be found, in its shape; what the file holds beyond (later stages, the classifier)
    is left out. A first convolution that reads one channel takes the sum of the file's channels.

    Returns:
        The file's names that were not used.

    Raises:
        CheckpointError: a name is missing, or a shape differs; the first few are named.
    """
    own = module.state_dict()
    found: dict[str, Tensor] = {}
    unused = []
    for name, tensor in read_weights(path).items():
        target = rename(name)
        if target is None or target not in own:
            unused.append(name)
        else:
            found[target] = tensor
    optional = {name for name in own if name.endswith("num_batches_tracked")}
    missing = sorted(own.keys() - found.keys() - optional)
    if missing:
        raise CheckpointError(
            f"{path}: {len(missing)} of {len(own)} tensors of {type(module).__name__} are not in the file, "
            f"e.g. {', '.join(missing[:3])}; is it another depth or another network?"
        )
    for name, tensor in found.items():
        if tensor.ndim == 4 and own[name].shape[1] == 1 and tensor.shape[1] == 3:
            found[name] = tensor = tensor.sum(1, keepdim=True)
        if tensor.shape != own[name].shape:
            raise CheckpointError(f"{path}: {name} is {tuple(tensor.shape)}, the model wants {tuple(own[name].shape)}")
    module.load_state_dict(found, strict=False)
    return unused
