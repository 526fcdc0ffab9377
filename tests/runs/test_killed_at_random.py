"""`kill -9` at random moments of prepare, train and generate: nothing lost, nothing twice, the same in the end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

KILLS = 20
STUDIES = "size_px: 48\nnum_studies: {train: 120, tune: 4, val: 2, test: 74}\n"
SMALL_SHARDS = (
    "from radwright.data import writing; assert writing.SHARD_REFERENCES; writing.SHARD_REFERENCES = 8; "
    "from radwright.cli.main import main; main()"
)
"""The command line with shards of 8 studies, so that a store of 200 has something to go on from."""
LIMIT_S = 120
"""No command here takes a tenth of it."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's"),
]


@dataclass(frozen=True, slots=True)
class Command:
    """A command and the folder that all it writes is in.

    Attributes:
        arguments: for any folder.
        name: of what it makes in there.
        refuses: what it says when it is called once more after its end; empty: it says that all is there.
    """

    arguments: Callable[[Path], list[str]]
    name: str
    refuses: str = ""

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        with (folder / "messages.txt").open("ab") as messages:
            return subprocess.Popen(
                [sys.executable, "-c", SMALL_SHARDS, *self.arguments(folder / self.name)],
                stdout=messages,
                stderr=messages,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )


def traces(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of change of every file but the messages: what tells that a command is at work."""
    found = {}
    for path in folder.rglob("*"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # renamed while we looked
        if path.name != "messages.txt":
            found[path] = (status.st_size, status.st_mtime_ns)
    return found


def wait_for_a_trace(process: subprocess.Popen[bytes], folder: Path) -> None:
    before, deadline = traces(folder), time.monotonic() + LIMIT_S
    while process.poll() is None and traces(folder) == before:
        assert time.monotonic() < deadline, "the command never got under way"
        time.sleep(0.002)


def finish(command: Command, folder: Path) -> float:
    """Run it to the end; the seconds between its first trace and its end."""
    process = command.start(folder)
    wait_for_a_trace(process, folder)
    started = time.monotonic()
    assert process.wait(LIMIT_S) == 0, (folder / "messages.txt").read_text()
    return time.monotonic() - started


@dataclass(slots=True)
class Toll:
    """What was done to a command; `pytest -rP` shows it.

    Attributes:
        at_work: kills after it had written something in this very call.
        starting: kills before.
        finished: times that it came to its end.
    """

    at_work: int = 0
    starting: int = 0
    finished: int = 0


def kill_at_random(command: Command, work: Path, seconds: float, seed: int, toll: Toll) -> Iterator[Path]:
    """Folders in which the command came to its end after kills, until 20 have hit it at work.

    Args:
        command: what is killed.
        work: where its folders are made.
        seconds: how long it works when nobody kills it; a kill comes within a third of that after a first trace.
        seed: of the moments.
        toll: counted here.
    """
    draw = random.Random(seed)
    while toll.at_work < KILLS:
        folder = work / f"{command.name}-{toll.finished}"
        folder.mkdir()
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            process, early = command.start(folder), draw.random() < 0.1
            if toll.at_work < KILLS:
                if not early:
                    wait_for_a_trace(process, folder)
                try:
                    process.wait(draw.uniform(0, seconds / 3))
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
            code = process.wait(LIMIT_S)
            if code == -signal.SIGKILL:
                toll.at_work += not early
                toll.starting += early
        messages = (folder / "messages.txt").read_text()
        # The last kill may have come between the end of the work and that of the process.
        assert code == 0 or (command.refuses and command.refuses in messages.splitlines()[-1]), messages
        toll.finished += 1
        yield folder / command.name


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(preparing(folder), folder)
    return folder / "store"


@pytest.fixture(scope="module")
def checkpoint(store: Path) -> Path:
    folder = store.parent
    finish(training(folder, store), folder)
    return folder / "run" / "best"


def preparing(folder: Path) -> Command:
    studies = folder / "studies.yaml"
    studies.write_text(STUDIES)
    return Command(
        lambda out: ["prepare", str(studies), "--format", "phantom", "--out", str(out), "--workers", "1"], "store"
    )


def training(folder: Path, store: Path) -> Command:
    train = {
        "max_steps": 60,
        "batch_size": 4,
        "validate_every_steps": 15,
        "checkpoint_every_steps": 2,
        "log_every_steps": 1,
        "optimizer": {"lr": 1e-3},
        "ema": {"decay": 0.9},
    }
    recipe = {
        "store": str(store),
        "method": "vlci",
        "model": {
            "backbone": {"name": "resnet", "depth": 18, "width": 8, "num_stages": 2},
            "dim": 48,
            "num_heads": 4,
            "hidden_dim": 96,
            "linguistic_hidden_dim": 96,
            "num_encoder_layers": 1,
            "num_decoder_layers": 1,
            "dropout": 0.1,
        },
        "image": {"size_px": 48},
        "vocabulary": {"min_count": 1},
        "loading": {"max_tokens": 60},
        "stages": [
            {
                "name": "report",
                "train": train,
                "validation": {"decoding": {"strategy": {"kind": "greedy"}, "max_tokens": 20}},
            }
        ],
        "decoding": {"strategy": {"kind": "greedy"}, "max_tokens": 40},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return Command(lambda out: ["train", str(path), "--out", str(out), "--threads", "1"], "run")


def drafting(checkpoint: Path, store: Path) -> Command:
    inputs = [str(checkpoint), str(store), "--split", "test", "--batch-size", "2", "--threads", "1"]
    return Command(lambda out: ["generate", *inputs, "--out", str(out / "drafts.jsonl")], "drafts", "exists already")


def test_preparing(store: Path, tmp_path: Path) -> None:
    command = preparing(tmp_path)
    toll = Toll()
    (tmp_path / "calm").mkdir()
    seconds = finish(command, tmp_path / "calm")
    expected = {path.name: path.read_bytes() for path in store.iterdir()}
    assert len(expected) > 25
    for out in kill_at_random(command, tmp_path, seconds, 1, toll):
        assert {path.name: path.read_bytes() for path in out.iterdir()} == expected
    sys.stdout.write(f"{toll}\n")


def test_training(store: Path, checkpoint: Path, tmp_path: Path) -> None:
    command = training(tmp_path, store)
    toll = Toll()
    (tmp_path / "calm").mkdir()
    seconds = finish(command, tmp_path / "calm")
    expected = load_file(checkpoint / "model.safetensors")
    last = load_file(checkpoint.parent / "stages" / "report" / "state.safetensors")
    for out in kill_at_random(command, tmp_path, seconds, 2, toll):
        found = load_file(out / "best" / "model.safetensors")
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        state = load_file(out / "stages" / "report" / "state.safetensors")
        assert state.keys() == last.keys()
        assert all(torch.equal(state[name], last[name]) for name in last)
        assert lines_of(out) == lines_of(checkpoint.parent)
        assert not {path.name for path in out.iterdir()} ^ {path.name for path in checkpoint.parent.iterdir()}
    sys.stdout.write(f"{toll}\n")


def lines_of(run: Path) -> list[dict[str, object]]:
    """The log's lines, without what depends on the clock."""
    text = (run / "stages" / "report" / "metrics.jsonl").read_text(encoding="utf-8")
    clocked = {"studies_per_s", "elapsed_s", "seconds", "time"}
    return [{key: value for key, value in json.loads(line).items() if key not in clocked} for line in text.splitlines()]


def test_drafting(store: Path, checkpoint: Path, tmp_path: Path) -> None:
    command = drafting(checkpoint, store)
    toll = Toll()
    (tmp_path / "calm").mkdir()
    seconds = finish(command, tmp_path / "calm")
    expected = drafts_of(tmp_path / "calm" / "drafts")
    assert len(expected) == 74
    for out in kill_at_random(command, tmp_path, seconds, 3, toll):
        assert [path.name for path in out.iterdir()] == ["drafts.jsonl"]
        found = drafts_of(out)
        assert max(Counter(study_id for study_id, _, _ in found).values()) == 1
        assert [row[:2] for row in found] == [row[:2] for row in expected]
        # A call begins with its own batch: sums of other batches differ in the last bits.
        assert [row[2] for row in found] == pytest.approx([row[2] for row in expected], abs=1e-4)
    sys.stdout.write(f"{toll}\n")


def drafts_of(out: Path) -> list[tuple[str, str, float]]:
    rows = [json.loads(line) for line in (out / "drafts.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(row["study_id"], row["report"], row["score"]) for row in rows]
