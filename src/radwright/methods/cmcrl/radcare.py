"""RadCARE, the first stage of CMCRL: a multiway encoder and a multimodal decoder over the parts that VLCI takes on.

The encoder's attention is shared, its feed-forward is one expert for vision and one for text; the decoder's
self-attention is shared, its cross-attention and feed-forward are one branch for reports and one for images. Vision
way and report branch carry VLCI's names and are handed over; the others end with this stage.

Shape legend: B studies, I images, S image side, P patches per image, K visible patches, C stem channels, D width, N
encoded tokens (vision first, then text), T report tokens, U vocabulary, X pixel values of a patch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from radwright.errors import ConfigError
from radwright.methods.cmcrl.masking import PatchMask
from radwright.methods.cmcrl.network import Network, NetworkConfig
from radwright.methods.cmcrl.report_words import ReportWords
from radwright.nn.attention import FeedForward, MultiHeadAttention, additive, linear
from radwright.nn.decoder import DecoderLayer
from radwright.types import Tokenizer


class RadCareConfig(NetworkConfig):
    """The network; the same sizes as in the fine-tuning that takes it on."""

    dropout: float = 0.0
    """Dropout of embeddings, encoder and decoder (as released: none in pre-training)."""
    report_words: bool = False
    """Have a head that says from the stem's features which words a report will hold (ours; see ``ReportWords``)."""


class TextExpert(nn.Module):
    """Norm and feed-forward of one encoder layer for text tokens: x + dropout(f(norm(x)))."""

    def __init__(self, dim: int, hidden_dim: int, dropout: float, norm: type[nn.Module]) -> None:
        super().__init__()
        self.norm = norm(dim)
        self.feed_forward = FeedForward(dim, hidden_dim, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        out: Tensor = x + self.dropout(self.feed_forward(self.norm(x)))
        return out


class RestorationLayer(nn.Module):
    """The decoder layer's branch for images: its own cross-attention to text and its own feed-forward."""

    def __init__(self, dim: int, num_heads: int, hidden_dim: int, dropout: float, norm: type[nn.Module]) -> None:
        super().__init__()
        self.cross_norm = norm(dim)
        self.cross_attention = MultiHeadAttention(dim, num_heads, dropout)
        self.feed_forward_norm = norm(dim)
        self.feed_forward = FeedForward(dim, hidden_dim, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_IPD: Tensor, shared: DecoderLayer, text: tuple[Tensor, Tensor] | None) -> Tensor:
        """One layer.

        Args:
            x_IPD: CLS and all patches; every one attends to every one.
            shared: the report branch's layer, whose self-attention and its norm serve both.
            text: encoded words (I, T, D) and their additive mask; None: no cross-attention.
        """
        normed = shared.self_norm(x_IPD)
        x_IPD = x_IPD + self.dropout(shared.self_attention(normed, normed))
        if text is not None:
            x_IPD = x_IPD + self.dropout(self.cross_attention(self.cross_norm(x_IPD), *text))
        out: Tensor = x_IPD + self.dropout(self.feed_forward(self.feed_forward_norm(x_IPD)))
        return out


class Restoration(nn.Module):
    """What only the restoration of images needs: mask token, the decoder's image branch, its final norm, the head."""

    def __init__(self, config: NetworkConfig, pixels_per_patch: int) -> None:
        super().__init__()
        dim, norm = config.dim, config.norm()
        self.mask_token = nn.Parameter(torch.randn(dim) * 0.02)
        self.layers = nn.ModuleList(
            RestorationLayer(dim, config.num_heads, config.hidden_dim, config.dropout, norm)
            for _ in range(config.num_decoder_layers)
        )
        self.norm = norm(dim)
        self.head = linear(dim, pixels_per_patch)


class RadCare(Network):
    """Encodes image and text together; goes on with a report, or restores hidden patches.

    Args:
        config: the network.
        tokenizer: its size and special ids; nothing else of it is kept.
        size_px: image side S.

    Raises:
        ConfigError: S is no multiple of the stem's patches per side, so a token has no patch of pixels of its own.
    """

    Config = RadCareConfig
    config: RadCareConfig

    def __init__(self, config: RadCareConfig, tokenizer: Tokenizer, size_px: int) -> None:
        super().__init__(config, tokenizer, size_px)
        side = self.patches_per_side
        if size_px % side:
            raise ConfigError(
                f"image.size_px = {size_px}: {side} x {side} patches do not divide it; "
                f"use a multiple of the stem's stride {self.backbone.stride}"
            )
        self.in_channels = config.backbone.in_channels
        self.text_experts = nn.ModuleList(
            TextExpert(config.dim, config.hidden_dim, config.dropout, config.norm())
            for _ in range(config.num_encoder_layers)
        )
        self.restoration = Restoration(config, self.in_channels * (size_px // side) ** 2)

        self.report_words = ReportWords(self.backbone.out_channels, tokenizer) if config.report_words else None

    def features(self, images_I1SS: Tensor) -> Tensor:
        """The stem's pass: gray images in [0, 1] to patch features (I, P, C)."""
        features_IPC: Tensor = self.backbone(images_I1SS).flatten(2).transpose(1, 2)
        return features_IPC

    def with_cls(self, tokens_BND: Tensor) -> Tensor:
        """CLS in front, (B, 1 + N, D)."""
        return torch.cat([self.cls_token.to(tokens_BND.dtype).expand(len(tokens_BND), -1, -1), tokens_BND], dim=1)

    def encode(self, tokens_BND: Tensor, num_visual: int, valid_BN: Tensor | None = None) -> Tensor:
        """The multiway encoder with its final norm, (B, N, D); every token attends to every valid one.

        Args:
            tokens_BND: vision tokens, then text tokens.
            num_visual: how many go through the vision expert: CLS and every visible patch (corrected: as released a
                wrong length sends all text of VT->V through the vision expert).
            valid_BN: bool, False for padding; None: all valid.
        """
        h = tokens_BND
        mask = None if valid_BN is None else additive(valid_BN[:, None, None, :], h.dtype)
        layers: list[Any] = list(self.encoder)
        for layer, text_expert in zip(layers, self.text_experts, strict=True):
            normed = layer.attention_norm(h)
            h = h + layer.dropout(layer.attention(normed, normed, mask))
            visual, text = h[:, :num_visual], h[:, num_visual:]
            if num_visual:
                visual = visual + layer.dropout(layer.feed_forward(layer.feed_forward_norm(visual)))
            if text.shape[1]:
                text = text_expert(text)
            h = torch.cat([visual, text], dim=1)
        encoded: Tensor = self.memory_norm(h)
        return encoded

    def report_logits(self, encoded_BND: Tensor, valid_BN: Tensor, token_ids_BT: Tensor) -> Tensor:
        """Logits (B, T, U) of the next token behind each of the given ones, which attend to all that is encoded."""
        mask = additive(valid_BN[:, None, None, :], encoded_BND.dtype)
        logits: Tensor = self.decoder(self.text_embedding(token_ids_BT), encoded_BND, mask)
        return logits

    def restore(self, visible_IND: Tensor, mask: PatchMask, text: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """All patches (I, P, X) as normalised pixel values, hidden ones as they are believed to be.

        Args:
            visible_IND: encoded CLS and visible patches, N = 1 + K.
            mask: which patches these are.
            text: encoded words (I, T, D) with their valid mask (I, T) for VT->V; None for V->V.
        """
        restoration = self.restoration
        patches_IPD = mask.unshuffle(visible_IND[:, 1:], restoration.mask_token) + self.patch_positions(visible_IND)
        x = torch.cat([visible_IND[:, :1], patches_IPD], dim=1)
        memory = None if text is None else (text[0], additive(text[1][:, None, None, :], x.dtype))
        for layer, shared in zip(restoration.layers, self.decoder.layers, strict=True):
            x = layer(x, shared, memory)
        patches_IPX: Tensor = restoration.head(restoration.norm(x[:, 1:]))
        return patches_IPX
