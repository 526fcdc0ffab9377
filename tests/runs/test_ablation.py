"""The ablation: what its recipes share, what it does not do twice, what it refuses, and what its tables say."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from radwright.cli.main import main
from radwright.errors import ConfigError, OutputError, RadwrightError, ScoringError, StoreError, TrainingError
from radwright.evaluation.score import score
from radwright.inference.checkpoint import build_model
from radwright.runs import ablation
from radwright.runs.ablation import run_ablation
from radwright.runs.ablation_recipes import AblationConfig, Derivation, System, all_systems, choose_systems
from radwright.runs.ablation_table import Table, markdown
from radwright.runs.commands import run_command
from radwright.runs.recipe import stage_network
from radwright.text.words import WordTokenizer
from radwright.training.state import changed_keys

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "ablate"
TWO = ("baseline",)
NAMES = ["baseline-scratch-0", "baseline-radcare-0"]


def run(arguments: Sequence[str]) -> int:
    """The exit status of a command, run in this process."""
    try:
        main(list(arguments))
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


class Here:
    """Runs the ablation's commands in this process, and remembers them."""

    def __init__(self, *, interrupt_at: int | None = None) -> None:
        self.calls: list[str] = []
        self.interrupt_at = interrupt_at

    def __call__(self, arguments: Sequence[str], *, log: Path, error: type[RadwrightError]) -> None:
        if len(self.calls) == self.interrupt_at:
            raise KeyboardInterrupt
        self.calls.append(f"{arguments[0]} {log.stem}")
        assert run(arguments) == 0


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablated")
    studies = folder / "studies.yaml"
    studies.write_text("size_px: 48\nnum_studies: {train: 12, tune: 2, val: 6}\n")
    assert run(["prepare", str(studies), "--format", "phantom", "--out", str(folder / "store"), "--workers", "1"]) == 0
    return folder / "store"


def write_recipe(folder: Path) -> Path:
    """Two stages of a second."""
    train = {"max_steps": 2, "batch_size": 4, "optimizer": {"lr": 3e-3}, "clip": {"norm": 1.0}}
    recipe = {
        "method": "vlci",
        "model": {
            "backbone": {"name": "resnet", "depth": 18, "width": 8, "num_stages": 2},
            "dim": 48,
            "num_heads": 4,
            "hidden_dim": 96,
            "linguistic_hidden_dim": 96,
            "num_encoder_layers": 1,
            "num_decoder_layers": 1,
        },
        "image": {"size_px": 48},
        "vocabulary": {"min_count": 1},
        "loading": {"max_tokens": 40},
        "stages": [
            {
                "name": "pre",
                "method": "radcare",
                "model": {"dropout": 0.0},
                "objective": "radcare",
                "train": train | {"selection": {"metric": "loss", "mode": "min"}},
            },
            {
                "name": "report",
                "init_from": "pre",
                "train": train,
                "validation": {"decoding": {"strategy": {"kind": "greedy"}, "max_tokens": 5}},
            },
        ],
        "decoding": {"strategy": {"kind": "greedy"}, "max_tokens": 12},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def config(store: Path, recipe: Path, **changes: Any) -> AblationConfig:
    values = {"store": store, "recipe": recipe, "minutes": 5, "radcare_minutes": 5, "systems": TWO, "threads": 1}
    return AblationConfig.parse({**values, **changes}, where="test")


@pytest.fixture(scope="module")
def done(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AblationConfig, Table, Here]:
    """A finished ablation of two systems: folder, settings, result, and the commands it took."""
    folder = tmp_path_factory.mktemp("done")
    settings, here, told = config(store, write_recipe(folder)), Here(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation, "run_command", here)
        table = run_ablation(settings, folder / "out", say=told.append)
    assert [line.split(":")[0] for line in told if line[0] != " "] == [
        "1/3 radcare",
        "2/3 baseline-scratch-0",
        "3/3 baseline-radcare-0",
    ]
    return folder, settings, table, here


@pytest.fixture
def again(done: tuple[Path, AblationConfig, Table, Here], tmp_path: Path) -> tuple[Path, AblationConfig]:
    """A copy of the finished ablation to do harm to, in the same place: its recipes name their start by path."""
    folder, settings, _, _ = done
    kept = tmp_path / "kept"
    shutil.copytree(folder / "out", kept)
    yield folder / "out", settings
    shutil.rmtree(folder / "out")
    shutil.copytree(kept, folder / "out")


def call(settings: AblationConfig, out: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[str]:
    """The commands that a call takes."""
    here = Here(**options)
    monkeypatch.setattr(ablation, "run_command", here)
    run_ablation(settings, out)
    return here.calls


# --- the recipes --------------------------------------------------------------------------------------------------


def test_fine_tunings_differ_in_switches_start_and_seed_only(store: Path, tmp_path: Path) -> None:
    derivation = Derivation(config(store, write_recipe(tmp_path)), tmp_path / "out")
    parts = [derivation.fine_tuning(system, seed) for seed in (0, 3) for system in all_systems()]
    assert len({part.name for part in parts}) == 16
    first = parts[0].recipe.plain()
    for part in parts:
        assert part.system is not None
        changed = {change.partition(":")[0]: change for change in changed_keys(first, part.recipe.plain())}
        expected = {"visual": part.system.kind in {"vdm", "vlci"}, "linguistic": part.system.kind in {"ldm", "vlci"}}
        wanted = {f"stages.0.model.{switch}" for switch, on in expected.items() if on}
        wanted |= {"stages.0.init_from"} if part.system.pretrained else set()
        wanted |= {"stages.0.train.seed"} if part.seed else set()
        assert changed.keys() == wanted
        (stage,) = part.recipe.stages
        assert {switch: stage.model[switch] for switch in expected} == expected
        assert stage.train.max_minutes == 5


def test_what_is_not_switched_is_the_recipes_own(store: Path, tmp_path: Path) -> None:
    settings = config(store, write_recipe(tmp_path), overrides=("stages.1.train.batch_size=3", "model.dropout=0.2"))
    derivation = Derivation(settings, tmp_path / "out")
    whole = yaml.safe_load(settings.recipe.read_text()) | {"store": str(store)}
    pretraining, part = derivation.pretraining(), derivation.fine_tuning(System("vlci", True), 0)
    assert changed_keys(whole["stages"][0], pretraining.values["stages"][0]) == ["train.max_minutes: absent -> 5.0"]
    changes = {change.partition(":")[0] for change in changed_keys(whole["stages"][1], part.values["stages"][0])}
    assert changes == {"init_from", "train.seed", "train.max_minutes", "train.batch_size"} | {
        "model",
        "model.visual",
        "model.linguistic",
    } - ({"model"} if "model" not in whole["stages"][1] else set())
    for values in (pretraining.values, part.values):
        assert values["model"]["dropout"] == 0.2
        assert {key for key in values if values[key] != whole.get(key)} == {"model", "stages"}


def test_rates_of_a_module_go_with_it_and_nothing_else_does(store: Path, tmp_path: Path) -> None:
    groups = (
        "[{pattern: '*.gate', lr: 1e-3}, {pattern: model.fusion, lr: 1e-4}, {pattern: model.backbone, lr: 1e-5},"
        "{pattern: model.linguistic_mediator, lr: 1e-4}]"
    )
    changes = (
        f"stages.1.train.optimizer.groups={groups}",
        "stages.1.train.frozen=[model.local_sampling, model.bakcbone]",
    )
    derivation = Derivation(config(store, write_recipe(tmp_path), overrides=changes), tmp_path / "out")
    kept = {}
    for system in all_systems()[:4]:
        train = derivation.fine_tuning(system, 0).recipe.stages[0].train
        kept[system.kind] = [group.pattern for group in train.optimizer.groups]
        # A misspelt name matches nothing anywhere: it stays, for training to refuse it.
        assert train.frozen == (
            ("model.bakcbone",) if system.kind == "baseline" else ("model.local_sampling", "model.bakcbone")
        )
    assert kept == {
        "baseline": ["model.backbone"],
        "vdm": ["*.gate", "model.fusion", "model.backbone"],
        "ldm": ["*.gate", "model.backbone", "model.linguistic_mediator"],
        "vlci": ["*.gate", "model.fusion", "model.backbone", "model.linguistic_mediator"],
    }


def test_a_checkpoint_may_stand_for_the_pretraining(store: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(write_recipe(tmp_path).read_text())
    values["stages"] = [values["stages"][1] | {"init_from": str(tmp_path / "theirs")}]
    path = tmp_path / "one_stage.yaml"
    path.write_text(yaml.safe_dump(values))
    derivation = Derivation(config(store, path), tmp_path / "out")
    assert not derivation.has_pretraining
    assert derivation.fine_tuning(System("ldm", True), 0).recipe.stages[0].init_from == str(tmp_path / "theirs")
    assert derivation.fine_tuning(System("ldm", False), 0).recipe.stages[0].init_from is None


def test_an_earlier_stage_than_the_one_before_is_found_in_its_own_folder(store: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(write_recipe(tmp_path).read_text())
    values["stages"].insert(1, values["stages"][0] | {"name": "more", "init_from": "pre"})
    path = tmp_path / "three_stages.yaml"
    path.write_text(yaml.safe_dump(values))
    assert Derivation(config(store, path), tmp_path / "out").start == tmp_path / "out/runs/radcare/stages/pre/best"
    changed = config(store, path, overrides=("stages.2.init_from=more",))
    assert Derivation(changed, tmp_path / "out").start == tmp_path / "out/runs/radcare/best"
    assert [stage.name for stage in Derivation(changed, tmp_path).pretraining().recipe.stages] == ["pre", "more"]


def test_a_fine_tuning_of_two_stages_shares_out_the_minutes(store: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(write_recipe(tmp_path).read_text())
    report = values["stages"][1]
    critic = {**report, "name": "critic", "objective": "self_critical", "init_from": "report"}
    for stage, minutes in ((report, 1.0), (critic, 3.0)):
        stage["train"] = {**stage["train"], "max_minutes": minutes}
    values["stages"].append(critic)
    path = tmp_path / "two_fine_tunings.yaml"
    path.write_text(yaml.safe_dump(values))
    derivation = Derivation(config(store, path), tmp_path / "out")
    assert [stage.name for stage in derivation.pretraining().recipe.stages] == ["pre"]
    part = derivation.fine_tuning(System("vdm", True), 2)
    first, second = part.recipe.stages
    assert (first.init_from, second.init_from) == (str(derivation.start), "report")
    assert (first.train.max_minutes, second.train.max_minutes) == (1.25, 3.75)
    assert first.train.seed == second.train.seed == 2
    assert first.model == second.model == {"visual": True, "linguistic": False}
    assert derivation.fine_tuning(System("vdm", False), 2).recipe.stages[0].init_from is None
    del values["stages"][2]["train"]["max_minutes"]
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=r"give each train\.max_minutes"):
        Derivation(config(store, path), tmp_path / "out")


def test_new_networks_of_one_seed_share_their_first_numbers(store: Path, tmp_path: Path) -> None:
    derivation = Derivation(config(store, write_recipe(tmp_path)), tmp_path / "out")
    states = []
    for system in all_systems()[:4]:
        recipe = derivation.fine_tuning(system, 0).recipe
        torch.manual_seed(recipe.stages[0].train.seed)
        network = stage_network(recipe, recipe.stages[0])
        states.append(build_model(*network, WordTokenizer.build(["a"], min_count=1), recipe.image).state_dict())
    baseline = states[0]
    assert all(torch.equal(weight, state[name]) for state in states for name, weight in baseline.items())
    assert len(states[-1]) > len(baseline)


def test_systems_are_chosen_by_name() -> None:
    names = [system.name for system in choose_systems(("vlci-radcare", "baseline"))]
    assert names == ["baseline-scratch", "baseline-radcare", "vlci-radcare"]
    assert len(choose_systems(("baseline", "vdm", "ldm", "vlci"))) == 8
    with pytest.raises(ConfigError, match=r"'vclii' is unknown.*did you mean 'vlci'"):
        choose_systems(("vclii",))


# --- running ------------------------------------------------------------------------------------------------------


def test_each_part_runs_once_and_repeats_by_hand(
    done: tuple[Path, AblationConfig, Table, Here], tmp_path: Path
) -> None:
    folder, _, table, here = done
    out = folder / "out"
    expected = ["train radcare", *(f"{what} {name}" for name in NAMES for what in ("train", "generate", "score"))]
    assert here.calls == expected
    assert [row.system for row in table.rows] == ["baseline-scratch", "baseline-radcare"]
    for name in NAMES:
        recipe = out / "recipes" / f"{name}.yaml"
        assert f"radwright train {recipe} --out {out / 'runs' / name}" in recipe.read_text()
        assert run(["train", str(recipe), "--out", str(tmp_path / name), "--threads", "1"]) == 0
        ours, theirs = (load_file(run / "best" / "model.safetensors") for run in (out / "runs" / name, tmp_path / name))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_numbers_are_those_of_the_commands(done: tuple[Path, AblationConfig, Table, Here], store: Path) -> None:
    folder, _, table, _ = done
    scores = [json.loads((folder / "out" / "scores" / "val" / f"{name}.json").read_text()) for name in NAMES]
    plain = json.loads((folder / "out" / "ablation.json").read_text())
    assert plain == json.loads(json.dumps(table.plain()))
    assert plain["complete"] is True
    assert plain["means"] == {}
    for row, found, name in zip(plain["rows"], scores, NAMES, strict=True):
        assert row["metrics"] == found["metrics"]
        summary = json.loads((folder / "out" / "runs" / name / "stages" / "report" / "summary.json").read_text())
        assert (row["steps"], row["total_steps"]) == (summary["steps"], summary["total_steps"]) == (2, 2)
        assert row["differences"]["best_constant"]["cider"] == found["differences"]["constant_cider"]["cider"]
        assert row["differences"]["best_constant"]["bleu_4"] == found["differences"]["constant_bleu_4"]["bleu_4"]
    scratch, pretrained = plain["rows"]
    assert set(scratch["differences"]) == {"best_constant"}
    for label in ("baseline_from_scratch", "without_radcare"):
        for metric, difference in pretrained["differences"][label].items():
            expected = pretrained["metrics"][metric]["value"] - scratch["metrics"][metric]["value"]
            assert difference["value"] == pytest.approx(expected)
    # Chosen on train and tune: no study of val has a say.
    rows = [json.loads(line) for line in (store / "reports.jsonl").read_text().splitlines()]
    by_hand = score(
        {row["study_id"]: "x" for row in rows if row["split"] == "val"},
        {row["study_id"]: row["report"] for row in rows if row["split"] == "val"},
        convention="r2gen-iu",
        train={row["study_id"]: row["report"] for row in rows if row["split"] == "train"},
        constants_from={row["study_id"]: row["report"] for row in rows if row["split"] in {"train", "tune"}},
        num_resamples=1,
    )
    for name, baseline in by_hand.baselines.items():
        assert scores[0]["baselines"][name]["report"] == baseline.report


def test_the_table_says_one_seed_and_the_page_is_whole(done: tuple[Path, AblationConfig, Table, Here]) -> None:
    folder, _, table, _ = done
    text = (folder / "out" / "ablation.md").read_text()
    assert text == markdown(table)
    assert "one seed (0)" in text
    assert "2 of 2" in text
    assert "one text, best CIDEr" in text
    page = (folder / "out" / "ablation.html").read_text()
    assert "Not a medical device" in page
    assert page.count("<figure") == 4 + 6 + 3
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_nothing_is_done_twice(again: tuple[Path, AblationConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    out, settings = again
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*") if path.is_file()}
    assert call(settings, out, monkeypatch) == []
    assert {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*") if path.is_file()} == before


def test_a_removed_run_is_made_again_with_what_depends_on_it(
    again: tuple[Path, AblationConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, settings = again
    shutil.rmtree(out / "runs" / "baseline-scratch-0")
    calls = call(settings, out, monkeypatch)
    # The same weights again, on a CPU: the drafts stand.
    assert calls == ["train baseline-scratch-0"]
    (out / "drafts" / "val" / "baseline-scratch-0.jsonl").unlink()
    calls = call(settings, out, monkeypatch)
    assert calls == ["generate baseline-scratch-0", "score baseline-scratch-0", "score baseline-radcare-0"]


def test_drafts_of_other_weights_are_made_again(
    again: tuple[Path, AblationConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, settings = again
    path = out / "runs" / "baseline-radcare-0" / "best" / "model.safetensors"
    save_file({name: weight * 2 for name, weight in load_file(path).items()}, path)
    (out / "drafts" / "val" / "baseline-radcare-0.jsonl.partial").write_text('{"identity": {"weights": "other"}}\n')
    assert call(settings, out, monkeypatch) == ["generate baseline-radcare-0", "score baseline-radcare-0"]


@pytest.mark.parametrize("interrupt_at", [0, 4])
def test_an_interrupted_call_goes_on(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupt_at: int
) -> None:
    settings, out = (
        config(store, write_recipe(tmp_path), systems=("baseline-scratch", "baseline-radcare")),
        tmp_path / "o",
    )
    first = Here(interrupt_at=interrupt_at)
    monkeypatch.setattr(ablation, "run_command", first)
    with pytest.raises(KeyboardInterrupt):
        run_ablation(settings, out)
    if interrupt_at == 4:
        table = json.loads((out / "ablation.json").read_text())
        assert table["complete"] is False
        assert "Unfinished: 1 of 2 systems" in (out / "ablation.md").read_text()
    rest = call(settings, out, monkeypatch)
    assert len(first.calls) == interrupt_at
    assert len(first.calls + rest) == 7
    assert not set(first.calls) & set(rest)


def test_more_systems_and_seeds_join_the_table(
    again: tuple[Path, AblationConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, settings = again
    more = settings.model_copy(update={"systems": ("vlci-radcare",), "seeds": (1,)})
    assert call(more, out, monkeypatch) == [f"{what} vlci-radcare-1" for what in ("train", "generate", "score")]
    plain = json.loads((out / "ablation.json").read_text())
    assert [(row["system"], row["seed"]) for row in plain["rows"]] == [
        ("baseline-scratch", 0),
        ("baseline-radcare", 0),
        ("vlci-radcare", 1),
    ]
    # Its own seed has no baseline to be compared with, and another seed's is none.
    assert set(plain["rows"][2]["differences"]) == {"best_constant"}


# --- refusals -----------------------------------------------------------------------------------------------------


def test_another_recipe_is_refused_and_harms_nothing(
    again: tuple[Path, AblationConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, settings = again
    recipes = {path: path.read_text() for path in (out / "recipes").iterdir()}
    changed = settings.model_copy(update={"overrides": ("model.dropout=0.3",)})
    with pytest.raises(OutputError, match=r"radcare: is the run of another recipe.*model\.dropout.*--out"):
        call(changed, out, monkeypatch)
    assert {path: path.read_text() for path in (out / "recipes").iterdir()} == recipes


def test_no_row_leaves_the_table_in_silence(
    again: tuple[Path, AblationConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another system with another length of the fine-tuning: the finished rows are of other settings."""
    out, settings = again
    before = (out / "ablation.json").read_text()
    longer = {"systems": ("vdm-radcare",), "overrides": (*settings.overrides, "stages.1.train.epochs=9")}
    with pytest.raises(OutputError, match=r"baseline-scratch-0, baseline-radcare-0 would leave.*epochs=9.*--out"):
        call(settings.model_copy(update=longer), out, monkeypatch)
    assert (out / "ablation.json").read_text() == before


def test_another_pretraining_is_refused(again: tuple[Path, AblationConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    out, settings = again
    path = out / "runs" / "radcare" / "best" / "model.safetensors"
    save_file({name: weight + 1 for name, weight in load_file(path).items()}, path)
    with pytest.raises(OutputError, match="other weights than those that baseline-radcare-0 started from"):
        call(settings, out, monkeypatch)


def test_a_run_that_had_more_time_is_refused(
    again: tuple[Path, AblationConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, settings = again
    path = out / "runs" / "baseline-scratch-0" / "stages" / "report" / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"elapsed_s": 260.0}))
    with pytest.raises(OutputError, match=r"baseline-scratch-0: was trained for 4\.3 minutes already.*the 4 of this"):
        call(settings.model_copy(update={"minutes": 4.0}), out, monkeypatch)


def test_what_cannot_be_used_is_refused_before_anything_is_trained(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, out = write_recipe(tmp_path), tmp_path / "out"
    monkeypatch.setattr(ablation, "run_command", lambda *arguments, **options: pytest.fail("a command was run"))
    for changes, kind, message in (
        ({"split": "vla"}, StoreError, "did you mean 'val'"),
        ({"convention": "r2gen"}, ScoringError, "unknown convention"),
        ({"systems": ("all",)}, ConfigError, "'all' is unknown"),
        ({"overrides": ("stages.1.init_from=null",)}, ConfigError, "needs a pre-trained start"),
        ({"overrides": ("stages.1.init_from=elsewhere",)}, ConfigError, "name an earlier stage"),
        ({"overrides": ("model.dropuot=0",)}, ConfigError, "dropuot"),
        ({"overrides": ("stages.1.train.frozen=[model.bakcbone]",)}, ConfigError, "did you mean 'model.backbone'"),
        ({"overrides": ("stages.1.train.optimizer.groups=[{pattern: x}]", "model.dim=50")}, ConfigError, "dim 50"),
        ({"store": tmp_path}, StoreError, "no prepared store"),
    ):
        with pytest.raises(kind, match=message):
            run_ablation(config(**{"store": store, "recipe": recipe, **changes}), out)  # type: ignore[arg-type]
    assert not out.exists()


# --- the tables ---------------------------------------------------------------------------------------------------


def test_several_seeds_stand_singly_and_as_their_mean(done: tuple[Path, AblationConfig, Table, Here]) -> None:
    _, _, table, _ = done
    scratch, pretrained = table.rows
    cider = dict(scratch.metrics["cider"]) | {"value": scratch.metrics["cider"]["value"] + 0.5}
    other = replace(scratch, seed=1, metrics={**scratch.metrics, "cider": cider}, num_distinct=scratch.num_distinct + 3)
    whole = replace(table, rows=(scratch, pretrained, other), num_planned=3)
    (mean,) = whole.means().values()
    assert mean["metrics"]["cider"] == pytest.approx(scratch.metrics["cider"]["value"] + 0.25)
    assert mean["num_distinct"] == scratch.num_distinct + 1.5
    text = markdown(whole)
    assert "2 seeds (0, 1)" in text
    assert text.count("mean of 2") == 3
    assert "one seed" not in text


def test_bold_marks_intervals_without_zero_only(done: tuple[Path, AblationConfig, Table, Here]) -> None:
    _, _, table, _ = done
    row = table.rows[1]

    def shown(low: float, value: float, high: float) -> str:
        difference = {"cider": {"low": low, "value": value, "high": high}}
        marked = replace(row, differences={"without_radcare": difference})
        text = markdown(replace(table, rows=(marked,), num_planned=1))
        return text.split("CIDEr-D, paired differences")[1].splitlines()[4].split("|")[-2].strip()

    assert shown(0.01, 0.1234, 0.2) == "**.123 (.010 to .200)**"
    assert shown(-1.25, -0.5, -0.001) == "**−.500 (−1.250 to −.001)**"
    assert shown(-0.01, 0.1, 0.2) == ".100 (−.010 to .200)"
    assert shown(1e-9, 1e-9, 1e-9) == ".000 (.000 to .000)"


# --- programs -----------------------------------------------------------------------------------------------------


def test_a_failed_command_passes_its_message_on(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "x.log"
    with pytest.raises(TrainingError, match=r"^absent\.jsonl: cannot be read.*its output: .*x\.log"):
        run_command(
            ["score", str(tmp_path / "absent.jsonl"), "--references", "absent.jsonl"], log=log, error=TrainingError
        )
    assert log.read_text().startswith("$ radwright score ")


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def test_the_script_explains_itself() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "goes on where it stopped" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "0"], "error: ablate: minutes = 0"),
        (["--recipe", "absent.yaml"], "error: absent.yaml: cannot be read"),
        (["--systems", "vlci,vclii"], "error: systems: 'vclii' is unknown (did you mean 'vlci'?)"),
        (["--split", "vla"], "error: "),
    ],
)
def test_the_script_fails_in_one_line(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    script = runpy.run_path(str(SCRIPT))
    monkeypatch.setattr(sys, "argv", ["ablate", "--store", str(store), "--out", str(tmp_path / "out"), *arguments])
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        script["main"]()
    signal.signal(signal.SIGTERM, before)
    said = str(stop.value.code)
    assert said.startswith(message)
    assert "\n" not in said


def wait_for_steps(process: subprocess.Popen[Any], log: Path, num_lines: int) -> None:
    deadline = time.monotonic() + 120
    while not (log.exists() and len(log.read_bytes().splitlines()) >= num_lines):
        assert time.monotonic() < deadline, "training never got under way"
        assert process.poll() is None, "it ended before it could be stopped"
        time.sleep(0.02)


LONG = ["stages.1.train.max_steps=150", "stages.1.train.log_every_steps=1", "stages.1.train.validate_every_steps=150"]


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_goes_on(store: Path, tmp_path: Path) -> None:
    """Through the script, programs of its own and all eight systems, stopped and killed on the way."""
    out = tmp_path / "out"
    command: list[Any] = [sys.executable, SCRIPT, "--store", store, "--recipe", write_recipe(tmp_path), "--out", out]
    command += ["--threads", "1", "--json", "--override", *LONG]
    log = out / "runs" / "baseline-scratch-0" / "stages" / "report" / "metrics.jsonl"
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    wait_for_steps(process, log, 10)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in said
    steps = len(log.read_text().splitlines())
    assert steps < 150
    # Killed outright, it takes the training with it, which saves its state.
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
    wait_for_steps(process, log, steps + 10)
    process.kill()
    process.wait()
    summary = log.with_name("summary.json")
    deadline = time.monotonic() + 60
    while json.loads(summary.read_text())["steps"] <= steps:
        assert time.monotonic() < deadline, "training outlived the ablation"
        time.sleep(0.05)
    assert json.loads(summary.read_text())["stopped"] == "interrupted"
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
    table = json.loads(done.stdout)
    assert [row["system"] for row in table["rows"]] == [system.name for system in all_systems()]
    assert all(row["steps"] == 150 for row in table["rows"])
    assert table == json.loads((out / "ablation.json").read_text())
    lines = [json.loads(line)["step"] for line in log.read_text().splitlines() if '"kind": "train"' in line]
    assert lines == list(range(1, 151))
