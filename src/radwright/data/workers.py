"""Loading and checking studies, in this process or in several, with the outcomes in the order of the tasks."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import threading
import zipfile
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Any, Protocol

from radwright.data.reports import Target, report_text
from radwright.data.sources.base import Source, StudyReference
from radwright.data.store import study_row
from radwright.errors import ImageError, SourceError, StudyError
from radwright.imaging.config import ImageConfig
from radwright.imaging.decode import decode, png_bytes, probe
from radwright.imaging.positions import SEEN_AT, image_position
from radwright.text.cleaning import is_empty_report
from radwright.types import ImageInMemory, Split, Study, View

_CHUNK = 4
_CHUNKS_AHEAD = 3
"""Per process: how far loading runs ahead of writing, and with it the memory that waiting images take."""


class CheckingConfig(Protocol):
    """What loading and checking needs to know of ``PrepareConfig``."""

    @property
    def target(self) -> Target: ...  # noqa: D102

    @property
    def keep_without_report(self) -> bool: ...  # noqa: D102

    @property
    def keep_without_image(self) -> bool: ...  # noqa: D102

    @property
    def image(self) -> ImageConfig: ...  # noqa: D102

    @property
    def workers(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Task:
    """One reference, the split it gets, and why it is refused before it is loaded (kind and reason, empty if not)."""

    reference: StudyReference
    split: Split
    refusal_kind: str = ""
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A study's row for the store, or (row None) the kind of reason and the reason why it is left out."""

    study_id: str
    row: dict[str, Any] | None = None
    kind: str = ""
    reason: str = ""


def run_tasks(source: Source, tasks: Sequence[Task], config: CheckingConfig) -> Generator[Outcome, None, None]:
    """Outcomes of all tasks, in order; close the iterator to stop early.

    Raises:
        SourceError: a worker process died (out of memory, killed).
    """
    if config.workers == 1 or len(tasks) <= _CHUNK:
        worker = Worker(source, config)
        for task in tasks:
            yield worker.outcome(task)
        return
    chunks = deque(list(tasks[start : start + _CHUNK]) for start in range(0, len(tasks), _CHUNK))
    # Spawned, not forked: the parent may hold threads (a progress bar) and locks.
    pool = ProcessPoolExecutor(
        min(config.workers, len(chunks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(source, config),
    )
    try:
        running: deque[Future[list[Outcome]]] = deque()
        while chunks or running:
            while chunks and len(running) < config.workers * _CHUNKS_AHEAD:
                running.append(pool.submit(_run_chunk, chunks.popleft()))
            yield from running.popleft().result()
    except BrokenProcessPool as error:
        raise SourceError(
            "a worker process died, most likely out of memory; run the same command again with fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Worker:
    """Turns a task into an outcome."""

    def __init__(self, source: Source, config: CheckingConfig) -> None:
        self.source = source
        self.config = config

    def outcome(self, task: Task) -> Outcome:
        """Load, check, read. Whatever is wrong with one study becomes its reason."""
        study_id = task.reference.study_id
        if task.refusal:
            return Outcome(study_id, None, task.refusal_kind, task.refusal)
        try:
            study = replace(self.source.load(task.reference), split=task.split)
            kind, lacking = self._lacking(study)
            if kind:
                return Outcome(study_id, None, kind, f"study {study_id}: {lacking}")
            checked = [self._checked(view) for view in study.views]
            # What the dataset says of a study goes before what its files say.
            extra = _together(facts for _, facts in checked) | dict(study.extra)
            return Outcome(study_id, study_row(replace(study, views=tuple(view for view, _ in checked), extra=extra)))
        except ImageError as error:
            return Outcome(study_id, None, "image", str(error))
        except StudyError as error:
            return Outcome(study_id, None, "study", str(error))

    def _lacking(self, study: Study) -> tuple[str, str]:
        """Kind of reason and reason why a study of one half, or of none, is left out; empty texts if it is not."""
        target = self.config.target
        silent = is_empty_report(report_text(study, target))
        if not study.views and (silent or not self.config.keep_without_image):
            left_out = study.extra.get("views_left_out", ())
            bad = f" that is not known_bad in manifest.csv (left out: {', '.join(left_out)})" if left_out else ""
            kept = self.config.keep_without_image
            return "no image", f"has no image{bad}" + (f", and no {target} either" if kept else "")
        if not silent or self.config.keep_without_report:
            return "", ""
        if not any(section in study.sections for section in target.split("+")):
            return "no report", f"has no report (the dataset gives no {target} for it)"
        return "empty report", f"its {target} is empty or holds nothing but gaps (XXXX)"

    def _checked(self, view: View) -> tuple[View, dict[str, str]]:
        """The view with its bytes read and decoded once, and the facts in its file; DICOM becomes a PNG of its pixels.

        Raises:
            ImageError: the bytes cannot be had or decoded.
        """
        name, limits = view.image.name, self.config.image
        try:
            data = view.image.read()
        except FileNotFoundError as error:
            raise ImageError(f"{name}: is missing") from error
        except (OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ImageError(f"{name}: cannot be read: {error}") from error
        if len(data) > limits.max_bytes:
            raise ImageError(f"{name}: has {len(data)} bytes, more than max_bytes = {limits.max_bytes}")
        encoded = probe(data, name=name, max_pixels=limits.max_pixels)
        # A JPEG's whole stream is read at 1/8 of its size, too: enough to find what is damaged.
        pixels = decode(encoded, at_least=SEEN_AT)
        position = image_position(encoded, pixels) if view.position == "unknown" else view.position
        if encoded.kind != "DICOM":
            return replace(view, image=ImageInMemory(name, data), position=position), {}
        from radwright.imaging.dicom import read_dicom_header

        shown = replace(view, image=ImageInMemory(name, png_bytes(pixels)), position=position)
        return shown, read_dicom_header(io.BytesIO(data), name=name).facts


def _together(facts: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The facts of a study's files as facts of the study; where they differ (two scanners), both."""
    said: dict[str, dict[str, None]] = {}
    for own in facts:
        for name, text in own.items():
            said.setdefault(name, {})[text] = None
    return {name: " / ".join(texts) for name, texts in said.items()}


_worker: Worker | None = None


def _start_worker(source: Source, config: CheckingConfig) -> None:
    global _worker  # what a pool's initializer has to offer
    _worker = Worker(source, config)
    # The parent answers Ctrl-C; and a worker must not outlive a parent that was killed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_chunk(tasks: list[Task]) -> list[Outcome]:
    assert _worker is not None
    return [_worker.outcome(task) for task in tasks]
