"""An image encoder from a Hugging Face folder (Swin, ViT, DINOv2, ConvNeXt and what is built like them) as a backbone.

Shape legend: I images, S image side in pixels, G = S / stride patches per side, C channels, N tokens.
"""

from __future__ import annotations

import inspect
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator
from torch import Tensor, nn

from radwright.errors import CheckpointError, ConfigError
from radwright.nn.backbone import (
    GRAY_MEAN,
    GRAY_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    BackboneConfig,
    set_batch_statistics,
)
from radwright.nn.folder import FolderConfig, FolderPart
from radwright.nn.huggingface import load_encoder, save_architecture

PREPROCESSING = "preprocessor_config.json"
# They fit their positions to an image's size unasked.
_ANY_SIZE = ("dinov2", "dinov2_with_registers")


class FolderBackboneConfig(BackboneConfig, FolderConfig):
    """An image encoder from a folder; the folder says how many channels it reads and how they are normalised."""

    name: Literal["huggingface"] = "huggingface"
    """Table name of this backbone."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.directory is None:
            raise ValueError("name: huggingface needs a directory, the folder of an image model")
        if self.tuning == "lora":
            raise ValueError("tuning: lora is for language models; an image encoder is frozen or trained in full")
        if self.weights is not None:
            raise ValueError("weights: a folder brings its own; leave it out")
        return self


class FolderBackbone(FolderPart):
    """Images to a map of patch features.

    Attributes:
        out_channels: channels C of the features.
        stride: pixels per patch side.

    Raises:
        CheckpointError: see ``FolderPart.open_base``; or ``preprocessor_config.json`` is damaged.
        ConfigError: the folder's model is no image encoder, or its config tells no grid of patches.
        MissingExtraError: transformers is not installed.
    """

    Config = FolderBackboneConfig

    def __init__(self, config: FolderBackboneConfig) -> None:
        super().__init__(config)
        assert config.directory is not None
        self.config = config
        base = self.open_base(_load_patches_only)
        self._check_reads_images(base)
        grid = _grid_of(base.config, config.directory)
        self.out_channels, self.stride, self._native_px = grid.channels, grid.stride, grid.image_px
        self._num_prefix = {0, 1, 2, 1 + int(getattr(base.config, "num_register_tokens", 0) or 0)}
        self._channels = int(getattr(base.config, "num_channels", 3))
        self._mean, self._std = _normalisation(config.directory, self._channels)
        self._takes_interpolation = "interpolate_pos_encoding" in inspect.signature(type(base).forward).parameters
        for name, parameter in base.named_parameters():
            if name.endswith("mask_token"):
                parameter.requires_grad_(False)  # of a pre-training task, here it is never read
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """An encoder that is not trained stays in evaluation mode."""
        return super().train(mode and self.config.tuning != "frozen")

    def grid_side(self, size_px: int) -> int:
        """Patches per side G of an image of side ``size_px``.

        Raises:
            ConfigError: the encoder cannot read images of this size.
        """
        if size_px % self.stride or size_px < self.stride:
            raise ConfigError(
                f"image.size_px = {size_px}: the encoder of {self.config.directory} reads patches of {self.stride} px; "
                f"take a multiple of that, e.g. {self._native_px or max(1, round(size_px / self.stride)) * self.stride}"
            )
        if size_px != self._native_px and not self._takes_other_sizes():
            raise ConfigError(
                f"image.size_px = {size_px}: the encoder of {self.config.directory} reads images of {self._native_px} "
                f"px only, its positions cannot be interpolated; take image.size_px = {self._native_px}"
            )
        return size_px // self.stride

    def forward(self, images_I1SS: Tensor) -> Tensor:
        """Gray images in [0, 1], (I, 1, S, S), to features (I, C, G, G).

        Raises:
            ConfigError: the size is refused (``grid_side``), or what the encoder gives is no map of patches.
        """
        assert self.base is not None
        size_px = images_I1SS.shape[-1]
        side = self.grid_side(size_px)
        if self.training:
            enough = images_I1SS.shape[0] >= self.config.min_images_for_batch_statistics
            set_batch_statistics(self, training=enough)
        moved = size_px != self._native_px and self._takes_interpolation
        keywords = {"interpolate_pos_encoding": True} if moved else {}
        out = self.base(pixel_values=self._normalised(images_I1SS), **keywords)
        return self._as_grid(getattr(out, "last_hidden_state", None), side)

    def load_weights(self) -> list[str]:
        """Nothing: a folder's weights are there from the beginning."""
        return []

    def deployed_config(self) -> dict[str, Any]:
        """Plain config for a checkpoint: with the encoder inside, or where it lies and its fingerprint."""
        return self.config.plain() | self.deployed_part("backbone")

    def save_folder(self, path: Path) -> None:
        """Write architecture and normalisation, without weights, into folder ``path`` of a checkpoint."""
        assert self.base is not None
        save_architecture(self.base, path, tokenizer_of=None)
        values = {"do_normalize": True, "image_mean": self._mean, "image_std": self._std}
        (path / PREPROCESSING).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    def _normalised(self, images_I1SS: Tensor) -> Tensor:
        """The network's input (I, channels, S, S)."""
        mean, std = (images_I1SS.new_tensor(values).view(1, -1, 1, 1) for values in (self._mean, self._std))
        return (images_I1SS - mean) / std

    def _as_grid(self, states: Tensor | None, side: int) -> Tensor:
        """States (I, N, C), row-major behind a prefix, or (I, C, G, G), to (I, C, G, G)."""
        if states is not None and states.ndim == 3:
            num_prefix = states.shape[1] - side * side
            if num_prefix in self._num_prefix:
                states = states[:, num_prefix:].transpose(1, 2).unflatten(2, (side, side))  # type: ignore[no-untyped-call]
        if states is None or states.shape[1:] != (self.out_channels, side, side):
            found = "no last_hidden_state" if states is None else f"states of shape {tuple(states.shape)}"
            raise ConfigError(
                f"{self.config.directory}: {type(self.base).__name__} gives {found}, not {self.out_channels} channels "
                f"on {side} x {side} patches; take an encoder like Swin, ViT, DINOv2 or ConvNeXt"
            )
        return states

    def _takes_other_sizes(self) -> bool:
        assert self.base is not None
        if self._takes_interpolation or getattr(self.base.config, "model_type", "") in _ANY_SIZE:
            return True
        names = (name for name, _ in self.base.named_parameters())
        return not any("position_embedding" in name or "pos_embed" in name for name in names)

    def _check_reads_images(self, base: nn.Module) -> None:
        known = inspect.signature(type(base).forward).parameters
        if "pixel_values" not in known or "input_ids" in known:
            raise ConfigError(f"{self.config.directory}: holds a {type(base).__name__}, which is no image encoder")


@dataclass(frozen=True, slots=True)
class _Grid:
    """What a model's config says of its patches.

    Attributes:
        channels: of a patch's features.
        stride: pixels per patch side.
        image_px: side of the images it was made for, None where that is not a square.
    """

    channels: int
    stride: int
    image_px: int | None


def _grid_of(config: Any, directory: Path) -> _Grid:
    """Read a model's config.

    Raises:
        ConfigError: it does not tell the number of channels and the side of a patch.
    """
    patch = _side(getattr(config, "patch_size", None))
    embed_dim, depths = getattr(config, "embed_dim", None), getattr(config, "depths", None)
    widths = getattr(config, "hidden_sizes", None)
    if widths and patch:  # ConvNeXt: every stage but the first halves the side
        channels, stride = widths[-1], patch * 2 ** (len(widths) - 1)
    elif widths and getattr(config, "embedding_size", None):  # ResNet: a convolution and a pooling before the stages
        first = 2 if getattr(config, "downsample_in_first_stage", False) else 1
        channels, stride = widths[-1], 4 * first * 2 ** (len(widths) - 1)
    elif embed_dim and depths and patch:  # Swin: a merge after every stage but the last
        channels, stride = embed_dim * 2 ** (len(depths) - 1), patch * 2 ** (len(depths) - 1)
    elif patch and getattr(config, "hidden_size", None):
        channels, stride = config.hidden_size, patch
    else:
        raise ConfigError(
            f"{directory}: the config of {type(config).__name__} does not tell its patches (patch_size, hidden_size "
            "or hidden_sizes); take an encoder like Swin, ViT, DINOv2 or ConvNeXt"
        )
    return _Grid(int(channels), int(stride), _side(getattr(config, "image_size", None)))


def _side(size: Any) -> int | None:
    """A square's side, given as one number or as two; None for anything else."""
    if isinstance(size, list | tuple) and len(size) == 2 and size[0] == size[1]:
        size = size[0]
    return size if isinstance(size, int) else None


def _normalisation(directory: Path, num_channels: int) -> tuple[list[float], list[float]]:
    """Mean and deviation of every channel, as the folder says them; else ImageNet's, or ours for another number.

    Raises:
        CheckpointError: the file cannot be read, or its numbers do not fit the network's channels.
    """
    path = directory / PREPROCESSING
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if num_channels == 3 else ((GRAY_MEAN,), (GRAY_STD,))
    values: Any = {}
    if path.is_file():
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: cannot be read: {error}") from error
        if not isinstance(values, dict):
            raise CheckpointError(f"{path}: is no mapping of names to values")
    if values.get("do_normalize") is False:
        mean, std = (0.0,), (1.0,)
    elif values.get("image_mean") is not None and values.get("image_std") is not None:
        mean, std = values["image_mean"], values["image_std"]
    return (
        _per_channel(mean, num_channels, path, "image_mean"),
        _per_channel(std, num_channels, path, "image_std", positive=True),
    )


def _per_channel(values: Any, num_channels: int, path: Path, key: str, *, positive: bool = False) -> list[float]:
    listed = list(values) if isinstance(values, list | tuple) else [values]
    listed = listed * num_channels if len(listed) == 1 else listed
    real = all(isinstance(value, int | float) and math.isfinite(value) for value in listed)
    if not real or len(listed) != num_channels or (positive and min(listed) <= 0):
        raise CheckpointError(
            f"{path}: {key} = {values!r}; {num_channels} {'positive ' if positive else ''}numbers are expected, one "
            "per channel"
        )
    return [float(value) for value in listed]


def _load_patches_only(directory: Path, *, weights: bool) -> nn.Module:
    """An encoder without what only serves a pooled output: those weights would be trained by nothing."""
    base = load_encoder(directory, weights=weights)
    pooler = getattr(base, "pooler", None)
    if isinstance(pooler, nn.Module) and list(pooler.parameters()):  # others (an average) cannot be done without
        base.pooler = None  # type: ignore[assignment]
    if str(getattr(base.config, "model_type", "")).startswith("convnext"):
        base.layernorm = nn.Identity()  # follows the mean over the patches
    return base
