"""Faults while training: a batch that is NaN, a store that fails, a full disk. A clear error; what is saved goes on."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import training_toy
from torch import Tensor
from training_toy import ToyBatches, ToyObjective, batch_of, configure, train

from radwright.errors import OutputError, StoreError, TrainingError
from radwright.training.hooks import RunFacts, TensorBoardHook
from radwright.training.loop import STATE_FILE
from radwright.training.state import load_state
from radwright.types import Batch

CHANGES: dict[str, Any] = {"checkpoint_every_steps": 1, "ema": {"decay": 0.9}}


class Poisoned(ToyObjective):
    """NaN for one study, once it is in its second epoch."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        sums = super().forward(batch)
        if self.training and self.seen > training_toy.NUM_STUDIES and "s13" in batch.study_ids:
            sums["words"] = sums["words"] * float("nan")
        return sums


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train(folder, configure(**CHANGES), dropout=0.3)
    return folder


def assert_same(ours: Path, whole: Path) -> None:
    """Weights, averages and moments to the bit, kept weights too, and every line of the log once."""
    found, expected = (load_state(folder / STATE_FILE)[2] for folder in (ours, whole))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    kept, best = (torch.load(folder / "best.pt", weights_only=True) for folder in (ours, whole))
    assert all(torch.equal(kept[name], best[name]) for name in best)
    told, lines = (
        [
            [line[key] for key in ("kind", "step", "terms", "scores") if key in line]
            for line in map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        ]
        for folder in (ours, whole)
    )
    assert told == lines


def test_after_a_nan_batch_the_saved_state_goes_on(tmp_path: Path, whole: Path) -> None:
    batches = ToyBatches(8, 4)
    guilty = next(step for step in range(3) if 13 in batches.numbers(1, step))
    step = batches.steps_per_epoch + guilty
    with pytest.raises(TrainingError, match=rf"step {step + 1}: the loss \(words\) is not finite.*\bs13\b"):
        train(tmp_path, configure(**CHANGES), objective=Poisoned(dropout=0.3))
    progress, _, tensors = load_state(tmp_path / STATE_FILE)
    assert progress.step == step
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
    train(tmp_path, configure(**CHANGES), dropout=0.3, resume=True)
    assert_same(tmp_path, whole)


def test_after_a_store_that_fails_the_saved_state_goes_on(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def failing(numbers: Sequence[int]) -> Batch:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise StoreError("shard-00003.arrow: is damaged")
        return batch_of(numbers)

    monkeypatch.setattr(training_toy, "batch_of", failing)
    with pytest.raises(StoreError, match="shard-00003"):
        train(tmp_path, configure(**CHANGES), dropout=0.3)
    assert load_state(tmp_path / STATE_FILE)[0].step > 0
    train(tmp_path, configure(**CHANGES), dropout=0.3, resume=True)
    assert_same(tmp_path, whole)


def test_a_full_disk_at_any_moment(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the n-th fsync for every n, then go on without failures."""
    real = os.fsync
    for number in range(1, 100):
        calls, folder = 0, tmp_path / str(number)
        folder.mkdir()

        def failing(descriptor: int) -> None:
            nonlocal calls
            calls += 1
            if calls == number:  # noqa: B023
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", failing)
        try:
            train(folder, configure(**CHANGES), dropout=0.3)
            break
        except OutputError as error:
            message = str(error)
        assert "cannot be written: no space is left; free some and run the same command again" in message
        monkeypatch.setattr(os, "fsync", real)
        train(folder, configure(**CHANGES), dropout=0.3, resume=True)
        assert_same(folder, whole)
    assert number > 15


@contextmanager
def files_end_at(num_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("num_bytes", "file"), [(10, "metrics.jsonl"), (500, "metrics.jsonl"), (2000, STATE_FILE)], ids=str
)
def test_a_file_that_cannot_grow(num_bytes: int, file: str, tmp_path: Path, whole: Path) -> None:
    """Really, whichever file meets the limit first; closing the log hides nothing."""
    changes = CHANGES | {"checkpoint_every_steps": 1 if file == STATE_FILE else None}
    with files_end_at(num_bytes), pytest.raises(OutputError, match=rf"{file}: .*cannot be written: .*ulimit"):
        train(tmp_path, configure(**changes), dropout=0.3)
    train(tmp_path, configure(**changes), dropout=0.3, resume=True)
    assert_same(tmp_path, whole)


def test_points_for_tensorboard_that_find_no_room(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    hook = TensorBoardHook(tmp_path / "file" / "tensorboard")
    with pytest.raises(OutputError, match=r"tensorboard: cannot be written: a file stands where a folder is needed"):
        hook.start(RunFacts(tmp_path, 0, 10, False), {})
    hook.close()

    class Full:
        """Stands in for tensorboard's writer, whose thread would tell its troubles to standard error as well."""

        def add_scalar(self, *_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        flush = close = add_scalar

    hook._writer = Full()
    calls = (lambda: hook.log({"step": 1, "loss": 1.0}), lambda: hook.validation({"step": 1, "scores": {"fit": 1.0}}))
    for call in (*calls, hook.memory, hook.close):
        with pytest.raises(OutputError, match="tensorboard: cannot be written: no space is left"):
            call()
