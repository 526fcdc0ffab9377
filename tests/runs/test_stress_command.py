"""The confounding benchmark: what it plants is what it says, versions differ in one thing, and a run can be resumed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from radwright.cli.main import main
from radwright.data.phantom.study import generate_study
from radwright.errors import ConfigError
from radwright.runs.clue_policies import POLICIES
from radwright.runs.recipe import packaged
from radwright.runs.stress_recipe import StressFolder, read_stress

SMALL = packaged("stress/small.yaml")
FEW = [
    "population.num_studies={train: 24, tune: 6, test: 8}",
    "population.size_px=32",
    "rhos=[0.9]",
    "trainings={a: {recipe: network.yaml, changes: [image.size_px=32, stages.0.train.epochs=1]}}",
    "systems={a: {training: a}}",
]


def run(*arguments: object) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def association(present: list[bool], confounded: list[bool]) -> float:
    return float(np.corrcoef(np.array(present, dtype=float), np.array(confounded, dtype=float))[0, 1])


@pytest.mark.parametrize("name", ["small", "large", "remedies"])
def test_every_training_of_a_recipe_can_be_read(name: str, tmp_path: Path) -> None:
    config = read_stress(SMALL.with_name(f"{name}.yaml"), [])
    parts = StressFolder(config, tmp_path).parts()
    assert {part.training for part in parts} == set(config.trainings)
    assert len(parts) == len(config.trainings) * len(config.rhos) * len(config.seeds)
    for part in parts:
        if part.start is not None:
            assert part.recipe.stages[0].init_from == str(tmp_path / "runs" / part.start / "best")


def test_the_large_recipe_has_every_clue_policy_with_a_label_of_its_own(tmp_path: Path) -> None:
    config = read_stress(SMALL.with_name("large.yaml"), [])
    told = {system.clues: name for name, system in config.systems.items() if system.training == "trrg"}
    assert sorted(filter(None, told)) == sorted(POLICIES)
    assert None not in told  # the checkpoint's own is one of them
    labels = [system.label or name for name, system in config.systems.items()]
    assert len(set(labels)) == len(labels)
    folder = StressFolder(config, tmp_path)
    part = next(part for part in folder.parts() if part.training == "trrg")
    for policy, name in told.items():
        assert ("--allow-oracle" in folder.drafting(name, part)) == (policy == "oracle")


def test_test_sets_go_along_not_at_all_and_against() -> None:
    config = read_stress(SMALL, ["population.num_studies={train: 4, tune: 4, test: 600}"])
    for scenario in config.scenarios:
        present, sets = config.test_sets(scenario)
        assert association(present, sets["equal"]) == pytest.approx(0.9, abs=0.08)
        assert association(present, sets["zero"]) == pytest.approx(0, abs=0.12)
        assert association(present, sets["reversed"]) == pytest.approx(-0.9, abs=0.08)
        # Nothing else moves: as many studies have the confounder in each.
        assert max(map(sum, sets.values())) - min(map(sum, sets.values())) < 60


def test_versions_differ_in_the_confounder_alone() -> None:
    config = read_stress(SMALL, [])
    tested = config.tested_population()
    for scenario in config.scenarios:
        versions = [tested.versions[f"{scenario.key}.{state}"] for state in ("with", "without")]
        one, other = (generate_study(tested, "test", 3, override=dict(version)) for version in versions)
        assert [finding for finding in one.findings if finding.kind != scenario.name] == [
            finding for finding in other.findings if finding.kind != scenario.name
        ]
        for view, image in one.images.items():
            changed = image != other.images[view]
            if scenario.kind == "phrase":
                assert not changed.any()
            else:
                assert not (changed & ~one.masks[scenario.element][view]).any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("rhos=[0]", "nothing is planted"),
        ("rhos=[0, 1.5]", r"small\.yaml: rhos: 1\.5 must lie in"),
        ("systems.vdm.training=vmd", "did you mean 'vdm'"),
        ("systems.vdm.clues=oracel", "did you mean 'oracle'"),
        ("scenarios.2.neutral=portable", "comes after"),
        ("population.phrases_first=false", "open"),
        ("population.num_studies={train: 10}", "no studies of tune, test"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(change: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_stress(SMALL, [change])


def test_a_tiny_benchmark_runs_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "stress"
    assert run("stress", SMALL, *FEW, "--out", out, "--jobs", 1) == 0
    said = capsys.readouterr().out
    assert "Synthetic images" in said
    assert "know nothing of another training" in " ".join(said.split())
    assert "stress.md" in said
    table = json.loads((out / "stress.json").read_text())
    assert len(table["rows"]) == 3
    assert {row["num_studies"] if "num_studies" in row else row["n"] for row in table["rows"]} == {8}
    assert (out / "stress.md").is_file()
    page = (out / "stress.html").read_text()
    assert not re.search(r"(src|href)=.?https?:", page)
    [drafts] = (out / "drafts").glob("*.jsonl")
    rows = [json.loads(line) for line in drafts.read_text().splitlines()]
    assert len(rows) == 8 * 3 * 2
    openings = {row["study_id"].split("@")[1]: row["report"] for row in rows if "portable" in row["study_id"]}
    assert openings["portable-consolidation.with"].startswith("Portable technique.")
    assert openings["portable-consolidation.without"].startswith("The patient is slightly rotated.")
    before = drafts.stat().st_mtime_ns
    weights = next(out.glob("runs/*/best/model.safetensors")).stat().st_mtime_ns
    assert run("stress", SMALL, *FEW, "--out", out, "--jobs", 1) == 0
    assert drafts.stat().st_mtime_ns == before
    drafts.unlink()
    assert run("stress", SMALL, *FEW, "--out", out, "--jobs", 1) == 0
    assert next(out.glob("runs/*/best/model.safetensors")).stat().st_mtime_ns == weights
    assert [json.loads(line)["report"] for line in drafts.read_text().splitlines()] == [row["report"] for row in rows]
    capsys.readouterr()
    assert run("stress", SMALL, *FEW, "population.seed=5", "--out", out) == 1
    assert "holds results of radwright stress with another population;" in capsys.readouterr().err
