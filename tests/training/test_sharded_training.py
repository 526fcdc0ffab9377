"""Weights shared out over processes (FSDP2): the steps, the files and the errors of one process."""

from __future__ import annotations

from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
import training_toy
from test_training_processes import records, run_ranks, weights
from training_toy import train_and_store

SHARED = {"sharding": "full"}


@pytest.mark.parametrize(
    ("micro", "changes"),
    [
        (3, {"optimizer": {"lr": 0.01, "weight_decay": 0.1}, "ema": {"decay": 0.9}}),
        (8, {"optimizer": {"lr": 0.01, "amsgrad": True}, "clip": {"value": 0.02}}),
    ],
)
def test_shared_weights_equal_one_process(
    processes: ForkServerContext, tmp_path: Path, micro: int, changes: dict[str, Any]
) -> None:
    """With dropout, averages, clipping by norm and by value, weights that few studies use or none, a rank without any
    (micro 8), a scalar, which cannot be cut, and a weight that lies in two layers."""
    changes = {**changes, "micro_batch_size": micro}
    options = {"dropout": 0.2, "scalar": True, "tied": True}
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    train_and_store(one, changes, options)
    run_ranks(processes, two, changes, options, engine=SHARED)
    expected, first, second = weights(one), weights(two), weights(two, "final1.pt")
    fresh = training_toy.ToyObjective(scalar=True, tied=True).state_dict()
    for name, tensor in expected.items():
        if name == "seen":  # a running statistic: each rank's own between validations
            continue
        torch.testing.assert_close(first[name], tensor, rtol=0, atol=1e-12)
        assert torch.equal(first[name], second[name]), name
        assert torch.equal(first["tied.weight"], first["embedding.weight"])
        if name.startswith("never"):
            assert torch.equal(first[name], fresh[name])
    for ours, theirs in zip(records(two), records(one), strict=True):
        assert ours["step"] == theirs["step"]
        assert ours.get("terms", ours.get("scores")) == pytest.approx(theirs.get("terms", theirs.get("scores")))
        assert ours.get("grad_norm") == pytest.approx(theirs.get("grad_norm"))
    kept = weights(two, "best.pt")
    torch.testing.assert_close(kept["stem.weight"], weights(one, "best.pt")["stem.weight"], rtol=0, atol=1e-12)


def test_stopped_in_one_way_and_resumed_in_another(processes: ForkServerContext, tmp_path: Path) -> None:
    """One process, shared weights of two, whole weights of two, shared ones of three: one undisturbed run."""
    changes = {"micro_batch_size": 2, "ema": {"decay": 0.9}, "epochs": 4}
    options = {"dropout": 0.2, "scalar": True, "tied": True, "resume": True}
    whole, moved = tmp_path / "whole", tmp_path / "moved"
    whole.mkdir()
    moved.mkdir()
    train_and_store(whole, changes, options)
    for stop, num_ranks, engine in ((2, 1, {}), (5, 2, SHARED), (8, 2, {}), (None, 3, SHARED)):
        stopping = {**options, **({} if stop is None else {"interrupt_at": stop})}
        run_ranks(processes, moved, changes, stopping, num_ranks=num_ranks, engine=engine)
    for name, tensor in weights(whole).items():
        if name != "seen":
            torch.testing.assert_close(weights(moved)[name], tensor, rtol=0, atol=1e-12)
    kept, expected = weights(moved, "best.pt"), weights(whole, "best.pt")
    torch.testing.assert_close(kept["stem.weight"], expected["stem.weight"], rtol=0, atol=1e-12)


def test_a_loss_that_is_not_finite_ends_all_ranks(processes: ForkServerContext, tmp_path: Path) -> None:
    run_ranks(processes, tmp_path, {}, {"poison": 3}, engine=SHARED, exit_code=1)
    assert not (tmp_path / "final0.pt").exists()


def test_weights_of_two_precisions_are_refused(processes: ForkServerContext, tmp_path: Path) -> None:
    run_ranks(processes, tmp_path, {}, {"mixed": True}, engine=SHARED, exit_code=1)


def test_a_frozen_part_of_another_precision_is_no_hindrance(processes: ForkServerContext, tmp_path: Path) -> None:
    """As a language model in bfloat16 under adapters in float32."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    changes, options = {"frozen": ["other", "embedding"]}, {"mixed": True}
    train_and_store(one, changes, options)
    run_ranks(processes, two, changes, options, engine=SHARED)
    for name, tensor in weights(one).items():
        if name != "seen":
            torch.testing.assert_close(weights(two)[name], tensor, rtol=0, atol=1e-12)
