"""The speed benchmarks run on a toy network and print what they promise; no test looks at a clock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *options: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), "--tiny", "--threads", "1", "--rounds", "1", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("script", "keys"),
    [
        ("generation.py", ["cpu_s_per_study_batch1", "cpu_s_per_study_batch16", "peak_mb_batch1"]),
        ("training_step.py", ["cpu_s_per_step", "peak_mb"]),
    ],
)
def test_json_holds_the_promised_numbers(script: str, keys: list[str]) -> None:
    found = json.loads(run(script, "--json"))
    assert list(found) == keys
    assert all(value > 0 for value in found.values())


def test_a_gpus_benchmark_runs_on_a_cpu_too(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    options = ["--tiny", "--device", "cpu", "--train", "2", "--draft", "2", "--json", str(file)]
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), *options]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = json.loads(file.read_text(encoding="utf-8"))
    assert all(rate > 0 for rate in found["ceilings"].values())
    assert [row["arithmetic"] for row in found["training"]] == ["fp32", "fp32, TF32 convolutions", "bf16", "bf16"]
    assert {row["way"] for row in found["drafting"]} == {"a look per token", "blocks"}
    assert all(row["studies_per_s"] > 0 for row in [*found["training"], *found["drafting"]])
    assert "waits/token" in out


@pytest.mark.slow
def test_every_stage_has_its_time_and_its_floor(tmp_path: Path) -> None:
    out = run("floors.py", "--out", str(tmp_path))
    stages = ("image files", "stem", "encoder", "mediators", "decoder", "vocabulary projection", "beams", "text")
    found = json.loads((tmp_path / "floors.json").read_text(encoding="utf-8"))
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert found.pop("provenance")["commit"]
    for title, measured in found.items():
        wanted = ("forward", "backward", "optimiser") if "training" in title else stages
        assert tuple(measured["stages"]) == wanted, title
        for name, stage in measured["stages"].items():
            assert stage["cpu_s"] >= 0, (title, name)
            assert stage["gflop"] > 0 or stage["moved_gb"] > 0 or stage["floor_s"] > 0, (title, name)
    assert len(found) == 6
    assert all(f"<td>{name}</td>" in page and f"\n{name} " in out for name in (*stages, "sum"))
    assert "http" not in page


def test_published_size_is_the_default_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from published_size import PUBLISHED, Ids

    from radwright.methods.cmcrl.vlci import VlciConfig

    config = VlciConfig.parse(PUBLISHED.network, where="test")
    assert (config.dim, config.num_heads, config.hidden_dim) == (512, 8, 2048)
    assert (config.num_encoder_layers, config.num_decoder_layers) == (3, 3)
    assert config.visual
    assert config.linguistic
    stem = config.backbone.plain()
    assert (stem["depth"], stem["num_stages"], stem["in_channels"]) == (101, 3, 3)
    assert Ids(PUBLISHED.num_words + 4).vocab_size == 4351
