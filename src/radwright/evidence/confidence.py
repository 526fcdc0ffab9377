"""The probability that an asserted finding is right: logistic regression on a few features, shrunk, no torch.

Shape legend: n asserted findings, P columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from radwright.config import Config
from radwright.errors import ConfigError
from radwright.metrics.base import FloatArray

BoolArray = NDArray[np.bool_]
_EDGE = 1e-6
_FARTHEST = 4.0
"""Features count up to so many standard deviations: a strange image must not make a finding certain."""
_NUM_STEPS = 100


class Confidence(Config):
    """A fitted model: P(right) = sigmoid(intercept + weights . standardised features + weight of the finding).

    What a feature does not say (NaN) counts as its mean. A finding that was not seen has the weight 0: the mean over
    findings, towards which all others are shrunk too.
    """

    features: tuple[str, ...]
    """Names, in the order of the three fields below."""
    means: tuple[float, ...]
    """Of each feature, over the asserted findings that it was fitted on."""
    scales: tuple[float, ...]
    """Standard deviation of each feature."""
    weights: tuple[float, ...]
    """Log-odds per standard deviation."""
    intercept: float
    """Log-odds of a finding about which everything is average."""
    findings: dict[str, float] = Field(default_factory=dict)
    """Finding -> log-odds above or below the mean finding."""
    penalty: float = 1.0
    """Half of it times the sum of squared weights was added to the negative log-likelihood."""
    num_fitted: int = 0
    """Asserted findings that it was fitted on."""
    num_right: int = 0
    """Of them, those that the reference bears out."""

    def probabilities(self, findings: Sequence[str], features: Sequence[Mapping[str, float]]) -> FloatArray:
        """Of each asserted finding that it is right, (n,), strictly between 0 and 1."""
        values_NP = _standardised(_table(features, self.features), np.array(self.means), np.array(self.scales))
        own_N = np.array([self.findings.get(name, 0.0) for name in findings], dtype=np.float64)
        logits_N = self.intercept + values_NP @ np.array(self.weights, dtype=np.float64) + own_N
        probability_N: FloatArray = _sigmoid(logits_N).clip(_EDGE, 1 - _EDGE)
        return probability_N


def fit_confidence(
    findings: Sequence[str],
    features: Sequence[Mapping[str, float]],
    right: Sequence[bool],
    *,
    names: Sequence[str],
    penalty: float = 1.0,
) -> Confidence:
    """The penalised maximum likelihood, by Newton's method.

    The targets are Platt's (1999), (right + 1) / (right + 2) and 1 / (wrong + 2) instead of 1 and 0, so that findings
    that were all right do not make the model certain, and that a fit exists for any number of them, none too.

    Args:
        findings: the concept of each of n asserted findings.
        features: of each.
        right: of each, whether the reference bears it out.
        names: the features to use; one that is nowhere known is left out.
        penalty: see ``Confidence``.

    Raises:
        ConfigError: a penalty that is not above 0.
    """
    if not penalty > 0:
        raise ConfigError(f"penalty = {penalty}: must be above 0, or few studies would make the model certain")
    right_N = np.array(right, dtype=bool)
    table_NP = _table(features, names)
    known = [place for place in range(len(names)) if np.isfinite(table_NP[:, place]).any()]
    table_NP = table_NP[:, known]
    means = np.array([column[np.isfinite(column)].mean() for column in table_NP.T])
    spreads = np.array([column[np.isfinite(column)].std() for column in table_NP.T])
    scales = np.where(spreads > 1e-9, spreads, 1.0)
    concepts = sorted(Counter(findings))
    own_NC = np.array([[finding == name for name in concepts] for finding in findings], dtype=np.float64)
    columns = (_standardised(table_NP, means, scales), own_NC.reshape(len(findings), len(concepts)))
    weights_P = _newton(np.hstack([np.ones((len(findings), 1)), *columns]), _targets(right_N), penalty)
    first = 1 + len(known)
    return Confidence(
        features=tuple(names[place] for place in known),
        means=tuple(means.tolist()),
        scales=tuple(scales.tolist()),
        weights=tuple(weights_P[1:first].tolist()),
        intercept=float(weights_P[0]),
        findings=dict(zip(concepts, weights_P[first:].tolist(), strict=True)),
        penalty=penalty,
        num_fitted=len(right_N),
        num_right=int(right_N.sum()),
    )


def brier(probabilities: FloatArray, right: BoolArray) -> float:
    """Mean squared distance of probability and truth; NaN for none. A constant p costs p (1 - p) where it is true."""
    return float(np.square(probabilities - right).mean()) if len(right) else float("nan")


def _table(features: Sequence[Mapping[str, float]], names: Sequence[str]) -> FloatArray:
    rows = [[row.get(name, np.nan) for name in names] for row in features]
    return np.array(rows, dtype=np.float64).reshape(len(features), len(names))


def _standardised(table_NP: FloatArray, means: FloatArray, scales: FloatArray) -> FloatArray:
    values_NP = (table_NP - means) / scales
    return np.where(np.isfinite(table_NP), values_NP, 0.0).clip(-_FARTHEST, _FARTHEST)


def _targets(right_N: BoolArray) -> FloatArray:
    num_right, num_wrong = int(right_N.sum()), int((~right_N).sum())
    return np.where(right_N, (num_right + 1) / (num_right + 2), 1 / (num_wrong + 2))


def _newton(columns_NP: FloatArray, targets_N: FloatArray, penalty: float) -> FloatArray:
    penalties_P = np.full(columns_NP.shape[1], penalty)
    penalties_P[0] = _EDGE  # the intercept is free; without any finding it stays at 0
    weights_P = np.zeros(columns_NP.shape[1])
    for _ in range(_NUM_STEPS):
        probability_N = _sigmoid(columns_NP @ weights_P)
        gradient_P = columns_NP.T @ (probability_N - targets_N) + penalties_P * weights_P
        curvature_N = probability_N * (1 - probability_N)
        hessian_PP = (columns_NP.T * curvature_N) @ columns_NP + np.diag(penalties_P)
        step_P = np.linalg.solve(hessian_PP, gradient_P)
        # A step is cut to a length at which the curvature still holds: Newton overshoots where it vanishes.
        weights_P = weights_P - step_P / max(1.0, float(np.abs(step_P).max()) / 2)
        if np.abs(step_P).max() < 1e-10:
            break
    return weights_P


def _sigmoid(logits: FloatArray) -> FloatArray:
    return 0.5 * (1 + np.tanh(logits / 2))
