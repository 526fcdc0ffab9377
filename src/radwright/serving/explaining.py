"""Evidence on demand: one draft is explained at a time, and what was found is kept for the sentences asked for next."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from radwright.serving.drafting import FoundEvidence

MOST_WAITING = 8
"""Drafts that may wait to be explained."""
Key = tuple[str, int]
"""(study, number of its draft)."""


class BusyError(Exception):
    """Too many drafts wait to be explained."""


class EvidenceDesk:
    """Explains drafts in a thread of its own.

    Args:
        explain: (study, number of its draft) -> evidence per sentence.
        num_kept: drafts whose evidence is kept.
        on_seconds: told how long a draft took.
    """

    def __init__(
        self,
        explain: Callable[[str, int], tuple[FoundEvidence, ...]],
        *,
        num_kept: int,
        on_seconds: Callable[[float], None],
    ) -> None:
        self._explain = explain
        self._num_kept = num_kept
        self._on_seconds = on_seconds
        self._lock = threading.Lock()
        self._found: OrderedDict[Key, Future[tuple[FoundEvidence, ...]]] = OrderedDict()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="evidence")

    def ask(self, study_id: str, number: int) -> Future[tuple[FoundEvidence, ...]]:
        """The evidence of a draft, now or later; asked for again, it is the same.

        Raises:
            BusyError: too many wait.
        """
        key = (study_id, number)
        with self._lock:
            if (known := self._found.get(key)) is not None and not (known.done() and known.exception()):
                self._found.move_to_end(key)
                return known
            if sum(not each.done() for each in self._found.values()) >= MOST_WAITING:
                raise BusyError
            self._found[key] = future = self._pool.submit(self._timed, study_id, number)
            self._found.move_to_end(key)
            while len(self._found) > self._num_kept:
                oldest = next((name for name, each in self._found.items() if each.done()), None)
                if oldest is None:
                    break
                del self._found[oldest]
        return future

    def close(self) -> None:
        """Explain nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _timed(self, study_id: str, number: int) -> tuple[FoundEvidence, ...]:
        started = time.perf_counter()
        found = self._explain(study_id, number)
        self._on_seconds(time.perf_counter() - started)
        return found
