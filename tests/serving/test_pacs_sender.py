"""Signed reports go to the PACS once, whatever fails on the way; unsigned drafts go nowhere unless asked for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pacs_cases import BASIC_TEXT_SR, LATER, PATIENT, config, dataset, free_port, running, tiny_report, until
from room_cases import draft, image, job_of, study

from radwright.serving import audit
from radwright.serving.pacs.config import Peer, Timeouts
from radwright.serving.pacs.sender import DeliveryError, Sender
from radwright.serving.room import ReadingRoom
from radwright.serving.verifying import verify

SOON = Timeouts(connect_s=5, associate_s=5, reply_s=5, idle_s=5)


@pytest.fixture
def room(tmp_path: Path) -> ReadingRoom:
    return ReadingRoom(tmp_path / "room")


def peer(port: int = 104, ae_title: str = "PACS") -> Peer:
    return Peer(ae_title=ae_title, host="127.0.0.1", port=port)


def drafted(room: ReadingRoom, number: int = 1) -> str:
    uid = f"1.2.{number}"
    facts = study(study_uid=uid, origin="dicom", patient_name=PATIENT)
    room.blobs.put(b"pixels")
    study_id = room.studies.receive(facts, image(sop_instance_uid=f"{uid}.1", kind="DICOM"), actor="pacs:M")
    room.studies.complete_quiet(LATER)
    room.studies.add_draft(job_of(room, study_id), draft())
    return study_id


def signed(room: ReadingRoom, number: int = 1) -> str:
    study_id = drafted(room, number)
    room.reports.sign(study_id, 1, observer="Dr. Ann", actor="ann")
    return study_id


class Pacs:
    """Takes reports; keeps every object that came, and answers as it is told to."""

    def __init__(self, port: int, *, status: int = 0, classes: tuple[str, ...] = (BASIC_TEXT_SR,)) -> None:
        self.port, self.status, self.classes = port, status, classes
        self.came: list[Any] = []

    def take(self, event: Any) -> int:
        self.came.append(event.dataset)
        return self.status

    @contextmanager
    def up(self) -> Iterator[Pacs]:
        from pynetdicom import AE, evt

        ae = AE(ae_title="PACS")
        for each in self.classes:
            ae.add_supported_context(each)
        server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self.take)])
        try:
            yield self
        finally:
            server.shutdown()


@pytest.fixture
def pacs() -> Pacs:
    return Pacs(free_port())


def sends_to(pacs: Pacs, **values: Any) -> Any:
    return config(send_to={"ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}, **values)


def actions(room: ReadingRoom) -> list[str]:
    return [entry.action for entry in audit.entries(room.database)]


# ---- over the network


def test_a_signed_report_reaches_the_pacs_once(room: ReadingRoom, pacs: Pacs) -> None:
    drafted(room, 2)
    study_id = signed(room)
    with pacs.up(), running(room, sends_to(pacs)) as ended:
        until(lambda: room.outbox.counts().get("PACS", {}).get("sent"))
    [came] = pacs.came
    reported = room.reports.reported(study_id)
    assert (came.SOPInstanceUID, came.VerificationFlag) == (reported.document_uid, "VERIFIED")
    assert came.ContentSequence[0].TextValue == reported.text
    assert came.StudyInstanceUID == "1.2.1"
    assert actions(room).count("sent") == 1
    assert (ended[0].sent, ended[0].waiting) == (1, 0)
    with pacs.up(), running(room, sends_to(pacs)):
        assert room.outbox.collect("PACS") == 0
    assert len(pacs.came) == 1


def test_a_pacs_that_is_down_gets_the_report_when_it_is_up(
    room: ReadingRoom, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radwright.serving.outbox.FIRST_WAIT_S", 0.05)
    signed(room)
    with running(room, sends_to(pacs)):
        until(lambda: room.outbox.counts().get("PACS", {}).get("failing"))
        [sending] = room.outbox.due(at=LATER)
        assert sending.error == "cannot be reached"
        with pacs.up():
            until(lambda: room.outbox.counts()["PACS"]["sent"])
    assert len(pacs.came) == 1


@pytest.mark.parametrize(("status", "arrives"), [(0xB000, True), (0x0111, True), (0xA700, False), (0xC123, False)])
def test_only_a_pacs_that_has_it_has_it(room: ReadingRoom, pacs: Pacs, status: int, arrives: bool) -> None:
    pacs.status = status
    signed(room)
    assert deliver_due(room, pacs) == arrives
    if not arrives:
        [sending] = room.outbox.due(at=LATER)
        assert sending.error == f"answered with status {status:04X}"


def deliver_due(room: ReadingRoom, pacs: Pacs) -> int:
    from radwright.serving.pacs.network import deliver

    def send(to: Peer, data: bytes) -> None:
        deliver(to, data, calling="RADWRIGHT", timeouts=SOON)

    with pacs.up():
        return Sender(room, peer(pacs.port), build=tiny_report, deliver=send).send_due()


def test_a_pacs_that_takes_no_reports_says_so(room: ReadingRoom, pacs: Pacs) -> None:
    pacs.classes = ("1.2.840.10008.5.1.4.1.1.1",)
    signed(room)
    assert deliver_due(room, pacs) == 0
    assert room.outbox.due(at=LATER)[0].attempts == 1


def test_a_pacs_that_hangs_or_breaks_off_is_given_up(room: ReadingRoom) -> None:
    from radwright.serving.pacs.network import deliver

    quick = Timeouts(connect_s=1, associate_s=0.3, reply_s=0.3, idle_s=0.5)
    report = tiny_report(room.reports.reported(signed(room)))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(DeliveryError) as caught:
            deliver(peer(port), report, calling="R", timeouts=quick)
        assert not caught.value.is_reachable

        def slam() -> None:
            for _ in range(2):
                server.accept()[0].close()

        thread = threading.Thread(target=slam)
        thread.start()
        with pytest.raises(DeliveryError):
            deliver(peer(port), report, calling="R", timeouts=quick)
        # The connection that waited from before may have been the one that was closed.
        socket.create_connection(("127.0.0.1", port)).close()
        thread.join()
    with pytest.raises(DeliveryError, match="cannot be reached"):
        deliver(Peer(ae_title="P", host="no-such-host.invalid", port=104), report, calling="R", timeouts=quick)


def test_a_pacs_that_aborts_in_mid_object_gets_it_again(room: ReadingRoom, pacs: Pacs) -> None:
    from pynetdicom import AE, evt

    def abort(event: Any) -> int:
        event.assoc.abort()
        return 0

    ae = AE(ae_title="PACS")
    ae.add_supported_context(BASIC_TEXT_SR)
    server = ae.start_server(("127.0.0.1", free_port()), block=False, evt_handlers=[(evt.EVT_C_STORE, abort)])
    from radwright.serving.pacs.network import deliver

    report = tiny_report(room.reports.reported(signed(room)))
    with pytest.raises(DeliveryError, match="gave no answer"):
        deliver(peer(server.server_address[1]), report, calling="R", timeouts=SOON)
    server.shutdown()


# ---- unsigned drafts


def test_an_unsigned_draft_goes_nowhere_unless_asked_for(room: ReadingRoom, pacs: Pacs) -> None:
    drafted(room)
    other = {"ae_title": "AI", "host": "127.0.0.1", "port": pacs.port}
    values = {"accept_from": ["M"], "send_unsigned_to": other}
    chosen = config(**values, send_to={"ae_title": "PACS", "host": "127.0.0.1", "port": free_port()})
    with pacs.up(), running(room, chosen):
        threading.Event().wait(0.5)
    assert not pacs.came
    with pacs.up(), running(room, chosen, send_unsigned=True):
        until(lambda: room.outbox.counts().get("AI", {}).get("sent"))
    [came] = pacs.came
    assert (came.CompletionFlag, came.VerificationFlag) == ("PARTIAL", "UNVERIFIED")
    assert "PACS" not in room.outbox.counts()


def test_a_draft_that_was_signed_meanwhile_is_not_sent_as_one(room: ReadingRoom) -> None:
    sent: list[bytes] = []
    signed_later, edited_later = drafted(room, 1), drafted(room, 2)
    assert room.outbox.collect("AI", signed=False) == 2
    room.reports.sign(signed_later, 1, observer="Dr. Ann", actor="ann")
    room.reports.save(edited_later, "Edited.", based_on=1, author="ann")
    sender = Sender(
        room, peer(ae_title="AI"), build=tiny_report, deliver=lambda _, data: sent.append(data), signed=False
    )
    assert sender.send_due() == 0
    assert not sent
    assert room.outbox.due(at=LATER) == []
    assert sender.send_due() == 0
    assert actions(room).count("not sent") == 2
    assert verify(room).faults == ()


def test_what_waits_for_another_node_holds_nothing_up(room: ReadingRoom) -> None:
    for number in range(20):
        drafted(room, number)
    room.outbox.collect("AI", signed=False)
    study_id = signed(room, 99)
    sent: list[bytes] = []
    assert Sender(room, peer(), build=tiny_report, deliver=lambda _, data: sent.append(data)).send_due() == 1
    assert dataset(sent[0]).StudyInstanceUID == room.studies.study(study_id).study_uid


# ---- failures


def test_a_report_that_cannot_be_built_holds_nothing_up(room: ReadingRoom, caplog: pytest.LogCaptureFixture) -> None:
    bad, good = signed(room, 1), signed(room, 2)
    sent: list[bytes] = []

    def build(reported: Any) -> bytes:
        if reported.study.id == bad:
            raise ValueError(f"cannot encode {reported.study.patient_name}")
        return tiny_report(reported)

    assert Sender(room, peer(), build=build, deliver=lambda _, data: sent.append(data)).send_due() == 1
    assert dataset(sent[0]).StudyInstanceUID == room.studies.study(good).study_uid
    [waiting] = room.outbox.due(at=LATER)
    assert (waiting.study_id, waiting.error) == (bad, "cannot be built: ValueError")
    assert PATIENT not in caplog.text


def test_a_report_that_breaks_the_library_waits(room: ReadingRoom) -> None:
    bad = room.studies.study(signed(room, 1)).study_uid
    signed(room, 2)
    tried: list[str] = []

    def send(to: Peer, data: bytes) -> None:
        tried.append(str(dataset(data).StudyInstanceUID))
        if tried[-1] == bad:
            raise AttributeError("of the library")

    sender = Sender(room, peer(), build=tiny_report, deliver=send)
    assert [sender.send_due(), sender.send_due()] == [1, 0]
    assert tried == ["1.2.1", "1.2.2"]
    assert room.outbox.due(at=LATER)[0].error == "cannot be sent: AttributeError"


def test_an_unreachable_pacs_is_not_tried_for_every_report(room: ReadingRoom) -> None:
    for number in range(5):
        signed(room, number)
    clock, tried = [0.0], []

    def down(to: Peer, data: bytes) -> None:
        tried.append(to)
        raise DeliveryError("cannot be reached", is_reachable=False)

    sender = Sender(room, peer(), build=tiny_report, deliver=down, clock=lambda: clock[0])
    for _ in range(3):
        sender.send_due()
    assert len(tried) == 1
    clock[0] = 5.1
    sender.send_due()
    assert len(tried) == 2


def test_a_kill_between_the_answer_and_the_note_sends_the_same_object(room: ReadingRoom) -> None:
    signed(room)
    sent: list[bytes] = []

    def killed(to: Peer, data: bytes) -> None:
        sent.append(data)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Sender(room, peer(), build=tiny_report, deliver=killed).send_due()
    again = ReadingRoom(room.folder)
    assert Sender(again, peer(), build=tiny_report, deliver=lambda _, data: sent.append(data)).send_due() == 1
    first, second = map(dataset, sent)
    assert first.SOPInstanceUID == second.SOPInstanceUID
    assert sent[0] == sent[1]
