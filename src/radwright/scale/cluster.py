"""Workers that keep their state, over pieces of work: the only import of Ray.

Ray Data drives a pool of actors. A piece is a few numbers and so is its answer; images and drafts never pass through
Ray's object store, each worker reads and writes its own. That is the back-pressure: a worker holds one piece and has
one more waiting, however large the job. A piece whose worker dies goes to another one, so a worker's work must be
repeatable. Usage statistics, which Ray would send to its makers, are switched off.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from pydantic import Field

from radwright import errors
from radwright.config import Config
from radwright.errors import ConfigError, OutputError, RadwrightError, require

_ERROR = "radwright_error"
_ADDRESS = re.compile(r"(ray://)?(?P<host>[^:/]+|\[[0-9a-fA-F:]+\]):(?P<port>\d+)")
_REACHED_WITHIN_S = 10
_RETRIES = 3
"""How often a piece goes to another worker when its own has died."""


class ClusterConfig(Config):
    """Where the work runs, and how it is shared out."""

    address: str | None = None
    """Of a running Ray cluster (``auto``, ``10.0.0.1:6379``); None: a cluster of this machine's cores, for this job."""
    workers: int | None = Field(default=None, ge=1)
    """Workers; None: one per GPU where a worker takes one, otherwise as many as the CPUs allow."""
    cpus: int = Field(default=1, ge=1)
    """Cores, and CPU threads, of each worker."""
    gpus: float | None = Field(default=None, ge=0)
    """GPUs of each worker, e.g. 0.5 for two on one; None: 1 where the cluster has any and the work can use it."""
    piece_size: int | None = Field(default=None, ge=1)
    """Studies per piece; None: by the size of the job."""


class Worker(Protocol):
    """Made once per worker process, called with one piece after the other."""

    def __call__(self, piece: Mapping[str, Any]) -> dict[str, Any]:
        """Do a piece of work wholly, again if it was done before; numbers and texts come back."""
        ...


class Cluster:
    """A Ray cluster, joined or started; use as a context manager.

    Args:
        config: where and how many.
        takes_gpus: whether the work can use a GPU.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: the cluster cannot be reached, or has not what one worker needs.
    """

    def __init__(self, config: ClusterConfig, *, takes_gpus: bool) -> None:
        self.config = config
        self._takes_gpus = takes_gpus
        self._ray = require("ray", extra="scale")
        self._data = require("ray.data", extra="scale")

    def __enter__(self) -> Cluster:
        own = self.config.address is None
        if own and self.config.cpus > _num_cores():
            raise ConfigError(f"cluster.cpus = {self.config.cpus}: this machine has {_num_cores()}")
        _require_reachable(self.config.address)
        # Ray tells of dead workers on stdout, where a command's answer belongs.
        self._printing = contextlib.redirect_stdout(sys.stderr)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if own:
            # Ray's own workers give way to everything else (nice 15): here they are what the user wants done.
            os.environ.setdefault("RAY_worker_niceness", "0")
            os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        cores = {"num_cpus": max(_num_cores(), (self.config.workers or 1) * self.config.cpus)} if own else {}
        self._printing.__enter__()
        self._terminated = _end_on_sigterm()
        try:
            self._ray.init(
                address="local" if own else self.config.address,
                include_dashboard=False if own else None,
                logging_level=logging.ERROR,
                log_to_driver=False,
                **cores,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            self._let_go()
            where = self.config.address or "this machine"
            raise ConfigError(f"cluster.address: no Ray cluster can be had at {where}: {error}") from error
        _end_on_sigterm()  # Ray has put its own way in place, which ends in a dump of its stack
        try:
            total = self._ray.cluster_resources()
            self.gpus = self._gpus(total)
            most = self._most_workers(total)
            self.num_workers = self.config.workers or most
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()
        self._let_go()

    def _let_go(self) -> None:
        self._printing.__exit__(None, None, None)
        if self._terminated is not None:
            signal.signal(signal.SIGTERM, self._terminated)

    def run(self, worker: type[Worker], arguments: Sequence[Any], pieces: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
        """Have every piece done; the answers as they come, in any order.

        Args:
            worker: its class; importable on every machine of the cluster.
            arguments: it is made with them.
            pieces: what it is called with.

        Raises:
            RadwrightError: as a worker raised it; the other pieces under way may end or not.
            OutputError: workers kept dying on a piece.
        """
        if not pieces:
            return
        context = self._data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        size = min(self.num_workers, len(pieces))
        with warnings.catch_warnings():
            # Ray 2.64 is to have another way to say max_task_retries; without it a piece that kills its worker (out of
            # memory) would be tried for ever.
            warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
            answers = self._data.from_items(list(pieces), override_num_blocks=len(pieces)).map(
                Guarded,
                fn_constructor_args=(worker, tuple(arguments)),
                compute=self._data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2),
                num_cpus=self.config.cpus,
                num_gpus=self.gpus or None,
                max_task_retries=_RETRIES,
            )
        try:
            for answer in answers.iter_rows():
                if answer.get(_ERROR):
                    raise getattr(errors, answer[_ERROR])(answer["message"])
                yield answer
        except self._ray.exceptions.RayError as error:
            raise OutputError(
                f"{_RETRIES + 1} workers, one after the other, died on one piece of work ({_last_line(error)}). Out of "
                "memory is the likely cause: try fewer workers or a smaller batch. What is written stays; the same "
                "command goes on from there"
            ) from error

    def _gpus(self, total: Mapping[str, float]) -> float:
        has = total.get("GPU", 0.0)
        if self.config.gpus is None:
            return 1.0 if has and self._takes_gpus else 0.0
        if self.config.gpus > has:
            raise ConfigError(f"cluster.gpus = {self.config.gpus:g}: the cluster has {has:g} GPU(s)")
        return self.config.gpus

    def _most_workers(self, total: Mapping[str, float]) -> int:
        by_cpu = int(total.get("CPU", 0) // self.config.cpus)
        most = min(by_cpu, int(total["GPU"] // self.gpus)) if self.gpus else by_cpu
        if most < 1:
            has = f"{total.get('CPU', 0):g} CPUs and {total.get('GPU', 0):g} GPUs"
            raise ConfigError(
                f"cluster: a worker needs {self.config.cpus} CPU(s) and {self.gpus:g} GPU(s), the cluster has {has}"
            )
        return most


class Guarded:
    """A worker whose errors that are told to the user come back as answers: Ray would wrap them in traces."""

    def __init__(self, worker: type[Worker], arguments: tuple[Any, ...]) -> None:
        self._refusal: RadwrightError | None = None
        try:
            self._worker = worker(*arguments)
        except RadwrightError as error:
            self._refusal = error

    def __call__(self, piece: Mapping[str, Any]) -> dict[str, Any]:
        """The worker's answer, or the kind and the text of its error."""
        try:
            if self._refusal is not None:
                raise self._refusal
            return {_ERROR: "", "message": "", **self._worker(piece)}
        except RadwrightError as error:
            return {_ERROR: type(error).__name__, "message": str(error)}


def _require_reachable(address: str | None) -> None:
    """Ray itself would try for minutes, and name another address.

    Raises:
        ConfigError: nobody listens at an address of host and port.
    """
    named = _ADDRESS.fullmatch(address or "")
    if named is None:
        return
    try:
        socket.create_connection((named["host"], int(named["port"])), timeout=_REACHED_WITHIN_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cluster.address: no Ray cluster can be had at {address}: {error}") from error


def _end_on_sigterm() -> Any:
    """Make a SIGTERM, which schedulers send, what Ctrl-C is; what was in force before, None where it cannot be had."""
    if threading.current_thread() is not threading.main_thread():
        return None

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    return signal.signal(signal.SIGTERM, interrupt)


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
