"""Images from outside are looked at in a process of their own: under a time limit, and with bounded memory.

A decoder that hangs, crashes or asks for gigabytes takes that process down, and the upload is refused; the server, its
drafts and its other clients stay. Between the processes go bytes in and plain values out.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError as OutOfTime
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from queue import SimpleQueue

from radwright.errors import MissingExtraError
from radwright.imaging.dicom import import_libraries
from radwright.serving.intake import Described, Limits, RefusalKind, RefusedImageError, describe_image


@dataclass(frozen=True, slots=True)
class InspectionLimits:
    """What an image may cost.

    Attributes:
        seconds: until it is given up.
        memory_mb: that the looking process may ask for, in MiB, beside what it needs for itself.
        num_processes: that look at once.
    """

    seconds: float = 5.0
    memory_mb: int = 2048
    num_processes: int = 2


class Inspector:
    """Looks at images; for any number of threads. Each process is its own, so that what takes one down, takes no other.

    Args:
        intake: limits on what an image may be.
        limits: on what looking may cost.
    """

    def __init__(self, intake: Limits, limits: InspectionLimits) -> None:
        self._intake = intake
        self._limits = limits
        self._free: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
        self._all: set[ProcessPoolExecutor] = set()
        self._lock = threading.Lock()
        self._is_closed = False
        for _ in range(limits.num_processes):
            self._free.put(self._new())

    def start(self) -> None:
        """Start the processes, so that the first upload does not wait for them."""
        with self._lock:
            waiting = [process.submit(_nothing) for process in self._all]
        for future in waiting:
            future.result()

    def describe(self, data: bytes, name: str) -> Described:
        """What an image is (``radwright.serving.intake.describe_image``).

        Raises:
            RefusedImageError: it is none that can be read, or reading it costs too much.
            MissingExtraError: DICOM without the ``dicom`` extra.
        """
        # The time limit is for looking: neither for waiting nor for a process to start.
        process = self._free.get()
        try:
            process.submit(_nothing).result()
            outcome = process.submit(_describe, data, name, self._intake).result(self._limits.seconds)
        except OutOfTime:
            process = self._instead(process)
            raise RefusedImageError(
                f"{name}: could not be read within {self._limits.seconds:.0f} s; it is damaged or far too large",
                "damaged",
            ) from None
        except BrokenProcessPool:
            process = self._instead(process)
            raise RefusedImageError(
                f"{name}: the decoder failed on it; it is damaged or needs too much memory", "damaged"
            ) from None
        finally:
            self._free.put(process)
        if isinstance(outcome, Described):
            return outcome
        message, kind = outcome
        raise MissingExtraError(message) if kind is None else RefusedImageError(message, kind)

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            self._is_closed = True
            for process in self._all:
                process.shutdown(wait=False, cancel_futures=True)

    def _new(self) -> ProcessPoolExecutor:
        made = ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=_bound_memory, initargs=(self._limits.memory_mb,)
        )
        self._all.add(made)
        return made

    def _instead(self, broken: ProcessPoolExecutor) -> ProcessPoolExecutor:
        """Another process, already starting, in the place of one that hangs or is dead."""
        for process in list((broken._processes or {}).values()):
            with contextlib.suppress(OSError, ValueError):
                process.kill()
        broken.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._all.discard(broken)
            made = self._new()
            if self._is_closed:
                made.shutdown(wait=False)
            else:
                made.submit(_nothing)
        return made


def _nothing() -> None:
    """Work that takes no time."""


def _bound_memory(memory_mb: int) -> None:
    """Once per process: the decoders are imported, then memory is bounded, and nobody's Ctrl-C ends it early."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(MissingExtraError):
        import_libraries()
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            own = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (own + memory_mb * 2**20,) * 2)


def _describe(data: bytes, name: str, intake: Limits) -> Described | tuple[str, RefusalKind | None]:
    # Errors as plain values: an exception of a decoder may not survive the way between processes.
    try:
        return describe_image(data, name, intake)
    except MissingExtraError as error:
        return str(error), None
    except RefusedImageError as error:
        return str(error), error.kind
    except MemoryError:
        return f"{name}: needs too much memory to be decoded", "damaged"
    except RecursionError:
        return f"{name}: is nested too deeply", "damaged"
