"""The whole way through the real command line: overfit, resume after a kill, two processes, every recipe, bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from radwright.cli.main import main
from radwright.inference.checkpoint import load_checkpoint
from tiny_folders import write_bert, write_swin
from tiny_language import write_llama

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
TINY = [
    "image.size_px=48",
    "model.backbone={name: resnet, depth: 18, width: 8, num_stages: 2}",
    "model.dim=48",
    "model.num_heads=4",
    "model.hidden_dim=96",
    "model.num_encoder_layers=1",
    "model.num_decoder_layers=1",
]


TINY_TRRG = [
    "image.size_px=48",
    "model.interaction_dim=48",
    "model.num_interaction_heads=4",
    "model.contrast_dim=16",
    "model.min_auc=null",  # two steps perceive nothing
]
TINY_OWN = [
    "model.backbone={name: resnet, depth: 18, width: 8, num_stages: 2}",
    "model.text_encoder={dim: 16, num_layers: 1, num_heads: 2, hidden_dim: 16}",
    "model.language={dim: 48, num_layers: 1, num_heads: 4, hidden_dim: 48}",
    "vocabulary.size=300",
]


def run(*arguments: object) -> int:
    """The exit status of a command, run in this process."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    assert run(*arguments, "--json") == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    studies = folder / "studies.yaml"
    studies.write_text("size_px: 48\nnum_studies: {train: 12, tune: 3, val: 2, test: 2}\n")
    assert run("prepare", studies, "--format", "phantom", "--out", folder / "store", "--workers", 1) == 0
    return folder / "store"


def tiny_recipe(folder: Path, **train: Any) -> Path:
    """A recipe of a few seconds."""
    recipe = {
        "store": None,
        "method": "vlci",
        "model": {
            "backbone": {"name": "resnet", "depth": 18, "width": 8, "num_stages": 2},
            "dim": 48,
            "num_heads": 4,
            "hidden_dim": 96,
            "linguistic_hidden_dim": 96,
            "num_encoder_layers": 1,
            "num_decoder_layers": 1,
            "dropout": 0.0,
            "mediator_dropout": 0.0,
        },
        "image": {"size_px": 48},
        "vocabulary": {"min_count": 1},
        "loading": {"max_tokens": 130},
        "stages": [
            {
                "name": "report",
                "train": {
                    "batch_size": 4,
                    "optimizer": {"lr": 3e-3, "weight_decay": 0.0},
                    "clip": {"norm": 1.0},
                    **train,
                },
                "validation": {"decoding": {"strategy": {"kind": "greedy"}, "max_tokens": 20}},
            }
        ],
        "decoding": {"max_tokens": 130},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def weights(run_folder: Path) -> dict[str, torch.Tensor]:
    return load_file(run_folder / "best" / "model.safetensors")


def test_two_studies_are_learnt_by_heart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prepare, train, generate, score: on the two studies it was trained on a whole VLCI writes their very reports."""
    studies = tmp_path / "studies.yaml"
    studies.write_text("size_px: 48\nseed: 5\nnum_studies: {train: 2, tune: 1}\n")
    store = tmp_path / "store"
    assert run("prepare", studies, "--format", "phantom", "--out", store, "--workers", 1) == 0
    recipe = tiny_recipe(tmp_path, max_steps=120, batch_size=2, validate_every_steps=120)
    summary = run_json(capsys, "train", recipe, f"store={store}", "--out", tmp_path / "run", "--threads", 1)
    assert summary["stages"]["report"]["stopped"] == "completed"
    drafts = tmp_path / "drafts.jsonl"
    assert run("generate", tmp_path / "run" / "best", store, "--split", "train", "--out", drafts) == 0
    scores = tmp_path / "scores.json"
    references = ["--references", store / "reports.jsonl", "--split", "train"]
    assert run("score", drafts, *references, "--json", scores, "--resamples", 10) == 0
    found = json.loads(scores.read_text())
    assert found["n"] == 2
    assert found["metrics"]["bleu_4"]["value"] > 0.95


@pytest.mark.parametrize("objective", ["teacher_forcing", "propensity_weighted"])
def test_a_killed_run_resumes_to_the_same_bits(objective: str, store: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(
        tmp_path, max_steps=14, validate_every_steps=7, checkpoint_every_steps=1, log_every_steps=1, ema={"decay": 0.9}
    )
    options = [f"store={store}", "model.dropout=0.1", f"stages.0.objective={objective}", "--threads", "1"]
    assert run("train", recipe, *options, "--out", tmp_path / "whole") == 0
    command = [sys.executable, "-m", "radwright", "train", str(recipe), *options, "--out", str(tmp_path / "killed")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    log = tmp_path / "killed" / "stages" / "report" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and len(log.read_bytes().splitlines()) >= 4):
        assert time.monotonic() < deadline, "training never got under way"
        assert process.poll() is None, "training ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run("train", recipe, *options, "--out", tmp_path / "killed") == 0
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines() if '"kind": "train"' in line]
    assert steps == list(range(1, 15))


def test_drafts_are_rewarded(store: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, max_steps=2)
    critic = ["stages.0.objective=self_critical", "stages.0.settings.max_tokens=8"]
    assert run("train", recipe, f"store={store}", *critic, "--threads", "1", "--out", tmp_path / "run") == 0
    summary = json.loads((tmp_path / "run" / "stages" / "report" / "summary.json").read_text())
    assert summary["steps"] == 2


def test_two_processes_are_one(store: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, max_steps=3, micro_batch_size=2, validate_every_steps=3)
    frozen = "model.backbone.min_images_for_batch_statistics=100"
    # Keys' biases have no gradient but rounding, which Adam's usual epsilon would blow up to whole steps.
    common = [f"store={store}", frozen, "stages.0.train.optimizer.eps=1e-3", "--threads", "1"]
    assert run("train", recipe, *common, "--out", tmp_path / "one") == 0
    command = [sys.executable, "-m", "radwright", "train", str(recipe), *common, "stages.0.train.engine.processes=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "two")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    first = weights_at_start(recipe, store, tmp_path)
    moved = max((one[name] - first[name]).abs().max().item() for name in one if one[name].is_floating_point())
    assert moved > 1e-3
    for name in one:
        assert (one[name] - two[name]).abs().max() < 1e-5, name


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the rank by /proc")
@pytest.mark.parametrize("under_way", [False, True], ids=["while ranks start", "after some steps"])
def test_no_rank_outlives_a_killed_main_process(store: Path, tmp_path: Path, under_way: bool) -> None:
    recipe = tiny_recipe(tmp_path, max_steps=100_000, micro_batch_size=2, log_every_steps=1, validate_every_steps=10**5)
    options = [f"store={store}", "model.backbone.min_images_for_batch_statistics=100", "--threads", "1"]
    command = [sys.executable, "-m", "radwright", "train", str(recipe), *options]
    command += ["stages.0.train.engine.processes=2", "--out", str(tmp_path / "run")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    main_process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    children = Path(f"/proc/{main_process.pid}/task/{main_process.pid}/children")
    log = tmp_path / "run" / "stages" / "report" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and len(log.read_bytes().splitlines()) >= 4 if under_way else children.read_text()):
        assert time.monotonic() < deadline, "training never got under way"
        assert main_process.poll() is None, "training ended before it could be killed"
        time.sleep(0.02)
    assert children.read_text()
    main_process.kill()
    main_process.wait()
    # The ranks hold the other end of the pipe until they end.
    main_process.communicate(timeout=3)


def weights_at_start(recipe: Path, store: Path, folder: Path) -> dict[str, torch.Tensor]:
    """A run whose learning rate is zero: the common start."""
    options = [f"store={store}", "stages.0.train.max_steps=1", "stages.0.train.optimizer.lr=0", "--threads", "1"]
    assert run("train", recipe, *options, "--out", folder / "start") == 0
    return weights(folder / "start")


def test_a_later_stage_starts_from_an_earlier_one(store: Path, tmp_path: Path) -> None:
    recipe = yaml.safe_load(tiny_recipe(tmp_path, max_steps=2).read_text())
    second = json.loads(json.dumps(recipe["stages"][0])) | {"name": "again", "init_from": "report"}
    second["train"] |= {"max_steps": 1, "optimizer": {"lr": 0.0}}
    path = tmp_path / "two_stages.yaml"
    path.write_text(yaml.safe_dump(recipe | {"stages": [*recipe["stages"], second]}))
    assert run("train", path, f"store={store}", "--out", tmp_path / "run", "--threads", 1) == 0
    earlier = load_file(tmp_path / "run" / "stages" / "report" / "best" / "model.safetensors")
    later = weights(tmp_path / "run")
    assert all(torch.equal(earlier[name], later[name]) for name, p in later.items() if "running" not in name and p.ndim)


def test_a_stage_has_an_image_size_of_its_own(store: Path, tmp_path: Path) -> None:
    """Small images early; each stage's checkpoint says which one it was trained at."""
    recipe = yaml.safe_load(tiny_recipe(tmp_path, max_steps=1).read_text())
    large = recipe["image"]["size_px"]
    second = json.loads(json.dumps(recipe["stages"][0])) | {"name": "again", "init_from": "report"}
    path = tmp_path / "two_sizes.yaml"
    recipe["model"]["visual"] = False  # its table of relative positions belongs to one grid of patches
    path.write_text(yaml.safe_dump(recipe | {"stages": [recipe["stages"][0] | {"image": {"size_px": 24}}, second]}))
    assert run("train", path, f"store={store}", "--out", tmp_path / "run", "--threads", 1) == 0
    checkpoints = (tmp_path / "run" / "stages" / "report" / "best", tmp_path / "run" / "best")
    assert [load_checkpoint(checkpoint).config.image.size_px for checkpoint in checkpoints] == [24, large] != [24, 24]
    wrong = ["stages.0.image={size: 24}", "--out", tmp_path / "wrong", "--threads", 1]
    assert run("train", path, f"store={store}", *wrong) != 0


def test_pieces_of_words_from_training_to_drafts_and_on(store: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, max_steps=1)
    common = ["train", recipe, f"store={store}", "--threads", 1]
    raw = ["vocabulary={kind: subwords, size: 300, cleaning: null}", "loading.max_tokens=60"]
    assert run(*common, *raw, "--out", tmp_path / "first") == 0
    best = tmp_path / "first" / "best"
    assert json.loads((best / "tokenizer" / "tokenizer.json").read_text())["kind"] == "subwords"
    drafts = tmp_path / "drafts.jsonl"
    assert run("generate", best, store, "--split", "test", "--out", drafts, "--limit", 1) == 0
    assert len(drafts.read_text().splitlines()) == 1
    on = [f"stages.0.init_from={best}", "loading.max_tokens=60", "--out", tmp_path / "second"]
    assert run(*common, *on) != 0, "its words are not these"
    shutil.rmtree(tmp_path / "second")
    assert run(*common, *on, f"vocabulary.checkpoint={best}") == 0


def test_a_mistake_in_a_later_stage_costs_no_earlier_one(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused before the first step; and a stage that has not begun may still change."""
    recipe = yaml.safe_load(tiny_recipe(tmp_path, max_steps=1).read_text())
    second = json.loads(json.dumps(recipe["stages"][0])) | {"name": "again", "init_from": "report"}
    path = tmp_path / "two_stages.yaml"
    path.write_text(yaml.safe_dump(recipe | {"stages": [*recipe["stages"], second]}))
    common = ["train", path, f"store={store}", "--threads", 1, "--out", tmp_path / "run"]
    wrong = {
        "stages.1.settings.label_smooth=1": "did you mean",
        "stages.1.objective=teacher": "teacher_forcing",
        "stages.1.init_from=reports": "no earlier stage",
        "stages.1.init_from=again": "no earlier stage",
        "stages.1.train.optimizer.groups=[{pattern: nothing.like.it, lr: 1.0}]": "nothing.like.it",
    }
    for change, message in wrong.items():
        assert run(*common, change) != 0
        assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert run(*common, "stages.1.train.max_steps=2") == 0
    shutil.rmtree(tmp_path / "run" / "stages" / "again")
    log = (tmp_path / "run" / "stages" / "report" / "metrics.jsonl").read_text()
    assert run(*common, "stages.1.train.max_steps=1", "stages.0.train.seed=7") != 0
    assert "stages.0.train.seed" in capsys.readouterr().err
    assert run(*common, "stages.1.train.max_steps=1") == 0
    assert (tmp_path / "run" / "stages" / "report" / "metrics.jsonl").read_text() == log
    assert json.loads((tmp_path / "run" / "stages" / "again" / "summary.json").read_text())["steps"] == 1


def from_folders(folder: Path) -> list[str]:
    """Changes that put tiny models on disk in the place of published ones."""
    write_swin(folder / "image")
    write_bert(folder / "text")
    write_llama(folder / "language", max_position_embeddings=2048)
    places = {"model.backbone": "image", "model.text_encoder": "text", "model.language": "language"}
    places["vocabulary"] = "language"
    return ["model.language.precision=fp32", *(f"{key}.directory={folder / name}" for key, name in places.items())]


@pytest.mark.parametrize("recipe", [path for path in RECIPES if "stages:" in path.read_text()], ids=lambda p: p.stem)
def test_every_recipe_runs_two_steps(recipe: Path, store: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(recipe.read_text())
    stages = len(values["stages"])
    tiny = ["vocabulary.min_count=1", *TINY]
    if values["method"] == "trrg":
        in_folders = values["vocabulary"].get("directory") is not None
        tiny = [*TINY_TRRG, *(from_folders(tmp_path) if in_folders else TINY_OWN)]
    short = [
        change
        for number in range(stages)
        for change in (
            f"stages.{number}.train.max_steps=2",
            f"stages.{number}.train.batch_size=2",
            f"stages.{number}.train.engine.processes=1",
            f"stages.{number}.validation.max_studies=1",
            f"stages.{number}.validation.decoding={{strategy: {{kind: greedy}}, max_tokens: 5}}",
        )
    ]
    options = [f"store={store}", *tiny, *short, "--out", tmp_path / "run", "--threads", 1]
    assert run("train", recipe, *options) == 0
    drafts = tmp_path / "drafts.jsonl"
    writes = values["stages"][-1].get("method") != "radcare"  # a pre-training that others start from
    outcome = run("generate", tmp_path / "run" / "best", store, "--split", "test", "--out", drafts, "--limit", 1)
    assert outcome == (0 if writes else 1)
    assert not writes or len(drafts.read_text().splitlines()) == 1


def test_bad_input_names_the_thing_and_the_cure(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny_recipe(tmp_path, max_steps=1)

    def failure(*arguments: object) -> str:
        capsys.readouterr()
        assert run(*arguments) == 1
        return capsys.readouterr().err

    out = ("--out", tmp_path / "run")
    assert "optimiser" in failure("train", recipe, f"store={store}", "stages.0.train.optimiser={}", *out)
    assert "did you mean 'optimizer'" in failure("train", recipe, f"store={store}", "stages.0.train.optimiser={}", *out)
    assert "store=DIR" in failure("train", recipe, *out)
    assert "no prepared store" in failure("train", recipe, f"store={tmp_path}", *out)
    assert "absent.yaml" in failure("train", tmp_path / "absent.yaml", *out)
    assert "'vlcii' (did you mean 'vlci'?)" in failure("train", recipe, f"store={store}", "method=vlcii", *out)
    assert "depth" in failure("train", recipe, f"store={store}", "model.backbone.depth=19", *out)
    assert "is no checkpoint" in failure("generate", tmp_path, store, "--out", tmp_path / "d.jsonl")
    assert run("train", recipe, f"store={store}", *out) == 0
    best = tmp_path / "run" / "best"
    assert "has no split 'tset'" in failure("generate", best, store, "--split", "tset", "--out", tmp_path / "d.jsonl")
    assert "only a prepared store has splits" in failure(
        "generate", best, recipe, "--split", "val", "--out", tmp_path / "d.jsonl"
    )
    assert "another recipe" in failure("train", recipe, f"store={store}", "stages.0.train.seed=1", *out)
    text = tmp_path / "text.png"
    text.write_text("no image")
    assert run("generate", best, text, "--out", tmp_path / "d.jsonl") == 1
    assert "text.png" in (tmp_path / "d.jsonl.skipped.jsonl").read_text()
    shutil.rmtree(tmp_path / "run" / "best" / "tokenizer")
    assert "tokenizer" in failure("generate", best, store, "--out", tmp_path / "e.jsonl")


def test_the_demo_makes_a_page_and_is_not_done_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--out", tmp_path / "demo", "--studies", 24, "--threads", 1, *TINY, "stages.0.train.max_steps=2"]
    options.append("stages.0.train.engine.processes=1")
    result = run_json(capsys, "demo", *options)
    page = Path(result["page"])
    assert "Not a medical device" in page.read_text()
    assert result["scores"]["n"] == 200
    assert {"constant_bleu_4", "constant_cider", "random_train_report"} <= result["scores"]["baselines"].keys()
    assert 0.25 < result["findings"]["best_constant"]["f1"] < 0.5
    drafts = next((tmp_path / "demo").glob("drafts-*.jsonl"))
    written = drafts.stat().st_mtime_ns
    run_json(capsys, "demo", *options)
    assert drafts.stat().st_mtime_ns == written
