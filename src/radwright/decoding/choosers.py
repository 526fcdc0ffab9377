"""How one step goes on: from the log-probabilities of all beams to the beams of the next step.

A strategy's config class selects its chooser in ``CHOOSERS``; the loop around them is the same.

Shape legend: C studies still decoded, W beams now, X beams next, U vocabulary size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from radwright.config import Config
from radwright.decoding.config import Beam, Greedy, Sampling
from radwright.decoding.ordering import first_largest
from radwright.decoding.ranking import Ranking


@dataclass(frozen=True, slots=True)
class Choice:
    """The beams of the next step.

    Attributes:
        parents_CX: int64, which beam each one continues.
        tokens_CX: int64, with which token.
        sums_CX: summed log-probabilities with that token; minus infinity where there is no beam, NaN where the model
            gave NaN.
    """

    parents_CX: Tensor
    tokens_CX: Tensor
    sums_CX: Tensor


class Chooser(Protocol):
    """One strategy, ready to run."""

    @property
    def ranking(self) -> Ranking:
        """How its complete reports are ranked."""
        ...

    def __call__(self, scores_CWU: Tensor, sums_CW: Tensor, study_ids: Sequence[str], step: int) -> Choice:
        """Choose the next beams.

        Args:
            scores_CWU: next token's log-probabilities, minus infinity where blocked; left untouched.
            sums_CW: summed log-probabilities so far, minus infinity where there is no beam.
            study_ids: of the C studies.
            step: index of the token to choose, from 0.
        """
        ...


class GreedyChooser:
    """The likeliest token, the lowest id among equals."""

    def __init__(self, strategy: Greedy) -> None:
        self.ranking = Ranking()

    def __call__(self, scores_CWU: Tensor, sums_CW: Tensor, study_ids: Sequence[str], step: int) -> Choice:
        """See ``Chooser``."""
        gains_CW, tokens_CW = scores_CWU.max(-1)
        return Choice(torch.zeros_like(tokens_CW), tokens_CW, sums_CW + gains_CW)


class BeamChooser:
    """The ``num_beams`` likeliest continuations of all beams of a study; equals go to the lower beam, then token.

    Which of a beam's own tokens can be among them does not depend on the beam's sum, so each beam's best tokens are
    found first and only those (W x num_beams numbers) are added to the sums: the (C, W, U) scores are read once.
    """

    def __init__(self, strategy: Beam) -> None:
        self.num_beams = strategy.num_beams
        self.ranking = Ranking(strategy.length_penalty, strategy.num_reports, strategy.early_stop)

    def __call__(self, scores_CWU: Tensor, sums_CW: Tensor, study_ids: Sequence[str], step: int) -> Choice:
        """See ``Chooser``."""
        per_beam = min(self.num_beams, scores_CWU.shape[-1])
        gains_CWK, tokens_CWK = first_largest(scores_CWU, per_beam)
        # A slot without a beam may hold anything, NaN included; it must neither win nor raise an alarm.
        sums_CWK = (sums_CW[..., None] + gains_CWK).masked_fill(torch.isneginf(sums_CW)[..., None], -torch.inf)
        candidates = sums_CWK.flatten(1)
        best_CX, place_CX = first_largest(candidates, min(self.num_beams, candidates.shape[1]))
        return Choice(place_CX // per_beam, tokens_CWK.flatten(1).gather(1, place_CX), best_CX)


class SamplingChooser:
    """One draw per study by inverting the cumulative distribution over the vocabulary.

    The sum counts the model's own log-probability of the drawn token, not the sharpened one.
    """

    def __init__(self, strategy: Sampling) -> None:
        self.strategy = strategy
        self.ranking = Ranking()

    def __call__(self, scores_CWU: Tensor, sums_CW: Tensor, study_ids: Sequence[str], step: int) -> Choice:
        """See ``Chooser``."""
        scores_CU = scores_CWU[:, 0]
        probs_CU = torch.softmax(scores_CU.to(sums_CW.dtype) / self.strategy.temperature, -1)
        kept_CU = keep_top_p(keep_top_k(probs_CU, self.strategy.top_k), self.strategy.top_p)
        cumulative_CU = kept_CU.cumsum(-1)
        draws = [keyed_uniform(self.strategy.seed, study_id, step) for study_id in study_ids]
        targets_C1 = torch.tensor(draws, dtype=sums_CW.dtype, device=sums_CW.device)[:, None] * cumulative_CU[:, -1:]
        # The first token whose cumulative mass is above the target: never one of probability zero.
        tokens_C1 = torch.searchsorted(cumulative_CU, targets_C1, right=True).clamp_(max=scores_CU.shape[1] - 1)
        gains_C1 = scores_CU.gather(1, tokens_C1)
        nothing_left_C1 = torch.isneginf(scores_CU.amax(-1, keepdim=True))
        broken_C1 = torch.isnan(cumulative_CU[:, -1:]) & ~nothing_left_C1
        sums_C1 = (sums_CW + gains_C1).masked_fill(broken_C1, torch.nan)
        return Choice(torch.zeros_like(tokens_C1), tokens_C1, sums_C1)


def keep_top_k(probs_CU: Tensor, k: int) -> Tensor:
    """Set all but the ``k`` largest probabilities to 0 (ties to the lower index); 0 keeps all. NaN stays in its row."""
    if not 0 < k < probs_CU.shape[-1]:
        return probs_CU
    best, index = first_largest(probs_CU, k)
    return torch.zeros_like(probs_CU).scatter_(-1, index, best)


def keep_top_p(probs_CU: Tensor, p: float) -> Tensor:
    """Keep the fewest largest probabilities that add up to at least ``p`` of all, set the others to 0; 1 keeps all."""
    if p >= 1:
        return probs_CU
    ordered, index = torch.sort(probs_CU, dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    ordered = ordered.masked_fill(before >= p * ordered.sum(-1, keepdim=True), 0.0)
    return torch.zeros_like(probs_CU).scatter_(-1, index, ordered)


def keyed_uniform(seed: int, study_id: str, step: int) -> float:
    """A uniform number in [0, 1) that depends on its key alone: the same on every machine and in every batch."""
    key = f"{seed}\0{step}\0{study_id}".encode()
    bits = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 12
    return bits / 2.0**52  # 52 bits: times a sum of probabilities it stays strictly below that sum


CHOOSERS: Mapping[type[Config], Callable[[Any], Chooser]] = {
    Greedy: GreedyChooser,
    Beam: BeamChooser,
    Sampling: SamplingChooser,
}
"""Config class of a strategy -> what carries it out."""
