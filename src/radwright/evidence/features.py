"""What speaks for or against each finding that a draft asserts, as numbers: a table to which more can be added.

Shape legend: B studies, M diseases of a network that perceives any.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from radwright.evidence.asserted import Place
from radwright.evidence.sentences import token_log_probs
from radwright.findings.ontology import CHEXPERT, ancestors, concept
from radwright.text.sentences import TokenSentence
from radwright.types import Batch, ClueTelling

_EDGE = 1e-6
_DIGITS = 6
"""As they are written down, so that a finding has the same probability when it is read back."""


@dataclass(frozen=True, slots=True)
class Drafted:
    """A batch of drafts, as a feature sees it.

    Attributes:
        model: the network, in evaluation mode (``radwright.types.ReportModel``).
        batch: B studies with their drafts' tokens (``with_drafts``), on the network's device.
        sentences: of each draft.
        asserted: of each draft, what its sentences assert.
        log_probs: of each draft's tokens (``token_log_probs``).
    """

    model: Any
    batch: Batch
    sentences: Sequence[Sequence[TokenSentence]]
    asserted: Sequence[Sequence[Place]]
    log_probs: Sequence[Tensor]

    def of_sentences(self, measure: Callable[[Tensor], Tensor], log_probs: Sequence[Tensor]) -> list[list[float]]:
        """Per draft and asserted finding, ``measure`` of its sentence's row of token values."""
        return [
            [float(measure(row_T[sentences[place].start : sentences[place].stop])) for place, _ in asserted]
            for sentences, asserted, row_T in zip(self.sentences, self.asserted, log_probs, strict=True)
        ]


Measure = Callable[[Drafted], list[list[float]]]


def mean_log_prob(drafted: Drafted) -> list[list[float]]:
    """log p(sentence | study, words before), per token, in nats."""
    return drafted.of_sentences(torch.mean, drafted.log_probs)


def min_log_prob(drafted: Drafted) -> list[list[float]]:
    """log p of the sentence's least likely token, in nats."""
    return drafted.of_sentences(torch.min, drafted.log_probs)


def image_effect(drafted: Drafted) -> list[list[float]]:
    """How much likelier the images make the sentence, per token, in nats: against the same images in their mean gray.

    Near 0 the sentence would have been written of any patient.
    """
    batch = drafted.batch
    gray_BV111 = batch.images_BV1SS.mean(dim=(-2, -1), keepdim=True)
    blank = replace(batch, images_BV1SS=gray_BV111.expand_as(batch.images_BV1SS).contiguous())
    blind = token_log_probs(drafted.model, blank)
    effects = [seen_T - blind_T for seen_T, blind_T in zip(drafted.log_probs, blind, strict=True)]
    return drafted.of_sentences(torch.mean, effects)


@torch.no_grad()
def clue(drafted: Drafted) -> list[list[float]]:
    """Log-odds of the disease that the network perceives; NaN where it perceives none that stands for the finding."""
    if not isinstance(drafted.model, ClueTelling):
        return [[math.nan] * len(asserted) for asserted in drafted.asserted]
    places = {name: place for place, name in enumerate(drafted.model.diseases)}
    columns = {finding: places[name] for name, finding in drafted.model.findings.items() if finding is not None}
    odds_BM = drafted.model.perceive(drafted.batch).double().clamp(_EDGE, 1 - _EDGE).logit().tolist()
    return [
        [math.nan if (at := _column(finding, columns)) is None else odds_M[at] for _, finding in asserted]
        for asserted, odds_M in zip(drafted.asserted, odds_BM, strict=True)
    ]


def _column(finding: str, columns: Mapping[str, int]) -> int | None:
    """The disease that stands for a concept: the concept itself, else a broader one, else its observation."""
    names = [finding, *ancestors(finding), concept(finding).chexpert]
    return next((columns[name] for name in names if name in columns and (name != CHEXPERT[0])), None)


FEATURES: Mapping[str, Measure] = {
    "mean_log_prob": mean_log_prob,
    "min_log_prob": min_log_prob,
    "image_effect": image_effect,
    "clue": clue,
}
"""Name -> what measures it. A new one is a function here; earlier calibrations do not know it and stay as they are."""


def measure_features(drafted: Drafted, names: Sequence[str] | None = None) -> list[list[dict[str, float]]]:
    """Per draft and asserted finding, feature -> value; None: all features."""
    chosen = FEATURES if names is None else {name: FEATURES[name] for name in names}
    if not any(drafted.asserted):
        return [[] for _ in drafted.asserted]
    columns = {
        name: [[round(value, _DIGITS) for value in row] for row in measure(drafted)] for name, measure in chosen.items()
    }
    return [
        [{name: column[row][place] for name, column in columns.items()} for place in range(len(asserted))]
        for row, asserted in enumerate(drafted.asserted)
    ]
