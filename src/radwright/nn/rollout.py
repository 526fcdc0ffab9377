"""Attention roll-out (Abnar and Zuidema 2020): attention followed back through layers to what went into the first one.

A layer adds what it attends to, to what was there, so a place behind it is counted as half itself and half what it
attends to, the mean over heads: A = I / 2 + mean_h(A_h) / 2. Layers multiply. Rows stay shares: they sum to 1. Values,
norms and feed-forward layers are not followed, so a share says where a network looks, not what it takes from there.

Shape legend: B studies, H heads, N memory tokens, T report tokens, S places of a sequence, R of its places.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def with_residual(maps_BHSS: Tensor) -> Tensor:
    """One layer of self-attention with its residual connection, (B, S, S)."""
    mean_BSS = maps_BHSS.mean(1)
    return 0.5 * mean_BSS + 0.5 * torch.eye(mean_BSS.shape[-1], dtype=mean_BSS.dtype, device=mean_BSS.device)


def roll_back(rows_BRS: Tensor, layers: Sequence[Tensor]) -> Tensor:
    """Shares on the places behind a stack of layers as shares on the places before it, (B, R, S).

    Args:
        rows_BRS: shares on the places behind the last layer.
        layers: self-attention maps (B, H, S, S), first layer first.
    """
    # Rows are carried down from the last layer: cheaper than the product of all layers.
    for maps in reversed(layers):
        rows_BRS = rows_BRS @ with_residual(maps).to(rows_BRS.dtype)
    return rows_BRS


def roll_decoder(layers: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """What a stack of decoder layers reads, from the memory and from its own words.

    Behind self-attention A and cross-attention C, with shares M on the memory and W on the words (0 and I at first):
    M <- (A M + C) / 2, W <- A W / 2.

    Args:
        layers: per layer, first one first, maps of self-attention (B, H, T, T) and of cross-attention (B, H, T, N).

    Returns:
        shares on the memory (B, T, N) and on the words (B, T, T); both together sum to 1 in every row.
    """
    first_self, first_cross = layers[0]
    memory_BTN = torch.zeros_like(first_cross[:, 0])
    words_BTT = torch.eye(first_self.shape[-1], dtype=first_self.dtype, device=first_self.device)
    words_BTT = words_BTT.expand(len(first_self), -1, -1)
    for self_maps, cross_maps in layers:
        among_BTT = with_residual(self_maps)
        memory_BTN = 0.5 * (among_BTT @ memory_BTN) + 0.5 * cross_maps.mean(1)
        words_BTT = 0.5 * (among_BTT @ words_BTT)
    return memory_BTN, words_BTT
