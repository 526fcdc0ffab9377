"""A rank ends with the process that started it: else it would wait for it until the timeout, holding its memory.

Imports nothing heavy: a rank watches from its first moment, also while it imports torch.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

MAIN_PROCESS = "RADWRIGHT_MAIN_PROCESS"
"""Environment variable by which the main process tells its ranks its process number."""

INTERVAL_S = 0.25
"""How often a rank looks whether its parent is still there."""

_watch: list[threading.Thread] = []


@contextlib.contextmanager
def named_as_parent() -> Iterator[None]:
    """Processes started inside know this process's number, even if it dies before they run their first line."""
    os.environ[MAIN_PROCESS] = str(os.getpid())
    try:
        yield
    finally:
        os.environ.pop(MAIN_PROCESS, None)


def is_started_rank() -> bool:
    """Whether another process of this machine, or a launcher, made this process a rank beside the first."""
    return os.environ.get("LOCAL_RANK", "0") != "0"


def end_with_parent() -> None:
    """From now on this process ends soon after the one that started it; at once if that one is gone already.

    Does nothing in a process that is no started rank, and nothing when called again. On Linux the kernel kills it, also
    where a long call holds the interpreter; elsewhere, and under a launcher, a thread looks every `INTERVAL_S`.
    """
    if not is_started_rank() or _watch:
        return
    expected = os.environ.get(MAIN_PROCESS)
    if expected is not None and sys.platform == "linux":
        die_with_parent(signal.SIGKILL)
    parent = os.getppid()  # after the request: a parent that died before it is seen here
    # A wrapper around the interpreter may stand between: then only the wrapper's end, or the main process's, counts.
    main = int(expected) if expected is not None else parent
    if main != parent and not _alive(main):
        os._exit(1)
    thread = threading.Thread(target=_look, args=(parent, main), name="end-with-parent", daemon=True)
    _watch.append(thread)
    thread.start()


def _look(parent: int, main: int) -> None:
    while os.getppid() == parent and (main == parent or _alive(main)):
        time.sleep(INTERVAL_S)
    os._exit(1)


def _alive(process: int) -> bool:
    """Whether a process runs; one that ended and waits to be collected does not."""
    if sys.platform == "win32":
        return True  # there, asking with signal 0 would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return True


def die_with_parent(number: signal.Signals) -> None:
    """Ask the Linux kernel to send this process ``number`` when its parent ends: prctl(PR_SET_PDEATHSIG).

    Where it is refused nothing happens.
    """
    import ctypes

    set_parent_death_signal = 1
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(set_parent_death_signal, int(number), 0, 0, 0)
