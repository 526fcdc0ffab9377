"""The benchmarks of images and of linear cost run on a toy size and print what they promise; none looks at a clock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *options: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def check_machine(found: dict[str, Any]) -> None:
    assert {"processor", "python", "commit", "torch", "pillow"} <= set(found["machine"])
    assert all(found["machine"].values())


def test_images_and_loading() -> None:
    found = json.loads(run("data.py", "--side", "512", "--studies", "4", "--rounds", "1", "--json"))
    check_machine(found)
    kinds = [row["file"] for row in found["decoding"]]
    assert len(kinds) == len(set(kinds))
    assert {kind.partition(",")[0] for kind in kinds} == {"JPEG", "PNG", "DICOM"}
    for row in found["decoding"]:
        assert row["ours_ms"] > 0
        assert ("least_ms" in row) == row["file"].startswith("JPEG")
        # The benchmark's own plain way is another route to the same picture.
        assert row.get("mean_difference", 0) < 0.6
    rates = found["loading"]["studies_per_s"]
    assert {"images alone", "loader, 0 workers", "loader, 2 workers", "loader, cached", "copying"} <= set(rates)
    assert all(rate > 0 for rate in rates.values())


@pytest.mark.slow
def test_linear_cost() -> None:
    found = json.loads(run("linear.py", "--sizes", "16", "24", "--start", "8", "--json"))
    check_machine(found)
    assert found["sizes"] == [16, 24]
    assert [row["stage"] for row in found["stages"]] == ["prepare", "generate", "score", "score with baselines"]
    for row in found["stages"]:
        assert row["start_cpu_s"] > 0
        assert min(row["peak_mb"]) > 10


def test_linear_cost_is_the_slope_between_two_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from linear import STAGES, Cost, compare, show

    def costs(cpu_s: float, own_mb: float) -> dict[str, Any]:
        return {stage: Cost(cpu_s, 2 * own_mb, own_mb) for stage in STAGES}

    rows = compare({50: costs(3.0, 40), 1050: costs(5.0, 41), 10050: costs(33.0, 42)})
    assert len(rows) == len(STAGES)
    for row in rows:
        assert row["cpu_ms_per_study"] == [2.0, 3.0]
        assert row["ratio"] == 1.5
        assert (row["peak_mb"], row["own_mb"]) == ([82, 84], [41, 42])
    assert "1.50" in show(rows, [1050, 10050])


def test_a_plan_is_the_rates_times_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from planning import Assumed, Rates, cores_per_gpu, plan

    rates = Rates(0.036, 0.072, 0.36, None, 100.0, 50.0, 36.0, 0.0, 1e6, 50.0)
    assumed = Assumed(cores=10, gpus=2, core_hour=1.0, gpu_hour=10.0, gb_month=0.0, efficiency=0.5, epochs=2)
    stages = {stage.name: stage for stage in plan(rates, assumed, 1_000_000, 100)}
    assert list(stages) == ["prepare", "draft, CPU float32", "draft, GPU", "train, GPU, 2 epochs"]
    assert stages["prepare"].core_hours == pytest.approx(20)
    assert stages["prepare"].wall_hours == pytest.approx(2 + 0.01)
    assert stages["prepare"].price == pytest.approx(20)
    assert stages["draft, CPU float32"].core_hours == pytest.approx(240)
    assert stages["draft, GPU"].gpu_hours == pytest.approx(10_000 / 3600)
    assert stages["draft, GPU"].price == pytest.approx(10 * 10_000 / 3600 + 40)
    assert stages["train, GPU, 2 epochs"].gpu_hours == pytest.approx(40_000 / 3600)
    assert cores_per_gpu(rates, assumed) == pytest.approx({"draft": 14.4, "train": 7.2})


@pytest.mark.slow
@pytest.mark.parametrize("script", ["planning.py", "whole_jobs.py", "many_processes.py", "training_run.py"])
def test_jobs_of_many_processes(script: str) -> None:
    check_machine(json.loads(run(script, "--tiny", "--json").strip().splitlines()[-1]))
