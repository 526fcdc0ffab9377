"""A PACS side to talk to, and DICOM objects and peers for its tests."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pynetdicom")

from pynetdicom.transport import AssociationSocket

from radwright.serving.intake import describe_image
from radwright.serving.pacs.config import PacsConfig
from radwright.serving.pacs.listener import Describe
from radwright.serving.pacs.network import _BoundedSocket
from radwright.serving.pacs.service import PacsService, Summary, image_limits
from radwright.serving.records import ReportedStudy
from radwright.serving.room import ReadingRoom
from tiny_dicom import CR, EXPLICIT, dicom

# The peers of these tests are the library's own, which leaves sockets open whose connection is gone.
AssociationSocket._shutdown_socket = _BoundedSocket._shutdown_socket  # type: ignore[method-assign]

PATIENT = "Mustermann^Erika"
FACTS = {"PatientName": PATIENT, "PatientID": "P-4711", "Modality": "CR", "ViewPosition": "PA"}
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
LATER = "9999-01-01T00:00:00.000Z"


def chest(number: int = 1, *, study: str = "1.2.826.1", side: int = 32, **tags: Any) -> bytes:
    """A DICOM file; its number is in its UID and its pixels."""
    pixels = np.arange(side * side, dtype=np.uint16).reshape(side, side) % 3000 + number
    uids = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1", "SOPInstanceUID": f"{study}.1.{number}"}
    return dicom(pixels, **{**FACTS, **uids, **tags})


def dataset(data: bytes) -> Any:
    import pydicom

    read = pydicom.dcmread(io.BytesIO(data))
    read.file_meta.MediaStorageSOPInstanceUID = read.SOPInstanceUID
    return read


def tiny_report(reported: ReportedStudy) -> bytes:
    """A structured report that a PACS takes; not the product's."""
    import pydicom

    made = pydicom.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = EXPLICIT
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = BASIC_TEXT_SR
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = reported.document_uid
    made.SpecificCharacterSet = "ISO_IR 192"
    made.PatientName, made.PatientID = reported.study.patient_name, reported.study.patient_id
    made.StudyInstanceUID, made.SeriesInstanceUID = reported.study.study_uid, reported.series_uid
    made.Modality = "SR"
    made.CompletionFlag = "COMPLETE" if reported.signature else "PARTIAL"
    made.VerificationFlag = "VERIFIED" if reported.signature else "UNVERIFIED"
    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    text = pydicom.Dataset()
    text.RelationshipType, text.ValueType, text.TextValue = "CONTAINS", "TEXT", reported.text
    made.ContentSequence = [text]
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def config(**values: Any) -> PacsConfig:
    usual = {"port": free_port(), "accept_from": ["MODALITY"], "study_complete_after_s": 600, "poll_s": 0.05}
    return PacsConfig.parse({**usual, **values}, where="test")


@contextmanager
def running(
    room: ReadingRoom,
    chosen: PacsConfig,
    *,
    build: Callable[[ReportedStudy], bytes] = tiny_report,
    describe: Describe | None = None,
    **values: Any,
) -> Iterator[list[Summary]]:
    """The service, listening; its summary is in the list once it has ended. Images are decoded in this process."""
    limits = image_limits(chosen)
    look = describe or (lambda data, name: describe_image(data, name, limits))
    service = PacsService(room, chosen, build=build, describe=look, **values)
    stop, ended = threading.Event(), list[Summary]()
    thread = threading.Thread(target=lambda: ended.append(service.run(stop)))
    thread.start()
    try:
        yield ended
    finally:
        stop.set()
        thread.join()


def until(holds: Callable[[], Any], *, within_s: float = 60.0) -> Any:
    """Wait for something that comes by itself; what it gave."""
    end = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return found


def associate(chosen: PacsConfig, *, calling: str = "MODALITY", called: str | None = None, classes: Any = (CR,)) -> Any:
    """An association of a peer with the listener, established or not."""
    from pynetdicom import AE

    ae = AE(ae_title=calling)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
    for each in classes:
        ae.add_requested_context(each)
    return ae.associate("127.0.0.1", chosen.port, ae_title=called or chosen.ae_title)


def store(chosen: PacsConfig, *objects: bytes, classes: Any = (CR,)) -> list[int]:
    """Send some objects on one association; the statuses."""
    association = associate(chosen, classes=classes)
    assert association.is_established
    statuses = [association.send_c_store(dataset(each)).get("Status") for each in objects]
    association.release()
    return statuses
