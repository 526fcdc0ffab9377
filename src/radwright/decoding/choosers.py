"""How one step goes on: from the log-probabilities of all beams to the beams of the next step.

A strategy's config class selects its chooser in ``CHOOSERS``; the loop around them is the same.

Shape legend: C studies still decoded, W beams now, X beams chosen, K likeliest tokens of a beam, U vocabulary size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from radwright.config import Config
from radwright.decoding.config import Beam, Consensus, Greedy, Sampling
from radwright.decoding.ordering import first_largest
from radwright.decoding.ranking import Ranking


@dataclass(frozen=True, slots=True)
class Choice:
    """The beams of the next step, or more of which some must go.

    Attributes:
        parents_CX: int64, which beam each one continues.
        tokens_CX: int64, with which token.
        sums_CX: summed log-probabilities with that token; minus infinity where there is no beam, NaN where the model
            gave NaN.
        num_places: None: all of them are beams of the next step, those that have ended among them. A number: the
            beams, likeliest first, are to be narrowed to so many. Only the first ``num_places`` may be complete; all
            that have ended give up their place, and the ``num_places`` first of the others go on.
    """

    parents_CX: Tensor
    tokens_CX: Tensor
    sums_CX: Tensor
    num_places: int | None = None


class Chooser(Protocol):
    """One strategy, ready to run."""

    @property
    def ranking(self) -> Ranking:
        """How its complete reports are ranked."""
        ...

    def draws(self, study_ids: Sequence[str], step: int) -> list[list[float]] | None:
        """Its random numbers for a token: X per study, in [0, 1); None where it draws nothing.

        Made apart from the choice, since a GPU is handed those of many tokens at once.

        Args:
            study_ids: of the C studies.
            step: index of the token to choose, from 0.
        """
        ...

    def __call__(self, scores_CWU: Tensor, sums_CW: Tensor, draws_CX: Tensor | None) -> Choice:
        """Choose the next beams.

        Args:
            scores_CWU: next token's log-probabilities, minus infinity where blocked; left untouched.
            sums_CW: summed log-probabilities so far, minus infinity where there is no beam.
            draws_CX: see ``draws``, in the dtype of the sums.
        """
        ...


class GreedyChooser:
    """The likeliest token, the lowest id among equals."""

    def __init__(self, strategy: Greedy) -> None:
        self.ranking = Ranking()

    def draws(self, study_ids: Sequence[str], step: int) -> None:
        """See ``Chooser``."""

    def __call__(self, scores_CWU: Tensor, sums_CW: Tensor, draws_CX: Tensor | None) -> Choice:
        """See ``Chooser``."""
        gains_CW, tokens_CW = scores_CWU.max(-1)
        return Choice(torch.zeros_like(tokens_CW), tokens_CW, sums_CW + gains_CW)


class BeamChooser:
    """The ``num_beams`` likeliest continuations of all beams of a study; equals go to the lower beam, then token.

    Which of a beam's own tokens can be among them does not depend on the beam's sum, so each beam's best tokens are
    found first and only those (W x num_beams numbers) are added to the sums: the (C, W, U) scores are read once.

    With ``keep_live`` it is twice as many. Each of at most num_beams beams has one ending, so the 2 x num_beams
    likeliest continuations hold the num_beams likeliest unended ones; and of one beam no more than num_beams + 1 tokens
    can be wanted, its ending and num_beams others.
    """

    def __init__(self, strategy: Beam) -> None:
        self.num_beams, self.keep_live = strategy.num_beams, strategy.keep_live
        self.ranking = Ranking(strategy.length_penalty, strategy.num_reports, strategy.early_stop)

    def draws(self, study_ids: Sequence[str], step: int) -> None:
        """See ``Chooser``."""

    def __call__(self, scores_CWU: Tensor, sums_CW: Tensor, draws_CX: Tensor | None) -> Choice:
        """See ``Chooser``."""
        per_beam = min(self.num_beams + self.keep_live, scores_CWU.shape[-1])
        gains_CWK, tokens_CWK = first_largest(scores_CWU, per_beam)
        # A slot without a beam may hold anything, NaN included; it must neither win nor raise an alarm.
        sums_CWK = (sums_CW[..., None] + gains_CWK).masked_fill(torch.isneginf(sums_CW)[..., None], -torch.inf)
        candidates = sums_CWK.flatten(1)
        wanted = 2 * self.num_beams if self.keep_live else self.num_beams
        best_CX, place_CX = first_largest(candidates, min(wanted, candidates.shape[1]))
        tokens_CX = tokens_CWK.flatten(1).gather(1, place_CX)
        return Choice(place_CX // per_beam, tokens_CX, best_CX, self.num_beams if self.keep_live else None)


class SamplingChooser:
    """Independent draws by inverting the cumulative distribution over the vocabulary.

    The sum counts the model's own log-probability of the drawn token, not the sharpened one. Every beam is a sample
    from the second step on; one that has ended runs along, as a beam without a sum.
    """

    def __init__(self, strategy: Sampling | Consensus) -> None:
        self.strategy = strategy
        self.num_samples = strategy.num_samples
        self.ranking = Ranking(num_reports=self.num_samples, early_stop=False)

    def draws(self, study_ids: Sequence[str], step: int) -> list[list[float]]:
        """See ``Chooser``."""
        seed, samples = self.strategy.seed, range(self.num_samples)
        return [[keyed_uniform(seed, study_id, step, sample) for sample in samples] for study_id in study_ids]

    def __call__(self, scores_CWU: Tensor, sums_CW: Tensor, draws_CX: Tensor | None) -> Choice:
        """See ``Chooser``."""
        assert draws_CX is not None
        num_studies, num_beams, _ = scores_CWU.shape
        parents_CX = torch.arange(self.num_samples, device=sums_CW.device).clamp(max=num_beams - 1)
        parents_CX = parents_CX.expand(num_studies, -1).contiguous()
        cumulative_CWU, nothing_left_CW1 = self._cumulative(scores_CWU, sums_CW.dtype)
        if num_beams == 1:
            # One row of probabilities serves all samples of the first token.
            tokens_CX = torch.searchsorted(cumulative_CWU[:, 0], draws_CX * cumulative_CWU[:, 0, -1:], right=True)
        else:
            targets_CX1 = draws_CX.unsqueeze(-1) * cumulative_CWU[..., -1:]
            tokens_CX = torch.searchsorted(cumulative_CWU, targets_CX1, right=True).squeeze(-1)
        # The first token whose cumulative mass is above the target: never one of probability zero.
        tokens_CX = tokens_CX.clamp_(max=scores_CWU.shape[-1] - 1)
        before_CX = sums_CW.gather(1, parents_CX)
        gains_CX = scores_CWU.gather(2, tokens_CX[..., None] if num_beams > 1 else tokens_CX[:, None]).reshape_as(
            tokens_CX
        )
        broken_CW = (torch.isnan(cumulative_CWU[..., -1:]) & ~nothing_left_CW1).squeeze(-1)
        sums_CX = (before_CX + gains_CX).masked_fill(broken_CW.gather(1, parents_CX), torch.nan)
        return Choice(parents_CX, tokens_CX, sums_CX.masked_fill(torch.isneginf(before_CX), -torch.inf))

    def _cumulative(self, scores_CWU: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cumulative probabilities (C, W, U), cut and sharpened, and where no token is allowed, (C, W, 1)."""
        nothing_left_CW1 = torch.isneginf(scores_CWU.amax(-1, keepdim=True))
        probs_CWU = torch.softmax(scores_CWU.to(dtype) / self.strategy.temperature, -1)
        return keep_top_p(keep_top_k(probs_CWU, self.strategy.top_k), self.strategy.top_p).cumsum(-1), nothing_left_CW1


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


def keyed_uniform(seed: int, study_id: str, step: int, sample: int = 0) -> float:
    """A uniform number in [0, 1) that depends on its key alone: the same on every machine and in every batch."""
    key = f"{seed}\0{step}\0{study_id}{f'{chr(0)}{sample}' if sample else ''}".encode()
    bits = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 12
    return bits / 2.0**52  # 52 bits: times a sum of probabilities it stays strictly below that sum


CHOOSERS: Mapping[type[Config], Callable[[Any], Chooser]] = {
    Greedy: GreedyChooser,
    Beam: BeamChooser,
    Sampling: SamplingChooser,
    Consensus: SamplingChooser,
}
"""Config class of a strategy -> what carries it out."""
