"""Faults met by the commands: places that cannot be written, disks that end, stores that are damaged. One line each."""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from radwright.cli.main import main
from radwright.inference import checkpoint as checkpoint_module
from radwright.inference.checkpoint import load_checkpoint
from radwright.runs.outputs import claimed

MODEL = {
    "backbone": {"name": "resnet", "depth": 18, "width": 4, "num_stages": 2},
    "dim": 16,
    "num_heads": 4,
    "hidden_dim": 16,
    "linguistic_hidden_dim": 16,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
}
STAGE = {
    "name": "report",
    "train": {"batch_size": 4, "max_steps": 2, "validate_every_steps": 2, "optimizer": {"lr": 1e-3}},
    "validation": {"decoding": {"strategy": {"kind": "greedy"}, "max_tokens": 4}},
}


def run(*arguments: object) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, a recipe and a run of it."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "studies.yaml").write_text("size_px: 32\nnum_studies: {train: 8, tune: 2, test: 3}\n")
    source = [folder / "studies.yaml", "--format", "phantom", "--workers", "1"]
    assert run("prepare", *source, "--out", folder / "store") == 0
    recipe: dict[str, Any] = {
        "store": str(folder / "store"),
        "method": "vlci",
        "model": MODEL,
        "image": {"size_px": 32},
        "vocabulary": {"min_count": 1},
        "loading": {"max_tokens": 20, "workers": 2},
        "stages": [STAGE],
        "decoding": {"strategy": {"kind": "greedy"}, "max_tokens": 4},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert run("train", folder / "recipe.yaml", "--out", folder / "run", "--threads", 1) == 0
    return folder


def command(name: str, made: Path, store: Path, out: Path) -> list[object]:
    return {
        "prepare": ["prepare", made / "studies.yaml", "--format", "phantom", "--workers", 1, "--out", out],
        "train": ["train", made / "recipe.yaml", f"store={store}", "--threads", 1, "--out", out],
        "generate": ["generate", made / "run" / "best", store, "--threads", 1, "--out", out],
    }[name]


@pytest.mark.parametrize("name", ["prepare", "train", "generate"])
def test_an_output_under_a_file(name: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    assert run(*command(name, made, made / "store", tmp_path / "thesis.txt" / "out")) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"error: {tmp_path}")
    assert "thesis.txt" in said
    assert "cannot be written: a file stands where a folder is needed; choose another place" in said
    assert (tmp_path / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("name", ["prepare", "train", "generate"])
def test_a_folder_that_is_read_only(name: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    if os.access(locked, os.W_OK):
        pytest.skip("modes do not bind this user (root)")
    assert run(*command(name, made, made / "store", locked / "out")) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"error: {locked}")
    assert "cannot be written: Permission denied; choose a folder that you may write to" in said


@pytest.mark.parametrize("name", ["train", "generate"])
def test_a_damaged_shard(name: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its record batches' offsets, which lie at its beginning, are lost; training says so from a loading thread."""
    shutil.copytree(made / "store", tmp_path / "store")
    shard = tmp_path / "store" / "shard-000000000.arrow"
    content = bytearray(shard.read_bytes())
    content[1200:6000] = bytes(4800)
    shard.write_bytes(content)
    assert run(*command(name, made, tmp_path / "store", tmp_path / "out")) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"error: {shard}: is damaged (")
    assert said.endswith("delete the store's folder and prepare it again")


def test_a_disk_that_ends_while_training(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Really: no file may grow beyond 20 kB. The same command without the limit makes the same weights."""
    train = command("train", made, made / "store", tmp_path / "run")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        assert run(*train) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = capsys.readouterr().err.splitlines()[-1]
    assert "state.safetensors: the training state cannot be written" in said
    assert "ulimit" in said
    assert run(*train) == 0
    found, expected = (load_file(folder / "run/best/model.safetensors") for folder in (tmp_path, made))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_kill_before_a_folders_first_file_is_whole(made: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".writing-recipe.yaml").write_text("stages:")
    assert run(*command("train", made, made / "store", tmp_path / "run")) == 0
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / ".writing-job.json").write_text('{"comm')
    with claimed(tmp_path / "page", "evaluate", {"weights": "a"}):
        pass
    assert not list(tmp_path.glob("*/.writing-*"))


def test_a_checkpoint_killed_between_its_renames_twice(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any moment one whole checkpoint can be read."""
    path = tmp_path / "best"
    shutil.copytree(made / "run" / "best", path)
    read = load_checkpoint(path)
    replace = os.replace

    def save() -> None:
        checkpoint_module.save_checkpoint(path, read.config, read.model, read.tokenizer, {"seed": 0})

    for _ in range(2):
        with monkeypatch.context() as patch:

            def killed(source: Path, target: Path) -> None:
                if target == path:
                    raise KeyboardInterrupt
                replace(source, target)

            patch.setattr(checkpoint_module.os, "replace", killed)
            with pytest.raises(KeyboardInterrupt):
                save()
        assert not path.exists()
        load_checkpoint(path)
    save()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["best"]
