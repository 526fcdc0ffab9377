"""`radwright clues` and `radwright evaluate-clues` through the command line, with a tiny alignment checkpoint."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from radwright.cli.main import main
from radwright.data import files
from radwright.data.loading import make_batch
from radwright.data.store import HEADER, REPORTS, STORE_VERSION, study_row
from radwright.data.writing import StoreWriter
from radwright.imaging.config import ImageConfig
from radwright.inference.checkpoint import CheckpointConfig, build_model, load_checkpoint, save_checkpoint
from radwright.methods.trrg.clue_bank import default_bank
from radwright.text.words import WordTokenizer
from radwright.types import ImageInMemory, ImageOnDisk, Study, View

WORDS = WordTokenizer(["the", "heart", "lungs", "is", "are", "clear", "normal", "no", "enlarged", "hernia", "."])
BACKBONE = {"name": "resnet", "depth": 18, "width": 8, "num_stages": 2}
TEXT = {"dim": 16, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "dropout": 0.0}
SAID = ("The heart is enlarged.", "No effusion. Heart size is normal.", "Possible cardiomegaly.", "Lungs are clear.")
TWO = {
    "diseases": [
        {
            "name": "Hiatal hernia",
            "finding": "hiatal_hernia",
            "present": ["There is a hiatal hernia."],
            "absent": ["No hiatal hernia."],
            "clue": "hiatal hernia",
        },
        {"name": "Oddity", "present": ["It is odd."], "absent": ["It is not odd."], "clue": "odd", "threshold": 0.3},
    ]
}


def run(*arguments: object) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def evaluate(checkpoint: Path, store: Path, out: Path, *more: object) -> int:
    common = ("--split", "val", "--out", out, "--threads", 1, "--device", "cpu")
    return run("evaluate-clues", checkpoint, store, *common, *more)


def picture(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 255, (40, 36), dtype=np.uint8))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(24):
        picture(number).save(folder / f"i{number:02}.png")
    (folder / "i05.png").write_bytes((folder / "i05.png").read_bytes()[:60])
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its thresholds lie among its probabilities, but for Pneumonia, which has none."""
    torch.manual_seed(0)
    thresholds = {name: None if name == "Pneumonia" else 0.5 for name in default_bank().names}
    bank = default_bank().with_thresholds(thresholds)
    model = {"backbone": BACKBONE, "text_encoder": TEXT, "contrast_dim": 12, "bank": bank.plain()}
    config = CheckpointConfig(method="alignment", model=model, image=ImageConfig(size_px=32))
    path = tmp_path_factory.mktemp("run") / "stages" / "alignment" / "best"
    path.parent.mkdir(parents=True)
    save_checkpoint(path, config, build_model("alignment", model, WORDS, config.image), WORDS, {"seed": 0})
    return path


@pytest.fixture(scope="module")
def writer_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = {"backbone": BACKBONE, "dim": 16, "num_heads": 4, "hidden_dim": 16, "num_encoder_layers": 1}
    model |= {"linguistic_hidden_dim": 16, "num_decoder_layers": 1, "num_local_per_head": 1}
    config = CheckpointConfig(method="vlci", model=model, image=ImageConfig(size_px=32))
    path = tmp_path_factory.mktemp("writer") / "best"
    save_checkpoint(path, config, build_model("vlci", model, WORDS, config.image), WORDS, {"seed": 0})
    return path


def write_store(path: Path, images: Path, *, reports: bool = True, backwards: bool = False) -> Path:
    """24 val studies; the sixth has a broken image, the last no report."""
    path.mkdir()
    files.write_lines(path / HEADER, [{"version": STORE_VERSION, "complete": True}])
    numbers = range(23, -1, -1) if backwards else range(24)
    with StoreWriter(path) as writer:
        for number in numbers:
            view = View(ImageInMemory("x", (images / f"i{number:02}.png").read_bytes()))
            text = SAID[number % 4] if number < 23 else ""
            writer.add(study_row(Study(f"s{number}", (view,), f"p{number}", "val", {"findings": text})))
    if reports:
        rows = [{"study_id": f"s{n}", "report": SAID[n % 4] if n < 23 else "", "split": "val"} for n in numbers]
        files.write_lines(path / REPORTS, rows)
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    return write_store(tmp_path_factory.mktemp("stores") / "forwards", images)


@pytest.fixture(scope="module")
def two_diseases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("banks") / "two.yaml"
    path.write_text(yaml.safe_dump(TWO), encoding="utf-8")
    return path


def as_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


def test_clues_are_the_networks_own_probabilities(
    checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("clues", checkpoint, images, "--batch-size", 5, "--json", "--threads", 1) == 0
    said = as_json(capsys)
    assert [study["study_id"] for study in said["studies"]] == [f"i{n:02}" for n in range(24) if n != 5]
    assert list(said["skipped"]) == ["i05"]
    loaded = load_checkpoint(checkpoint)
    alone = Study("i03", (View(ImageOnDisk(images / "i03.png")),))
    with torch.inference_mode():
        expected = loaded.model.perceive(make_batch([alone], loaded.config.image))[0].tolist()
    found = next(study["clues"] for study in said["studies"] if study["study_id"] == "i03")
    assert {clue["disease"]: clue["probability"] for clue in found} == pytest.approx(
        dict(zip(loaded.model.diseases, expected, strict=True)), abs=1e-5
    )
    margins = [clue["probability"] - clue["threshold"] for clue in found]
    assert margins == sorted(margins, reverse=True)
    assert all(clue["chosen"] == (clue["probability"] > clue["threshold"]) for clue in found)
    assert [clue["disease"] for clue in found if not clue["calibrated"]] == ["Pneumonia"]


@pytest.mark.parametrize("policy", ["threshold", "topk", "none"])
def test_a_checkpoint_that_writes_marks_what_it_would_be_told(
    policy: str, images: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    bank = default_bank().with_thresholds(dict.fromkeys(default_bank().names, 0.4))
    language = {"dim": 16, "num_layers": 1, "num_heads": 2, "hidden_dim": 16}
    model = {"backbone": BACKBONE, "text_encoder": TEXT, "contrast_dim": 12, "bank": bank.plain(), "language": language}
    model |= {"interaction_dim": 16, "num_interaction_heads": 2, "policy": policy, "max_clues": 2, "min_auc": None}
    config = CheckpointConfig(method="trrg", model=model, image=ImageConfig(size_px=32))
    save_checkpoint(tmp_path / "best", config, build_model("trrg", model, WORDS, config.image), WORDS, {"seed": 0})
    assert run("clues", tmp_path / "best", images / "i00.png", images / "i01.png", "--json", "--threads", 1) == 0
    loaded = load_checkpoint(tmp_path / "best")
    number = {"threshold": 2, "topk": 2, "none": 0}[policy]
    for study in as_json(capsys)["studies"]:
        batch = make_batch(
            [Study(study["study_id"], (View(ImageOnDisk(images / f"{study['study_id']}.png")),))], loaded.config.image
        )
        [told] = loaded.model.told(batch)
        assert {clue["disease"] for clue in study["clues"] if clue["chosen"]} == set(told)
        assert len(told) == number


def test_clues_as_a_table(checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("clues", checkpoint, images / "i00.png", images / "i01.png", images / "i05.png", "--threads", 1) == 0
    said = capsys.readouterr().out
    assert said.count("Cardiomegaly") == 2
    assert said.count("0.500*") == 2
    assert "skipped: 1" in said
    assert "skipped i05:" in said
    assert run("clues", checkpoint, images / "i00.png", images / "i01.png", "--together", "--threads", 1) == 0
    assert capsys.readouterr().out.count("Cardiomegaly") == 1
    assert run("clues", checkpoint, images / "i05.png", "--threads", 1) == 1
    assert "no study could be read" in capsys.readouterr().out


def test_another_bank(
    checkpoint: Path, images: Path, two_diseases: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("clues", checkpoint, images / "i00.png", "--bank", two_diseases, "--json", "--threads", 1) == 0
    said = as_json(capsys)
    assert said["bank"]["diseases"] == ["Hiatal hernia", "Oddity"]
    found = {clue["disease"]: clue for clue in said["studies"][0]["clues"]}
    assert (found["Hiatal hernia"]["threshold"], found["Hiatal hernia"]["calibrated"]) == (0.5, False)
    assert (found["Oddity"]["threshold"], found["Oddity"]["calibrated"]) == (0.3, True)
    (tmp_path / "bad.yaml").write_text("diseases: [{name: X}]", encoding="utf-8")
    assert run("clues", checkpoint, images / "i00.png", "--bank", tmp_path / "bad.yaml") == 1
    assert "present" in capsys.readouterr().err


def test_a_checkpoint_that_perceives_nothing(
    writer_checkpoint: Path, images: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("clues", writer_checkpoint, images / "i00.png") == 1
    assert "perceives no diseases; give one of a TRRG run" in capsys.readouterr().err
    assert evaluate(writer_checkpoint, store, tmp_path / "out") == 1
    assert not (tmp_path / "out").exists()


def test_everything_is_written_and_says_the_same(
    checkpoint: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert evaluate(checkpoint, store, out, "--min-positives", 5) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "22 studies against the built-in labeler" in said
    assert "1 study ('s23') without a report" in said
    assert "1 study ('s5') could not be read" in said
    scores = json.loads((out / "clues.json").read_text())
    heart = next(row for row in scores["diseases"] if row["name"] == "Cardiomegaly")
    assert (heart["num_studies"], heart["num_positives"], heart["num_open"]) == (16, 6, 6)
    assert scores["macro"]["diseases"] == ["Cardiomegaly"]
    assert list(scores["skipped"]) == ["s5"]
    assert scores["labels"]["kind"] == "labeler"
    assert (len(scores["weights"]), scores["split"], scores["bank"]["source"]) == (64, "val", "checkpoint")
    rows = list(csv.DictReader((out / "clues.csv").read_text().splitlines()))
    assert [row["study_id"] for row in rows] == [f"s{n}" for n in range(23) if n != 5]
    by_phrase: dict[int, list[float]] = {phrase: [] for phrase in range(4)}
    for row in rows:
        by_phrase[int(row["study_id"][1:]) % 4].append(float(row["Cardiomegaly"]))
    pairs = [(high, low) for high in by_phrase[0] for low in (*by_phrase[1], *by_phrase[3])]
    assert heart["auc"]["value"] == pytest.approx(sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs))
    page = (out / "index.html").read_text()
    assert "Clues of" in page
    assert page.count('class="bin"') >= 10
    assert "http" not in page.replace("http-equiv", "")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert evaluate(checkpoint, store, out, "--min-positives", 5) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_the_order_of_a_store_changes_no_score(
    checkpoint: Path, store: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turned = write_store(tmp_path / "backwards", images, backwards=True)
    found = []
    for number, folder in enumerate((store, turned)):
        assert evaluate(checkpoint, folder, tmp_path / str(number), "--batch-size", 3, "--json") == 0
        found.append(as_json(capsys))
    one, other = ([row["auc"] | row["f1"] for row in scores["diseases"]] for scores in found)
    assert one == other


def test_labels_from_a_file_by_patient(
    checkpoint: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.csv"
    rows = [f"p{n},{n % 2},{-1 if n % 5 == 0 else ''}" for n in range(20)]
    labels.write_text("subject,Edema,Fracture\n" + "\n".join(rows) + "\n", encoding="utf-8")
    assert evaluate(checkpoint, store, tmp_path / "out", "--labels", labels, "--min-positives", 1) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "patient_id of 20 of 24 studies" in said
    assert "4 studies ('s20', 's21', 's22', 's23') without a row" in said
    assert "not checkable: Cardiomegaly: labels.csv has no column of its name" in said
    scores = json.loads((tmp_path / "out" / "clues.json").read_text())
    assert [row["name"] for row in scores["diseases"]] == ["Edema", "Fracture"]
    assert scores["macro"]["diseases"] == ["Edema"]
    assert scores["labels"]["matched_by"] == "patient_id"
    # Other labels are another evaluation.
    assert evaluate(checkpoint, store, tmp_path / "out") == 1
    assert "another labels" in capsys.readouterr().err


def test_a_bank_of_two(
    checkpoint: Path, store: Path, two_diseases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(checkpoint, store, tmp_path / "out", "--bank", two_diseases) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "not checkable: Oddity: it has finding: null in the bank" in said
    scores = json.loads((tmp_path / "out" / "clues.json").read_text())
    assert [(row["name"], row["num_positives"], row["auc"]["value"]) for row in scores["diseases"]] == [
        ("Hiatal hernia", 0, None)
    ]
    assert (tmp_path / "out" / "clues.csv").read_text().startswith("study_id,Hiatal hernia,Oddity\n")
    odd = tmp_path / "odd.yaml"
    odd.write_text(yaml.safe_dump({"diseases": TWO["diseases"][1:]}), encoding="utf-8")
    assert evaluate(checkpoint, store, tmp_path / "odd", "--bank", odd) == 1
    assert "every disease has finding: null" in capsys.readouterr().err


def test_what_cannot_be_evaluated_is_said(
    checkpoint: Path, store: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = write_store(tmp_path / "without", images, reports=False)
    assert evaluate(checkpoint, without, tmp_path / "a") == 1
    assert "no study of split 'val' has a report; prepare it with its reports, or give" in capsys.readouterr().err
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    assert evaluate(checkpoint, store, tmp_path / "taken") == 1
    assert "is not empty (it holds mine.txt)" in capsys.readouterr().err
    assert evaluate(checkpoint, store, tmp_path / "taken" / "mine.txt") == 1
    assert "is a file" in capsys.readouterr().err
    labels = tmp_path / "labels.csv"
    labels.write_text("uid,Edema\ns5,1\n" + "".join(f"x{n},0\n" for n in range(5)), encoding="utf-8")
    assert evaluate(checkpoint, store, tmp_path / "b", "--labels", labels) == 1
    assert "only 1 of 24 studies have a row" in capsys.readouterr().err
    assert run("evaluate-clues", checkpoint, store, "--split", "test", "--out", tmp_path / "c") == 1
    assert run("evaluate-clues", checkpoint, images, "--split", "val", "--out", tmp_path / "c") == 1
