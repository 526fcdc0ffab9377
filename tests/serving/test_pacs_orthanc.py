"""Beside a real PACS (Orthanc): its studies come in, a signed report stands in it once, also when it was down."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pacs_cases import PATIENT, chest, config, free_port, running, tiny_report, until
from room_cases import draft, job_of

from radwright.config import read_yaml
from radwright.imaging.decode import decode, probe
from radwright.serving import audit
from radwright.serving.pacs.config import PacsConfig
from radwright.serving.room import ReadingRoom
from radwright.serving.verifying import verify

PROGRAM = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
pytestmark = pytest.mark.skipif(not Path(PROGRAM).is_file(), reason="Orthanc is not installed")


class Orthanc:
    """One on loopback, with its own folder; it knows the listener as ``radwright``."""

    def __init__(self, folder: Path, listener_port: int) -> None:
        folder.mkdir()
        self.dicom_port, self.http_port = free_port(), free_port()
        values = {
            "Name": "PACS",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": "ORTHANC",
            "DicomPort": self.dicom_port,
            "DicomCheckCalledAet": True,
            "DicomModalities": {"radwright": ["RADWRIGHT", "127.0.0.1", listener_port]},
            "Plugins": [],
        }
        self.file = folder / "orthanc.json"
        self.file.write_text(json.dumps(values))

    @contextlib.contextmanager
    def up(self) -> Iterator[Orthanc]:
        with subprocess.Popen(
            [PROGRAM, self.file], cwd=self.file.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                until(self._answers)
                yield self
            finally:
                process.terminate()
                process.wait(60)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.ask("/system"))
        return False

    def ask(self, path: str, data: bytes | str | None = None) -> Any:
        body = data.encode() if isinstance(data, str) else data
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", data=body)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)

    def keep(self, *objects: bytes) -> str:
        """Its id of the study that some objects make up."""
        [study] = {self.ask("/instances", each)["ParentStudy"] for each in objects}
        return str(study)

    def send(self, study: str) -> Any:
        """Send a study to the listener, as a person or a rule of it would."""
        return self.ask("/modalities/radwright/store", study)

    def reports(self, study: str) -> list[Any]:
        """Tags of the structured reports of a study."""
        instances = self.ask(f"/studies/{study}/instances?full")
        return [each["MainDicomTags"] | self._tags(each["ID"]) for each in instances if self._tags(each["ID"])]

    def _tags(self, instance: str) -> dict[str, Any]:
        tags: dict[str, Any] = self.ask(f"/instances/{instance}/simplified-tags")
        return tags if tags["Modality"] == "SR" else {}


@pytest.fixture
def room(tmp_path: Path) -> ReadingRoom:
    return ReadingRoom(tmp_path / "room")


@pytest.fixture
def chosen() -> PacsConfig:
    return config(accept_from=["ORTHANC"], study_complete_after_s=0.5)


@pytest.fixture
def orthanc(tmp_path: Path, chosen: PacsConfig) -> Orthanc:
    return Orthanc(tmp_path / "orthanc", chosen.port)


def back_to(orthanc: Orthanc, chosen: PacsConfig) -> PacsConfig:
    to = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port}
    return PacsConfig.parse({**chosen.plain(), "send_to": to}, where="test")


def build(reported: Any) -> bytes:
    """The product's structured report."""
    try:
        from radwright.serving.out.sr import structured_report
    except ImportError:
        return tiny_report(reported)
    return structured_report(reported)


def sign_next(room: ReadingRoom, text: str = draft().text) -> str:
    """What the drafting process and a radiologist do, for the study that waits."""
    [job] = until(lambda: room.studies.jobs(limit=9))
    room.studies.add_draft(job_of(room, job.study_id), draft(text))
    room.reports.sign(job.study_id, 1, observer="Roe^Ann", organization="Here", actor="ann")
    return str(job.study_id)


def test_from_the_pacs_and_back(room: ReadingRoom, orthanc: Orthanc, chosen: PacsConfig) -> None:
    with orthanc.up(), running(room, back_to(orthanc, chosen), build=build) as ended:
        study = orthanc.keep(chest(1), chest(2, ViewPosition="LL"))
        assert orthanc.send(study)["FailedInstancesCount"] == 0
        study_id = sign_next(room)
        images = room.studies.images(study_id)
        assert {image.position for image in images} == {"frontal", "lateral"}
        for image in images:
            pixels = decode(probe(room.blobs.get(image.digest), name=image.name, max_pixels=10**6))
            assert pixels.shape == (32, 32)
        until(lambda: room.outbox.counts().get("ORTHANC", {}).get("sent"))
        # The whole study is sent again, the report with it: nothing comes twice.
        assert orthanc.send(study)["FailedInstancesCount"] == 0
        room.outbox.collect("ORTHANC")
        [report] = orthanc.reports(study)
        reported = room.reports.reported(study_id)
        assert report["SOPInstanceUID"] == reported.document_uid
        assert (report["PatientName"], report["PatientID"]) == (PATIENT, "P-4711")
        assert (report["CompletionFlag"], report["VerificationFlag"]) == ("COMPLETE", "VERIFIED")
        assert reported.text.split(". ")[0] in json.dumps(report)
    assert (ended[0].images, ended[0].refused, ended[0].sent, ended[0].waiting) == (2, 0, 1, 0)
    assert verify(room).faults == ()


def test_a_report_signed_while_the_pacs_is_down_arrives_later_once(
    room: ReadingRoom, orthanc: Orthanc, chosen: PacsConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radwright.serving.outbox.FIRST_WAIT_S", 0.1)
    with running(room, back_to(orthanc, chosen), build=build):
        with orthanc.up():
            study = orthanc.keep(chest(1))
            orthanc.send(study)
            until(room.studies.num_waiting)
        study_id = sign_next(room)
        until(lambda: room.outbox.counts().get("ORTHANC", {}).get("failing"))
    # The service restarts too; the queue is on disk.
    with running(room, back_to(orthanc, chosen), build=build), orthanc.up():
        until(lambda: room.outbox.counts()["ORTHANC"]["sent"])
        [report] = orthanc.reports(study)
        assert report["SOPInstanceUID"] == room.reports.reported(study_id).document_uid
    assert [entry.action for entry in audit.entries(room.database)].count("sent") == 1


def test_what_is_no_chest_radiograph_is_refused_to_the_pacs(
    room: ReadingRoom, orthanc: Orthanc, chosen: PacsConfig
) -> None:
    with orthanc.up(), running(room, chosen) as ended:
        study = orthanc.keep(chest(1, Modality="DX", BodyPartExamined="HAND"))
        with contextlib.suppress(urllib.error.HTTPError):
            orthanc.send(study)
    assert ended[0].refused == 1
    assert room.worklist.find()[0] == 0


def test_the_page_on_it_says_what_works(tmp_path: Path, room: ReadingRoom) -> None:
    page = (Path(__file__).parents[2] / "docs" / "pacs.md").read_text(encoding="utf-8")
    told = {kind: re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL)[0] for kind in ("json", "lua", "yaml")}
    http_port, dicom_port, listener_port = free_port(), free_port(), free_port()
    for name, text in (("orthanc.json", told["json"]), ("forward.lua", told["lua"]), ("PACS.yaml", told["yaml"])):
        for old, new in (("8042", http_port), ("4242", dicom_port), ("11112", listener_port)):
            text = text.replace(old, str(new))
        (tmp_path / name).write_text(text)
    chosen = PacsConfig.parse(
        {**read_yaml(tmp_path / "PACS.yaml"), "study_complete_after_s": 0.5, "poll_s": 0.1}, where="docs"
    )
    orthanc = Orthanc(tmp_path / "unused", listener_port)
    orthanc.file, orthanc.http_port = tmp_path / "orthanc.json", http_port
    with orthanc.up(), running(room, chosen, build=build) as ended:
        study = orthanc.keep(chest(1))
        sign_next(room)
        query = {"Level": "Series", "Query": {"Modality": "SR"}, "Expand": True}
        [series] = until(lambda: orthanc.ask("/tools/find", json.dumps(query)))
        assert series["ParentStudy"] == study
        until(lambda: room.outbox.counts()["ORTHANC"]["sent"])
    assert (ended[0].images, ended[0].images_again, ended[0].refused) == (1, 0, 0)


def test_real_radiographs_come_through_a_pacs(
    room: ReadingRoom, orthanc: Orthanc, chosen: PacsConfig, shared: Path
) -> None:
    files = sorted((shared / "data" / "dicom").glob("*CR_chest*.dcm"))
    if not files:
        pytest.skip("no DICOM chest radiographs among the real development data")
    with orthanc.up(), running(room, chosen) as ended:
        for path in files:
            with contextlib.suppress(urllib.error.HTTPError):
                orthanc.send(orthanc.keep(path.read_bytes()))
    assert ended[0].images + ended[0].images_again + ended[0].refused > 0
    assert ended[0].images > 0
