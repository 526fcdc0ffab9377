"""The drafting engine: takes studies that wait, decodes their images, drafts them in micro-batches, keeps the drafts.

One thread feeds loaders, which decode images; one runs the network on what is decoded. What waits is in the database:
a server that is killed loses no study, and drafts it after the next start.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from radwright.data.loading import LoadedStudy
from radwright.errors import RadwrightError
from radwright.serving.database import now
from radwright.serving.drafting import OnText, Order
from radwright.serving.names import names_in
from radwright.serving.records import Draft, ReadingImage, ReadingStudy
from radwright.serving.room import ReadingRoom
from radwright.serving.studies import Job
from radwright.types import ImageInMemory, Skipped, Study, View

logger = logging.getLogger(__name__)


class Drafts(Protocol):
    """What the engine needs of ``radwright.serving.drafting.Drafter``."""

    def read(self, study: Study) -> LoadedStudy | Skipped:
        """Decode a study's images; any thread may call this."""
        ...

    def write(self, orders: list[Order], on_text: OnText) -> Mapping[str, Draft | Skipped]:
        """Draft a batch."""
        ...


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How studies are put together.

    Attributes:
        max_batch: studies that are drafted at once.
        batch_wait_s: how long a study that could be drafted waits for others to join it.
        num_loaders: threads that decode images.
        poll_s: how often the database is asked for studies that another process has put there.
    """

    max_batch: int = 8
    batch_wait_s: float = 0.02
    num_loaders: int = 2
    poll_s: float = 0.5


class Observer(Protocol):
    """Who is told what becomes of drafts; called from the engine's thread, must not block."""

    def text(self, study_id: str, text: str) -> None:
        """A draft's text so far."""
        ...

    def drafted(self, study_id: str, draft: Draft) -> None:
        """A draft is kept."""
        ...

    def failed(self, study_id: str, reason: str) -> None:
        """No draft can be had."""
        ...

    def withdrawn(self, study_id: str) -> None:
        """A draft was written that nobody wants any more: signed meanwhile, or other images came."""
        ...

    def batch(self, num_studies: int, seconds: float) -> None:
        """A batch went through the network."""
        ...


@dataclass(slots=True)
class _Ready:
    """A study whose images are decoded."""

    job: Job
    views: LoadedStudy
    since: float = field(default_factory=time.monotonic)


class Engine:
    """Drafts what waits in a reading room.

    Args:
        room: its own; no other engine may work on it at the same time (the server holds a lock on the folder).
        drafter: the network.
        observer: told what happens.
        limits: of batches.
    """

    def __init__(self, room: ReadingRoom, drafter: Drafts, observer: Observer, limits: EngineLimits) -> None:
        self.room = room
        self.drafter = drafter
        self.observer = observer
        self.limits = limits
        self._changed = threading.Condition()
        self._ready: deque[_Ready] = deque()
        self._in_flight: set[str] = set()
        self._woken = True
        self._stopping = False
        self._pool = ThreadPoolExecutor(limits.num_loaders, thread_name_prefix="loader")
        self._threads = (
            threading.Thread(target=self._repeat, args=(self._feed,), name="feeding", daemon=True),
            threading.Thread(target=self._repeat, args=(self._work,), name="drafting", daemon=True),
        )

    def start(self) -> None:
        """Begin to draft."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """There may be something to draft."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def stop(self, *, timeout_s: float = 60.0) -> bool:
        """Finish the batch that is being drafted, start no other; whether that was done in time."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._pool.shutdown(wait=False, cancel_futures=True)
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def is_alive(self) -> bool:
        """Whether it drafts."""
        return all(thread.is_alive() for thread in self._threads)

    def _repeat(self, work: Callable[[], None]) -> None:
        while not self._stopping:
            try:
                work()
            except Exception:
                # A fault of one round must not end all drafting; what waits is still in the database.
                logger.exception("an unforeseen error; going on")
                time.sleep(self.limits.poll_s)

    def _feed(self) -> None:
        """Let loaders decode what waits, as much as the next two batches need, also while the network works."""
        with self._changed:
            self._changed.wait_for(lambda: self._woken or self._stopping, self.limits.poll_s)
            self._woken = False
            free, known = 3 * self.limits.max_batch - len(self._in_flight), tuple(self._in_flight)
        if self._stopping or free <= 0:
            return
        for job in self.room.studies.jobs(limit=free, leave_out=known):
            with self._changed:
                self._in_flight.add(job.study_id)
            self._pool.submit(self._load, job)

    def _work(self) -> None:
        """Draft one batch, if there is one before the poll is over."""
        if batch := self._take():
            self._draft(batch)

    def _load(self, job: Job) -> None:
        ready = None
        try:
            ready = self._loaded(job)
        except Exception:
            # Not even that it failed could be kept: it waits in the database, and is tried again.
            logger.exception("study %s: an unforeseen error; it is tried again", job.study_id)
            time.sleep(self.limits.poll_s)
        with self._changed:
            if ready is None:
                self._in_flight.discard(job.study_id)
                self._woken = True
            else:
                self._ready.append(ready)
            self._changed.notify_all()

    def _loaded(self, job: Job) -> _Ready | None:
        """The study with its images decoded; None where it failed, which is kept then."""
        try:
            views = self.drafter.read(self.study_of(job.study_id))
        except RadwrightError as error:
            self._fail(job, str(error))
            return None
        except Exception:
            logger.exception("study %s: an unforeseen error while its images were read", job.study_id)
            self._fail(job, "its images could not be read: an unforeseen error, see the server's log")
            return None
        if isinstance(views, Skipped):
            self._fail(job, views.reason)
            return None
        return _Ready(job, views)

    def _take(self) -> list[_Ready]:
        """The next batch; empty when nothing came within the poll."""
        limits = self.limits
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._stopping, limits.poll_s)
            if not self._ready or self._stopping:
                return []
            until = self._ready[0].since + limits.batch_wait_s
            # Whoever is being decoded may still join, and whoever is just coming in.
            while len(self._ready) < limits.max_batch and not self._stopping:
                if (wait_s := until - time.monotonic()) <= 0:
                    break
                self._changed.wait(wait_s)
            return [self._ready.popleft() for _ in range(min(limits.max_batch, len(self._ready)))]

    def _draft(self, batch: list[_Ready]) -> None:
        moment, jobs = now(), {each.job.study_id: each.job for each in batch}
        late = [each for each in batch if each.job.deadline_at and each.job.deadline_at < moment]
        for each in late:
            self._fail(each.job, "no draft within its time limit: the server was busy; ask again")
        orders = [Order(each.views, each.job.forced) for each in batch if each not in late]
        try:
            if orders:
                started = time.perf_counter()
                made = self.drafter.write(orders, self.observer.text)
                self.observer.batch(len(orders), time.perf_counter() - started)
                self._keep([(jobs[study_id], outcome) for study_id, outcome in made.items()])
        except Exception:
            logger.exception("drafting: an unforeseen error in a batch of %d", len(orders))
            for order in orders:
                self._fail(jobs[order.views.study_id], "an unforeseen error while it was drafted; see the server's log")
        finally:
            with self._changed:
                self._in_flight.difference_update(jobs)
                # There is room for others, and one of these may have been asked for once more meanwhile.
                self._woken = True
                self._changed.notify_all()

    def _keep(self, made: Sequence[tuple[Job, Draft | Skipped]]) -> None:
        drafts = [(job, outcome) for job, outcome in made if isinstance(outcome, Draft)]
        for (job, _), kept in zip(drafts, self.room.studies.add_drafts(drafts), strict=True):
            if kept is None:
                logger.info("study %s: its draft came too late and is not kept", job.study_id)
                self.observer.withdrawn(job.study_id)
                continue
            logger.info("study %s: draft %d", job.study_id, kept.number)
            self.observer.drafted(job.study_id, kept)
        for job, outcome in made:
            if isinstance(outcome, Skipped):
                self._fail(job, outcome.reason)

    def _fail(self, job: Job, reason: str) -> None:
        self.room.studies.fail(job, reason)
        logger.warning("study %s: no draft", job.study_id)
        self.observer.failed(job.study_id, reason)

    def study_of(self, study_id: str) -> Study:
        """A kept study as the network's way in takes it.

        Raises:
            UnknownStudyError, StoreError: it, or an image of it, is not there.
        """
        return as_study(self.room.studies.study(study_id), self.room.studies.images(study_id), self.room.blobs.get)


def as_study(study: ReadingStudy, images: tuple[ReadingImage, ...], read: Callable[[str], bytes]) -> Study:
    """A kept study as a ``Study``, without anything that names the patient: a network cannot copy what it never read.

    Images are called by their place; names and ids in the indication are hidden as ``XXXX``. Text in the pixels stays.
    """
    views = tuple(
        View(ImageInMemory(f"image {image.place + 1}", read(image.digest)), image.position) for image in images
    )
    indication = study.indication
    for part in reversed(names_in(indication, study)):
        indication = indication[: part.start] + "XXXX" + indication[part.end :]
    sections: dict[str, Any] = {"indication": indication} if indication else {}
    return Study(study.id, views, sections=sections)
