"""A job that loses a rank ends on all, and goes on with another number of processes: nothing lost, nothing twice."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
from training_toy import NUM_STUDIES, train_and_store

CHANGES: dict[str, Any] = {"epochs": 6, "checkpoint_every_steps": 1, "micro_batch_size": 2}
OPTIONS: dict[str, Any] = {"dropout": 0.2}


def as_rank(
    rank: int, num_ranks: int, port: int, run_dir: Path, changes: dict[str, Any], options: dict[str, Any]
) -> None:
    """What torchrun would start."""
    torch.set_num_threads(1)
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
    train_and_store(run_dir, {**changes, "engine": {"accelerator": "cpu", "processes": num_ranks}}, options)


def start(processes: ForkServerContext, run_dir: Path, num_ranks: int, **options: Any) -> list[Any]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = (num_ranks, port, run_dir, CHANGES, {**OPTIONS, **options})
    ranks = [processes.Process(target=as_rank, args=(rank, *arguments)) for rank in range(num_ranks)]
    for rank in ranks:
        rank.start()
    return ranks


def steps_done(run_dir: Path) -> int:
    """Steps of the newest complete state."""
    from radwright.training.state import load_state

    state = next(iter(run_dir.glob("*.safetensors")), None)
    return 0 if state is None else load_state(state)[0].step


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(run_dir / "final0.pt", weights_only=True)
    return {name: tensor for name, tensor in found.items() if name != "seen"}  # a statistic of each rank's own


def ended(ranks: list[Any], *, within_s: float) -> list[int]:
    """Exit codes; fails where one does not end by itself."""
    until = time.monotonic() + within_s
    for rank in ranks:
        rank.join(max(0.0, until - time.monotonic()))
    stuck = [rank for rank in ranks if rank.exitcode is None]
    for rank in stuck:
        rank.kill()
    assert not stuck, f"{len(stuck)} of {len(ranks)} processes did not end"
    return [rank.exitcode for rank in ranks]


@pytest.mark.slow
def test_a_rank_is_killed_and_the_job_goes_on_with_other_numbers_of_processes(
    processes: ForkServerContext, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    assert ended(start(processes, whole, 1), within_s=120) == [0]
    killed = 0
    # 2 processes, then 1, then 3, then 2 to the end; each but the last loses one rank in the middle of an epoch.
    for num_ranks, victim in ((2, 1), (1, 0), (3, 0), (2, None)):
        before = steps_done(broken)
        ranks = start(processes, broken, num_ranks, resume=before > 0, delay_s=0.0 if victim is None else 0.03)
        if victim is None:
            assert ended(ranks, within_s=120) == [0] * num_ranks
            break
        until = time.monotonic() + 120
        while steps_done(broken) < before + 4:
            assert time.monotonic() < until, "it never got on"
            assert all(rank.exitcode is None for rank in ranks), "it ended before it was killed"
            time.sleep(0.005)
        ranks[victim].kill()
        # Far below the timeout of the collectives: the others see that the connection is gone.
        codes = ended(ranks, within_s=60)
        assert codes[victim] == -signal.SIGKILL
        assert all(code != 0 for code in codes)
        killed += 1
    assert killed == 3
    ours, theirs = weights(broken), weights(whole)
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-10)
    summaries = [json.loads((run / "summary.json").read_text(encoding="utf-8")) for run in (broken, whole)]
    assert summaries[0]["num_studies"] == summaries[1]["num_studies"] == CHANGES["epochs"] * NUM_STUDIES
    assert summaries[0]["steps"] == summaries[1]["steps"]
