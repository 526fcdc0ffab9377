"""The reading room's store: one result per study, versions that stay, conflicts that are told, a log that holds."""

from __future__ import annotations

import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from room_cases import draft, drafted, image, job_of, study, uploaded

from radwright.errors import ConfigError, OutputError, StoreError
from radwright.serving import audit
from radwright.serving.http.answers import study_out
from radwright.serving.known import image_digest, patient_of_study
from radwright.serving.refusals import ConflictError, QueueFullError, UnknownStudyError
from radwright.serving.room import ReadingRoom
from radwright.serving.verifying import verify


@pytest.fixture
def room(tmp_path: Path) -> ReadingRoom:
    return ReadingRoom(tmp_path / "room")


def test_an_upload_gets_one_draft_and_that_is_its_report(room: ReadingRoom) -> None:
    study_id = uploaded(room)
    job = job_of(room, study_id)
    made = room.studies.add_draft(job, draft())
    assert made is not None
    assert made.number == 1
    assert room.studies.add_draft(job, draft("Another.")) is None
    assert room.studies.draft(study_id) == made
    assert [(each.text, each.kind, each.author) for each in room.reports.versions(study_id)] == [
        (draft().text, "draft", "demo")
    ]
    assert room.studies.study(study_id).state == "drafted"
    assert room.studies.num_waiting() == 0
    assert room.worklist.find(finding="pleural_effusion")[1][0].doubt == pytest.approx(0.2)
    assert room.worklist.find(finding="pneumothorax") == (0, [])


def test_a_queue_that_is_full_takes_nothing(room: ReadingRoom) -> None:
    uploaded(room)
    with pytest.raises(QueueFullError, match="1 studies wait"):
        room.studies.upload(study(), [image()], actor="local", most_waiting=1)
    assert room.worklist.find()[0] == 1


def test_the_same_request_sent_again_is_the_same_study(room: ReadingRoom) -> None:
    first, is_new = room.studies.upload(study(), [image()], actor="local", most_waiting=9, request_key="k")
    again, is_new_again = room.studies.upload(study(), [image()], actor="local", most_waiting=9, request_key="k")
    assert (first, is_new, is_new_again) == (again, True, False)


def test_an_edit_on_an_old_version_is_refused_and_nothing_is_lost(room: ReadingRoom) -> None:
    study_id = drafted(room)
    first = room.reports.save(study_id, "Edited.", based_on=1, author="ann")
    assert (first.number, first.kind, first.based_on, first.draft) == (2, "edit", 1, 1)
    assert room.reports.save(study_id, "Edited.", based_on=2, author="ann") == first
    with pytest.raises(ConflictError, match="version 1 is not the newest one"):
        room.reports.save(study_id, "Other.", based_on=1, author="bob")
    assert [each.text for each in room.reports.versions(study_id)] == [draft().text, "Edited."]
    assert room.worklist.row(study_id).findings == {}


def test_another_draft_never_replaces_a_persons_edit(room: ReadingRoom) -> None:
    study_id = drafted(room)
    room.reports.save(study_id, "Edited.", based_on=1, author="ann")
    room.studies.request_draft(study_id, {"edema": True}, actor="ann", most_waiting=9)
    made = room.studies.add_draft(job_of(room, study_id), draft("There is edema."))
    assert made is not None
    assert made.number == 2
    newest = room.reports.newest(study_id)
    assert newest is not None
    assert newest.text == "Edited."


def test_signing_closes_a_report(room: ReadingRoom) -> None:
    study_id = drafted(room)
    room.studies.request_draft(study_id, {}, actor="ann", most_waiting=9)
    waiting = job_of(room, study_id)
    with pytest.raises(ConflictError, match="not the newest"):
        room.reports.sign(study_id, 2, observer="Dr. Ann", actor="ann")
    signature = room.reports.sign(study_id, 1, observer="Dr. Ann", actor="ann")
    assert room.reports.sign(study_id, 1, observer="Dr. Ann", actor="ann") == signature
    with pytest.raises(ConflictError, match=r"signed already, by Dr\. Ann"):
        room.reports.sign(study_id, 1, observer="Dr. Bob", actor="bob")
    with pytest.raises(ConflictError, match="signed"):
        room.reports.save(study_id, "Edited.", based_on=1, author="ann")
    assert room.studies.add_draft(waiting, draft("Late.")) is None
    reported = room.reports.reported(study_id)
    assert reported.signature == signature
    assert reported == room.reports.reported(study_id), "an export made twice is one document"


def test_an_empty_report_is_not_signed(room: ReadingRoom) -> None:
    study_id = drafted(room, "")
    with pytest.raises(ConflictError, match="empty"):
        room.reports.sign(study_id, 1, observer="Dr. Ann", actor="ann")


def test_a_failed_study_says_why_and_can_be_asked_again(room: ReadingRoom) -> None:
    study_id = uploaded(room)
    room.studies.fail(job_of(room, study_id), "no pixels")
    assert (room.studies.study(study_id).state, room.studies.study(study_id).reason) == ("failed", "no pixels")
    with pytest.raises(ConflictError, match="no report yet"):
        room.reports.reported(study_id)
    room.studies.request_draft(study_id, {}, actor="ann", most_waiting=9)
    assert room.studies.study(study_id).state == "waiting"
    room.studies.add_draft(job_of(room, study_id), draft())
    assert room.studies.study(study_id).state == "drafted"


def sent(place: int, uid: str = "1.2.3") -> dict[str, str]:
    return {"sop_instance_uid": f"{uid}.{place}", "kind": "DICOM"}


def test_dicom_images_gather_into_one_study(room: ReadingRoom) -> None:
    facts = study(study_uid="1.2.3", origin="dicom")
    ids = {
        room.studies.receive(facts, image(data=b"%d" % place, **sent(place)), actor="pacs:CT") for place in (0, 1, 0)
    }
    [study_id] = ids
    assert [each.place for each in room.studies.images(study_id)] == [0, 1]
    assert room.studies.study(study_id).state == "receiving"
    assert room.studies.complete_quiet("2000-01-01T00:00:00.000Z") == []
    assert room.studies.complete_quiet("9999-01-01T00:00:00.000Z") == [study_id]
    assert room.studies.complete_quiet("9999-01-01T00:00:00.000Z") == []
    assert room.studies.num_waiting() == 1
    with pytest.raises(ConflictError, match="other bytes"):
        room.studies.receive(facts, image(data=b"forged", **sent(0)), actor="pacs:CT")


def test_a_late_image_asks_for_another_draft_unless_a_person_has_worked(room: ReadingRoom) -> None:
    facts = study(study_uid="1.2.3", origin="dicom")
    study_id = room.studies.receive(facts, image(data=b"0", **sent(0)), actor="pacs:CT")
    room.studies.complete_quiet("9999-01-01T00:00:00.000Z")
    stale = job_of(room, study_id)
    room.studies.receive(facts, image(data=b"1", **sent(1)), actor="pacs:CT")
    assert room.studies.add_draft(stale, draft()) is None, "the draft of half a study is thrown away"
    room.studies.complete_quiet("9999-01-01T00:00:00.000Z")
    room.studies.add_draft(job_of(room, study_id), draft())
    room.reports.save(study_id, "Edited.", based_on=1, author="ann")
    room.studies.receive(facts, image(data=b"2", **sent(2)), actor="pacs:CT")
    assert room.studies.study(study_id).state == "drafted"
    assert len(room.studies.images(study_id)) == 3
    assert [entry.action for entry in audit.entries(room.database)][-1] == "receive late image"


def test_the_outbox_sends_each_text_once(room: ReadingRoom) -> None:
    study_id = room.studies.receive(study(study_uid="1.2", origin="dicom"), image(**sent(0)), actor="pacs:CT")
    room.studies.complete_quiet("9999-01-01T00:00:00.000Z")
    room.studies.add_draft(job_of(room, study_id), draft())
    drafted(room, patient_id="uploaded: the PACS does not know it")
    assert room.outbox.collect("PACS") == 0
    assert room.outbox.collect("AI", signed=False) == 1
    room.reports.sign(study_id, 1, observer="Dr. Ann", actor="ann")
    assert [room.outbox.collect("PACS") for _ in range(3)] == [1, 0, 0]
    [sending] = [each for each in room.outbox.due() if each.destination == "PACS"]
    waits = []
    for _ in range(12):
        waits.append(room.outbox.failed(sending, "down"))
        [sending] = [each for each in room.outbox.due(at="9999-01-01T00:00:00.000Z") if each.destination == "PACS"]
    assert waits == sorted(waits)
    assert waits[-1] == 900
    assert not [each for each in room.outbox.due() if each.destination == "PACS"], "it waits for its turn"
    assert room.outbox.counts()["PACS"]["failing"] == 1
    room.outbox.sent(sending)
    room.outbox.sent(sending)
    assert [entry.action for entry in audit.entries(room.database)].count("sent") == 1
    assert room.outbox.counts()["PACS"] == {"waiting": 0, "failing": 0, "sent": 1, "oldest_s": 0.0}


def test_what_the_pacs_sends_after_an_upload_it_gets_a_report_of(room: ReadingRoom) -> None:
    made, _ = room.studies.upload(study(study_uid="1.2"), [image(**sent(0))], actor="local", most_waiting=9)
    room.studies.add_draft(job_of(room, made.id), draft())
    room.reports.sign(made.id, 1, observer="Dr. Ann", actor="ann")
    assert room.outbox.collect("PACS") == 0
    assert room.studies.receive(study(study_uid="1.2"), image(**sent(0)), actor="pacs:CT") == made.id
    assert room.outbox.collect("PACS") == 1


# ---- addenda


def signed(room: ReadingRoom, **values: Any) -> str:
    study_id = drafted(room, **values)
    room.reports.sign(study_id, 1, observer="Dr. Ann", actor="ann")
    return study_id


def test_an_addendum_stands_beside_what_was_signed(room: ReadingRoom) -> None:
    study_id = signed(room)
    before = room.reports.reported(study_id)
    first = room.reports.add(study_id, "A nodule too.", based_on=1, observer="Dr. Bob", actor="bob")
    assert (first.version, first.observer) == (2, "Dr. Bob")
    assert room.reports.add(study_id, "A nodule too.", based_on=1, observer="Dr. Bob", actor="bob") == first
    room.reports.add(study_id, "Seen in CT.", based_on=2, observer="Dr. Ann", actor="ann")
    now = room.reports.reported(study_id)
    assert (now.text, now.signature) == (before.text, before.signature)
    assert [each.text for each in now.addenda] == ["A nodule too.", "Seen in CT."]
    second = room.reports.reported(study_id, 2)
    assert now.predecessor == (second.document_uid, second.series_uid)
    # A document that was built before stays what it was.
    assert room.reports.reported(study_id, 1) == replace(before, study=now.study)
    assert [each.kind for each in room.reports.versions(study_id)] == ["draft", "addendum", "addendum"]
    assert verify(room).faults == ()


def test_what_cannot_be_added(room: ReadingRoom) -> None:
    study_id = drafted(room)
    with pytest.raises(ConflictError, match="is not signed"):
        room.reports.add(study_id, "More.", based_on=1, observer="Dr. Ann", actor="ann")
    room.reports.sign(study_id, 1, observer="Dr. Ann", actor="ann")
    with pytest.raises(ConflictError, match="is empty"):
        room.reports.add(study_id, " \n", based_on=1, observer="Dr. Ann", actor="ann")
    room.reports.add(study_id, "More.", based_on=1, observer="Dr. Ann", actor="ann")
    with pytest.raises(ConflictError, match="not the newest one"):
        room.reports.add(study_id, "Other.", based_on=1, observer="Dr. Ann", actor="ann")
    with pytest.raises(ConflictError, match="cannot be changed"):
        room.reports.save(study_id, "Edited.", based_on=2, author="ann")
    with pytest.raises(ConflictError, match="signed already"):
        room.reports.sign(study_id, 2, observer="Dr. Ann", actor="ann")
    with pytest.raises(UnknownStudyError):
        room.reports.add("0" * 16, "More.", based_on=1, observer="Dr. Ann", actor="ann")


def test_of_two_who_add_at_once_one_reads_the_other_first(room: ReadingRoom) -> None:
    study_id, outcomes = signed(room), list[str]()

    def add(name: str) -> None:
        try:
            room.reports.add(study_id, f"By {name}.", based_on=1, observer=name, actor=name)
            outcomes.append("added")
        except ConflictError:
            outcomes.append("refused")
        finally:
            room.database.close()

    threads = [threading.Thread(target=add, args=(f"Dr. {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["added"] + ["refused"] * 7
    assert verify(room).faults == ()


def test_each_addendum_is_sent_as_a_document_of_its_own(room: ReadingRoom) -> None:
    study_id = signed(room, origin="dicom")
    assert room.outbox.collect("PACS") == 1
    room.reports.add(study_id, "More.", based_on=1, observer="Dr. Ann", actor="ann")
    assert [room.outbox.collect("PACS"), room.outbox.collect("PACS")] == [1, 0]
    due = room.outbox.due(destination="PACS")
    documents = [room.reports.reported(each.study_id, each.version) for each in due]
    assert [len(each.addenda) for each in documents] == [0, 1]
    assert documents[1].predecessor == (documents[0].document_uid, documents[0].series_uid)


# ---- withdrawn


def test_a_withdrawn_study_is_left_alone_and_comes_back(room: ReadingRoom) -> None:
    study_id = drafted(room, study_uid="1.2", accession="A1")
    room.studies.request_draft(study_id, {}, actor="ann", most_waiting=9)
    room.studies.withdraw(study_id, "another patient", actor="ann")
    room.studies.withdraw(study_id, "again", actor="bob")
    assert room.studies.study(study_id).reason == "another patient (ann)"
    assert room.studies.num_waiting() == 0
    assert room.worklist.find()[0] == 0
    assert room.worklist.find(state="withdrawn")[0] == 1
    assert room.worklist.finding_counts() == {}
    for refused in (
        lambda: room.reports.save(study_id, "Edited.", based_on=1, author="ann"),
        lambda: room.reports.sign(study_id, 1, observer="Dr. Ann", actor="ann"),
        lambda: room.reports.reported(study_id),
        lambda: room.studies.request_draft(study_id, {}, actor="ann", most_waiting=9),
    ):
        with pytest.raises(ConflictError, match="withdrawn"):
            refused()
    with pytest.raises(UnknownStudyError):
        room.studies.find("A1")
    room.studies.restore(study_id, actor="ann")
    assert (room.studies.study(study_id).state, room.studies.study(study_id).reason) == ("drafted", "")
    assert room.worklist.find()[0] == 1
    with pytest.raises(ConflictError, match="only a withdrawn one"):
        room.studies.restore(study_id, actor="ann")
    assert verify(room).faults == ()


def test_what_was_withdrawn_may_come_again_as_another_study(room: ReadingRoom) -> None:
    room.blobs.put(b"pixels")
    sent = image(kind="DICOM", sop_instance_uid="1.2.3", name="a.dcm")
    first = room.studies.receive(study(study_uid="1.2", patient_id="P9"), sent, actor="pacs:CR")
    room.studies.withdraw(first, "wrong patient", actor="ann")
    assert (image_digest(room.database, "1.2.3"), patient_of_study(room.database, "1.2")) == (None, "")
    second = room.studies.receive(study(study_uid="1.2", patient_id="P1"), sent, actor="pacs:CR")
    assert second != first
    with pytest.raises(ConflictError, match="here already"):
        room.studies.restore(first, actor="ann")
    assert room.studies.study(first).state == "withdrawn"
    room.studies.withdraw(second, "wrong again", actor="ann")
    room.studies.restore(first, actor="ann")
    assert room.studies.study(first).state == "waiting"
    assert [job.study_id for job in room.studies.jobs(limit=9)] == [first]


def test_a_draft_that_is_being_written_when_its_study_is_withdrawn_is_none(room: ReadingRoom) -> None:
    study_id = uploaded(room)
    job = job_of(room, study_id)
    room.studies.withdraw(study_id, "by mistake", actor="ann")
    assert room.studies.add_draft(job, draft()) is None
    room.studies.restore(study_id, actor="ann")
    assert room.studies.add_draft(job_of(room, study_id), draft()) is not None


def test_a_signed_study_stays(room: ReadingRoom) -> None:
    with pytest.raises(ConflictError, match="addendum"):
        room.studies.withdraw(signed(room), "by mistake", actor="ann")


# ---- audit


def test_an_untouched_log_is_whole(room: ReadingRoom) -> None:
    study_id = drafted(room)
    room.reports.save(study_id, "Edited.", based_on=1, author="ann")
    room.reports.sign(study_id, 2, observer="Dr. Ann", actor="ann")
    verdict = verify(room)
    assert verdict.faults == ()
    assert [entry.action for entry in audit.entries(room.database)] == ["upload", "draft", "edit", "document", "sign"]
    assert verify(room, head=verdict.head).faults == ()
    assert "Jane" not in "".join(str(entry) for entry in audit.entries(room.database))


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE audit SET actor = 'bob' WHERE number = 2", "entry 2 was changed"),
        ("DELETE FROM audit WHERE number = 2", "entry 2 is missing"),
        ("DELETE FROM audit WHERE action = 'sign'", "signature of version 2 is not the one"),
        ("UPDATE version SET text = 'Clear.' WHERE number = 2", "version 2 of its report is not what was logged"),
        ("DELETE FROM version WHERE number = 1", "version 1 of its report is missing"),
        (
            "INSERT INTO version SELECT study, 9, text, author, kind, 0, 0, '' FROM version LIMIT 1",
            "tells of version 9",
        ),
        ("UPDATE signature SET observer = 'Dr. Bob'", "signature of version 2 is not the one"),
        ("UPDATE signature SET version = 1 WHERE version = 2", "signature of version 1 is not the one"),
        ("DELETE FROM signature", "the signature of version 2 is missing"),
        ("DELETE FROM signature WHERE version = 3", "the signature of version 3 is missing"),
        ("UPDATE version SET text = 'Clear.' WHERE number = 3", "version 3 of its report is not what was logged"),
        ("UPDATE study SET patient_name = 'Evil^Bob'", "its patient, or another fact of it, is not what was logged"),
        ("UPDATE study SET indication = 'None.'", "its patient, or another fact of it"),
        ("UPDATE draft SET body = replace(body, 'left', 'right')", "draft 1 is not the one that was logged"),
        ("DELETE FROM draft", "draft 1 is missing"),
        ("DELETE FROM image", "an image of it is missing"),
        (
            "INSERT INTO image SELECT study, 9, 'ab', '', 'PNG', '', 1, 1, '', '', '', 0, '', 0 FROM image",
            "image 10 is not what was logged",
        ),
        ("UPDATE image SET sop_instance_uid = '1.2.9'", "image 1 is not what was logged"),
        ("UPDATE image SET position = 'lateral'", "image 1 is not what was logged"),
        ("UPDATE image SET withdrawn = 1", "counts as withdrawn, or not, against the log"),
        ("UPDATE signature SET signed_at = '2020-01-01T00:00:00.000Z'", "signature of version 2 is not the one"),
        ("UPDATE signature SET organization = 'Elsewhere'", "signature of version 2 is not the one"),
        ("UPDATE version SET author = 'bob' WHERE number = 2", "version 2 of its report is not what was logged"),
        ("UPDATE version SET created_at = '2020' WHERE number = 2", "version 2 of its report is not what was logged"),
        ("UPDATE version SET kind = 'draft', draft = 0 WHERE number = 2", "version 2 of its report is not what"),
        ("UPDATE study SET state = 'drafted'", "stands as drafted, but by the log it was signed"),
        ("UPDATE study SET state = 'withdrawn'", "stands as withdrawn, but by the log it was not withdrawn"),
        ("UPDATE document SET uid = '1.2.3'", "the UIDs of the document of version 2 are not those logged"),
        ("DELETE FROM document", "the UIDs of the document of version 2 are missing"),
        ("DELETE FROM sending", "it is forgotten that version 2 was sent to PACS"),
        ("UPDATE sending SET sent_at = NULL", "it is forgotten that version 2 was sent to PACS"),
        (
            "INSERT INTO sending SELECT NULL, study, 3, 1, 'PACS', 0, '', '', '', '' FROM sending",
            "no entry tells that version 3 was sent to PACS",
        ),
        ("INSERT INTO session SELECT 'ab', digest, '9999' FROM token", "a session of 'Rita' is open that nobody"),
        ("UPDATE token SET role = 'admin'", "the token of 'Rita' is not what was logged"),
    ],
)
def test_what_is_changed_behind_its_back_is_seen(room: ReadingRoom, statement: str, fault: str) -> None:
    study_id = drafted(room)
    secret = room.access.add("Rita", "reader")
    room.reports.save(study_id, "Edited.", based_on=1, author="ann")
    room.reports.sign(study_id, 2, observer="Dr. Ann", actor="ann")
    with room.database.transaction() as changing:
        changing.execute("UPDATE study SET origin = 'dicom'")
    room.outbox.collect("PACS")
    room.outbox.sent(room.outbox.due()[0])
    assert room.access.open_session(secret) is not None
    assert verify(room).faults == ()
    room.reports.add(study_id, "Seen again.", based_on=2, observer="Dr. Ann", actor="ann")
    connection = sqlite3.connect(room.database.path)
    guarded = ("audit", "version", "signature")
    triggers = [f"{table}_{what}" for table in guarded for what in ("stays", "keeps")]
    if any(part in statement for table in guarded for part in (f"UPDATE {table}", f"DELETE FROM {table}")):
        with pytest.raises(sqlite3.IntegrityError, match=r"append-only|never change"):
            connection.execute(statement)
    for trigger in triggers:
        connection.execute(f"DROP TRIGGER {trigger}")
    connection.execute(statement)
    connection.commit()
    connection.close()
    assert any(fault in each for each in verify(room).faults), verify(room).faults


def test_a_log_cut_short_is_seen_by_a_head_noted_before(room: ReadingRoom) -> None:
    uploaded(room)
    with room.database.transaction() as changing:
        audit.append(changing, "Rita", "export", "a", format="text")
    head = verify(room).head
    connection = sqlite3.connect(room.database.path)
    connection.execute("DROP TRIGGER audit_keeps")
    connection.execute("DELETE FROM audit WHERE number = 2")
    connection.commit()
    connection.close()
    assert verify(room).faults == ()
    assert any("cut short" in each for each in verify(room, head=head).faults)


def test_images_changed_or_gone_are_seen(room: ReadingRoom) -> None:
    drafted(room)
    room.blobs.put(b"pixels")
    assert verify(room).faults == ()
    path = next(path for path in (room.folder / "images").glob("*/*"))
    path.write_bytes(b"other pixels")
    assert any("was changed" in fault for fault in verify(room).faults)
    path.unlink()
    assert any("is missing" in fault for fault in verify(room).faults)


def test_a_copy_without_its_wal_file_is_not_called_whole(tmp_path: Path, room: ReadingRoom) -> None:
    room.blobs.put(b"pixels")
    copy = ReadingRoom(tmp_path / "copy")
    (room.folder / "images").rename(copy.folder / "images-of-another")
    (copy.folder / "images").rmdir()
    (copy.folder / "images-of-another").rename(copy.folder / "images")
    assert any("-wal" in fault for fault in verify(copy).faults)


def test_what_comes_after_the_signature_is_no_part_of_it(room: ReadingRoom) -> None:
    facts = study(study_uid="1.2.3", origin="dicom")
    study_id = room.studies.receive(facts, image(data=b"0", **sent(0)), actor="pacs:CT")
    room.studies.complete_quiet("9999-01-01T00:00:00.000Z")
    room.studies.add_draft(job_of(room, study_id), draft())
    room.reports.sign(study_id, 1, observer="Dr. Ann", actor="ann")
    before = room.reports.reported(study_id)
    time.sleep(0.002)
    room.studies.receive(facts, image(data=b"1", **sent(1)), actor="pacs:CT")
    assert len(room.studies.images(study_id)) == 2
    assert room.reports.reported(study_id) == before
    [note] = study_out(room, study_id).notes
    assert note == "Image 2 came after the report was signed, and is no part of it."


def test_a_key_used_for_other_images_is_refused(room: ReadingRoom) -> None:
    room.studies.upload(study(), [image()], actor="local", most_waiting=9, request_key="k")
    with pytest.raises(ConflictError, match="was used for other images"):
        room.studies.upload(study(), [image(data=b"other")], actor="local", most_waiting=9, request_key="k")


def test_a_room_is_its_owners_alone(room: ReadingRoom) -> None:
    drafted(room)
    for path in (room.folder, *room.folder.glob("reading.sqlite*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_entries_written_at_once_make_one_chain(room: ReadingRoom) -> None:
    def work(number: int) -> None:
        for index in range(10):
            uploaded(room, patient_id=f"{number}-{index}")
        room.database.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verdict = verify(room)
    assert (verdict.num_entries, verdict.faults) == (40, ())


# ---- access and folders


def test_a_token_is_kept_as_a_digest_and_can_be_revoked(room: ReadingRoom) -> None:
    assert not room.access.has_tokens()
    token = room.access.add("Dr. Ann", "radiologist")
    user = room.access.user_of(token)
    assert user is not None
    assert (user.name, user.role) == ("Dr. Ann", "radiologist")
    assert user.may("reader")
    assert user.may("radiologist")
    assert not user.may("admin")
    secret = room.access.open_session(token)
    assert secret is not None
    assert room.access.user_of_session(secret) == user
    assert room.access.open_session("guess") is None
    assert token.encode() not in (room.database.path.read_bytes() + Path(f"{room.database.path}-wal").read_bytes())
    room.access.revoke("Dr. Ann")
    assert room.access.user_of(token) is None
    assert room.access.user_of_session(secret) is None
    other = room.access.add("Dr. Ann", "reader")
    assert room.access.user_of(token) is None
    again = room.access.user_of(other)
    assert again is not None
    assert again.role == "reader"
    with pytest.raises(ConfigError, match="has a token; revoke it first"):
        room.access.add("Dr. Ann", "reader")
    assert verify(room).faults == ()
    with pytest.raises(ConfigError, match="did you mean 'reader'"):
        room.access.add("Bob", "raeder")


def test_a_folder_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is no reading room"):
        ReadingRoom(tmp_path, create=False)
    (tmp_path / "reading.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="cannot be used"):
        ReadingRoom(tmp_path)
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"holds other files \(notes\.txt\); give a folder of its own"):
        ReadingRoom(notes)
    assert [path.name for path in notes.iterdir()] == ["notes.txt"]
    other = tmp_path / "other"
    other.mkdir()
    connection = sqlite3.connect(other / "reading.sqlite")
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(StoreError, match=r"none of Radwright's"):
        ReadingRoom(other)


def test_what_is_not_there_is_told(room: ReadingRoom) -> None:
    with pytest.raises(UnknownStudyError, match="no study 'x'"):
        room.reports.versions("x")
    with pytest.raises(StoreError, match="no SHA-256"):
        room.blobs.get("../../etc/passwd")
    digest = room.blobs.put(b"bytes")
    assert room.blobs.get(digest) == b"bytes"
    path = next((room.folder / "images").glob("*/*"))
    path.write_bytes(b"other")
    with pytest.raises(StoreError, match="was changed"):
        room.blobs.get(digest)


@pytest.mark.parametrize("words", ["jane", "DOE p1", "p1", "Döe, Jané", "Doe^Jane"])
def test_words_find_a_study(room: ReadingRoom, words: str) -> None:
    uploaded(room, patient_name="Doé^Jáne")
    uploaded(room, patient_name="Roe^Rob", patient_id="Q2")
    assert room.worklist.find(words=words)[0] == 1


def test_words_are_no_pattern(room: ReadingRoom) -> None:
    uploaded(room)
    for words in ("%", "_", "' OR 1=1 --", "jane%"):
        assert room.worklist.find(words=words)[0] == 0
    with pytest.raises(ConfigError, match="did you mean 'risk'"):
        room.worklist.find(order="risks")


def test_a_commit_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    database = ReadingRoom(tmp_path).database

    def of_no_study() -> None:
        with database.transaction() as connection:
            connection.execute("PRAGMA defer_foreign_keys = ON")
            connection.execute("INSERT INTO asserted VALUES ('nowhere', 'edema', NULL)")

    with pytest.raises(sqlite3.IntegrityError):
        of_no_study()
    with database.transaction() as connection:
        assert connection.execute("SELECT count(*) FROM asserted").fetchone()[0] == 0


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    room = ReadingRoom(tmp_path)
    pages = room.database.connection.execute("PRAGMA page_count").fetchone()[0]
    room.database.connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OutputError, match="cannot be written: database or disk is full"):
        uploaded(room, indication="x" * 100_000)
    room.database.connection.execute("PRAGMA max_page_count = 1000000")
    assert room.studies.num_waiting() == 0
    assert uploaded(room)
