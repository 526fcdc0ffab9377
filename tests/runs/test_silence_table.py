"""`scripts/silence_table` with tiny counts: the table of docs/silence.md, from a checkpoint or from nothing."""

from __future__ import annotations

import json
import runpy
import shutil
import signal
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from radwright.data.store import PreparedStore
from radwright.decoding.config import DecodingConfig
from radwright.errors import CheckpointError, ConfigError, OutputError
from radwright.evidence.silence import SILENCE_FILE
from radwright.imaging.config import ImageConfig
from radwright.inference.checkpoint import CheckpointConfig, build_model, save_checkpoint
from radwright.inference.predictor import Predictor
from radwright.runs import silence_table
from radwright.runs.silence_table import SilenceTableConfig, make_silence_table
from radwright.text.words import WordTokenizer

SCRIPT = Path(__file__).parents[2] / "scripts" / "silence_table"
# Whatever the network writes of these words asserts something.
WORDS = WordTokenizer(["cardiomegaly", "edema", "pneumothorax", "effusion", "."])
NETWORK = {
    "backbone": {"name": "resnet", "depth": 18, "width": 8, "num_stages": 2},
    "dim": 16,
    "num_heads": 4,
    "hidden_dim": 16,
    "num_encoder_layers": 1,
    "linguistic_hidden_dim": 16,
    "num_decoder_layers": 1,
    "num_local_per_head": 1,
}
FEW: dict[str, Any] = {"num_calibrating": 40, "num_like": 6, "num_noisy": 4, "levels": (0.01, 0.1, 0.3)}
FEW |= {"threads": 1, "device": "cpu"}


class NoBar:
    def advance(self, count: int = 1) -> None:
        pass


def no_progress(what: str, total: int) -> AbstractContextManager[NoBar]:
    return nullcontext(NoBar())


def make_table(out: Path, **values: Any) -> silence_table.SilenceTable:
    return make_silence_table(SilenceTableConfig(**{**FEW, **values}), out, show_progress=no_progress)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    decoding = DecodingConfig.parse({"strategy": {"kind": "sampling", "seed": 1}, "max_tokens": 6}, where="test")
    config = CheckpointConfig(method="vlci", model=NETWORK, image=ImageConfig(size_px=32), decoding=decoding)
    path = tmp_path_factory.mktemp("run") / "best"
    save_checkpoint(path, config, build_model("vlci", NETWORK, WORDS, config.image), WORDS, {"seed": 0})
    return path


def test_one_command_makes_the_table_and_a_second_call_drafts_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "table"
    found = make_table(out, checkpoint=checkpoint)
    assert not (checkpoint / SILENCE_FILE).exists()  # a copy is calibrated
    rows = [
        line.split("|")[1:-1] for line in (out / "silence_table.md").read_text().splitlines() if line.startswith("|")
    ]
    assert {len(row) for row in rows} == {6}
    assert [row[0].strip() for row in rows] == ["level", "---", ".01", ".10", ".30"]
    assert "risk on 6 like them" in rows[0][4]
    assert "risk on 4 with noise" in rows[0][5]
    assert [cell.strip() for cell in rows[2][1:4]] == ["–"] * 3  # too few studies for .01
    numbers = json.loads((out / "silence_table.json").read_text())
    for name in ("like", "noisy"):
        assert [row["bar"] for row in numbers[name]["levels"]] == [
            row["bar"] for row in numbers["calibration"]["levels"]
        ]
    clean, noisy = (PreparedStore(out / "stores" / name) for name in ("like", "noisy"))
    for study in noisy:
        same = clean.study(clean.study_ids.index(study.study_id))
        assert (study.sections, study.extra) == (same.sections, same.extra)
        assert study.views[0].image.read() != same.views[0].image.read()

    def refused(*_: object) -> None:
        raise AssertionError("nothing is to be drafted anew")

    monkeypatch.setattr(Predictor, "draft", refused)
    assert make_table(out, checkpoint=checkpoint).markdown() == found.markdown()
    other = tmp_path / "other"
    shutil.copytree(checkpoint, other)
    weights = other / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(OutputError, match=r"copy of another checkpoint"):
        make_table(out, checkpoint=other)


def test_what_is_no_checkpoint_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="absent"):
        make_table(tmp_path / "table", checkpoint=tmp_path / "absent")
    assert not (tmp_path / "table").exists()


def test_from_nothing_the_demo_is_trained_once(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, asked = tmp_path / "table", []

    def train(arguments: list[str], **_: object) -> None:
        asked.append(arguments)
        shutil.copytree(checkpoint, out / "demo" / "run" / "best")
        (out / "demo" / "result.json").write_text("{}")

    monkeypatch.setattr(silence_table, "run_command", train)
    for _ in range(2):
        with pytest.raises(ConfigError, match="take more studies"):  # stops before any drafting
            make_table(out, num_calibrating=18, levels=(0.001,))
    assert asked == [["demo", "--out", str(out / "demo"), "--threads", "1"]]


def test_the_script_explains_itself_and_refuses_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "goes on where it stopped" in " ".join(done.stdout.split())
    script = runpy.run_path(str(SCRIPT))
    monkeypatch.setattr(sys, "argv", ["silence_table", "--out", str(tmp_path / "out"), "--noise", "2"])
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        script["main"]()
    signal.signal(signal.SIGTERM, before)
    assert str(stop.value.code).startswith("error: silence_table: noise = 2")
