"""The k largest values: the same as a full stable sort, whatever the ties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radwright.decoding.ordering import first_largest


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 4),
    length=st.integers(1, 300),
    levels=st.sampled_from([1, 2, 5, 1000]),
    portion=st.floats(0, 1),
    num_blocked=st.integers(0, 300),
)
def test_equals_a_stable_sort(seed: int, rows: int, length: int, levels: int, portion: float, num_blocked: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    values = torch.randint(levels, (rows, 2, length), generator=draw).float()
    values[..., torch.randperm(length, generator=draw)[:num_blocked]] = -torch.inf
    k = 1 + round(portion * (length - 1))
    best, index = first_largest(values, k)
    expected, order = torch.sort(values, dim=-1, descending=True, stable=True)
    assert torch.equal(best, expected[..., :k])
    assert torch.equal(torch.where(best > -torch.inf, index, -1), torch.where(best > -torch.inf, order[..., :k], -1))
    assert int(index.min()) >= 0
    assert int(index.max()) < length


@pytest.mark.parametrize("at", [0, 31, 32, 99])
def test_nan_comes_first(at: int) -> None:
    values = torch.arange(100.0)
    values[at] = torch.nan
    best, index = first_largest(values[None], 3)
    assert torch.isnan(best[0]).tolist() == [True, False, False]
    assert index[0, 0] == at
