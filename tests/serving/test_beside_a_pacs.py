"""Orthanc -> radwright listen -> radwright serve -> signature -> Orthanc, all of ours killed again and again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pacs_cases import chest, free_port, until
from test_pacs_orthanc import PROGRAM, Orthanc

from radwright.serving.room import ReadingRoom
from radwright.serving.verifying import verify
from trained import trained_checkpoint

NUM_STUDIES = 4
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("Orthanc") or Path(PROGRAM).is_file()), reason="Orthanc is not installed"),
]


class Ours:
    """``radwright serve`` and ``radwright listen`` on one folder, each a process that can be killed."""

    def __init__(self, folder: Path, checkpoint: Path, pacs: dict[str, Any]) -> None:
        self.folder, self.data = folder, folder / "room"
        self.port = free_port()
        config = folder / "PACS.yaml"
        config.write_text(json.dumps(pacs))
        radwright = [sys.executable, "-m", "radwright"]
        self._commands = {
            "serve": [*radwright, "serve", str(checkpoint), "--data", str(self.data), "--port", str(self.port)],
            "listen": [*radwright, "listen", "--data", str(self.data), str(config)],
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        for name, command in self._commands.items():
            if name not in self.processes:
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                with (self.folder / f"{name}.log").open("ab") as log:
                    self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        until(self._is_up)

    def kill(self, *names: str) -> None:
        for name in names:
            process = self.processes.pop(name)
            process.send_signal(signal.SIGKILL)
            process.wait(30)

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(60)

    def ask(self, path: str, values: Any = None) -> Any:
        data = None if values is None else json.dumps(values).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)

    def _is_up(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.ask("/healthz"))
        return False


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_checkpoint(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def beside(tmp_path: Path, checkpoint: Path) -> Iterator[tuple[Ours, Orthanc]]:
    port = free_port()
    orthanc = Orthanc(tmp_path / "orthanc", port)
    pacs = {
        "ae_title": "RADWRIGHT",
        "address": "127.0.0.1",
        "port": port,
        "accept_from": ["ORTHANC"],
        "study_complete_after_s": 1.0,
        "send_to": {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port},
    }
    ours = Ours(tmp_path, checkpoint, pacs)
    with orthanc.up():
        try:
            ours.start()
            yield ours, orthanc
        finally:
            ours.stop()


def steady(work: Callable[[], Any]) -> Any:
    """As a PACS or a person does: try again when nobody answers."""
    for _ in range(60):
        with contextlib.suppress(OSError, urllib.error.HTTPError):
            return work()
        time.sleep(0.3)
    raise AssertionError("nobody ever answered")


@pytest.mark.parametrize("seed", range(3))
def test_every_study_has_one_result_however_often_it_is_killed(beside: tuple[Ours, Orthanc], seed: int) -> None:
    ours, orthanc = beside
    chance = random.Random(seed)

    def disturb() -> None:
        time.sleep(chance.uniform(0, 1.5))
        ours.kill(*chance.choice((("serve",), ("listen",), ("serve", "listen"))))
        ours.start()

    kept = [
        orthanc.keep(*(chest(view, study=f"1.2.826.{seed}.{number}") for view in (1, 2)))
        for number in range(NUM_STUDIES)
    ]
    for study in kept:  # while images come in
        with contextlib.suppress(OSError):
            orthanc.send(study)
        disturb()
        steady(lambda study=study: orthanc.send(study))
    disturb()  # while studies wait for company, or for their draft

    def drafted() -> list[Any]:
        return [
            row for row in steady(lambda: ours.ask("/v1/studies"))["studies"] if row["state"] in {"drafted", "signed"}
        ]

    until(lambda: len(drafted()) == NUM_STUDIES)
    for row in drafted():  # while they are signed and sent

        def sign(row: Any = row) -> Any:
            version = ours.ask(f"/v1/studies/{row['id']}")["report"]["number"]
            return ours.ask(f"/v1/studies/{row['id']}/sign", {"version": version, "observer": "Lee^Ann"})

        steady(sign)
        if chance.random() < 0.7:
            disturb()
    until(lambda: all(len(orthanc.reports(study)) == 1 for study in kept), within_s=90)
    disturb()
    time.sleep(3)

    room = ReadingRoom(ours.data)
    total, rows = room.worklist.find()
    assert total == NUM_STUDIES
    for row in rows:
        assert room.studies.study(row.study_id).state == "signed"
        assert len(room.studies.images(row.study_id)) == 2
        assert room.reports.signature(row.study_id) is not None
        last = room.studies.drafts(row.study_id)[-1]
        assert room.reports.versions(row.study_id)[-1].text == last.text
    assert [len(orthanc.reports(study)) for study in kept] == [1] * NUM_STUDIES
    assert {each["VerificationFlag"] for study in kept for each in orthanc.reports(study)} == {"VERIFIED"}
    assert room.outbox.counts()["ORTHANC"]["waiting"] == 0
    assert verify(room).faults == ()
