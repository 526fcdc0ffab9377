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
    """Looks at images; for any number of threads.

    Args:
        intake: limits on what an image may be.
        limits: on what looking may cost.
    """

    def __init__(self, intake: Limits, limits: InspectionLimits) -> None:
        self._intake = intake
        self._limits = limits
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(limits.num_processes)
        self._pool = self._new_pool()

    def start(self) -> None:
        """Start the processes, so that the first upload does not wait for them."""
        with self._lock:
            pool = self._pool
        for future in [pool.submit(_nothing) for _ in range(self._limits.num_processes)]:
            future.result()

    def describe(self, data: bytes, name: str) -> Described:
        """What an image is (``radwright.serving.intake.describe_image``).

        Raises:
            RefusedImageError: it is none that can be read, or reading it costs too much.
            MissingExtraError: DICOM without the ``dicom`` extra.
        """
        # Only as many at once as there are processes: the time limit is for looking, not for waiting.
        with self._places:
            with self._lock:
                pool = self._pool
            try:
                outcome = pool.submit(_describe, data, name, self._intake).result(self._limits.seconds)
            except OutOfTime:
                self._replace(pool)
                raise RefusedImageError(
                    f"{name}: could not be read within {self._limits.seconds:.0f} s; it is damaged or far too large",
                    "damaged",
                ) from None
            except BrokenProcessPool:
                self._replace(pool)
                raise RefusedImageError(
                    f"{name}: the decoder failed on it; it is damaged or needs too much memory", "damaged"
                ) from None
        if isinstance(outcome, Described):
            return outcome
        message, kind = outcome
        raise MissingExtraError(message) if kind is None else RefusedImageError(message, kind)

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._limits.num_processes,
            mp_context=get_context("spawn"),
            initializer=_bound_memory,
            initargs=(self._limits.memory_mb,),
        )

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        """Other processes in the place of these, of which one hangs or is dead; uploads that they held fail alike."""
        with self._lock:
            if self._pool is not broken:
                return
            self._pool = self._new_pool()
        for process in list((broken._processes or {}).values()):
            with contextlib.suppress(OSError, ValueError):
                process.kill()
        broken.shutdown(wait=False, cancel_futures=True)


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
