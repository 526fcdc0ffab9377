"""The FHIR bundle: valid for R4B's and R4's models, whole in its references, silent of what the text does not say."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reported_studies import TEXT, reported, uploaded, with_addenda

from radwright.errors import OutputError
from radwright.serving.out import fhir_codes
from radwright.serving.out.fhir import fhir_bundle
from radwright.serving.out.plain import plain_report
from radwright.serving.out.said import findings_said
from radwright.serving.records import LABEL, ReportedStudy

pytest.importorskip("fhir.resources", reason="needs the extra serve")


def bundle_of(whole: ReportedStudy) -> Any:
    """The bundle, held to the models of R4 (4.0.1) as well, which take no unknown element and miss no required one."""
    parsed = json.loads(fhir_bundle(whole))
    models = pytest.importorskip("fhirclient.models.bundle", reason="needs the extra dev")
    assert models.Bundle(parsed, strict=True).as_json() == parsed
    return parsed


def resources(bundle: Any, kind: str) -> list[Any]:
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def report_of(bundle: Any) -> Any:
    (report,) = resources(bundle, "DiagnosticReport")
    return report


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            if key == "reference":
                yield each
            else:
                yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


WHOLE = {
    "signed": reported(),
    "draft": reported(signed=False),
    "by hand": reported(drafted=False),
    "upload": uploaded(),
    "uploaded draft": uploaded(signed=False),
    "empty": reported("", signed=False),
}


@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE.keys())
def test_every_reference_leads_somewhere(whole: ReportedStudy) -> None:
    bundle = bundle_of(whole)
    places = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(set(places)) == len(places)
    for entry in bundle["entry"]:
        contained = {f"#{each['id']}" for each in entry["resource"].get("contained", [])}
        found = set(references(entry["resource"]))
        assert found <= set(places) | contained
        assert contained <= found
    assert bundle["entry"][0]["resource"]["resourceType"] == "DiagnosticReport"
    assert fhir_bundle(whole) == fhir_bundle(whole)


def test_signed() -> None:
    bundle = bundle_of(reported())
    report = report_of(bundle)
    assert report["status"] == "final"
    assert report["contained"][0]["name"] == [{"text": "Anna Müller", "family": "Müller", "given": ["Anna"]}]
    assert report["resultsInterpreter"] == [{"reference": "#radiologist", "display": "Anna Müller"}]
    assert report["performer"][0]["display"] == "St. Elsewhere"
    assert base64.b64decode(report["presentedForm"][0]["data"]).decode() == TEXT
    assert {each["status"] for each in resources(bundle, "Observation")} == {"final"}
    assert LABEL not in json.dumps(bundle)


def test_an_addendum_is_appended_and_what_it_says_counts_last() -> None:
    bundle = bundle_of(with_addenda("There is a pneumothorax after all. No pleural effusion."))
    report = report_of(bundle)
    assert report["status"] == "appended"
    text = base64.b64decode(report["presentedForm"][0]["data"]).decode()
    assert text.startswith(TEXT)
    assert text.endswith(
        "ADDENDUM, Anna Müller, 2026-03-02T10:00:00+00:00\nThere is a pneumothorax after all. No pleural effusion."
    )
    said = {each["code"]["text"]: each["valueCodeableConcept"]["text"] for each in resources(bundle, "Observation")}
    assert (said["pneumothorax"], said["pleural effusion"]) == ("present", "absent")


def test_unsigned_says_so() -> None:
    bundle = bundle_of(reported(signed=False))
    report = report_of(bundle)
    assert report["status"] == "preliminary"
    assert not {"contained", "resultsInterpreter", "performer"} & report.keys()
    assert base64.b64decode(report["presentedForm"][0]["data"]).decode().startswith(LABEL)
    assert report["presentedForm"][0]["title"].startswith(LABEL)
    assert LABEL in report["code"]["text"]
    assert f"<p>{LABEL}" in report["text"]["div"]
    assert {each["status"] for each in resources(bundle, "Observation")} == {"preliminary"}


def test_observations_are_what_the_text_says() -> None:
    text = TEXT + " A nodule is seen on the right."
    observed = {
        each["code"]["coding"][0]["code"]: each["valueCodeableConcept"]["text"]
        for each in resources(bundle_of(reported(text)), "Observation")
    }
    assert observed == {
        "cardiomegaly": "absent",
        "pleural_effusion": "present",
        "pneumothorax": "absent",
        "pneumonia": "uncertain",
        "nodule": "present",
    }
    (nodule,) = [each for each in findings_said(text) if each.finding == "nodule"]
    assert nodule.sides == ("right",)


def test_an_assertion_counts_before_a_denial() -> None:
    (effusion,) = findings_said("No right effusion. There is a left effusion. No effusion elsewhere.")
    assert (effusion.said, effusion.sides) == ("present", ("left",))
    assert effusion.sentence.startswith("There is a left effusion")


def test_a_conclusion_is_given_only_where_the_text_has_one() -> None:
    assert "conclusion" not in report_of(bundle_of(reported()))
    with_one = report_of(bundle_of(reported("FINDINGS: Clear.\nIMPRESSION: 1. Normal.\n2. No change.")))
    assert with_one["conclusion"] == "1. Normal.\n2. No change."
    unsigned = report_of(bundle_of(reported("IMPRESSION: Normal.", signed=False)))
    assert unsigned["conclusion"] == f"{LABEL}: Normal."


def test_images_patient_and_network() -> None:
    bundle = bundle_of(reported(num_images=3))
    (study,) = resources(bundle, "ImagingStudy")
    assert study["identifier"][0] == {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3.4.5"}
    assert (study["numberOfSeries"], study["numberOfInstances"], study["started"]) == (2, 3, "2026-03-01")
    assert [each["modality"]["code"] for each in study["series"]] == ["CR", "DX"]
    (patient,) = resources(bundle, "Patient")
    assert patient["identifier"] == [{"value": "PAT-1"}]
    assert patient["name"][0]["text"] == "Dr. Clara Maria Hart MD"
    assert (patient["gender"], patient["birthDate"]) == ("female", "1950-02-03")
    (network,) = resources(bundle, "Device")
    assert network["identifier"] == [{"system": fhir_codes.WEIGHTS, "value": "ab" * 32}]
    assert report_of(bundle)["basedOn"][0]["identifier"]["value"] == "ACC-77"
    (provenance,) = resources(bundle, "Provenance")
    assert [agent["type"]["coding"][0]["code"] for agent in provenance["agent"]] == ["assembler", "verifier"]


def test_of_an_upload_nothing_is_made_up() -> None:
    bundle = bundle_of(uploaded())
    assert not resources(bundle, "Patient")
    assert not resources(bundle, "ImagingStudy")
    assert not {"subject", "effectiveDateTime", "basedOn", "imagingStudy"} & report_of(bundle).keys()


def test_outside_codes_belong_to_findings_that_exist() -> None:
    from radwright.findings.ontology import concepts

    assert set(fhir_codes.SNOMED_FINDINGS) <= set(concepts())
    assert len({code for code, _ in fhir_codes.SNOMED_FINDINGS.values()}) == len(fhir_codes.SNOMED_FINDINGS)


def test_a_signature_of_another_text_is_refused() -> None:
    whole = dataclasses.replace(reported(), text="Clear.")
    for export in (fhir_bundle, plain_report):
        with pytest.raises(OutputError, match="another text"):
            export(whole)


def test_markup_in_the_text_stays_text() -> None:
    report = report_of(bundle_of(reported("<script>alert(1)</script> & no effusion.")))
    assert "<script>" not in report["text"]["div"]
    assert "&lt;script&gt;" in report["text"]["div"]


ANY = st.text(max_size=80)


@given(text=ANY, name=st.text(max_size=20), description=ANY, indication=ANY, referring=ANY, signed=st.booleans())
@settings(max_examples=60)
def test_any_text_gives_a_valid_bundle(
    text: str, name: str, description: str, indication: str, referring: str, signed: bool
) -> None:
    fields = {"patient_name": name, "description": description, "indication": indication}
    if signed and not text.strip():
        return
    whole = reported(text, signed=signed, referring_physician=referring, **fields)
    try:
        bundle_of(whole)
        plain_report(whole).decode()
    except OutputError as error:  # a text of control characters alone cannot be signed
        if not str(error).startswith("report: is empty"):
            raise


def test_plain_text_of_a_signed_report() -> None:
    text = plain_report(reported()).decode()
    assert TEXT in text
    assert "Patient: Dr. Clara Maria Hart MD" in text
    assert "Signed by: Anna Müller, St. Elsewhere" in text
    assert "Weights (SHA-256): " + "ab" * 32 in text
    assert LABEL not in text


def test_plain_text_of_a_draft_says_so_first() -> None:
    text = plain_report(reported(signed=False)).decode()
    assert text.startswith(f"*** {LABEL} ***\n")
    assert f"{LABEL}. No radiologist has signed this text.\n\n{TEXT}" in text
    assert "Signed by" not in text
    assert "There is no text." in plain_report(reported("", signed=False)).decode()
