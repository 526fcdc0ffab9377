"""What the server counts, in Prometheus' format: requests, drafts, batches, queues; never anything of a patient.

The only file that imports prometheus_client (extra ``serve``).
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from radwright.serving.room import ReadingRoom

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Counters:
    """One server's counters; what the database knows is asked for when they are read.

    Args:
        room: the reading room.
    """

    def __init__(self, room: ReadingRoom) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_RoomCollector(room))
        self.requests = self._counter("requests", "HTTP requests", "method", "route", "status")
        self.request_seconds = self._histogram("request_seconds", "time to answer a request", _SECONDS, "route")
        self.refused = self._counter("refused_uploads", "uploads refused, by why", "code")
        self.drafts = self._counter("drafts", "drafts by outcome", "outcome")
        self.batch_size = self._histogram("batch_size", "studies drafted at once", _BATCHES)
        self.batch_seconds = self._histogram("batch_seconds", "time of a batch in the network", _SECONDS)
        self.evidence_seconds = self._histogram("evidence_seconds", "time to explain a draft", _SECONDS)

    def text(self) -> bytes:
        """All of it as Prometheus reads it."""
        return generate_latest(self.registry)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(f"radwright_{name}", told, labels, registry=self.registry)

    def _histogram(self, name: str, told: str, buckets: Iterable[float], *labels: str) -> Histogram:
        return Histogram(f"radwright_{name}", told, labels, buckets=tuple(buckets), registry=self.registry)


class _RoomCollector(Collector):
    def __init__(self, room: ReadingRoom) -> None:
        self._room = room

    def collect(self) -> Iterable[Metric]:
        studies = GaugeMetricFamily("radwright_studies", "studies in the reading room", labels=["state"])
        for state, num in self._room.worklist.counts().items():
            studies.add_metric([state], num)
        yield studies
        yield GaugeMetricFamily("radwright_waiting_drafts", "drafts to be made", value=self._room.studies.num_waiting())
        sending = GaugeMetricFamily("radwright_sending", "structured reports for a PACS", labels=["pacs", "state"])
        oldest = GaugeMetricFamily("radwright_sending_oldest_seconds", "age of the oldest that waits", labels=["pacs"])
        for destination, counts in self._room.outbox.counts().items():
            for state in ("waiting", "failing", "sent"):
                sending.add_metric([destination, state], counts[state])
            oldest.add_metric([destination], counts["oldest_s"])
        yield from (sending, oldest)
