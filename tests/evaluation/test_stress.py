"""What a planted confounder does, measured on made-up drafts: a system that copies it, one that sees the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from radwright.errors import ScoringError
from radwright.evaluation.stress import BoolArray, Pairs, has_learnt, measure_stress, over_seeds, stress_scores

PRESENT = np.array([True] * 10 + [False] * 10)
GOES_ALONG, GOES_AGAINST = PRESENT, ~PRESENT
SETS = {"equal": GOES_ALONG, "zero": np.arange(20) % 2 == 0, "reversed": GOES_AGAINST}
ONES = np.ones((1, 20))


def scores(with_N: BoolArray, without_N: BoolArray) -> dict[str, float]:
    found = stress_scores(Pairs(PRESENT, with_N, without_N, SETS), ONES)
    return {name: float(value[0]) for name, value in found.items()}


def test_a_system_that_copies_the_confounder_falls_from_one_to_nothing() -> None:
    copied = scores(np.ones(20, dtype=bool), np.zeros(20, dtype=bool))
    assert copied["accuracy.equal"] == 1
    assert copied["accuracy.reversed"] == 0
    assert copied["drop"] == 1
    assert copied["accuracy.zero"] == 0.5
    assert copied["flips"] == copied["towards"] == copied["effect"] == copied["towards_absent"] == 1
    assert copied["against"] == 0
    assert copied["fabricated.reversed"] == copied["missed.reversed"] == 1


def test_a_system_that_sees_the_truth_does_not_move() -> None:
    true = scores(PRESENT, PRESENT)
    assert all(true[f"accuracy.{name}"] == true[f"f1.{name}"] == 1 for name in SETS)
    assert true["drop"] == true["flips"] == true["effect"] == true["towards_absent"] == 0


def test_silence_has_no_drop_and_misses_all() -> None:
    nothing = np.zeros(20, dtype=bool)
    silent = scores(nothing, nothing)
    assert silent["drop"] == 0
    assert silent["missed.equal"] == 1
    assert silent["fabricated.equal"] == 0


@pytest.mark.parametrize(
    ("with_N", "without_N", "learnt"),
    [
        (np.zeros(20, dtype=bool), np.zeros(20, dtype=bool), False),
        (np.ones(20, dtype=bool), np.ones(20, dtype=bool), False),
        (np.arange(20) % 2 == 0, np.arange(20) % 2 == 0, False),
        (PRESENT, PRESENT, True),
        (np.ones(20, dtype=bool), np.zeros(20, dtype=bool), True),
        (np.zeros(20, dtype=bool), np.ones(20, dtype=bool), False),
    ],
    ids=["silent", "always", "chance", "sees", "copies", "copies backwards"],
)
def test_who_follows_neither_finding_nor_confounder_has_not_learnt(
    with_N: BoolArray, without_N: BoolArray, learnt: bool
) -> None:
    for sets in (SETS, {**SETS, "equal": SETS["zero"]}):  # whatever the strength of the test sets
        measured, _ = measure_stress(Pairs(PRESENT, with_N, without_N, sets), num_resamples=20)
        assert has_learnt(measured) == learnt


def test_rates_by_hand() -> None:
    with_N, without_N = np.zeros(20, dtype=bool), np.zeros(20, dtype=bool)
    with_N[[0, 1, 10, 11, 12]] = True
    without_N[[1, 2, 12]] = True
    found = scores(with_N, without_N)
    assert found["towards"] == pytest.approx(3 / 20)  # studies 0, 10, 11
    assert found["against"] == pytest.approx(1 / 20)  # study 2
    assert found["effect"] == pytest.approx(2 / 20)
    assert found["towards_absent"] == pytest.approx(2 / 10)
    # Goes along: studies 0 to 9 have it, the others do not.
    assert found["missed.equal"] == pytest.approx(8 / 10)
    assert found["fabricated.equal"] == pytest.approx(1 / 10)
    assert found["accuracy.equal"] == pytest.approx(11 / 20)
    # Reversed: studies 10 to 19 have it.
    assert found["missed.reversed"] == pytest.approx(8 / 10)
    assert found["fabricated.reversed"] == pytest.approx(3 / 10)


def test_paired_differences_are_of_the_same_studies() -> None:
    copier = Pairs(PRESENT, np.ones(20, dtype=bool), np.zeros(20, dtype=bool), SETS)
    seer = Pairs(PRESENT, PRESENT, PRESENT, SETS)
    own, differences = measure_stress(copier, seer, num_resamples=200)
    assert differences["drop"].value == pytest.approx(1)
    assert (differences["drop"].low, differences["drop"].high) == pytest.approx((1, 1))
    assert own["accuracy.zero"].low < 0.5 < own["accuracy.zero"].high
    _, same = measure_stress(copier, copier, num_resamples=50)
    assert all(interval.value == interval.low == interval.high == 0 for interval in same.values())
    with pytest.raises(ScoringError, match="different studies"):
        measure_stress(copier, Pairs(~PRESENT, PRESENT, PRESENT, SETS))


def test_a_finding_that_nobody_has_gives_no_number_rather_than_a_wrong_one() -> None:
    nobody = np.zeros(20, dtype=bool)
    found, _ = measure_stress(Pairs(nobody, nobody, nobody, SETS), num_resamples=20)
    assert math.isnan(found["missed.equal"].value)
    assert not has_learnt(found)
    assert found["fabricated.equal"].value == 0


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ScoringError, match="one value per study"):
        Pairs(PRESENT, PRESENT[:5], PRESENT, SETS)


def test_seeds_give_students_interval_and_one_seed_none() -> None:
    found = over_seeds([0.1, 0.2, 0.3])
    assert found.value == pytest.approx(0.2)
    assert found.high - found.value == pytest.approx(4.303 * 0.1 / math.sqrt(3))
    assert math.isnan(over_seeds([0.4]).low)
