"""Small networks under the authors' names, as a file of theirs would hold them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from radwright.methods.cmcrl.released import released_name
from radwright.methods.cmcrl.vlci import Vlci, VlciConfig
from radwright.text.words import WordTokenizer

WORDS = ["effusion", "heart", "lungs", "no", "normal", "."]
SIZES: dict[str, Any] = {
    "preset": "released",
    "backbone": {"name": "resnet", "depth": 50, "width": 4},
    "dim": 32,
    "num_heads": 8,
    "hidden_dim": 48,
    "linguistic_hidden_dim": 40,
    "num_encoder_layers": 2,
    "num_decoder_layers": 1,
}


def small_vlci(**changes: Any) -> Vlci:
    """A random network in eval mode; also what starts at 0 or 1 (norms, biases, batch statistics) is random."""
    torch.manual_seed(11)
    config = VlciConfig.parse(SIZES | changes, where="test")
    model = Vlci(config, WordTokenizer.released(WORDS), size_px=64).eval()
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and (tensor.ndim < 2 or "relative_bias" in name):
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    return model


def released_weights(model: Vlci, *, prefix: str = "") -> dict[str, Tensor]:
    """The network's weights in the authors' names, with the buffers and dead projections that their files hold too."""
    weights = {
        released_name(name): tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    weights["vis_embed.pos_embed"] = torch.zeros(1, model.patches_per_side**2 + 1, model.config.dim)
    weights["text_embed.pos_encode.pe"] = torch.zeros(1, 100, model.config.dim)
    if model.config.visual:
        weights["encoder.global_sample.global_sample.attn.1.fn.relative_index"] = torch.zeros(16, 1, dtype=torch.int64)
    parts = {"encoder": model.config.visual, "decoder": model.config.linguistic}
    if not model.config.projected:
        for part in (part for part, there in parts.items() if there):
            for name in ("af_1.q", "af_1.out", "af_2.q", "af_2.out"):
                layer = nn.Linear(model.config.dim, model.config.dim)
                weights[f"{part}.do.intervene.{name}.weight"] = layer.weight.detach()
                weights[f"{part}.do.intervene.{name}.bias"] = torch.zeros(model.config.dim)
    return {prefix + name: tensor for name, tensor in weights.items()}
