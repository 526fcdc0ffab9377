"""``radwright prepare`` and studies that lack their images or their report, on miniatures and on the real extra set."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from radwright.cli.main import main
from radwright.data.joined import JoinedStores
from radwright.data.loading import BatchLoader, LoadingConfig
from radwright.data.prepare import PrepareConfig, prepare
from radwright.data.sources.table import TableSource
from radwright.data.store import PreparedStore
from radwright.errors import SourceError, StoreError
from radwright.imaging.config import ImageConfig
from radwright.text.words import WordTokenizer

COLUMNS = {"study_id": "uid", "patient_id": "uid", "view": "projection"}
ROWS = """image,uid,projection,findings,impression
images/a.png,1,Frontal,Clear lungs.,Normal.
images/b.png,1,Lateral,Clear lungs.,Normal.
images/b.png,2,Lateral,,Normal.
images/a.png,3,Frontal,XXXX.,
,4,,Large heart.,
,5,,,Normal.
images/cut.png,6,Frontal,Clear.,
"""
EVERYTHING = PrepareConfig(
    format="table",
    options={"columns": COLUMNS},
    as_split="train",
    keep_without_report=True,
    keep_without_image=True,
)


@pytest.fixture
def table(tmp_path: Path, picture_bytes: Any) -> Path:
    """Study 1 is whole, 2 and 3 have images only, 4 a report only, 5 neither, and 6 a broken image."""
    path = tmp_path / "more.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("more/studies.csv", ROWS)
        for number, name in enumerate("ab"):
            archive.writestr(f"more/images/{name}.png", picture_bytes(number))
        archive.writestr("more/images/cut.png", picture_bytes(0)[:-30])
    return path


def skipped(out: Path) -> dict[str, tuple[str, str]]:
    rows = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    return {row["study_id"]: (row["kind"], row["reason"]) for row in rows}


@pytest.mark.parametrize(
    ("changes", "kept", "kinds"),
    [
        ({}, "1 2 3 4", {"5": "no image", "6": "image"}),
        ({"keep_without_image": False}, "1 2 3", {"4": "no image", "5": "no image", "6": "image"}),
        (
            {"keep_without_report": False},
            "1 4",
            {"2": "no report", "3": "empty report", "5": "no image", "6": "image"},
        ),
        ({"target": "impression"}, "1 2 3 5", {"4": "no image", "6": "image"}),
        ({"target": "findings+impression"}, "1 2 3 4 5", {"6": "image"}),
    ],
)
def test_what_is_kept(changes: dict[str, Any], kept: str, kinds: dict[str, str], table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = prepare(table, out, EVERYTHING.model_copy(update=changes))
    store = PreparedStore(out)
    assert " ".join(store.study_ids) == kept
    found = skipped(out)
    assert {study_id: kind for study_id, (kind, _) in found.items()} == kinds
    assert sum(summary["halves"].values()) == summary["studies"] == len(store)
    assert summary["skipped_by_kind"] == {
        kind: [k for k, _ in found.values()].count(kind) for kind, _ in found.values()
    }


def test_the_store_the_summary_and_the_batches_agree(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = prepare(table, out, EVERYTHING)
    halves = {"image and report": 1, "image only": 2, "report only": 1}
    assert summary["halves"] == summary["splits"]["train"]["halves"] == halves
    assert (summary["views"], summary["splits"]["train"]["reports"]) == (4, 2)
    store = PreparedStore(out)
    assert store.positions == (("frontal", "lateral"), ("lateral",), ("frontal",), ())
    assert store.patient_ids == store.study_ids == ("1", "2", "3", "4")
    assert "and no findings either" in skipped(out)["5"][1]
    reports = [json.loads(line) for line in (out / "reports.jsonl").read_text().splitlines()]
    assert [row["report"] for row in reports] == ["Clear lungs.", "", "XXXX.", "Large heart."]
    tokenizer = WordTokenizer.build(["clear lungs . large heart ."], min_count=1)
    batches = BatchLoader(
        store,
        store.indices("train"),
        ImageConfig(size_px=16),
        LoadingConfig(workers=0),
        tokenizer=tokenizer,
        batch_size=4,
        incomplete=True,
    )
    ((batch,),) = batches.steps(0)
    has = {
        study_id: (image, report)
        for study_id, image, report in zip(
            batch.study_ids, batch.has_image_B.tolist(), batch.has_report_B.tolist(), strict=True
        )
    }
    assert has == {"1": (True, True), "2": (True, False), "3": (True, False), "4": (False, True)}


def test_the_store_is_the_same_from_several_processes(table: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        prepare(table, tmp_path / f"out{workers}", EVERYTHING.model_copy(update={"workers": workers}))
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / f"out{workers}").iterdir()} for workers in (1, 2)
    )
    assert first == second


def test_a_table_of_reports_alone(tmp_path: Path) -> None:
    table = tmp_path / "texts.csv"
    table.write_text("uid,findings\n1,Clear lungs.\n2,Large heart.\n")
    config = EVERYTHING.model_copy(update={"options": {"columns": {"study_id": "uid"}}, "keep_without_image": False})
    cures = r"no column 'image'; name it with --column image=NAME; it has: uid, findings, or .*--keep-without-image"
    with pytest.raises(SourceError, match=cures):
        prepare(table, tmp_path / "out", config)
    assert not (tmp_path / "out").exists()
    summary = prepare(table, tmp_path / "out", config.model_copy(update={"keep_without_image": True}))
    assert summary["halves"] == {"image and report": 0, "image only": 0, "report only": 2}
    assert PreparedStore(tmp_path / "out")[1].section("findings") == "Large heart."


def test_row_numbers_in_a_column_without_a_name_name_nothing(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(",image,findings\n0,a.png,Clear.\n1,b.png,Hazy.\n")
    first, second = TableSource(table, {}).references()
    assert (first.study_id, second.study_id) == ("a", "b")
    assert first.patient_id == ""


def test_known_bad_images_leave_a_report_alone(tmp_path: Path, picture_bytes: Any) -> None:
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.png").write_bytes(picture_bytes(0))
    records = [{"id": name, "report": "Clear lungs.", "image_path": [f"{name}.png"], "uid": name} for name in "ab"]
    (folder / "annotation.json").write_text(json.dumps({"train": records}))
    (folder / "manifest.csv").write_text("image,known_bad\nb.png,1\n")
    config = PrepareConfig(format="r2gen", as_split="train", keep_without_image=True)
    summary = prepare(folder, tmp_path / "out", config)
    assert (summary["studies"], summary["skipped"], summary["views_left_out"]) == (2, 0, 1)
    assert summary["halves"] == {"image and report": 1, "image only": 0, "report only": 1}


COMMAND = ["--format", "table", *(f"--column={name}={column}" for name, column in COLUMNS.items()), "--as-split=train"]

KEEP = ["--keep-without-report", "--keep-without-image"]


def test_the_documented_command(table: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stop:
        main(["prepare", str(table), *COMMAND, *KEEP, f"--out={out}", "--workers=1"])
    assert not stop.value.code
    shown = capsys.readouterr().out
    assert "of these 1 with image and report, 2 with image only, 1 with report only" in shown
    assert "2 studies skipped (no image 1, image 1)" in shown
    assert PreparedStore(out).splits == ("train",) * 4


def test_the_real_extra_studies(shared: Path, tmp_path: Path) -> None:
    config = EVERYTHING.model_copy(update={"limit": 60})
    summary = prepare(shared / "data" / "iu_xray_extra.zip", tmp_path / "extra", config)
    store = PreparedStore(tmp_path / "extra")
    assert summary["studies"] == 60
    assert summary["skipped"] == 0
    assert set(summary["views_by_position"]) == {"frontal", "lateral"}
    assert min(summary["halves"]["image and report"], summary["halves"]["image only"]) > 10
    several = [study for study in store if len(study.views) > 1]
    assert len(several) > 20
    # The other file of the dataset: its ids are of the same kind, and no one is in both.
    main_config = PrepareConfig(format="r2gen", limit=60)
    prepare(shared / "data" / "iu_xray.zip", tmp_path / "main", main_config)
    main_store = PreparedStore(tmp_path / "main")
    assert all(patient.isdigit() for patient in (*main_store.patient_ids, *store.patient_ids))
    assert len(JoinedStores([main_store, store])) == 120
    with zipfile.ZipFile(shared / "data" / "iu_xray.zip") as archive:
        annotation = json.loads(archive.read("iu_xray/annotation.json"))
    with zipfile.ZipFile(shared / "data" / "iu_xray_extra.zip") as archive:
        text = archive.read("iu_xray_extra/studies.csv").decode()
        extra = {row["uid"] for row in csv.DictReader(io.StringIO(text, newline=""))}
    assert len(extra) == 873
    held_out = {str(record["uid"]) for record in annotation["val"]}
    assert len(held_out) == 295
    assert not held_out & extra
    # And the check would see it: the same people under other study ids.
    by_image = {"columns": {"patient_id": "uid", "view": "projection"}}
    leaking = config.model_copy(update={"options": by_image, "as_split": "val", "limit": 10})
    prepare(shared / "data" / "iu_xray_extra.zip", tmp_path / "val", leaking)
    with pytest.raises(StoreError, match="in different splits of two stores"):
        JoinedStores([store, PreparedStore(tmp_path / "val")])
