"""Both directions of the PACS side in one process: images in, studies completed, reports out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from radwright.errors import ConfigError
from radwright.serving.database import timestamp
from radwright.serving.intake import Limits
from radwright.serving.pacs.config import PacsConfig
from radwright.serving.pacs.listener import Describe, Listener
from radwright.serving.pacs.network import StorageServer, deliver
from radwright.serving.pacs.sender import Build, Sender
from radwright.serving.pacs.told import Tally, tell
from radwright.serving.room import ReadingRoom

GRACE_S = 2.0
"""For peers to take their last answer before their associations are closed."""


def image_limits(config: PacsConfig) -> Limits:
    """What one image may be at most."""
    return Limits(max_bytes=config.limits.max_bytes, max_pixels=config.limits.max_pixels)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a service has done.

    Attributes:
        images: kept.
        images_again: that were here already.
        refused: images that were not taken.
        studies: that got complete.
        sent: reports and drafts that a PACS has acknowledged.
        waiting: reports that a PACS has not got yet.
    """

    images: int
    images_again: int
    refused: int
    studies: int
    sent: int
    waiting: int


class PacsService:
    """A reading room's PACS side.

    Args:
        room: shared with ``radwright serve``, which drafts.
        config: of the PACS.
        build: a study with its report -> a DICOM structured report.
        describe: looks at an image that came; see ``image_limits`` for what it must hold.
        send_unsigned: also send unsigned drafts, to ``send_unsigned_to``.

    Raises:
        ConfigError: the address cannot be listened on, or there is no node for unsigned drafts.
        MissingExtraError: the ``dicom`` or ``serve`` extra is not installed.
    """

    def __init__(
        self, room: ReadingRoom, config: PacsConfig, *, build: Build, describe: Describe, send_unsigned: bool = False
    ) -> None:
        if send_unsigned and config.send_unsigned_to is None:
            raise ConfigError("--send-unsigned: the config names no send_unsigned_to; name an AE for unsigned drafts")
        self._room = room
        self._config = config
        self._tally = Tally()
        self._stopping = threading.Event()
        listener = Listener(room, image_limits(config), describe, self._tally)
        self._server = StorageServer(config, listener.store)
        send = partial(deliver, calling=config.ae_title, timeouts=config.timeouts)
        self._senders = [
            Sender(room, peer, build=build, deliver=send, signed=signed, tally=self._tally)
            for peer, signed in ((config.send_to, True), (config.send_unsigned_to if send_unsigned else None, False))
            if peer is not None
        ]

    def run(self, stop: threading.Event) -> Summary:
        """Work until ``stop`` is set, finish what is begun, and tell what was done."""
        threads = [threading.Thread(target=self._repeat, args=(self._complete,), name="completion")]
        for sender in self._senders:
            send = partial(sender.send_due, self._stopping.is_set)
            threads.append(threading.Thread(target=self._repeat, args=(send,), name="sender"))
        for thread in threads:
            thread.start()
        self._server.start()
        tell("listening", ae_title=self._config.ae_title, address=self._config.address, port=self._config.port)
        try:
            stop.wait()
        finally:
            self._stopping.set()
            self._server.stop(grace_s=GRACE_S)
            for thread in threads:
                thread.join()
        return self._summary()

    def _complete(self) -> None:
        before = datetime.now(UTC) - timedelta(seconds=self._config.study_complete_after_s)
        for study_id in self._room.studies.complete_quiet(timestamp(before)):
            self._tally.add("studies")
            tell("study complete", study=study_id, images=len(self._room.studies.images(study_id)))

    def _repeat(self, work: Callable[[], object]) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    work()
                except Exception as error:  # a full disk, a busy database: try again, never stop for it
                    tell("will try again", level=logging.ERROR, why=type(error).__name__)
                self._stopping.wait(self._config.poll_s)
        finally:
            self._room.database.close()

    def _summary(self) -> Summary:
        counts = self._room.outbox.counts().values()
        return Summary(
            images=self._tally["received"],
            images_again=self._tally["again"],
            refused=self._tally["refused"],
            studies=self._tally["studies"],
            sent=self._tally["sent"],
            waiting=int(sum(count["waiting"] for count in counts)),
        )
