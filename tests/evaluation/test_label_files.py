"""`radwright label`: its table, its spans, and the files that it reads."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from radwright.cli.main import main
from radwright.errors import ScoringError
from radwright.evaluation.reports import read_reports
from radwright.findings.ontology import CHEXPERT, NIH, NIH_NORMAL

REPORTS = {"a": "Small left effusion. No pneumothorax.", "b": "Possible pneumonia; heart normal.", "c": ""}


def write(path: Path) -> Path:
    rows = [{"study_id": key, "report": text} for key, text in REPORTS.items()]
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["study_id", "report"])
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    said = capsys.readouterr()
    return int(stop.value.code or 0), said.out + said.err


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["reports.jsonl", "reports.csv"])
def test_a_row_per_report_and_a_column_per_class(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "labels.csv"
    status, said = run(["label", str(write(tmp_path / name)), "--out", str(out)], capsys)
    assert status == 0
    assert "3 reports labelled" in said
    assert "1 of them without a sentence" in said
    rows = table(out)
    assert [*rows[0]] == ["study_id", *CHEXPERT]
    assert {key: value for key, value in rows[0].items() if value} == {
        "study_id": "a",
        "Pleural Effusion": "1",
        "Pneumothorax": "0",
    }
    assert (rows[1]["Pneumonia"], rows[1]["Cardiomegaly"]) == ("-1", "0")
    assert not any(rows[2][name] for name in CHEXPERT)
    assert not (tmp_path / "deep" / "labels.csv.spans.jsonl").exists()


def test_spans_are_the_words_of_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "labels.csv"
    run(["label", str(write(tmp_path / "reports.jsonl")), "--out", str(out), "--spans"], capsys)
    lines = [json.loads(line) for line in (tmp_path / "labels.csv.spans.jsonl").read_text().splitlines()]
    assert [line["study_id"] for line in lines] == [*REPORTS]
    for line in lines:
        report = REPORTS[line["study_id"]]
        for found in [*line["labels"].values(), *line["mentions"]]:
            assert report[found["start"] : found["end"]] == found["text"]
            if found["cue"]:
                assert report[found["cue"]["start"] : found["cue"]["end"]] == found["cue"]["text"]
    effusion = lines[0]["mentions"][0]
    assert (effusion["finding"], effusion["sides"], effusion["severity"]) == ("pleural_effusion", ["left"], 2)
    assert lines[0]["labels"]["Pneumothorax"]["cue"]["text"] == "No"


def test_nih_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "nih.csv"
    run(["label", str(write(tmp_path / "reports.jsonl")), "--out", str(out), "--classes", "nih"], capsys)
    rows = table(out)
    assert [*rows[0]] == ["study_id", *NIH, NIH_NORMAL]
    assert rows[0]["Effusion"] == "1"
    assert {rows[1][name] for name in NIH} == {"0"}


def test_a_report_a_line(tmp_path: Path) -> None:
    path = tmp_path / "reports.txt.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("No effusion.\n\nCardiomegaly.\n")
    assert read_reports(path).reports() == {"1": "No effusion.", "3": "Cardiomegaly."}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.csv", "study,report\na,x\n", r"r\.csv: has no column 'study_id'.*it has: study, report"),
        ("r.csv", 'study_id,report\na,"x\n', r"r\.csv:\d: is no line of a table"),
        ("r.csv", "study_id,report\na\n", r"r\.csv:2: 'report' of study 'a' is missing"),
        ("r.csv", "study_id,report\na,x\na,y\n", r"1 study \('a'\) given more than once"),
        ("r.csv", "", r"has no column 'study_id'"),
        ("r.txt", "\n\n", r"holds no study"),
    ],
)
def test_what_is_no_file_of_reports(name: str, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScoringError, match=message):
        read_reports(path)


def test_unknown_classes_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "reports.jsonl")
    status, said = run(["label", str(path), "--out", str(tmp_path / "x.csv"), "--classes", "nhi"], capsys)
    assert status == 1
    assert "unknown classes 'nhi'" in said
    assert "nih" in said
    assert not (tmp_path / "x.csv").exists()


def test_an_input_is_never_overwritten_nor_anything_but_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "reports.jsonl")
    before = path.read_bytes()
    for out, message in (
        (path, "is read by this very command"),
        (tmp_path, "is a folder"),
        (Path("/dev/null"), "is no regular file"),
    ):
        status, said = run(["label", str(path), "--out", str(out)], capsys)
        assert (status, message in said) == (1, True), said
    for option in ("--json", "--per-study"):
        status, said = run(["score", str(path), "--references", str(path), option, str(path)], capsys)
        assert (status, "is read by this very command" in said) == (1, True), said
    assert path.read_bytes() == before
    assert Path("/dev/null").is_char_device()
