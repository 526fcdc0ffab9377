"""Dropout: share, expectation, independence of neighbours, seeds, and a gradient that goes where x goes."""

from __future__ import annotations

import math

import pytest
import torch

from radwright.nn.attention import MultiHeadAttention
from radwright.nn.dropout import Dropout, dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.85])
@pytest.mark.parametrize("shape", [(400_000,), (333, 7, 171)])
def test_share_and_expectation(rate: float, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    out = dropout(torch.ones(shape, dtype=torch.float64), rate, training=True)
    assert out.shape == shape
    five_deviations = 5 * math.sqrt(rate * (1 - rate) / out.numel())
    assert abs((out == 0).double().mean().item() - rate) < five_deviations + 1 / 65536
    assert abs(out.mean().item() - 1) < five_deviations / (1 - rate)
    assert out.unique().numel() == 2


def test_the_four_elements_of_one_draw_are_independent() -> None:
    torch.manual_seed(1)
    dropped = dropout(torch.ones(800_000), 0.3, training=True).view(-1, 4).eq(0).double()
    shares = dropped.mean(0)
    assert (shares - 0.3).abs().max() < 0.006
    together = dropped.T @ dropped / len(dropped) - shares[:, None] * shares[None, :]
    together.fill_diagonal_(0)
    assert together.abs().max() < 0.003


def test_same_seed_same_draw() -> None:
    x, outs = torch.randn(1001), []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        outs.append(dropout(x, 0.2, training=True))
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])


def test_gradient_is_the_noise() -> None:
    x = torch.randn(57, 5, requires_grad=True)
    out = dropout(x, 0.4, training=True)
    out.sum().backward()
    assert x.grad is not None
    assert torch.allclose(x.grad * x.detach(), out.detach())
    assert 0 < (x.grad == 0).float().mean() < 1


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_evaluation_changes_nothing_and_the_ends_of_the_range_hold(rate: float) -> None:
    layer, x = Dropout(rate), torch.randn(9)
    assert layer.eval()(x) is x
    if rate in {0.0, 1.0}:
        assert torch.equal(layer.train()(x), x * (1 - rate))
    with pytest.raises(ValueError, match=r"between 0 and 1, not 1\.5"):
        Dropout(1.5)


def test_attention_in_training_is_the_maps_times_the_values() -> None:
    """One form with dropout: ``forward`` and ``with_maps`` give the same for the same seed."""
    attention, x = MultiHeadAttention(16, 4, dropout=0.5).train(), torch.randn(2, 5, 16)
    outs = []
    for call in (attention, lambda *given: attention.with_maps(*given)[0]):
        torch.manual_seed(0)
        outs.append(call(x, x))
    assert torch.equal(*outs)
    assert not torch.allclose(outs[0], attention.eval()(x, x))
