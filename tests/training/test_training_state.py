from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import nn
from training_toy import SIDE, InterruptAt, ToyObjective, configure, train

from radwright.errors import CheckpointError, OutputError
from radwright.nn.folder import FolderConfig, FolderPart
from radwright.training import state as state_module
from radwright.training.optim import Ema, EmaConfig, OptimizerConfig, make_optimizer
from radwright.training.state import Progress, Window, changed_keys, load_state, restore, save_state


def trained() -> tuple[ToyObjective, torch.optim.Optimizer, Ema]:
    toy = ToyObjective()
    optimizer = make_optimizer(toy, OptimizerConfig(amsgrad=True))
    ema = Ema(toy, EmaConfig())
    for step in range(2):
        for name, parameter in toy.named_parameters():
            if not name.startswith("never"):
                parameter.grad = torch.sin(torch.arange(parameter.numel()).double() + step).reshape(parameter.shape)
        optimizer.step()
        ema.update(step)
    return toy, optimizer, ema


def test_a_state_comes_back_to_the_bit(tmp_path: Path) -> None:
    toy, optimizer, ema = trained()
    progress = Progress(step=2, best_score=float("inf"), window=Window({"a": 0.1}, {"a": 3.0}, 4, 0.5), hooks={"h": {}})
    save_state(tmp_path / "state", toy, optimizer, ema, progress, {"key": [1, 2]})
    fresh = ToyObjective()
    nn.init.zeros_(fresh.stem.weight)
    other, average = make_optimizer(fresh, OptimizerConfig(amsgrad=True)), Ema(fresh, EmaConfig())
    again, fingerprint, tensors = load_state(tmp_path / "state")
    restore(tensors, fresh, other, average)
    assert again == progress
    assert fingerprint == {"key": [1, 2]}
    assert all(torch.equal(a, b) for a, b in zip(toy.state_dict().values(), fresh.state_dict().values(), strict=True))
    assert all(torch.equal(ema.averages[name], average.averages[name]) for name in ema.averages)
    first, second = optimizer.state_dict()["state"], other.state_dict()["state"]
    assert first.keys() == second.keys()
    for number, moments in first.items():
        assert moments.keys() == second[number].keys()
        assert all(torch.equal(moments[key], second[number][key]) for key in moments)
    assert os.listdir(tmp_path) == ["state"]


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    toy, optimizer, ema = trained()
    save_state(tmp_path / "state", toy, optimizer, ema, Progress(), {})
    content = (tmp_path / "state").read_bytes()
    assert content[8:9] == b"{"
    assert b"torch" not in content


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(3, 2)
        self.logit = nn.Linear(2, 3, bias=False)
        self.logit.weight = self.embedding.weight


def test_tied_weights_are_kept_tied(tmp_path: Path) -> None:
    tied = Tied()
    optimizer = make_optimizer(tied, OptimizerConfig())
    save_state(tmp_path / "state", tied, optimizer, None, Progress(), {})
    fresh = Tied()
    restore(load_state(tmp_path / "state")[2], fresh, make_optimizer(fresh, OptimizerConfig()), None)
    assert torch.equal(fresh.logit.weight, tied.embedding.weight)
    assert fresh.logit.weight is fresh.embedding.weight


def test_a_failed_write_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy, optimizer, ema = trained()
    path = tmp_path / "state"
    save_state(path, toy, optimizer, ema, Progress(step=1), {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the disk is full after 1000 bytes
    try:
        with pytest.raises(OutputError, match="state cannot be written"):
            save_state(path, toy, optimizer, ema, Progress(step=2), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load_state(path)[0].step == 1
    assert os.listdir(tmp_path) == ["state"]

    def fail(source: Path, target: Path) -> None:
        raise OSError("gone")

    monkeypatch.setattr(state_module.os, "replace", fail)
    with pytest.raises(OutputError, match="gone"):
        save_state(path, toy, optimizer, ema, Progress(step=2), {})
    assert load_state(path)[0].step == 1


@pytest.mark.parametrize("content", [b"", b"\x00" * 7, b"PK\x03\x04 a pickle in a zip", b"\xff" * 64])
def test_a_damaged_state_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read as a training state"):
        load_state(path)


def test_a_truncated_or_foreign_state_is_a_clear_error(tmp_path: Path) -> None:
    toy, optimizer, ema = trained()
    path = tmp_path / "state"
    save_state(path, toy, optimizer, ema, Progress(), {})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_state(path)
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="no training state of this version"):
        load_state(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_state(tmp_path / "absent")


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    toy, optimizer, ema = trained()
    save_state(tmp_path / "state", toy, optimizer, ema, Progress(), {})
    other = nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match="does not fit this model"):
        restore(load_state(tmp_path / "state")[2], other, make_optimizer(other, OptimizerConfig()), None)


@pytest.mark.parametrize(
    "error",
    [SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), OSError(28, "full")],
)
def test_a_full_disk_names_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(state_module, "save_file", fail)
    toy, optimizer, ema = trained()
    with pytest.raises(OutputError, match="state cannot be written: no space is left; free some and run the same"):
        save_state(tmp_path / "state", toy, optimizer, ema, Progress(), {})


def test_changed_keys_are_named() -> None:
    then = {"a": {"b": 1, "c": (1, 2)}, "groups": [{"lr": 1.0}], "same": None, "gone": 0}
    now = {"a": {"b": 2, "c": [1, 2]}, "groups": [{"lr": 2.0}], "same": None, "new": {"deep": "x"}}
    assert changed_keys(then, now) == [
        "a.b: 1 -> 2",
        "gone: 0 -> absent",
        "groups.0.lr: 1.0 -> 2.0",
        "new.deep: absent -> 'x'",
    ]
    assert changed_keys(then, then) == []


def test_restored_moments_lie_in_memory_as_their_parameters(tmp_path: Path) -> None:
    """A fused optimiser walks through memory: after a resume, channels-last weights must move as without one."""

    def make() -> tuple[nn.Conv2d, torch.optim.Optimizer]:
        torch.manual_seed(0)
        conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return conv, make_optimizer(conv, OptimizerConfig(lr=0.1))

    def step(conv: nn.Conv2d, optimizer: torch.optim.Optimizer, seed: int) -> None:
        images = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        conv(images).pow(3).sum().backward()
        optimizer.step()

    conv, optimizer = make()
    step(conv, optimizer, 1)
    save_state(tmp_path / "state", conv, optimizer, None, Progress(), {})
    step(conv, optimizer, 2)
    fresh, other = make()
    restore(load_state(tmp_path / "state")[2], fresh, other, None)
    step(fresh, other, 2)
    assert torch.equal(fresh.weight, conv.weight)


class OnABase(FolderPart):
    """A linear layer out of a folder, with an adapter beside it that alone is trained."""

    def __init__(self, tuning: str) -> None:
        super().__init__(FolderConfig.parse({"directory": "base", "tuning": tuning}, where="test"))

        def read(directory: Path, *, weights: bool) -> nn.Module:
            torch.manual_seed(17)
            return nn.Linear(SIDE * SIDE, 8, dtype=torch.float64)

        self.open_base(read)
        self.weight = self.get_parameter("base.weight")  # a second name of a weight in the folder
        base = self.get_submodule("base")
        base.adapter = nn.ParameterDict({"lora_A": nn.Parameter(torch.zeros(8, dtype=torch.float64))})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        base = self.get_submodule("base")
        assert isinstance(base, nn.Linear)
        return nn.functional.linear(x, base.weight, base.bias) + self.get_parameter("base.adapter.lora_A")


def toy_on_a_base(tuning: str) -> ToyObjective:
    toy = ToyObjective()
    toy.stem = OnABase(tuning)  # type: ignore[assignment]
    return toy


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_state_leaves_out_what_a_folder_holds_and_a_resume_notices_nothing(tmp_path: Path, tuning: str) -> None:
    folders = [tmp_path / "whole", tmp_path / "parts"]
    for folder in folders:
        folder.mkdir()
    whole, _ = train(folders[0], configure(), objective=toy_on_a_base(tuning))
    train(folders[1], configure(), objective=toy_on_a_base(tuning), hooks=[InterruptAt(3)])
    stored = {name for name in load_state(folders[1] / "state.safetensors")[2] if "stem." in name}
    base = {"objective/stem.base.weight", "objective/stem.base.bias", "objective/stem.weight"}
    assert (base <= stored) == (tuning == "full")
    assert base.isdisjoint(stored) == (tuning == "lora")
    assert "objective/stem.base.adapter.lora_A" in stored
    parts, summary = train(folders[1], configure(), objective=toy_on_a_base(tuning), resume=True)
    assert summary.stopped == "completed"
    assert whole.get_parameter("stem.base.adapter.lora_A").detach().abs().sum() > 0
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name


def test_an_older_state_that_holds_the_base_too_still_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = toy_on_a_base("lora")
    optimizer = make_optimizer(toy, OptimizerConfig())
    with monkeypatch.context() as patch:
        patch.setattr(state_module, "outside_weights", lambda _: {})
        save_state(tmp_path / "state", toy, optimizer, None, Progress(), {})
    tensors = load_state(tmp_path / "state")[2]
    assert "objective/stem.base.weight" in tensors
    restore(tensors, toy, optimizer, None)
    del tensors["objective/head.weight"]
    tensors["objective/stranger"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"lacks head\.weight; it holds besides stranger"):
        restore(tensors, toy, optimizer, None)
