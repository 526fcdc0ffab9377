"""Conformal risk control (Angelopoulos et al. 2022): the bar above which few enough drafts fabricate.

A sentence stands where its probability is above the bar. The loss of a study is 1 where a standing sentence asserts a
finding that the reference does not bear out, else 0. Raising the bar only takes sentences away, so each study has one
number, its limit: the highest probability of a sentence with a fabricated finding (0 without one), and its loss at a
bar is 1 exactly where the limit is above the bar.

Shape legend: N studies, A asserted findings, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radwright.errors import ConfigError
from radwright.metrics.base import FloatArray

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
EVERYTHING, SILENCE = 0.0, 1.0
"""Bars that every probability is above, and none."""
NUM_RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Bar:
    """The bar of one level.

    Attributes:
        level: share of studies whose filtered draft may fabricate.
        bar: a sentence stands where its probability is above it.
        reachable: False where so few studies calibrated that only silence keeps the level: the bar is ``SILENCE``.
    """

    level: float
    bar: float
    reachable: bool


def find_bar(limits_N: FloatArray, level: float) -> Bar:
    """The lowest bar at which n / (n + 1) risk(bar) + 1 / (n + 1) <= level.

    risk(bar) is the share of the n studies with a limit above the bar. Of exchangeable studies, the calibration's and a
    new one, the new one's expected loss at this bar is at most the level (theorem 1 there, with B = 1); where no two
    limits are equal it is at least level - 2 / (n + 1). At silence the loss is 0 whatever the studies are, so the level
    holds even where the inequality does at no bar.

    Args:
        limits_N: of the calibration studies, any number of them, in [0, 1).
        level: in (0, 1).

    Raises:
        ConfigError: a level outside (0, 1), or a limit that is not a number in [0, 1).
    """
    if not 0 < level < 1:
        raise ConfigError(f"risk {level}: is no share of studies between 0 and 1; 0.1 lets one study in ten be wrong")
    if not ((limits_N >= 0) & (limits_N < 1)).all():
        raise ConfigError("a study's limit is no number in [0, 1): its probabilities are damaged; calibrate again")
    allowed = _allowed(len(limits_N), level)
    if allowed < 0:
        return Bar(level, SILENCE, reachable=False)
    return Bar(level, float(np.sort(limits_N)[::-1][allowed]), reachable=True)


def _allowed(num_studies: int, level: float) -> int:
    """Of the studies that set a bar, how many may still fabricate at it."""
    return math.floor(level * (num_studies + 1) - 1 + 1e-9)


def chance_of_as_many(num_losses: int, num_studies: int, num_calibrated: int, level: float) -> float:
    """How likely studies that are exchangeable with the calibration's lose as often or oftener at a level's bar.

    A level bounds the mean over calibrations, so the risk at one calibration's bar varies about it. Where no two limits
    are equal, the bar is the (a + 1)-th highest of n limits, and how many of m new limits are above it has the
    beta-binomial distribution with m, a + 1 and n - a, whatever the limits' distribution; with equal ones there are
    fewer. A small chance says that the new studies are not like the calibration's.

    Args:
        num_losses: of the new studies.
        num_studies: m.
        num_calibrated: n.
        level: in (0, 1).
    """
    allowed = _allowed(num_calibrated, level)
    if num_losses <= 0:
        return 1.0
    if allowed < 0:
        return 0.0  # silence loses never
    first, second = allowed + 1, num_calibrated - allowed

    def log_beta(one: float, other: float) -> float:
        return math.lgamma(one) + math.lgamma(other) - math.lgamma(one + other)

    def log_share(count: int) -> float:
        ways = -math.log(num_studies + 1) - log_beta(count + 1, num_studies - count + 1)
        return ways + log_beta(count + first, num_studies - count + second) - log_beta(first, second)

    return min(1.0, math.fsum(math.exp(log_share(count)) for count in range(num_losses, num_studies + 1)))


def losses(limits_N: FloatArray, bar: float) -> FloatArray:
    """Of each study, 1 where its filtered draft fabricates, else 0: never more at a higher bar."""
    return (limits_N > bar).astype(np.float64)


def fewest_studies(level: float) -> int:
    """How many studies it takes for ``find_bar`` to reach a level other than by silence."""
    return math.ceil(1 / level - 1 - 1e-9)


@dataclass(frozen=True, slots=True)
class JudgedDrafts:
    """What N drafts assert and whether it is right.

    Attributes:
        num_studies: N, those that assert nothing too.
        study_A: each asserted finding's study, 0 to N - 1, ascending.
        sentence_A: a number for its sentence, another one for every sentence of all drafts.
        finding_A: a number for (study, finding): two sentences may assert the same.
        right_A: whether the reference bears it out.
    """

    num_studies: int
    study_A: IntArray
    sentence_A: IntArray
    finding_A: IntArray
    right_A: BoolArray

    @classmethod
    def of(cls, drafts: Sequence[Sequence[tuple[int, str, bool]]]) -> JudgedDrafts:
        """From (sentence, finding, right) of each asserted finding of each draft."""
        rows = [(study, *each) for study, draft in enumerate(drafts) for each in draft]
        sentences = {key: number for number, key in enumerate(dict.fromkeys((row[0], row[1]) for row in rows))}
        findings = {key: number for number, key in enumerate(dict.fromkeys((row[0], row[2]) for row in rows))}
        return cls(
            len(drafts),
            np.array([row[0] for row in rows], dtype=np.int64),
            np.array([sentences[row[0], row[1]] for row in rows], dtype=np.int64),
            np.array([findings[row[0], row[2]] for row in rows], dtype=np.int64),
            np.array([row[3] for row in rows], dtype=bool),
        )

    @property
    def num_right(self) -> int:
        """Findings that are asserted and borne out, each once per study."""
        return len(np.unique(self.finding_A[self.right_A]))


@dataclass(frozen=True, slots=True)
class Scored:
    """Judged drafts whose findings have a probability.

    Attributes:
        limits_N: of the studies.
        true_T: of each true finding (asserted and borne out), the bar from which on no sentence tells it.
        study_T: its study.
    """

    limits_N: FloatArray
    true_T: FloatArray
    study_T: IntArray

    @classmethod
    def of(cls, judged: JudgedDrafts, probability_A: FloatArray) -> Scored:
        """A sentence is as sure as the least sure of its findings, and a finding as the surest sentence that tells it.

        A probability that is not a number counts as 0.
        """
        sure_A = np.where(np.isfinite(probability_A), probability_A, 0.0)
        sentence = np.full(int(judged.sentence_A.max(initial=-1)) + 1, np.inf)
        np.minimum.at(sentence, judged.sentence_A, sure_A)
        stands_A = sentence[judged.sentence_A]
        limits_N = np.zeros(judged.num_studies)
        wrong_A = ~judged.right_A
        np.maximum.at(limits_N, judged.study_A[wrong_A], stands_A[wrong_A])
        numbers, place = np.unique(judged.finding_A[judged.right_A], return_inverse=True)
        true_T, study_T = np.zeros(len(numbers)), np.zeros(len(numbers), dtype=np.int64)
        np.maximum.at(true_T, place, stands_A[judged.right_A])
        study_T[place] = judged.study_A[judged.right_A]
        return cls(limits_N, true_T, study_T)

    def kept(self, bar: float, studies_N: BoolArray | None = None) -> float:
        """Share of the true findings (of some studies) that stand at a bar; NaN where there is none."""
        true_T = self.true_T if studies_N is None else self.true_T[studies_N[self.study_T]]
        return float((true_T > bar).mean()) if len(true_T) else math.nan


@dataclass(frozen=True, slots=True)
class Resampled:
    """What a level means over many splits of the same studies: bars from one half, losses of the other.

    Attributes:
        level: asked for.
        risk: mean loss of the halves that set no bar.
        error: standard error of that mean over the splits.
        kept: mean share of their true findings that stands.
    """

    level: float
    risk: float
    error: float
    kept: float


def resample(
    judged: JudgedDrafts,
    orders: Mapping[str, FloatArray | None],
    levels: Sequence[float],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, list[Resampled]]:
    """Split the studies in halves again and again; the splits are the same for every order.

    Given the studies, the halves of a random split are exchangeable, so each mean risk is at most its level but for the
    error of finitely many splits.

    Args:
        judged: N studies; with fewer than two there is nothing to split.
        orders: name -> probability of each asserted finding (A,); None: drawn at random, anew in every split.
        levels: each in (0, 1).
        num_resamples: R.
        seed: of the splits and of the random order.

    Returns:
        Order -> level by level; empty lists where there is nothing to split.
    """
    if judged.num_studies < 2:
        return {name: [] for name in orders}
    random = np.random.default_rng(seed)
    scored = {name: Scored.of(judged, order) for name, order in orders.items() if order is not None}
    found = {name: np.full((num_resamples, len(levels), 2), np.nan) for name in orders}
    for number in range(num_resamples):
        sets_N = np.zeros(judged.num_studies, dtype=bool)
        sets_N[random.permutation(judged.num_studies)[: judged.num_studies // 2]] = True
        drawn = Scored.of(judged, draw_order(judged, random))
        for name in orders:
            own = scored.get(name, drawn)
            for place, level in enumerate(levels):
                bar = find_bar(own.limits_N[sets_N], level).bar
                found[name][number, place] = losses(own.limits_N[~sets_N], bar).mean(), own.kept(bar, ~sets_N)
    return {
        name: [_resampled(level, values[:, place]) for place, level in enumerate(levels)]
        for name, values in found.items()
    }


def kept_at_random(judged: JudgedDrafts, risk: float, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> float:
    """Mean share of the true findings that stands under random orders, each with the lowest bar of at most ``risk``."""
    random = np.random.default_rng(seed)
    allowed = math.floor(risk * judged.num_studies + 1e-9)
    shares = []
    for _ in range(num_resamples):
        drawn = Scored.of(judged, draw_order(judged, random))
        ranked = np.sort(drawn.limits_N)[::-1]
        shares.append(drawn.kept(float(ranked[allowed]) if allowed < len(ranked) else EVERYTHING))
    return _mean(np.array(shares))


def draw_order(judged: JudgedDrafts, random: np.random.Generator) -> FloatArray:
    """A random order of the asserted findings, as probabilities (A,)."""
    return random.uniform(0.001, 0.999, len(judged.study_A))


def _resampled(level: float, values_R2: FloatArray) -> Resampled:
    risk_R = values_R2[:, 0]
    error = float(risk_R.std(ddof=1) / math.sqrt(len(risk_R))) if len(risk_R) > 1 else math.nan
    return Resampled(level, float(risk_R.mean()), error, _mean(values_R2[:, 1]))


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan
