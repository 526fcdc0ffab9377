"""AUC, thresholds and calibration against what their definitions say, computed slowly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.metrics.detection import auc, best_threshold, calibration, calibration_error, f1, matched_threshold

STUDIES = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=30)


def arrays(studies: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score / 7 for score, _ in studies]), np.array([present for _, present in studies])


def plain_auc(scores: np.ndarray, present: np.ndarray) -> float:
    pairs = [1.0 if high > low else 0.5 if high == low else 0.0 for high in scores[present] for low in scores[~present]]
    return float(np.mean(pairs)) if pairs else float("nan")


@given(STUDIES, st.integers(0, 10))
def test_auc_is_the_share_of_pairs_in_order(studies: list[tuple[int, bool]], seed: int) -> None:
    scores, present = arrays(studies)
    assert auc(scores, present)[0] == pytest.approx(plain_auc(scores, present), nan_ok=True)
    counts = np.random.default_rng(seed).multinomial(len(scores), np.full(len(scores), 1 / len(scores)), size=4)
    drawn = [np.repeat(np.arange(len(scores)), row) for row in counts]
    expected = [plain_auc(scores[places], present[places]) for places in drawn]
    assert auc(scores, present, counts.astype(np.float64)) == pytest.approx(expected, nan_ok=True)


@given(STUDIES)
def test_no_threshold_has_a_better_f1(studies: list[tuple[int, bool]]) -> None:
    scores, present = arrays(studies)
    threshold = best_threshold(scores, present)
    if not present.any() or present.all():
        assert threshold is None
        return
    assert threshold is not None
    found = f1(scores > threshold, present)
    for other in [-1.0, *((np.arange(8) - 0.5) / 7)]:
        assert found >= f1(scores > other, present) - 1e-12


@given(STUDIES, st.sampled_from([0.25, 0.5, 2.0]))
def test_a_smaller_beta_chooses_no_more_and_the_best_f_beta(studies: list[tuple[int, bool]], beta: float) -> None:
    scores, present = arrays(studies)
    threshold = best_threshold(scores, present, beta=beta)
    if threshold is None:
        return

    def f_beta(theta: float) -> float:
        chosen = scores > theta
        return float((1 + beta**2) * (chosen & present).sum() / (chosen.sum() + beta**2 * present.sum()))

    assert all(f_beta(threshold) >= f_beta(other) - 1e-12 for other in [-1.0, *((np.arange(8) - 0.5) / 7)])


@given(STUDIES, st.integers(0, 12))
def test_no_more_are_chosen_than_asked_for(studies: list[tuple[int, bool]], most: int) -> None:
    scores, present = arrays(studies)
    threshold = best_threshold(scores, present, most=most)
    if threshold is None:
        return
    assert (scores > threshold).sum() <= most
    others = [other for other in [-1.0, *((np.arange(9) - 0.5) / 7)] if (scores > other).sum() <= most]
    assert all(f1(scores > threshold, present) >= f1(scores > other, present) - 1e-12 for other in others)


def test_of_equal_thresholds_the_one_that_chooses_fewest_is_taken() -> None:
    scores, present = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False])
    # choosing 1 or 3 gives 2/3 and 4/5; choosing 0.9 alone of two equals:
    assert best_threshold(scores, present) == pytest.approx(0.4)
    assert best_threshold(np.array([0.9, 0.5, 0.4]), np.array([True, False, False])) == pytest.approx(0.7)


@given(STUDIES, st.integers(0, 40))
def test_a_matched_threshold_lets_through_no_more_than_asked_for(studies: list[tuple[int, bool]], number: int) -> None:
    scores, _ = arrays(studies)
    let_through = int((scores > matched_threshold(scores, number)).sum())
    assert let_through <= number
    ranked = sorted(scores, reverse=True)
    if number < len(ranked) and (number == 0 or ranked[number - 1] > ranked[number]):
        assert let_through == number
    elif number >= len(ranked):
        assert let_through == len(ranked)


def test_calibration_bins_hold_equal_numbers_of_studies() -> None:
    random = np.random.default_rng(0)
    probabilities = random.random(5000)
    present = random.random(5000) < probabilities
    table = calibration(probabilities, present)
    assert table.shape == (10, 3)
    assert table[:, 2].tolist() == [500] * 10
    assert np.abs(table[:, 0] - table[:, 1]).max() < 0.07
    assert calibration_error(probabilities, present) < 0.03
    assert calibration_error(np.full(5000, 0.9), present) == pytest.approx(0.9 - present.mean())
    assert calibration(np.array([0.3]), np.array([True])).tolist() == [[0.3, 1.0, 1.0]]
