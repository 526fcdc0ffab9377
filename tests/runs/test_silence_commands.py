"""`radwright calibrate` and `generate --risk` through the command line, with a tiny network that always asserts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from radwright.cli.main import main
from radwright.data import files
from radwright.data.store import HEADER, REPORTS, STORE_VERSION, study_row
from radwright.data.writing import StoreWriter
from radwright.decoding.config import DecodingConfig
from radwright.evidence.risk import losses
from radwright.evidence.silence import SILENCE_FILE, read_silence
from radwright.imaging.config import ImageConfig
from radwright.inference.checkpoint import CheckpointConfig, build_model, save_checkpoint
from radwright.runs.silence import CalibratingStudies
from radwright.text.words import WordTokenizer
from radwright.types import ImageInMemory, Study, View

# Whatever the network writes of these words asserts something.
WORDS = WordTokenizer(["cardiomegaly", "edema", "pneumothorax", "effusion", "."])
SAID = ("Cardiomegaly.", "Edema. Effusion.", "Pneumothorax.", "Lungs are clear.")
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
ALL = ("--threads", 1, "--device", "cpu")


def run(*arguments: object) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def rows(path: Path) -> dict[str, Any]:
    return {row["study_id"]: row for row in map(json.loads, path.read_text().splitlines())}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    decoding = DecodingConfig.parse({"strategy": {"kind": "sampling", "seed": 1}, "max_tokens": 6}, where="test")
    config = CheckpointConfig(method="vlci", model=NETWORK, image=ImageConfig(size_px=32), decoding=decoding)
    path = tmp_path / "run" / "best"
    path.parent.mkdir()
    save_checkpoint(path, config, build_model("vlci", NETWORK, WORDS, config.image), WORDS, {"seed": 0})
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 studies of val and 20 of test, each of a patient of its own; 4 of train."""
    path = tmp_path_factory.mktemp("stores") / "store"
    path.mkdir()
    files.write_lines(path / HEADER, [{"version": STORE_VERSION, "complete": True}])
    reports = []
    with StoreWriter(path) as writer:
        for number in range(84):
            split = "val" if number < 60 else "test" if number < 80 else "train"
            image = Image.fromarray(np.random.default_rng(number).integers(0, 255, (32, 32), dtype=np.uint8))
            (path / "x.png").unlink(missing_ok=True)
            image.save(path / "x.png")
            view = View(ImageInMemory("x", (path / "x.png").read_bytes()))
            text = SAID[number % 4]
            writer.add(study_row(Study(f"s{number}", (view,), f"p{number}", split, {"findings": text})))  # type: ignore[arg-type]
            reports.append({"study_id": f"s{number}", "report": text, "split": split})
    (path / "x.png").unlink()
    files.write_lines(path / REPORTS, reports)
    return path


def calibrate(checkpoint: Path, store: Path, out: Path, *more: object, split: str = "val") -> int:
    return run("calibrate", checkpoint, store, "--split", split, "--out", out, *ALL, *more)


def generate(checkpoint: Path, store: Path, out: Path, *more: object, split: str = "test") -> int:
    return run("generate", checkpoint, store, "--split", split, "--out", out, *ALL, *more)


def test_calibrated_drafts_mark_or_drop_what_is_under_the_bar(
    checkpoint: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(checkpoint, store, tmp_path / "cal", "--share", 1, "--json") == 0
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    silence = read_silence(checkpoint)
    assert told["studies"]["studies"] == len(silence.members) == 60
    assert (tmp_path / "cal" / "index.html").is_file()
    # The promise as arithmetic: at the bar of a level so few of the calibrating studies lose that one more would fit.
    bar = silence.bar(0.3)
    num_losses = losses(np.array(silence.limits), bar.bar).sum()
    assert (num_losses + 1) / (silence.num_studies + 1) <= 0.3

    assert generate(checkpoint, store, tmp_path / "plain.jsonl") == 0
    assert generate(checkpoint, store, tmp_path / "mark.jsonl", "--risk", 0.3) == 0
    assert generate(checkpoint, store, tmp_path / "drop.jsonl", "--risk", 0.3, "--uncertain", "drop") == 0
    plain, mark, drop = (rows(tmp_path / f"{name}.jsonl") for name in ("plain", "mark", "drop"))
    num_withheld = 0
    for name, row in mark.items():
        assertions = row["assertions"]
        assert " ".join(assertions["sentences"]) == plain[name]["report"]
        assert drop[name]["assertions"] == assertions
        for place in range(len(assertions["sentences"])):
            sure = [each["probability"] for each in assertions["findings"] if each["sentence"] == place]
            withheld = bool(sure) and min(sure) <= bar.bar
            assert withheld == (place in assertions["withheld"])
        num_withheld += len(assertions["withheld"])
        standing = [text for place, text in enumerate(assertions["sentences"]) if place not in assertions["withheld"]]
        assert drop[name]["report"] == " ".join(standing)
        assert row["report"].count("(uncertain: check)") == len(assertions["withheld"])
    assert num_withheld > 0


def test_what_is_refused(checkpoint: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(outcome: int, *words: str) -> None:
        assert outcome == 1
        error = capsys.readouterr().err
        for word in words:
            assert word in error

    out = tmp_path / "cal"
    refused(generate(checkpoint, store, tmp_path / "d.jsonl", "--risk", 0.1), "no silence.json", "radwright calibrate")
    refused(calibrate(checkpoint, store, out, split="train"), "--split train", "has seen these reports")
    refused(calibrate(checkpoint, store, out, "--levels", "0.1,x"), "'x' is no number")
    refused(calibrate(checkpoint, store, out, "--levels", "1.5"), "no share of studies")
    assert calibrate(checkpoint, store, out, "--share", 1) == 0
    before = (checkpoint / SILENCE_FILE).read_bytes()
    assert calibrate(checkpoint, store, out, "--share", 1) == 0  # the same again: nothing is drafted anew
    assert (checkpoint / SILENCE_FILE).read_bytes() == before
    capsys.readouterr()
    refused(
        calibrate(checkpoint, store, tmp_path / "other", split="test"), "calibrated already", "--check", "--replace"
    )
    refused(
        generate(checkpoint, store, tmp_path / "d.jsonl", "--risk", 0.1, "--decoding", "max_tokens=5"),
        "calibrated with another decoding",
    )
    refused(generate(checkpoint, store, tmp_path / "d.jsonl", "--risk", 2), "no share of studies")
    refused(generate(checkpoint, store, tmp_path / "d.jsonl", "--risk", 0.1, "--uncertain", "hide"), "mark, drop")
    refused(calibrate(checkpoint, store, tmp_path / "check", "--check"), "calibrated these very bars")


def test_a_damaged_calibration_stops_only_what_needs_a_bar(
    checkpoint: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkpoint / SILENCE_FILE).write_text("{")
    assert generate(checkpoint, store, tmp_path / "d.jsonl", "--risk", 0.1) == 1
    assert "silence.json: cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "d.jsonl").exists()
    assert generate(checkpoint, store, tmp_path / "d.jsonl") == 0
    assert len(rows(tmp_path / "d.jsonl")) == 20
    assert "calibrated the checkpoint's silence cannot be told" in " ".join(capsys.readouterr().out.split())
    [note] = CalibratingStudies.of(checkpoint).notes
    assert "cannot be read" in note


def test_too_few_studies_calibrate_nothing(
    checkpoint: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cal"
    for more, needed in ((("--limit", 5), 9), (("--share", 1, "--levels", "0.005,0.01"), 99)):
        assert calibrate(checkpoint, store, out, *more) == 1
        error = " ".join(capsys.readouterr().err.split())
        assert f"takes {needed} at least" in error
        assert "take more studies" in error
        assert not out.exists()
        assert not (checkpoint / SILENCE_FILE).exists()


def test_either_option_alone_asks_for_silence(checkpoint: Path, store: Path, tmp_path: Path) -> None:
    assert calibrate(checkpoint, store, tmp_path / "cal", "--share", 1) == 0
    asked = {
        "drop": ("--uncertain", "drop"),
        "drop_at": ("--risk", 0.1, "--uncertain", "drop"),
        "risk": ("--risk", 0.1),
        "mark": ("--uncertain", "mark"),
        "plain": (),
    }
    found = {}
    for name, more in asked.items():
        assert generate(checkpoint, store, tmp_path / f"{name}.jsonl", *more) == 0
        drafts = rows(tmp_path / f"{name}.jsonl")
        found[name] = {study: (row["report"], row.get("assertions")) for study, row in drafts.items()}
    assert found["drop"] == found["drop_at"]
    assert found["risk"] == found["mark"]
    assert len({tuple(text for text, _ in found[name].values()) for name in ("drop", "mark", "plain")}) == 3
    assert all(assertions is None for _, assertions in found["plain"].values())


def test_studies_that_calibrated_are_named_where_they_are_scored(
    checkpoint: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(checkpoint, store, tmp_path / "cal", "--share", 0.5) == 0
    num_members = len(read_silence(checkpoint).members)
    assert 0 < num_members < 60
    assert generate(checkpoint, store, tmp_path / "val.jsonl", split="val") == 0
    assert f"{num_members} studies of these calibrated" in " ".join(capsys.readouterr().out.split())
    assert generate(checkpoint, store, tmp_path / "risk.jsonl", "--risk", 0.3, split="val") == 0
    assert f"{num_members} studies of these calibrated" in " ".join(capsys.readouterr().out.split())
    assert len(rows(tmp_path / "risk.jsonl")) == 60 - num_members
    assert calibrate(checkpoint, store, tmp_path / "check", "--check", "--json") == 0
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert told["studies"]["studies"] == 60 - num_members


def test_where_all_studies_calibrated_the_cure_is_named(
    checkpoint: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(checkpoint, store, tmp_path / "cal", "--share", 1) == 0
    capsys.readouterr()
    assert generate(checkpoint, store, tmp_path / "none.jsonl", "--risk", 0.3, split="val") == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "60 studies of these calibrated" in told
    assert "Draft other studies, or these without --risk" in told
    assert not (tmp_path / "none.jsonl").exists()
