"""Names of the authors' released VLCI weights in this package's spelling."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from radwright.errors import CheckpointError

# Buffers and, with causal_proj=false, projections that the released network stores but never uses.
IGNORED = re.compile(r"pos_embed$|pos_encode\.pe$|relative_index$|\.intervene\.af_[12]\.(q|out)\.")

_PREFIXES: tuple[tuple[str, str], ...] = (
    (r"^vis_embed\.patch_embed\.embed\.0\.", "backbone.conv1."),
    (r"^vis_embed\.patch_embed\.embed\.1\.", "backbone.bn1."),
    (r"^vis_embed\.patch_embed\.embed\.4\.", "backbone.layer1."),
    (r"^vis_embed\.patch_embed\.embed\.5\.", "backbone.layer2."),
    (r"^vis_embed\.patch_embed\.embed\.6\.", "backbone.layer3."),
    (r"^vis_embed\.proj\.", "project."),
    (r"^vis_embed\.norm\.", "visual_norm."),
    (r"^encoder\.layers\.", "encoder."),
    (r"^encoder\.norm\.", "memory_norm."),
    (r"^encoder\.local_sample\.causal_layer\.", "local_sampling.layer."),
    (r"^encoder\.global_sample\.global_sample\.", "global_sampling."),
    (r"^encoder\.do\.fuse\.", "fusion."),
    (r"^encoder\.do\.intervene\.", "visual_front_door."),
    (r"^decoder\.do\.fuse_t\.", "linguistic_mediator.query_vocabulary."),
    (r"^decoder\.do\.fuse_v\.", "linguistic_mediator.query_local."),
    (r"^decoder\.do\.norm\.", "linguistic_mediator.norm."),
    (r"^decoder\.do\.intervene\.", "linguistic_front_door."),
    (r"^z_norm\.", "linguistic_mediator.vocabulary_norm."),
    (r"^fl_norm\.", "linguistic_mediator.local_norm."),
    (r"^text_embed\.embed\.lut\.", "text_embedding.embedding."),
    (r"^text_embed\.norm\.", "text_embedding.norm."),
    (r"^logit\.", "decoder.logit."),
)
_PARTS: tuple[tuple[str, str], ...] = (
    (r"\.af_1\.q\.", ".gather_features.query."),
    (r"\.af_1\.out\.", ".gather_features.out."),
    (r"\.af_2\.q\.", ".gather_mediators.query."),
    (r"\.af_2\.out\.", ".gather_mediators.out."),
    (r"\.self_attn\.", ".self_attention."),
    (r"\.cross_attn\.", ".cross_attention."),
    (r"\.sublayer_self\.norm\.", ".self_norm."),
    (r"\.sublayer_cross\.norm\.", ".cross_norm."),
    (r"\.sublayer_attn\.norm\.", ".attention_norm."),
    (r"\.sublayer_ff\.norm\.", ".feed_forward_norm."),
    (r"\.feed_forward\.w_1\.", ".feed_forward.up."),
    (r"\.feed_forward\.w_2\.", ".feed_forward.down."),
    (r"\.attn\.1\.fn\.relative_bias_table$", ".relative_bias"),
    (r"\.attn\.1\.fn\.to_out\.0\.", ".out."),
    (r"\.attn\.1\.fn\.to_qkv\.", ".qkv."),
    (r"\.attn\.1\.norm\.", ".attention_norm."),
    (r"\.ff\.1\.fn\.net\.0\.", ".up."),
    (r"\.ff\.1\.fn\.net\.3\.", ".down."),
    (r"\.ff\.1\.norm\.", ".feed_forward_norm."),
    (r"^global_sampling\.proj\.", "global_sampling.shortcut."),
    (r"\.attn\.", ".attention."),
    (r"^fusion\.fc\.0\.", "fusion.up."),
    (r"^fusion\.fc\.1\.", "fusion.down."),
    (r"^fusion\.lgf\.", "fusion.local_global."),
    (r"^fusion\.llf\.", "fusion.local_local."),
    (r"^fusion\.norm_g\.", "fusion.global_norm."),
    (r"^fusion\.norm_l\.", "fusion.local_norm."),
    (r"^fusion\.proj\.", "fusion.join."),
    (r"\.linears\.0\.", ".query."),
    (r"\.linears\.1\.", ".key."),
    (r"\.linears\.2\.", ".value."),
    (r"\.linears\.3\.", ".out."),
    (r"\.gamma$", ".weight"),
    (r"\.beta$", ".bias"),
)


def translate(weights: Mapping[str, Tensor], *, projected: bool) -> dict[str, Tensor]:
    """The released weights under the names of ``Vlci``.

    Args:
        weights: the authors' names (a leading ``module.`` or ``model.`` is dropped) to tensors.
        projected: keep the interventions' projections (``causal_proj=true``).

    Raises:
        CheckpointError: two released names fall on one of ours.
    """
    translated: dict[str, Tensor] = {}
    for released, tensor in weights.items():
        name = re.sub(r"^(module|model)\.", "", released)
        if IGNORED.search(name) and not (projected and ".intervene." in name):
            continue
        for pattern, ours in (*_PREFIXES, *_PARTS):
            name = re.sub(pattern, ours, name)
        if name in translated:
            raise CheckpointError(
                f"released weight {released!r} stands for {name!r}, which another weight gave already"
            )
        translated[name] = tensor
    return translated
