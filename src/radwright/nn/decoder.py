"""The report decoder: causal self-attention, cross-attention to the encoded study, and a cache for step-wise decoding.

Shape legend: B studies, W beams, T report tokens, N memory tokens, D width, H heads, E width of a head, U vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from radwright.nn.attention import MASKED, FeedForward, MultiHeadAttention, linear
from radwright.nn.dropout import Dropout
from radwright.nn.positions import sincos_1d

_NUM_POSITIONS = 512
"""Positions kept beside the weights; those of longer texts are computed."""


class TokenEmbedding(nn.Module):
    """norm(dropout(sqrt(D) * embedding + 1-D sine-cosine position))."""

    def __init__(self, vocab_size: int, dim: int, dropout: float, norm: type[nn.Module]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, dim)
        self.norm = norm(dim)
        self.dropout = Dropout(dropout)
        self.scale = math.sqrt(dim)
        # Beside the weights: made anew at every step it would have to be sent to a GPU, which is waited for.
        self.register_buffer("positions_TD", sincos_1d(_NUM_POSITIONS, dim), persistent=False)

    def forward(self, token_ids: Tensor, offset: int = 0) -> Tensor:
        """(..., T) int64 -> (..., T, D); ``offset`` is the position of the first token."""
        x = self.embedding(token_ids) * self.scale
        end = offset + token_ids.shape[-1]
        table = self.get_buffer("positions_TD")[offset:end]
        if end > _NUM_POSITIONS:
            table = sincos_1d(token_ids.shape[-1], x.shape[-1], offset=offset)
        return self.placed(x, table)

    def placed(self, x: Tensor, table_TD: Tensor) -> Tensor:
        """Scaled embeddings (..., T, D) at the positions of a table (T, D)."""
        out: Tensor = self.norm(self.dropout(x + table_TD.to(device=x.device, dtype=x.dtype)))
        return out


class DecoderLayer(nn.Module):
    """Pre-norm self-attention, cross-attention and feed-forward."""

    def __init__(self, dim: int, num_heads: int, hidden_dim: int, dropout: float, norm: type[nn.Module]) -> None:
        super().__init__()
        self.self_norm = norm(dim)
        self.self_attention = MultiHeadAttention(dim, num_heads, dropout)
        self.cross_norm = norm(dim)
        self.cross_attention = MultiHeadAttention(dim, num_heads, dropout)
        self.feed_forward_norm = norm(dim)
        self.feed_forward = FeedForward(dim, hidden_dim, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, x_BTD: Tensor, memory_BND: Tensor, self_mask: Tensor, cross_mask: Tensor | None) -> Tensor:
        """Teacher-forced: all T tokens at once. Masks are additive, broadcastable to (B, H, T, T) and (B, H, T, N)."""
        normed = self.self_norm(x_BTD)
        x_BTD = x_BTD + self.dropout(self.self_attention(normed, normed, self_mask))
        x_BTD = x_BTD + self.dropout(self.cross_attention(self.cross_norm(x_BTD), memory_BND, cross_mask))
        out: Tensor = x_BTD + self.dropout(self.feed_forward(self.feed_forward_norm(x_BTD)))
        return out

    def with_maps(
        self, x_BTD: Tensor, memory_BND: Tensor, self_mask: Tensor, cross_mask: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """As ``forward``, and the maps of self-attention (B, H, T, T) and of cross-attention (B, H, T, N)."""
        normed = self.self_norm(x_BTD)
        attended, self_maps = self.self_attention.with_maps(normed, normed, self_mask)
        x_BTD = x_BTD + self.dropout(attended)
        crossed, cross_maps = self.cross_attention.with_maps(self.cross_norm(x_BTD), memory_BND, cross_mask)
        x_BTD = x_BTD + self.dropout(crossed)
        return x_BTD + self.dropout(self.feed_forward(self.feed_forward_norm(x_BTD))), (self_maps, cross_maps)

    def step(
        self, x_BWD: Tensor, cache: tuple[Tensor, Tensor], memory: tuple[Tensor, Tensor], cross_mask: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One token per beam. ``cache``: keys and values (B, W, H, t, E); ``memory``: (B, H, N, E), shared by beams."""
        num_studies, num_beams, dim = x_BWD.shape
        normed = self.self_norm(x_BWD).reshape(num_studies * num_beams, 1, dim)
        keys, values = self.self_attention.keys_values(normed)
        grid = (num_studies, num_beams)
        keys = torch.cat([cache[0], keys.reshape(*grid, *keys.shape[1:])], dim=3)
        values = torch.cat([cache[1], values.reshape(*grid, *values.shape[1:])], dim=3)
        attended = self.self_attention.attend(normed, keys.flatten(0, 1), values.flatten(0, 1))
        x_BWD = x_BWD + attended.reshape(num_studies, num_beams, dim)
        # The beams of a study are the query rows of one attention: its memory is read once, never copied per beam.
        x_BWD = x_BWD + self.cross_attention.attend(self.cross_norm(x_BWD), *memory, cross_mask)
        return x_BWD + self.feed_forward(self.feed_forward_norm(x_BWD)), (keys, values)


def beam_picker(studies_C: Tensor | None, parents_CX: Tensor, num_beams: int) -> Callable[[Tensor], Tensor]:
    """Picks rows out of tensors (B, W, ...): row c = study ``studies_C[c]`` with its beams ``parents_CX[c]``.

    Args:
        studies_C: int64; None: all studies in their order.
        parents_CX: int64.
        num_beams: W.
    """
    if studies_C is None:
        studies_C = torch.arange(len(parents_CX), device=parents_CX.device)
    rows = (studies_C.unsqueeze(1) * num_beams + parents_CX).flatten()
    # Whole rows by one index: a GPU moves them several times faster than by two.
    return lambda x: x.flatten(0, 1).index_select(0, rows).unflatten(0, parents_CX.shape)  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class DecoderCache:
    """What the decoder remembers between steps: a value, passed in and out.

    Attributes:
        self_keys_values: per layer, keys and values (B, W, H, t, E) of the tokens so far.
        cross_keys_values: per layer, keys and values (B, H, N, E) of the encoded study.
        cross_mask: additive (B, 1, 1, N), or None when every memory token is real.
        num_tokens: t.
    """

    self_keys_values: tuple[tuple[Tensor, Tensor], ...]
    cross_keys_values: tuple[tuple[Tensor, Tensor], ...]
    cross_mask: Tensor | None
    num_tokens: int

    def reorder(self, studies_C: Tensor | None, parents_CW: Tensor) -> DecoderCache:
        """Row c = study ``studies_C[c]`` (None: all in their order) with beams ``parents_CW[c]``."""
        pick = beam_picker(studies_C, parents_CW, self.self_keys_values[0][0].shape[1])
        own = tuple((pick(keys), pick(values)) for keys, values in self.self_keys_values)
        if studies_C is None:
            return replace(self, self_keys_values=own)
        return replace(
            self,
            self_keys_values=own,
            cross_keys_values=tuple((keys[studies_C], values[studies_C]) for keys, values in self.cross_keys_values),
            cross_mask=None if self.cross_mask is None else self.cross_mask[studies_C],
        )


class ReportDecoder(nn.Module):
    """A stack of decoder layers, a final norm, and the vocabulary projection (not tied to the embedding)."""

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        dropout: float,
        norm: type[nn.Module],
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(dim, num_heads, hidden_dim, dropout, norm) for _ in range(num_layers))
        self.norm = norm(dim)
        self.logit = linear(dim, vocab_size)

    def forward(
        self,
        x_BTD: Tensor,
        memory_BND: Tensor,
        cross_mask: Tensor | None = None,
        valid_BT: Tensor | None = None,
    ) -> Tensor:
        """Teacher-forced logits (B, T, U); position t attends to positions s <= t.

        Args:
            x_BTD: embedded tokens.
            memory_BND: the encoded study.
            cross_mask: additive, broadcastable to (B, H, T, N).
            valid_BT: bool; False keys are hidden too. Only the released form needs it: padding comes last, where the
                causal mask hides it from every real token already.
        """
        causal = _causal(x_BTD, valid_BT)
        for layer in self.layers:
            x_BTD = layer(x_BTD, memory_BND, causal, cross_mask)
        logits: Tensor = self.logit(self.norm(x_BTD))
        return logits

    def maps(
        self,
        x_BTD: Tensor,
        memory_BND: Tensor,
        cross_mask: Tensor | None = None,
        valid_BT: Tensor | None = None,
    ) -> list[tuple[Tensor, Tensor]]:
        """Per layer the maps of self- and cross-attention behind ``forward``, whose arguments these are."""
        causal, maps = _causal(x_BTD, valid_BT), []
        for layer in self.layers:
            x_BTD, pair = layer.with_maps(x_BTD, memory_BND, causal, cross_mask)  # type: ignore[operator]
            maps.append(pair)
        return maps

    def start(self, memory_BND: Tensor, cross_mask: Tensor | None = None) -> DecoderCache:
        """The cache of B studies with one beam each and no token; cross-attention keys and values are made once."""
        layers: list[DecoderLayer] = list(self.layers)  # type: ignore[arg-type]
        # Head by head in memory: every step reads them all, a third faster so on a CPU.
        pairs = tuple(
            (keys.contiguous(), values.contiguous())
            for keys, values in (layer.cross_attention.keys_values(memory_BND) for layer in layers)
        )
        # In the precision of keys and values (bf16 under autocast), not of the memory.
        empty = pairs[0][0].unsqueeze(1)[..., :0, :]
        return DecoderCache(tuple((empty, empty) for _ in layers), pairs, cross_mask, 0)

    def step(self, x_BWD: Tensor, cache: DecoderCache) -> tuple[Tensor, DecoderCache]:
        """Append one embedded token per beam; logits (B, W, U) of the next token, and the grown cache."""
        grown = []
        layers: list[DecoderLayer] = list(self.layers)  # type: ignore[arg-type]
        for layer, own, memory in zip(layers, cache.self_keys_values, cache.cross_keys_values, strict=True):
            x_BWD, pair = layer.step(x_BWD, own, memory, cache.cross_mask)
            grown.append(pair)
        logits: Tensor = self.logit(self.norm(x_BWD))
        return logits, replace(cache, self_keys_values=tuple(grown), num_tokens=cache.num_tokens + 1)


def _causal(x_BTD: Tensor, valid_BT: Tensor | None) -> Tensor:
    """The additive mask of self-attention: (T, T), or (B, 1, T, T) where keys are hidden besides."""
    num_tokens = x_BTD.shape[1]
    causal = torch.full((num_tokens, num_tokens), MASKED, dtype=x_BTD.dtype, device=x_BTD.device).triu_(1)
    if valid_BT is None:
        return causal
    hidden = torch.zeros(valid_BT.shape, dtype=x_BTD.dtype, device=x_BTD.device).masked_fill_(~valid_BT, MASKED)
    # A minimum, not a sum: a row whose every key is masked must stay uniform as in the released network.
    return torch.minimum(causal, hidden[:, None, None, :])
