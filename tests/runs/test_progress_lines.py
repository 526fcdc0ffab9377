"""What a log shows of long work: a line now and then, with count, speed and time left."""

from __future__ import annotations

import re

import pytest

from radwright.cli import progress


def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with progress.progress_bar("drafting", total=1000) as bar:
        bar.show(500, 1000)  # of an earlier call
        for _ in range(100):
            clock[0] += 1
            bar.advance(2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0] == "drafting: 560 of 1000 studies, 2/s, about 220 s left"
    with progress.progress_bar("drafting", total=None) as bar:
        clock[0] += 40
        bar.advance()
    assert re.fullmatch("drafting: 1 studies", capsys.readouterr().err.strip())


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress_bar("drafting", total=3) as bar:
        for _ in range(3):
            bar.advance()
    assert not capsys.readouterr().err
