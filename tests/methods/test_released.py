"""The authors' weights: names both ways, sizes from shapes, strict loading with an account, presets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from radwright.errors import CheckpointError, ConfigError
from radwright.methods.cmcrl.released import (
    ReleasedFacts,
    infer_network,
    load_released,
    looks_projected,
    plain_names,
    released_name,
)
from radwright.methods.cmcrl.vlci import Vlci, VlciConfig
from radwright.text.words import WordTokenizer
from released_weights import SIZES, WORDS, released_weights, small_vlci

SYSTEMS: dict[str, dict[str, Any]] = {
    "baseline": {"visual": False, "linguistic": False},
    "visual": {"linguistic": False},
    "linguistic": {"visual": False},
    "vlci": {},
    "projected": {"projected": True},
}


def test_every_name_of_the_released_network_is_one_of_ours(shared: Path) -> None:
    """Both ways: no weight of the fixtures but dead ones is left over, and none of ours but the stem's is missing."""
    with safe_open(shared / "golden" / "vlci_two_view.safetensors", framework="pt") as file:
        theirs = {name.removeprefix("weights.") for name in file.keys() if name.startswith("weights.")}  # noqa: SIM118
    ours = {released_name(name) for name in small_vlci(num_encoder_layers=3, num_decoder_layers=3).state_dict()}
    assert {name for name in ours - theirs if ".patch_embed.embed." not in name} == set()
    dead = {name for name in theirs - ours if ".do.intervene.af_" not in name}
    assert {name.rpartition(".")[2] for name in dead} == {"pos_embed", "relative_index"}


def test_stem_names_are_those_of_a_sequential_resnet() -> None:
    assert released_name("backbone.conv1.weight") == "vis_embed.patch_embed.embed.0.weight"
    assert released_name("backbone.bn1.running_var") == "vis_embed.patch_embed.embed.1.running_var"
    assert released_name("backbone.layer1.0.downsample.1.bias") == "vis_embed.patch_embed.embed.4.0.downsample.1.bias"
    assert released_name("backbone.layer3.22.conv3.weight") == "vis_embed.patch_embed.embed.6.22.conv3.weight"
    with pytest.raises(ValueError, match="view_embedding"):
        released_name("view_embedding.weight")


@pytest.mark.parametrize("system", SYSTEMS)
def test_shapes_say_the_whole_config(system: str) -> None:
    original = small_vlci(**SYSTEMS[system])
    weights = released_weights(original)
    network = infer_network(weights, ReleasedFacts(projected=original.config.projected))
    expected = original.config
    if not expected.linguistic:  # its width is then nowhere to be read, and nothing has it
        expected = expected.model_copy(update={"linguistic_hidden_dim": network.config.linguistic_hidden_dim})
    assert network.config == expected
    assert (network.vocab_size, network.size_px, network.has_stem) == (len(WORDS) + 2, 64, True)
    copy = Vlci(network.config, WordTokenizer.released(WORDS), network.size_px)
    load_released(copy, weights)
    assert all(torch.equal(tensor, copy.state_dict()[name]) for name, tensor in original.state_dict().items())


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_depth_of_the_stem_is_told_by_its_blocks(depth: int) -> None:
    model = small_vlci(backbone={"name": "resnet", "depth": depth, "width": 2, "in_channels": 1})
    backbone = infer_network(released_weights(model), ReleasedFacts()).config.backbone
    assert backbone.plain() == model.config.backbone.plain()


def test_every_weight_is_accounted_for() -> None:
    model = small_vlci()
    weights = released_weights(model) | {"reconstruct.weight": torch.zeros(3)}
    account = load_released(model, weights)
    known = [name for names in account.ignored.values() for name in names]
    assert sorted([*account.loaded, *known, *account.unused]) == sorted(weights)
    assert account.unused == ("reconstruct.weight",)
    assert len(account.loaded) == len(model.state_dict())
    counts = {reason: len(names) for reason, names in account.ignored.items()}
    assert counts == {"fixed buffers": 3, "projections that causal_proj=false never reads": 16}


def test_a_switched_off_module_is_left_out_by_name() -> None:
    weights = released_weights(small_vlci())
    network = infer_network(weights, ReleasedFacts(visual=False, linguistic=False))
    model = Vlci(network.config, WordTokenizer.released(WORDS), network.size_px)
    account = load_released(model, weights)
    assert account.unused == ()
    assert set(account.ignored) == {
        "fixed buffers",
        "visual deconfounding is off",
        "linguistic deconfounding is off",
        "nothing reads local tokens",
    }


def test_missing_and_misshapen_weights_are_refused_by_their_released_names() -> None:
    model = small_vlci()
    weights = released_weights(model)
    short = {name: t for name, t in weights.items() if not name.startswith("encoder.do.fuse.lgf")}
    with pytest.raises(CheckpointError, match=r"8 of \d+ weights are missing: encoder\.do\.fuse\.lgf\.linears\.0"):
        load_released(model, short)
    odd = weights | {"encoder.do.fuse.fc.0.weight": torch.zeros(48, 31)}
    with pytest.raises(CheckpointError, match=r"encoder\.do\.fuse\.fc\.0\.weight is \(48, 31\), not \(48, 32\)"):
        load_released(model, odd)
    before = small_vlci().state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()), "half loaded"


def test_counters_of_batch_norm_may_be_absent() -> None:
    model = small_vlci()
    weights = {n: t for n, t in released_weights(model).items() if not n.endswith("num_batches_tracked")}
    load_released(model, weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_embed.embed.lut.weight": None}, "text_embed.embed.lut.weight"),
        ({"text_embed.embed.lut.weight": torch.zeros(3)}, r"\(3,\); 2 dimensions"),
        ({"vis_embed.pos_embed": torch.zeros(1, 16, 32)}, "16 rows, which is no square"),
        ({"encoder.layers.7.attn.linears.0.bias": torch.zeros(32)}, r"\[0, 1, 7\]"),
        ({"vis_embed.patch_embed.embed.5.9.bn1.bias": torch.zeros(4)}, r"\(3, 5, 6\) bottleneck"),
        ({"inputs.features": torch.zeros(1), "weights.cls_token": torch.zeros(1)}, "--check"),
    ],
)
def test_impossible_weights_are_named(change: dict[str, Any], message: str) -> None:
    weights = released_weights(small_vlci()) | change
    weights = {name: tensor for name, tensor in weights.items() if tensor is not None}
    with pytest.raises(CheckpointError, match=message):
        infer_network(weights, ReleasedFacts())


def test_heads_that_do_not_fit_are_named() -> None:
    with pytest.raises(CheckpointError, match="num_heads 7"):
        infer_network(released_weights(small_vlci()), ReleasedFacts(num_heads=7))


def test_wrappers_are_taken_off_and_broken_numbers_refused() -> None:
    weights = released_weights(small_vlci(), prefix="module.model.")
    assert plain_names(weights).keys() == released_weights(small_vlci()).keys()
    with pytest.raises(CheckpointError, match=r"'cls_token' is there twice"):
        plain_names({"cls_token": torch.zeros(1), "module.cls_token": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="not finite"):
        plain_names({"cls_token": torch.tensor([0.0, torch.nan])})


def test_unread_projections_show_by_their_biases() -> None:
    weights = released_weights(small_vlci())
    assert looks_projected(weights) is False
    assert looks_projected(released_weights(small_vlci(projected=True))) is True
    assert looks_projected({}) is None


def test_preset_moves_defaults_and_given_values_win() -> None:
    corrected, released = VlciConfig(), VlciConfig(preset="released")
    assert corrected.preset == "corrected"
    assert corrected.gated
    assert corrected.causal_linguistic
    moved = {name for name, value in released.plain().items() if value != corrected.plain()[name]}
    assert moved == {
        "preset",
        "gated",
        "causal_linguistic",
        "view_embedding",
        "released_norm",
        "released_masks",
        "backbone",
    }
    assert (released.backbone.in_channels, released.backbone.min_images_for_batch_statistics) == (3, 0)
    mixed = VlciConfig.parse(
        {"preset": "released", "causal_linguistic": True, "dim": 256, "backbone": {"name": "resnet", "in_channels": 1}},
        where="test",
    )
    assert mixed.causal_linguistic
    assert not mixed.gated
    assert (mixed.backbone.in_channels, mixed.backbone.min_images_for_batch_statistics) == (1, 0)


@pytest.mark.parametrize("values", [{}, {"preset": "released"}, {**SIZES, "gated": True}, {"gated": False}])
def test_preset_survives_a_checkpoint(values: dict[str, Any]) -> None:
    config = VlciConfig.parse(values, where="test")
    assert VlciConfig.parse(config.plain(), where="config.json") == config


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(ConfigError, match="preset"):
        VlciConfig.parse({"preset": "relaesed"}, where="test")
