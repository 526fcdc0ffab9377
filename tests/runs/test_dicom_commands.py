"""Every command that takes an image takes DICOM: files, nested folders without suffixes, archives."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from radwright.cli.main import main
from radwright.data.phantom import PhantomConfig, generate_study
from radwright.data.store import PreparedStore
from radwright.decoding.config import DecodingConfig, Greedy
from radwright.imaging.config import ImageConfig
from radwright.imaging.decode import png_bytes
from radwright.inference.checkpoint import CheckpointConfig, build_model, save_checkpoint
from radwright.text.words import WordTokenizer
from tiny_dicom import dicom

pytest.importorskip("pydicom")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

WORDS = WordTokenizer(["cardiomegaly", "effusion", "no", "heart", "."])
BACKBONE = {"name": "resnet", "depth": 18, "width": 8, "num_stages": 2}
TRRG = {
    "backbone": BACKBONE,
    "text_encoder": {"dim": 16, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "dropout": 0.0},
    "contrast_dim": 12,
    "language": {"dim": 24, "num_layers": 1, "num_heads": 2, "hidden_dim": 24, "dropout": 0.0},
    "interaction_dim": 16,
    "num_interaction_heads": 2,
    "policy": "all",
}
CHEST = {"Modality": "DX", "BodyPartExamined": "CHEST"}


def run(*arguments: object) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = CheckpointConfig(
        method="trrg",
        model=TRRG,
        image=ImageConfig(size_px=32),
        decoding=DecodingConfig(strategy=Greedy(), max_tokens=4),
        max_views=2,
    )
    path = tmp_path_factory.mktemp("checkpoint") / "best"
    save_checkpoint(path, config, build_model("trrg", TRRG, WORDS, config.image), WORDS, {"seed": 0})
    return path


@pytest.fixture(scope="module")
def images() -> dict[str, Any]:
    study = generate_study(PhantomConfig(size_px=64, num_studies={"test": 1}), "test", 0)
    return {str(name): image for name, image in study.images.items()}


@pytest.fixture
def export(images: dict[str, Any], tmp_path: Path) -> Path:
    """One study of two series, a hand, and a directory, as a viewer's disk has them."""
    one = {**CHEST, "StudyInstanceUID": "1.2.1"}
    files = {
        "DICOMDIR": dicom(SOPClassUID="1.2.840.10008.1.3.10"),
        "DICOM/A/S1/I1": dicom(images["frontal"], stored=8, ViewPosition="PA", BurnedInAnnotation="YES", **one),
        "DICOM/A/S2/I1": dicom(images["lateral"], stored=8, ViewPosition="LL", SOPInstanceUID="1.2.4", **one),
        "DICOM/B/S1/I1": dicom(stored=12, StudyInstanceUID="1.2.2", Modality="DX", BodyPartExamined="HAND"),
    }
    for name, data in files.items():
        path = tmp_path / "export" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "export"


def drafted(path: Path) -> dict[str, str]:
    return {row["study_id"]: row["report"] for row in map(json.loads, path.read_text().splitlines())}


def test_generate(checkpoint: Path, export: Path, images: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "drafts.jsonl"
    assert run("generate", checkpoint, export, "--out", out) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert set(drafted(out)) == {"A"}
    assert "BodyPartExamined is 'HAND'" in shown
    assert "BurnedInAnnotation is YES" in shown
    archive = tmp_path / "export.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        for path in export.rglob("*"):
            stream.write(path, path.relative_to(tmp_path))
    assert run("generate", checkpoint, archive, "--out", tmp_path / "zipped.jsonl") == 0
    files = [export / "DICOM" / "A" / series / "I1" for series in ("S1", "S2")]
    assert run("generate", checkpoint, *files, "--together", "--out", tmp_path / "files.jsonl") == 0
    assert run("generate", checkpoint, *files[:1], "--out", tmp_path / "one.jsonl") == 0
    same = [list(drafted(path).values()) for path in (out, tmp_path / "zipped.jsonl", tmp_path / "files.jsonl")]
    assert same[0] == same[1] == same[2]


def test_a_refused_file_alone_ends_the_command(checkpoint: Path, export: Path, tmp_path: Path, capsys: Any) -> None:
    assert run("generate", checkpoint, export / "DICOM" / "B" / "S1" / "I1", "--out", tmp_path / "x.jsonl") == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "no study could be drafted" in told
    assert "HAND" in told
    assert run("explain", checkpoint, export / "DICOMDIR", "--out", tmp_path / "x.html") == 1
    assert "DICOMDIR, the index of a DICOM folder; give that folder" in capsys.readouterr().err


def test_explain(checkpoint: Path, export: Path, tmp_path: Path, capsys: Any) -> None:
    page = tmp_path / "page.html"
    options = ("--windows", 2, "--out", page, "--replace", "--json")
    assert run("explain", checkpoint, export / "DICOM" / "A", *options) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["views"] == ["1 frontal (I1)", "2 lateral (I1)"]
    assert "BurnedInAnnotation is YES" in page.read_text()
    assert run("explain", checkpoint, export, *options) == 1
    assert "name one with --study" in capsys.readouterr().err
    assert run("explain", checkpoint, export, "--study", "A", *options) == 0


def test_clues(checkpoint: Path, export: Path, capsys: Any) -> None:
    assert run("clues", checkpoint, export, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert [study["study_id"] for study in facts["studies"]] == ["A"]
    assert [list(facts["skipped"]), len(facts["notes"])] == [["B/S1"], 1]
    assert run("clues", checkpoint, export) == 0
    assert "BurnedInAnnotation" in capsys.readouterr().out


def test_dicom_and_png_of_the_same_pixels_give_the_same_draft(
    checkpoint: Path, images: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(dicom(images["frontal"], stored=8, **CHEST))
    (folder / "b.png").write_bytes(png_bytes(images["frontal"]))
    (folder / "c.dcm").write_bytes(
        dicom(np.uint8(255) - images["frontal"], stored=8, PhotometricInterpretation="MONOCHROME1", **CHEST)
    )
    assert run("generate", checkpoint, folder, "--out", tmp_path / "d.jsonl") == 0
    rows = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
    assert len({(row["report"], row["score"]) for row in rows}) == 1
    assert len(rows) == 3


def test_prepare(images: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    write = {
        "good": dicom(images["frontal"], stored=8, ViewPosition="AP", BurnedInAnnotation="YES", **CHEST),
        "bad": dicom(images["frontal"], stored=8, Modality="MG"),
    }
    for name, data in write.items():
        (tmp_path / f"{name}.dcm").write_bytes(data)
    (tmp_path / "t.csv").write_text("image,findings\ngood.dcm,Clear.\nbad.dcm,Clear lungs.\n")
    out = tmp_path / "out"
    assert run("prepare", tmp_path / "t.csv", "--format", "table", "--out", out, "--workers", 1) == 0
    assert "note: 1 study has text written into the pixels" in capsys.readouterr().out
    (study,) = PreparedStore(out)
    assert (study.views[0].position, study.extra["burned_in"]) == ("frontal", "YES")
    (skipped,) = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert "Modality is 'MG' (mammography)" in skipped["reason"]
