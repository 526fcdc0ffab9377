"""Images from outside are looked at in a process of their own: under a time limit, and with bounded memory.

A decoder that hangs, crashes or asks for gigabytes takes that process down, and the upload is refused; the server, its
drafts and its other clients stay. Between the processes go bytes in and plain values out.
"""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from radwright.errors import MissingExtraError
from radwright.imaging.dicom import import_libraries
from radwright.serving.intake import Described, Limits, RefusedImageError, describe_image
from radwright.serving.records import ReadingImage, ReadingStudy


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
        self._free: SimpleQueue[_Process] = SimpleQueue()
        self._all: set[_Process] = set()
        self._lock = threading.Lock()
        self._is_closed = False
        for _ in range(limits.num_processes):
            self._free.put(self._new())

    def start(self) -> None:
        """Start the processes, so that the first upload does not wait for them."""
        with self._lock:
            starting = [*self._all]
        for process in starting:
            process.start()
        for process in starting:
            process.wait_ready()

    def describe(self, data: bytes, name: str) -> Described:
        """What an image is (``radwright.serving.intake.describe_image``).

        Raises:
            RefusedImageError: it is none that can be read, or reading it costs too much.
            MissingExtraError: DICOM without the ``dicom`` extra.
        """
        process = self._free.get()
        try:
            told = process.look(data, name, self._limits.seconds)
        except TimeoutError:
            process = self._instead(process)
            raise RefusedImageError(
                f"{name}: could not be read within {self._limits.seconds:.0f} s; it is damaged or far too large",
                "damaged",
            ) from None
        except (EOFError, OSError):
            process = self._instead(process)
            raise RefusedImageError(
                f"{name}: the decoder failed on it; it is damaged or needs too much memory", "damaged"
            ) from None
        finally:
            self._free.put(process)
        if "kind" in told:
            raise RefusedImageError(told["message"], told["kind"])
        if "message" in told:
            raise MissingExtraError(told["message"])
        image, study = ReadingImage(**told["image"]), ReadingStudy(**told["study"])
        return Described(image, study, told["picture"], tuple(told["notes"]))

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            self._is_closed = True
            ending = [*self._all]
        for process in ending:
            process.end()

    def _new(self) -> _Process:
        made = _Process(self._intake, self._limits.memory_mb)
        with self._lock:
            self._all.add(made)
        return made

    def _instead(self, broken: _Process) -> _Process:
        """Another process, already starting, in the place of one that hangs or is dead."""
        broken.end()
        with self._lock:
            self._all.discard(broken)
        made = self._new()
        if not self._is_closed:
            made.start()
        return made


class _Process:
    """A process that looks at images, one after the other; not yet started.

    Args:
        intake: limits on what an image may be.
        memory_mb: that it may ask for.
    """

    def __init__(self, intake: Limits, memory_mb: int) -> None:
        context = get_context("spawn")
        self._here, self._there = context.Pipe()
        # A daemon: it must not outlive the server, and has no processes of its own.
        self._process = context.Process(
            target=_look_on, args=(self._there, intake, memory_mb), name="inspecting", daemon=True
        )
        self._is_ready = False

    def start(self) -> None:
        """Start it, unless that was done."""
        if self._process.pid is None:
            self._process.start()
            self._there.close()

    def wait_ready(self) -> None:
        """Wait until it has started.

        Raises:
            EOFError: it died meanwhile.
        """
        self.start()
        if not self._is_ready:
            self._here.recv_bytes()
            self._is_ready = True

    def look(self, data: bytes, name: str, seconds: float) -> dict[str, Any]:
        """What ``_describe`` tells of an image.

        Raises:
            TimeoutError: it took too long; starting the process does not count.
            EOFError, OSError: the process died.
        """
        self.wait_ready()
        self._here.send_bytes(name.encode("utf-8", "replace"))
        self._here.send_bytes(data)
        if not self._here.poll(seconds):
            raise TimeoutError
        # As JSON: a decoder that was taken over must not be able to send objects into the server.
        told: dict[str, Any] = json.loads(self._here.recv_bytes())
        return told

    def end(self) -> None:
        """Kill it: it holds nothing that could be lost."""
        if self._process.pid is not None:
            self._process.kill()
            self._process.join()
        self._here.close()


def _look_on(connection: Connection, intake: Limits, memory_mb: int) -> None:
    """What the process does until the server closes its end."""
    _bound_memory(memory_mb)
    with contextlib.suppress(EOFError, OSError):
        connection.send_bytes(b"ready")
        while True:
            name = connection.recv_bytes().decode()
            connection.send_bytes(json.dumps(_describe(connection.recv_bytes(), name, intake)).encode())


def _bound_memory(memory_mb: int) -> None:
    """The decoders are imported, then memory is bounded, and nobody's Ctrl-C ends the process early."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(MissingExtraError):
        import_libraries()
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            own = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (own + memory_mb * 2**20,) * 2)


def _describe(data: bytes, name: str, intake: Limits) -> dict[str, Any]:
    """An image as plain values, or the message and the kind of a refusal, or the message alone of a missing extra."""
    try:
        return asdict(describe_image(data, name, intake))
    except MissingExtraError as error:
        return {"message": str(error)}
    except RefusedImageError as error:
        return {"message": str(error), "kind": error.kind}
    except MemoryError:
        return {"message": f"{name}: needs too much memory to be decoded", "kind": "damaged"}
    except RecursionError:
        return {"message": f"{name}: is nested too deeply", "kind": "damaged"}
