"""VLCI, the second stage of CMCRL, and its baseline: an encoder-decoder with visual and linguistic deconfounding.

With ``visual`` and ``linguistic`` off it is the plain encoder-decoder baseline of the ablations.

Shape legend: B studies, V views, I existing views of a batch, S image side, G patches per side, P = G * G patches per
view, N = 1 + V * P memory tokens, D width, L local tokens, K mediators, T report tokens, W beams, U vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from radwright.errors import ConfigError, StudyError
from radwright.methods.cmcrl.front_door import FrontDoor, FrontDoorState
from radwright.methods.cmcrl.graphs import GraphedVlci, graphs_of
from radwright.methods.cmcrl.mediators import GlobalSampling, LinguisticMediator, LocalGlobalFusion, LocalSampling
from radwright.methods.cmcrl.network import Network, NetworkConfig
from radwright.nn.attention import MASKED, additive
from radwright.nn.decoder import DecoderCache, beam_picker
from radwright.nn.graphs import Graph, Runner
from radwright.nn.rollout import roll_back, roll_decoder
from radwright.types import Attention, Batch, Tokenizer


class VlciConfig(NetworkConfig):
    """The network. Defaults are the ``corrected`` preset at the published size; ``preset: released`` moves them."""

    visual: bool = True
    """Visual deconfounding (VDM): front-door intervention on the encoded image."""
    linguistic: bool = True
    """Linguistic deconfounding (LDM): front-door intervention on the words."""
    num_local_per_head: int = 6
    """Patches that local sampling picks per head; with 8 heads 48 local tokens."""
    mediator_dropout: float = 0.1
    """Dropout inside local sampling's fusion and the linguistic mediator (as released: fixed at 0.1)."""
    linguistic_hidden_dim: int = 2048
    """Feed-forward width of the linguistic mediator (2048 in the current release, 512 in the first)."""
    projected: bool = False
    """Learn query and output projections in the interventions (released variant ``causal_proj``)."""
    gated: bool = True
    """Multiply each intervention by a learnt scalar that starts at zero (ours)."""
    causal_linguistic: bool = True
    """LDM reads words up to the present one only (corrected). False: all words, the released leak."""
    released_masks: bool = False
    """Masks of the released code, in which id 0 is BOS, EOS and PAD (see docs/released.md)."""


@dataclass(frozen=True, slots=True)
class EncodedStudies:
    """What the decoder needs of B studies.

    Attributes:
        memory_BND: H, the decoder's memory, CLS first.
        valid_BN: bool, False for tokens of missing views.
        mediator_BKD: M_l, or None without linguistic deconfounding.
        local_BLD: F_l, or None in the baseline.
        global_BMD: F_g, or None without visual deconfounding.
    """

    memory_BND: Tensor
    valid_BN: Tensor
    mediator_BKD: Tensor | None = None
    local_BLD: Tensor | None = None
    global_BMD: Tensor | None = None

    def cross_mask(self) -> Tensor | None:
        """Additive (B, 1, 1, N), or None when every token is real."""
        if bool(self.valid_BN.all()):
            return None
        return additive(self.valid_BN[:, None, None, :], self.memory_BND.dtype)


def check_views(batch: Batch) -> None:
    """Refuse a study without an image.

    Raises:
        StudyError: there is one.
    """
    if not bool((has_image_B := batch.has_image_B).all()):
        study_id = batch.study_ids[int(has_image_B.int().argmin())]
        raise StudyError(f"study {study_id}: has no image, and a report is written from images; leave it out")


class Vlci(Network):
    """Reads any number of views, writes a report.

    Args:
        config: the network.
        tokenizer: its size and special ids; nothing else of it is kept.
        size_px: image side S.
    """

    Config = VlciConfig
    config: VlciConfig

    def __init__(self, config: VlciConfig, tokenizer: Tokenizer, size_px: int) -> None:
        super().__init__(config, tokenizer, size_px)
        dim, heads, hidden, norm = config.dim, config.num_heads, config.hidden_dim, config.norm()
        side = self.patches_per_side
        if side * side < (config.num_local_per_head if config.visual or config.linguistic else 1):
            raise ConfigError(
                f"image.size_px = {size_px}: the stem (stride {self.backbone.stride}) leaves {side} x {side} patches, "
                f"num_local_per_head = {config.num_local_per_head} needs as many; larger images, or fewer stages"
            )
        if config.visual or config.linguistic:
            self.local_sampling = LocalSampling(dim, heads, hidden, config.num_local_per_head, config.dropout, norm)
        front_door = partial(FrontDoor, dim, projected=config.projected, gated=config.gated)
        if config.visual:
            self.global_sampling = GlobalSampling(dim, side)
            self.fusion = LocalGlobalFusion(dim, heads, hidden, config.mediator_dropout, norm)
            self.visual_front_door = front_door()
        if config.linguistic:
            self.linguistic_mediator = LinguisticMediator(
                dim, heads, config.linguistic_hidden_dim, config.mediator_dropout, norm
            )
            self.linguistic_front_door = front_door()

    # --- encoding -----------------------------------------------------------------------------------------------

    def encode(self, batch: Batch) -> EncodedStudies:
        """Images to memory and mediators; only views that exist go through the stem.

        Raises:
            StudyError: a study has no view.
        """
        return self.encode_features(self._features(batch), batch.view_mask_BV, batch.positions_BV)

    def _features(self, batch: Batch) -> Tensor:
        """The stem's features (I, P, C) of the views that exist."""
        check_views(batch)
        features: Tensor = self.backbone(batch.images_BV1SS[batch.view_mask_BV]).flatten(2).transpose(1, 2)
        return features

    def encode_features(self, features_IPC: Tensor, view_mask_BV: Tensor, positions_BV: Tensor) -> EncodedStudies:
        """As ``encode`` from the stem's features, (I, P, C), views of a study adjacent."""
        h, valid_BN = self._first_tokens(features_IPC, view_mask_BV, positions_BV)
        causal_modules = self.config.visual or self.config.linguistic
        h, maps = self._encode_tokens(h, EncodedStudies(h, valid_BN).cross_mask(), with_maps=causal_modules)
        return self._intervene(self._placed(h, view_mask_BV.shape[1]), maps, valid_BN, view_mask_BV.shape[1])

    def _first_tokens(self, features_IPC: Tensor, view_mask_BV: Tensor, positions_BV: Tensor) -> tuple[Tensor, Tensor]:
        """CLS and the patches of every view before the encoder, (B, N, D), and which of them exist, bool (B, N)."""
        num_studies, num_views = view_mask_BV.shape
        tokens = self.embed(features_IPC, positions_BV[view_mask_BV])
        num_patches, dim = tokens.shape[1:]
        grid = tokens.new_zeros(num_studies, num_views, num_patches, dim)
        grid = grid.masked_scatter(view_mask_BV[:, :, None, None], tokens)
        h = torch.cat([self.cls_token.to(tokens.dtype).expand(num_studies, -1, -1), grid.flatten(1, 2)], dim=1)
        valid_BN = torch.cat(
            [view_mask_BV.new_ones(num_studies, 1), view_mask_BV.repeat_interleave(num_patches, dim=1)], dim=1
        )
        return h, valid_BN

    def _placed(self, h: Tensor, num_views: int) -> Tensor:
        """With the positions, which are added a second time behind the encoder, CLS excepted (as released)."""
        table_PD = self.patch_positions(h)
        return h + torch.cat([table_PD.new_zeros(1, h.shape[-1]), table_PD.repeat(num_views, 1)])

    def _encode_tokens(self, h: Tensor, mask: Tensor | None, *, with_maps: bool) -> tuple[Tensor, list[Tensor]]:
        """The encoder layers; their attention maps where they are wanted."""
        maps: list[Tensor] = []
        for layer in self.encoder:
            if with_maps:
                h, layer_maps = layer.with_maps(h, mask)  # type: ignore[operator]
                maps.append(layer_maps)
            else:
                h = layer(h, mask)
        return h, maps

    def _intervene(self, h: Tensor, maps: list[Tensor], valid_BN: Tensor, num_views: int) -> EncodedStudies:
        if not (self.config.visual or self.config.linguistic):
            return EncodedStudies(self.memory_norm(h), valid_BN)
        local = self.local_sampling(h, maps, valid_BN)
        mediator = globe = None
        if self.config.visual:
            visual_mediator, globe = self._visual_mediator(h, local, valid_BN, num_views)
            h = h + self.visual_front_door(h, visual_mediator, valid_BN)
        if self.config.linguistic:
            mediator = self.linguistic_mediator(local, self.text_embedding.embedding.weight)
        return EncodedStudies(self.memory_norm(h), valid_BN, mediator, local, globe)

    def _visual_mediator(self, h: Tensor, local: Tensor, valid_BN: Tensor, num_views: int) -> tuple[Tensor, Tensor]:
        """The visual mediator (B, K, D) and F_g (B, M, D), from which it is fused with F_l."""
        patches_BVPD = h[:, 1:].unflatten(1, (num_views, -1))  # type: ignore[no-untyped-call]
        globe = self.global_sampling(patches_BVPD)
        valid_BV = valid_BN[:, 1 :: patches_BVPD.shape[2]]
        valid_BM = valid_BV.repeat_interleave(globe.shape[1] // num_views, dim=1)
        return self.fusion(local, globe, valid_BM), globe

    # --- teacher forcing ----------------------------------------------------------------------------------------

    def logits(self, batch: Batch) -> Tensor:
        """(B, T-1, U): position t predicts token t+1 from the tokens up to t."""
        if batch.token_ids_BT is None:
            raise ValueError("teacher forcing needs token ids")
        return self.logits_from(self.encode(batch), batch.token_ids_BT[:, :-1])

    def forward(self, batch: Batch) -> Tensor:
        """The same as ``logits``."""
        return self.logits(batch)

    def logits_from(self, encoded: EncodedStudies, token_ids_BT: Tensor) -> Tensor:
        """Logits (B, T, U) behind each of the given tokens."""
        logits: Tensor = self.decoder(*self._read(encoded, token_ids_BT))
        return logits

    def _read(
        self, encoded: EncodedStudies, token_ids_BT: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """What the decoder takes: embedded words, memory, and the masks of both."""
        x = self.text_embedding(token_ids_BT)
        if encoded.mediator_BKD is not None:
            front_door = self.linguistic_front_door
            intervene = front_door.causal if self.config.causal_linguistic else front_door
            x = x + intervene(x, encoded.mediator_BKD)
        cross_mask, valid_BT = encoded.cross_mask(), None
        if self.config.released_masks:
            valid_BT = token_ids_BT != self.pad_id
            valid_BT[:, 0] = True  # id 0 is BOS there too
            # As released, a padded *query* attends uniformly over all memory; it carries no loss.
            rows = torch.zeros_like(valid_BT, dtype=x.dtype).masked_fill_(~valid_BT, MASKED)[:, None, :, None]
            cross_mask = rows.expand(-1, -1, -1, encoded.memory_BND.shape[1])
        return x, encoded.memory_BND, cross_mask, valid_BT

    def logits_of(self, batch: Batch, token_ids_BKT: Tensor) -> Tensor:
        """Logits (B, K, T-1, U) of K texts per study, each from BOS on; a study is encoded once for all of them."""
        encoded, num_texts = self.encode(batch), token_ids_BKT.shape[1]
        studies = torch.arange(len(batch), device=token_ids_BKT.device).repeat_interleave(num_texts)
        logits = self.logits_from(_pick(encoded, studies), token_ids_BKT.flatten(0, 1)[:, :-1])
        return logits.unflatten(0, (len(batch), num_texts))  # type: ignore[no-untyped-call,no-any-return]

    # --- evidence -----------------------------------------------------------------------------------------------

    def attention_maps(self, batch: Batch) -> Attention:
        """See ``radwright.types.AttentionMaps``: cross-attention rolled out through decoder, VDM and encoder.

        From a word through self- and cross-attention to the memory, from there through the visual front door, whose
        output is a weighted mean of the memory's own tokens, and through the encoder to the patches that went into it
        (``radwright.nn.rollout``). Elsewhere are the words themselves and CLS. A patch is what the stem made of it,
        which sees beyond its edges. LDM is not followed: it mixes words with words.
        """
        if batch.token_ids_BT is None:
            raise ValueError("attention is that of given tokens; see radwright.evidence.sentences.with_drafts")
        views, num_views = (batch.view_mask_BV, batch.positions_BV), batch.view_mask_BV.shape[1]
        features = self._features(batch)
        encoded = self.encode_features(features, *views)
        memory_BTN, words_BTT = roll_decoder(self.decoder.maps(*self._read(encoded, batch.token_ids_BT[:, :-1])))
        h, valid_BN = self._first_tokens(features, *views)
        h, maps = self._encode_tokens(h, encoded.cross_mask(), with_maps=True)
        if self.config.visual:
            h = self._placed(h, num_views)
            mediator, _ = self._visual_mediator(h, self.local_sampling(h, maps, valid_BN), valid_BN, num_views)
            memory_BTN = memory_BTN @ self.visual_front_door.weights(h, mediator, valid_BN).to(memory_BTN.dtype)
        on_BTN = roll_back(memory_BTN, maps)
        side = self.patches_per_side
        patches_BTVGG = on_BTN[..., 1:].unflatten(-1, (num_views, side, side))  # type: ignore[no-untyped-call]
        return Attention(patches_BTVGG, on_BTN[..., 0] + words_BTT.sum(-1))

    # --- decoding -----------------------------------------------------------------------------------------------

    @property
    def recordable(self) -> bool:
        """See ``radwright.types.Recordable``; the released LDM asks at every step whether a view is missing."""
        return not self.config.linguistic or self.config.causal_linguistic

    def start(self, batch: Batch) -> VlciState | RecomputedState:
        """Encode B studies; see ``radwright.types.Decodable``."""
        return self.start_from(self.encode(batch))

    def start_from(self, encoded: EncodedStudies) -> VlciState | RecomputedState:
        """As ``start``, from encoded studies."""
        if self.config.linguistic and not self.config.causal_linguistic:
            num_studies = len(encoded.memory_BND)
            return RecomputedState(encoded, encoded.valid_BN.new_zeros(num_studies, 1, 0, dtype=torch.long))
        words = None if encoded.mediator_BKD is None else self.linguistic_front_door.start(encoded.mediator_BKD)
        return VlciState(self.decoder.start(encoded.memory_BND, encoded.cross_mask()), words)

    def step(self, state: Any, token_ids_BW: Tensor) -> tuple[Tensor, Any]:
        """Append one token per beam; see ``radwright.types.Decodable``."""
        logits, state = state.advance(self, token_ids_BW)
        return logits.float().log_softmax(-1) if logits.dtype != torch.float64 else logits.log_softmax(-1), state

    def reorder(self, state: Any, studies_C: Tensor | None, parents_CW: Tensor) -> Any:
        """Pick studies and beams; see ``radwright.types.Decodable``."""
        return state.reorder(studies_C, parents_CW)

    # --- elsewhere ----------------------------------------------------------------------------------------------

    def graphs(self) -> dict[str, Graph]:
        """See ``radwright.nn.graphs.Exportable``."""
        return graphs_of(self)

    def on_graphs(self, run: Runner) -> GraphedVlci:
        """See ``radwright.nn.graphs.Exportable``."""
        return GraphedVlci(self, run)

    # --- what a run asks for ------------------------------------------------------------------------------------

    def gates(self) -> dict[str, float]:
        """Present value of each intervention's gate, for the log."""
        found = {"visual_gate": "visual_front_door", "linguistic_gate": "linguistic_front_door"}
        doors = {name: getattr(self, attribute, None) for name, attribute in found.items()}
        return {
            name: door.gate.detach().item()
            for name, door in doors.items()
            if door is not None and door.gate is not None
        }


@dataclass(frozen=True, slots=True)
class VlciState:
    """Decoding state with cached attention and, with LDM, the running softmax of its mediators."""

    decoder: DecoderCache
    words: FrontDoorState | None

    def advance(self, model: Vlci, token_ids_BW: Tensor) -> tuple[Tensor, VlciState]:
        """Logits (B, W, U) behind one more token per beam."""
        x_BWD = model.text_embedding(token_ids_BW.unsqueeze(-1), offset=self.decoder.num_tokens).squeeze(2)
        words = self.words
        if words is not None:
            moved, words = model.linguistic_front_door.step(x_BWD, words)
            x_BWD = x_BWD + moved
        logits, cache = model.decoder.step(x_BWD, self.decoder)
        return logits, VlciState(cache, words)

    def reorder(self, studies_C: Tensor | None, parents_CW: Tensor) -> VlciState:
        """Row c = study ``studies_C[c]`` (None: all in their order) with beams ``parents_CW[c]``."""
        words = None if self.words is None else self.words.reorder(studies_C, parents_CW)
        return VlciState(self.decoder.reorder(studies_C, parents_CW), words)


@dataclass(frozen=True, slots=True)
class RecomputedState:
    """Decoding state of the released LDM, whose earlier positions change with every word: nothing can be cached."""

    encoded: EncodedStudies
    token_ids_BWT: Tensor

    def advance(self, model: Vlci, token_ids_BW: Tensor) -> tuple[Tensor, RecomputedState]:
        """Logits (B, W, U) behind one more token per beam, from the whole prefix."""
        grown = torch.cat([self.token_ids_BWT, token_ids_BW.unsqueeze(-1)], dim=-1)
        num_beams = grown.shape[1]
        studies = torch.arange(len(grown), device=grown.device).repeat_interleave(num_beams)
        logits = model.logits_from(_pick(self.encoded, studies), grown.flatten(0, 1))[:, -1]
        return logits.reshape(len(grown), num_beams, -1), replace(self, token_ids_BWT=grown)

    def reorder(self, studies_C: Tensor | None, parents_CW: Tensor) -> RecomputedState:
        """Row c = study ``studies_C[c]`` (None: all in their order) with beams ``parents_CW[c]``."""
        encoded = self.encoded if studies_C is None else _pick(self.encoded, studies_C)
        pick = beam_picker(studies_C, parents_CW, self.token_ids_BWT.shape[1])
        return RecomputedState(encoded, pick(self.token_ids_BWT))


def _pick(encoded: EncodedStudies, studies: Tensor) -> EncodedStudies:
    mediator = None if encoded.mediator_BKD is None else encoded.mediator_BKD[studies]
    return EncodedStudies(encoded.memory_BND[studies], encoded.valid_BN[studies], mediator)
