"""A process that is killed at any step loses no image and no report; one that is asked to stop finishes its work."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from pacs_cases import (
    BASIC_TEXT_SR,
    LATER,
    PATIENT,
    associate,
    chest,
    config,
    dataset,
    free_port,
    running,
    store,
    until,
)
from pacs_driver import STEPS
from room_cases import draft, job_of

from radwright.data.files import TEMPORARY_PREFIX
from radwright.serving import audit
from radwright.serving.pacs.config import PacsConfig
from radwright.serving.room import ReadingRoom
from radwright.serving.verifying import verify

DRIVER = Path(__file__).with_name("pacs_driver.py")
RECEIVING = ("before the bytes", "in the bytes", "after the bytes", "after the row", "after the answer")
SENDING = ("before sending", "after sending", "after the note")


def slow_but(steps: Sequence[str], *usual: str) -> list[Any]:
    return [step if step in usual else pytest.param(step, marks=pytest.mark.slow) for step in steps]


@pytest.fixture
def room(tmp_path: Path) -> ReadingRoom:
    return ReadingRoom(tmp_path / "room")


@contextlib.contextmanager
def listening(room: ReadingRoom, chosen: PacsConfig, step: str = "") -> Iterator[subprocess.Popen[str]]:
    """``radwright listen`` in a process of its own."""
    path = room.folder / "PACS.yaml"
    path.write_text(yaml.safe_dump(chosen.plain()))
    paths = [str(DRIVER.parent), str(DRIVER.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    with subprocess.Popen(
        [sys.executable, DRIVER, room.folder, path, step],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    ) as process:

        def is_up() -> bool:
            if process.poll() is not None:
                return True
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", chosen.port), timeout=5):
                return True
            return False

        until(is_up)
        try:
            yield process
        finally:
            process.kill()


def try_to_store(chosen: PacsConfig, data: bytes) -> Any:
    association = associate(chosen)
    answer = association.send_c_store(dataset(data))
    if association.is_established:
        association.release()
    return answer.get("Status")


def blobs(room: ReadingRoom) -> list[Path]:
    return [path for path in room.blobs.folder.glob("*/*") if not path.name.startswith(TEMPORARY_PREFIX)]


@pytest.mark.parametrize("step", slow_but(RECEIVING, "in the bytes", "after the row"))
def test_an_image_is_not_lost_when_its_receiver_is_killed(room: ReadingRoom, step: str) -> None:
    # A peer is sent to, so that the sender's loop runs too; nothing is signed here.
    other = {"ae_title": "AI", "host": "127.0.0.1", "port": free_port()}
    chosen = config(send_unsigned_to=other)
    with listening(room, chosen, step) as process:
        assert try_to_store(chosen, chest(1)) is None, "nothing was acknowledged"
        assert process.wait(60) == -signal.SIGKILL
    # What was not acknowledged comes again; what had got through already must not be there twice.
    with running(room, chosen):
        assert store(chosen, chest(1)) == [0]
    [row] = room.worklist.find()[1]
    [image] = room.studies.images(row.study_id)
    assert room.blobs.get(image.digest).endswith(dataset(chest(1)).PixelData)
    assert len(blobs(room)) == 1
    assert verify(room).faults == ()
    assert room.blobs.sweep() == 0, "another process may be writing it"
    assert room.blobs.sweep(older_than_s=0) == (step == "in the bytes")
    assert not list(room.blobs.folder.glob(f"*/{TEMPORARY_PREFIX}*"))


def test_a_study_gets_complete_once_though_its_process_is_killed(room: ReadingRoom) -> None:
    other = {"ae_title": "AI", "host": "127.0.0.1", "port": free_port()}
    chosen = config(study_complete_after_s=0.1, send_unsigned_to=other)
    with running(room, config(port=chosen.port)):
        store(chosen, chest(1))
    with listening(room, chosen, "completion") as process:
        assert process.wait(60) == -signal.SIGKILL
    assert room.studies.num_waiting() == 1
    assert [entry.action for entry in audit.entries(room.database)].count("study complete") == 1


@pytest.mark.parametrize("step", slow_but(SENDING, "after sending"))
def test_a_report_arrives_as_one_object_when_its_sender_is_killed(room: ReadingRoom, step: str) -> None:
    from pynetdicom import AE, evt

    came: list[str] = []

    def take(event: Any) -> int:
        came.append(str(event.dataset.SOPInstanceUID))
        return 0

    ae = AE(ae_title="PACS")
    ae.add_supported_context(BASIC_TEXT_SR)
    port = free_port()
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, take)])
    try:
        other = {"ae_title": "AI", "host": "127.0.0.1", "port": free_port()}
        to = {"ae_title": "PACS", "host": "127.0.0.1", "port": port}
        chosen = config(send_to=to, send_unsigned_to=other)
        with running(room, config(port=chosen.port)):
            store(chosen, chest(1))
        [study_id] = room.studies.complete_quiet(LATER)
        room.studies.add_draft(job_of(room, study_id), draft())
        room.reports.sign(study_id, 1, observer="Dr. Ann", actor="ann")
        with listening(room, chosen, step) as process:
            assert process.wait(60) == -signal.SIGKILL
        with running(room, chosen):
            until(lambda: room.outbox.counts()["PACS"]["sent"])
    finally:
        server.shutdown()
    assert set(came) == {room.reports.reported(study_id).document_uid}
    assert len(came) == (2 if step == "after sending" else 1)
    assert [entry.action for entry in audit.entries(room.database)].count("sent") == 1
    assert verify(room).faults == ()


def test_asked_to_stop_it_finishes_what_it_stores_and_names_nobody(room: ReadingRoom) -> None:
    other = {"ae_title": "AI", "host": "127.0.0.1", "port": free_port()}
    chosen = config(send_unsigned_to=other, study_complete_after_s=0.1)
    statuses: list[Any] = []
    with listening(room, chosen, "slow") as process:
        sending = threading.Thread(target=lambda: statuses.append(try_to_store(chosen, chest(1))))
        sending.start()
        until(lambda: blobs(room))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        sending.join()
    assert process.returncode == 0, err
    assert statuses == [0]
    assert len(room.worklist.find()[1]) == 1
    assert "1 images in 0 complete studies received" in out
    assert "listening ae_title=RADWRIGHT" in err
    for secret in (*PATIENT.split("^"), "P-4711"):
        assert secret not in out + err


def test_every_step_is_tried() -> None:
    assert {*RECEIVING, "completion", *SENDING} == set(STEPS)
