"""TRRG on encoders and a language model out of folders, through the real command line: train both stages, draft."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import load_file

from radwright.cli.main import main
from radwright.errors import CheckpointError
from radwright.inference.checkpoint import load_checkpoint
from radwright.nn.folder import fingerprint, is_adapter
from radwright.nn.huggingface import load_causal_lm
from tiny_folders import write_bert, write_swin
from tiny_language import write_gpt2, write_llama

RECIPE = Path(__file__).parents[2] / "recipes" / "trrg" / "iu_xray.yaml"
WRITERS = {"llama": write_llama, "gpt2": write_gpt2}
POSITIONS = {"llama": "max_position_embeddings", "gpt2": "n_positions"}


def run(*arguments: object) -> int:
    """The exit status of a command, run in this process."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@dataclass(frozen=True)
class Trained:
    """A run of the recipe, whose image and text folders are gone."""

    best: Path
    language: Path
    store: Path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    studies = folder / "studies.yaml"
    studies.write_text("size_px: 48\nnum_studies: {train: 4, tune: 2, test: 2}\n")
    assert run("prepare", studies, "--format", "phantom", "--out", folder / "store", "--workers", 1) == 0
    return folder / "store"


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def trained(request: pytest.FixtureRequest, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("models")
    write_swin(folder / "image")
    write_bert(folder / "text")
    language = WRITERS[request.param](folder / "language", **{POSITIONS[request.param]: 256})
    changes = [
        f"store={store}",
        f"model.backbone.directory={folder / 'image'}",
        f"model.text_encoder.directory={folder / 'text'}",
        f"model.language.directory={language}",
        f"vocabulary.directory={language}",
        "model.contrast_dim=12",
        "model.interaction_dim=16",
        "model.num_interaction_heads=2",
        "model.language.rank=2",
        "model.min_auc=null",
        "image.size_px=32",
        "loading.workers=0",
    ]
    for number in (0, 1):
        train = f"stages.{number}.train"
        changes += [f"{train}.max_steps=2", f"{train}.batch_size=2", f"{train}.validate_every_steps=2"]
    changes.append("stages.1.validation.decoding={strategy: {kind: greedy}, max_tokens: 5}")
    assert run("train", RECIPE, *changes, "--out", folder / "run", "--threads", 1) == 0
    for name in ("image", "text"):
        shutil.rmtree(folder / name)
    return Trained(folder / "run" / "best", language, store)


def test_the_checkpoint_holds_what_was_trained_and_no_base(trained: Trained) -> None:
    names = load_file(trained.best / "model.safetensors").keys()
    of_language = [name for name in names if name.startswith("language.")]
    assert of_language
    assert all(is_adapter(name) for name in of_language)
    for part in ("backbone.base.", "text_encoder.base.", "image_head.", "interaction."):
        assert any(name.startswith(part) for name in names), part
    assert not list(trained.best.glob("*/*.safetensors"))
    config = json.loads((trained.best / "config.json").read_text())["model"]
    assert config["backbone"]["directory"] == "./backbone"
    assert config["text_encoder"]["directory"] == "./text_encoder"
    identity = fingerprint(load_causal_lm(trained.language))
    assert (config["language"]["directory"], config["language"]["identity"]) == (str(trained.language), identity)
    bases = json.loads((trained.best / "provenance.json").read_text())["bases"]
    assert bases == {"language": {"directory": "language", "identity": identity}}


def test_it_drafts_without_the_folders_of_what_was_trained(trained: Trained, tmp_path: Path) -> None:
    drafts = tmp_path / "drafts.jsonl"
    assert run("generate", trained.best, trained.store, "--split", "test", "--out", drafts, "--limit", 1) == 0
    (line,) = drafts.read_text().splitlines()
    assert json.loads(line)["study_id"]
    moved = shutil.copytree(trained.best, tmp_path / "elsewhere")
    first, second = load_checkpoint(trained.best).model, load_checkpoint(moved).model
    assert first.deployed_config() == second.deployed_config()


def test_stage_2_left_the_frozen_encoders_alone(trained: Trained) -> None:
    before = load_file(trained.best.parent / "stages" / "alignment" / "best" / "model.safetensors")
    after = load_file(trained.best / "model.safetensors")
    frozen = [name for name in before if name.startswith(("backbone.", "text_encoder."))]
    assert frozen
    assert all((before[name] == after[name]).all() for name in frozen)


def test_another_language_model_is_refused(trained: Trained, tmp_path: Path) -> None:
    checkpoint = shutil.copytree(trained.best, tmp_path / "best")
    identity = fingerprint(load_causal_lm(trained.language))
    kind = "gpt2" if (trained.language / "config.json").read_text().count("GPT2") else "llama"
    other = WRITERS[kind](tmp_path / "other", **{POSITIONS[kind]: 256, "initializer_range": 0.3})
    theirs = fingerprint(load_causal_lm(other))
    path = checkpoint / "config.json"
    path.write_text(path.read_text().replace(str(trained.language), str(other)))
    with pytest.raises(CheckpointError, match=f"{other}: .*{theirs}.* made on the base {identity}"):
        load_checkpoint(checkpoint)
    shutil.rmtree(other)
    with pytest.raises(CheckpointError, match=f"{other}: no such folder"):
        load_checkpoint(checkpoint)
