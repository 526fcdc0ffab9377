"""An image encoder from a Hugging Face folder (Swin, ViT, DINOv2, ConvNeXt and what answers like them) as a backbone.

Its grid of patches is read off what it gives for an image, not off the names in its config.

Shape legend: I images, S image side in pixels, G = S / stride patches per side, C channels, N tokens.
"""

from __future__ import annotations

import copy
import inspect
import json
import math
from pathlib import Path
from typing import Any, Literal, Self

import torch
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
USUAL_PX = 224
"""Side of the images that an encoder is tried with first, where it reads others than its own."""


class FolderBackboneConfig(BackboneConfig, FolderConfig):
    """An image encoder from a folder, which says how many channels it reads and how they are normalised."""

    name: Literal["huggingface"] = "huggingface"
    """Table name of this backbone."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.directory is None:
            raise ValueError("name: huggingface needs a directory, the folder of an image encoder")
        if self.tuning == "lora":
            raise ValueError("tuning: lora is for language models; an image encoder is frozen or trained in full")
        if self.weights is not None:
            raise ValueError(f"weights: {self.weights}: a folder brings its own; leave it out")
        return self


class FolderBackbone(FolderPart):
    """Images to a map of patch features.

    Attributes:
        out_channels: channels C of the features.
        stride: pixels per patch side.
        native_px: side of the images that the encoder was made for.

    Raises:
        CheckpointError: see ``FolderPart.open_base``; or ``preprocessor_config.json`` is damaged.
        ConfigError: the folder's model gives no square grid of patches, or another one every time.
        MissingExtraError: transformers is not installed.
    """

    Config = FolderBackboneConfig

    def __init__(self, config: FolderBackboneConfig) -> None:
        super().__init__(config)
        assert config.directory is not None
        self.config = config
        base = self.open_base(_load_patches_only)
        known = inspect.signature(type(base).forward).parameters
        if "pixel_values" not in known or "input_ids" in known:
            raise ConfigError(f"{config.directory}: holds a {type(base).__name__}, which is no image encoder")
        self._interpolates = "interpolate_pos_encoding" in known
        theirs: Any = base.config
        registers = int(getattr(theirs, "num_register_tokens", 0) or 0)
        # Tokens before the patches: none, a class token, DeiT's two. No two of these make squares of one N.
        self._num_prefix = (1 + registers,) if registers else (0, 1, 2)
        self._num_channels = int(getattr(theirs, "num_channels", 3))
        self._mean, self._std = _normalisation(config.directory, self._num_channels)
        self.native_px = _side(getattr(theirs, "image_size", None)) or USUAL_PX
        self._sides: dict[int, int] = {}
        self.out_channels, self.stride = self._find_patches(_side(getattr(theirs, "patch_size", None)) or 1)
        for name, parameter in base.named_parameters():
            if name.endswith("mask_token"):
                parameter.requires_grad_(False)  # of a pre-training task, here it is never read
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """An encoder that is not trained stays in evaluation mode."""
        return super().train(mode and self.config.tuning != "frozen")

    def grid_side(self, size_px: int) -> int:
        """Patches per side G of an image of side ``size_px``; a size that is new is tried once.

        Raises:
            ConfigError: patches do not divide it, or the encoder cannot read images of this size.
        """
        if size_px % self.stride or size_px <= 0:
            fitting = max(1, round(self.native_px / self.stride)) * self.stride
            raise ConfigError(
                f"image.size_px = {size_px}: the encoder of {self.config.directory} reads patches of {self.stride} px, "
                f"which do not divide it; take a multiple, e.g. {fitting}"
            )
        if size_px not in self._sides:
            self._sides[size_px] = self._try(size_px)[1]
        side = self._sides[size_px]
        if side * self.stride != size_px:
            raise ConfigError(
                f"image.size_px = {size_px}: the encoder of {self.config.directory}, made for {self.native_px} px, "
                f"gives {side} patches per side and not {size_px // self.stride}; take another size"
            )
        return side

    def forward(self, images_I1SS: Tensor) -> Tensor:
        """Gray images in [0, 1], (I, 1, S, S), to features (I, C, G, G).

        Raises:
            ConfigError: the size is refused (``grid_side``).
        """
        assert self.base is not None
        self.grid_side(images_I1SS.shape[-1])
        if self.training:
            enough = images_I1SS.shape[0] >= self.config.min_images_for_batch_statistics
            set_batch_statistics(self, training=enough)
        return self._grid(self._states(self.base, images_I1SS), images_I1SS.shape[-1])

    def load_weights(self) -> list[str]:
        """Nothing: a folder's weights are there from the beginning."""
        return []

    def deployed_config(self) -> dict[str, Any]:
        """Plain config for a checkpoint: with the encoder inside, or where it lies and its fingerprint."""
        return self.deployed_part("backbone")

    def save_folder(self, path: Path) -> None:
        """Write architecture and normalisation, without weights, into folder ``path`` of a checkpoint."""
        assert self.base is not None
        save_architecture(self.base, path, tokenizer_of=None)
        values = {"do_normalize": True, "image_mean": self._mean, "image_std": self._std}
        (path / PREPROCESSING).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    def _states(self, base: nn.Module, images_I1SS: Tensor) -> Any:
        """The last states of ``base``, with its positions interpolated for a size that is not its own."""
        moved = self._interpolates and images_I1SS.shape[-1] != self.native_px
        keywords = {"interpolate_pos_encoding": True} if moved else {}
        return getattr(base(pixel_values=self._normalised(images_I1SS), **keywords), "last_hidden_state", None)

    def _normalised(self, images_I1SS: Tensor) -> Tensor:
        """The network's input (I, channels, S, S)."""
        mean, std = (images_I1SS.new_tensor(values).view(1, -1, 1, 1) for values in (self._mean, self._std))
        return (images_I1SS - mean) / std

    def _grid(self, states: Any, size_px: int) -> Tensor:
        """States (I, N, C), row-major behind a prefix, or (I, C, G, G), to (I, C, G, G)."""
        shape: tuple[int, ...] = tuple(states.shape) if isinstance(states, Tensor) else ()
        if len(shape) == 4 and shape[2] == shape[3]:
            grid: Tensor = states
            return grid
        for num_prefix in self._num_prefix if len(shape) == 3 else ():
            side = math.isqrt(max(0, shape[1] - num_prefix))
            if side and side * side == shape[1] - num_prefix:
                patches_INC: Tensor = states[:, num_prefix:]
                return patches_INC.transpose(1, 2).reshape(shape[0], shape[2], side, side)
        raise ConfigError(
            f"{self.config.directory}: {type(self.base).__name__} gives "
            f"{f'states of shape {shape}' if shape else 'no last_hidden_state'} for images of {size_px} px, which is "
            "no square grid of patches; take an encoder like Swin, ViT, DINOv2 or ConvNeXt"
        )

    def _find_patches(self, step_px: int) -> tuple[int, int]:
        """Channels C and pixels per patch side; ``step_px`` divides the sizes that are tried."""
        small_px = USUAL_PX // step_px * step_px
        try_px = small_px if 0 < small_px < self.native_px else self.native_px
        try:
            channels, side = self._try(try_px)  # at DINOv2's own 518 px it would take ten times as long
        except ConfigError:
            if try_px == self.native_px:
                raise
            try_px = self.native_px
            channels, side = self._try(try_px)
        self._sides[try_px] = side
        return channels, round(try_px / side)

    def _try(self, size_px: int) -> tuple[int, int]:
        """Channels C and patches per side G for images of side ``size_px``."""
        assert self.base is not None
        weights = (*self.base.parameters(), *self.base.buffers())
        ramp = torch.linspace(0, 1, size_px, device=weights[0].device, dtype=weights[0].dtype)
        twice = (ramp[:, None] * ramp).expand(2, 1, size_px, size_px)
        try:
            # A copy that shares the weights: some encoders (Swin's windows) keep what an image's size did to them.
            base = copy.deepcopy(self.base, {id(weight): weight for weight in weights}).eval()
            with torch.no_grad():
                states = self._states(base, twice)
        except Exception as error:  # the library's own errors are of every kind
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            encoder = f"the encoder of {self.config.directory} ({type(self.base).__name__})"
            if size_px == self.native_px:
                raise ConfigError(
                    f"{encoder} cannot read square images of {size_px} px: {reason}; take an encoder like Swin, ViT, "
                    "DINOv2 or ConvNeXt"
                ) from error
            raise ConfigError(
                f"image.size_px = {size_px}: {encoder} is made for images of {self.native_px} px and cannot read "
                f"these: {reason}; take image.size_px = {self.native_px}"
            ) from error
        features_2CGG = self._grid(states, size_px)
        first, second = features_2CGG.float()
        if (first - second).abs().max() > 1e-2 * first.abs().max():
            # Masked auto-encoders drop and shuffle patches at random.
            raise ConfigError(
                f"{self.config.directory}: {type(self.base).__name__} gives other features each time it sees an image, "
                "so it hides or shuffles patches; load its weights into a plain encoder (a ViT) first"
            )
        return features_2CGG.shape[1], features_2CGG.shape[2]


def _load_patches_only(directory: Path, *, weights: bool) -> nn.Module:
    """An encoder without the weights of a pooled output: no patch would train them, and not every folder has them."""
    base = load_encoder(directory, weights=weights)
    pooler = getattr(base, "pooler", None)
    if isinstance(pooler, nn.Module) and list(pooler.parameters()):  # others (an average) cannot be done without
        base.pooler = None  # type: ignore[assignment]
    if str(getattr(base.config, "model_type", "")).startswith("convnext"):
        base.layernorm = nn.Identity()  # follows the mean over the patches
    return base


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
    mean: Any = IMAGENET_MEAN if num_channels == 3 else GRAY_MEAN
    std: Any = IMAGENET_STD if num_channels == 3 else GRAY_STD
    values: Any = {}
    if path.is_file():
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: cannot be read: {error}") from error
        if not isinstance(values, dict):
            raise CheckpointError(f"{path}: is no mapping of names to values")
    if values.get("do_normalize") is False:
        mean, std = 0.0, 1.0
    elif values.get("image_mean") is not None and values.get("image_std") is not None:
        mean, std = values["image_mean"], values["image_std"]
    return _per_channel(mean, num_channels, f"{path}: image_mean"), _per_channel(
        std, num_channels, f"{path}: image_std", positive=True
    )


def _per_channel(value: Any, num_channels: int, where: str, *, positive: bool = False) -> list[float]:
    listed = list(value) if isinstance(value, list | tuple) else [value]
    listed = listed * num_channels if len(listed) == 1 else listed
    real = all(isinstance(number, int | float) and math.isfinite(number) for number in listed)
    if not real or len(listed) != num_channels or (positive and min(listed) <= 0):
        kind = "positive numbers" if positive else "numbers"
        raise CheckpointError(f"{where} = {value!r}: {num_channels} {kind} are expected, one per channel")
    return [float(number) for number in listed]
