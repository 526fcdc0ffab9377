"""What listens to a run: metrics.jsonl, TensorBoard, and the progress line. Only the main process has hooks.

A hook's `memory` travels in the saved state and comes back at a resume, so that no record is lost or written twice.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from radwright.data.files import output_errors, why_not_written
from radwright.errors import CheckpointError, MissingExtraError, OutputError


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known when a run starts or goes on.

    Attributes:
        run_dir: the run's folder.
        step: optimiser steps done already; 0 for a fresh run.
        total_steps: optimiser steps of the whole stage.
        resumed: whether a saved state was loaded.
    """

    run_dir: Path
    step: int
    total_steps: int
    resumed: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """Something to look at in the log.

    Attributes:
        name: what it shows; becomes a part of a file name.
        pixels: uint8 (height, width) gray, or (height, width, 3) RGB.
    """

    name: str
    pixels: Any


class Hook:
    """A listener; every method may be left as it is. Its name (default: the class's) keys its memory."""

    name = ""

    def __init_subclass__(cls) -> None:
        if "name" not in cls.__dict__:
            cls.name = cls.__name__

    def start(self, facts: RunFacts, memory: Mapping[str, Any]) -> None:
        """The run begins or goes on; ``memory`` is what `memory` returned when the state was saved, else empty."""

    def step(self, step: int, loss: float, studies_per_s: float, remaining_s: float) -> None:
        """An optimiser step is done: its number (from 1), its loss, the speed, and the seconds left."""

    def log(self, record: Mapping[str, Any]) -> None:
        """A line's worth of averages since the last one (the keys of metrics.jsonl)."""

    def validation(self, record: Mapping[str, Any]) -> None:
        """Scores of a validation: step, epoch, scores, best (whether these weights are kept), seconds."""

    def picture(self, step: int, picture: Picture) -> None:
        """Something a person should look at, after the validation at ``step``."""

    def message(self, text: str) -> None:
        """Something a person should read."""

    def memory(self) -> dict[str, Any]:
        """What to give back to `start` after a resume (plain JSON values); first bring all records to disk."""
        return {}

    def close(self) -> None:
        """The run is over, or failed."""


class JsonlHook(Hook):
    """``metrics.jsonl``: a JSON object per logged step and per validation, told apart by ``kind``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def start(self, facts: RunFacts, memory: Mapping[str, Any]) -> None:
        """Open the file and cut off what was written after the state that is resumed.

        Raises:
            CheckpointError: the file is shorter than the state remembers.
            OutputError: it cannot be written.
        """
        position = int(memory.get("position", 0))
        try:
            # Unbuffered: a buffer would be flushed once more on closing, and hide why a full disk stopped the run.
            self._file = self.path.open("r+b" if self.path.exists() else "w+b", buffering=0)
            size = self._file.seek(0, os.SEEK_END)
            if size < position:
                raise CheckpointError(
                    f"{self.path}: holds {size} bytes, the saved state remembers {position}: it was changed since"
                )
            self._file.truncate(position)
            self._file.seek(position)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {why_not_written(error)}") from error

    def log(self, record: Mapping[str, Any]) -> None:
        """Append a line."""
        self._write({"kind": "train", **record})

    def validation(self, record: Mapping[str, Any]) -> None:
        """Append a line."""
        self._write({"kind": "validation", **record})

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        line = json.dumps(_strict(record), allow_nan=False).encode() + b"\n"
        with output_errors(self.path):
            while line:
                line = line[self._file.write(line) :]

    def memory(self) -> dict[str, Any]:
        """The file's length, after forcing it to disk.

        Raises:
            OutputError: it cannot be.
        """
        if self._file is None:
            return {}
        with output_errors(self.path):
            os.fsync(self._file.fileno())
        return {"position": self._file.tell()}

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class TensorBoardHook(Hook):
    """Scalars for TensorBoard: ``train/...``, ``lr/...`` and ``validation/...`` over optimiser steps."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._writer: Any = None

    def start(self, facts: RunFacts, memory: Mapping[str, Any]) -> None:
        """Open a new event file; points after the resumed step are hidden.

        Raises:
            MissingExtraError: tensorboard is not installed.
            OutputError: the file cannot be written; so for all that follows.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError(
                'this needs tensorboard, which is not installed: pip install "radwright[train]"'
            ) from error
        purge = facts.step + 1 if facts.resumed else None
        with output_errors(self.directory):
            self._writer = SummaryWriter(str(self.directory), purge_step=purge)

    def log(self, record: Mapping[str, Any]) -> None:
        """Write the numbers of a training line."""
        groups = {"train": {**record, **record.get("terms", {})}, "lr": record.get("lr", {})}
        groups["observed"] = record.get("observed", {})
        for group, values in groups.items():
            for name, value in values.items():
                if isinstance(value, int | float) and name not in {"step", "epoch"}:
                    with output_errors(self.directory):
                        self._writer.add_scalar(f"{group}/{name}", value, record["step"])

    def validation(self, record: Mapping[str, Any]) -> None:
        """Write the scores."""
        for name, value in record["scores"].items():
            with output_errors(self.directory):
                self._writer.add_scalar(f"validation/{name}", value, record["step"])

    def picture(self, step: int, picture: Picture) -> None:
        """Show it under ``pictures/``."""
        layout = "HW" if picture.pixels.ndim == 2 else "HWC"
        with output_errors(self.directory):
            self._writer.add_image(f"pictures/{picture.name}", picture.pixels, step, dataformats=layout)

    def memory(self) -> dict[str, Any]:
        """Nothing, after flushing."""
        if self._writer is not None:
            with output_errors(self.directory):
                self._writer.flush()
        return {}

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            with output_errors(self.directory):
                self._writer.close()
            self._writer = None


class PictureHook(Hook):
    """``pictures/step-000100-<name>.png``; a resumed run writes the same names again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def picture(self, step: int, picture: Picture) -> None:
        """Write one file.

        Raises:
            OutputError: it cannot be written.
        """
        path = self.directory / f"step-{step:06d}-{picture.name}.png"
        try:
            self.directory.mkdir(exist_ok=True)
            Image.fromarray(picture.pixels).save(path)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {why_not_written(error)}") from error


class ProgressHook(Hook):
    """A progress line on a terminal (loss, studies/s, time left); plain lines now and then where there is none."""

    def __init__(self, console: Console | None = None, plain_every_s: float = 30.0) -> None:
        """Write to ``console`` (default: standard error).

        Args:
            console: a rich console; whether it is a terminal decides the form.
            plain_every_s: seconds between plain lines.
        """
        self._console = console or Console(stderr=True)
        self._plain_every_s = plain_every_s
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._total = 0
        self._printed_at = 0.0

    def start(self, facts: RunFacts, memory: Mapping[str, Any]) -> None:
        """Draw the line."""
        self._total = facts.total_steps
        self._printed_at = time.monotonic()
        if facts.resumed:
            self.message(f"resumed at step {facts.step} of {facts.total_steps}")
        if not self._console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._task = self._bar.add_task("", total=facts.total_steps, completed=facts.step, numbers="")
        self._bar.start()

    def step(self, step: int, loss: float, studies_per_s: float, remaining_s: float) -> None:
        """Move the line on."""
        now = time.monotonic()
        numbers = f"loss {loss:.4g}  {studies_per_s:.3g} studies/s  {clock(remaining_s)} left"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, numbers=numbers)
        elif now - self._printed_at >= self._plain_every_s or step == self._total:
            self._printed_at = now
            self.message(f"step {step}/{self._total}  {numbers}")

    def validation(self, record: Mapping[str, Any]) -> None:
        """Say the scores."""
        scores = "  ".join(f"{name} {value:.4g}" for name, value in record["scores"].items())
        kept = "  (best so far, kept)" if record["best"] else ""
        self.message(f"validation at step {record['step']}: {scores}{kept}")

    def message(self, text: str) -> None:
        """Write a line of plain text."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the line as it stands."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _strict(value: Any) -> Any:
    """The value with null for numbers that JSON does not know (NaN, infinity)."""
    if isinstance(value, Mapping):
        return {key: _strict(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def clock(seconds: float) -> str:
    """``h:mm:ss`` or ``m:ss``; ``-:--`` when unknown (NaN or infinite)."""
    if not 0 <= seconds < float("inf"):
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
