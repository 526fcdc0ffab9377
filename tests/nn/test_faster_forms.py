"""Faster forms equal the plain ones: products of few rows, frozen batch norm in the kernel."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from radwright.nn.attention import Linear, MultiHeadAttention, additive
from radwright.nn.decoder import beam_picker
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


def sample_layers(in_channels: int = 8, stride: int = 1) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    torch.manual_seed(1)
    convolution, norm = nn.Conv2d(in_channels, 8, 3, stride, 1, bias=False), nn.BatchNorm2d(8).eval()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    norm.running_mean, norm.running_var = torch.randn(8), torch.rand(8) + 0.1
    return convolution, norm


@pytest.mark.parametrize("training", [False, True])
def test_shortcut_and_relu_come_after_the_norm(training: bool) -> None:
    convolution, norm = (each.double() for each in sample_layers())
    norm.train(training)
    x, shortcut = torch.randn(2, 2, 8, 6, 6, dtype=torch.float64)
    expected = norm(convolution(x))
    assert torch.allclose(convolve(x, convolution, norm, relu=True), expected.relu(), atol=1e-12)
    found = convolve(x, convolution, norm, relu=True, shortcut=shortcut)
    assert torch.allclose(found, (expected + shortcut).relu(), atol=1e-12)


@pytest.mark.parametrize("in_channels", [8, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_one_kernel_of_a_gpu_equals_its_parts(gpu: torch.device, in_channels: int, stride: int) -> None:
    convolution, norm = sample_layers(in_channels, stride)
    form = torch.channels_last
    x = torch.randn(3, in_channels, 12, 12).contiguous(memory_format=form)
    shortcut = torch.randn(3, 8, 12 // stride, 12 // stride).contiguous(memory_format=form)
    expected = norm(convolution(x))
    convolution.to(gpu, memory_format=form)  # type: ignore[call-overload]
    norm.to(gpu)
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        plain = convolve(x.to(gpu), convolution, norm, relu=True)
        added = convolve(x.to(gpu), convolution, norm, relu=True, shortcut=shortcut.to(gpu))
    assert plain.dtype == added.dtype == torch.bfloat16
    assert plain.is_contiguous(memory_format=form)
    torch.testing.assert_close(plain.float().cpu(), expected.relu(), rtol=0.02, atol=0.05)
    torch.testing.assert_close(added.float().cpu(), (expected + shortcut).relu(), rtol=0.02, atol=0.05)


@pytest.mark.parametrize("num_queries", [1, 3, 8, 9])
def test_few_queries_attend_on_a_gpu_as_on_a_cpu(gpu: torch.device, num_queries: int) -> None:
    torch.manual_seed(2)
    attention = MultiHeadAttention(32, 4).eval()
    x, memory = torch.randn(2, num_queries, 32), torch.randn(2, 11, 32)
    mask = additive(torch.rand(2, 1, 1, 11) > 0.3, torch.float32)
    expected = attention(x, memory, mask)
    found = attention.to(gpu)(x.to(gpu), memory.to(gpu), mask.to(gpu))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("studies", [None, [2, 0]])
def test_beams_are_picked_row_by_row(studies: list[int] | None) -> None:
    x = torch.arange(3 * 4 * 5 * 2).view(3, 4, 5, 2)
    parents = torch.tensor([[0, 3], [1, 1], [2, 0]])[: 3 if studies is None else 2]
    found = beam_picker(None if studies is None else torch.tensor(studies), parents, 4)(x)
    for row, study in enumerate(studies or range(3)):
        assert torch.equal(found[row], x[study, parents[row]])
    empty = x[: len(parents), :, :0]
    assert beam_picker(None, parents, 4)(empty).shape == (*parents.shape, 0, 2)
