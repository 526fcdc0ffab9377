"""Peers that send garbage, too much, too slowly, or go away: the listener refuses them, and takes the next image."""

from __future__ import annotations

import io
import random
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_decoder import look_on
from pacs_cases import associate, chest, config, dataset, free_port, running, store, until

from radwright.serving import inspecting
from radwright.serving.inspecting import InspectionLimits, Inspector
from radwright.serving.intake import Described, Limits
from radwright.serving.pacs.config import PacsConfig
from radwright.serving.pacs.listener import Status
from radwright.serving.room import ReadingRoom


@pytest.fixture
def chosen(request: pytest.FixtureRequest) -> PacsConfig:
    return config(
        limits={"max_bytes": 20_000, "max_objects": 3, "max_associations": 2}, timeouts=getattr(request, "param", {})
    )


impatient = pytest.mark.parametrize("chosen", [{"associate_s": 0.3, "idle_s": 0.3}], indirect=True, ids=["impatient"])


@pytest.fixture
def room(tmp_path: Path, chosen: PacsConfig) -> Iterator[ReadingRoom]:
    made = ReadingRoom(tmp_path / "room")
    with running(made, chosen):
        yield made
        # Whatever a test did: an image goes in, and no connection is left hanging.
        assert until(lambda: took(chosen))


def took(chosen: PacsConfig) -> bool:
    association = associate(chosen)
    if not association.is_established:
        return False
    status = association.send_c_store(dataset(chest(99))).get("Status")
    association.release()
    return status == 0


def connect(chosen: PacsConfig) -> socket.socket:
    return socket.create_connection(("127.0.0.1", chosen.port), timeout=30)


def closed(connection: socket.socket) -> bool:
    """Whether the listener closes a connection, whatever it says before."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


def piece(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    return struct.pack(">BBL", kind, 0, len(body) if length is None else length) + body


def body_of(file: bytes) -> bytes:
    """A DICOM file's dataset as it goes over the network."""
    return file[144 + int.from_bytes(file[140:144], "little") :]


def send_body(association: Any, file: bytes, body: bytes) -> Any:
    """Send bytes in the name of a file's object, whatever they are; the answer."""
    from pynetdicom.dimse_primitives import C_STORE

    named, request = dataset(file), C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = named.SOPClassUID, named.SOPInstanceUID
    request.DataSet = io.BytesIO(body)
    association._reactor_checkpoint.clear()
    until(lambda: association._is_paused)
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert answer is not None
    return answer


@impatient
@pytest.mark.parametrize(
    "sent",
    [
        random.Random(0).randbytes(3000),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        piece(1, b"", length=2**32 - 1) + b"x" * 100_000,
        piece(1, b"\0" * 70),
        piece(1, b"\xff" * 500),
        piece(4, b"\0" * 70),
        piece(5, b"\0" * 4),
        b"\x01",
        b"",
    ],
    ids=["noise", "http", "4 GB", "zeros", "ones", "data first", "release first", "one byte", "nothing"],
)
def test_garbage_on_the_port(room: ReadingRoom, chosen: PacsConfig, sent: bytes) -> None:
    with connect(chosen) as connection:
        try:
            connection.sendall(sent)
        except (ConnectionResetError, BrokenPipeError):
            return
        assert closed(connection)


@impatient
def test_a_piece_that_drips_is_given_up(room: ReadingRoom, chosen: PacsConfig) -> None:
    with connect(chosen) as connection:
        connection.sendall(piece(1, b"", length=5000))

        def drip() -> bool:
            try:
                connection.sendall(b"\0")
            except OSError:
                return True
            return False

        until(drip)


@impatient
def test_many_silent_connections_end_by_themselves(room: ReadingRoom, chosen: PacsConfig) -> None:
    connections = [connect(chosen) for _ in range(30)]
    assert until(lambda: took(chosen))
    for connection in connections:
        connection.close()


@pytest.mark.parametrize(
    ("calling", "called", "why"),
    [
        ("STRANGER", None, "its AE title is not in accept_from"),
        ("MODALITY", "OTHER", "it calls this node by another AE title than RADWRIGHT"),
        ("modality", None, "its AE title is MODALITY but for upper and lower case"),
    ],
)
def test_only_known_peers_that_name_this_node_get_in(
    room: ReadingRoom,
    chosen: PacsConfig,
    calling: str,
    called: str | None,
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    association = associate(chosen, calling=calling, called=called)
    assert association.is_rejected
    assert not association.is_established
    line = until(lambda: [line for line in caplog.messages if line.startswith("association rejected")])[0]
    sender = calling if calling == "MODALITY" else "unknown"
    assert f"sender={sender} address=127.0.0.1 why=" in line
    assert why in line


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.98])
def test_a_truncated_object_cannot_be_read(room: ReadingRoom, chosen: PacsConfig, kept: float) -> None:
    whole = chest(1, side=64)
    body = body_of(whole)
    association = associate(chosen)
    answer = send_body(association, whole, body[: int(kept * len(body))])
    association.release()
    assert answer.Status == Status.UNREADABLE
    assert 0 < len(answer.ErrorComment) <= 64
    assert "P-4711" not in answer.ErrorComment
    assert not room.worklist.find()[0]


def test_what_kills_or_hangs_the_decoder_is_refused_and_the_next_image_goes_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = config()
    monkeypatch.setattr(inspecting, "_look_on", look_on)
    inspector = Inspector(Limits(), InspectionLimits(seconds=2, num_processes=1))
    made = ReadingRoom(tmp_path / "other")

    def broken(data: bytes, name: str) -> Described:
        """What a decoder does on such an object its stand-in does on a word."""
        word = next((each for each in (b"dies", b"hangs") if each in data), None)
        return inspector.describe(word or data, name)

    try:
        inspector.start()
        with running(made, chosen, describe=broken):
            objects = [chest(1, PatientComments="dies"), chest(2, PatientComments="hangs"), chest(3)]
            assert store(chosen, *objects) == [Status.UNREADABLE, Status.UNREADABLE, Status.SUCCESS]
    finally:
        inspector.close()
    assert made.worklist.find()[0] == 1


def test_other_classes_get_no_context(room: ReadingRoom, chosen: PacsConfig) -> None:
    ct, presentation_state = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.11.1"
    assert not associate(chosen, classes=(ct, presentation_state)).is_established


def test_an_address_that_is_not_listed_is_not_served(tmp_path: Path) -> None:
    chosen = config(accept_addresses=["10.0.0.0/8"])
    with running(ReadingRoom(tmp_path / "room"), chosen), connect(chosen) as connection:
        assert closed(connection)
    chosen = config(accept_addresses=["10.0.0.0/8", "127.0.0.1"])
    with running(ReadingRoom(tmp_path / "room"), chosen):
        assert store(chosen, chest(1)) == [0]


def test_more_associations_than_allowed_are_rejected_for_the_moment(room: ReadingRoom, chosen: PacsConfig) -> None:
    held = [associate(chosen) for _ in range(2)]
    third = associate(chosen)
    assert [each.is_established for each in (*held, third)] == [True, True, False]
    assert (third.acceptor.primitive.result, third.acceptor.primitive.diagnostic) == (2, 2)
    for each in held:
        each.release()
    assert until(lambda: took(chosen))


def test_more_objects_than_allowed_need_another_association(room: ReadingRoom, chosen: PacsConfig) -> None:
    assert store(chosen, *(chest(number) for number in range(1, 6))) == [0, 0, 0, 0xA700, 0xA700]
    assert store(chosen, chest(4), chest(5)) == [0, 0]


def test_a_huge_object_is_refused_and_the_association_goes_on(room: ReadingRoom, chosen: PacsConfig) -> None:
    huge = chest(1, side=1500)
    assert len(huge) > 200 * chosen.limits.max_bytes
    assert store(chosen, huge, chest(2)) == [Status.TOO_LARGE, 0]


def test_an_association_that_ends_in_the_middle_of_an_object_leaves_nothing(
    room: ReadingRoom, chosen: PacsConfig
) -> None:
    from pynetdicom import evt

    for end in ("abort", "close"):
        association = associate(chosen)
        sent = []

        def stop(event: Any, association: Any = association, end: str = end, sent: list[Any] = sent) -> None:
            sent.append(event)
            if len(sent) == 3:
                if end == "abort":
                    association.dul.socket.send(piece(7, b"\0" * 4))
                association.dul.socket._shutdown_socket()

        association.bind(evt.EVT_PDU_SENT, stop)
        thread = threading.Thread(target=lambda each=association: each.send_c_store(dataset(chest(1, side=1500))))
        thread.start()
        thread.join()
    assert room.worklist.find()[0] == 0


def test_a_command_that_never_ends_is_cut_off(room: ReadingRoom, chosen: PacsConfig) -> None:
    association = associate(chosen)
    context = association.accepted_contexts[0].context_id
    # A value of a command (bit 1), never the last one (bit 2).
    value = struct.pack(">LBB", 8002, context, 1) + b"\0" * 8000

    def flood() -> bool:
        association.dul.socket.send(piece(4, value))
        return not association.is_established or association.dul.socket.socket is None

    assert until(flood)


def test_objects_sent_without_waiting_do_not_pile_up(room: ReadingRoom, chosen: PacsConfig) -> None:
    from pynetdicom.dimse_primitives import C_STORE

    association = associate(chosen)
    context = association.accepted_contexts[0].context_id
    sent = dataset(chest(1))
    encoded = chest(1)
    for number in range(200):
        request = C_STORE()
        request.MessageID, request.Priority = number + 1, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sent.SOPClassUID, sent.SOPInstanceUID
        request.DataSet = io.BytesIO(body_of(encoded))
        association.dimse.send_msg(request, context)
    until(lambda: not association.is_established or not association.dul.is_alive())
    assert room.worklist.find()[0] <= 1


def test_damaged_objects_never_break_it(room: ReadingRoom, chosen: PacsConfig) -> None:
    rng = np.random.default_rng(0)
    whole = chest(1)
    body = body_of(whole)
    for _ in range(20):
        association = associate(chosen)
        damaged = bytearray(body[: int(rng.integers(1, len(body)))])
        for place in rng.integers(0, len(damaged), size=20):
            damaged[place] = rng.integers(256)
        assert send_body(association, whole, bytes(damaged)).Status != 0
        association.release()


def test_dcmtk_speaks_with_it(room: ReadingRoom, chosen: PacsConfig, tmp_path: Path) -> None:
    tools = [Path("/usr/bin") / name for name in ("echoscu", "storescu")]
    if not all(tool.exists() for tool in tools):
        pytest.skip("dcmtk (echoscu, storescu) is not installed")
    names = ["-aet", "MODALITY", "-aec", chosen.ae_title, "127.0.0.1", str(chosen.port)]
    subprocess.run([tools[0], *names], check=True, timeout=60)
    (tmp_path / "1.dcm").write_bytes(chest(1))
    (tmp_path / "2.dcm").write_bytes(chest(2))
    subprocess.run([tools[1], *names, tmp_path / "1.dcm", tmp_path / "2.dcm"], check=True, timeout=60)
    assert len(room.studies.images(room.worklist.find()[1][0].study_id)) == 2
    (tmp_path / "3.dcm").write_bytes(chest(3, Modality="CT"))
    refused = subprocess.run(
        [tools[1], "-v", *names, tmp_path / "3.dcm"], check=False, timeout=60, capture_output=True, text=True
    )
    assert "CannotUnderstand" in refused.stdout + refused.stderr
    stranger = subprocess.run([tools[0], *names[2:]], check=False, timeout=60, capture_output=True)
    assert stranger.returncode != 0


def test_a_port_is_free_again(tmp_path: Path) -> None:
    chosen = config(port=free_port())
    for number in (1, 2):
        with running(ReadingRoom(tmp_path / "room"), chosen):
            assert store(chosen, chest(number)) == [0]
