"""Runs of several processes through the command line: whole or shared weights, and a resume with another number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from test_run_through_the_cli import (
    RECIPES,
    ROOT,
    TINY,
    TINY_OWN,
    TINY_TRRG,
    from_folders,
    run,
    store,
    tiny_recipe,
    weights,
)

from radwright.training.state import load_state

__all__ = ["store"]  # a fixture
FROZEN_STATISTICS = "model.backbone.min_images_for_batch_statistics=100"
# Keys' biases have no gradient but rounding, which Adam's usual epsilon would blow up to whole steps.
CALM = "stages.0.train.optimizer.eps=1e-3"


def train(recipe: Path, options: list[str], out: Path, num_processes: int, sharding: str = "none") -> Any:
    """The started command."""
    engine = [f"stages.0.train.engine.processes={num_processes}", f"stages.0.train.engine.sharding={sharding}"]
    command = [sys.executable, "-m", "radwright", "train", str(recipe), *options, *engine, "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process: Any) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


FIRST = "backbone.conv1.weight"


def check_same(one: Path, other: Path, start: Path) -> None:
    """Equal but for rounding. FSDP2 wants convolutions' weights contiguous, not channels last; in that order max
    pooling chooses another one of equal values (a phantom's background): the first convolution's gradient shows it.
    """
    ours, theirs, first = weights(one), weights(other), weights(start)
    assert ours.keys() == theirs.keys()
    names = [name for name in ours if ours[name].is_floating_point()]
    for chosen, bound in (([name for name in names if name != FIRST], 1e-6), ([FIRST] if FIRST in ours else [], 1e-3)):
        apart = sum((ours[name] - theirs[name]).square().sum() for name in chosen)
        moved = sum((ours[name] - first[name]).square().sum() for name in chosen)
        assert apart <= bound * moved, f"{chosen[:1]}: {float(apart / moved) ** 0.5:.1e} of the way"
        assert moved > 1e-6 or not chosen


def started(recipe: Path, options: list[str], out: Path) -> Path:
    """The common start: a step without a length."""
    finish(train(recipe, [*options, "stages.0.train.max_steps=1", "stages.0.train.optimizer.lr=0"], out, 1))
    return out


@pytest.mark.slow
def test_shared_weights_are_those_of_one_process(store: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, max_steps=3, micro_batch_size=2, validate_every_steps=3, ema={"decay": 0.9})
    options = [f"store={store}", FROZEN_STATISTICS, CALM, "--threads", "1"]
    assert run("train", recipe, *options, "--out", tmp_path / "one") == 0
    finish(train(recipe, options, tmp_path / "two", 2, "full"))
    check_same(tmp_path / "one", tmp_path / "two", started(recipe, options, tmp_path / "start"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quickstart/phantom_trrg", "trrg/iu_xray", "cmcrl/iu_xray"])
def test_recipes_with_shared_weights(name: str, store: Path, tmp_path: Path) -> None:
    """The first stage of each beside whole weights in as many processes (whose dropout draws the same masks): contrast
    over processes, frozen bases in folders, RadCARE's two halves."""
    recipe = ROOT / "recipes" / f"{name}.yaml"
    assert recipe in RECIPES
    values = yaml.safe_load(recipe.read_text())
    tiny = ["vocabulary.min_count=1", *TINY]
    if values["method"] == "trrg":
        in_folders = values["vocabulary"].get("directory") is not None
        tiny = [*TINY_TRRG, *(from_folders(tmp_path) if in_folders else [*TINY_OWN, FROZEN_STATISTICS])]
    else:
        tiny.append(FROZEN_STATISTICS)
    values["stages"] = values["stages"][:1]
    short = ["max_steps=2", "batch_size=4", "clip={norm: 1.0}"]
    path = tmp_path / "first.yaml"
    path.write_text(yaml.safe_dump(values))
    options = [f"store={store}", *tiny, CALM, *(f"stages.0.train.{change}" for change in short)]
    options += ["stages.0.validation.max_studies=2", "--threads", "1"]
    finish(train(path, options, tmp_path / "whole", 2))
    finish(train(path, options, tmp_path / "shared", 2, "full"))
    check_same(tmp_path / "whole", tmp_path / "shared", started(path, options, tmp_path / "start"))


@pytest.mark.slow
def test_killed_and_continued_with_other_processes(store: Path, tmp_path: Path) -> None:
    """The same command but for its processes: two whole, three shared, one; the run that nothing happened to."""
    recipe = tiny_recipe(
        tmp_path,
        max_steps=16,
        micro_batch_size=2,
        checkpoint_every_steps=1,
        validate_every_steps=16,
        ema={"decay": 0.9},
    )
    options = [f"store={store}", FROZEN_STATISTICS, CALM, "--threads", "1"]
    finish(train(recipe, options, tmp_path / "whole", 1))
    state = tmp_path / "moved" / "stages" / "report" / "state.safetensors"
    for wanted, num_processes, sharding in ((3, 2, "none"), (8, 3, "full")):
        process = train(recipe, options, tmp_path / "moved", num_processes, sharding)
        until = time.monotonic() + 240
        while not state.exists() or load_state(state)[0].step < wanted:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert load_state(state)[0].step < 16
    finish(train(recipe, options, tmp_path / "moved", 1))
    check_same(tmp_path / "whole", tmp_path / "moved", started(recipe, options, tmp_path / "start"))
    progress, _, tensors = load_state(state)
    assert progress.num_studies == 16 * 4
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
