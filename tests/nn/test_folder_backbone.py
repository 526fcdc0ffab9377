"""Image encoders from folders: the grid, the normalisation, sizes, what is trained, checkpoints, refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from radwright.errors import CheckpointError, ConfigError
from radwright.methods.cmcrl.vlci import Vlci, VlciConfig
from radwright.nn.backbone import IMAGENET_MEAN, IMAGENET_STD, parse_backbone
from radwright.nn.densenet import DenseNetConfig, DenseNetStem
from radwright.nn.folder import fingerprint
from radwright.nn.folder_backbone import PREPROCESSING, FolderBackbone, FolderBackboneConfig
from radwright.nn.huggingface import load_encoder
from radwright.nn.resnet import ResNetConfig, ResNetStem
from radwright.types import Batch
from tiny_folders import IMAGE_MEAN, IMAGE_STD, IMAGE_WRITERS, write_bert, write_swin, write_vit
from tiny_language import WordTokenizer

NUM_PREFIX = {"swin": 0, "vit": 1, "dinov2": 1, "dinov2-registers": 4}
each_kind = pytest.mark.parametrize("kind", list(IMAGE_WRITERS))
NATIVE = 32


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in IMAGE_WRITERS.items()}


Make = Callable[..., FolderBackbone]


@pytest.fixture
def make(folders: dict[str, Path]) -> Make:
    def built(kind: str, **options: Any) -> FolderBackbone:
        return open_folder(folders[kind], **options)

    return built


def open_folder(directory: Path, **options: Any) -> FolderBackbone:
    config = parse_backbone({"name": "huggingface", "directory": str(directory), **options})
    assert isinstance(config, FolderBackboneConfig)
    return FolderBackbone(config)


def images(side: int = NATIVE, number: int = 2) -> torch.Tensor:
    return torch.rand(number, 1, side, side, generator=torch.Generator().manual_seed(1))


@each_kind
@pytest.mark.parametrize("size", [NATIVE, 64, 16])
def test_features_have_the_promised_shape(kind: str, size: int, make: Make) -> None:
    backbone = make(kind).eval()
    side = backbone.grid_side(size)
    assert (backbone.out_channels, backbone.stride, side) == (16, 8, size // 8)
    features = backbone(images(size))
    assert features.shape == (2, 16, side, side)
    torch.testing.assert_close(backbone(images(size)[1:])[0], features[1], rtol=0, atol=1e-5)


@each_kind
@torch.no_grad()
def test_features_are_the_folders_own_states(kind: str, make: Make, folders: dict[str, Path]) -> None:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
    states = load_encoder(folders[kind])(pixel_values=(images().repeat(1, 3, 1, 1) - mean) / std).last_hidden_state
    found = make(kind).eval()(images())
    if kind == "convnext":
        assert torch.equal(found, states)
        return
    for row in range(4):
        for column in range(4):
            place = NUM_PREFIX[kind] + row * 4 + column
            assert torch.equal(found[:, :, row, column], states[:, place])


@each_kind
@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 3), (3, 1)])
def test_a_patch_of_the_grid_is_that_of_the_image(kind: str, row: int, column: int, make: Make) -> None:
    backbone = make(kind).eval().double()
    shown = torch.full((1, 1, NATIVE, NATIVE), 0.5, dtype=torch.float64)
    changed = shown.clone()
    changed[:, :, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = images(8, 1).double()
    moved = (backbone(changed) - backbone(shown)).norm(dim=1)[0]
    assert divmod(int(moved.argmax()), 4) == (row, column)


def test_normalisation_is_imagenets_where_the_folder_says_nothing(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["vit"], tmp_path / "vit")
    (folder / PREPROCESSING).unlink()
    backbone = open_folder(folder).eval()
    normalised = backbone._normalised(images())
    for channel in range(3):
        expected = (images()[:, 0] - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
        torch.testing.assert_close(normalised[:, channel], expected)
    (folder / PREPROCESSING).write_text(json.dumps({"do_normalize": False, "image_mean": [9, 9, 9]}))
    assert torch.equal(open_folder(folder)._normalised(images()), images().repeat(1, 3, 1, 1))
    one = write_vit(tmp_path / "gray", num_channels=1)
    (one / PREPROCESSING).unlink()
    assert open_folder(one).eval()(images()).shape == (2, 16, 4, 4)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "cannot be read"),
        ("[]", "no mapping"),
        ('{"image_mean": [0.5, 0.5], "image_std": [1, 1]}', "3 numbers are expected"),
        ('{"image_mean": [0, 0, 0], "image_std": [1, 0, 1]}', "3 positive numbers"),
        ('{"image_mean": ["a", 0, 0], "image_std": [1, 1, 1]}', "3 numbers are expected"),
        ('{"image_mean": [NaN, 0, 0], "image_std": [1, 1, 1]}', "3 numbers are expected"),
    ],
)
def test_a_damaged_normalisation_is_refused(content: str, told: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["vit"], tmp_path / "vit")
    (folder / PREPROCESSING).write_text(content)
    with pytest.raises(CheckpointError, match=told) as error:
        open_folder(folder)
    assert PREPROCESSING in str(error.value)


# --- what is trained ------------------------------------------------------------------------------------------------


@each_kind
def test_every_trained_weight_has_a_gradient(kind: str, make: Make) -> None:
    backbone = make(kind).train()
    (backbone(images()) * torch.randn(4, 4)).sum().backward()
    trained = {name for name, weight in backbone.named_parameters() if weight.requires_grad}
    assert trained == {name for name, weight in backbone.named_parameters() if weight.grad is not None}
    assert {name for name, _ in backbone.named_parameters()} - trained <= {"base.embeddings.mask_token"}
    assert not any("pooler" in name for name in trained)
    assert backbone.belongs_inside
    assert not set(backbone.outside_names())


@each_kind
def test_frozen_stays_frozen_and_in_evaluation_mode(kind: str, make: Make) -> None:
    backbone = make(kind, tuning="frozen")
    nn.ModuleList([backbone]).train()
    assert not any(module.training for module in backbone.modules())
    assert not any(weight.requires_grad for weight in backbone.parameters())
    assert set(backbone.outside_names()) == set(backbone.state_dict())
    assert not backbone(images()).requires_grad


def test_drop_path_is_on_in_training_only(tmp_path: Path) -> None:
    folder = write_swin(tmp_path, drop_path_rate=0.9)
    trained, frozen = open_folder(folder).train(), open_folder(folder, tuning="frozen").train()
    torch.manual_seed(0)
    assert not torch.equal(trained(images()), trained(images()))
    assert torch.equal(frozen(images()), frozen(images()))
    torch.testing.assert_close(trained.eval()(images()), frozen(images()), rtol=0, atol=1e-5)


def test_few_images_leave_the_batch_statistics_alone(tmp_path: Path) -> None:
    from transformers import ResNetConfig as TheirConfig
    from transformers import ResNetModel

    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    ResNetModel(TheirConfig(**sizes)).save_pretrained(tmp_path)
    backbone = open_folder(tmp_path, min_images_for_batch_statistics=4).train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    assert backbone(images(64, 3)).shape == (3, 16, 8, 8)
    assert all(torch.equal(before[name], value) for name, value in backbone.named_buffers())
    backbone(images(64, 4))
    assert any(not torch.equal(before[name], value) for name, value in backbone.named_buffers())


# --- checkpoints ----------------------------------------------------------------------------------------------------


@each_kind
def test_a_trained_folder_goes_into_the_checkpoint(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    source = shutil.copytree(folders[kind], tmp_path / "source")
    backbone = open_folder(source).eval()
    with torch.no_grad():
        next(backbone.parameters()).add_(0.1)
    expected = backbone(images())
    backbone.save_folder(tmp_path / "backbone")
    assert not list((tmp_path / "backbone").glob("*.safetensors"))
    stated = backbone.deployed_config()
    assert (stated["directory"], stated["inside"], stated["name"]) == ("./backbone", True, "huggingface")
    shutil.rmtree(source)
    again = FolderBackbone(parse_backbone({**stated, "directory": str(tmp_path / "backbone")})).eval()
    again.load_state_dict(backbone.state_dict(), strict=True)
    assert torch.equal(again(images()), expected)
    assert again.deployed_config() == stated


def test_another_base_is_refused(make: Make, tmp_path: Path) -> None:
    frozen = make("swin", tuning="frozen")
    stated = frozen.deployed_config()
    assert (stated["identity"], stated["tuning"]) == (frozen.identity, "frozen")
    assert FolderBackbone(parse_backbone(stated)).identity == frozen.identity
    other = write_swin(tmp_path, seed=5)
    theirs = open_folder(other).identity
    with pytest.raises(CheckpointError, match=f"fingerprint {theirs}.* made on the base {frozen.identity}"):
        FolderBackbone(parse_backbone({**stated, "directory": str(other)}))


def test_other_backbones_need_no_weights_file_when_deployed() -> None:
    for stem in (
        ResNetStem(ResNetConfig(depth=18, width=4, num_stages=1, weights=Path("x"))),
        DenseNetStem(DenseNetConfig(growth=4, num_stages=1, weights=Path("x"))),
    ):
        assert stem.deployed_config() == stem.config.plain() | {"weights": None}
        assert parse_backbone(stem.deployed_config()).weights is None


def test_fingerprint_of_a_large_weight() -> None:
    """Beyond 2^24 values float32 has no room for every place."""
    large = nn.Module()
    large.weight = nn.Parameter(torch.zeros(25_296_896, dtype=torch.bfloat16))
    before = fingerprint(large)
    with torch.no_grad():
        large.weight[-1] = 1
    assert fingerprint(large) != before


# --- refusals -------------------------------------------------------------------------------------------------------


def test_sizes_that_do_not_fit_are_refused(make: Make, folders: dict[str, Path]) -> None:
    for kind in IMAGE_WRITERS:
        for size in (36, 4):
            with pytest.raises(ConfigError, match=f"size_px = {size}: .*patches of 8 px; .*e.g. 32"):
                make(kind).grid_side(size)
    stiff = make("vit")
    stiff._takes_interpolation = False
    assert stiff.grid_side(NATIVE) == 4
    with pytest.raises(ConfigError, match=r"size_px = 64: .*reads images of 32 px only"):
        stiff.grid_side(64)


def test_folders_of_something_else_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    from transformers import SegformerConfig, SegformerModel, ViTMAEConfig, ViTMAEModel

    with pytest.raises(CheckpointError, match="no such folder"):
        open_folder(tmp_path / "absent")
    bare = shutil.copytree(folders["swin"], tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds no weights"):
        open_folder(bare)
    (bare / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        open_folder(bare)
    with pytest.raises(ConfigError, match="holds a BertModel, which is no image encoder"):
        open_folder(write_bert(tmp_path / "bert"))
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    ViTMAEModel(ViTMAEConfig(**small, intermediate_size=16)).save_pretrained(tmp_path / "hides")
    with pytest.raises(ConfigError, match=r"gives states of shape \(2, 5, 16\), not 16 channels on 4 x 4 patches"):
        open_folder(tmp_path / "hides")(images())
    stages = {"hidden_sizes": [4, 4, 4, 4], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 1, 1]}
    SegformerModel(SegformerConfig(**stages)).save_pretrained(tmp_path / "other")
    with pytest.raises(ConfigError, match="does not tell its patches"):
        open_folder(tmp_path / "other")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"directory": None}, "needs a directory"),
        ({"tuning": "lora"}, "tuning: lora is for language models"),
        ({"weights": "w.pth"}, "a folder brings its own"),
        ({"depth": 18}, "depth"),
    ],
)
def test_configs_that_do_not_fit_together(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_backbone({"name": "huggingface", "directory": "x", **options})


@pytest.mark.parametrize("tuning", ["full", "frozen"])
def test_vlci_reads_through_a_folder(tuning: str, folders: dict[str, Path]) -> None:
    sizes = {"dim": 16, "num_heads": 2, "hidden_dim": 16, "linguistic_hidden_dim": 16, "num_local_per_head": 2}
    depths = {"num_encoder_layers": 1, "num_decoder_layers": 1}
    backbone = {"name": "huggingface", "directory": str(folders["swin"]), "tuning": tuning}
    model = Vlci(VlciConfig.parse({**sizes, **depths, "backbone": backbone}, where="test"), WordTokenizer(), NATIVE)
    mask = torch.tensor([[True, True], [True, False]])
    reports, lengths = torch.tensor([[1, 4, 5, 6, 2], [1, 7, 8, 2, 0]]), torch.tensor([5, 4])
    batch = Batch(("a", "b"), images(number=4).unflatten(0, (2, 2)), mask, mask.long(), reports, lengths)
    logits = model(batch)
    assert torch.isfinite(logits).all()
    stated = model.deployed_config()["backbone"]
    assert stated["inside"] == (tuning == "full")
