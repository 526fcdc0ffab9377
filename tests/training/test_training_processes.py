"""Real processes: two ranks equal one, and a kill at any moment costs nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
import training_toy
from training_toy import train_and_store

CHANGING = {"elapsed_s", "studies_per_s", "seconds"}


def records(run_dir: Path) -> list[dict[str, Any]]:
    lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in CHANGING} for line in lines]


def last_change(run_dir: Path) -> int:
    return max((path.stat().st_mtime_ns for path in run_dir.glob("*.[sj]*")), default=0)


def weights(run_dir: Path, name: str = "final0.pt") -> dict[str, torch.Tensor]:
    return torch.load(run_dir / name, weights_only=True)  # type: ignore[no-any-return]


def alone(run_dir: Path, changes: dict[str, Any], options: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    train_and_store(run_dir, changes, options)


def as_rank(
    rank: int, num_ranks: int, port: int, run_dir: Path, changes: dict[str, Any], options: dict[str, Any]
) -> None:
    """What torchrun would start: one of some ranks."""
    if num_ranks > 1:
        os.environ |= {
            "TORCHELASTIC_RUN_ID": "toy",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "GROUP_RANK": "0",
            "WORLD_SIZE": str(num_ranks),
            "LOCAL_WORLD_SIZE": str(num_ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    alone(run_dir, changes, options)


def run_ranks(
    processes: ForkServerContext,
    run_dir: Path,
    changes: dict[str, Any],
    options: dict[str, Any],
    *,
    num_ranks: int = 2,
    engine: dict[str, Any] | None = None,
    exit_code: int = 0,
) -> None:
    """Train in several processes, all of which must end by themselves, with ``exit_code``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    changes = {**changes, "engine": {"accelerator": "cpu", "processes": num_ranks, **(engine or {})}}
    arguments = (num_ranks, port, run_dir, changes, options)
    ranks = [processes.Process(target=as_rank, args=(rank, *arguments)) for rank in range(num_ranks)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
    stuck = [rank for rank in ranks if rank.exitcode is None]
    for rank in stuck:
        rank.kill()
    assert not stuck
    assert [rank.exitcode for rank in ranks] == [exit_code] * num_ranks


@pytest.mark.parametrize("micro", [3, 8])
def test_two_ranks_equal_one_process(processes: ForkServerContext, tmp_path: Path, micro: int) -> None:
    """With dropout (drawn per micro-batch), parts of the model unused, and ranks with less or nothing to do.

    micro 3: two micro-batches against one; micro 8: rank 1 never has any.
    """
    changes = {"micro_batch_size": micro, "optimizer": {"lr": 0.01, "weight_decay": 0.1}, "ema": {"decay": 0.9}}
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    train_and_store(one, changes, {"dropout": 0.2})
    run_ranks(processes, two, changes, {"dropout": 0.2})
    expected, first, second = weights(one), weights(two), weights(two, "final1.pt")
    fresh = training_toy.ToyObjective().state_dict()
    for name, tensor in expected.items():
        if name == "seen":  # a running statistic: each rank's own between validations
            continue
        torch.testing.assert_close(first[name], tensor, rtol=0, atol=1e-12)
        assert torch.equal(first[name], second[name]), name
        if name.startswith("never"):
            assert torch.equal(first[name], fresh[name])
    for ours, theirs in zip(records(two), records(one), strict=True):
        assert ours["step"] == theirs["step"]
        assert ours.get("terms", ours.get("scores")) == pytest.approx(theirs.get("terms", theirs.get("scores")))
    kept = weights(two, "best.pt")
    torch.testing.assert_close(kept["stem.weight"], weights(one, "best.pt")["stem.weight"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("ema", [pytest.param(None, marks=pytest.mark.slow), {"decay": 0.9}])
def test_a_kill_at_any_moment_costs_nothing(
    processes: ForkServerContext, tmp_path: Path, ema: dict[str, float] | None
) -> None:
    changes = {"epochs": 8, "checkpoint_every_steps": 2, "log_every_steps": 3, "ema": ema, "micro_batch_size": 3}
    options = {"dropout": 0.3, "delay_s": 0.002}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    calm = processes.Process(target=alone, args=(whole, changes, options))
    calm.start()
    calm.join(60)
    assert calm.exitcode == 0
    duration_s = json.loads((whole / "summary.json").read_text(encoding="utf-8"))["elapsed_s"]
    draw = random.Random(3 if ema else 4)
    kills = 0
    for _ in range(12):
        process = processes.Process(target=alone, args=(killed, changes, {**options, "resume": True}))
        before = last_change(killed)
        process.start()
        while process.exitcode is None and last_change(killed) == before:
            time.sleep(0.002)  # until it has started training
        process.join(draw.uniform(0.0, 0.4) * duration_s)
        if process.exitcode == 0:
            break
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    final = processes.Process(target=alone, args=(killed, changes, {**options, "resume": True}))
    final.start()
    final.join(60)
    assert final.exitcode == 0
    assert kills >= 2
    ours, theirs = weights(killed), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert records(killed) == records(whole)
    kept, expected = weights(killed, "best.pt"), weights(whole, "best.pt")
    assert all(torch.equal(kept[name], expected[name]) for name in expected)
    summaries = [json.loads((run / "summary.json").read_text(encoding="utf-8")) for run in (killed, whole)]
    assert {**summaries[0], "elapsed_s": 0} == {**summaries[1], "elapsed_s": 0}


@pytest.mark.parametrize("late", [False, True], ids=["while it runs", "before its first line"])
def test_a_rank_whose_parent_is_gone_ends(tmp_path: Path, late: bool) -> None:
    """Else it would wait for the others until the timeout, which is longer than any validation."""
    started, go, survived = tmp_path / "started", tmp_path / "go", tmp_path / "survived"
    child = (
        "import os, pathlib, sys, time\n"
        "from radwright.training.parent import end_with_parent\n"
        "started, go, survived = map(pathlib.Path, sys.argv[1:4])\n"
        "late = sys.argv[4] == 'True'\n"
        "late or end_with_parent()\n"
        "started.touch()\n"
        "while not go.exists(): time.sleep(0.01)\n"
        "late and end_with_parent()\n"
        "time.sleep(1.5)\n"
        "survived.touch()\n"
    )
    code = (
        "import os, subprocess, sys\n"
        "from radwright.training.parent import named_as_parent\n"
        "with named_as_parent():\n"
        "    subprocess.run(sys.argv[1:], env=os.environ | {'LOCAL_RANK': '1'})\n"
    )
    rank = [sys.executable, "-c", child, str(started), str(go), str(survived), str(late)]
    parent = subprocess.Popen([sys.executable, "-c", code, *rank], stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not started.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    parent.kill()
    parent.wait(timeout=30)
    go.touch()
    parent.communicate(timeout=30)  # the rank holds the other end of the pipe until it ends
    assert not survived.exists()


@pytest.mark.slow
def test_a_program_started_once_becomes_two_processes(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"engine": {"accelerator": "cpu", "processes": 2}}
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    train_and_store(one, {}, {})
    script = Path(training_toy.__file__)
    command = [sys.executable, str(script), str(two), json.dumps(changes), json.dumps({})]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == ""
    torch.testing.assert_close(weights(two)["stem.weight"], weights(one)["stem.weight"], rtol=0, atol=1e-12)
