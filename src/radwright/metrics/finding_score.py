"""Errors of drafts per study, and one score per study that weighs them; see ``judging`` for the rules. Ours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radwright.findings import VERSION
from radwright.metrics.base import FloatArray, check_pairs, divide
from radwright.metrics.judging import ERRORS, Judgement, judge
from radwright.metrics.statements import state_text

WEIGHTS = 1
"""Raised with every change of the rules or weights of ``judging`` and ``kinship`` that can change a number."""

Priors = Sequence[bool | None]


class ClinicalErrors:
    """Mean errors per study, one score per kind in ``ERRORS``; lower is better.

    Of several references, the one that gives the highest ``finding_score`` counts, the first of equals. A row is
    [counts; 1].

    Args:
        priors: per study that ``rows`` will be given, in their order, whether there is an earlier examination to
            compare with; None (for a study, or for all): the reference decides.
    """

    names = ERRORS
    higher_is_better = (False,) * len(ERRORS)
    reads_as_written = True

    def __init__(self, priors: Priors | None = None) -> None:
        self._priors = priors
        self.variant = _variant(priors)

    def rows(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> FloatArray:
        """Statistics (n, 10); see ``Metric``. Raises ValueError where there are not as many studies as priors."""
        judged = _judge_all(hypotheses, references, self._priors)
        return np.array([(*found.errors.counts(), 1) for found in judged], dtype=np.float64).reshape(
            -1, len(ERRORS) + 1
        )

    def scores(self, sums: FloatArray) -> FloatArray:
        """(..., 9) mean errors per study, 0 or more."""
        return divide(sums[..., :-1], np.broadcast_to(sums[..., -1:], sums[..., :-1].shape))


class FindingScore:
    """How well a draft tells what its reference states, in [0, 1]: 1 for no error; the corpus score is the mean.

    A row is [score; 1]. Arguments and several references as in ``ClinicalErrors``.
    """

    names = ("finding_score",)
    higher_is_better = (True,)
    reads_as_written = True

    def __init__(self, priors: Priors | None = None) -> None:
        self._priors = priors
        self.variant = _variant(priors)

    def rows(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> FloatArray:
        """Statistics (n, 2); see ``Metric``. Raises ValueError where there are not as many studies as priors."""
        judged = _judge_all(hypotheses, references, self._priors)
        return np.array([(found.score, 1) for found in judged], dtype=np.float64).reshape(-1, 2)

    def scores(self, sums: FloatArray) -> FloatArray:
        """(..., 1) mean score."""
        return divide(sums[..., :1], sums[..., 1:])


def _variant(priors: Priors | None) -> str:
    known = 0 if priors is None else sum(prior is not None for prior in priors)
    return f"reader {VERSION}, weights {WEIGHTS}, texts as written, priors known of {known}"


def _judge_all(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], priors: Priors | None
) -> list[Judgement]:
    check_pairs(hypotheses, references)
    if priors is None:
        priors = [None] * len(hypotheses)
    if len(priors) != len(hypotheses):
        raise ValueError(f"{len(hypotheses)} drafts but {len(priors)} priors")
    return [
        max((judge_texts(draft, text, prior=prior) for text in texts), key=lambda found: found.score)
        for draft, texts, prior in zip(hypotheses, references, priors, strict=True)
    ]


def judge_texts(draft: str, reference: str, *, prior: bool | None = None) -> Judgement:
    """Judge a draft by its reference, both as written; see ``judge``. Each distinct text is read once."""
    return judge(state_text(draft), state_text(reference), prior=prior)
