"""ResNet 18 to 152 (He et al. 2016, the v1.5 form of torchvision), cut after a chosen stage.

Shape legend: I images, S image side in pixels, G = ceil(S / stride) patches per side, C channels.
"""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from radwright.nn.backbone import BackboneConfig, load_renamed, normalise, set_batch_statistics

_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]

BLOCKS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


class ResNetConfig(BackboneConfig):
    """A ResNet stem. Published CMCRL: depth 101, cut after stage 3 (stride 16, 1024 channels)."""

    name: Literal["resnet"] = "resnet"
    """Table name of this backbone."""
    depth: Literal[18, 34, 50, 101, 152] = 101
    """Number of layers of the whole network; 50 and deeper use bottleneck blocks."""
    num_stages: Literal[1, 2, 3, 4] = 3
    """Residual stages kept; the spatial stride is 4, 8, 16, 32."""
    width: int = 64
    """Channels after the first convolution; published weights have 64."""


def convolve(
    x: Tensor, convolution: nn.Conv2d, norm: nn.BatchNorm2d, *, relu: bool = False, shortcut: Tensor | None = None
) -> Tensor:
    """Convolution without bias, batch norm, ``shortcut`` and ReLU where wanted, (I, C, ...) to (I, C', ...).

    While the norm keeps its running statistics it is a fixed scale and shift per channel and goes into the kernel:
    the feature map is written once instead of twice, and training keeps one map less for the backward pass. The
    products are made anew at every call, so they follow the weights and never enter a checkpoint.
    """
    # On one thread PyTorch keeps oneDNN, which is a quarter faster, from 1x1 kernels unless they are dilated. To a
    # single pixel dilation means nothing.
    pixel = _ONEDNN and convolution.kernel_size == (1, 1) and x.device.type == "cpu" and x.dtype == torch.float32
    stride, padding, dilation = convolution.stride, convolution.padding, 2 if pixel else 1
    if norm.training or norm.running_mean is None or norm.running_var is None:
        return _finished(norm(F.conv2d(x, convolution.weight, None, stride, padding, dilation)), relu, shortcut)
    scale_C = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift_C = norm.bias - norm.running_mean * scale_C
    kernel = convolution.weight * scale_C[:, None, None, None]
    if relu and (half := _half_on_gpu(x)) is not None and not torch.is_grad_enabled():
        # One kernel instead of four that each write the whole map: shift, shortcut and ReLU took two fifths of the
        # time in which an H200 encoded 64 studies.
        parts = x.to(half), kernel.to(half)
        form = shift_C.to(half), stride, padding, convolution.dilation, 1
        if shortcut is None:
            return torch.cudnn_convolution_relu(*parts, *form)  # type: ignore[arg-type]
        return torch.cudnn_convolution_add_relu(*parts, shortcut.to(half), 1.0, *form)  # type: ignore[arg-type]
    return _finished(F.conv2d(x, kernel, shift_C, stride, padding, dilation), relu, shortcut)


def _half_on_gpu(x: Tensor) -> torch.dtype | None:
    """The half precision that a GPU convolves ``x`` in, if it does."""
    if x.device.type != "cuda":
        return None
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x.dtype
    return dtype if dtype in {torch.bfloat16, torch.float16} else None


def _finished(out: Tensor, relu: bool, shortcut: Tensor | None) -> Tensor:
    # In place: a fresh feature map costs more (the system clears its pages) than the ReLU in it.
    out = out if shortcut is None else out.add_(shortcut)
    return F.relu_(out) if relu else out


class _Block(nn.Module):
    """Basic block (two 3x3) or bottleneck (1x1, 3x3 with the stride, 1x1)."""

    def __init__(self, in_channels: int, channels: int, stride: int, *, bottleneck: bool) -> None:
        super().__init__()
        self.bottleneck = bottleneck
        out_channels = channels * 4 if bottleneck else channels
        if bottleneck:
            self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
            self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
            self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(out_channels)
        else:
            self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = (
            nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))
            if stride != 1 or in_channels != out_channels
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else convolve(x, *self.downsample)
        out = convolve(x, self.conv1, self.bn1, relu=True)
        if not self.bottleneck:
            return convolve(out, self.conv2, self.bn2, relu=True, shortcut=shortcut)
        out = convolve(out, self.conv2, self.bn2, relu=True)
        return convolve(out, self.conv3, self.bn3, relu=True, shortcut=shortcut)


class ResNetStem(nn.Module):
    """Images to a map of patch features."""

    Config = ResNetConfig

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        bottleneck = config.depth >= 50
        self.conv1 = nn.Conv2d(config.in_channels, config.width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(config.width)
        in_channels = config.width
        for stage in range(config.num_stages):
            channels = config.width * 2**stage
            blocks = []
            for index in range(BLOCKS[config.depth][stage]):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(_Block(in_channels, channels, stride, bottleneck=bottleneck))
                in_channels = channels * 4 if bottleneck else channels
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.out_channels = in_channels
        self.stride: int = 4 * 2 ** (config.num_stages - 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def grid_side(self, size_px: int) -> int:
        """Patches per side G of an image of side ``size_px``: every stride-2 layer rounds up."""
        return math.ceil(size_px / self.stride)

    def forward(self, images_I1SS: Tensor) -> Tensor:
        """Gray images in [0, 1], (I, 1, S, S), to features (I, C, G, G)."""
        if self.training:
            enough = images_I1SS.shape[0] >= self.config.min_images_for_batch_statistics
            set_batch_statistics(self, training=enough)
        x = normalise(images_I1SS, self.config.in_channels).contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(convolve(x, self.conv1, self.bn1, relu=True), 3, 2, 1)
        for stage in range(self.config.num_stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return x

    def deployed_config(self) -> dict[str, Any]:
        """Plain config for a checkpoint, which needs no weights file any more."""
        return self.config.plain() | {"weights": None}

    def load_weights(self) -> list[str]:
        """Load ``config.weights``, torchvision or Hugging Face names; returns the file's names that were not used.

        Raises:
            CheckpointError: see ``load_renamed``.
        """
        return [] if self.config.weights is None else load_renamed(self, self.config.weights, resnet_name)


_HF_EMBEDDER = re.compile(r"^(?:resnet\.)?embedder\.embedder\.(convolution|normalization)\.(.+)$")
_HF_LAYER = re.compile(r"^(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.(.+)$")
_HF_PART = {"convolution": "conv", "normalization": "bn"}


def resnet_name(name: str) -> str | None:
    """A ResNet weight's name in torchvision's spelling, from torchvision's or Hugging Face's; None if it is neither."""
    if match := _HF_EMBEDDER.match(name):
        return f"{_HF_PART[match[1]]}1.{match[2]}"
    if match := _HF_LAYER.match(name):
        head = f"layer{int(match[1]) + 1}.{match[2]}"
        parts = match[3].split(".")
        if parts[0] == "shortcut":
            return f"{head}.downsample.{'0' if parts[1] == 'convolution' else '1'}.{parts[2]}"
        return f"{head}.{_HF_PART[parts[2]]}{int(parts[1]) + 1}.{parts[3]}" if parts[0] == "layer" else None
    return re.sub(r"^(module|backbone|encoder|model)\.", "", name)
