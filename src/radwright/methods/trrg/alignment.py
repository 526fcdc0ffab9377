"""Stage 1 of TRRG: an image and a text encoder in one space, and the diseases perceived there without a label.

An independent design after the published abstract: that the stage is contrastive, at sentence level, and that disease
perception is zero-shot is stated there; encoders, heads and formulas are ours (docs/trrg.md).

Shape legend: B studies, V views, I existing views of a batch, S image side, G patches per side, P = G * G patches per
view, N = V * P visual tokens of a study, C encoder width, D contrastive width, J sentences, M diseases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field, SerializeAsAny, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from radwright.config import Config
from radwright.methods.trrg.clue_bank import ClueBank, bank_of, default_bank
from radwright.nn.attention import linear
from radwright.nn.backbone import BackboneConfig, parse_backbone
from radwright.nn.resnet import ResNetConfig
from radwright.nn.text_encoder import TextEncoder, TextEncoderConfig
from radwright.tables import BACKBONES, resolve
from radwright.types import VIEW_POSITIONS, Batch, Tokenizer

MAX_SCALE = 100.0


class AlignmentConfig(Config):
    """The two encoders and their common space."""

    backbone: SerializeAsAny[BackboneConfig] = ResNetConfig()
    """Any backbone of the table, ``{name: huggingface, directory: DIR}`` for a model on disk."""
    text_encoder: TextEncoderConfig = TextEncoderConfig()
    """A BERT-type encoder from a folder, or a small one trained here."""
    contrast_dim: int = Field(default=512, ge=1)
    """Width D of the common space."""
    temperature: float = Field(default=0.07, gt=0)
    """Start of 1 / s; the scale s is learnt, at most 100."""
    bank: ClueBank = Field(default_factory=default_bank)
    """The diseases: a YAML file, or its content; None: CheXpert's 13 pathologies."""

    @field_validator("backbone", mode="before")
    @classmethod
    def _parse_backbone(cls, value: Any) -> Any:
        return parse_backbone(value)

    @field_validator("bank", mode="before")
    @classmethod
    def _bank(cls, value: Any) -> Any:
        return bank_of(value)


@dataclass(frozen=True, slots=True)
class Seen:
    """The images of B studies as the encoder sees them.

    Attributes:
        patches_BVPC: patch features; zero for missing views.
        view_mask_BV: bool, True where a view exists.
        positions_BV: int64 index into ``VIEW_POSITIONS``.
    """

    patches_BVPC: Tensor
    view_mask_BV: Tensor
    positions_BV: Tensor

    @property
    def valid_BN(self) -> Tensor:  # noqa: N802
        """Bool (B, N): False for the patches of missing views."""
        return self.view_mask_BV.repeat_interleave(self.patches_BVPC.shape[2], dim=1)


class Alignment(nn.Module):
    """Both encoders with their heads; perceives the diseases of its bank.

    Args:
        config: encoders, width, bank.
        tokenizer: the run's; the small text encoder reads through it.
        size_px: image side S.

    Attributes:
        bank: the diseases with their thresholds; may be replaced at any time, no weight depends on it.
    """

    Config = AlignmentConfig
    config: AlignmentConfig

    def __init__(self, config: AlignmentConfig, tokenizer: Tokenizer, size_px: int) -> None:
        super().__init__()
        self.config = config
        self.size_px = size_px
        self.pad_id, self.bos_id, self.eos_id = tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id
        self.bank = config.bank
        self.backbone = resolve(BACKBONES, getattr(config.backbone, "name", ""), kind="backbone")(config.backbone)
        self.patches_per_side: int = self.backbone.grid_side(size_px)
        self.text_encoder = TextEncoder(config.text_encoder, tokenizer)
        width, dim = self.backbone.out_channels, config.contrast_dim
        self.image_head = linear(width, dim)
        self.patch_head = linear(width, dim)
        self.text_head = linear(self.text_encoder.dim, dim)
        self.view_bias = nn.Embedding(len(VIEW_POSITIONS), dim)
        nn.init.zeros_(self.view_bias.weight)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))

    # --- the common space ---------------------------------------------------------------------------------------

    @property
    def scale(self) -> Tensor:
        """s = exp(log_scale), at most 100; a scalar with gradient."""
        return self.log_scale.clamp(max=math.log(MAX_SCALE)).exp()

    def see(self, batch: Batch) -> Seen:
        """Patch features of every view that exists; only those go through the encoder."""
        images_I1SS = batch.images_BV1SS[batch.view_mask_BV]
        num_patches, width = self.patches_per_side**2, self.backbone.out_channels
        shape = (*batch.view_mask_BV.shape, num_patches, width)
        if not len(images_I1SS):
            return Seen(images_I1SS.new_zeros(shape), batch.view_mask_BV, batch.positions_BV)
        features_IPC = self.backbone(images_I1SS).flatten(2).transpose(1, 2)
        grid = features_IPC.new_zeros(shape).masked_scatter(batch.view_mask_BV[:, :, None, None], features_IPC)
        return Seen(grid, batch.view_mask_BV, batch.positions_BV)

    def image_vectors(self, seen: Seen) -> Tensor:
        """v (B, D): norm(W_v g) per view, their mean, normalised again; zero for a study without images."""
        pooled_BVC = seen.patches_BVPC.mean(2)
        views_BVD = F.normalize(self.image_head(pooled_BVC) + self.view_bias(seen.positions_BV), dim=-1)
        summed: Tensor = (views_BVD * seen.view_mask_BV.unsqueeze(-1)).sum(1)
        return F.normalize(summed, dim=-1)

    def patch_vectors(self, seen: Seen) -> Tensor:
        """p (B, N, D), unit length; what stands at missing views is to be masked."""
        return F.normalize(self.patch_head(seen.patches_BVPC.flatten(1, 2)), dim=-1)

    def text_vectors(self, texts: Sequence[str]) -> Tensor:
        """t = norm(W_t h) of J texts, (J, D)."""
        return F.normalize(self.text_head(self.text_encoder.encode(texts)), dim=-1)

    # --- perception ---------------------------------------------------------------------------------------------

    @property
    def diseases(self) -> tuple[str, ...]:
        """Names of the bank's diseases."""
        return self.bank.names

    def disease_vectors(self) -> tuple[Tensor, Tensor]:
        """t+ and t- of every disease, (M, D) each: its sentences embedded, averaged, normalised again."""
        diseases = self.bank.diseases
        texts = [text for disease in diseases for text in (*disease.present, *disease.absent)]
        vectors = self.text_vectors(texts)
        sizes = [len(part) for disease in diseases for part in (disease.present, disease.absent)]
        means = torch.stack([part.mean(0) for part in torch.split(vectors, sizes)])
        both = F.normalize(means, dim=-1)
        return both[0::2], both[1::2]

    def disease_logits(self, seen: Seen) -> Tensor:
        """s (v . t+ - v . t-), (B, M); without the scale cosines would keep every probability near one half."""
        present_MD, absent_MD = self.disease_vectors()
        logits: Tensor = self.scale * self.image_vectors(seen) @ (present_MD - absent_MD).T
        return logits.float() if logits.dtype != torch.float64 else logits

    def perceive(self, batch: Batch) -> Tensor:
        """Zero-shot probability of every disease of the bank, (B, M)."""
        return self.disease_logits(self.see(batch)).sigmoid()

    # --- what a run asks for ------------------------------------------------------------------------------------

    def calibrate(self, thresholds: Mapping[str, float | None]) -> None:
        """Keep thresholds by disease; they go into the checkpoint with the bank."""
        self.bank = self.bank.with_thresholds(thresholds)

    def image_features(self, batch: Batch) -> Tensor:
        """The image's place in the common space, (B, D); see ``radwright.types.ImageFeatures``."""
        return self.image_vectors(self.see(batch))

    def gates(self) -> dict[str, float]:
        """The learnt scale, for the log."""
        return {"scale": self.scale.detach().item()}

    def load_pretrained(self) -> list[str] | None:
        """Load the image encoder's weights file where the config names one; its unused names, or None without."""
        if self.config.backbone.weights is None:
            return None
        unused: list[str] = self.backbone.load_weights()
        return unused

    def deployed_config(self) -> dict[str, Any]:
        """Plain config for a checkpoint: whole bank with thresholds, no file of weights needed any more."""
        return self.config.plain() | {
            "backbone": self.backbone.deployed_config(),
            "text_encoder": self.config.text_encoder.plain() | self.text_encoder.deployed_part("text_encoder"),
            "bank": self.bank.plain(),
        }
