"""What the PACS side tells of its work, one line an event: ids and numbers, never what a tag or a report says."""

from __future__ import annotations

import logging
import threading
from collections import Counter

LOG = logging.getLogger("radwright.pacs")


def tell(event: str, *, level: int = logging.INFO, **values: object) -> None:
    """Log one event as ``event key=value ...``; the values must be ids, numbers, AE titles or fixed words."""
    LOG.log(level, "%s%s", event, "".join(f" {key}={value}" for key, value in values.items()))


class Tally:
    """Counts of what happened, added to by several threads."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, what: str, count: int = 1) -> None:
        """Some more of it happened."""
        with self._lock:
            self._counts[what] += count

    def __getitem__(self, what: str) -> int:
        with self._lock:
            return self._counts[what]
