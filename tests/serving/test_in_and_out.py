"""Whatever the reading room takes in, it can give out again: no study whose report cannot leave."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from room_cases import draft

from radwright.serving.export import FORMATS, export_report
from radwright.serving.intake import describe_image, one_study
from radwright.serving.records import ReportedStudy, Signature
from tiny_dicom import dicom

pydicom = pytest.importorskip("pydicom")
TEXTS = st.text(st.characters(blacklist_categories=("Cs",)), max_size=90)
UIDS = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1", "SOPInstanceUID": "1.2.3.1.1"}
KEYWORDS = (
    "PatientName", "PatientID", "AccessionNumber", "StudyID", "StudyDescription", "ReferringPhysicianName",
    "ReasonForTheRequestedProcedure",
)  # fmt: skip
CODED = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime")
TAGS = st.builds(
    lambda texts, codes: texts | codes,
    st.dictionaries(st.sampled_from(KEYWORDS), TEXTS, max_size=6),
    st.dictionaries(st.sampled_from(CODED), st.text(st.characters(max_codepoint=126), max_size=20), max_size=4),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tags=TAGS, text=TEXTS)
def test_what_came_in_goes_out(tags: dict[str, str], text: str) -> None:
    with warnings.catch_warnings(action="ignore"):  # values that DICOM forbids, and that are met
        data = dicom(SpecificCharacterSet="ISO_IR 192", Modality="CR", **UIDS, **tags)
    study, images = one_study([describe_image(data, "chest.dcm")], origin="dicom")
    study = replace(study, id="0" * 16, received_at="2026-03-01T08:15:00.123Z", updated_at="2026-03-01T08:15:00.123Z")
    text = f"Clear. {text}"
    signature = Signature(1, text, "Dr. Ann", "", "2026-03-01T09:15:00.123Z")
    reported = ReportedStudy(study, images, text, signature, draft(), "1.2.3.4", "1.2.3.5", signature.signed_at)
    for shown in (reported, replace(reported, signature=None)):
        made = {name: export_report(shown, name) for name in FORMATS}
        assert json.loads(made["fhir"])["resourceType"] == "Bundle"
        assert made["sr"][128:132] == b"DICM"
        assert b"Clear." in made["text"]
