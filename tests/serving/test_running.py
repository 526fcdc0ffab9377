"""``radwright serve`` as a process: who may start it, and that it stops when told, readers or not."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from pacs_cases import free_port, until
from room_cases import image, study

from radwright.errors import CheckpointError, ConfigError, StoreError
from radwright.serving.room import ReadingRoom
from radwright.serving.running import ServeRequest, is_loopback, run_server
from radwright.serving.server import only_server
from trained import trained_checkpoint


def refused(tmp_path: Path, **values: Any) -> None:
    checkpoint = tmp_path / "no network"
    checkpoint.mkdir(exist_ok=True)
    (checkpoint / "config.json").write_text("{}")
    run_server(ServeRequest(checkpoint, tmp_path / "room", **values), tell=lambda told: None)


def test_others_are_let_in_with_tokens_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0: others can reach that address, and nobody has a token"):
        refused(tmp_path, host="0.0.0.0")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.example.org", "127.0.0.1.example.org", ""])
def test_no_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_half_a_certificate_and_unknown_limits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="belong together"):
        refused(tmp_path, certificate=tmp_path / "cert.pem")
    with pytest.raises(ConfigError, match=r"unknown key 'max_batches' \(did you mean 'max_batch'\?\)"):
        refused(tmp_path, settings={"max_batches": 3})


def test_what_is_no_certificate_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cert\.pem: no such file"):
        refused(tmp_path, certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("none")
    with pytest.raises(ConfigError, match="are no certificate and its key in PEM"):
        refused(tmp_path, certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    assert not (tmp_path / "room").exists()


def test_a_port_that_is_taken_is_told_first(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port {port}: cannot listen there"):
            refused(tmp_path, port=port)


def test_one_server_works_on_a_folder(tmp_path: Path) -> None:
    room = ReadingRoom(tmp_path / "room")
    with only_server(room.folder), pytest.raises(ConfigError, match="another radwright serve works on this folder"):
        refused(tmp_path, port=0)


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "reading.sqlite").write_text("notes\n" * 200)
    with pytest.raises(StoreError, match="cannot be used"):
        refused(tmp_path, port=0)


def test_told_to_stop_it_stops_though_somebody_still_listens(tmp_path: Path) -> None:
    checkpoint, port = trained_checkpoint(tmp_path), free_port()
    room = ReadingRoom(tmp_path / "room")
    facts = study(study_uid="1.2", origin="dicom")
    study_id = room.studies.receive(facts, image(sop_instance_uid="1.2.3", kind="DICOM"), actor="pacs:CT")
    command = [sys.executable, "-m", "radwright", "serve", str(checkpoint)]
    options = ["--data", str(room.folder), "--port", str(port)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/healthz") as reply:
            return bool(reply.status == 200)
        return False

    with subprocess.Popen(
        [*command, *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            until(answers)
            with urllib.request.urlopen(f"{url}/v1/studies/{study_id}/events") as stream:
                assert stream.readline() == b"event: state\n"
                process.send_signal(signal.SIGTERM)
                assert process.wait(20) == 0
            assert process.stdout is not None
            told = process.stdout.read()
        finally:
            process.kill()
    assert f"{url}/" in told
    assert "no token is needed" in told
    assert "Traceback" not in told


def test_a_wrong_checkpoint_leaves_no_room_behind(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is no checkpoint \(it has no config.json\)"):
        run_server(ServeRequest(tmp_path / "nothing", tmp_path / "room"), tell=lambda told: None)
    assert not (tmp_path / "room").exists()
