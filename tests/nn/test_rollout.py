"""Roll-out: the product of layers, shares that stay shares, and attention that goes where it was sent."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from radwright.nn.rollout import roll_back, roll_decoder, with_residual


def maps(*shape: int, seed: int, causal: bool = False) -> Tensor:
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    drawn = drawn.tril() if causal else drawn
    return drawn / drawn.sum(-1, keepdim=True)


def test_rows_carried_down_equal_the_product_of_all_layers() -> None:
    layers = [maps(2, 3, 5, 5, seed=seed) for seed in range(4)]
    product = torch.eye(5, dtype=torch.float64).expand(2, -1, -1)
    for layer in layers:
        product = with_residual(layer) @ product
    rows = maps(2, 3, 5, seed=9)
    assert torch.allclose(roll_back(rows, layers), rows @ product, atol=1e-14)
    assert torch.equal(roll_back(rows, []), rows)


@pytest.mark.parametrize("num_layers", [1, 3])
def test_a_decoder_shares_out_everything_between_memory_and_words(num_layers: int) -> None:
    layers = [(maps(2, 3, 4, 4, seed=n, causal=True), maps(2, 3, 4, 6, seed=10 + n)) for n in range(num_layers)]
    memory, words = roll_decoder(layers)
    assert torch.allclose(memory.sum(-1) + words.sum(-1), torch.ones(2, 4, dtype=torch.float64))
    assert torch.allclose(memory.sum(-1), torch.full((2, 4), 1 - 0.5**num_layers, dtype=torch.float64))
    assert (words.triu(1) == 0).all()


def test_what_earlier_words_looked_at_comes_through_them() -> None:
    """Two layers by hand: the second word looks at the first, which has looked at memory place 2."""
    look_back = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    stay = torch.eye(2).reshape(1, 1, 2, 2)
    first = torch.tensor([[[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]])
    second = torch.tensor([[[[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]]])
    memory, words = roll_decoder([(stay, first), (look_back, second)])
    assert memory[0, 1].tolist() == [0.125, 0.5, 0.125]
    assert words[0, 1].tolist() == [0.125, 0.125]
