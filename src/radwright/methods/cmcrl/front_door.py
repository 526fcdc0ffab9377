"""Front-door adjustment by attention: FD(x, m), its causal form over a report, and its incremental form for decoding.

P(R | do(X=x)) = sum_m P(m|x) sum_x' P(x') P(R|m,x'). Under a softmax output both expectations move inside (NWGM) and
each is estimated by one attention without parameters:

    v   = softmax_rows(m x^T) x          each mediator token gathers x' from the features
    FD  = softmax_rows(x m^T) v          each feature gathers over the mediators

No heads, no 1/sqrt(D), no dropout: the scores of unit-variance features are near D, both softmaxes nearly one-hot, so
they are computed in at least float32.

Shape legend: B studies, W beams, N features, T report tokens, K mediators, D width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from radwright.nn.attention import MASKED, linear
from radwright.nn.decoder import beam_picker


class Projection(nn.Module):
    """The learnt part of one attention with ``projected=True`` (as released, variant ``causal_proj``).

    Queries through W_q, scores scaled by 1/sqrt(D), output through W_o; keys and values stay as they are.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = linear(dim, dim)
        self.out = linear(dim, dim)


def at_least_float32(x: Tensor) -> Tensor:
    """Half-precision features as float32; others unchanged (bf16 errs by .5 in these softmaxes)."""
    return x.float() if x.dtype in {torch.bfloat16, torch.float16} else x


class FrontDoor(nn.Module):
    """gate * FD(x, m), to be added to x.

    Args:
        dim: width D.
        projected: learn the two projections (the shipped configurations do not).
        gated: multiply by a learnt scalar that starts at zero (ours: without it FD has the magnitude of x from the
            first step, which fine-tuning must undo); False is as released.
    """

    def __init__(self, dim: int, *, projected: bool = False, gated: bool = True) -> None:
        super().__init__()
        self.gather_features = Projection(dim) if projected else None
        self.gather_mediators = Projection(dim) if projected else None
        self.gate = nn.Parameter(torch.zeros(())) if gated else None

    def _queries(self, x: Tensor, projection: Projection | None) -> Tensor:
        return x if projection is None else projection.query(x) / math.sqrt(x.shape[-1])

    def _output(self, x: Tensor, projection: Projection | None) -> Tensor:
        return x if projection is None else projection.out(x)

    def _gated(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return (x if self.gate is None else self.gate * x).to(dtype)

    def forward(self, x_BND: Tensor, mediators_BKD: Tensor, valid_BN: Tensor | None = None) -> Tensor:
        """gate * FD over whole sets: every feature is seen by every mediator.

        Args:
            x_BND: features (for images; for reports this is the released form, which reads the future).
            mediators_BKD: mediator tokens.
            valid_BN: bool; False features are gathered by no mediator.

        Returns:
            (B, N, D) in the features' dtype.
        """
        with torch.autocast(x_BND.device.type, enabled=False):
            x, mediators = at_least_float32(x_BND), at_least_float32(mediators_BKD)
            scores_BKN = self._queries(mediators, self.gather_features) @ x.transpose(1, 2)
            if valid_BN is not None:
                scores_BKN = scores_BKN.masked_fill(~valid_BN.unsqueeze(1), MASKED)
            gathered_BKD = self._output(scores_BKN.softmax(-1) @ x, self.gather_features)
            scores_BNK = self._queries(x, self.gather_mediators) @ mediators.transpose(1, 2)
            out = self._output(scores_BNK.softmax(-1) @ gathered_BKD, self.gather_mediators)
            return self._gated(out, x_BND.dtype)

    def weights(self, x_BND: Tensor, mediators_BKD: Tensor, valid_BN: Tensor | None = None) -> Tensor:
        """Shares (B, N, N) of the features in x + gate * FD(x, m), rows sum to 1; arguments as for ``forward``.

        FD is a weighted mean of features, so each counts with 1 / (1 + |gate|) as itself and the rest through FD.
        """
        x, mediators = at_least_float32(x_BND), at_least_float32(mediators_BKD)
        scores_BKN = self._queries(mediators, self.gather_features) @ x.transpose(1, 2)
        if valid_BN is not None:
            scores_BKN = scores_BKN.masked_fill(~valid_BN.unsqueeze(1), MASKED)
        scores_BNK = self._queries(x, self.gather_mediators) @ mediators.transpose(1, 2)
        through_BNN = scores_BNK.softmax(-1) @ scores_BKN.softmax(-1)
        gate = 1.0 if self.gate is None else abs(float(self.gate.detach()))
        own = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        return (own + gate * through_BNN) / (1 + gate)

    def causal(self, x_BTD: Tensor, mediators_BKD: Tensor) -> Tensor:
        """gate * FD in which position t reads words s <= t only (corrected).

        Row t equals the last row of ``forward`` on the first t+1 words. With S = scores and Z their running
        log-sum-exp over words, the two attentions merge into one T x T matrix

            log W_ts = logsumexp_k( log softmax_k(S'_t)_k - Z_tk + S_ks ),  s <= t.

        Positions s > t are set to -inf *before* the exponential: masked afterwards they overflow once |S| nears 80.

        Returns:
            (B, T, D) in the features' dtype.
        """
        with torch.autocast(x_BTD.device.type, enabled=False):
            x, mediators = at_least_float32(x_BTD), at_least_float32(mediators_BKD)
            gather_BTK = (self._queries(mediators, self.gather_features) @ x.transpose(1, 2)).transpose(1, 2)
            choose_BTK = (self._queries(x, self.gather_mediators) @ mediators.transpose(1, 2)).log_softmax(-1)
            offset_BTK = choose_BTK - gather_BTK.logcumsumexp(1)
            exponent_BTSK = offset_BTK.unsqueeze(2) + gather_BTK.unsqueeze(1)
            num_tokens = x.shape[1]
            future_TS = torch.ones(num_tokens, num_tokens, dtype=torch.bool, device=x.device).triu_(1)
            exponent_BTSK = exponent_BTSK.masked_fill(future_TS[None, :, :, None], -torch.inf)
            weights_BTS = exponent_BTSK.exp().sum(-1)
            # Output projections are linear and the weights of a row sum to one, so they apply after the sum.
            out = self._output(self._output(weights_BTS @ x, self.gather_features), self.gather_mediators)
            return self._gated(out, x_BTD.dtype)

    def start(self, mediators_BKD: Tensor) -> FrontDoorState:
        """The incremental state of B studies with one beam each and no word."""
        mediators = at_least_float32(mediators_BKD)
        num_studies, num_mediators, dim = mediators.shape
        return FrontDoorState(
            mediators,
            self._queries(mediators, self.gather_features),
            mediators.new_full((num_studies, 1, num_mediators), -torch.inf),
            mediators.new_zeros(num_studies, 1, num_mediators),
            mediators.new_zeros(num_studies, 1, num_mediators, dim),
        )

    def step(self, x_BWD: Tensor, state: FrontDoorState) -> tuple[Tensor, FrontDoorState]:
        """gate * FD of one new word per beam (B, W, D), by online softmax; equals ``causal`` at that position."""
        with torch.autocast(x_BWD.device.type, enabled=False):
            x = at_least_float32(x_BWD)
            score_BWK = x @ state.queries_BKD.transpose(1, 2)
            peak_BWK = torch.maximum(state.peak_BWK, score_BWK)
            keep_BWK = (state.peak_BWK - peak_BWK).exp()
            new_BWK = (score_BWK - peak_BWK).exp()
            denominator_BWK = state.denominator_BWK * keep_BWK + new_BWK
            numerator_BWKD = state.numerator_BWKD * keep_BWK.unsqueeze(-1) + new_BWK.unsqueeze(-1) * x.unsqueeze(2)
            choose_BWK = (self._queries(x, self.gather_mediators) @ state.mediators_BKD.transpose(1, 2)).softmax(-1)
            out = ((choose_BWK / denominator_BWK).unsqueeze(2) @ numerator_BWKD).squeeze(2)
            out = self._output(self._output(out, self.gather_features), self.gather_mediators)
            grown = FrontDoorState(state.mediators_BKD, state.queries_BKD, peak_BWK, denominator_BWK, numerator_BWKD)
            return self._gated(out, x_BWD.dtype), grown


@dataclass(frozen=True, slots=True)
class FrontDoorState:
    """Running softmax of each mediator over a beam's words: 4 * K * (D + 2) bytes per beam in float32.

    Attributes:
        mediators_BKD: the study's mediators, shared by its beams.
        queries_BKD: them as queries over the words.
        peak_BWK: running maximum of the scores.
        denominator_BWK: sum of exp(score - peak).
        numerator_BWKD: sum of exp(score - peak) * word.
    """

    mediators_BKD: Tensor
    queries_BKD: Tensor
    peak_BWK: Tensor
    denominator_BWK: Tensor
    numerator_BWKD: Tensor

    def reorder(self, studies_C: Tensor | None, parents_CW: Tensor) -> Self:
        """Row c = study ``studies_C[c]`` (None: all in their order) with beams ``parents_CW[c]``."""
        pick = beam_picker(studies_C, parents_CW, self.peak_BWK.shape[1])
        return type(self)(
            self.mediators_BKD if studies_C is None else self.mediators_BKD[studies_C],
            self.queries_BKD if studies_C is None else self.queries_BKD[studies_C],
            pick(self.peak_BWK),
            pick(self.denominator_BWK),
            pick(self.numerator_BWKD),
        )
