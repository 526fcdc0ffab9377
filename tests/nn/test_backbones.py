"""Backbones: shapes, batch statistics in small batches, weights from files in other people's names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from radwright.errors import CheckpointError
from radwright.nn.densenet import DenseNetConfig, DenseNetStem
from radwright.nn.resnet import ResNetConfig, ResNetStem

STEMS: dict[str, Any] = {
    "resnet18": lambda **kw: ResNetStem(ResNetConfig(depth=18, width=8, **kw)),
    "resnet50": lambda **kw: ResNetStem(ResNetConfig(depth=50, width=8, num_stages=4, **kw)),
    "densenet121": lambda **kw: DenseNetStem(DenseNetConfig(depth=121, growth=8, num_stages=2, **kw)),
    "densenet121-whole": lambda **kw: DenseNetStem(DenseNetConfig(depth=121, growth=8, num_stages=4, **kw)),
}


def shuffled(stem: nn.Module) -> nn.Module:
    """A stem whose batch statistics are not the identity."""
    torch.manual_seed(3)
    for layer in stem.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
            layer.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return stem


@pytest.mark.parametrize("name", STEMS)
@pytest.mark.parametrize("size", [64, 70, 97])
def test_features_have_the_promised_shape(name: str, size: int) -> None:
    stem = STEMS[name]().eval()
    features = stem(torch.rand(2, 1, size, size))
    side = stem.grid_side(size)
    assert features.shape == (2, stem.out_channels, side, side)


def test_published_stem_is_resnet101_to_layer3() -> None:
    with torch.device("meta"):
        stem = ResNetStem(ResNetConfig())
    assert (stem.out_channels, stem.stride, stem.grid_side(224)) == (1024, 16, 14)
    # Published: 44,549,160 parameters, 14,964,736 of them in layer4, 2,049,000 in the classifier; ours reads 1 channel.
    assert sum(p.numel() for p in stem.parameters()) == 44_549_160 - 14_964_736 - 2_049_000 - 2 * 64 * 49


@pytest.mark.parametrize("name", STEMS)
def test_small_batches_leave_the_running_statistics_alone(name: str) -> None:
    stem = STEMS[name](min_images_for_batch_statistics=4).train()
    before = {key: value.clone() for key, value in stem.named_buffers()}
    stem(torch.rand(3, 1, 64, 64))
    assert all(torch.equal(before[key], value) for key, value in stem.named_buffers())
    stem(torch.rand(4, 1, 64, 64))
    assert any(not torch.equal(before[key], value) for key, value in stem.named_buffers())


def to_hugging_face(name: str) -> str:
    """A torchvision ResNet name as Hugging Face's ResNetForImageClassification spells it."""
    part = {"conv": "convolution", "bn": "normalization"}
    if match := re.match(r"^(conv|bn)1\.(.+)$", name):
        return f"resnet.embedder.embedder.{part[match[1]]}.{match[2]}"
    match = re.match(r"^layer(\d)\.(\d+)\.(.+)$", name)
    assert match
    head = f"resnet.encoder.stages.{int(match[1]) - 1}.layers.{match[2]}"
    if inner := re.match(r"^downsample\.([01])\.(.+)$", match[3]):
        return f"{head}.shortcut.{'convolution' if inner[1] == '0' else 'normalization'}.{inner[2]}"
    inner = re.match(r"^(conv|bn)(\d)\.(.+)$", match[3])
    assert inner
    return f"{head}.layer.{int(inner[2]) - 1}.{part[inner[1]]}.{inner[3]}"


@pytest.mark.parametrize("spelling", ["torchvision", "module", "hugging-face"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("depth", [18, 50])
def test_resnet_weights_load_from_a_file(tmp_path: Path, spelling: str, suffix: str, depth: Any) -> None:
    """The file is a whole network with a classifier; the stem takes what it needs and says what it left."""
    whole = shuffled(ResNetStem(ResNetConfig(depth=depth, width=8, num_stages=4, in_channels=3)))
    rename = {"torchvision": str, "module": lambda n: f"module.{n}", "hugging-face": to_hugging_face}[spelling]
    weights = {rename(name): tensor.contiguous() for name, tensor in whole.state_dict().items()}
    weights["fc.weight"] = torch.zeros(3, 3)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": weights}, path)
    else:
        save_file(weights, path)
    stem = ResNetStem(ResNetConfig(depth=depth, width=8, num_stages=3, in_channels=3, weights=path)).eval()
    unused = stem.load_weights()
    assert "fc.weight" in unused
    assert all("layer4" in name or "stages.3" in name or name == "fc.weight" for name in unused)
    for name, tensor in stem.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name]), name


def test_one_channel_stem_sums_the_files_channels(tmp_path: Path) -> None:
    three = ResNetStem(ResNetConfig(depth=18, width=8, in_channels=3))
    save_file({k: v.contiguous() for k, v in three.state_dict().items()}, tmp_path / "w.safetensors")
    one = ResNetStem(ResNetConfig(depth=18, width=8, in_channels=1, weights=tmp_path / "w.safetensors"))
    one.load_weights()
    gray = torch.rand(2, 1, 32, 32)
    assert torch.allclose(one.conv1(gray), three.conv1(gray.expand(-1, 3, -1, -1)), atol=1e-5)


@pytest.mark.parametrize("old_spelling", [False, True])
def test_densenet_weights_load_from_a_file(tmp_path: Path, old_spelling: bool) -> None:
    whole = shuffled(DenseNetStem(DenseNetConfig(growth=8, num_stages=4, in_channels=3)))
    weights = {}
    for name, tensor in whole.state_dict().items():
        file_name = name.replace("norm.", "features.norm5.", 1) if name.startswith("norm.") else name
        if old_spelling:
            file_name = re.sub(r"(denselayer\d+\.)(norm|conv)([12])\.", r"\1\2.\3.", file_name)
        weights[file_name] = tensor.contiguous()
    save_file(weights, tmp_path / "w.safetensors")
    for num_stages in (2, 4):
        stem = DenseNetStem(
            DenseNetConfig(growth=8, num_stages=num_stages, in_channels=3, weights=tmp_path / "w.safetensors")  # type: ignore[arg-type]
        )
        stem.load_weights()
        norm = "norm" if num_stages == 4 else "features.transition2.norm"
        assert torch.equal(stem.norm.running_var, whole.get_submodule(norm).running_var)  # type: ignore[arg-type]
        assert torch.equal(
            stem.features.get_submodule("denseblock2.denselayer3.conv2").weight,  # type: ignore[arg-type]
            whole.get_submodule("features.denseblock2.denselayer3.conv2").weight,  # type: ignore[arg-type]
        )


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    def load(path: Path, depth: Any = 18) -> None:
        ResNetStem(ResNetConfig(depth=depth, width=8, weights=path)).load_weights()

    with pytest.raises(CheckpointError, match="no such weights file"):
        load(tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        load(tmp_path / "text.pth")
    torch.save({"state_dict": {"conv1.weight": Path("a pickled object")}}, tmp_path / "pickle.pth")
    with pytest.raises(CheckpointError, match="no pickled code"):
        load(tmp_path / "pickle.pth")
    other = ResNetStem(ResNetConfig(depth=18, width=8))
    save_file({k: v.contiguous() for k, v in other.state_dict().items()}, tmp_path / "18.safetensors")
    with pytest.raises(CheckpointError, match="another depth"):
        load(tmp_path / "18.safetensors", depth=34)
    wide = ResNetStem(ResNetConfig(depth=18, width=16))
    save_file({k: v.contiguous() for k, v in wide.state_dict().items()}, tmp_path / "wide.safetensors")
    with pytest.raises(CheckpointError, match="the model wants"):
        load(tmp_path / "wide.safetensors")
