"""Preparing: recorded skips, clear errors, resumption to the identical store, nothing half-written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from radwright.data import files, writing
from radwright.data.prepare import PrepareConfig, prepare
from radwright.data.reports import report_text
from radwright.data.sources.base import StudyReference
from radwright.data.splits import assign_splits, patient_fraction
from radwright.data.store import PreparedStore
from radwright.errors import ConfigError, OutputError, SourceError, StoreError
from radwright.types import Study


def r2gen(folder: Path, records: list[dict[str, Any]], images: dict[str, bytes]) -> Path:
    for name, data in images.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    folder.mkdir(exist_ok=True)
    (folder / "annotation.json").write_text(json.dumps({"train": records}))
    return folder


def record(study_id: str, *images: str, **values: Any) -> dict[str, Any]:
    return {"id": study_id, "report": f"Study {study_id} is clear.", "image_path": list(images), **values}


def content_of(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


R2GEN = PrepareConfig(format="r2gen")


def test_hostile_studies_are_skipped_with_their_reasons(tmp_path: Path, picture_bytes: Any) -> None:
    png, jpeg = picture_bytes(1), picture_bytes(2, "JPEG")
    images = {
        "good.png": png,
        "other.jpg": jpeg,
        "cut.png": png[:-40],
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "zero.png": b"",
        "page.png": b"<html></html>",
        "wrongname.png": jpeg,
    }
    records = [
        record("one_view", "good.png"),
        record("five_views", *["good.png", "other.jpg"] * 2, "wrongname.png"),
        record("missing", "good.png", "nowhere.png"),
        record("cut_png", "cut.png"),
        record("cut_jpeg", "good.png", "cut.jpg"),
        record("zero", "zero.png"),
        record("page", "page.png"),
        record("no_image"),
        record("outside", "../../../secret.png"),
        record("empty", "good.png") | {"report": "  "},
        record("gaps", "good.png") | {"report": "XXXX. XXXX XXXX."},
        record("number", "good.png") | {"report": 5},
        {"id": "none", "image_path": ["good.png"]},
        record("twice", "good.png"),
        record("twice", "other.jpg"),
        record("two_people", "good.png", uid=1),
        record("two_people", "good.png", uid=2),
    ]
    summary = prepare(r2gen(tmp_path / "set", records, images), tmp_path / "out", R2GEN)
    store = PreparedStore(tmp_path / "out")
    assert store.study_ids == ("one_view", "five_views", "twice")
    assert [len(positions) for positions in store.positions] == [1, 5, 1]
    skipped = {(row["study_id"], row["kind"]): row["reason"] for row in lines(tmp_path / "out" / "skipped.jsonl")}
    expected = {
        ("missing", "image"): "nowhere.png: is missing",
        ("cut_png", "image"): "truncated",
        ("cut_jpeg", "image"): "truncated",
        ("zero", "image"): "0 bytes",
        ("page", "image"): "no PNG, JPEG or DICOM",
        ("no_image", "no image"): "has no image",
        ("outside", "study"): "leads out",
        ("empty", "empty report"): "empty",
        ("gaps", "empty report"): "gaps",
        ("number", "study"): "its report is a number, a text is expected",
        ("none", "no report"): "has no report",
        ("twice", "duplicate id"): "used before",
        ("two_people", "two patients"): "two patients: 1, 2",
    }
    assert set(skipped) == set(expected)
    for key, part in expected.items():
        assert part in skipped[key], key
    assert summary["skipped"] == len(lines(tmp_path / "out" / "skipped.jsonl")) == len(expected)  # one line per study
    assert summary["skipped_by_kind"]["image"] == 5
    kept = prepare(tmp_path / "set", tmp_path / "with", PrepareConfig(format="r2gen", keep_without_report=True))
    assert kept["studies"] == 6


def test_images_left_out_are_named(tmp_path: Path, picture_bytes: Any) -> None:
    images = {"a.png": picture_bytes(1), "b.png": picture_bytes(2)}
    folder = r2gen(tmp_path / "set", [record("one", "a.png", "b.png"), record("two", "b.png")], images)
    (folder / "manifest.csv").write_text("image,known_bad\nb.png,1\n")
    summary = prepare(folder, tmp_path / "out", R2GEN)
    assert (summary["studies"], summary["skipped"], summary["views_left_out"]) == (1, 1, 1)
    dropped, image = lines(tmp_path / "out" / "skipped.jsonl")
    assert (dropped["study_id"], dropped["kind"]) == ("two", "no image")
    assert "known_bad in manifest.csv (left out: b.png)" in dropped["reason"]
    assert (image["study_id"], image["kind"], image["image"]) == ("one", "image left out", "b.png")
    assert "known_bad" in image["reason"]


def test_a_table_without_reports_is_refused_unless_wanted(tmp_path: Path, picture_bytes: Any) -> None:
    (tmp_path / "a.png").write_bytes(picture_bytes(1))
    (tmp_path / "t.csv").write_text("image,age\na.png,40\n")
    cures = r"no column with reports; it has: image, age; .*--column findings=NAME, or .*--keep-without-report"
    with pytest.raises(SourceError, match=cures):
        prepare(tmp_path / "t.csv", tmp_path / "out", PrepareConfig(format="table"))
    assert not (tmp_path / "out").exists()
    kept = PrepareConfig(format="table", keep_without_report=True)
    assert prepare(tmp_path / "t.csv", tmp_path / "out", kept)["studies"] == 1


def test_nothing_usable_is_an_error_that_can_be_repeated(tmp_path: Path, picture_bytes: Any) -> None:
    folder = r2gen(tmp_path / "set", [record("a", "a.png")], {})
    for _ in range(2):
        with pytest.raises(SourceError, match=r"none of 1 study can be used; the first: .*a.png: is missing"):
            prepare(folder, tmp_path / "out", R2GEN)
    (folder / "images").mkdir()
    (folder / "images" / "a.png").write_bytes(picture_bytes(0))
    assert prepare(folder, tmp_path / "out", R2GEN)["studies"] == 1
    (folder / "annotation.json").write_text('{"train": []}')
    with pytest.raises(SourceError, match="has no studies"):
        prepare(folder, tmp_path / "other", R2GEN)


def test_a_patient_in_two_splits_stops_before_any_work(tmp_path: Path, picture_bytes: Any) -> None:
    folder = r2gen(tmp_path / "set", [], {"a.png": picture_bytes(0)})
    both = {"train": [record("a", "a.png", uid=7)], "val": [record("b", "a.png", uid=7)]}
    (folder / "annotation.json").write_text(json.dumps(both))
    with pytest.raises(SourceError, match=r"1 patient is .*: 7 in t(rain|une), val.*--allow-patient-overlap"):
        prepare(folder, tmp_path / "out", R2GEN)
    assert not (tmp_path / "out").exists()
    summary = prepare(folder, tmp_path / "out", PrepareConfig(format="r2gen", allow_patient_overlap=True))
    assert summary["patients_across_splits"]["patients"] == 1
    one = prepare(folder, tmp_path / "test", PrepareConfig(format="r2gen", as_split="test"))
    assert list(one["splits"]) == ["test"]


def test_the_store_is_the_same_for_any_number_of_processes(miniature: Any, tmp_path: Path) -> None:
    mini = miniature("table")
    for workers in (1, 2):
        config = PrepareConfig(format="table", options=mini.options, workers=workers)
        prepare(mini.path, tmp_path / f"out{workers}", config)
    assert content_of(tmp_path / "out1") == content_of(tmp_path / "out2")


def test_a_finished_store_is_checked_not_written_again(miniature: Any, tmp_path: Path) -> None:
    mini, out = miniature("r2gen"), tmp_path / "out"
    first = prepare(mini.path, out, R2GEN)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    again = prepare(mini.path, out, R2GEN)
    assert again == {**first, "resumed_from": 6}
    assert before == {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    with pytest.raises(StoreError, match="another target"):
        prepare(mini.path, out, PrepareConfig(format="r2gen", target="impression"))
    shard = out / "shard-000000000.arrow"
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    shard.write_bytes(damaged)
    with pytest.raises(StoreError, match=r"shard-000000000.arrow: is damaged \(its checksum"):
        prepare(mini.path, out, R2GEN)


def test_only_an_empty_folder_or_a_store_is_written_to(miniature: Any, tmp_path: Path) -> None:
    mini = miniature("r2gen")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(StoreError, match=r"not empty \(it holds thesis.txt\)"):
        prepare(mini.path, tmp_path / "out", R2GEN)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        prepare(mini.path, tmp_path / "file", R2GEN)


@pytest.mark.skipif(os.name != "posix", reason="locks and modes are POSIX's")
def test_two_runs_at_once(miniature: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with files.folder_lock(tmp_path / "out"), pytest.raises(OutputError, match="another process"):
        prepare(miniature("r2gen").path, tmp_path / "out", R2GEN)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_full_or_read_only_disk_at_any_write(
    code: int, miniature: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fail the n-th fsync for every n, then go on without failures: always an OutputError, always the same store."""
    mini = miniature("r2gen")
    monkeypatch.setattr(writing, "SHARD_REFERENCES", 2)
    prepare(mini.path, tmp_path / "whole", R2GEN)
    real = os.fsync
    failures = 0
    for number in range(1, 60):
        calls = 0

        def failing(descriptor: int) -> None:
            nonlocal calls
            calls += 1
            if calls == number:  # noqa: B023
                raise OSError(code, os.strerror(code))
            real(descriptor)

        out = tmp_path / f"out{number}"
        monkeypatch.setattr(os, "fsync", failing)
        try:
            prepare(mini.path, out, R2GEN)
            break
        except OutputError as error:
            message = str(error)
        failures += 1
        assert "cannot be written" in message
        assert not list(out.glob(".writing-*"))
        monkeypatch.setattr(os, "fsync", real)
        prepare(mini.path, out, R2GEN)
        assert content_of(out) == content_of(tmp_path / "whole")
    assert failures > 10


@pytest.mark.skipif(sys.platform == "win32", reason="ulimit is POSIX's")
def test_a_real_limit_on_file_size_is_a_clear_error(miniature: Any, tmp_path: Path) -> None:
    mini = miniature("r2gen")
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from radwright.data.prepare import PrepareConfig, prepare; from radwright.errors import OutputError\n"
        "import pyarrow.ipc\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "try:\n    prepare(Path(sys.argv[1]), Path(sys.argv[2]), PrepareConfig(format='r2gen'))\n"
        "except OutputError as error:\n    print(error); sys.exit(7)"
    )
    command = [sys.executable, "-c", code, str(mini.path), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert "ulimit" in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["store.json"]


def test_killed_anywhere_the_rerun_finishes_the_identical_store(
    miniature: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill leaves the disk as it was after some write: stop after every n-th of them, without any cleaning up."""
    mini = miniature("mimic-cxr")
    config = PrepareConfig(format="mimic-cxr")
    monkeypatch.setattr(writing, "SHARD_REFERENCES", 2)
    prepare(mini.path, tmp_path / "whole", config)

    class Killed(BaseException):
        pass

    real_replace, real_fsync = Path.replace, os.fsync
    monkeypatch.setattr(files.AtomicFile, "drop", lambda self: self._stream.close())
    for number in range(1, 100):
        calls = 0

        def die(_: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == number:  # noqa: B023
                raise Killed

        def replaced(self: Path, target: Path) -> Path:
            die(self)
            done = real_replace(self, target)
            die(self)
            return done

        def synced(descriptor: int) -> None:
            die(descriptor)
            real_fsync(descriptor)

        out = tmp_path / f"out{number}"
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replaced)
            patch.setattr(os, "fsync", synced)
            try:
                prepare(mini.path, out, config)
                break
            except Killed:
                pass
        if (out / "shards.jsonl").exists() and not (out / "report.json").exists():
            with (out / "shards.jsonl").open("ab") as stream:
                stream.write(b'{"file": "shard-000')
        prepare(mini.path, out, config)
        assert content_of(out) == content_of(tmp_path / "whole"), number
    assert number > 15


KILLED = """
import sys, time
from pathlib import Path
from radwright.data import workers, writing
from radwright.data.prepare import PrepareConfig, prepare
from radwright.data.sources import r2gen
writing.SHARD_REFERENCES = 2
def show(done, total, skipped):
    print(done, flush=True)
    time.sleep(0.05)
if __name__ == "__main__":
    prepare(Path(sys.argv[1]), Path(sys.argv[2]), PrepareConfig(format="r2gen", workers=2), on_progress=show)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize("kill", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_real_kill(kill: signal.Signals, miniature: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mini, script = miniature("r2gen"), tmp_path / "run.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(mini.path), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 5:
                process.send_signal(kill)
        assert process.wait(timeout=60) != 0
    assert (tmp_path / "out" / "shards.jsonl").read_text().count("\n") == 2
    with pytest.raises(StoreError, match="not finished"):
        PreparedStore(tmp_path / "out")
    monkeypatch.setattr(writing, "SHARD_REFERENCES", 2)
    assert prepare(mini.path, tmp_path / "out", R2GEN)["resumed_from"] == 4
    prepare(mini.path, tmp_path / "whole", R2GEN)
    assert content_of(tmp_path / "out") == content_of(tmp_path / "whole")


def test_summary_counts(tmp_path: Path, picture_bytes: Any) -> None:
    same = {"report": "Clear. No effusion."}
    values = {
        "train": [record(f"t{n}", "a.png", uid=n) | (same if n < 3 else {}) for n in range(5)],
        "val": [record("v", "a.png", uid=100) | same, record("w", "a.png", uid=101)],
    }
    folder = r2gen(tmp_path / "set", [], {"a.png": picture_bytes(0)})
    (folder / "annotation.json").write_text(json.dumps(values))
    summary = prepare(folder, tmp_path / "out", R2GEN)
    assert summary["splits"]["val"]["reports_also_in_train"] == 1
    assert summary["splits"]["val"]["report_words"]["max"] == 4
    rows = lines(tmp_path / "out" / "reports.jsonl")
    assert rows[-1] == {
        "study_id": "w",
        "split": "val",
        "report": "Study w is clear.",
        "comparison": None,
        "patient_id": "101",
    }
    assert lines(tmp_path / "out" / "report.json") == [{k: v for k, v in summary.items() if k != "resumed_from"}]


def test_unknown_format_and_option() -> None:
    with pytest.raises(ConfigError, match="did you mean 'r2gen'"):
        prepare(Path("x"), Path("y"), PrepareConfig(format="r2gan"))
    with pytest.raises(ConfigError, match="did you mean 'keep_known_bad'"):
        prepare(Path("."), Path("y"), PrepareConfig(format="r2gen", options={"keep_known_bat": True}))


def test_report_text_joins_sections_as_sentences() -> None:
    study = Study("a", (), sections={"findings": "Lungs clear", "impression": "Normal.", "indication": "Cough"})
    assert report_text(study, "findings") == "Lungs clear"
    assert report_text(study, "findings+impression") == "Lungs clear. Normal."
    assert report_text(Study("a", ()), "findings+impression") == ""


def test_splits_go_by_patient_and_never_change() -> None:
    references = [StudyReference(f"s{n}", f"p{n // 2}", None) for n in range(4000)]
    splits = assign_splits(references)
    assert splits[0::2] == splits[1::2]
    shares = {name: splits.count(name) / len(splits) for name in ("train", "tune", "val", "test")}
    assert shares == pytest.approx({"train": 0.63, "tune": 0.07, "val": 0.1, "test": 0.2}, abs=0.03)
    assert assign_splits(references[::-1]) == splits[::-1]
    assert patient_fraction("2384", purpose="tune") == pytest.approx(0.79246075, abs=1e-8)
    official = [StudyReference(f"s{n}", f"p{n}", "val" if n % 2 else "train") for n in range(2000)]
    kept = assign_splits(official)
    assert set(kept[1::2]) == {"val"}
    assert kept.count("tune") == pytest.approx(100, abs=30)
    named = [StudyReference("a", "p", "tune"), *official]
    assert assign_splits(named).count("tune") == 1
