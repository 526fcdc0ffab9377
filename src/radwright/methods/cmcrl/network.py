"""What both stages of CMCRL share: image stem and patch tokens, encoder layers, word embedding, report decoder.

RadCARE hands all of it over to VLCI by name; what a stage has beyond it stays under names that the other lacks.

Shape legend: B studies, I images, S image side, G patches per side, P = G * G patches per image, C stem channels, D
width.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, Self

import torch
from pydantic import SerializeAsAny, field_validator, model_validator
from torch import Tensor, nn

from radwright.config import Config
from radwright.nn.attention import EncoderLayer, linear
from radwright.nn.backbone import BackboneConfig, parse_backbone
from radwright.nn.decoder import ReportDecoder, TokenEmbedding
from radwright.nn.norm import ReleasedLayerNorm
from radwright.nn.positions import sincos_2d
from radwright.nn.resnet import ResNetConfig
from radwright.tables import BACKBONES, resolve
from radwright.types import VIEW_POSITIONS, Batch, Tokenizer

RELEASED: dict[str, Any] = {
    "gated": False,
    "causal_linguistic": False,
    "view_embedding": False,
    "released_norm": True,
    "released_masks": True,
}
"""What ``preset: released`` makes the default: no gate, the leaking linguistic form, the authors' norm and masks."""
RELEASED_BACKBONE: dict[str, Any] = {"in_channels": 3, "min_images_for_batch_statistics": 0}
"""The same inside ``backbone``: ImageNet's three channels, batch norm trained on batches of any size."""


class NetworkConfig(Config):
    """Sizes and forms of the shared parts."""

    preset: Literal["corrected", "released"] = "corrected"
    """Decides the defaults of the fields that differ from the release (``RELEASED``); a field that is given wins.
    ``released`` loads the authors' weights and repeats their numbers, their defects included."""
    backbone: SerializeAsAny[BackboneConfig] = ResNetConfig()
    """Image stem; ``name`` picks it from the table of backbones."""
    dim: int = 512
    """Width D."""
    num_heads: int = 8
    """Attention heads of encoder, decoder and mediators."""
    hidden_dim: int = 2048
    """Width inside the feed-forward blocks."""
    num_encoder_layers: int = 3
    """Encoder depth (published: 3 for IU X-Ray, 6 for MIMIC-CXR)."""
    num_decoder_layers: int = 3
    """Decoder depth (as above)."""
    dropout: float = 0.1
    """Dropout of embeddings, encoder and decoder."""
    view_embedding: bool = True
    """Add a learnt embedding for frontal, lateral, unknown (corrected). False: views share everything."""
    released_norm: bool = False
    """Layer norm with the unbiased deviation, epsilon outside the root (as released)."""

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("preset") != "released":
            return values
        backbone = values.get("backbone", {"name": "resnet"})
        filled = RELEASED_BACKBONE | backbone if isinstance(backbone, dict) else backbone
        defaults = {key: value for key, value in RELEASED.items() if key in cls.model_fields}
        return defaults | values | {"backbone": filled}

    @field_validator("backbone", mode="before")
    @classmethod
    def _backbone(cls, value: Any) -> Any:
        return parse_backbone(value)

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.dim % self.num_heads or self.dim % 4:
            raise ValueError(f"dim {self.dim} must be divisible by num_heads {self.num_heads} and by 4")
        return self

    def norm(self) -> Any:
        """The class of every layer norm outside global sampling."""
        return ReleasedLayerNorm if self.released_norm else nn.LayerNorm


class Network(nn.Module):
    """The shared parts; a stage adds its own and says how they are run.

    Args:
        config: sizes and forms.
        tokenizer: its size and special ids; nothing else of it is kept.
        size_px: image side S.
    """

    def __init__(self, config: NetworkConfig, tokenizer: Tokenizer, size_px: int) -> None:
        super().__init__()
        self.config = config
        self.size_px = size_px
        self.pad_id, self.bos_id, self.eos_id = tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id
        unknown = getattr(tokenizer, "unk_id", self.pad_id)
        self.unwritten_ids: tuple[int, ...] = (self.pad_id, self.bos_id, unknown)
        dim, heads, hidden, norm = config.dim, config.num_heads, config.hidden_dim, config.norm()
        self.backbone = resolve(BACKBONES, getattr(config.backbone, "name", ""), kind="backbone")(config.backbone)
        self.patches_per_side: int = self.backbone.grid_side(size_px)
        self.register_buffer("patch_positions_PD", sincos_2d(self.patches_per_side, dim), persistent=False)
        self.project = linear(self.backbone.out_channels, dim)
        self.visual_norm = norm(dim)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.view_embedding = nn.Embedding(len(VIEW_POSITIONS), dim) if config.view_embedding else None
        if self.view_embedding is not None:
            nn.init.normal_(self.view_embedding.weight, std=0.02)
        self.visual_dropout = nn.Dropout(config.dropout)
        layer = partial(EncoderLayer, dim, heads, hidden, config.dropout, norm)
        self.encoder = nn.ModuleList(layer() for _ in range(config.num_encoder_layers))
        self.memory_norm = norm(dim)
        self.text_embedding = TokenEmbedding(tokenizer.vocab_size, dim, config.dropout, norm)
        self.decoder = ReportDecoder(
            tokenizer.vocab_size, dim, config.num_decoder_layers, heads, hidden, config.dropout, norm
        )

    def patch_positions(self, like: Tensor) -> Tensor:
        """The fixed 2-D position table (P, D) in the precision of ``like``."""
        return self.get_buffer("patch_positions_PD").to(like.dtype)

    def embed(self, features_IPC: Tensor, positions_I: Tensor) -> Tensor:
        """Patch tokens (I, P, D) of the stem's features: projection + position (+ view), norm, dropout.

        Args:
            features_IPC: the stem's features, row-major patches.
            positions_I: int64 index into ``VIEW_POSITIONS`` per image.
        """
        tokens_IPD = self.project(features_IPC) + self.patch_positions(features_IPC)
        if self.view_embedding is not None:
            tokens_IPD = tokens_IPD + self.view_embedding(positions_I).unsqueeze(1)
        out: Tensor = self.visual_dropout(self.visual_norm(tokens_IPD))
        return out

    def image_features(self, batch: Batch) -> Tensor:
        """What the stem sees of each study, (B, 3 * C): the mean over patches for each view position, averaged over the
        views that have it; 0 where none has.
        """
        images_I1SS = batch.images_BV1SS[batch.view_mask_BV]
        pooled_IC = self.backbone(images_I1SS).flatten(2).mean(2)
        study_I = batch.view_mask_BV.nonzero()[:, 0]
        place_I = study_I * len(VIEW_POSITIONS) + batch.positions_BV[batch.view_mask_BV]
        sums = pooled_IC.new_zeros(len(batch) * len(VIEW_POSITIONS), pooled_IC.shape[1])
        sums = sums.index_add(0, place_I, pooled_IC)
        number = place_I.bincount(minlength=len(sums)).clamp(min=1).unsqueeze(1)
        pooled: Tensor = (sums / number).view(len(batch), -1)
        return pooled

    def compile_stem(self) -> None:
        """Let torch.compile turn the stem into one kernel after another; it happens at the first batch.

        The stem alone: it is half of the work, and its shapes do not change with every token.
        """
        self.backbone.compile(dynamic=True)

    def load_pretrained(self) -> list[str] | None:
        """Load the stem's weights file where the config names one; its unused names, or None without a file."""
        stem: Any = self.backbone
        return None if self.config.backbone.weights is None else stem.load_weights()

    def deployed_config(self) -> dict[str, Any]:
        """Plain config for a checkpoint, which needs no weights file any more."""
        return self.config.plain() | {"backbone": self.backbone.deployed_config()}
