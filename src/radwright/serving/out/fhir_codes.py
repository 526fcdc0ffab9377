"""Code systems of the FHIR export: those of the standards, and our own for findings and what is said of them.

Outside codes are given only where they mean the same beyond doubt; a finding without one has ours alone.
"""

from __future__ import annotations

from radwright.serving.out.said import Said
from radwright.serving.out.values import derived_uid

SNOMED, LOINC, DICOM = "http://snomed.info/sct", "http://loinc.org", "http://dicom.nema.org/resources/ontology/DCM"
URI = "urn:ietf:rfc:3986"
DICOM_UID = "urn:dicom:uid"
OBSERVATION_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
DIAGNOSTIC_SERVICE = "http://terminology.hl7.org/CodeSystem/v2-0074"
IDENTIFIER_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0203"
PARTICIPANT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"

FINDINGS = f"urn:oid:{derived_uid('code system', 'findings')}"
"""Our concepts, by their id in the ontology."""
STATEMENTS = f"urn:oid:{derived_uid('code system', 'statements')}"
"""present, absent, uncertain."""
STUDIES = f"urn:oid:{derived_uid('identifiers', 'studies')}"
"""The reading room's studies."""
WEIGHTS = f"urn:oid:{derived_uid('identifiers', 'weights')}"
"""Networks, by the SHA-256 of their weights."""

SNOMED_FINDINGS: dict[str, tuple[str, str]] = {
    "atelectasis": ("46621007", "Atelectasis"),
    "bronchiectasis": ("12295008", "Bronchiectasis"),
    "cardiomegaly": ("8186001", "Cardiomegaly"),
    "consolidation": ("95436008", "Lung consolidation"),
    "copd": ("13645005", "Chronic obstructive lung disease"),
    "edema": ("19242006", "Pulmonary edema"),
    "emphysema": ("87433001", "Pulmonary emphysema"),
    "fibrosis": ("51615001", "Fibrosis of lung"),
    "hiatal_hernia": ("84089009", "Hiatal hernia"),
    "pericardial_effusion": ("373945007", "Pericardial effusion"),
    "pleural_effusion": ("60046008", "Pleural effusion"),
    "pneumonia": ("233604007", "Pneumonia"),
    "pneumothorax": ("36118008", "Pneumothorax"),
    "pulmonary_hypertension": ("70995007", "Pulmonary hypertension"),
}
SNOMED_STATEMENTS: dict[Said, tuple[str, str]] = {
    "present": ("52101004", "Present"),
    "absent": ("2667000", "Absent"),
    "uncertain": ("82334004", "Indeterminate"),
}
MODALITIES = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "DX",
}
"""SOP class -> modality; others are OT."""
