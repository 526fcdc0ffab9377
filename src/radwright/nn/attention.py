"""Multi-head attention, the feed-forward block, and the pre-norm encoder layer.

Shape legend: B studies, N query tokens, M key tokens, D width, H heads, E width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from radwright.nn.dropout import Dropout, dropout

MASKED = -1e9
"""Score of a masked pair. Finite on purpose: a row with every key masked attends uniformly instead of becoming NaN."""


_FEW_ROWS = range(2, 6)


class Linear(nn.Linear):
    """``nn.Linear``; the few rows of one decoding step take the product as W x^T on a CPU.

    A step reads all weights for a handful of rows, so the memory sets its time, and the BLAS reads them faster in this
    order unless the layer narrows (512 -> 2048 for 3 rows, MKL on one core: 13 against 6 GB/s).
    """

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        if torch.compiler.is_exporting():  # a graph is for any number of rows
            return super().forward(x)
        few = x.numel() // self.in_features in _FEW_ROWS and self.in_features <= self.out_features
        if not few or x.device.type != "cpu" or torch.is_grad_enabled():
            return super().forward(x)
        out = torch.mm(self.weight, x.reshape(-1, self.in_features).t()).t().contiguous()
        if self.bias is not None:
            out += self.bias
        return out.reshape(*x.shape[:-1], self.out_features)


def linear(in_features: int, out_features: int, *, bias: bool = True) -> Linear:
    """A linear layer with Xavier-uniform weights and zero bias (as released)."""
    layer = Linear(in_features, out_features, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Boolean mask (True = may attend) to the scores that are added: 0 or ``MASKED``."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, MASKED)


def _wants_plain(queries: Tensor) -> bool:
    """Whether plain products are faster than fused attention: a GPU's float32 form of that works on 64 queries.

    In an exported graph the fused form falls apart into one that scales all keys at every step.
    """
    if torch.compiler.is_exporting():
        return True
    return queries.device.type == "cuda" and queries.dtype == torch.float32 and queries.shape[-2] in range(1, 9)


class MultiHeadAttention(nn.Module):
    """softmax(QK^T / sqrt(E)) V with biased projections and dropout on the probabilities."""

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"width {dim} is not divisible by {num_heads} heads")
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = linear(dim, dim)
        self.key = linear(dim, dim)
        self.value = linear(dim, dim)
        self.out = linear(dim, dim)

    def split(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, H, N, E)."""
        return x.reshape(*x.shape[:-1], self.num_heads, -1).transpose(-2, -3)

    def merge(self, x: Tensor) -> Tensor:
        """(B, H, N, E) -> (B, N, D), through the output projection."""
        projected: Tensor = self.out(x.transpose(-2, -3).flatten(-2))
        return projected

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, M, E) of a memory (B, M, D); computed once per study and reused by every step."""
        return self.split(self.key(memory)), self.split(self.value(memory))

    def attend(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend from x (B, N, D) over given keys and values; ``mask`` is additive, broadcastable to (B, H, N, M)."""
        queries = self.split(self.query(x))
        rate = self.dropout if self.training else 0.0
        if (rate and x.device.type == "cpu") or _wants_plain(queries):
            # On a CPU the fused form has no dropout and falls back to this one, with slower draws.
            return self.merge(self._maps(queries, keys, mask) @ values)
        return self.merge(F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=rate))

    def _maps(self, queries: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        # The queries are scaled, not the scores: they are many times smaller.
        scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
        if mask is not None:
            scores = scores + mask
        return dropout(scores.softmax(-1), self.dropout, self.training)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend from x (B, N, D) over memory (B, M, D)."""
        return self.attend(x, *self.keys_values(memory), mask)

    def with_maps(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As ``forward``, and the attention maps (B, H, N, M) after dropout, which the causal modules read."""
        keys, values = self.keys_values(memory)
        maps = self._maps(self.split(self.query(x)), keys, mask)
        return self.merge(maps @ values), maps


class FeedForward(nn.Module):
    """Linear, ReLU, dropout, linear."""

    def __init__(self, dim: int, hidden_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.up = linear(dim, hidden_dim)
        self.down = linear(hidden_dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        out: Tensor = self.down(self.dropout(F.relu_(self.up(x))))
        return out


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and feed-forward: x + dropout(f(norm(x))), twice."""

    def __init__(self, dim: int, num_heads: int, hidden_dim: int, dropout: float, norm: type[nn.Module]) -> None:
        super().__init__()
        self.attention_norm = norm(dim)
        self.attention = MultiHeadAttention(dim, num_heads, dropout)
        self.feed_forward_norm = norm(dim)
        self.feed_forward = FeedForward(dim, hidden_dim, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D); ``mask`` additive, broadcastable to (B, H, N, N)."""
        normed = self.attention_norm(x)
        x = x + self.dropout(self.attention(normed, normed, mask))
        out: Tensor = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return out

    def with_maps(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As ``forward``, and the attention maps (B, H, N, N)."""
        normed = self.attention_norm(x)
        attended, maps = self.attention.with_maps(normed, normed, mask)
        x = x + self.dropout(attended)
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x))), maps
