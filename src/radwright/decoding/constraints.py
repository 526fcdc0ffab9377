"""What no strategy may generate: suppressed ids, an EOS that comes too early, repeated n-grams.

Blocked tokens get minus infinity; the others keep the model's log-probability (nothing is renormalised), so a report's
score stays what the model gives it.

Shape legend: C studies still decoded, W beams, U vocabulary size, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from radwright.decoding.config import DecodingConfig
from radwright.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Constraints:
    """The constraints of one run.

    Attributes:
        eos_id: the token that ends a report; never suppressed.
        suppressed_ids: tokens that are never generated (PAD, BOS, UNK).
        min_tokens: EOS is blocked before this token (counted from 1).
        no_repeat_ngram: n, 0 = off.
    """

    eos_id: int
    suppressed_ids: tuple[int, ...]
    min_tokens: int
    no_repeat_ngram: int

    @classmethod
    def build(cls, config: DecodingConfig, *, eos_id: int, suppressed_ids: Iterable[int]) -> Constraints:
        """Join config and ids. ``eos_id`` among the suppressed ids is let through: some vocabularies share one id."""
        ids = tuple(sorted(set(suppressed_ids) - {eos_id}))
        return cls(eos_id, ids, config.min_tokens, config.no_repeat_ngram)

    def check_vocabulary(self, vocabulary_size: int, given: Iterable[int] = ()) -> None:
        """Raise ConfigError when one of these ids or of those ``given`` lies outside the model's vocabulary."""
        for id_ in (self.eos_id, *self.suppressed_ids, *given):
            if not 0 <= id_ < vocabulary_size:
                raise ConfigError(
                    f"token id {id_} is outside the model's vocabulary of {vocabulary_size}: "
                    "does the tokenizer belong to this checkpoint?"
                )

    def apply(self, log_probs_CWU: Tensor, tokens_CWT: Tensor) -> Tensor:
        """Log-probabilities with blocked tokens at minus infinity.

        A beam whose every token is blocked may end: it gets EOS back with the model's log-probability.

        Args:
            log_probs_CWU: the model's, left untouched.
            tokens_CWT: generated so far, without BOS.

        Returns:
            (C, W, U), float32 or float64.
        """
        wide = log_probs_CWU if log_probs_CWU.dtype == torch.float64 else log_probs_CWU.float()
        too_short = tokens_CWT.shape[-1] + 1 < self.min_tokens
        blocked = [*self.suppressed_ids, *([self.eos_id] if too_short else [])]
        repeats = 0 < self.no_repeat_ngram <= tokens_CWT.shape[-1]
        if not blocked and not repeats:
            return wide
        scores = wide.clone()
        for id_ in blocked:
            scores[..., id_] = -torch.inf
        if repeats:
            block_repeated_ngrams(scores, tokens_CWT, self.no_repeat_ngram)
        if too_short:  # only then can EOS itself be blocked
            nothing_left = torch.isneginf(scores.amax(-1))
            eos = scores[..., self.eos_id]
            scores[..., self.eos_id] = torch.where(nothing_left, wide[..., self.eos_id], eos)
        return scores


def block_repeated_ngrams(scores_CWU: Tensor, tokens_CWT: Tensor, n: int) -> None:
    """Set to minus infinity, in place, every token that would complete an n-gram which the beam already holds.

    One comparison of all windows with the last n-1 tokens: T * n work per beam and step.

    Args:
        scores_CWU: floating point, changed in place.
        tokens_CWT: the beams' tokens, T >= n.
        n: at least 1; 1 forbids every token that was used before.
    """
    windows_CWLn = tokens_CWT.unfold(-1, n, 1)
    last_CWn = tokens_CWT[..., tokens_CWT.shape[-1] - (n - 1) :]
    repeats_CWL = (windows_CWLn[..., :-1] == last_CWn[..., None, :]).all(-1)
    penalty_CWL = torch.zeros(repeats_CWL.shape, dtype=scores_CWU.dtype, device=scores_CWU.device)
    penalty_CWL.masked_fill_(repeats_CWL, -torch.inf)
    # Added, not written: a token completes several windows, and one blocked window is enough.
    scores_CWU.scatter_add_(-1, windows_CWLn[..., -1], penalty_CWL)
