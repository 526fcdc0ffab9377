"""Drafts as they are written, from the engine's thread to whoever follows them over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from radwright.serving.counters import Counters
from radwright.serving.records import Draft


@dataclass(frozen=True, slots=True)
class Written:
    """The text of a draft so far; it only grows."""

    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """Drafting is over.

    Attributes:
        draft: what was kept; None where there is none.
        reason: why there is none.
    """

    draft: Draft | None
    reason: str = ""


Event = Written | Ended


class Feed:
    """The engine's observer: counts, and hands every event to the followers of its study.

    Args:
        counters: told of drafts and batches.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._lock = threading.Lock()
        self._followers: dict[str, list[Follower]] = defaultdict(list)
        self._texts: dict[str, str] = {}

    @contextmanager
    def follow(self, study_id: str) -> Iterator[Follower]:
        """The events of one study's drafts from now on, after the text so far; within a running event loop."""
        follower = Follower(asyncio.get_running_loop())
        with self._lock:
            self._followers[study_id].append(follower)
            if (text := self._texts.get(study_id)) is not None:
                follower.put(Written(text))
        try:
            yield follower
        finally:
            with self._lock:
                self._followers[study_id].remove(follower)
                if not self._followers[study_id]:
                    del self._followers[study_id]

    def text(self, study_id: str, text: str) -> None:
        """See ``radwright.serving.engine.Observer``."""
        self._publish(study_id, Written(text))

    def drafted(self, study_id: str, draft: Draft) -> None:
        """See ``radwright.serving.engine.Observer``."""
        self._counters.drafts.labels("drafted").inc()
        self._publish(study_id, Ended(draft))

    def failed(self, study_id: str, reason: str) -> None:
        """See ``radwright.serving.engine.Observer``."""
        self._counters.drafts.labels("failed").inc()
        self._publish(study_id, Ended(None, reason))

    def withdrawn(self, study_id: str) -> None:
        """See ``radwright.serving.engine.Observer``; a text of a draft that is none must not precede the next one's."""
        with self._lock:
            self._texts.pop(study_id, None)

    def batch(self, num_studies: int, seconds: float) -> None:
        """See ``radwright.serving.engine.Observer``."""
        self._counters.batch_size.observe(num_studies)
        self._counters.batch_seconds.observe(seconds)

    def _publish(self, study_id: str, event: Event) -> None:
        with self._lock:
            if isinstance(event, Written):
                self._texts[study_id] = event.text
            else:
                self._texts.pop(study_id, None)
            for follower in self._followers.get(study_id, ()):
                follower.put(event)


class Follower:
    """One listener's queue; a text that was not taken yet gives way to the longer one.

    Args:
        loop: the event loop that it waits in.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: list[Event] = []
        self._lock = threading.Lock()
        self._came = asyncio.Event()

    def put(self, event: Event) -> None:
        """From any thread."""
        with self._lock:
            if self._pending and isinstance(self._pending[-1], Written):
                self._pending.pop()
            self._pending.append(event)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._came.set)

    async def get(self, timeout_s: float) -> Event | None:
        """The next event; None when none came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    with self._lock:
                        if self._pending:
                            return self._pending.pop(0)
                        self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            return None
