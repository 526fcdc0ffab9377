"""Faster forms equal the plain ones: products of few rows, frozen batch norm in the kernel."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from radwright.nn.attention import Linear
from radwright.nn.resnet import ResNetConfig, ResNetStem, convolve


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 8), (3, 8), (1, 3, 8), (2, 2, 8), (7, 8), (0, 8)])
def test_few_rows_equal_the_plain_product(shape: tuple[int, ...], bias: bool) -> None:
    layer = Linear(8, 20, bias=bias).double()
    x = torch.randn(shape, dtype=torch.float64)
    with torch.no_grad():
        fast = layer(x)
        assert fast.is_contiguous()
        assert torch.allclose(fast, nn.Linear.forward(layer, x), atol=1e-14)
    assert torch.allclose(layer(x.requires_grad_()), fast, atol=1e-14)


@pytest.mark.parametrize("stride", [1, 2])
def test_frozen_norm_in_the_kernel_equals_norm_after_it_with_all_gradients(stride: int) -> None:
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(3, 5, 3, stride, 1, bias=False).double(), nn.BatchNorm2d(5).double().eval()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    norm.running_mean, norm.running_var = torch.randn(5).double(), torch.rand(5).double() + 0.1
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    inputs = [x, convolution.weight, norm.weight, norm.bias]
    found, expected = convolve(x, convolution, norm), norm(convolution(x))
    assert torch.allclose(found, expected, atol=1e-12)
    weights = torch.randn_like(found)
    pairs = (torch.autograd.grad((out * weights).sum(), inputs) for out in (found, expected))
    for ours, plain in zip(*pairs, strict=True):
        assert torch.allclose(ours, plain, atol=1e-10)


def test_frozen_norm_follows_the_weights_and_stays_out_of_the_checkpoint() -> None:
    torch.manual_seed(0)
    stem = ResNetStem(ResNetConfig(depth=18, width=4, num_stages=1)).eval()
    names, images = list(stem.state_dict()), torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        before = stem(images)
        stem.bn1.weight.data.mul_(3)
        assert not torch.allclose(before, stem(images))
        stem.bn1.weight.data.div_(3)
        assert torch.allclose(before, stem(images), atol=1e-6)
    assert list(stem.state_dict()) == names


def test_training_norm_uses_and_updates_the_batch() -> None:
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2).train()
    out = convolve(torch.randn(4, 1, 6, 6), convolution, norm)
    assert out.mean((0, 2, 3)).abs().max() < 1e-5
    assert norm.running_mean is not None
    assert norm.running_mean.abs().max() > 0
