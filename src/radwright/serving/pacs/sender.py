"""Reports on their way to a PACS: queued on disk, built when they are sent, tried until the PACS has acknowledged them.

A kill between the PACS's answer and our note of it sends the same object once more: its UID is fixed, so the PACS sees
what it has already.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from radwright.errors import RadwrightError
from radwright.serving.outbox import Sending
from radwright.serving.pacs.config import Peer
from radwright.serving.pacs.told import Tally, tell
from radwright.serving.records import ReportedStudy
from radwright.serving.room import ReadingRoom

LONGEST_PAUSE_S = 60.0
"""A PACS that cannot be reached is tried again after so long at the latest."""
_MOST_AT_ONCE = 16

Build = Callable[[ReportedStudy], bytes]
"""A study with its report -> a DICOM file."""
Deliver = Callable[[Peer, bytes], None]
"""Send a DICOM file; returns once the peer has acknowledged it, else raises DeliveryError."""


class DeliveryError(RadwrightError):
    """A peer did not take an object.

    Args:
        message: why, without anything of the object.
        is_reachable: whether the peer answered, so that other objects may fare better.
    """

    def __init__(self, message: str, *, is_reachable: bool) -> None:
        super().__init__(message)
        self.is_reachable = is_reachable


class Sender:
    """Sends one kind of report to one PACS, from one thread.

    Args:
        room: whose reports.
        peer: where to; its AE title names it in the queue.
        build, deliver: see there.
        signed: signed reports; False: unsigned drafts.
        tally: gets ``sent`` and ``not sent``.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        room: ReadingRoom,
        peer: Peer,
        *,
        build: Build,
        deliver: Deliver,
        signed: bool = True,
        tally: Tally | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._room = room
        self._peer = peer
        self._build = build
        self._deliver = deliver
        self._signed = signed
        self._tally = tally or Tally()
        self._clock = clock
        self._paused_until = float("-inf")

    def send_due(self, is_stopping: Callable[[], bool] = lambda: False) -> int:
        """Queue what is new and try what is due; how many reports arrived."""
        outbox, destination = self._room.outbox, self._peer.ae_title
        outbox.collect(destination, signed=self._signed)
        arrived = 0
        for sending in outbox.due(destination=destination, limit=_MOST_AT_ONCE):
            if is_stopping() or self._clock() < self._paused_until:
                break
            # The same AE may have been that of the other kind before.
            if sending.signed == self._signed:
                arrived += self._send(sending)
        return arrived

    def _send(self, sending: Sending) -> bool:
        try:
            if not sending.signed and not self._still_a_draft(sending):
                self._room.outbox.withdraw(sending)
                tell(
                    "draft not sent",
                    study=sending.study_id,
                    to=sending.destination,
                    why='"edited, signed or withdrawn"',
                )
                return False
            data = self._build(self._room.reports.reported(sending.study_id, sending.version))
        except Exception as error:  # whatever it is, the other reports must go out, and this one must not be lost
            # The type alone: a message may quote what stands in the report.
            self._failed(sending, f"cannot be built: {type(error).__name__}")
            return False
        try:
            self._deliver(self._peer, data)
        except DeliveryError as error:
            wait_s = self._failed(sending, str(error))
            if not error.is_reachable:
                self._paused_until = self._clock() + min(wait_s, LONGEST_PAUSE_S)
            return False
        except Exception as error:  # an object that breaks the library waits too, or it would hold up all behind it
            self._failed(sending, f"cannot be sent: {type(error).__name__}")
            return False
        self._room.outbox.sent(sending)
        self._tally.add("sent")
        what = "report sent" if sending.signed else "draft sent"
        tell(what, study=sending.study_id, version=sending.version, to=sending.destination)
        return True

    def _still_a_draft(self, sending: Sending) -> bool:
        newest = self._room.reports.newest(sending.study_id)
        return (
            self._room.studies.study(sending.study_id).state == "drafted"
            and newest is not None
            and newest.number == sending.version
        )

    def _failed(self, sending: Sending, why: str) -> float:
        wait_s = self._room.outbox.failed(sending, why)
        self._tally.add("not sent")
        tell(
            "report waits" if sending.signed else "draft waits",
            level=logging.WARNING,
            study=sending.study_id,
            to=sending.destination,
            attempt=sending.attempts + 1,
            next_in_s=f"{wait_s:.0f}",
            why=f'"{why}"',
        )
        return wait_s
