"""What ``serving.py`` measures with: a server process, clients over plain sockets, and what the machine spent on each.

The clients speak just enough HTTP to upload and to follow events, since they share two cores with the server: a full
client library would cost more than the server that is measured.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import random
import re
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

BOUNDARY = b"radwright-load"


@dataclass(frozen=True)
class Load:
    """What is asked of a server.

    Attributes:
        checkpoint: it serves.
        clients: at once.
        seconds: measured, after ``warm_up_s``.
        warm_up_s: seconds that do not count.
        images: studies, each as the bytes of its views.
        suffix: of their names.
        settings: of ``radwright serve --set``.
        profile: a folder for the server's profile; None: none is made.
    """

    checkpoint: Path
    clients: int
    seconds: float
    warm_up_s: float
    images: list[tuple[bytes, ...]]
    suffix: str = ".png"
    settings: tuple[str, ...] = ()
    profile: Path | None = None


@dataclass
class Measured:
    """What came of it; times are (median, 95th percentile, longest)."""

    drafts_per_s: float
    draft_s: tuple[float, float, float]
    upload_s: tuple[float, float, float]
    statuses: dict[int, int]
    outcomes: dict[str, int]
    refused_share: float
    batches: dict[str, int]
    mean_batch: float
    network_share: float
    network_s_per_draft: float
    cpu_s_per_draft: dict[str, float]
    peak_mb: dict[str, float]


@dataclass
class Tally:
    """What clients saw: moments and durations."""

    uploads: list[tuple[float, float]] = field(default_factory=list)
    drafts: list[tuple[float, float]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)


def images_of(num_studies: int, size_px: int, *, as_dicom: bool) -> list[tuple[bytes, ...]]:
    """Phantom studies, each as the bytes of its views."""
    from radwright.data.phantom import PhantomConfig, generate_study
    from radwright.data.phantom.study import png_bytes

    config = PhantomConfig(size_px=size_px)
    studies = [generate_study(config, "val", index) for index in range(num_studies)]
    views = [tuple(png_bytes(image) for image in each.images.values()) for each in studies]
    return [tuple(_as_dicom(png) for png in each) for each in views] if as_dicom else views


def _as_dicom(png: bytes) -> bytes:
    import numpy as np
    from PIL import Image

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from tiny_dicom import dicom

    pixels = np.asarray(Image.open(io.BytesIO(png))).astype(np.uint16) * 16
    return dicom(pixels, stored=12, StudyInstanceUID="1.2.900000000", SOPInstanceUID="1.3.900000000")


def renewed(view: bytes, number: int, study: int) -> bytes:
    """The same picture in bytes of its own: a PNG with a comment, a DICOM file with other UIDs."""
    if view.startswith(b"\x89PNG"):
        told = b"tEXtComment\0%012d" % number
        return view[:33] + struct.pack(">I", len(told) - 4) + told + struct.pack(">I", zlib.crc32(told)) + view[33:]
    view = view.replace(b"1.2.900000000", b"1.2.1%08d" % study)
    return view.replace(b"1.3.900000000", b"1.3.1%08d" % number)


def form(views: tuple[bytes, ...], study: int, suffix: str) -> bytes:
    """A study as the body of an upload."""
    parts = [
        b'--%s\r\nContent-Disposition: form-data; name="files"; filename="view%d%s"\r\n\r\n%s\r\n'
        % (BOUNDARY, place, suffix.encode(), renewed(view, len(views) * study + place, study))
        for place, view in enumerate(views)
    ]
    return b"".join(parts) + b"--%s--\r\n" % BOUNDARY


class Client:
    """One connection at a time, kept alive."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer; a connection that the server closed meanwhile is opened anew."""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        request = (head + (f"Content-Type: {kind}\r\n" if kind else "") + "\r\n").encode() + body
        for attempt in (0, 1):
            try:
                if self._writer is None:
                    self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
                self._writer.write(request)
                return await self._answer()
            except (ConnectionError, asyncio.IncompleteReadError):
                self.close()
                if attempt:
                    raise
        raise AssertionError

    async def _answer(self) -> tuple[int, dict[str, str], bytes]:
        assert self._reader is not None
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = b""
        if "content-length" in headers:
            body = await self._reader.readexactly(int(headers["content-length"]))
        else:
            parts = []
            while size := int(await self._reader.readline(), 16):
                parts.append((await self._reader.readexactly(size + 2))[:-2])
            await self._reader.readline()
            body = b"".join(parts)
        if headers.get("connection") == "close":
            self.close()
        return int(first.split()[1]), headers, body

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


async def one_client(port: int, load: Load, numbers: Iterator[int], ends: float, tally: Tally) -> None:
    """Upload, wait for the draft, upload the next, until time is over."""
    client = Client(port)
    while time.perf_counter() < ends:
        number = next(numbers)
        body = form(load.images[number % len(load.images)], number, load.suffix)
        started = time.perf_counter()
        kind = f"multipart/form-data; boundary={BOUNDARY.decode()}"
        status, headers, answer = await client.ask("POST", "/v1/studies", body, kind)
        now = time.perf_counter()
        tally.statuses[status] += 1
        if status == 429:
            await asyncio.sleep(float(headers["retry-after"]) * random.uniform(1, 1.5))
            continue
        if status != 201:
            tally.outcomes[answer.decode(errors="replace")[:200]] += 1
            continue
        tally.uploads.append((now, now - started))
        study_id = json.loads(answer)["study"]["id"]
        _, _, told = await client.ask("GET", f"/v1/studies/{study_id}/events")
        now = time.perf_counter()
        outcome = re.findall(rb"^event: (\w+)", told, re.MULTILINE)[-1].decode()
        tally.outcomes[outcome] += 1
        if outcome == "draft":
            tally.drafts.append((now, now - started))
    client.close()


@contextmanager
def serving(load: Load, max_batch: int, room: Path) -> Iterator[tuple[int, int]]:
    """(port, process id) of a server."""
    command = [sys.executable, *(["-m", "cProfile", "-o", str(load.profile)] if load.profile else [])]
    command += ["-m", "radwright", "serve", str(load.checkpoint), "--data", str(room), "--port", "0"]
    command += ["--threads", "1", "--max-batch", str(max_batch)]
    command += [part for each in load.settings for part in ("--set", each)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    log_file = room.with_suffix(".log")  # the room's own folder holds nothing else
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/", log_file.read_text())):
            if process.poll() is not None:
                raise SystemExit(log_file.read_text())
            time.sleep(0.1)
        yield int(found[1]), process.pid
    finally:
        process.terminate()
        process.wait(120)
        told = log_file.read_text()
        if "rror" in told:
            print(told[-3000:], file=sys.stderr)


async def measure(load: Load, max_batch: int, room: Path) -> Measured:
    """Load a server, and tell what came of it."""
    with serving(load, max_batch, room) as (port, process_id):
        tally, client, numbers = Tally(), Client(port), itertools.count()
        while (await client.ask("GET", "/healthz"))[0] != 200:
            await asyncio.sleep(0.1)
        begins = time.perf_counter() + load.warm_up_s
        ends = begins + load.seconds
        clients = [asyncio.create_task(one_client(port, load, numbers, ends, tally)) for _ in range(load.clients)]
        await asyncio.sleep(load.warm_up_s)
        before, cpu_before = await _metrics(client), _cpu_s(process_id)
        await asyncio.sleep(max(0, ends - time.perf_counter()))
        after, cpu_after = await _metrics(client), _cpu_s(process_id)
        memory = _peak_mb(process_id)
        await asyncio.gather(*clients)
        client.close()
    drafts = [seconds for at, seconds in tally.drafts if begins <= at <= ends]
    uploads = [seconds for at, seconds in tally.uploads if begins <= at <= ends]
    spent = {name: after.get(name, 0) - before.get(name, 0) for name in after}
    num_batches = spent["radwright_batch_size_count"]
    network_s, num_drafted = spent["radwright_batch_seconds_sum"], max(1, spent["radwright_batch_size_sum"])
    return Measured(
        drafts_per_s=len(drafts) / load.seconds,
        draft_s=_times(drafts),
        upload_s=_times(uploads),
        statuses=dict(tally.statuses),
        outcomes=dict(tally.outcomes),
        refused_share=tally.statuses[429] / max(1, tally.statuses.total()),
        batches=_histogram(spent),
        mean_batch=num_drafted / max(1, num_batches),
        network_share=network_s / load.seconds,
        network_s_per_draft=network_s / num_drafted,
        cpu_s_per_draft={name: (cpu_after[name] - cpu_before[name]) / num_drafted for name in cpu_after},
        peak_mb=memory,
    )


def _times(seconds: list[float]) -> tuple[float, float, float]:
    found = sorted(seconds) or [float("nan")]
    return found[len(found) // 2], found[int(0.95 * (len(found) - 1))], found[-1]


async def _metrics(client: Client) -> dict[str, float]:
    _, _, text = await client.ask("GET", "/metrics")
    lines = (line.rsplit(" ", 1) for line in text.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def _histogram(spent: dict[str, float]) -> dict[str, int]:
    """Batches by size, as far apart as the server's buckets are."""
    found, below = {}, 0.0
    for name, up_to in spent.items():
        if bound := re.fullmatch(r'radwright_batch_size_bucket\{le="(.+)"\}', name):
            if up_to > below:
                found[f"up to {bound[1]}"] = int(up_to - below)
            below = up_to
    return found


def _children(process_id: int) -> list[int]:
    tasks = Path(f"/proc/{process_id}/task")
    found = [int(each) for task in tasks.iterdir() for each in (task / "children").read_text().split()]
    return [each for each in found if Path(f"/proc/{each}/stat").exists()]


def _cpu_s(process_id: int) -> dict[str, float]:
    """Of the server, its inspecting processes, and this very process with its clients."""

    def of(each: int) -> float:
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    inspectors = sum(of(each) for each in _children(process_id))
    return {"server": of(process_id), "inspectors": inspectors, "clients": time.process_time()}


def _peak_mb(process_id: int) -> dict[str, float]:
    def of(each: int) -> float:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{each}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0

    return {"server": of(process_id), "inspectors": sum(of(each) for each in _children(process_id))}
