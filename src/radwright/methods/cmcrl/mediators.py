"""The mediators of CMCRL: local and global sampling with their fusion (visual), and the cross layers (linguistic).

Shape legend: B studies, V views, G patches per side, N = V * G * G patches, D width, H heads, L local tokens,
P pooled side ceil(G/2), M = V * P * P global tokens, U vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from radwright.nn.attention import FeedForward, MultiHeadAttention, additive, linear
from radwright.nn.dropout import Dropout, dropout


def cls_rollout(maps: list[Tensor]) -> Tensor:
    """Attention of CLS to every token, rolled out through the layers per head, without residual: (A_L ... A_1)[CLS].

    Only the CLS row is carried down from the last layer: one vector-matrix product per layer and head instead of a
    matrix-matrix product.

    Args:
        maps: attention maps (B, H, 1+N, 1+N) of the encoder layers, first layer first.

    Returns:
        (B, H, 1+N), at least float32 (bf16 would change 4-6 % of the chosen patches).
    """
    row: Tensor = maps[-1][:, :, :1]
    row = row.float() if row.dtype in {torch.bfloat16, torch.float16} else row
    for attention in reversed(maps[:-1]):
        row = row @ attention.to(row.dtype)
    return row.squeeze(2)


class CounterfactualLayer(nn.Module):
    """One CaaM layer: attention and its complement share all projections; the complement has no residual to x.

    y = norm(x), S = QK^T/sqrt(E); a = O(softmax(-S)V), c = O(softmax(+S)V); x1 = x + a; x2 = x1 + FFN(norm(x1));
    out = x2 + c + FFN(norm(c)), one FFN and one norm for both branches.
    """

    def __init__(self, dim: int, num_heads: int, hidden_dim: int, dropout: float, norm: type[nn.Module]) -> None:
        super().__init__()
        self.attention_norm = norm(dim)
        self.attention = MultiHeadAttention(dim, num_heads, dropout)
        self.feed_forward_norm = norm(dim)
        self.feed_forward = FeedForward(dim, hidden_dim, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        normed = self.attention_norm(x)
        attention = self.attention
        queries = attention.split(attention.query(normed))
        keys, values = attention.keys_values(normed)
        scores = queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1])
        rate = attention.dropout
        main = attention.merge(dropout((-scores).softmax(-1), rate, self.training) @ values)
        complement = attention.merge(dropout(scores.softmax(-1), rate, self.training) @ values)
        x = x + self.dropout(main)
        x = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        complement = complement + self.dropout(self.feed_forward(self.feed_forward_norm(complement)))
        out: Tensor = x + complement
        return out


class LocalSampling(nn.Module):
    """The patches that CLS attends to most, per head, through one CaaM layer: local tokens F_l."""

    def __init__(
        self, dim: int, num_heads: int, hidden_dim: int, per_head: int, dropout: float, norm: type[nn.Module]
    ) -> None:
        super().__init__()
        self.per_head = per_head
        self.layer = CounterfactualLayer(dim, num_heads, hidden_dim, dropout, norm)

    def forward(self, h_BND: Tensor, maps: list[Tensor], valid_BN: Tensor) -> Tensor:
        """Local tokens (B, H * per_head, D): head-major, descending roll-out, duplicates kept.

        The choice has no gradient; the gathered features have.

        Args:
            h_BND: encoded tokens, CLS first (B, 1+N, D).
            maps: the encoder's attention maps.
            valid_BN: bool (B, 1+N), False for patches of missing views.
        """
        with torch.no_grad():
            rollout_BHN = cls_rollout(maps)[:, :, 1:].masked_fill(~valid_BN[:, None, 1:], -1.0)
            chosen_BL = rollout_BHN.topk(self.per_head, dim=-1).indices.flatten(1) + 1  # +1: CLS was dropped
        local = h_BND.gather(1, chosen_BL.unsqueeze(-1).expand(-1, -1, h_BND.shape[-1]))
        with_cls: Tensor = self.layer(torch.cat([h_BND[:, :1], local], dim=1))
        return with_cls[:, 1:]


class GlobalSampling(nn.Module):
    """A down-sampling relative-attention block (CoAtNet): each view's G x G patches to P x P global tokens.

    z = conv1x1(p) + attention(norm(p)) with p = maxpool(3, stride 2, pad 1); z + FFN(norm(z)), GELU. Standard layer
    norm, 8 heads of 32, no qkv bias, a learnt bias per relative position and head.
    """

    HEADS, HEAD_DIM = 8, 32

    def __init__(self, dim: int, grid_side: int) -> None:
        super().__init__()
        self.pooled_side = (grid_side + 1) // 2
        inner = self.HEADS * self.HEAD_DIM
        self.shortcut = nn.Conv2d(dim, dim, 1, bias=False)
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.out = nn.Linear(inner, dim)
        self.relative_bias = nn.Parameter(torch.zeros((2 * self.pooled_side - 1) ** 2, self.HEADS))
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)

    def _bias(self) -> Tensor:
        """(1, heads, M, M): the bias of query i and key j at (row_i - row_j, column_i - column_j)."""
        side = self.pooled_side
        axis = torch.arange(side, device=self.relative_bias.device)
        row, column = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing="ij"))
        delta_row = row[:, None] - row[None, :] + side - 1
        delta_column = column[:, None] - column[None, :] + side - 1
        index = delta_row * (2 * side - 1) + delta_column
        return self.relative_bias[index].permute(2, 0, 1).unsqueeze(0)

    def forward(self, patches_BVND: Tensor) -> Tensor:
        """(B, V, G*G, D) -> (B, V * P * P, D), view by view, row-major."""
        num_studies, num_views, num_patches, dim = patches_BVND.shape
        side = math.isqrt(num_patches)
        grid = patches_BVND.reshape(-1, side, side, dim).permute(0, 3, 1, 2)
        pooled = F.max_pool2d(grid, 3, 2, 1)
        tokens = self.attention_norm(pooled.flatten(2).transpose(1, 2))
        queries, keys, values = (
            part.reshape(*part.shape[:2], self.HEADS, self.HEAD_DIM).transpose(1, 2)
            for part in self.qkv(tokens).chunk(3, dim=-1)
        )
        bias = self._bias().to(queries.dtype)
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
        z = self.shortcut(pooled).flatten(2).transpose(1, 2) + self.out(mixed.transpose(1, 2).flatten(2))
        z = z + self.down(F.gelu(self.up(self.feed_forward_norm(z))))
        out: Tensor = z.reshape(num_studies, num_views * z.shape[1], dim)
        return out


class LocalGlobalFusion(nn.Module):
    """LGFM: local tokens attend to themselves and to the global tokens; both are joined into the visual mediator M_v.

    ll = l + MHA(l,l,l), lg = l + MHA(l,g,g), m = norm(W[ll, lg]), M_v = m + W2 W1 m: a linear map, no activation (as
    released: a GELU is built there but never called).
    """

    def __init__(self, dim: int, num_heads: int, hidden_dim: int, dropout: float, norm: type[nn.Module]) -> None:
        super().__init__()
        self.local_norm = norm(dim)
        self.global_norm = norm(dim)
        self.local_local = MultiHeadAttention(dim, num_heads, dropout)
        self.local_global = MultiHeadAttention(dim, num_heads, dropout)
        self.join = linear(2 * dim, dim)
        self.norm = norm(dim)
        self.up = linear(dim, hidden_dim)
        self.down = linear(hidden_dim, dim)

    def forward(self, local_BLD: Tensor, global_BMD: Tensor, valid_BM: Tensor) -> Tensor:
        """M_v (B, L, D); ``valid_BM`` is False for global tokens of missing views."""
        local, globe = self.local_norm(local_BLD), self.global_norm(global_BMD)
        mask = additive(valid_BM[:, None, None, :], local.dtype)
        joined = [local + self.local_local(local, local), local + self.local_global(local, globe, mask)]
        fused = self.norm(self.join(torch.cat(joined, dim=-1)))
        out: Tensor = fused + self.down(self.up(fused))
        return out


class CrossLayer(nn.Module):
    """x <- x + MHA(norm(x), y, y); x <- x + FFN(norm(x)). y is not normalised and, without a batch, shared by all."""

    def __init__(self, dim: int, num_heads: int, hidden_dim: int, dropout: float, norm: type[nn.Module]) -> None:
        super().__init__()
        self.attention_norm = norm(dim)
        self.attention = MultiHeadAttention(dim, num_heads, dropout)
        self.feed_forward_norm = norm(dim)
        self.feed_forward = FeedForward(dim, hidden_dim, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x (B, L, D), y (B, M, D) or (1, M, D)."""
        queries = self.attention_norm(x)
        if y.shape[0] == 1:
            # One memory for all studies: their tokens are rows of one attention, its keys are never repeated.
            queries = queries.reshape(1, -1, x.shape[-1])
        x = x + self.dropout(self.attention(queries, y).reshape(x.shape))
        out: Tensor = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return out


class LinguisticMediator(nn.Module):
    """M_l: the local tokens query the vocabulary, then themselves. It does not depend on the words written so far.

    z = norm_z(stop_gradient(sqrt(D) E)), f = norm_f(F_l), m = cross_t(f, z), M_l = norm(cross_v(m, f) + m).
    """

    def __init__(self, dim: int, num_heads: int, hidden_dim: int, dropout: float, norm: type[nn.Module]) -> None:
        super().__init__()
        self.vocabulary_norm = norm(dim)
        self.local_norm = norm(dim)
        self.query_vocabulary = CrossLayer(dim, num_heads, hidden_dim, dropout, norm)
        self.query_local = CrossLayer(dim, num_heads, hidden_dim, dropout, norm)
        self.norm = norm(dim)

    def forward(self, local_BLD: Tensor, embedding_UD: Tensor) -> Tensor:
        """M_l (B, L, D). Gradient flows into the local tokens, never into the embedding."""
        scaled = embedding_UD.detach() * math.sqrt(embedding_UD.shape[-1])
        vocabulary = self.vocabulary_norm(scaled).unsqueeze(0)
        local = self.local_norm(local_BLD)
        mediator = self.query_vocabulary(local, vocabulary)
        out: Tensor = self.norm(self.query_local(mediator, local) + mediator)
        return out
