"""Small models that decoding can be tried on: every logit depends on the whole history and on the study."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from radwright.types import Batch

BOS, EOS, PAD, UNK = 0, 1, 2, 3


def batch_of(*study_ids: str) -> Batch:
    """Studies whose pictures depend on their name only."""
    pictures = [torch.rand(2, 1, 2, 2, generator=torch.Generator().manual_seed(hash_of(name))) for name in study_ids]
    return Batch(
        tuple(study_ids),
        torch.stack(pictures) if pictures else torch.zeros(0, 2, 1, 2, 2),
        torch.ones(len(study_ids), 2, dtype=torch.bool),
        torch.zeros(len(study_ids), 2, dtype=torch.int64),
    )


def hash_of(name: str) -> int:
    return sum((place + 1) * byte for place, byte in enumerate(name.encode()))


@dataclass
class ToyState:
    study_BD: Tensor
    memory_BWD: Tensor
    fed_BWT: Tensor


class ToyModel:
    """A random recurrent network in float64; also counts what decoding asks of it.

    ``sharpness`` scales the logits; the logit of EOS rises by ``eos_ramp`` per token from ``eos_bias`` at the third;
    with ``settling`` the network becomes surer of itself with every token, so that later tokens cost little.
    """

    def __init__(
        self,
        num_tokens: int,
        *,
        seed: int = 0,
        sharpness: float = 3.0,
        eos_bias: float = 0.0,
        eos_ramp: float = 1.0,
        eos_id: int = EOS,
        settling: float = 0.0,
    ) -> None:
        draw = torch.Generator().manual_seed(seed)
        width = 6

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=draw, dtype=torch.float64)

        self.embed_UD, self.out_DU = normal(num_tokens, width), normal(width, num_tokens) * sharpness
        self.recur_DD, self.image_PD = normal(width, width) / math.sqrt(width), normal(8, width)
        self.eos_id, self.eos_bias, self.eos_ramp, self.settling = eos_id, eos_bias, eos_ramp, settling
        self.out_DU[:, eos_id] *= 0.4
        self.grids: list[tuple[int, int]] = []
        self.num_reorders = 0

    def start(self, batch: Batch) -> ToyState:
        study_BD = (batch.images_BV1SS.to(torch.float64).flatten(1) - 0.5) @ self.image_PD
        num_studies = len(batch)
        return ToyState(
            study_BD, torch.zeros(num_studies, 1, 6).double(), torch.zeros(num_studies, 1, 0, dtype=torch.int64)
        )

    def step(self, state: ToyState, token_ids_BW: Tensor) -> tuple[Tensor, ToyState]:
        assert state.memory_BWD.shape[:2] == token_ids_BW.shape == state.fed_BWT.shape[:2]
        assert state.study_BD.shape[0] == token_ids_BW.shape[0]
        self.grids.append((token_ids_BW.shape[0], token_ids_BW.shape[1]))
        mixed = state.memory_BWD @ self.recur_DD + self.embed_UD[token_ids_BW] + state.study_BD[:, None]
        memory_BWD = torch.tanh(mixed)
        fed_BWT = torch.cat([state.fed_BWT, token_ids_BW[..., None]], -1)
        logits = memory_BWD @ self.out_DU
        logits[..., self.eos_id] += self.eos_bias + self.eos_ramp * (fed_BWT.shape[-1] - 3)
        logits = logits * (1 + self.settling * (fed_BWT.shape[-1] - 1))
        return torch.log_softmax(logits, -1), ToyState(state.study_BD, memory_BWD, fed_BWT)

    def reorder(self, state: ToyState, studies_C: Tensor | None, parents_CW: Tensor) -> ToyState:
        self.num_reorders += 1
        if studies_C is None:
            studies_C = torch.arange(len(state.study_BD))
        rows = studies_C[:, None]
        return ToyState(state.study_BD[studies_C], state.memory_BWD[rows, parents_CW], state.fed_BWT[rows, parents_CW])


class UncachedModel(ToyModel):
    """The same network, computed anew from the whole history at every step: the state is the history alone."""

    def step(self, state: ToyState, token_ids_BW: Tensor) -> tuple[Tensor, ToyState]:
        fed_BWT = torch.cat([state.fed_BWT, token_ids_BW[..., None]], -1)
        fresh = ToyState(state.study_BD, torch.zeros(*token_ids_BW.shape, 6).double(), fed_BWT[..., :0])
        for at in range(fed_BWT.shape[-1]):
            log_probs, fresh = super().step(fresh, fed_BWT[..., at])
        return log_probs, ToyState(state.study_BD, torch.full_like(fresh.memory_BWD, torch.nan), fed_BWT)


def log_prob_of(model: ToyModel, batch: Batch, tokens: list[int], *, bos_id: int = BOS) -> float:
    """Teacher-forced sum over ``tokens`` for a batch of one."""
    state, fed, total = model.start(batch), bos_id, 0.0
    for token in tokens:
        log_probs, state = model.step(state, torch.tensor([[fed]]))
        total, fed = total + log_probs[0, 0, token].item(), token
    return total


def released_beam_search(
    model: ToyModel, batch: Batch, *, num_beams: int, num_steps: int, suppressed: tuple[int, ...] = ()
) -> tuple[list[int], float]:
    """The released search, written as its description reads, one study, id 0 = BOS = EOS = PAD, no cache.

    Every step runs. A beam that emits 0 is stored with its sum and then gets -1000, yet goes on; after the last step
    the others are stored too. The highest sum wins, the earlier one among equals.
    """
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    stored: list[tuple[float, list[int]]] = []
    for step in range(num_steps):
        candidates = []
        for place, (total, tokens) in enumerate(beams):
            state = model.start(batch)
            for fed in [0, *tokens]:
                log_probs, state = model.step(state, torch.tensor([[fed]]))
            for token, gain in enumerate(log_probs[0, 0].tolist()):
                if token not in suppressed:
                    candidates.append((-(total + gain), place, token))
        best = sorted(candidates)[:num_beams]
        beams = [(-negative, [*beams[place][1], token]) for negative, place, token in best]
        for place, (total, tokens) in enumerate(beams):
            if tokens[-1] == 0 or step == num_steps - 1:
                stored.append((total, list(tokens)))
                beams[place] = (total - 1000, tokens)
    total, tokens = max(stored, key=lambda pair: pair[0])
    return tokens[: tokens.index(0)] if 0 in tokens else tokens, total


def live_beam_search(
    model: ToyModel,
    batch: Batch,
    *,
    num_beams: int,
    num_steps: int,
    penalty: float = 0.0,
    num_reports: int = 1,
    suppressed: tuple[int, ...] = (),
) -> list[tuple[float, list[int]]]:
    """Search in which ended beams give up their place, as its description reads, one study, no cache, no early stop.

    Every step ranks all continuations of all beams. Of the first ``num_beams`` those that end are stored; the first
    ``num_beams`` that do not end go on. The last step stores the first ``num_beams``, ended or not.
    """
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    stored: list[tuple[float, list[int]]] = []
    for step in range(num_steps):
        candidates = []
        for place, (total, tokens) in enumerate(beams):
            state = model.start(batch)
            for fed in [BOS, *tokens]:
                log_probs, state = model.step(state, torch.tensor([[fed]]))
            for token, gain in enumerate(log_probs[0, 0].tolist()):
                if token not in suppressed:
                    candidates.append((-(total + gain), place, token))
        ranked = [(-negative, [*beams[place][1], token]) for negative, place, token in sorted(candidates)]
        for total, tokens in ranked[:num_beams]:
            if tokens[-1] == EOS or step == num_steps - 1:
                stored.append((total / (step + 1) ** penalty, tokens))
        beams = [(total, tokens) for total, tokens in ranked if tokens[-1] != EOS][:num_beams]
    stored.sort(key=lambda pair: -pair[0])
    return [(rank, [token for token in tokens if token != EOS]) for rank, tokens in stored[:num_reports]]
