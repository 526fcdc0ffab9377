"""A running server's parts: the reading room, the network that drafts in it, and everything between them."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from radwright.errors import ConfigError, StudyError
from radwright.serving.counters import Counters
from radwright.serving.drafting import Drafter, FoundEvidence
from radwright.serving.engine import Engine, EngineLimits
from radwright.serving.explaining import EvidenceDesk
from radwright.serving.feed import Feed
from radwright.serving.inspecting import InspectionLimits, Inspector
from radwright.serving.intake import Limits
from radwright.serving.pictures import NUM_DECODING, Pictures
from radwright.serving.refusals import UnknownStudyError
from radwright.serving.room import ReadingRoom
from radwright.serving.settings import ServeConfig
from radwright.types import Skipped

LOCK = "serve.lock"
_MIB = 2**20


class Server:
    """All parts, not yet at work; ``start`` begins.

    Args:
        room: the reading room.
        drafter: the network.
        config: limits.
        is_open: whether anyone may do anything until there is a token: only where nobody but this machine's users
            can ask.
        inspector: looks at images on arrival; None: one of its own, in processes of their own.
    """

    def __init__(
        self,
        room: ReadingRoom,
        drafter: Drafter,
        config: ServeConfig,
        *,
        is_open: bool,
        inspector: Inspector | None = None,
    ) -> None:
        self.room = room
        self.drafter = drafter
        self.config = config
        self._is_open = is_open
        self.is_draining = False
        self.counters = Counters(room)
        self.feed = Feed(self.counters)
        self.max_body_bytes = int(config.max_upload_mb * _MIB)
        self.engine = Engine(
            room,
            drafter,
            self.feed,
            EngineLimits(
                max_batch=config.max_batch,
                batch_wait_s=config.batch_wait_ms / 1000,
                num_loaders=max(1, min(4, (os.cpu_count() or 2) // 2)),
            ),
        )
        self.inspector = inspector or Inspector(
            Limits(max_bytes=self.max_body_bytes, max_pixels=config.max_pixels),
            InspectionLimits(config.inspection_s, config.inspection_memory_mb, config.inspection_processes),
        )
        self.looking = asyncio.Semaphore(2 * config.inspection_processes)
        """Uploads whose bytes are in memory at once."""
        self.pictures = Pictures(room)
        self.decoding = asyncio.Semaphore(NUM_DECODING)
        """Images that are decoded for the page; who waits for it holds no thread that others need."""
        self.desk = EvidenceDesk(
            self._explain, num_kept=config.evidence_kept, on_seconds=self.counters.evidence_seconds.observe
        )

    @property
    def is_open(self) -> bool:
        """Whether anyone may do anything; over for good from the moment that somebody has a token."""
        if self._is_open and self.room.access.has_tokens():
            self._is_open = False
        return self._is_open

    def start(self) -> None:
        """Begin to look at images and to draft."""
        self.inspector.start()
        self.engine.start()

    def stop(self) -> bool:
        """Finish the batch that is being drafted; whether that was done in time. What waits is drafted next time."""
        self.is_draining = True
        done = self.engine.stop()
        self.desk.close()
        self.inspector.close()
        return done

    def _explain(self, study_id: str, number: int) -> tuple[FoundEvidence, ...]:
        draft = self.room.studies.draft(study_id, number)
        if draft is None:
            raise UnknownStudyError(f"study {study_id} has no draft {number}")
        views = self.drafter.read(self.engine.study_of(study_id))
        if isinstance(views, Skipped):
            raise StudyError(views.reason)
        return self.drafter.explain(views, draft, self.room.studies.images(study_id))


@contextmanager
def only_server(folder: Path) -> Iterator[None]:
    """Hold the folder for one drafting server; another one would draft the same studies.

    Raises:
        ConfigError: another server works on it.
    """
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{folder}: another radwright serve works on this folder; stop it first") from None
        yield
