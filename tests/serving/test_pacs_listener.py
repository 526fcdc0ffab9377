"""Images from a PACS: kept once, before they are acknowledged; refused with a status; never a name logged."""

from __future__ import annotations

import io
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pacs_cases import BASIC_TEXT_SR, LATER, PATIENT, associate, chest, config, dataset, running, store, until
from room_cases import draft, job_of

from radwright.errors import ConfigError, OutputError
from radwright.imaging.decode import probe
from radwright.serving import audit
from radwright.serving.intake import Limits, describe_image
from radwright.serving.pacs.config import PacsConfig
from radwright.serving.pacs.listener import SOP_CLASSES, Listener, Received, Status
from radwright.serving.pacs.part10 import dicom_file
from radwright.serving.room import ReadingRoom
from radwright.serving.verifying import verify
from tiny_dicom import CR, compressed

SC = "1.2.840.10008.5.1.4.1.1.7"
BLOBS = "*/[0-9a-f]*"


@pytest.fixture
def room(tmp_path: Path) -> ReadingRoom:
    return ReadingRoom(tmp_path / "room")


def blobs(room: ReadingRoom) -> list[Path]:
    return sorted(room.blobs.folder.glob(BLOBS))


def received(data: bytes, **values: str) -> Received:
    read = dataset(data)
    length = int.from_bytes(data[140:144], "little")
    told = {
        "sop_class_uid": str(read.SOPClassUID),
        "sop_instance_uid": str(read.SOPInstanceUID),
        "transfer_syntax_uid": str(read.file_meta.TransferSyntaxUID),
        "calling_ae": "MODALITY",
    }
    return Received(data[144 + length :], **{**told, **values})


# ---- over the network


def test_images_gather_into_a_study_that_gets_complete(room: ReadingRoom) -> None:
    chosen = config(study_complete_after_s=0.2)
    with running(room, chosen) as ended:
        assert store(chosen, chest(1), chest(2, ViewPosition="LL")) == [0, 0]
        until(room.studies.num_waiting)
    [study] = [room.studies.study(job.study_id) for job in room.studies.jobs(limit=9)]
    assert (study.state, study.origin, study.patient_name, study.study_uid) == (
        "waiting",
        "dicom",
        PATIENT,
        "1.2.826.1",
    )
    images = room.studies.images(study.id)
    assert [(image.position, image.width, image.sop_instance_uid) for image in images] == [
        ("frontal", 32, "1.2.826.1.1.1"),
        ("lateral", 32, "1.2.826.1.1.2"),
    ]
    [summary] = ended
    assert (summary.images, summary.studies, summary.refused) == (2, 1, 0)


def test_the_bytes_stay_as_they_were_sent(room: ReadingRoom) -> None:
    chosen, sent = config(), chest(1)
    with running(room, chosen):
        assert store(chosen, sent) == [0]
    [path] = blobs(room)
    kept = path.read_bytes()
    assert kept.endswith(received(sent).dataset)
    assert dataset(kept).pixel_array.tolist() == dataset(sent).pixel_array.tolist()
    assert probe(kept, name="kept", max_pixels=10**6).width == 32


def test_an_image_that_comes_again_is_a_success_and_changes_nothing(room: ReadingRoom) -> None:
    chosen = config()
    with running(room, chosen) as ended:
        assert store(chosen, chest(1), chest(1)) == [0, 0]
        assert store(chosen, chest(1)) == [0]
    assert len(blobs(room)) == 1
    assert (ended[0].images, ended[0].images_again) == (1, 2)


def test_the_same_image_packed_otherwise_is_the_same(room: ReadingRoom) -> None:
    """Another transfer syntax, or uploaded by hand before: the PACS is not told that it lies."""
    chosen, implicit = config(), dataset(chest(1))
    implicit.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    stream = io.BytesIO()
    implicit.save_as(stream, implicit_vr=True, little_endian=True)
    with running(room, chosen) as ended:
        assert store(chosen, chest(1), stream.getvalue()) == [0, 0]
    assert (ended[0].images, ended[0].images_again) == (1, 1)
    assert len(blobs(room)) == 1


def test_a_study_that_was_uploaded_and_then_comes_from_the_pacs_gets_its_report_there(room: ReadingRoom) -> None:
    data = chest(1)
    described = describe_image(data, "by hand.dcm")
    room.blobs.put(data)
    study, _ = room.studies.upload(described.study, [described.image], actor="ann", most_waiting=9)
    room.reports.save(study.id, "Clear.", based_on=0, author="ann")
    room.reports.sign(study.id, 1, observer="Dr. Ann", actor="ann")
    assert room.outbox.collect("PACS") == 0
    chosen = config()
    with running(room, chosen):
        assert store(chosen, data) == [0]
    assert room.outbox.collect("PACS") == 1
    assert [entry.action for entry in audit.entries(room.database)][-1] == "known to PACS"
    assert verify(room).faults == ()


def test_other_bytes_under_a_known_uid_are_refused_and_leave_nothing(room: ReadingRoom) -> None:
    chosen = config()
    with running(room, chosen):
        assert store(chosen, chest(1), chest(1, PatientName="Other^Name")) == [0, Status.OTHER_BYTES]
    assert len(blobs(room)) == 1


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        ({"Modality": "CT"}, Status.NO_CHEST_RADIOGRAPH),
        ({"BodyPartExamined": "KNEE"}, Status.NO_CHEST_RADIOGRAPH),
        ({"NumberOfFrames": 2}, Status.UNFIT),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, Status.UNFIT),
        ({"Rows": 30000, "Columns": 30000}, Status.UNFIT),
        ({"Rows": 500}, Status.UNREADABLE),
        ({"without": ("PixelData",)}, Status.UNREADABLE),
        ({"without": ("StudyInstanceUID",)}, Status.NO_STUDY),
    ],
)
def test_what_is_no_chest_radiograph_gets_a_status_and_the_next_image_goes_in(
    room: ReadingRoom, tags: dict[str, Any], status: Status
) -> None:
    chosen = config()
    with running(room, chosen):
        assert store(chosen, chest(1, **tags), chest(2)) == [status, 0]
    assert len(blobs(room)) == 1


def test_an_image_of_another_patient_does_not_join_a_study(room: ReadingRoom) -> None:
    chosen = config()
    with running(room, chosen):
        assert store(chosen, chest(1), chest(2, PatientID="P-2")) == [0, Status.OTHER_PATIENT]
    assert len(blobs(room)) == 1


@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"])
def test_compressed_images_are_kept_compressed(room: ReadingRoom, tmp_path: Path, syntax: str) -> None:
    from pynetdicom import AE

    data = compressed(chest(1), syntax, tmp_path)
    transfer = dataset(data).file_meta.TransferSyntaxUID
    chosen = config()
    with running(room, chosen):
        ae = AE(ae_title="MODALITY")
        ae.add_requested_context(CR, transfer)
        association = ae.associate("127.0.0.1", chosen.port, ae_title="RADWRIGHT")
        assert association.send_c_store(dataset(data)).Status == 0
        association.release()
    [path] = blobs(room)
    assert dataset(path.read_bytes()).file_meta.TransferSyntaxUID == transfer


def test_a_secondary_capture_of_a_chest_film_is_taken(room: ReadingRoom) -> None:
    chosen = config()
    with running(room, chosen):
        assert store(chosen, chest(1, SOPClassUID=SC, Modality="OT"), classes=[SC]) == [0]


def test_a_refusal_says_why_without_the_patient(room: ReadingRoom) -> None:
    chosen = config()
    with running(room, chosen):
        association = associate(chosen)
        answer = association.send_c_store(dataset(chest(1, SeriesDescription=f"{PATIENT} knee")))
        association.release()
    assert answer.ErrorComment == "by its tags no chest radiograph"


def test_no_log_names_a_patient(room: ReadingRoom, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("pynetdicom", "pydicom", "radwright"):
        caplog.set_level(logging.DEBUG, logger=name)
    chosen = config(study_complete_after_s=0.1)
    named = {"StudyDescription": PATIENT, "AccessionNumber": "MUSTERM"}
    with running(room, chosen):
        store(chosen, chest(1, **named), chest(1), chest(2, SeriesDescription=f"knee {PATIENT}"), chest(3, Rows=9999))
        until(room.studies.num_waiting)
        associate(chosen, calling="MUSTERMANN")
    logged = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert "study complete" in logged
    assert "image refused" in logged
    assert "association rejected" in logged
    for secret in ("mustermann", "erika", "musterm", "p-4711"):
        assert secret not in logged.lower()


# ---- alone


def test_a_full_disk_is_told_as_out_of_resources(room: ReadingRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(data: bytes) -> str:
        raise OutputError("no space is left")

    listener = Listener(room, Limits(), describe_image)
    monkeypatch.setattr(room.blobs, "put", full)
    assert listener.store(received(chest(1))).status == Status.NO_RESOURCES == 0xA700
    monkeypatch.undo()

    def full_table(*_: Any, **__: Any) -> str:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(room.studies, "receive", full_table)
    assert listener.store(received(chest(1))).status == Status.NO_RESOURCES
    monkeypatch.undo()
    assert listener.store(received(chest(1))).status == Status.SUCCESS


def test_a_bug_is_an_answer_and_the_next_image_goes_in(room: ReadingRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener(room, Limits(), describe_image)
    with monkeypatch.context() as patch:
        patch.setattr(room.studies, "receive", lambda *_, **__: 1 / 0)
        assert listener.store(received(chest(1))).status == Status.FAILED
    assert listener.store(received(chest(1))).status == Status.SUCCESS


@pytest.mark.parametrize(
    "told",
    [
        {"sop_instance_uid": "1.9"},
        {"sop_instance_uid": "../../x"},
        {"sop_class_uid": SC},
        {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2"},
    ],
)
def test_an_object_that_is_not_what_was_announced_is_refused(room: ReadingRoom, told: dict[str, str]) -> None:
    assert Listener(room, Limits(), describe_image).store(received(chest(1), **told)).status == Status.NOT_AS_ANNOUNCED
    assert not blobs(room)


def test_a_file_is_the_same_however_often_it_is_made() -> None:
    told = {"sop_class_uid": CR, "sop_instance_uid": "1.2.3", "transfer_syntax_uid": "1.2.840.10008.1.2"}
    assert dicom_file(b"", **told) == dicom_file(b"", **told)
    read = dataset(dicom_file(received(chest(1)).dataset, **{**told, "transfer_syntax_uid": "1.2.840.10008.1.2.1"}))
    assert (read.file_meta.MediaStorageSOPClassUID, str(read.PatientName)) == (CR, PATIENT)
    assert CR in SOP_CLASSES


def test_a_late_image_reopens_an_undrafted_study(room: ReadingRoom) -> None:
    listener = Listener(room, Limits(), describe_image)
    listener.store(received(chest(1)))
    [study_id] = room.studies.complete_quiet(LATER)
    listener.store(received(chest(2)))
    assert room.studies.study(study_id).state == "receiving"


def test_a_late_image_of_a_signed_study_is_kept_and_told(room: ReadingRoom, caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener(room, Limits(), describe_image)
    listener.store(received(chest(1)))
    [study_id] = room.studies.complete_quiet(LATER)
    room.studies.add_draft(job_of(room, study_id), draft())
    room.reports.sign(study_id, 1, observer="Dr. Ann", actor="ann")
    assert listener.store(received(chest(2))).status == Status.SUCCESS
    assert room.studies.study(study_id).state == "signed"
    assert f"late image kept study={study_id} state=signed" in caplog.text


def test_own_reports_may_come_back_and_no_others(room: ReadingRoom) -> None:
    listener, report = Listener(room, Limits(), describe_image), BASIC_TEXT_SR
    listener.store(received(chest(1)))
    [study_id] = room.studies.complete_quiet(LATER)
    room.studies.add_draft(job_of(room, study_id), draft())
    uid = room.reports.reported(study_id).document_uid
    own = received(chest(1), sop_class_uid=report, sop_instance_uid=uid)
    assert listener.store(own).status == Status.SUCCESS
    other = received(chest(1), sop_class_uid=report, sop_instance_uid="1.2.3")
    assert listener.store(other).status == Status.NOT_AS_ANNOUNCED
    assert len(room.studies.images(study_id)) == 1


# ---- config


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "'accept_from' is required"),
        ({"accept_from": []}, "at least 1"),
        ({"accept_from": ["A" * 17]}, r"accept_from.0 = 'A+': an AE title has 1 to 16"),
        ({"accept_from": ["A"], "accept_address": []}, "unknown key 'accept_address'.*did you mean 'accept_addresses'"),
        ({"accept_from": ["A"], "accept_addresses": ["10.0.0.1/8"]}, "accept_addresses.0 = '10.0.0.1/8'"),
        ({"accept_from": ["A"], "port": 0}, "port = 0"),
        ({"accept_from": ["A"], "send_to": {"ae_title": "RADWRIGHT", "host": "h", "port": 1}}, "is this node's own"),
        ({"accept_from": ["A"], "send_to": {"ae_title": "P", "host": "h"}}, "'send_to.port' is required"),
        (
            {
                "accept_from": ["A"],
                "send_to": {"ae_title": "P", "host": "h", "port": 1},
                "send_unsigned_to": {"ae_title": "P", "host": "i", "port": 2},
            },
            "unsigned drafts need another AE",
        ),
        (
            {
                "accept_from": ["A"],
                "send_to": {"ae_title": "P", "host": "h", "port": 1},
                "send_unsigned_to": {"ae_title": "Q", "host": "H", "port": 1},
            },
            "unsigned drafts need another node",
        ),
    ],
)
def test_a_config_that_cannot_be_used_says_where(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        PacsConfig.parse(values, where="PACS.yaml")


def test_a_port_in_use_is_told(room: ReadingRoom) -> None:
    chosen = config()
    with running(room, chosen), pytest.raises(ConfigError, match=f"port {chosen.port}: cannot be listened on"):
        running(room, chosen).__enter__()


def test_unsigned_drafts_need_a_node_of_their_own(room: ReadingRoom) -> None:
    with pytest.raises(ConfigError, match="names no send_unsigned_to"):
        running(room, config(), send_unsigned=True).__enter__()
