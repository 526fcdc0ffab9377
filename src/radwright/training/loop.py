"""The training loop: one optimiser step after another over any objective, any source of batches and any validation.

The batches' protocol (met structurally; `Batches` below): one object per rank, made by the composition root with the
rank, the number of ranks, batch_size, micro_batch_size and the seed. Which studies step s of epoch e holds depends on
(seed, e, s) only, never on the number of ranks nor on where a run was resumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from radwright.errors import CheckpointError, OutputError, TrainingError, near
from radwright.training.config import TrainConfig
from radwright.training.engine import Engine
from radwright.training.feeding import Fed, feed
from radwright.training.hooks import Hook, Picture, RunFacts
from radwright.training.optim import Ema, freeze, make_optimizer, train_mode
from radwright.training.signals import StopSignals
from radwright.training.state import Progress, Window, changed_keys, load_state, restore, save_state
from radwright.training.step import Stepper, StepPlan, StepResult, derive_seed
from radwright.types import Batch

STATE_FILE = "state.safetensors"
"""The resumable state inside the run's folder."""
FINAL = ("completed", "early_stopping")
"""Reasons to stop after which there is nothing to resume."""

Validate = Callable[[nn.Module], Mapping[str, float]]
"""Scores of an objective in eval mode (its averaged weights where EMA is on), called on every rank at the same step.

Rank 0's return counts. It may share the studies out with `Engine.gather`, or return {} at once on the other ranks.
"""
Illustrate = Callable[[nn.Module], Sequence[Picture]]
"""Pictures for the log from the objective that was just validated; called on rank 0 while the others wait."""
SaveBest = Callable[[nn.Module, Mapping[str, float]], None]
"""Write the final checkpoint from an objective and its scores; called on rank 0 while the others wait."""


class Batches(Protocol):
    """One rank's share of every epoch's studies."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one epoch; equal for every epoch and rank."""
        ...

    def steps(self, epoch: int, start_step: int = 0) -> Iterator[Sequence[Batch]]:
        """This rank's micro-batches per optimiser step, for steps ``start_step .. steps_per_epoch - 1`` of the epoch.

        Deal a step's micro-batches round robin: micro-batch m of the step goes to rank m % num_ranks (random draws are
        keyed by m, so two ranks then see the dropout that one would). At an epoch's tail a rank may hold fewer than
        another, or none: yield a shorter or an empty list. Tensors stay on the CPU; the loop moves them. The loop
        closes the iterator when it stops early, so a generator can end its workers in ``finally``.
        """
        ...


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended.

    Attributes:
        stopped: ``completed``, ``early_stopping``, ``time_limit`` or ``interrupted``; the last two can be resumed.
        steps: optimiser steps done.
        total_steps: optimiser steps planned.
        epochs: passes over the studies done.
        num_studies: studies seen, with repeats.
        best_step: step of the kept weights; -1 when none were kept.
        best_score: their score; None without validation.
        metric: its name.
        elapsed_s: wall-clock seconds over all resumes.
    """

    stopped: str
    steps: int
    total_steps: int
    epochs: float
    num_studies: int
    best_step: int
    best_score: float | None
    metric: str
    elapsed_s: float

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)


class Trainer:
    """Trains one objective in one run folder."""

    def __init__(
        self,
        config: TrainConfig,
        objective: nn.Module,
        batches: Batches,
        *,
        engine: Engine,
        run_dir: Path,
        validate: Validate | None,
        save_best: SaveBest,
        illustrate: Illustrate | None = None,
        hooks: Sequence[Hook] = (),
        fingerprint: Mapping[str, Any] | None = None,
    ) -> None:
        """Freeze, build the optimiser and wrap the objective; nothing is read or written yet.

        Args:
            config: the stage.
            objective: a `radwright.types.Objective`; it is moved to the engine's device.
            batches: this rank's.
            engine: the processes.
            run_dir: an existing folder; the state goes there.
            validate: scores that choose the kept weights; None keeps the last.
            save_best: writes the final checkpoint.
            illustrate: makes pictures for the hooks after each validation; None: none.
            hooks: listeners; only the main process calls them.
            fingerprint: further plain values that a resumed run must share (data, model, versions).

        Raises:
            ConfigError: a pattern of names matches nothing.
            TrainingError: there is nothing to train on.
        """
        if batches.steps_per_epoch < 1:
            raise TrainingError("there is no study to train on: an epoch has no step")
        self.config = config
        self.objective = objective
        self.total_steps = config.total_steps(batches.steps_per_epoch)
        self._batches = batches
        self._engine = engine
        self._state_path = run_dir / STATE_FILE
        self._run_dir = run_dir
        self._validate = validate
        self._save_best = save_best
        self._illustrate = illustrate
        self._hooks = tuple(hooks) if engine.is_main else ()
        self._interval = config.validation_interval(batches.steps_per_epoch)
        self._fingerprint = {
            "training": config.material(),
            "steps_per_epoch": batches.steps_per_epoch,
            **(fingerprint or {}),
        }
        freeze(objective, config.frozen)
        self._wrapped = engine.wrap(objective)
        updated = engine.weights.named()
        self._optimizer = make_optimizer(objective, config.optimizer, updated)
        self._ema = None if config.ema is None else Ema(objective, config.ema, updated)
        self._weights: dict[str, float] = dict(objective.weights)  # type: ignore[arg-type]
        self._stepper = Stepper(
            engine,
            objective,
            self._wrapped,
            self._optimizer,
            weights=self._weights,
            clip=config.clip,
            seed=config.seed,
        )
        self.progress = Progress()
        self._clock = 0.0
        self._saved_at = 0.0

    def fit(self, *, resume: bool = False) -> Summary:
        """Train to the end, or until stopped.

        Args:
            resume: go on from the saved state in the run folder (from the start where there is none yet).

        Raises:
            OutputError: the folder holds a state and ``resume`` is false, or it cannot be written.
            CheckpointError: the state is damaged, or was made with another config (every changed key is named).
            TrainingError: a loss or gradient is not finite, a score is missing, or the batches run out.
        """
        resumed = self._restore(resume)
        self._clock = self._saved_at = time.monotonic()
        facts = RunFacts(self._run_dir, self.progress.step, self.total_steps, resumed)
        try:
            with StopSignals() as signals:
                for hook in self._hooks:
                    hook.start(facts, self.progress.hooks.get(hook.name, {}))
                if self.progress.stopped not in FINAL:
                    with self._engine.told_of_lost_ranks():
                        self._train(signals)
        finally:
            for hook in self._hooks:
                hook.close()
        progress = self.progress
        return Summary(
            stopped=progress.stopped,
            steps=progress.step,
            total_steps=self.total_steps,
            epochs=progress.step / self._batches.steps_per_epoch,
            num_studies=progress.num_studies,
            best_step=progress.best_step,
            best_score=progress.best_score,
            metric=self.config.selection.metric,
            elapsed_s=progress.elapsed_s,
        )

    def _restore(self, resume: bool) -> bool:
        """Load the saved state where there is one; say whether there was."""
        exists = self._engine.broadcast(self._state_path.exists())
        if exists and not resume:
            raise OutputError(
                f"{self._run_dir}: holds an unfinished or finished run; resume it or choose another folder"
            )
        if not exists:
            return False
        self.progress, then, tensors = load_state(self._state_path)
        changed = changed_keys(then, self._fingerprint)
        if changed:
            raise CheckpointError(
                f"{self._state_path}: was saved by a run with another config, it cannot be continued with this one. "
                f"Changed: {'; '.join(changed)}. Restore these values, or start afresh in another folder"
            )
        restore(tensors, self.objective, self._optimizer, self._ema, self._engine.weights)
        # Rank 0 must not replace the file before the others have read it.
        self._engine.barrier()
        return True

    def _train(self, signals: StopSignals) -> None:
        """Steps and validations until there is a reason to stop."""
        self.progress.stopped = ""
        train_mode(self.objective)
        patience = self.config.selection.patience
        steps = feed(self._micro_batches(), self._engine.device)
        try:
            while not self.progress.stopped:
                step = self.progress.step
                if step and (step % self._interval == 0 or step == self.total_steps) and self._is_unvalidated():
                    self._save()
                    self._run_validation()
                    self._save()
                if patience is not None and self.progress.stale_validations >= patience:
                    self.progress.stopped = "early_stopping"
                elif step == self.total_steps:
                    self.progress.stopped = "completed"
                else:
                    self._one_step(next(steps), signals)
        finally:
            steps.close()
        if self.progress.stopped == "time_limit" and self._is_unvalidated():
            self._save()
            self._run_validation()
        self._save()
        if self.progress.stopped not in FINAL:
            self._say(f"stopped at step {self.progress.step} ({self.progress.stopped}); resume to go on from here")

    def _is_unvalidated(self) -> bool:
        return self.progress.validated_step != self.progress.step

    def _micro_batches(self) -> Generator[Sequence[Batch], None, None]:
        """This rank's micro-batches, step after step from the current one over all epochs."""
        per_epoch = self._batches.steps_per_epoch
        epoch, start = divmod(self.progress.step, per_epoch)
        while True:
            num_steps = 0
            steps = self._batches.steps(epoch, start)
            try:
                for micro_batches in steps:
                    num_steps += 1
                    yield micro_batches
            finally:
                getattr(steps, "close", lambda: None)()
            if num_steps != per_epoch - start:
                raise TrainingError(f"epoch {epoch}: the batches held {num_steps} steps instead of {per_epoch - start}")
            epoch, start = epoch + 1, 0

    def _one_step(self, fed: Fed, signals: StopSignals) -> None:
        """One optimiser step and what follows it, or a reason to stop before it."""
        config, progress = self.config, self.progress
        fetched_s = self._tick()
        limit = config.max_minutes
        time_is_up = limit is not None and progress.elapsed_s >= 60 * limit
        plan = self._stepper.agree(fed.host, (signals.wanted, time_is_up))
        interrupted, time_is_up = plan.wishes
        if interrupted or time_is_up:
            progress.stopped = "interrupted" if interrupted else "time_limit"
            return
        factor = config.schedule.factor(progress.step, self.total_steps)
        result = self._stepper.run(progress.step, fed.device, plan, factor)
        progress.step += 1
        progress.num_studies += plan.num_studies
        if self._ema is not None:
            self._ema.update(progress.step - 1)
        progress.window.seconds += fetched_s + self._tick()
        self._record(plan, result)
        every = config.checkpoint_every_steps
        waited = time.monotonic() - self._saved_at
        if (every is not None and progress.step % every == 0) or waited >= config.checkpoint_every_s:
            self._save()

    def _record(self, plan: StepPlan, result: StepResult) -> None:
        """Add a step to the window; tell the hooks; close the window where a line is due."""
        progress, window = self.progress, self.progress.window
        window.num_studies += plan.num_studies
        for name in self._weights:
            window.sums[name] = window.sums.get(name, 0.0) + result.sums[name]
            window.counts[name] = window.counts.get(name, 0.0) + plan.counts[name]
        speed = window.num_studies / max(window.seconds, 1e-9)
        for hook in self._hooks:
            hook.step(progress.step, self._loss(result.sums, plan.counts), speed, self._remaining_s())
        if progress.step % self.config.log_every_steps and progress.step != self.total_steps:
            return
        record = {
            "step": progress.step,
            "epoch": progress.step / self._batches.steps_per_epoch,
            "loss": self._loss(window.sums, window.counts),
            "terms": {name: window.sums[name] / window.counts[name] for name in self._weights if window.counts[name]},
            "observed": getattr(self.objective, "observed", dict)(),
            "lr": result.learning_rates,
            "grad_norm": result.grad_norm,
            "studies_per_s": speed,
            "elapsed_s": progress.elapsed_s,
        }
        progress.window = Window()
        for hook in self._hooks:
            hook.log(record)

    def _loss(self, sums: Mapping[str, float], counts: Mapping[str, float]) -> float:
        return sum(weight * sums[name] / counts[name] for name, weight in self._weights.items() if counts[name])

    def _remaining_s(self) -> float:
        """Seconds to the last step at the run's mean speed, or to the time limit if that comes first."""
        progress = self.progress
        remaining = progress.elapsed_s / progress.step * (self.total_steps - progress.step)
        limit = self.config.max_minutes
        return remaining if limit is None else min(remaining, 60 * limit - progress.elapsed_s)

    def _run_validation(self) -> None:
        """Score the weights, and keep them when they are better than the best so far."""
        progress, selection = self.progress, self.config.selection
        started = time.monotonic()
        scores: dict[str, float] = {}
        torch.manual_seed(derive_seed(self.config.seed, progress.step, "validation"))
        self._engine.share_buffers(self.objective)
        self.objective.eval()
        with nullcontext() if self._ema is None else self._ema.applied(), self._engine.weights.whole():
            better = True
            if self._validate is not None:
                with torch.no_grad():
                    scores = self._engine.broadcast(dict(self._validate(self.objective)))
                score = self._chosen(scores)
                self._show()
                better = selection.better(score, progress.best_score)
                progress.best_score = score if better else progress.best_score
            if better:
                progress.best_step = progress.step
                if self._engine.is_main:
                    self._save_best(self.objective, scores)
                self._engine.barrier()
        train_mode(self.objective)
        on_schedule = progress.step % self._interval == 0 or progress.step == self.total_steps
        progress.stale_validations = 0 if better else progress.stale_validations + on_schedule
        progress.validated_step = progress.step
        self._tick()
        record = {
            "step": progress.step,
            "epoch": progress.step / self._batches.steps_per_epoch,
            "scores": scores,
            "best": better,
            "seconds": time.monotonic() - started,
        }
        for hook in self._hooks:
            hook.validation(record)

    def _show(self) -> None:
        if self._illustrate is None or not self._engine.is_main:
            return
        for picture in self._illustrate(self.objective):
            for hook in self._hooks:
                hook.picture(self.progress.step, picture)

    def _chosen(self, scores: Mapping[str, float]) -> float:
        metric = self.config.selection.metric
        if metric not in scores:
            raise TrainingError(
                f"selection.metric: validation gives no score {metric!r}{near(metric, scores)}; "
                f"it gives {', '.join(scores) or 'none'}"
            )
        return float(scores[metric])

    def _save(self) -> None:
        """Write the state (the main process does); hooks' records up to now are on disk before it."""
        self._tick()
        main, weights = self._engine.is_main, self._engine.weights
        if main or weights.is_shared:
            self.progress.hooks = {hook.name: hook.memory() for hook in self._hooks}
            state = (self.objective, self._optimizer, self._ema, self.progress, self._fingerprint, weights)
            save_state(self._state_path, *state, write=main)
        self._tick()
        self._saved_at = time.monotonic()

    def _tick(self) -> float:
        """Add the time since the last call to the run's clock; return it in seconds."""
        now = time.monotonic()
        passed, self._clock = now - self._clock, now
        self.progress.elapsed_s += passed
        return passed

    def _say(self, text: str) -> None:
        for hook in self._hooks:
            hook.message(text)
