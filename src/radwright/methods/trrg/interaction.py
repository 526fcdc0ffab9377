"""Cross-modal clue interaction: clues read the image at three granularities, patches read the clues.

That visual embeddings and any number of clues interact at several granularities is the paper's; the layers are ours.

Shape legend: B studies, V views, P patches per view, N = V * P, Z visual tokens of all granularities, K = 1 + M clues,
C encoder width, D interaction width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from radwright.nn.attention import MultiHeadAttention, additive, linear

START_GATE = 0.1
"""At 0 the attention behind a gate would get no gradient."""
REGIONS_PER_SIDE = 2


class _FeedForward(nn.Module):
    def __init__(self, dim: int, *, zero: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.up, self.down = linear(dim, 4 * dim), linear(4 * dim, dim)
        if zero:
            nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(F.gelu(self.up(self.norm(x))))
        return out


class InteractionLayer(nn.Module):
    """C <- C + tanh(gamma_c) MHA(LN C, LN Z), C <- C + FFN(C); P <- P + tanh(gamma_v) MHA(LN P, C), P <- P + FFN(P)."""

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.clue_norm, self.visual_norm, self.patch_norm = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.told_norm = nn.LayerNorm(dim)
        self.clues_look = MultiHeadAttention(dim, num_heads, dropout)
        self.patches_listen = MultiHeadAttention(dim, num_heads, dropout)
        self.clue_gate = nn.Parameter(torch.tensor(START_GATE))
        self.patch_gate = nn.Parameter(torch.tensor(START_GATE))
        self.clue_feed_forward = _FeedForward(dim, zero=False)
        self.patch_feed_forward = _FeedForward(dim, zero=True)

    def forward(
        self, clues_BKD: Tensor, patches_BND: Tensor, visual_BZD: Tensor, look_mask: Tensor, told_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """New clues and patches; masks are additive, (B, 1, 1, Z) and (B, 1, 1, K)."""
        looked = self.clues_look(self.clue_norm(clues_BKD), self.visual_norm(visual_BZD), look_mask)
        clues_BKD = clues_BKD + self.clue_gate.tanh() * looked
        clues_BKD = clues_BKD + self.clue_feed_forward(clues_BKD)
        heard = self.patches_listen(self.patch_norm(patches_BND), self.told_norm(clues_BKD), told_mask)
        patches_BND = patches_BND + self.patch_gate.tanh() * heard
        return clues_BKD, patches_BND + self.patch_feed_forward(patches_BND)


class ClueInteraction(nn.Module):
    """The stack of layers over Z = [g; R; P] W, per view; without a layer the tokens only pass the projections.

    Clues have no positions, so their order is nothing to it; one that is not told is in no softmax.
    """

    def __init__(self, visual_dim: int, dim: int, num_layers: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.project = linear(visual_dim, dim)
        self.visual_norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(InteractionLayer(dim, num_heads, dropout) for _ in range(num_layers))

    def forward(
        self, patches_BVPC: Tensor, view_mask_BV: Tensor, clues_BKD: Tensor, keep_BK: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Patches (B, N, D) and clues (B, K, D) after the exchange."""
        num_patches = patches_BVPC.shape[2]
        tokens_BVZD = self.visual_norm(self.project(granularities(patches_BVPC)))
        per_view = tokens_BVZD.shape[2]
        patches_BND = tokens_BVZD[:, :, per_view - num_patches :].flatten(1, 2)
        visual_BZD = tokens_BVZD.flatten(1, 2)
        # A study without images would leave nothing to look at; it then looks at zeros.
        seen_BZ = (view_mask_BV | ~view_mask_BV.any(1, keepdim=True)).repeat_interleave(per_view, dim=1)
        look_mask = additive(seen_BZ[:, None, None], visual_BZD.dtype)
        told_mask = additive(keep_BK[:, None, None], visual_BZD.dtype)
        for layer in self.layers:
            clues_BKD, patches_BND = layer(clues_BKD, patches_BND, visual_BZD, look_mask, told_mask)
        return patches_BND, clues_BKD


def granularities(patches_BVPC: Tensor) -> Tensor:
    """[g; R; P] of every view, (B, V, 1 + 4 + P, C): the mean, the means of 2 x 2 regions, the patches."""
    side = round(patches_BVPC.shape[2] ** 0.5)
    grid = patches_BVPC.transpose(2, 3).flatten(0, 1).unflatten(-1, (side, side))  # type: ignore[no-untyped-call]
    regions = F.adaptive_avg_pool2d(grid, REGIONS_PER_SIDE).flatten(2).transpose(1, 2)
    regions_BVRC = regions.unflatten(0, patches_BVPC.shape[:2])  # type: ignore[no-untyped-call]
    return torch.cat([patches_BVPC.mean(2, keepdim=True), regions_BVRC, patches_BVPC], dim=2)
