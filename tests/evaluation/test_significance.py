"""Approximate randomisation against its definition, and Holm's correction against worked values."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.evaluation import significance
from radwright.evaluation.significance import holm, randomisation_p_values


class Mean:
    """The mean of a number per study, times ``scale``."""

    reads_as_written = False
    variant = "test"

    def __init__(self, name: str = "mean", *, scale: float = 1.0) -> None:
        self.names = (name,)
        self.higher_is_better = (True,)
        self._scale = scale

    def rows(self, hypotheses: Any, references: Any) -> Any:
        raise NotImplementedError

    def scores(self, sums: Any) -> Any:
        with np.errstate(invalid="ignore"):
            return self._scale * sums[..., :1] / sums[..., 1:]


def rows_of(values: Any) -> Any:
    return np.stack([np.asarray(values, dtype=float), np.ones(len(values))], axis=1)


def p_of(first: Any, second: Any, **options: Any) -> float:
    return randomisation_p_values([Mean()], [rows_of(first)], [rows_of(second)], **{"seed": 0} | options)["mean"]


def test_p_is_the_share_of_all_swaps_that_reach_the_difference() -> None:
    first, second = np.array([3.0, 1.0, 4.0, 1.5, 9.0]), np.array([2.0, 1.0, 6.0, 0.5, 3.0])
    signs = np.array(list(itertools.product((1, -1), repeat=5)))
    exact = np.mean(np.abs(signs @ (first - second)) >= abs((first - second).sum()) - 1e-9)
    assert p_of(first, second, num_permutations=40_000) == pytest.approx(exact, abs=0.01)


def test_equal_systems_have_p_1_whatever_the_rounding() -> None:
    values = np.random.default_rng(0).normal(size=50) / 3
    assert p_of(values, values) == 1
    assert p_of(values, values[::-1]) == 1  # of equal sums, up to rounding
    assert p_of([0.1], [0.7]) == 1  # one study: both ways of swapping give the difference


def test_swaps_that_equal_the_observed_difference_up_to_rounding_reach_it() -> None:
    """0.1 + 0.2 is not 0.3: two of eight swaps reach the first difference, and the second is 0 but for rounding."""
    assert p_of([0.1, 0.2, 0.3], [0.0, 0.0, 0.0], num_permutations=4000) == pytest.approx(2 / 8, abs=0.03)
    assert p_of([0.1, 0.2, 0.3], [0.3, 0.1, 0.2], num_permutations=100) == 1


def test_a_clear_difference_has_the_least_p_and_the_order_of_systems_none() -> None:
    random = np.random.default_rng(1)
    first, second = random.normal(1, 1, size=200), random.normal(0, 1, size=200)
    assert p_of(first, second, num_permutations=999) == pytest.approx(1 / 1000)
    other = second + random.normal(0.05, 1, size=200)
    assert p_of(other, second) == p_of(second, other)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    first, second = random.normal(0.1, 1, size=40), random.normal(size=40)
    whole = p_of(first, second, num_permutations=500)
    monkeypatch.setattr(significance, "_SWAPS_AT_ONCE", 7 * 40)
    assert p_of(first, second, num_permutations=500) == whole
    monkeypatch.setattr(significance, "_SWAPS_AT_ONCE", 1)
    assert p_of(first, second, num_permutations=500) == whole


def test_all_metrics_see_the_same_swaps_and_a_score_that_is_no_number_tells_nothing() -> None:
    random = np.random.default_rng(3)
    first, second = rows_of(random.normal(0.2, 1, size=60)), rows_of(random.normal(size=60))
    nothing = np.zeros_like(first)
    metrics = [Mean("once"), Mean("turned", scale=-1), Mean("nothing")]
    found = randomisation_p_values(metrics, [first, first, nothing], [second, second, nothing], seed=5)
    assert found["once"] == found["turned"] < 1
    assert found["nothing"] == 1


def test_p_is_uniform_where_systems_do_not_differ() -> None:
    random = np.random.default_rng(4)
    values = [p_of(*random.normal(size=(2, 30)), num_permutations=199, seed=trial) for trial in range(400)]
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(values) <= level) == pytest.approx(level, abs=3.5 * (level * (1 - level) / 400) ** 0.5)


def test_holm_on_worked_values() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1, "b": 1}
    assert holm({}) == {}


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni(p_values: dict[str, float]) -> None:
    adjusted = holm(p_values)
    assert list(adjusted) == list(p_values)
    for name, p in p_values.items():
        assert p <= adjusted[name] <= min(1, p * len(p_values))
        assert all(adjusted[other] <= adjusted[name] for other in p_values if p_values[other] <= p)
