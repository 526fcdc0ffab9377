"""A server in a process of its own, as it is in earnest: uvicorn, processes that look at images; but no network.

``python hostile_server.py FOLDER [KEY=VALUE ...]`` prints its port once it listens.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[tuple[int, int]]:
    """(port, process id) of a server; it is stopped at the end."""
    command = [sys.executable, str(HERE / "hostile_server.py"), str(folder)]
    command += [f"{key}={value}" for key, value in settings.items()]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, (folder / "server.log").read_text()
        yield int(port), process.pid
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


def inspectors(process_id: int) -> list[int]:
    """The processes that look at images: those of its children that run what ``spawn`` starts."""
    children = Path(f"/proc/{process_id}/task/{process_id}/children")
    threads = Path(f"/proc/{process_id}/task").iterdir() if children.exists() else ()
    found = [int(each) for thread in threads for each in (thread / "children").read_text().split()]
    return [each for each in found if b"spawn_main" in _read(each, "cmdline")]


def memory_mb(process_id: int, field: str) -> float:
    """``VmRSS``, ``VmHWM`` (its peak) or ``VmPeak`` (of addresses) of a process, in MiB; 0 of one that is gone."""
    for line in _read(process_id, "status").decode().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


def most_addresses_mb(process_id: int) -> float:
    """The bound on a process's addresses, in MiB; infinite where there is none."""
    for line in _read(process_id, "limits").decode().splitlines():
        if line.startswith("Max address space"):
            soft = line.split()[3]
            return float("inf") if soft == "unlimited" else int(soft) / 2**20
    return 0.0


def _read(process_id: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{process_id}/{name}").read_bytes()
    except OSError:
        return b""


def main() -> None:
    """Serve until told to stop."""
    import uvicorn
    from serving_cases import make_server

    from radwright.serving.http.app import create_app
    from radwright.serving.inspecting import InspectionLimits, Inspector
    from radwright.serving.intake import Limits
    from radwright.serving.running import ServeRequest, _listening

    folder = Path(sys.argv[1])
    settings = dict(each.split("=", 1) for each in sys.argv[2:])
    limits = InspectionLimits(30.0, int(settings.pop("memory_mb", 2048)), 1)
    inspector = Inspector(Limits(max_bytes=16 * 2**20, max_pixels=40_000_000), limits)
    server = make_server(folder / "room", inspector=inspector, **{key: float(value) for key, value in settings.items()})
    listener = _listening(ServeRequest(Path(), folder, port=0))
    config = uvicorn.Config(create_app(server), log_config=None, access_log=False, timeout_graceful_shutdown=5)
    http = uvicorn.Server(config)
    announced = http.startup

    async def startup(sockets: Any = None) -> None:
        await announced(sockets)
        print(listener.getsockname()[1], flush=True)  # noqa: T201

    http.startup = startup  # type: ignore[method-assign]
    http.run(sockets=[listener])


if __name__ == "__main__":
    main()
