from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console
from training_toy import configure, train

from radwright.errors import MissingExtraError, OutputError
from radwright.training.hooks import JsonlHook, ProgressHook, RunFacts, TensorBoardHook, clock


def test_metrics_are_strict_json_even_when_a_score_is_not_a_number(tmp_path: Path) -> None:
    hook = JsonlHook(tmp_path / "metrics.jsonl")
    hook.start(RunFacts(tmp_path, 0, 1, False), {})
    hook.validation({"step": 1, "scores": {"fit": float("nan"), "other": 1.5}})
    hook.close()
    line = json.loads((tmp_path / "metrics.jsonl").read_text(encoding="utf-8"))
    assert line == {"kind": "validation", "step": 1, "scores": {"fit": None, "other": 1.5}}


def test_lines_after_the_resumed_state_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    hook = JsonlHook(path)
    hook.start(RunFacts(tmp_path, 0, 9, False), {})
    hook.log({"step": 1})
    memory = hook.memory()
    kept = path.read_bytes()
    hook.log({"step": 2, "note": "the state is older than this line"})
    hook.close()
    hook.start(RunFacts(tmp_path, 1, 9, True), memory)
    assert path.read_bytes() == kept
    hook.log({"step": 2})
    hook.close()
    assert [json.loads(line)["step"] for line in path.read_text(encoding="utf-8").splitlines()] == [1, 2]
    hook.start(RunFacts(tmp_path, 0, 9, False), {})
    hook.close()
    assert path.read_bytes() == b""


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        JsonlHook(tmp_path / "absent" / "metrics.jsonl").start(RunFacts(tmp_path, 0, 1, False), {})


def test_plain_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=False, width=60)
    train(tmp_path, configure(), hooks=[ProgressHook(console, plain_every_s=3600)])
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("validation at step 3: fit -")
    assert lines[0].endswith("(best so far, kept)")
    assert lines[1].startswith("step 6/6  loss ")
    assert "studies/s" in lines[1]
    assert lines[1].endswith("0:00 left")
    assert "\x1b" not in stream.getvalue()


def test_a_progress_line_on_a_terminal(tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    train(tmp_path, configure(), hooks=[ProgressHook(console)])
    text = stream.getvalue()
    assert "6/6" in text
    assert "studies/s" in text
    assert "left" in text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (61.4, "1:01"), (3600, "1:00:00"), (float("inf"), "-:--"), (float("nan"), "-:--"), (-1, "-:--")],
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_tensorboard_gets_losses_rates_and_scores(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path, configure(), hooks=[TensorBoardHook(tmp_path / "tensorboard")])
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {"train/loss", "train/words", "lr/all", "validation/fit", "train/grad_norm"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in events.Scalars("validation/fit")] == [3, 6]


def test_without_tensorboard_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"radwright\[train\]"):
        TensorBoardHook(tmp_path).start(RunFacts(tmp_path, 0, 1, False), {})
