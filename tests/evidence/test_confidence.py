"""The probability of a finding: calibrated on the toy that made it, defined on whatever comes."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.errors import ConfigError
from radwright.evidence.confidence import Confidence, brier, fit_confidence
from radwright.metrics.detection import calibration_error

NAMES = ("one", "two")


def toy(num: int, seed: int) -> tuple[list[str], list[dict[str, float]], np.ndarray]:
    """log-odds 1 + 2 one, and 1.5 less for finding b; ``two`` says nothing."""
    random = np.random.default_rng(seed)
    one, two = random.normal(3, 2, num), random.normal(size=num)
    findings = [str(name) for name in random.choice(["a", "b"], num)]
    logits = 1 + (one - 3) - 1.5 * (np.array(findings) == "b")
    right = random.random(num) < 1 / (1 + np.exp(-logits))
    return findings, [dict(zip(NAMES, pair, strict=True)) for pair in zip(one, two, strict=True)], right


def test_it_finds_what_made_the_data_and_is_calibrated_on_others() -> None:
    fitted = fit_confidence(*toy(4000, 0), names=NAMES)
    assert fitted.weights[0] == pytest.approx(2, abs=0.25)
    assert fitted.weights[1] == pytest.approx(0, abs=0.1)
    assert fitted.findings["a"] - fitted.findings["b"] == pytest.approx(1.5, abs=0.3)
    findings, features, right = toy(4000, 1)
    probability = fitted.probabilities(findings, features)
    assert calibration_error(probability, right) < 0.03
    share = right.mean()
    assert brier(probability, right) < 0.8 * share * (1 - share)


def test_the_gradient_vanishes_at_the_fit() -> None:
    findings, features, right = toy(300, 2)
    fitted = fit_confidence(findings, features, right.tolist(), names=NAMES, penalty=0.7)
    table = (np.array([[row[name] for name in NAMES] for row in features]) - fitted.means) / fitted.scales
    targets = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))
    residual = fitted.probabilities(findings, features) - targets
    assert table.clip(-4, 4).T @ residual + 0.7 * np.array(fitted.weights) == pytest.approx(0, abs=1e-6)
    for name, weight in fitted.findings.items():
        own = np.array([finding == name for finding in findings])
        assert own @ residual + 0.7 * weight == pytest.approx(0, abs=1e-6)


def test_it_survives_json() -> None:
    fitted = fit_confidence(*toy(50, 3), names=NAMES)
    again = Confidence.parse(json.loads(json.dumps(fitted.plain())), where="test")
    findings, features, _ = toy(20, 4)
    assert again.probabilities(findings, features).tolist() == fitted.probabilities(findings, features).tolist()


@pytest.mark.parametrize("right", [[], [True], [False], [True] * 5, [False] * 5])
def test_few_or_equal_findings_make_nothing_certain(right: list[bool]) -> None:
    fitted = fit_confidence(["a"] * len(right), [{"one": 1.0}] * len(right), right, names=NAMES)
    [seen, unseen] = fitted.probabilities(["a", "new"], [{"one": 1.0}, {}])
    for value in (seen, unseen):
        assert 0.05 < value < 0.95
    if right:
        assert (seen > 0.5) == right[0]


FEATURE = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(st.sampled_from("ab"), FEATURE, st.booleans()), max_size=12), FEATURE)
def test_any_features_give_a_probability(rows: list[tuple[str, float, bool]], value: float) -> None:
    finite = [(name, each if abs(each) < 1e100 else math.nan, right) for name, each, right in rows]
    findings = [row[0] for row in finite]
    fitted = fit_confidence(findings, [{"one": row[1]} for row in finite], [row[2] for row in finite], names=NAMES)
    [found] = fitted.probabilities(["a"], [{"one": value}])
    assert 0 < found < 1


def test_a_feature_that_is_nowhere_known_is_left_out_and_one_that_is_missing_counts_as_the_mean() -> None:
    findings, features, right = toy(200, 5)
    blind = [{**row, "two": math.nan} for row in features]
    fitted = fit_confidence(findings, blind, right.tolist(), names=NAMES)
    assert fitted.features == ("one",)
    missing, mean = fitted.probabilities(["a", "a"], [{}, {"one": fitted.means[0]}])
    assert missing == mean


def test_a_penalty_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="penalty"):
        fit_confidence([], [], [], names=NAMES, penalty=0.0)
