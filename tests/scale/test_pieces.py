"""Pieces are all studies, each once, and end where parting is cheap."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.scale.pieces import LARGEST, SMALLEST, cut, piece_size


@given(st.integers(0, 500), st.integers(1, 60), st.lists(st.integers(1, 40)))
def test_every_study_is_in_one_piece(total: int, size: int, groups: list[int]) -> None:
    pieces = cut(total, size, [end for end in itertools.accumulate(groups) if end < total])
    assert [number for piece in pieces for number in range(piece.first, piece.end)] == list(range(total))
    assert [piece.number for piece in pieces] == list(range(len(pieces)))
    assert all(len(piece) < 2 * size for piece in pieces)


def test_row_groups_are_kept_whole_where_they_fit() -> None:
    assert [piece.end for piece in cut(100, 20, [15, 30, 45, 60, 75, 90])] == [30, 60, 90, 100]
    assert [piece.end for piece in cut(100, 20, [90])] == [20, 40, 60, 90, 100]


@pytest.mark.parametrize(("total", "size"), [(0, SMALLEST), (10_000, SMALLEST), (1_000_000, 256), (10**9, LARGEST)])
def test_sizes(total: int, size: int) -> None:
    assert piece_size(total) == size
