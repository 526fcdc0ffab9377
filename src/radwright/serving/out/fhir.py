"""A study's report as a FHIR R4 Bundle: the report, an Observation per finding of its text, images, network, patient.

Every resource is checked by the models of fhir.resources before anything is handed out. Those are R4B's; for the
resources and elements used here R4 and R4B are the same.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Any

from radwright.errors import OutputError, require
from radwright.findings import VERSION
from radwright.serving.out import fhir_codes as codes
from radwright.serving.out.content import MANUFACTURER, check, image_references
from radwright.serving.out.plain import report_text
from radwright.serving.out.said import SaidFinding, findings_said
from radwright.serving.out.values import (
    block,
    day,
    derived_uid,
    exact,
    line,
    moment,
    name_parts,
    sex,
    shown_name,
    signer,
    study_uid_of,
    uid,
)
from radwright.serving.records import LABEL, ModelIdentity, ReadingStudy, ReportedStudy, Signature
from radwright.text.sections import cut_sections

Resource = dict[str, Any]
_GENDERS = {"M": "male", "F": "female", "O": "other"}


def fhir_bundle(reported: ReportedStudy) -> bytes:
    """The report as FHIR R4 JSON; the same bytes for the same study and report.

    A collection, not a document: nothing here is attested beyond the report itself, and a receiver stores the parts as
    they are. The report is ``final`` where it is signed (``appended`` with addenda), else ``preliminary``, with
    ``LABEL`` in front of its text.

    Raises:
        OutputError: a field cannot be kept as it is, or the signature is not of this text.
        MissingExtraError: fhir.resources is not installed.
    """
    bundles = require("fhir.resources.R4B.bundle", extra="serve")
    bundle = _without_blanks(_bundle(reported))
    try:
        bundles.Bundle.model_validate(bundle)
    except ValueError as error:
        places: list[Any] = getattr(error, "errors", list)()
        where = ".".join(str(part) for part in places[0]["loc"]) if places else "?"
        raise OutputError(f"{where}: cannot be kept in FHIR; correct it at its source") from error
    return json.dumps(bundle, ensure_ascii=False, indent=1).encode()


def _bundle(reported: ReportedStudy) -> Resource:
    check(reported)
    study, signature = reported.study, reported.signature
    written = _instant(moment(reported.written_at, "written_at"))
    own = uid(reported.document_uid, "document_uid")
    if not own:
        raise OutputError("document_uid: is empty; the report needs a UID of its own")
    model = None if reported.draft is None else reported.draft.model
    parts = {"patient": _patient(study), "images": _imaging_study(reported), "network": _device(model)}
    kept = [(name, _place(own, name), part) for name, part in parts.items() if part is not None]
    known: dict[str, Resource] = {name: {"reference": place} for name, place, _ in kept}
    observations = [
        (_place(own, "finding", said.finding), _observation(said, reported, known)) for said in _said(reported)
    ]
    report = _report(reported, known, [place for place, _ in observations], written)
    entries = [(_place(own, "report"), report), *observations, *((place, part) for _, place, part in kept)]
    signed = (*([signature] if signature else []), *reported.addenda)
    if agents := _agents(signed, known.get("network"), model):
        provenance = {
            "resourceType": "Provenance",
            "target": [{"reference": _place(own, "report")}],
            "recorded": written,
            "agent": agents,
        }
        entries.append((_place(own, "provenance"), provenance))
    return {
        "resourceType": "Bundle",
        "identifier": {"system": codes.URI, "value": f"urn:oid:{own}"},
        "type": "collection",
        "timestamp": written,
        "entry": [{"fullUrl": place, "resource": part} for place, part in entries],
    }


def _report(reported: ReportedStudy, known: dict[str, Resource], results: list[str], written: str) -> Resource:
    study, signature = reported.study, reported.signature
    text = report_text(reported)
    accession = exact(study.accession, "accession", 16)
    form = {
        "contentType": "text/plain; charset=utf-8",
        "data": base64.b64encode(text.encode()).decode(),
        "title": "Report" if signature else f"{LABEL}, unsigned",
        "creation": written,
    }
    report: Resource = {
        "resourceType": "DiagnosticReport",
        "text": {"status": "generated", "div": _narrative(text)},
        "identifier": [
            {"system": codes.URI, "value": f"urn:oid:{reported.document_uid.strip()}"},
            {"system": codes.STUDIES, "value": exact(study.id, "id")},
        ],
        "basedOn": [{"type": "ServiceRequest", "identifier": _accession(accession)}] if accession else None,
        "status": _status(reported),
        "category": [_concept(codes.DIAGNOSTIC_SERVICE, "RAD", "Radiology")],
        "code": {
            **_concept(codes.LOINC, "30745-4", "XR Chest Views"),
            "text": "Chest X-ray report" if signature else f"Chest X-ray report ({LABEL}, unsigned)",
        },
        "subject": known.get("patient"),
        "effectiveDateTime": _date(study.study_date),
        "issued": written,
        "result": [{"reference": place} for place in results],
        "imagingStudy": [known["images"]] if "images" in known else None,
        "conclusion": _conclusion(reported),
        "presentedForm": [form],
    }
    if signature is not None:
        report["contained"] = [
            {"resourceType": "Practitioner", "id": "radiologist", "name": [_human_name(signer(signature.observer))]}
        ]
        shown = shown_name(signer(signature.observer))
        report["resultsInterpreter"] = [{"reference": "#radiologist", "display": shown}]
        performer = {"type": "Organization", "display": line(signature.organization)}
        report["performer"] = [performer] if performer["display"] else None
    return report


def _status(reported: ReportedStudy) -> str:
    """``appended``: what was final stands, and something was added (FHIR R4, DiagnosticReportStatus)."""
    if reported.signature is None:
        return "preliminary"
    return "appended" if reported.addenda else "final"


def _said(reported: ReportedStudy) -> list[SaidFinding]:
    """What the report says of each finding; of one that an addendum names, what the last one says."""
    found = {said.finding: said for said in findings_said(reported.text)}
    for addendum in reported.addenda:
        found |= {said.finding: said for said in findings_said(addendum.text)}
    return list(found.values())


def _conclusion(reported: ReportedStudy) -> str:
    """What the text itself calls its impression or conclusion, labelled where nobody has signed; empty without one."""
    sections = cut_sections(block(reported.text))
    text = "\n".join(section.text for section in sections if section.name == "impression").strip()
    return text if reported.signature or not text else f"{LABEL}: {text}"


def _observation(said: SaidFinding, reported: ReportedStudy, known: dict[str, Resource]) -> Resource:
    own = {"system": codes.FINDINGS, "code": said.finding, "display": said.title}
    snomed = codes.SNOMED_FINDINGS.get(said.finding)
    statement = codes.SNOMED_STATEMENTS[said.said]
    return {
        "resourceType": "Observation",
        "status": "final" if reported.signature else "preliminary",
        "category": [_concept(codes.OBSERVATION_CATEGORY, "imaging", "Imaging")],
        "code": {"coding": [own, *([_coding(codes.SNOMED, *snomed)] if snomed else [])], "text": said.title},
        "subject": known.get("patient"),
        "effectiveDateTime": _date(reported.study.study_date),
        "valueCodeableConcept": {
            "coding": [{"system": codes.STATEMENTS, "code": said.said}, _coding(codes.SNOMED, *statement)],
            "text": said.said,
        },
        "bodySite": {"text": " and ".join(said.sides)} if said.sides else None,
        "method": {"text": f"Read from the text of the report by rules (Radwright findings {VERSION})"},
        "note": [{"text": block(said.sentence)}],
        "derivedFrom": [known["images"]] if "images" in known else None,
    }


def _patient(study: ReadingStudy) -> Resource | None:
    """What is known of the patient; None where nothing is."""
    identifier = exact(study.patient_id, "patient_id")
    name = _human_name(study.patient_name)
    patient = {
        "identifier": [{"value": identifier}] if identifier else None,
        "name": [name] if name else None,
        "gender": _GENDERS.get(sex(study.sex)),
        "birthDate": _date(study.birth_date),
    }
    known = {key: value for key, value in patient.items() if value}
    return {"resourceType": "Patient", **known} if known else None


def _imaging_study(reported: ReportedStudy) -> Resource | None:
    """The images that DICOM can name; None of an upload without."""
    images, study = image_references(reported), reported.study
    if not images:
        return None
    accession = exact(study.accession, "accession", 16)
    own = {"system": codes.DICOM_UID, "value": f"urn:oid:{study_uid_of(study.id, study.study_uid)}"}
    patient = _patient(study)
    series = []
    for series_uid in dict.fromkeys(image.series_uid for image in images):
        shown = [image for image in images if image.series_uid == series_uid]
        instances = [
            {
                "uid": image.instance_uid,
                "sopClass": {"system": codes.URI, "code": f"urn:oid:{image.class_uid}"},
            }
            for image in shown
        ]
        modality = codes.MODALITIES.get(shown[0].class_uid, "OT")
        series.append(
            {
                "uid": series_uid,
                "modality": {"system": codes.DICOM, "code": modality},
                "numberOfInstances": len(shown),
                "instance": instances,
            }
        )
    return {
        "resourceType": "ImagingStudy",
        "identifier": [own, *([_accession(accession)] if accession else [])],
        "status": "available",
        "subject": (
            {"reference": _place(reported.document_uid.strip(), "patient")} if patient else {"display": "not stated"}
        ),
        "started": _date(study.study_date),
        "referrer": {"display": shown_name(study.referring_physician)}
        if shown_name(study.referring_physician)
        else None,
        "numberOfSeries": len(series),
        "numberOfInstances": len(images),
        "reasonCode": [{"text": block(study.indication)}] if block(study.indication) else None,
        "description": line(study.description),
        "series": series,
    }


def _device(model: ModelIdentity | None) -> Resource | None:
    """The network that drafted; None where nothing was drafted."""
    if model is None:
        return None
    settings = json.dumps({**model.decoding, **model.settings}, sort_keys=True, ensure_ascii=False, default=str)
    return {
        "resourceType": "Device",
        "identifier": [{"system": codes.WEIGHTS, "value": line(model.weights)}],
        "manufacturer": MANUFACTURER,
        "modelNumber": line(model.method),
        "deviceName": [{"name": line(model.name), "type": "user-friendly-name"}] if line(model.name) else None,
        "version": [{"type": {"text": "Radwright"}, "value": line(model.radwright)}] if line(model.radwright) else None,
        "note": [{"text": line(f"Research software, not a medical device. {settings}")}],
    }


def _agents(signed: Sequence[Signature], network: Resource | None, model: ModelIdentity | None) -> list[Resource]:
    """Who made the text: the network that drafted it, the persons who verified it or added to it."""
    agents = []
    if network is not None and model is not None:
        who = {**network, "display": line(model.name)}
        agents.append({"type": _concept(codes.PARTICIPANT, "assembler", "Assembler"), "who": who})
    for name in dict.fromkeys(shown_name(signer(signature.observer)) for signature in signed):
        who = {"type": "Practitioner", "display": name}
        agents.append({"type": _concept(codes.PARTICIPANT, "verifier", "Verifier"), "who": who})
    return agents


def _human_name(name: str) -> Resource:
    """A PN as HumanName, its words alone where it does not say which is the family name; empty where there is none."""
    family, given, middle, prefix, suffix = name_parts(name)
    if not (given or middle or prefix or suffix):
        return {"text": shown_name(name)} if shown_name(name) else {}
    return {
        "text": shown_name(name),
        "family": family,
        "given": [part for part in (given, middle) if part],
        "prefix": [prefix] if prefix else [],
        "suffix": [suffix] if suffix else [],
    }


def _accession(number: str) -> Resource:
    return {"type": _concept(codes.IDENTIFIER_TYPE, "ACSN", "Accession ID"), "value": number}


def _concept(system: str, code: str, display: str) -> Resource:
    return {"coding": [_coding(system, code, display)]}


def _coding(system: str, code: str, display: str) -> Resource:
    return {"system": system, "code": code, "display": display}


def _narrative(text: str) -> str:
    lines = "<br/>".join(escape(each, quote=False) for each in text.split("\n"))
    return f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{lines}</p></div>'


def _date(value: str) -> str:
    """A DICOM date as FHIR's, without the time, whose zone nobody knows; empty where there is none."""
    digits = day(value)
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}" if digits else ""


def _instant(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _place(own: str, *parts: str) -> str:
    """``urn:uuid`` of a resource of the bundle, always the same."""
    number = int(derived_uid("resource", own, *parts).removeprefix("2.25."))
    digits = f"{number:032x}"
    return f"urn:uuid:{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _without_blanks(value: Any) -> Any:
    """The same without keys whose values are empty, which FHIR does not allow."""
    if isinstance(value, dict):
        kept = {key: _without_blanks(each) for key, each in value.items()}
        return {key: each for key, each in kept.items() if each not in (None, "", [], {})}
    return [_without_blanks(each) for each in value] if isinstance(value, list) else value
