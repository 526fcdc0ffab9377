"""The loop: what is kept, when it stops, and that a resumed run is the uninterrupted one."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_toy import InterruptAt, ToyBatches, ToyObjective, batch_of, configure, train

from radwright.errors import CheckpointError, OutputError, TrainingError
from radwright.training.config import SelectionConfig
from radwright.training.engine import Engine
from radwright.training.loop import Trainer
from radwright.types import Batch

CHANGING = {"elapsed_s", "studies_per_s", "seconds"}
"""Keys of a record that hold wall-clock time."""


def records(run_dir: Path) -> list[dict[str, Any]]:
    lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in CHANGING} for line in lines]


class Scores:
    """A validation that returns the given scores one after another."""

    def __init__(self, *scores: float) -> None:
        self.scores = iter(scores)

    def __call__(self, objective: nn.Module) -> dict[str, float]:
        assert not objective.training
        return {"fit": next(self.scores)}


def test_lines_hold_the_exact_losses_and_validations(tmp_path: Path) -> None:
    config = configure(micro_batch_size=8, log_every_steps=2, schedule={"name": "constant"})
    train(tmp_path, config)
    lines = records(tmp_path)
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("train", 2),
        ("validation", 3),
        ("train", 4),
        ("train", 6),
        ("validation", 6),
    ]
    toy, batches = ToyObjective(), ToyBatches(8, 8)
    batch = batch_of(batches.numbers(0, 0))
    first = {name: total.item() for name, total in toy(batch).items()}
    folder = tmp_path / "one"
    folder.mkdir()
    train(folder, configure(micro_batch_size=4, max_steps=1))
    line = records(folder)[0]
    assert line["terms"]["words"] == pytest.approx(first["words"] / toy.counts(batch)["words"], rel=1e-12)
    assert line["loss"] == pytest.approx(line["terms"]["words"] + 0.3 * line["terms"]["images"], rel=1e-12)
    assert line["epoch"] == pytest.approx(1 / 3)
    assert line["lr"] == {"all": pytest.approx(0.01)}


@pytest.mark.parametrize("options", [{}, {"ema": {"decay": 0.9}, "log_every_steps": 4, "checkpoint_every_steps": 1}])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, options: dict[str, Any], number: signal.Signals
) -> None:
    config = configure(**options)
    folders = [tmp_path / "whole", tmp_path / "parts"]
    for folder in folders:
        folder.mkdir()
    whole, expected = train(folders[0], config, dropout=0.3)
    for at in (2, 3, 5):
        _, summary = train(folders[1], config, dropout=0.3, resume=True, hooks=[InterruptAt(at, number)])
        assert (summary.stopped, summary.steps) == ("interrupted", at)
    parts, summary = train(folders[1], config, dropout=0.3, resume=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name
    assert records(folders[0]) == records(folders[1])
    assert (summary.stopped, summary.best_score, summary.best_step) == (
        "completed",
        expected.best_score,
        expected.best_step,
    )
    kept = [torch.load(folder / "best.pt", weights_only=True) for folder in folders]
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[0])


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    _, first = train(tmp_path, configure())
    before = (tmp_path / "state.safetensors").read_bytes()
    _, again = train(tmp_path, configure(), resume=True, validate=Scores())
    assert replace(again, elapsed_s=0.0) == replace(first, elapsed_s=0.0)
    assert (tmp_path / "state.safetensors").read_bytes() == before
    with pytest.raises(OutputError, match="holds an unfinished or finished run"):
        train(tmp_path, configure())


def test_a_resume_with_another_config_is_refused_by_name(tmp_path: Path) -> None:
    train(tmp_path, configure(), hooks=[InterruptAt(2, signal.SIGTERM)])
    changed = configure(optimizer={"lr": 0.02, "amsgrad": True}, batch_size=11, max_minutes=60, log_every_steps=3)
    with pytest.raises(CheckpointError) as caught:
        train(tmp_path, changed, resume=True)
    message = str(caught.value)
    assert "training.optimizer.lr: 0.01 -> 0.02" in message
    assert "training.batch_size: 8 -> 11" in message
    assert "steps_per_epoch: 3 -> 2" in message
    assert "max_minutes" not in message
    assert "log_every" not in message


def test_a_log_that_was_cut_behind_the_states_back_is_refused(tmp_path: Path) -> None:
    train(tmp_path, configure(), hooks=[InterruptAt(2, signal.SIGTERM)])
    (tmp_path / "metrics.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(CheckpointError, match="it was changed since"):
        train(tmp_path, configure(), resume=True)


def test_the_best_weights_are_kept_and_waiting_ends(tmp_path: Path) -> None:
    config = configure(epochs=9, selection={"metric": "fit", "patience": 2})
    _, summary = train(tmp_path, config, validate=Scores(1.0, 3.0, 2.0, 3.0))
    assert (summary.stopped, summary.best_score, summary.best_step, summary.steps) == ("early_stopping", 3.0, 6, 12)
    assert [line["best"] for line in records(tmp_path) if line["kind"] == "validation"] == [True, True, False, False]
    folder = tmp_path / "six_steps"
    folder.mkdir()
    reference, _ = train(folder, configure(epochs=9, max_steps=6, schedule={"name": "constant"}))
    folder = tmp_path / "nine_epochs"
    folder.mkdir()
    config = configure(epochs=9, selection={"metric": "fit"}, schedule={"name": "constant"})
    train(folder, config, validate=Scores(1, 3, *[0.0] * 7))
    kept = torch.load(folder / "best.pt", weights_only=True)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in reference.state_dict().items())


@pytest.mark.parametrize(
    ("mode", "score", "best", "better"),
    [
        ("max", 2.0, 1.0, True),
        ("max", 1.05, 1.0, False),
        ("min", 0.8, 1.0, True),
        ("min", 1.2, 1.0, False),
        ("max", float("nan"), 1.0, False),
        ("max", 0.0, float("nan"), True),
        ("max", float("nan"), float("nan"), False),
        ("max", float("nan"), None, True),
    ],
)
def test_what_counts_as_better(mode: str, score: float, best: float | None, better: bool) -> None:
    config = SelectionConfig.parse({"mode": mode, "min_delta": 0.1}, where="recipe")
    assert config.better(score, best) is better


def test_a_score_that_validation_does_not_give_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no score 'fitt' .*'fit'"):
        train(tmp_path, configure(selection={"metric": "fitt"}))


def test_without_validation_the_last_weights_are_kept(tmp_path: Path) -> None:
    toy, summary = train(tmp_path, configure(), validate=None)
    kept = torch.load(tmp_path / "best.pt", weights_only=True)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in toy.state_dict().items())
    assert (summary.best_step, summary.best_score) == (6, None)


def test_validation_and_the_kept_weights_use_the_average(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    def validate(objective: nn.Module) -> dict[str, float]:
        seen.append(objective.get_parameter("stem.weight").detach().clone())
        return {"fit": 1.0}

    config = configure(ema={"decay": 0.5, "warmup": False}, max_steps=1, schedule={"name": "constant"})
    toy, _ = train(tmp_path, config, validate=validate)
    expected = 0.5 * ToyObjective().stem.weight.detach() + 0.5 * toy.stem.weight.detach()
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=1e-14)
    assert torch.equal(torch.load(tmp_path / "best.pt", weights_only=True)["stem.weight"], seen[0])


def test_the_time_limit_stops_at_a_step_validates_and_can_be_lengthened(tmp_path: Path) -> None:
    config = configure(epochs=50, max_minutes=0.005, validate_every_epochs=50)
    _, summary = train(tmp_path, config, delay_s=0.01)
    assert summary.stopped == "time_limit"
    assert 0 < summary.steps < 150
    assert summary.best_step == summary.steps
    assert (tmp_path / "best.pt").exists()
    steps = summary.steps
    _, summary = train(tmp_path, config, resume=True)
    assert (summary.stopped, summary.steps) == ("time_limit", steps)
    _, summary = train(tmp_path, configure(epochs=50, max_minutes=5, validate_every_epochs=50), resume=True)
    assert (summary.stopped, summary.steps) == ("completed", 150)
    folder = tmp_path / "whole"
    folder.mkdir()
    _, whole = train(folder, configure(epochs=50, validate_every_epochs=50))
    train_lines = [[line for line in records(run) if line["kind"] == "train"] for run in (tmp_path, folder)]
    assert train_lines[0] == train_lines[1]
    assert whole.steps == 150


def test_frozen_weights_do_not_move(tmp_path: Path) -> None:
    toy, _ = train(tmp_path, configure(frozen=["stem"]))
    assert torch.equal(toy.stem.weight, ToyObjective().stem.weight)
    assert not torch.equal(toy.head.weight, ToyObjective().head.weight)


class ShortBatches(ToyBatches):
    def steps(self, epoch: int, start_step: int = 0) -> Iterator[list[Batch]]:
        yield from list(super().steps(epoch, start_step))[:-1]


class FirstStepLost(ToyBatches):
    """Every study of each epoch's first step could not be loaded."""

    def steps(self, epoch: int, start_step: int = 0) -> Iterator[list[Batch]]:
        for step, micro_batches in enumerate(super().steps(epoch, start_step), start=start_step):
            yield micro_batches if step else []


class NoBatches(ToyBatches):
    def __init__(self) -> None:
        super().__init__(8, 8)
        self.steps_per_epoch = 0


def trainer(batches: ToyBatches, run_dir: Path) -> Trainer:
    def keep(objective: nn.Module, scores: Mapping[str, float]) -> None:
        pass

    config = configure()
    return Trainer(
        config, ToyObjective(), batches, engine=Engine(config.engine), run_dir=run_dir, validate=None, save_best=keep
    )


def test_a_step_without_a_study_changes_nothing(tmp_path: Path) -> None:
    config = configure(max_steps=1)
    lost = Trainer(
        config,
        toy := ToyObjective(),
        FirstStepLost(8, 8),
        engine=Engine(config.engine),
        run_dir=tmp_path,
        validate=None,
        save_best=lambda objective, scores: None,
    )
    assert lost.fit().num_studies == 0
    assert all(torch.equal(tensor, ToyObjective().state_dict()[name]) for name, tensor in toy.state_dict().items())


def test_batches_that_break_their_word_are_refused_and_closed(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="held 2 steps instead of 3"):
        trainer(ShortBatches(8, 8), tmp_path).fit()
    with pytest.raises(TrainingError, match="no study to train on"):
        trainer(NoBatches(), tmp_path)
    batches = ToyBatches(8, 8)
    folder = tmp_path / "closed"
    folder.mkdir()
    trainer(batches, folder).fit()
    assert batches.closed == 2
