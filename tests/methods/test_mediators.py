"""The mediators' layers: one memory shared by all studies equals a copy per study."""

from __future__ import annotations

import torch
from torch import nn

from radwright.methods.cmcrl.mediators import CrossLayer


def test_shared_memory_equals_a_copy_per_study() -> None:
    torch.manual_seed(0)
    layer = CrossLayer(16, 4, 24, 0.0, nn.LayerNorm).double().eval()
    x, memory = torch.randn(3, 5, 16).double(), torch.randn(1, 40, 16).double()
    assert torch.allclose(layer(x, memory), layer(x, memory.expand(3, -1, -1)), atol=1e-12)
