"""DenseNet 121 to 201 (Huang et al. 2017), cut after a chosen block (most chest X-ray classifiers are a 121).

Shape legend: I images, S image side in pixels, G patches per side, C channels.
"""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from radwright.nn.backbone import BackboneConfig, load_renamed, normalise, set_batch_statistics

BLOCKS: dict[int, tuple[int, int, int, int]] = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}


class DenseNetConfig(BackboneConfig):
    """A DenseNet stem."""

    name: Literal["densenet"] = "densenet"
    """Table name of this backbone."""
    depth: Literal[121, 169, 201] = 121
    """Number of layers of the whole network."""
    num_stages: Literal[1, 2, 3, 4] = 3
    """Dense blocks kept; the spatial stride is 4, 8, 16, 32."""
    growth: int = 32
    """Channels that every dense layer adds; published weights have 32."""


class _DenseLayer(nn.Module):
    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
        return torch.cat([x, new], dim=1)


class _Transition(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(F.relu(self.norm(x))), 2, 2)


class DenseNetStem(nn.Module):
    """Images to a map of patch features."""

    Config = DenseNetConfig

    def __init__(self, config: DenseNetConfig) -> None:
        super().__init__()
        self.config = config
        channels = 2 * config.growth
        features = nn.Sequential()
        features.add_module("conv0", nn.Conv2d(config.in_channels, channels, 7, 2, 3, bias=False))
        features.add_module("norm0", nn.BatchNorm2d(channels))
        features.add_module("relu0", nn.ReLU())
        features.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        for block in range(config.num_stages):
            layers = nn.Sequential()
            for index in range(BLOCKS[config.depth][block]):
                layers.add_module(f"denselayer{index + 1}", _DenseLayer(channels, config.growth))
                channels += config.growth
            features.add_module(f"denseblock{block + 1}", layers)
            if block + 1 < config.num_stages:
                features.add_module(f"transition{block + 1}", _Transition(channels, channels // 2))
                channels //= 2
        self.features = features
        self.norm = nn.BatchNorm2d(channels)  # of the cut network: the published transition or norm5 lies behind it
        self.out_channels = channels
        self.stride: int = 4 * 2 ** (config.num_stages - 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def grid_side(self, size_px: int) -> int:
        """Patches per side G of an image of side ``size_px``: the stem rounds up, transitions round down."""
        side = math.ceil(size_px / 4)
        for _ in range(self.config.num_stages - 1):
            side //= 2
        return side

    def forward(self, images_I1SS: Tensor) -> Tensor:
        """Gray images in [0, 1], (I, 1, S, S), to features (I, C, G, G)."""
        if self.training:
            enough = images_I1SS.shape[0] >= self.config.min_images_for_batch_statistics
            set_batch_statistics(self, training=enough)
        x = normalise(images_I1SS, self.config.in_channels).contiguous(memory_format=torch.channels_last)
        return F.relu(self.norm(self.features(x)))

    def deployed_config(self) -> dict[str, Any]:
        """Plain config for a checkpoint, which needs no weights file any more."""
        return self.config.plain() | {"weights": None}

    def load_weights(self) -> list[str]:
        """Load ``config.weights``, torchvision names; returns the file's names that were not used.

        Raises:
            CheckpointError: see ``load_renamed``.
        """
        if self.config.weights is None:
            return []
        last = self.config.num_stages
        # The norm that follows the last kept block: norm5 after block 4, the transition's norm before that.
        tail = "norm5" if last == 4 else f"transition{last}.norm"
        return load_renamed(self, self.config.weights, lambda name: densenet_name(name, tail))


def densenet_name(name: str, tail: str) -> str | None:
    """A DenseNet weight's name in this module's spelling; ``tail`` is the published name of its last norm.

    Old torchvision files spell ``norm.1``; chest X-ray checkpoints put a prefix in front of ``features``.
    """
    start = name.find("features.")
    if start < 0:
        return None
    inner = re.sub(r"\b(norm|conv)\.([12])\b", r"\1\2", name[start + len("features.") :])
    if inner.startswith(f"{tail}."):
        return f"norm.{inner[len(tail) + 1 :]}"
    return f"features.{inner}"
