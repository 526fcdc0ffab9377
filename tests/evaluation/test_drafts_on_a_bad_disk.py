"""A drafts file whose writing is killed or refused anywhere: the next call makes it whole, every study once."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from radwright.errors import OutputError
from radwright.evaluation import predict
from radwright.evaluation.predict import draft_to_file
from radwright.types import Report, Skipped, Study

STUDIES = [Study(f"s{number}", ()) for number in range(5)]


class Killed(BaseException):
    """Stands for the end of the process."""


class Drafter:
    """Writes the study's name; the third cannot be drafted."""

    def draft(self, studies: Iterable[Study]) -> Iterator[Report | Skipped]:
        for study in studies:
            if study.study_id == "s3":
                yield Skipped("s3", "has no image")
            else:
                yield Report(study.study_id, f"Report of {study.study_id}.", -1.0, 0.5, 4, True)


def test_drafts_are_never_all_in_memory(tmp_path: Path) -> None:
    class Verbose:
        def draft(self, studies: Iterable[Study]) -> Iterator[Report | Skipped]:
            for study in studies:
                yield Report(study.study_id, f"{study.study_id} " * 4000, -1.0, 0.5, 4, study.study_id != "s7")

    studies = (Study(f"s{number}", ()) for number in range(400))
    tracemalloc.start()
    try:
        summary = draft_to_file(Verbose(), studies, tmp_path / "drafts.jsonl", identity={"weights": "a"})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (summary.num_reports, summary.num_unfinished) == (400, 1)
    size = (tmp_path / "drafts.jsonl").stat().st_size
    assert size > 7_000_000
    assert peak < size / 10


def outcome_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".writing-")}


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    draft_to_file(Drafter(), STUDIES, tmp_path / "whole" / "drafts.jsonl", identity={"weights": "a"})
    return outcome_of(tmp_path / "whole")


def test_killed_at_any_change_of_the_disk(
    tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Die before the n-th line, rename or removal; at the end the job is done, or its file says that it is."""
    assert len(whole) == 2
    unlink, replace, write = Path.unlink, Path.replace, predict._write
    for number in range(1, 30):
        calls = 0

        def dying(real: Any) -> Any:
            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == number:  # noqa: B023
                    raise Killed
                return real(*arguments, **options)

            return call

        out = tmp_path / str(number) / "drafts.jsonl"
        with monkeypatch.context() as patch:
            patch.setattr("radwright.data.files.AtomicFile.drop", lambda self: self._stream.close())
            for owner, name, real in ((Path, "unlink", unlink), (Path, "replace", replace), (predict, "_write", write)):
                patch.setattr(owner, name, dying(real))
            try:
                draft_to_file(Drafter(), STUDIES, out, identity={"weights": "a"})
                break
            except Killed:
                pass
        summary = draft_to_file(Drafter(), STUDIES, out, identity={"weights": "a"})
        assert (summary.num_reports, len(summary.skipped)) == (4, 1)
        assert outcome_of(out.parent) == whole
    assert number > 8


def test_a_file_that_is_not_this_jobs_is_never_replaced(tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "drafts.jsonl"
    partial = tmp_path / "drafts.jsonl.partial"
    partial.write_bytes(b'{"identity": {"weights": "a"}}\n' + whole["drafts.jsonl"])
    for content in (b"", b"{}\n", whole["drafts.jsonl"][:-1], whole["drafts.jsonl"] * 2):
        out.write_bytes(content)
        with pytest.raises(OutputError, match="exists already"):
            draft_to_file(Drafter(), STUDIES, out, identity={"weights": "a"})
        assert out.read_bytes() == content
    out.write_bytes(whole["drafts.jsonl"])
    with pytest.raises(OutputError, match="another checkpoint"):
        draft_to_file(Drafter(), STUDIES, out, identity={"weights": "b"})


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_read_only_disk_at_any_write(
    code: int, tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, fsync, mkdir = Path.unlink, os.fsync, Path.mkdir
    for number in range(1, 30):
        calls = 0

        def failing(real: Any) -> Any:
            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == number:  # noqa: B023
                    raise OSError(code, os.strerror(code))
                return real(*arguments, **options)

            return call

        out = tmp_path / str(number) / "drafts.jsonl"
        with monkeypatch.context() as patch:
            for owner, name, real in ((Path, "unlink", unlink), (Path, "mkdir", mkdir), (os, "fsync", fsync)):
                patch.setattr(owner, name, failing(real))
            try:
                draft_to_file(Drafter(), STUDIES, out, identity={})
                break
            except OutputError as error:
                message = str(error)
        assert "drafts.jsonl" in message
        assert ("free some and run" if code == errno.ENOSPC else "choose a folder that you may write to") in message
        draft_to_file(Drafter(), STUDIES, out, identity={})
        assert outcome_of(out.parent) == whole
    assert number > 5
