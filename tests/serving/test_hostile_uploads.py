"""Some four hundred hostile requests against a real server: each is refused, nothing of it is kept, memory stays."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hostile_images
import hostile_requests
import pytest
from hostile_requests import Case, ask, part, request, upload
from hostile_server import inspectors, memory_mb, most_addresses_mb, serving

CASES = hostile_requests.all_cases()
MEMORY_MB = 1024
"""That an inspecting process may ask for."""
GROWTH_MB = 160
"""By which the server may grow over all of it: ten times its largest request body, for copies of several at once."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int, Path]]:
    folder = tmp_path_factory.mktemp("room")
    with serving(folder, memory_mb=MEMORY_MB, max_upload_mb=16, body_timeout_s=1) as (port, process_id):
        yield port, process_id, folder


def studies(port: int) -> int:
    answer = ask(port, Case("", "", (request("GET", "/v1/studies"),)))
    assert answer.status == 200, answer
    return int(json.loads(answer.body)["total"])


def blobs(folder: Path) -> set[str]:
    return {path.name for path in (folder / "room" / "images").rglob("*") if path.is_file()}


def test_there_are_enough_and_no_two_are_alike() -> None:
    assert len(CASES) == len({(case.family, case.name) for case in CASES}) == len({case.parts for case in CASES})
    assert sum(case.parts[0].startswith(b"POST /v1/studies HTTP") for case in CASES) >= 200
    assert min(Counter(case.family for case in CASES).values()) >= 10


def test_every_hostile_request_is_refused_and_leaves_nothing(running: tuple[int, int, Path]) -> None:
    port, process_id, folder = running
    for name, data in hostile_images.good():
        answer = ask(port, Case("good", name, (upload(part(data)),)))
        assert answer.status == 201, (name, answer)
    before_mb, wrong = memory_mb(process_id, "VmHWM"), []
    for case in CASES:
        num_studies, known = studies(port), blobs(folder)
        answer = ask(port, case)
        right = answer.status in case.right
        kept = int(answer.status == 201)
        clean = studies(port) == num_studies + kept and (kept or blobs(folder) == known)
        quoted = case.family == "names" and any(
            word in answer.body for word in (b"etc/", b"system32", b"..", b"\\u202e")
        )
        if not right or not clean or quoted:
            wrong.append(
                (case.family, case.name, answer.status, answer.body[:200], "clean" if clean else "left something")
            )
    assert not wrong, "\n".join(map(repr, wrong))
    assert (
        ask(port, Case("good", "after all", (upload(part(hostile_images.saved(hostile_images.NOISE[::-1]))),))).status
        == 201
    )
    log = (folder / "server.log").read_text(errors="replace")
    assert "unforeseen" not in log, log[-3000:]
    if Path("/proc/self/status").exists():
        for each in (looking := inspectors(process_id)):
            assert memory_mb(each, "VmPeak") <= most_addresses_mb(each) < float("inf")
            assert memory_mb(each, "VmHWM") < MEMORY_MB
        assert looking
        assert memory_mb(process_id, "VmHWM") - before_mb < GROWTH_MB
