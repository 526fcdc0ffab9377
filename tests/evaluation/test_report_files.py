"""Reading reports: both layouts, gzip, and every way a file can be wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from radwright.errors import ScoringError
from radwright.evaluation.reports import name_some, read_reports

LINES = [{"study_id": "a", "report": "Clear.", "split": "train"}, {"study_id": 7, "report": "", "split": "val"}]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines(values: list[dict[str, object]]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def test_json_lines(tmp_path: Path) -> None:
    file = read_reports(write(tmp_path / "p.jsonl", "\ufeff" + lines(LINES) + "\n"))
    assert file.reports() == {"a": "Clear.", "7": ""}
    assert file.splits == ["train", "val"]
    assert file.reports("val") == {"7": ""}
    assert file.train_reports() == {"a": "Clear."}
    assert file.choosing_reports("val") == {"a": "Clear."}
    assert file.choosing_reports("train") == {"7": ""}


def test_a_constant_is_chosen_on_train_and_tune_never_on_the_splits_that_are_reported(tmp_path: Path) -> None:
    rows = [{"study_id": split, "report": split, "split": split} for split in ("train", "tune", "val", "test")]
    file = read_reports(write(tmp_path / "p.jsonl", lines(rows)))
    assert set(file.choosing_reports("val")) == set(file.choosing_reports(None)) == {"train", "tune"}
    assert set(file.choosing_reports("tune")) == {"train"}
    held_out = read_reports(write(tmp_path / "q.jsonl", lines(rows[2:])))
    assert set(held_out.choosing_reports("val")) == {"test"}
    unsplit = read_reports(write(tmp_path / "r.jsonl", lines([{"study_id": "a", "report": "x"}])))
    assert set(unsplit.choosing_reports(None)) == {"a"}


def test_one_line_without_splits_is_all_train(tmp_path: Path) -> None:
    file = read_reports(write(tmp_path / "p.jsonl", '{"study_id": "a", "report": "x\u2028y", "score": -1.5}'))
    assert file.train_reports() == file.reports() == {"a": "x\u2028y"}
    with pytest.raises(ScoringError, match="names no splits"):
        file.reports("val")


@pytest.mark.parametrize("packed", [False, True])
def test_annotation(tmp_path: Path, packed: bool) -> None:
    text = json.dumps(
        {"train": [{"id": "a", "report": "Clear.", "split": "x"}], "val": [{"id": "b", "report": "Hazy."}], "test": []},
        indent=1,
    )
    path = write(tmp_path / ("a.json.gz" if packed else "a.json"), gzip.compress(text.encode()) if packed else text)
    file = read_reports(path)
    assert file.reports("train") == file.train_reports() == {"a": "Clear."}
    assert file.reports("val") == {"b": "Hazy."}
    with pytest.raises(ScoringError, match=r"no study of split 'test'.*it has train, val"):
        file.reports("test")
    with pytest.raises(ScoringError, match="did you mean 'val'"):
        file.reports("vall")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no study"),
        ("{}", r":1: 'study_id' is missing"),
        ('{"train": [], "val": []}', "holds no study"),
        ('{"study_id": "a", "report": "x"}\n{"study_id": "b", "rep', r":2: is no JSON"),
        ("[1, 2]", r":1: an object with study_id and report is expected, found list"),
        ('{"id": "a", "report": "x"}\n{"id": "b", "report": "x"}', r":1: 'study_id' is missing"),
        ('{"study_id": "a", "reports": "x"}', r"'report' of study 'a' is missing.*did you mean 'reports'"),
        ('{"study_id": "a", "report": null}', "'report' of study 'a'"),
        ('{"study_id": true, "report": "x"}', "'study_id'"),
        ('{"study_id": "", "report": "x"}', "'study_id'"),
        ('{"val": [{"id": "a", "report": "x"}, {"id": "b"}]}', r"val\[1\]: 'report' of study 'b'"),
        ('{"val": ["a"]}', r"val\[0\]: an object with id and report"),
        (lines([LINES[0], LINES[0]]), r"1 study \('a'\) given more than once"),
        ('{"study_id": "1", "report": "x"}\n{"study_id": 1, "report": "y"}', "given more than once"),
        ('{"train": [{"id": "a", "report": "x"}], "val": [{"id": "a", "report": "x"}]}', "given more than once"),
        (b"\xff\xfe\x00", "no UTF-8"),
        (gzip.compress(b'{"study_id": "a", "report": "x"}', mtime=0)[:-9], "damaged or cut off"),
        (b"\x1f\x8bnonsense", "damaged or cut off"),
    ],
)
def test_what_cannot_be_read_says_where(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write(tmp_path / "reports.jsonl", content)
    with pytest.raises(ScoringError, match=message) as caught:
        read_reports(path)
    assert "reports.jsonl" in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(ScoringError, match="cannot be read"):
            read_reports(path)


def test_names_five_at_most() -> None:
    assert name_some(["a"], "study") == "1 study ('a')"
    assert name_some(map(str, range(7)), "study") == "7 studies ('0', '1', '2', '3', '4', ...)"
