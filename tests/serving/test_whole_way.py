"""The whole way of a study through the real server, network and page, in a browser: DICOM in, SR and FHIR out.

``RADWRIGHT_PICTURES=DIR`` keeps a picture of every step.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_browser import Reader
from PIL import Image
from serving_cases import make_server

from a_browser import a_browser
from radwright.serving.drafting import Drafter, OnText
from radwright.serving.http.app import create_app
from radwright.serving.server import Server
from radwright.serving.verifying import verify
from tiny_dicom import dicom
from trained import known_studies, trained_checkpoint

STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
PACE_S = 0.03


class SlowDrafter(Drafter):
    """Writes as fast as a person can watch."""

    def write(self, orders: Any, on_text: OnText) -> Any:
        words = self.explainer.stream_tokens

        def slowly(batch: Any) -> Iterator[Any]:
            for event in words(batch):
                yield event
                time.sleep(PACE_S)

        self.explainer.stream_tokens = slowly  # type: ignore[method-assign]
        return super().write(orders, on_text)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_checkpoint(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with a_browser() as browser:
        yield browser


@contextmanager
def running(server: Server) -> Iterator[str]:
    """The server behind uvicorn; its address."""
    import uvicorn

    http = uvicorn.Server(uvicorn.Config(create_app(server), port=0, log_config=None))
    thread = threading.Thread(target=http.run)
    thread.start()
    while not http.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = http.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        http.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def as_dicom(place: int, view: Any) -> bytes:
    pixels = np.asarray(Image.open(io.BytesIO(view.image.read())))
    return dicom(
        pixels,
        stored=8,
        StudyInstanceUID=STUDY_UID,
        SeriesInstanceUID=f"{STUDY_UID}.1",
        SOPInstanceUID=f"{STUDY_UID}.1.{place + 1}",
        PatientName="Doe^Jane",
        PatientID="P-4711",
        PatientSex="F",
        AccessionNumber="A-1",
        StudyDate="20260301",
        Modality="DX",
        ViewPosition="PA" if view.position == "frontal" else "LL",
        BodyPartExamined="CHEST",
    )


def picture(reader: Reader, name: str) -> None:
    if folder := os.environ.get("RADWRIGHT_PICTURES"):
        reader.tab.wait_for_timeout(300)
        reader.tab.screenshot(path=str(Path(folder) / f"{name}.png"))


def exported(reader: Reader, kind: str) -> bytes:
    with reader.tab.expect_download() as download:
        reader.tab.locator(f"a[href$='format={kind}']").click()
    return Path(download.value.path()).read_bytes()


def test_from_dicom_to_a_signed_structured_report(browser: Any, checkpoint: Path, tmp_path: Path) -> None:
    known = known_studies()[0]
    drafter = SlowDrafter.open(checkpoint, device="cpu", threads=1, windows_per_side=4)
    server = make_server(tmp_path / "room", drafter=drafter, organization="Phantom hospital")
    files = [
        {"name": f"view{place}.dcm", "mimeType": "application/dicom", "buffer": as_dicom(place, view)}
        for place, view in enumerate(known.views)
    ]
    text = known.section("findings")
    with running(server) as url, Reader(browser, url, accept_downloads=True) as reader:
        reader.sees("Worklist")
        reader.press("u")
        reader.tab.locator("input[type=file]").set_input_files(files)
        picture(reader, "1_upload")
        reader.tab.get_by_role("button", name="Upload", exact=True).last.click()

        reader.tab.locator(".streaming").wait_for()
        reader.until("(document.querySelector('.streaming')?.textContent ?? '').split(' ').length > 6")
        partial = reader.tab.locator(".streaming").inner_text().strip()
        assert text.startswith(partial)
        assert len(partial) < len(text)
        picture(reader, "2_streaming")
        reader.tab.locator(".sentence").first.wait_for()
        shown = reader.tab.eval_on_selector_all(".sentence", "all => all.map(each => each.firstChild.textContent)")
        assert " ".join(shown) == text
        reader.sees("AI draft, research")

        reader.press("j")
        reader.tab.locator(".pane[data-map=shown]").nth(1).wait_for()
        assert "nats" in reader.tab.locator(".legend").inner_text()
        picture(reader, "3_evidence")

        reader.press("e")
        reader.tab.keyboard.type("Checked. ")
        reader.tab.locator("ins", has_text="Checked.").wait_for()
        picture(reader, "4_editing")
        reader.press("Escape")
        reader.tab.locator(".sentence", has_text="Checked.").wait_for()
        reader.press("s")
        signed_text = reader.tab.locator("#to-be-signed").inner_text()
        assert signed_text == f"Checked. {text}"
        reader.tab.keyboard.type("Lee^Ann")
        picture(reader, "5_signing")
        reader.press("Control+Enter")
        reader.tab.locator(".signature").wait_for()
        picture(reader, "6_signed")

        reader.press("o")
        found = {kind: exported(reader, kind) for kind in ("sr", "fhir")}
        picture(reader, "7_exported")

    [row] = server.room.worklist.find()[1]
    _check_structured_report(found["sr"], signed_text)
    _check_bundle(json.loads(found["fhir"]), signed_text)
    versions = server.room.reports.versions(row.study_id)
    assert versions[0].text == text
    assert versions[-1].text == signed_text
    assert verify(server.room).faults == ()
    assert not re.search("doe|jane|4711", versions[0].text, re.IGNORECASE)


def _check_structured_report(data: bytes, text: str) -> None:
    pydicom = pytest.importorskip("pydicom")
    report = pydicom.dcmread(io.BytesIO(data))
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "VERIFIED")
    assert str(report.VerifyingObserverSequence[0].VerifyingObserverName) == "Lee^Ann"
    assert report.VerifyingObserverSequence[0].VerifyingOrganization == "Phantom hospital"
    assert (report.StudyInstanceUID, str(report.PatientName)) == (STUDY_UID, "Doe^Jane")
    [evidence] = report.CurrentRequestedProcedureEvidenceSequence
    [series] = evidence.ReferencedSeriesSequence
    assert {each.ReferencedSOPInstanceUID for each in series.ReferencedSOPSequence} == {
        f"{STUDY_UID}.1.1",
        f"{STUDY_UID}.1.2",
    }

    def values(items: Any) -> Iterator[str]:
        for item in items:
            if "TextValue" in item:
                yield str(item.TextValue)
            yield from values(item.get("ContentSequence", ()))

    said = " ".join(values(report.ContentSequence))
    for sentence in text.split(". "):
        assert sentence.rstrip(".") in said


def _check_bundle(bundle: dict[str, Any], text: str) -> None:
    resources = {entry["resource"]["resourceType"]: entry["resource"] for entry in bundle["entry"]}
    assert {"DiagnosticReport", "Observation", "Patient"} <= set(resources)
    assert resources["DiagnosticReport"]["status"] == "final"
    [form] = resources["DiagnosticReport"]["presentedForm"]
    assert text in base64.b64decode(form["data"]).decode()
