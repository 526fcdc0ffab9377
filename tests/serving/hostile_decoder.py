"""A decoder that dies, hangs or takes its time, by what it is given; light, since processes import it."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection
from typing import Any

from radwright.serving import inspecting
from radwright.serving.intake import Limits

SLOWLY = b"takes its time"
"""Before an image that is looked at in a second."""
describe, original = inspecting._describe, inspecting._look_on


def look(data: bytes, name: str, intake: Limits) -> dict[str, Any]:
    """Stands for a decoder: dies, hangs, or looks."""
    if data == b"dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if data == b"hangs":
        time.sleep(600)
    if data.startswith(SLOWLY):
        time.sleep(1)
    return describe(data.removeprefix(SLOWLY), name, intake)


def look_on(connection: Connection, intake: Limits, memory_mb: int) -> None:
    """The process, with that decoder."""
    inspecting._describe = look
    original(connection, intake, memory_mb)
