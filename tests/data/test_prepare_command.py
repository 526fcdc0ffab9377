"""``radwright prepare`` as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from radwright.cli.main import main
from radwright.data.sources.table import TableSource
from radwright.data.store import PreparedStore
from radwright.imaging.config import ImageConfig
from radwright.imaging.tensor import image_tensor


def run(*arguments: str | Path) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_a_summary_for_people_and_for_programs(miniature: Any, tmp_path: Path, capsys: Any) -> None:
    mini, out = miniature("r2gen"), tmp_path / "out"
    (mini.path / "images" / "CXR2_IM-0001" / "1.png").write_bytes(b"")
    arguments = ["prepare", mini.path, "--format", "r2gen", "--out", out, "--workers", "1"]
    assert run(*arguments) == 0
    shown = capsys.readouterr()
    assert "5 studies in" in shown.out
    assert "1 study skipped (image 1)" in shown.out
    assert "skipped.jsonl" in shown.out
    assert shown.err == ""
    assert run(*arguments, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["studies"], summary["skipped"], summary["resumed_from"]) == (5, 1, 6)


def test_columns_options_and_splits_from_the_command_line(miniature: Any, tmp_path: Path) -> None:
    mini, out = miniature("table"), tmp_path / "out"
    columns = [f"--column={name}={column}" for name, column in mini.options["columns"].items()]
    options = ["--option", "table=rows.csv", "--as-split", "val", "--limit", "4", "--target", "findings"]
    assert run("prepare", mini.path, "--format", "table", "--out", out, "--workers", "1", *columns, *options) == 0
    assert PreparedStore(out).splits == ("val",) * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--column", "image=filee"], "has no column 'filee' (did you mean 'file'?)"),
        (["--column", "picture=file"], "known: image, study_id, patient_id, view"),
        (["--column", "study=exam"], "--column study=exam: 'study' is no name of Radwright's (did you mean 'study_id'"),
        (["--column", "image"], "write it as NAME=COLUMN"),
        (["--column", "image=file", "--target", "finding"], "target = 'finding'"),
        (["--column", "image=file", "--as-split", "dev"], "as_split = 'dev'"),
        (["--column", "image=file", "--option", "imagess=x"], "did you mean 'images'"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str], message: str, miniature: Any, tmp_path: Path, capsys: Any
) -> None:
    mini, out = miniature("table"), tmp_path / "out"
    assert run("prepare", mini.path, "--format", "table", "--out", out, "--workers", "1", *arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not out.exists()


def test_dicom_through_prepare_is_the_same_to_the_bit(shared: Path, tmp_path: Path) -> None:
    folder, out = shared / "data" / "dicom", tmp_path / "out"
    table = tmp_path / "index.csv"
    rows = (folder / "index.csv").read_text().splitlines(keepends=True)
    table.write_text("".join(row for row in rows if not row.startswith("nema")))  # the one that takes long
    images = ["--option", f"images={folder}"]
    arguments = ["--format", "table", "--column", "image=file", "--column", "view=modality", "--as-split", "test"]
    arguments.append("--keep-without-report")
    assert run("prepare", table, "--out", out, "--workers", "1", *arguments, *images) == 0
    source = TableSource(table, {"columns": {"image": "file"}, "images": folder})
    store = PreparedStore(out)
    assert len(store) == 6
    for reference, study in zip(source.references(), store, strict=True):
        direct = image_tensor(source.load(reference).views[0].image.read(), ImageConfig(), name="x")
        stored = study.views[0].image.read()
        assert stored.startswith(b"\x89PNG")
        assert study.views[0].position == "frontal"
        assert torch.equal(direct, image_tensor(stored, ImageConfig(), name="y"))


def test_a_table_without_patients_says_so(tmp_path: Path, picture_bytes: Any, capsys: Any) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(picture_bytes(1))
    table = tmp_path / "t.csv"

    def summary_of(column: str, out: str, *arguments: str) -> dict[str, Any]:
        table.write_text(f"image,{column},findings\na.png,7,Clear lungs.\nb.png,7,Large heart.\n")
        assert run("prepare", table, "--format", "table", "--out", tmp_path / out, "--workers", "1", *arguments) == 0
        shown = capsys.readouterr().out
        found: dict[str, Any] = json.loads((tmp_path / out / "report.json").read_text())
        assert all(f"note: {note}" in shown for note in found["notes"])
        return found

    unknown = summary_of("uid", "none")
    (note,) = unknown["notes"]
    assert "each study counts as its own patient; map it with --column patient_id=NAME (likely: uid)" in note
    assert unknown["patients_across_splits"]["patients"] is None
    for number, name in enumerate(["patientid", "Patient_ID", "subject_id", "patient"]):
        known = summary_of(name, f"known{number}")
        assert known["notes"] == []
        assert known["patients_across_splits"]["patients"] == 0
        assert [split["patients"] for split in known["splits"].values()] == [1]
    assert summary_of("uid", "mapped", "--column", "patient_id=uid")["notes"] == []
