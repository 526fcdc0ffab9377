"""The authors' released VLCI weights: their names, the network their shapes stand for, and strict loading.

Names are known one way only, ours -> released; reading a file looks up the inverse, so that a weight is either in the
network, known to be dead, or named as unused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from radwright.config import Config
from radwright.errors import CheckpointError, ConfigError
from radwright.methods.cmcrl.vlci import Vlci, VlciConfig
from radwright.nn.resnet import BLOCKS

_ATTENTION = {"query": "linears.0", "key": "linears.1", "value": "linears.2", "out": "linears.3"}
_LAYER = {
    **_ATTENTION,
    "attention": "attn",
    "self_attention": "self_attn",
    "cross_attention": "cross_attn",
    "attention_norm": "sublayer_attn.norm",
    "self_norm": "sublayer_self.norm",
    "cross_norm": "sublayer_cross.norm",
    "feed_forward_norm": "sublayer_ff.norm",
    "up": "w_1",
    "down": "w_2",
}
_FUSION = {
    **_ATTENTION,
    "local_norm": "norm_l",
    "global_norm": "norm_g",
    "local_local": "llf",
    "local_global": "lgf",
    "join": "proj",
    "up": "fc.0",
    "down": "fc.1",
}
_GLOBAL = {
    "shortcut": "proj",
    "attention_norm": "attn.1.norm",
    "qkv": "attn.1.fn.to_qkv",
    "out": "attn.1.fn.to_out.0",
    "relative_bias": "attn.1.fn.relative_bias_table",
    "feed_forward_norm": "ff.1.norm",
    "up": "ff.1.fn.net.0",
    "down": "ff.1.fn.net.3",
}
_DOOR = {"gather_features": "af_1", "gather_mediators": "af_2", "query": "q"}

_STEM = "vis_embed.patch_embed.embed."
_GLOBAL_SAMPLING = "encoder.global_sample.global_sample."
# Our prefix, theirs, and what the parts below it are called; the first prefix that fits decides.
_SECTIONS: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("backbone.conv1.", _STEM + "0.", {}),
    ("backbone.bn1.", _STEM + "1.", {}),
    *((f"backbone.layer{stage}.", f"{_STEM}{stage + 3}.", {}) for stage in (1, 2, 3, 4)),
    ("project.", "vis_embed.proj.", {}),
    ("visual_norm.", "vis_embed.norm.", {}),
    ("cls_token", "cls_token", {}),
    ("encoder.", "encoder.layers.", _LAYER),
    ("memory_norm.", "encoder.norm.", {}),
    ("local_sampling.layer.", "encoder.local_sample.causal_layer.", _LAYER),
    ("global_sampling.", _GLOBAL_SAMPLING, _GLOBAL),
    ("fusion.", "encoder.do.fuse.", _FUSION),
    ("visual_front_door.", "encoder.do.intervene.", _DOOR),
    ("text_embedding.embedding.", "text_embed.embed.lut.", {}),
    ("text_embedding.norm.", "text_embed.norm.", {}),
    ("linguistic_mediator.query_vocabulary.", "decoder.do.fuse_t.", _LAYER),
    ("linguistic_mediator.query_local.", "decoder.do.fuse_v.", _LAYER),
    ("linguistic_mediator.vocabulary_norm.", "z_norm.", {}),
    ("linguistic_mediator.local_norm.", "fl_norm.", {}),
    ("linguistic_mediator.norm.", "decoder.do.norm.", {}),
    ("linguistic_front_door.", "decoder.do.intervene.", _DOOR),
    ("decoder.layers.", "decoder.layers.", _LAYER),
    ("decoder.norm.", "decoder.norm.", {}),
    ("decoder.logit.", "logit.", {}),
)
_LEAF = {"weight": "gamma", "bias": "beta"}

# Why a released weight is left out, though known: reason -> which ones. In this order.
_BUFFERS = re.compile(r"(^|\.)(pos_embed|pos_encode\.pe|relative_index)$")
_PROJECTIONS = re.compile(r"\.do\.intervene\.af_[12]\.(q|out)\.(weight|bias)$")
_VISUAL = re.compile(r"^encoder\.(do|global_sample)\.")
_LINGUISTIC = re.compile(r"^(decoder\.do|z_norm|fl_norm)\.")
_LOCAL = re.compile(r"^encoder\.local_sample\.")


class ReleasedFacts(Config):
    """What the authors' weights do not say. Defaults are those of the configurations they shipped."""

    num_heads: int = Field(default=8, ge=1)
    """Attention heads of encoder, decoder and mediators."""
    projected: bool = False
    """``causal_proj``: the interventions' projections, stored in any case, are used."""
    visual: bool = True
    """``v_causal`` is 'y'. False leaves the visual deconfounding's weights out."""
    linguistic: bool = True
    """``l_causal`` is 'y'. False leaves the linguistic deconfounding's weights out."""
    num_views: int = Field(default=2, ge=1)
    """Views per study: 2 for IU X-Ray, 1 for MIMIC-CXR."""
    max_tokens: int = Field(default=60, ge=1)
    """Decoding steps (``max_seq_length``): 60 for IU X-Ray, 80 (first release 100) for MIMIC-CXR."""


@dataclass(frozen=True, slots=True)
class ReleasedNetwork:
    """What the shapes of released weights say.

    Attributes:
        config: the network, preset ``released``.
        vocab_size: rows of the word embedding; row 0 is BOS, EOS and PAD.
        size_px: image side.
        has_stem: False in a parity fixture, which leaves the image stem out.
    """

    config: VlciConfig
    vocab_size: int
    size_px: int
    has_stem: bool


@dataclass(frozen=True, slots=True)
class Account:
    """What became of every released weight; the lists hold the authors' names.

    Attributes:
        loaded: in the network now.
        ignored: reason -> weights that are known and have no place in it.
        unused: weights that nothing is known about.
    """

    loaded: tuple[str, ...]
    ignored: Mapping[str, tuple[str, ...]]
    unused: tuple[str, ...]


def released_name(name: str) -> str:
    """The authors' name of a weight of ``Vlci``.

    Raises:
        ValueError: the release has no such weight (a gate, the view embedding).
    """
    for ours, theirs, parts in _SECTIONS:
        if name.startswith(ours):
            segments = name[len(ours) :].split(".")
            norm = (ours + ".".join(segments[:-1])).rstrip(".").endswith("norm")
            if norm and theirs != _GLOBAL_SAMPLING:  # global sampling has standard norms, with the standard names
                segments[-1] = _LEAF[segments[-1]]
            return theirs + ".".join(parts.get(segment, segment) for segment in segments)
    raise ValueError(f"the released network has no weight like {name!r}")


def plain_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without the wrappers' ``module.`` and ``model.`` in front of their names.

    Raises:
        CheckpointError: two names become one, or a weight holds values that are not finite.
    """
    plain: dict[str, Tensor] = {}
    for wrapped, tensor in weights.items():
        name = re.sub(r"^((module|model)\.)+", "", wrapped)
        if name in plain:
            raise CheckpointError(f"weight {name!r} is there twice, once as {wrapped!r}")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise CheckpointError(f"weight {wrapped!r} holds values that are not finite: the file is damaged")
        plain[name] = tensor
    return plain


def infer_network(weights: Mapping[str, Tensor], facts: ReleasedFacts) -> ReleasedNetwork:
    """The network that released weights belong to, by their shapes.

    Args:
        weights: under the authors' names, see ``plain_names``.
        facts: what shapes do not say.

    Raises:
        CheckpointError: a weight that decides a size is missing or has an impossible shape.
    """
    if any(name.startswith("weights.") for name in weights) and "inputs.features" in weights:
        raise CheckpointError("is a parity fixture, no checkpoint: check it by `import-released --check`")
    has_stem = any(name.startswith(_STEM) for name in weights)
    backbone = _infer_stem(weights) if has_stem else _stand_in(weights)
    visual = facts.visual and any(_VISUAL.match(name) for name in weights)
    linguistic = facts.linguistic and any(_LINGUISTIC.match(name) for name in weights)
    vocab_size, dim = _shape(weights, "text_embed.embed.lut.weight", 2)
    values = {
        "preset": "released",
        "backbone": backbone,
        "dim": dim,
        "num_heads": facts.num_heads,
        "hidden_dim": _shape(weights, "encoder.layers.0.feed_forward.w_1.weight", 2)[0],
        "num_encoder_layers": _depth(weights, "encoder.layers."),
        "num_decoder_layers": _depth(weights, "decoder.layers."),
        "visual": visual,
        "linguistic": linguistic,
        "projected": facts.projected,
    }
    if linguistic:
        values["linguistic_hidden_dim"] = _shape(weights, "decoder.do.fuse_t.feed_forward.w_1.weight", 2)[0]
    try:
        config = VlciConfig.parse(values, where="sizes read from the weights")
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    return ReleasedNetwork(config, vocab_size, _infer_size_px(weights, backbone["num_stages"]), has_stem)


def load_released(model: Vlci, weights: Mapping[str, Tensor], *, with_stem: bool = True) -> Account:
    """Give a network the released weights, all of them.

    Args:
        model: built from ``infer_network``'s config.
        weights: under the authors' names, see ``plain_names``.
        with_stem: False leaves the image stem as it is (parity fixtures).

    Raises:
        CheckpointError: weights are missing or have another shape; the message holds the authors' names.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if with_stem or not name.startswith("backbone.")}
    names = {released_name(name): name for name in own}
    # Counters of steps that batch norm does not read; files of old PyTorch versions lack them.
    missing = [name for name in names if name not in weights and not name.endswith("num_batches_tracked")]
    if missing:
        raise CheckpointError(
            f"{len(missing)} of {len(names)} weights are missing: {_listed(missing)}; is it a whole fine-tuned VLCI?"
        )
    loaded = [name for name in names if name in weights]
    wrong = [name for name in loaded if weights[name].shape != own[names[name]].shape]
    if wrong:
        shapes = [f"{n} is {tuple(weights[n].shape)}, not {tuple(own[names[n]].shape)}" for n in wrong]
        raise CheckpointError(f"{len(wrong)} of {len(names)} weights have another shape: {_listed(shapes)}")
    with torch.no_grad():
        for name in loaded:
            own[names[name]].copy_(weights[name])
    left = [name for name in weights if name not in names]
    ignored = _ignored(left, model.config)
    known = {name for group in ignored.values() for name in group}
    return Account(tuple(loaded), ignored, tuple(name for name in left if name not in known))


def looks_projected(weights: Mapping[str, Tensor]) -> bool | None:
    """Whether the interventions' projections were trained, by their biases: they start at 0 and, unread, stay there.

    Returns:
        None where the file has no such weights.
    """
    biases = [t for name, t in weights.items() if _PROJECTIONS.search(name) and name.endswith(".bias")]
    return any(bool(bias.any()) for bias in biases) if biases else None


def _ignored(names: Iterable[str], config: VlciConfig) -> dict[str, tuple[str, ...]]:
    none = not (config.visual or config.linguistic)
    reasons = (
        ("fixed buffers", _BUFFERS, True),
        ("visual deconfounding is off", _VISUAL, not config.visual),
        ("linguistic deconfounding is off", _LINGUISTIC, not config.linguistic),
        ("nothing reads local tokens", _LOCAL, none),
        ("projections that causal_proj=false never reads", _PROJECTIONS, not config.projected),
    )
    groups: dict[str, list[str]] = {}
    for name in names:
        reason = next((why for why, pattern, holds in reasons if holds and pattern.search(name)), None)
        if reason is not None:
            groups.setdefault(reason, []).append(name)
    return {reason: tuple(group) for reason, group in groups.items()}


def _listed(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _shape(weights: Mapping[str, Tensor], name: str, ndim: int) -> tuple[int, ...]:
    tensor = weights.get(name)
    if tensor is None:
        raise CheckpointError(f"has no weight {name!r}: it is no released VLCI checkpoint")
    if tensor.ndim != ndim or 0 in tensor.shape:
        raise CheckpointError(f"weight {name!r} has the shape {tuple(tensor.shape)}; {ndim} dimensions are expected")
    return tuple(tensor.shape)


def _depth(weights: Mapping[str, Tensor], prefix: str) -> int:
    found = {int(match[1]) for name in weights if (match := re.match(rf"{re.escape(prefix)}(\d+)\.", name))}
    if found != set(range(len(found))) or not found:
        raise CheckpointError(f"layers {prefix}* are numbered {sorted(found)}: some are missing")
    return len(found)


def _infer_stem(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Config of the ResNet stem: depth by the number of blocks per stage and their kind."""
    width, in_channels = _shape(weights, _STEM + "0.weight", 4)[:2]
    bottleneck = _STEM + "4.0.conv3.weight" in weights
    stages = [{m[1] for n in weights if (m := re.match(rf"{re.escape(_STEM)}{s}\.(\d+)\.", n))} for s in (4, 5, 6, 7)]
    blocks = tuple(len(stage) for stage in stages if stage)
    fitting = [depth for depth, b in BLOCKS.items() if b[: len(blocks)] == blocks and (depth >= 50) == bottleneck]
    if not blocks or not fitting:
        kind = "bottleneck" if bottleneck else "basic"
        raise CheckpointError(f"{_STEM}*: no ResNet has {blocks} {kind} blocks per stage; depths known: {list(BLOCKS)}")
    num_stages = len(blocks)
    return {
        "name": "resnet",
        "depth": fitting[0],  # where several fit, the kept stages are the same network
        "num_stages": num_stages,
        "width": width,
        "in_channels": in_channels,
    }


def _stand_in(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """A stem of the right stride and channels for weights that come without one; it is never run."""
    channels = _shape(weights, "vis_embed.proj.weight", 2)[1]
    return {"name": "resnet", "depth": 50, "num_stages": 3, "width": max(1, channels // 16)}


def _infer_size_px(weights: Mapping[str, Tensor], num_stages: int) -> int:
    """Image side, from the stored position table: one row per patch and one for CLS."""
    if "vis_embed.pos_embed" not in weights:
        return 224
    rows = _shape(weights, "vis_embed.pos_embed", 3)[1]
    side = math.isqrt(max(rows - 1, 0))
    if side < 1 or side * side != rows - 1:
        raise CheckpointError(f"vis_embed.pos_embed has {rows} rows, which is no square number of patches and CLS")
    return int(side * 4 * 2 ** (num_stages - 1))
