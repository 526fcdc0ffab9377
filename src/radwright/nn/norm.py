"""Layer normalisation in the form of the released CMCRL code; the standard form is ``nn.LayerNorm``."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ReleasedLayerNorm(nn.Module):
    """gamma * (x - mean) / (std + eps) + beta with the unbiased std and eps outside the root (as released).

    Differs from ``nn.LayerNorm`` by about 1e-3 relative at width 512, so the two must not be mixed when weights are
    loaded from the authors' checkpoints.

    Shapes: (..., D) -> (..., D).
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        std = x.std(-1, keepdim=True)
        return self.weight * (x - x.mean(-1, keepdim=True)) / (std + self.eps) + self.bias
