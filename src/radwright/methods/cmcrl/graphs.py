"""VLCI as three graphs: the stem on images, everything else that is done once per study, and one decoding step.

Between them stays what depends on which views a study has, and the beams: in torch, and the same code as ever.

Shape legend: B studies, V views, I existing views, S image side, P patches per view, C stem channels, N memory tokens,
D width, K mediators, H heads, E width of a head, W beams, t tokens so far, U vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from radwright.errors import CheckpointError
from radwright.methods.cmcrl.front_door import FrontDoorState
from radwright.nn.attention import additive
from radwright.nn.decoder import DecoderCache
from radwright.nn.graphs import Graph, Runner
from radwright.nn.positions import sincos_1d
from radwright.types import Batch

if TYPE_CHECKING:
    from radwright.methods.cmcrl.vlci import Vlci

_CROSS, _OWN = ("cross_keys", "cross_values"), ("keys", "values")
_MEDIATORS, _RUNNING = ("mediators", "queries"), ("peak", "denominator", "numerator")


class StemGraph(nn.Module):
    """Images (I, 1, S, S) -> features (I, P, C)."""

    def __init__(self, network: Vlci) -> None:
        super().__init__()
        self.backbone = network.backbone

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """See the class."""
        return (self.backbone(images).flatten(2).transpose(1, 2),)


class StudyGraph(nn.Module):
    """Features (B, V, P, C), which views exist (B, V) and their positions (B, V) -> what decoding starts from.

    Keys and values (B, H, N, E) of the memory per decoder layer; with LDM the mediators and their queries (B, K, D).
    """

    def __init__(self, network: Vlci) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, views: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        """See the class; features of views that do not exist count for nothing."""
        network = self.network
        num_studies, num_views, num_patches, channels = features.shape
        tokens = network.embed(features.reshape(-1, num_patches, channels), positions.reshape(-1))
        grid = tokens.reshape(num_studies, num_views, num_patches, -1)
        grid = grid.masked_fill(~views[:, :, None, None], 0.0)
        cls = network.cls_token.expand(num_studies, -1, -1)
        patches_BN = views[:, :, None].expand(-1, -1, num_patches).flatten(1)
        valid_BN = torch.cat([torch.ones_like(views[:, :1]), patches_BN], dim=1)
        causal_modules = network.config.visual or network.config.linguistic
        mask = additive(valid_BN[:, None, None, :], tokens.dtype)
        h, maps = network._encode_tokens(torch.cat([cls, grid.flatten(1, 2)], dim=1), mask, with_maps=causal_modules)
        encoded = network._intervene(network._placed(h, num_views), maps, valid_BN, num_views)
        out = list[Tensor]()
        for layer in network.decoder.layers:
            attention: Any = layer.cross_attention
            out += [each.contiguous() for each in attention.keys_values(encoded.memory_BND)]
        if encoded.mediator_BKD is not None:
            state = network.linguistic_front_door.start(encoded.mediator_BKD)
            out += [state.mediators_BKD, state.queries_BKD * 1.0]  # an output of its own
        return tuple(out)


class StepGraph(nn.Module):
    """One token per beam: log-probabilities (B, W, U) of the next one, and the state that has grown by it.

    Takes the tokens (B, W), the row (1, D) of their position, the mask (B, 1, 1, N) of the memory, with LDM the
    mediators and the running softmax, and per decoder layer keys and values of the words (B, W, H, t, E) and of the
    memory.
    """

    def __init__(self, network: Vlci) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor, position: Tensor, mask: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        network, rest = self.network, list(state)
        embedding = network.text_embedding
        x = embedding.placed((embedding.embedding(tokens) * embedding.scale).unsqueeze(2), position).squeeze(2)
        running = list[Tensor]()
        if network.config.linguistic:
            words = FrontDoorState(*rest[:5])
            rest = rest[5:]
            moved, words = network.linguistic_front_door.step(x, words)
            x = x + moved
            running = [words.peak_BWK, words.denominator_BWK, words.numerator_BWKD]
        grown = list[Tensor]()
        for place, layer in enumerate(network.decoder.layers):
            keys, values, cross_keys, cross_values = rest[4 * place : 4 * place + 4]
            x, pair = layer.step(x, (keys, values), (cross_keys, cross_values), mask)  # type: ignore[operator]
            grown += pair
        logits = network.decoder.logit(network.decoder.norm(x))
        return (logits.log_softmax(-1), *running, *grown)


def graphs_of(network: Vlci) -> dict[str, Graph]:
    """The three graphs.

    Raises:
        CheckpointError: the released LDM, which reads all words anew at every step.
    """
    config = network.config
    if (config.linguistic and not config.causal_linguistic) or config.released_masks:
        raise CheckpointError(
            "a network of the released form computes every step anew from all words, or masks as the released code "
            "does; only the corrected preset is exported"
        )
    side, heads, dim = network.size_px, config.num_heads, config.dim
    num_patches, channels = network.patches_per_side**2, network.backbone.out_channels
    num_layers, width = len(network.decoder.layers), dim // heads
    num_views, num_studies, num_beams, num_tokens = 2, 3, 5, 7
    num_memory = 1 + num_views * num_patches
    images = torch.rand(num_studies * num_views, 1, side, side)
    study: dict[str, Tensor] = {
        "features": torch.rand(num_studies, num_views, num_patches, channels),
        "views": torch.ones(num_studies, num_views, dtype=torch.bool),
        "positions": torch.zeros(num_studies, num_views, dtype=torch.int64),
    }
    started = _names(_CROSS, num_layers) + (_MEDIATORS if config.linguistic else ())
    step: dict[str, Tensor] = {
        "tokens": torch.zeros(num_studies, num_beams, dtype=torch.int64),
        "position": torch.rand(1, dim),
        "mask": torch.zeros(num_studies, 1, 1, num_memory),
    }
    varying: dict[str, dict[int, str]] = {"tokens": {0: "studies", 1: "beams"}, "mask": {0: "studies", 3: "memory"}}
    running: tuple[str, ...] = ()
    if config.linguistic:
        running = _RUNNING
        num_mediators = heads * config.num_local_per_head
        for name in _MEDIATORS:
            step[name] = torch.rand(num_studies, num_mediators, dim)
            varying[name] = {0: "studies"}
        shapes = {"numerator": (num_mediators, dim)}
        for name in _RUNNING:
            step[name] = torch.rand(num_studies, num_beams, *shapes.get(name, (num_mediators,)))
            varying[name] = {0: "studies", 1: "beams"}
    for place in range(num_layers):
        for name in _OWN:
            step[f"{name}_{place}"] = torch.rand(num_studies, num_beams, heads, num_tokens, width)
            varying[f"{name}_{place}"] = {0: "studies", 1: "beams", 3: "past"}
        for name in _CROSS:
            step[f"{name}_{place}"] = torch.rand(num_studies, heads, num_memory, width)
            varying[f"{name}_{place}"] = {0: "studies", 2: "memory"}
    grown = ("log_probs", *(f"new_{name}" for name in (*running, *_names(_OWN, num_layers))))
    each = {name: {0: "studies", 1: "views"} for name in study}
    return {
        "stem": Graph(StemGraph(network), {"images": images}, ("features",), {"images": {0: "images"}}, "convolutions"),
        "study": Graph(StudyGraph(network), study, started, each, "products"),
        "step": Graph(StepGraph(network), step, grown, varying, "products"),
    }


def _names(pair: tuple[str, str], num_layers: int) -> tuple[str, ...]:
    return tuple(f"{name}_{place}" for place in range(num_layers) for name in pair)


@dataclass(frozen=True, slots=True)
class GraphedState:
    """As ``VlciState``: the decoder's cache and, with LDM, the running softmax; ``mask`` is always there."""

    decoder: DecoderCache
    words: FrontDoorState | None
    mask: Tensor

    def reorder(self, studies_C: Tensor | None, parents_CW: Tensor) -> GraphedState:
        """Row c = study ``studies_C[c]`` (None: all in their order) with beams ``parents_CW[c]``."""
        words = None if self.words is None else self.words.reorder(studies_C, parents_CW)
        mask = self.mask if studies_C is None else self.mask[studies_C]
        return GraphedState(self.decoder.reorder(studies_C, parents_CW), words, mask)


class GraphedVlci:
    """VLCI on graphs that ``run`` runs; see ``radwright.types.Decodable``."""

    def __init__(self, network: Vlci, run: Runner) -> None:
        self._run = run
        self._dim, self._num_layers = network.config.dim, len(network.decoder.layers)
        self._has_words = network.config.linguistic

    def start(self, batch: Batch) -> GraphedState:
        """Encode B studies.

        Raises:
            StudyError: a study has no view.
        """
        from radwright.methods.cmcrl.vlci import check_views

        check_views(batch)
        views_BV = batch.view_mask_BV
        features_IPC = self._run("stem", {"images": batch.images_BV1SS[views_BV].contiguous()})[0]
        features = features_IPC.new_zeros(*views_BV.shape, *features_IPC.shape[1:])
        features[views_BV] = features_IPC
        found = self._run("study", {"features": features, "views": views_BV, "positions": batch.positions_BV})
        num_cross = 2 * self._num_layers
        cross = tuple((found[place], found[place + 1]) for place in range(0, num_cross, 2))
        words = None
        if self._has_words:
            mediators, queries = found[num_cross:]
            num_studies, num_mediators, dim = mediators.shape
            words = FrontDoorState(
                mediators,
                queries,
                mediators.new_full((num_studies, 1, num_mediators), -torch.inf),
                mediators.new_zeros(num_studies, 1, num_mediators),
                mediators.new_zeros(num_studies, 1, num_mediators, dim),
            )
        patches_BN = views_BV[:, :, None].expand(-1, -1, features.shape[2]).flatten(1)
        valid_BN = torch.cat([torch.ones_like(views_BV[:, :1]), patches_BN], dim=1)
        empty = cross[0][0].unsqueeze(1)[..., :0, :].contiguous()
        cache = DecoderCache(tuple((empty, empty) for _ in cross), cross, None, 0)
        return GraphedState(cache, words, additive(valid_BN[:, None, None, :], features.dtype))

    def step(self, state: GraphedState, token_ids_BW: Tensor) -> tuple[Tensor, GraphedState]:
        """Append one token per beam; log-probabilities (B, W, U) and the new state."""
        cache, words = state.decoder, state.words
        inputs: dict[str, Tensor] = {
            "tokens": token_ids_BW,
            "position": sincos_1d(1, self._dim, offset=cache.num_tokens).float(),
            "mask": state.mask,
        }
        if words is not None:
            inputs |= {"mediators": words.mediators_BKD, "queries": words.queries_BKD, "peak": words.peak_BWK}
            inputs |= {"denominator": words.denominator_BWK, "numerator": words.numerator_BWKD}
        for place, (own, cross) in enumerate(zip(cache.self_keys_values, cache.cross_keys_values, strict=True)):
            pairs = zip((*_OWN, *_CROSS), (*own, *cross), strict=True)
            inputs |= {f"{name}_{place}": tensor for name, tensor in pairs}
        log_probs, *rest = self._run("step", inputs)
        if words is not None:
            words = FrontDoorState(words.mediators_BKD, words.queries_BKD, *rest[:3])
            rest = rest[3:]
        grown = tuple((rest[place], rest[place + 1]) for place in range(0, len(rest), 2))
        grown_cache = DecoderCache(grown, cache.cross_keys_values, None, cache.num_tokens + 1)
        return log_probs, GraphedState(grown_cache, words, state.mask)

    def reorder(self, state: GraphedState, studies_C: Tensor | None, parents_CW: Tensor) -> GraphedState:
        """Pick studies and beams."""
        return state.reorder(studies_C, parents_CW)
