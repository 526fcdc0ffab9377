"""A result folder belongs to one job, and what is refused there says what the folder really holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from radwright.errors import OutputError
from radwright.runs.outputs import claimed

COMMANDS = ("evaluate", "evaluate-clues", "evaluate-evidence", "calibrate", "calibrate --check", "robustness", "stress")


def refusal(out: Path, command: str, identity: dict[str, object]) -> str:
    with pytest.raises(OutputError) as caught, claimed(out, command, identity):
        pass
    return str(caught.value)


def test_the_same_job_may_come_again(tmp_path: Path) -> None:
    for _ in range(2):
        with claimed(tmp_path / "out", "evaluate", {"weights": "a", "limit": None}):
            (tmp_path / "out" / "drafts.jsonl").touch()


@pytest.mark.parametrize("held", COMMANDS)
@pytest.mark.parametrize("asked", COMMANDS)
def test_another_commands_folder_is_called_by_that_command(tmp_path: Path, held: str, asked: str) -> None:
    with claimed(tmp_path, held, {"weights": "a"}):
        pass
    said = refusal(tmp_path, asked, {"weights": "b", "population": 1})
    assert f"holds results of radwright {held}" in said
    if asked == held:
        assert "another weights and population" in said
    else:
        assert f"not of radwright {asked};" in said
        assert "weights" not in said


def test_what_the_folder_has_and_the_job_has_not_makes_it_another_job(tmp_path: Path) -> None:
    with claimed(tmp_path, "evaluate", {"weights": "a", "clues": "none"}):
        pass
    assert "another clues;" in refusal(tmp_path, "evaluate", {"weights": "a"})


@pytest.mark.parametrize("held", ['{"weights": "a"}', "[]", '{"command": 3}'])
def test_a_job_file_without_a_command_is_taken_for_no_command(tmp_path: Path, held: str) -> None:
    (tmp_path / "job.json").write_text(held, encoding="utf-8")
    said = refusal(tmp_path, "stress", {"weights": "a"})
    assert "does not say which command" in said
    assert not re.search("holds results", said)


def test_a_folder_of_no_job_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").touch()
    assert "it holds letter.txt" in refusal(tmp_path, "stress", {})
    assert "results of radwright stress" in refusal(tmp_path / "letter.txt", "stress", {})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "job.json").write_text("{", encoding="utf-8")
    assert "cannot be read" in refusal(tmp_path / "broken", "stress", {})
