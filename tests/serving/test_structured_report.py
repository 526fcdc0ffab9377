"""The DICOM structured report: clean for dciodvfy, readable by dsrdump, nothing lost and nothing invented."""

from __future__ import annotations

import dataclasses
import io
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reported_studies import TEXT, reported, uploaded, with_addenda

from radwright.errors import OutputError
from radwright.serving.out.content import NO_TEXT, content_of, sentences
from radwright.serving.out.sr import BASIC_TEXT_SR, structured_report
from radwright.serving.out.values import block, derived_uid, exact, line, moment, person, shown_name
from radwright.serving.records import LABEL, ReportedStudy

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")

NOT_KNOWN = "Missing attribute or value that would be needed to build DICOMDIR"
"""dciodvfy's warning of a study of which nothing is known; what a DICOMDIR needs cannot be made up."""


def read(data: bytes) -> Any:
    return pydicom.dcmread(io.BytesIO(data))


def walk(dataset: Any) -> Iterator[Any]:
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from walk(item)


def texts(dataset: Any) -> list[str]:
    return [
        item.TextValue for item in walk(dataset) if item.ValueType == "TEXT" and item.RelationshipType == "CONTAINS"
    ]


def sections(dataset: Any) -> dict[str, list[str]]:
    return {
        item.ConceptNameCodeSequence[0].CodeMeaning: [
            each.TextValue for each in item.ContentSequence if "TextValue" in each
        ]
        for item in dataset.ContentSequence
        if item.ValueType == "CONTAINER"
    }


def complaints(data: bytes, folder: Path) -> list[str]:
    """What dciodvfy finds wrong, and dsrdump; the test skips, saying so, where they are absent."""
    missing = [tool for tool in ("dciodvfy", "dsrdump") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} (dicom3tools, dcmtk) not installed")
    path = folder / "report.dcm"
    path.write_bytes(data)
    found = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, check=False)
    lines = (found.stdout + found.stderr).decode(errors="replace").splitlines()
    dumped = subprocess.run(["dsrdump", str(path)], capture_output=True, check=False)
    assert dumped.returncode == 0, dumped.stderr
    said = [each for each in dumped.stderr.decode(errors="replace").splitlines() if "ISO_IR 192" not in each]
    return [each for each in lines if each.startswith(("Error", "Warning"))] + said


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "FINDINGS: Clear lungs.\nIMPRESSION: 1. No change.\n2. Normal.\nCOMPARISON: None.\nRECOMMENDATION: None.",
        "Das Herz ist normal groß.\n\nKein Erguß. Привет. 心影正常。 القلب طبيعي",
        " ".join(f"Nodule number {number} is seen." for number in range(1000)),
    ],
    ids=["plain", "headings", "scripts", "1000 sentences"],
)
def test_validators_find_nothing(tmp_path: Path, text: str, signed: bool) -> None:
    assert complaints(structured_report(reported(text, signed=signed)), tmp_path) == []


@pytest.mark.parametrize("signed", [True, False])
def test_validators_miss_only_what_nobody_knows_of_an_upload(tmp_path: Path, signed: bool) -> None:
    found = complaints(structured_report(uploaded(signed=signed)), tmp_path)
    assert len(found) == 4
    assert all(NOT_KNOWN in each for each in found), found


def test_validators_take_an_empty_draft(tmp_path: Path) -> None:
    data = structured_report(reported("", signed=False, num_images=0, indication="", description=""))
    assert complaints(data, tmp_path) == []
    assert texts(read(data)) == [f"{LABEL}. No radiologist has signed this text.", LABEL, NO_TEXT]


def test_signed() -> None:
    dataset = read(structured_report(reported()))
    assert dataset.SOPClassUID == dataset.file_meta.MediaStorageSOPClassUID == BASIC_TEXT_SR
    assert (dataset.CompletionFlag, dataset.VerificationFlag, dataset.PreliminaryFlag) == (
        "COMPLETE",
        "VERIFIED",
        "FINAL",
    )
    (observer,) = dataset.VerifyingObserverSequence
    assert observer.VerifyingObserverName == "Müller^Anna"
    assert observer.VerifyingOrganization == "St. Elsewhere"
    assert observer.VerificationDateTime == "20260301090000.000000+0000"
    assert len(observer.VerifyingObserverIdentificationCodeSequence) == 0
    assert LABEL not in str(dataset)
    assert sections(dataset) == {
        "Current Procedure Descriptions": ["Chest PA and lateral"],
        "Indications for Procedure": ["Cough for two weeks."],
        "Findings": sentences(TEXT),
    }


def test_an_addendum_is_a_section_of_its_own_under_the_unchanged_report(tmp_path: Path) -> None:
    whole = with_addenda("A nodule of 5 mm in the left upper lobe. Compare with CT.", "Told to Dr. Bone.")
    data = structured_report(whole)
    assert complaints(data, tmp_path) == []
    dataset = read(data)
    assert (dataset.CompletionFlag, dataset.VerificationFlag, dataset.InstanceNumber) == ("COMPLETE", "VERIFIED", 4)
    assert [str(each.VerifyingObserverName) for each in dataset.VerifyingObserverSequence] == [
        "Müller^Anna",
        "Müller^Anna",
        "Stein^Bob",
    ]
    (study,) = dataset.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    assert study.StudyInstanceUID == dataset.StudyInstanceUID
    assert series.SeriesInstanceUID == "2.25.221"
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.110"
    before = read(structured_report(reported()))
    assert texts(dataset)[: len(texts(before))] == texts(before)
    added = [item for item in dataset.ContentSequence if item.ConceptNameCodeSequence[0].CodeMeaning == "Addendum"]
    assert [str(item.ContentSequence[1].PersonName) for item in added] == ["Müller^Anna", "Stein^Bob"]
    said = [[each.TextValue for each in item.ContentSequence if "TextValue" in each] for item in added]
    assert said[0][1:] == ["A nodule of 5 mm in the left upper lobe.", "Compare with CT."]
    assert said[1][1:] == ["Told to Dr. Bone."]


def test_unsigned_says_so_before_anything_else() -> None:
    dataset = read(structured_report(reported(signed=False)))
    assert (dataset.CompletionFlag, dataset.VerificationFlag) == ("PARTIAL", "UNVERIFIED")
    assert dataset.PreliminaryFlag == "PRELIMINARY"
    assert "VerifyingObserverSequence" not in dataset
    assert dataset.SeriesDescription.startswith(LABEL)
    assert dataset.CompletionFlagDescription.startswith(LABEL)
    assert texts(dataset)[0].startswith(LABEL)
    assert sections(dataset)["Findings"][0] == LABEL
    headed = sections(read(structured_report(reported("FINDINGS: Clear.\nIMPRESSION: Normal.", signed=False))))
    assert (headed["Findings"], headed["Impressions"]) == ([LABEL, "Clear."], [LABEL, "Normal."])
    alone = sections(
        read(structured_report(reported("IMPRESSION: Normal.", signed=False, num_images=0, description="")))
    )
    assert set(alone) == {"Indications for Procedure", "Impressions"}
    people = [item for item in walk(dataset) if item.ValueType == "PNAME"]
    assert people == []


def test_patient_and_study_are_the_images() -> None:
    dataset = read(structured_report(reported()))
    assert str(dataset.PatientName) == "Hart^Clara^Maria^Dr.^MD"
    assert (dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex) == ("PAT-1", "19500203", "F")
    assert (dataset.StudyInstanceUID, dataset.AccessionNumber, dataset.StudyID) == ("1.2.3.4.5", "ACC-77", "S1")
    assert (dataset.StudyDate, dataset.StudyTime) == ("20260301", "080000")
    assert (dataset.SOPInstanceUID, dataset.SeriesInstanceUID) == ("2.25.111", "2.25.222")


def test_images_stand_in_the_evidence_and_the_content() -> None:
    dataset = read(structured_report(reported(num_images=3)))
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    listed = [
        (series.SeriesInstanceUID, image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for image in series.ReferencedSOPSequence
    ]
    images = reported(num_images=3).images
    assert listed == [(each.series_uid, each.sop_class_uid, each.sop_instance_uid) for each in images]
    shown = [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in walk(dataset) if item.ValueType == "IMAGE"
    ]
    assert shown == [each.sop_instance_uid for each in images]


def test_an_upload_refers_to_no_image_and_makes_up_nothing() -> None:
    dataset = read(structured_report(uploaded()))
    assert "CurrentRequestedProcedureEvidenceSequence" not in dataset
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyID",
        "AccessionNumber",
    ):
        assert not dataset[keyword].value, keyword
    assert dataset.StudyInstanceUID == derived_uid("study", "ffeeddccbbaa9988")
    assert dataset.StudyInstanceUID == read(structured_report(uploaded(signed=False))).StudyInstanceUID


def test_network_is_named_with_its_weights() -> None:
    dataset = read(structured_report(reported()))
    (network,) = dataset.ContributingEquipmentSequence
    assert (network.Manufacturer, network.SoftwareVersions) == ("Radwright", "0.1.0")
    assert network.DeviceSerialNumber == "ab" * 32
    assert '"beams": 3' in network.ContributionDescription
    named = {item.ConceptNameCodeSequence[0].CodeValue: item for item in walk(dataset) if item.ValueType != "IMAGE"}
    assert named["121016"].TextValue == "ab" * 32
    assert "ContributingEquipmentSequence" not in read(structured_report(reported(drafted=False)))


def test_headings_become_sections_and_unknown_ones_stay_in_the_text() -> None:
    text = "Two views.\nFINDINGS: Clear. No effusion.\nComparison: None.\nIMPRESSION:\n1. Normal.\nTECHNIQUE: PA."
    dataset = read(structured_report(reported(text, indication="", description="")))
    assert texts(dataset) == [
        "Two views.",
        "Clear.",
        "No effusion.",
        "Comparison: None.",
        "1. Normal.",
        "TECHNIQUE: PA.",
    ]
    assert sections(dataset)["Impressions"] == ["1. Normal."]


def test_nothing_is_said_that_the_text_does_not_say() -> None:
    held = set(sections(read(structured_report(reported(indication="", description="")))))
    assert held == {"Findings"}


def test_same_input_gives_the_same_bytes() -> None:
    assert structured_report(reported()) == structured_report(reported())
    assert structured_report(reported()) != structured_report(reported(TEXT + " Normal."))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"patient_id": "x" * 65}, "patient_id"),
        ({"patient_id": "a\\b"}, "patient_id"),
        ({"patient_id": "a\x07b"}, "patient_id"),
        ({"accession": "1234567890abcdefg"}, "accession"),
        ({"study_uid": "1.2.x"}, "study_uid"),
        ({"study_uid": "1." + "2" * 63}, "study_uid"),
        ({"patient_name": "x" * 65}, "patient_name"),
        ({"patient_name": "a^b^c^d^e^f"}, "patient_name"),
        ({"referring_physician": "a=b=c=d"}, "referring_physician"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_field_and_without_its_value(fields: dict[str, str], named: str) -> None:
    with pytest.raises(OutputError, match=rf"^{named}: ") as caught:
        structured_report(reported(**fields))
    assert next(iter(fields.values())) not in str(caught.value)


def test_a_signature_belongs_to_one_text_and_one_person() -> None:
    whole = reported()
    assert whole.signature is not None
    with pytest.raises(OutputError, match="another text"):
        structured_report(dataclasses.replace(whole, text="Clear."))
    with pytest.raises(OutputError, match="observer: is empty"):
        structured_report(dataclasses.replace(whole, signature=dataclasses.replace(whole.signature, observer=" \0")))
    with pytest.raises(OutputError, match="report: is empty"):
        structured_report(reported(" \n"))
    for field in ("document_uid", "series_uid"):
        with pytest.raises(OutputError, match=f"{field}: is empty"):
            structured_report(dataclasses.replace(whole, **{field: ""}))


def test_an_organization_that_is_not_known_is_not_made_up(tmp_path: Path) -> None:
    whole = reported()
    assert whole.signature is not None
    bare = dataclasses.replace(
        whole, signature=dataclasses.replace(whole.signature, organization="", observer="Anna M.")
    )
    data = structured_report(bare)
    assert read(data).VerifyingObserverSequence[0].VerifyingOrganization == "not stated"
    assert str(read(data).VerifyingObserverSequence[0].VerifyingObserverName) == "Anna M.^"
    assert complaints(data, tmp_path) == []


@pytest.mark.parametrize("observer", ["M" * 64, "Anna=" + "M" * 64])
def test_the_longest_name_of_a_signer_still_is_a_name(observer: str) -> None:
    whole = reported()
    assert whole.signature is not None
    data = structured_report(
        dataclasses.replace(whole, signature=dataclasses.replace(whole.signature, observer=observer))
    )
    assert str(read(data).VerifyingObserverSequence[0].VerifyingObserverName) == observer


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_uids_of_the_images_are_met_even_where_they_are_odd() -> None:
    dataset = read(structured_report(reported(study_uid="1.02.3")))
    assert dataset.StudyInstanceUID == "1.02.3"


def test_odd_dates_are_left_out() -> None:
    dataset = read(
        structured_report(reported(birth_date="1950.02.03", study_date="20261341", study_time="25", sex="?"))
    )
    assert dataset.PatientBirthDate == "19500203"
    assert (dataset.StudyDate, dataset.StudyTime, dataset.PatientSex) == ("", "", "")


@pytest.mark.parametrize(
    ("given_name", "pn", "shown"),
    [
        ("Müller, Anna", "Müller^Anna", "Anna Müller"),
        ("Anna Müller", "Anna Müller", "Anna Müller"),
        ("Hart^Clara^M^Dr.^MD", "Hart^Clara^M^Dr.^MD", "Dr. Clara M Hart MD"),
        ("Wang^Xiaodong=王^小东=", "Wang^Xiaodong=王^小东=", "Xiaodong Wang"),
        ("a\\b\x00c", "a b c", "a b c"),
        ("^^^^", "", ""),
        ("", "", ""),
    ],
)
def test_names(given_name: str, pn: str, shown: str) -> None:
    assert person(given_name, "name") == pn
    assert shown_name(person(given_name, "name")) == shown


def test_values() -> None:
    assert line("x" * 70, 64) == "x" * 61 + "…"
    assert len(line("王" * 70, 64).encode()) <= 64
    assert block("a\r\nb\rc\x00\ud800\t") == "a\nb\nc ?"
    assert exact(" 12 \0", "id") == "12"
    assert moment("2026-03-01T09:00:00+01:00", "t").isoformat() == "2026-03-01T08:00:00+00:00"
    for wrong in ("", "2026-03-01T09:00:00", "yesterday", "0001-01-01T00:00:00+14:00"):
        with pytest.raises(OutputError, match=r"^t: "):
            moment(wrong, "t")


ANY = st.text(max_size=60)


@given(
    text=ANY,
    name=st.text(st.characters(exclude_characters="^="), max_size=15),
    description=ANY,
    indication=ANY,
    signed=st.booleans(),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_gives_a_valid_object_or_a_named_field(
    tmp_path: Path, text: str, name: str, description: str, indication: str, signed: bool
) -> None:
    fields = {"patient_name": name, "description": description, "indication": indication}
    whole: ReportedStudy = reported(text, signed=signed, **fields)
    if signed and not block(text):
        with pytest.raises(OutputError, match=r"^report: "):
            structured_report(whole)
        return
    data = structured_report(whole)
    found = [each for each in complaints(data, tmp_path) if "Retired Person Name form" not in each]
    assert found == []


@given(text=st.text(alphabet=st.characters(exclude_characters=":", exclude_categories=["Lu"]), max_size=300))
@settings(max_examples=150)
def test_no_word_is_lost_or_added(text: str) -> None:
    def bare(words: str) -> str:
        return "".join(words.split())

    whole = reported(text, signed=False, indication="", description="")
    (findings,) = [item for item in content_of(whole).items if item.kind == "CONTAINER"]
    said = [item.value for item in findings.items if item.kind == "TEXT" and item.name is not None]
    said = [value for value in said if value not in (LABEL, NO_TEXT)]
    assert bare("".join(said)) == bare(block(text))
