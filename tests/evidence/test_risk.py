"""Conformal risk control: the bound on exchangeable studies, its failing under shift."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.errors import ConfigError
from radwright.evidence.risk import (
    EVERYTHING,
    SILENCE,
    JudgedDrafts,
    Scored,
    chance_of_as_many,
    fewest_studies,
    find_bar,
    kept_at_random,
    losses,
    resample,
)

LEVELS = (0.02, 0.05, 0.1, 0.2)
PROBABILITIES = st.floats(0.001, 0.999)
DRAFTS = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.booleans(), PROBABILITIES), max_size=5),
    min_size=1,
    max_size=12,
)


def toy_population(num_studies: int, seed: int, *, harder: float = 0.0) -> tuple[JudgedDrafts, np.ndarray]:
    """Drafts that assert 0 to 4 findings; a finding is right as often as its probability says, less ``harder``."""
    random = np.random.default_rng(seed)
    drafts, probabilities = [], []
    for _ in range(num_studies):
        own = random.beta(3, 1, size=random.integers(0, 5)).clip(0.01, 0.99)
        right = random.random(len(own)) < own * (1 - harder)
        drafts.append([(place, f"f{place}", bool(is_right)) for place, is_right in enumerate(right)])
        probabilities += own.tolist()
    return JudgedDrafts.of(drafts), np.array(probabilities)


def plain_losses(drafts: list[list[tuple[int, str, bool, float]]], bar: float) -> list[float]:
    """Sentence by sentence, as the docs say it."""
    result = []
    for draft in drafts:
        stands = {number for number, *_ in draft if all(p > bar for n, _, _, p in draft if n == number)}
        result.append(float(any(not right for number, _, right, _ in draft if number in stands)))
    return result


@pytest.mark.parametrize("seed", [0, 1])
def test_the_bound_holds_over_200_resampled_splits(seed: int) -> None:
    judged, probability_A = toy_population(600, seed)
    found = resample(judged, {"ours": probability_A, "random": None}, LEVELS, num_resamples=200, seed=seed)
    for name in ("ours", "random"):
        for row in found[name]:
            assert row.risk <= row.level + 3 * row.error, (name, row)
            assert row.risk >= row.level - 2 / 301 - 3 * row.error or row.kept > 0.999, (
                name,
                row,
            )  # and not for nothing
    for ours, drawn in zip(found["ours"], found["random"], strict=True):
        assert ours.kept > drawn.kept


def test_the_bound_holds_for_fresh_studies_of_the_same_population() -> None:
    risks = []
    for seed in range(200):
        calibration = Scored.of(*toy_population(99, seed))
        fresh = Scored.of(*toy_population(50, 1000 + seed))
        risks.append(losses(fresh.limits_N, find_bar(calibration.limits_N, 0.1).bar).mean())
    error = np.std(risks, ddof=1) / math.sqrt(len(risks))
    assert 0.1 - 2 / 100 - 3 * error <= np.mean(risks) <= 0.1 + 3 * error


def test_it_fails_under_shift_and_the_check_says_so() -> None:
    judged, probability_A = toy_population(1000, 3)
    bar = find_bar(Scored.of(judged, probability_A).limits_N, 0.1).bar
    same = losses(Scored.of(*toy_population(1000, 4)).limits_N, bar)
    shifted = losses(Scored.of(*toy_population(1000, 5, harder=0.4)).limits_N, bar)
    assert shifted.mean() > 0.2
    assert chance_of_as_many(int(shifted.sum()), 1000, 1000, 0.1) < 1e-6
    assert chance_of_as_many(int(same.sum()), 1000, 1000, 0.1) > 0.01


@given(DRAFTS, st.floats(0, 1))
def test_losses_and_kept_findings_are_those_of_plain_computation(
    drafts: list[list[tuple[int, str, bool, float]]], bar: float
) -> None:
    # A study has one judgement of a finding, whichever sentence asserts it.
    right = {(study, name): is_right for study, draft in enumerate(drafts) for _, name, is_right, _ in draft}
    once = [
        [(number, name, right[study, name], p) for (number, name), p in {(n, f): p for n, f, _, p in draft}.items()]
        for study, draft in enumerate(drafts)
    ]
    judged = JudgedDrafts.of([[each[:3] for each in draft] for draft in once])
    scored = Scored.of(judged, np.array([each[3] for draft in once for each in draft]))
    assert losses(scored.limits_N, bar).tolist() == plain_losses(once, bar)
    true, kept = set(), set()
    for study, draft in enumerate(once):
        for number, name, is_right, _ in draft:
            if is_right:
                true.add((study, name))
                if all(p > bar for n, _, _, p in draft if n == number):
                    kept.add((study, name))
    assert len(true) == judged.num_right
    assert scored.kept(bar) == pytest.approx(len(kept) / len(true)) if true else math.isnan(scored.kept(bar))


@given(st.lists(PROBABILITIES | st.just(0.0), min_size=1, max_size=60), st.floats(0.001, 0.999))
def test_the_bar_is_the_lowest_that_keeps_the_inequality(limits: list[float], level: float) -> None:
    limits_N = np.array(limits)
    found = find_bar(limits_N, level)
    n = len(limits)

    def kept(bar: float) -> bool:
        return n / (n + 1) * losses(limits_N, bar).mean() + 1 / (n + 1) <= level + 1e-9

    assert found.reachable == kept(SILENCE) == (n >= fewest_studies(level))
    if found.reachable:
        assert kept(found.bar)
        lower = [bar for bar in {EVERYTHING, *limits} if bar < found.bar]
        assert not any(map(kept, lower))
    assert losses(limits_N, found.bar).mean() <= level


@given(DRAFTS, st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_higher_bar_never_loses_more(
    drafts: list[list[tuple[int, str, bool, float]]], bars: tuple[float, float]
) -> None:
    low, high = sorted(bars)
    judged = JudgedDrafts.of([[each[:3] for each in draft] for draft in drafts])
    scored = Scored.of(judged, np.array([each[3] for draft in drafts for each in draft]))
    assert (losses(scored.limits_N, high) <= losses(scored.limits_N, low)).all()
    assert not losses(scored.limits_N, SILENCE).any()


def test_chance_of_as_many_is_that_of_drawing() -> None:
    random = np.random.default_rng(0)
    counts = []
    for _ in range(4000):
        bar = find_bar(random.random(60), 0.1).bar
        counts.append(int((random.random(80) > bar).sum()))
    for count in (1, 5, 8, 12, 20):
        share = np.mean([found >= count for found in counts])
        assert chance_of_as_many(count, 80, 60, 0.1) == pytest.approx(share, abs=0.03)
    assert chance_of_as_many(0, 80, 60, 0.1) == 1


def test_no_finding_at_all_and_no_study() -> None:
    silent = JudgedDrafts.of([[], [], []])
    scored = Scored.of(silent, np.zeros(0))
    assert find_bar(scored.limits_N, 0.3) == find_bar(np.zeros(3), 0.3)
    assert find_bar(scored.limits_N, 0.3).bar == EVERYTHING
    assert math.isnan(scored.kept(0.5))
    assert math.isnan(kept_at_random(silent, 0.1, num_resamples=3))
    [row] = resample(silent, {"ours": np.zeros(0)}, [0.3], num_resamples=5)["ours"]
    assert row.risk == 0
    nobody = JudgedDrafts.of([])
    assert find_bar(Scored.of(nobody, np.zeros(0)).limits_N, 0.3).bar == SILENCE
    assert resample(nobody, {"ours": np.zeros(0)}, [0.3]) == {"ours": []}


def test_one_study_promises_nothing_but_silence() -> None:
    found = find_bar(np.array([0.7]), 0.1)
    assert (found.bar, found.reachable) == (SILENCE, False)
    assert fewest_studies(0.1) == 9
    assert find_bar(np.zeros(9), 0.1).reachable


def test_probabilities_that_are_no_numbers_are_never_above_a_bar() -> None:
    judged = JudgedDrafts.of([[(0, "a", False), (1, "b", True)], [(0, "a", True)]])
    scored = Scored.of(judged, np.array([np.nan, 0.9, np.inf]))
    assert scored.limits_N.tolist() == [0, 0]
    assert scored.kept(0.0) == 0.5


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, math.nan])
def test_levels_that_are_none_are_refused(level: float) -> None:
    with pytest.raises(ConfigError, match="no share of studies"):
        find_bar(np.zeros(3), level)


@pytest.mark.parametrize("limit", [math.nan, 1.0, -1.0])
def test_damaged_limits_are_refused(limit: float) -> None:
    with pytest.raises(ConfigError, match="calibrate again"):
        find_bar(np.array([0.1, limit]), 0.5)
