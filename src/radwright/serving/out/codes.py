"""Coded concepts of the structured report: DICOM PS3.16, template 2000 and the context groups that it names."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """A concept: its value, the scheme that defines it, and what it means there."""

    value: str
    scheme: str
    meaning: str


XRAY_REPORT = Code("43468-8", "LN", "X-Ray Report")
"""Title, of CID 7000."""

LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")
ENGLISH = Code("en", "RFC5646", "English")
UNDETERMINED = Code("und", "RFC5646", "Undetermined")

OBSERVER_TYPE = Code("121005", "DCM", "Observer Type")
PERSON = Code("121006", "DCM", "Person")
DEVICE = Code("121007", "DCM", "Device")
PERSON_NAME = Code("121008", "DCM", "Person Observer Name")
PERSON_ORGANIZATION = Code("121009", "DCM", "Person Observer's Organization Name")
DEVICE_UID = Code("121012", "DCM", "Device Observer UID")
DEVICE_NAME = Code("121013", "DCM", "Device Observer Name")
DEVICE_MANUFACTURER = Code("121014", "DCM", "Device Observer Manufacturer")
DEVICE_MODEL = Code("121015", "DCM", "Device Observer Model Name")
DEVICE_SERIAL = Code("121016", "DCM", "Device Observer Serial Number")

STUDY_UID = Code("121018", "DCM", "Procedure Study Instance UID")
ACCESSION = Code("121022", "DCM", "Accession Number")
PROCESSING = Code("109102", "DCM", "Processing Equipment")

CURRENT_PROCEDURE = Code("55111-9", "LN", "Current Procedure Descriptions")
PROCEDURE_DESCRIPTION = Code("121065", "DCM", "Procedure Description")
INDICATIONS = Code("18785-6", "LN", "Indications for Procedure")
HISTORY = Code("11329-0", "LN", "History")
FINDINGS = Code("59776-5", "LN", "Findings")
FINDING = Code("121071", "DCM", "Finding")
IMPRESSIONS = Code("19005-8", "LN", "Impressions")
IMPRESSION = Code("121073", "DCM", "Impression")
CONCLUSIONS = Code("55110-1", "LN", "Conclusions")
CONCLUSION = Code("121077", "DCM", "Conclusion")
RECOMMENDATIONS = Code("18783-1", "LN", "Recommendations")
RECOMMENDATION = Code("121075", "DCM", "Recommendation")
SUMMARY = Code("55112-7", "LN", "Summary")
ADDENDUM = Code("55107-7", "LN", "Addendum")
COMMENT = Code("121106", "DCM", "Comment")

SECTIONS: dict[str, tuple[Code, Code]] = {
    "FINDINGS": (FINDINGS, FINDING),
    "FINDING": (FINDINGS, FINDING),
    "IMPRESSION": (IMPRESSIONS, IMPRESSION),
    "IMPRESSIONS": (IMPRESSIONS, IMPRESSION),
    "CONCLUSION": (CONCLUSIONS, CONCLUSION),
    "CONCLUSIONS": (CONCLUSIONS, CONCLUSION),
    "RECOMMENDATION": (RECOMMENDATIONS, RECOMMENDATION),
    "RECOMMENDATIONS": (RECOMMENDATIONS, RECOMMENDATION),
    "RECOMMENDATION(S)": (RECOMMENDATIONS, RECOMMENDATION),
    "SUMMARY": (SUMMARY, SUMMARY),
    "ADDENDUM": (ADDENDUM, ADDENDUM),
    "HISTORY": (HISTORY, HISTORY),
    "CLINICAL HISTORY": (HISTORY, HISTORY),
    "INDICATION": (INDICATIONS, INDICATIONS),
    "INDICATIONS": (INDICATIONS, INDICATIONS),
    "CLINICAL INDICATION": (INDICATIONS, INDICATIONS),
    "REASON FOR EXAM": (INDICATIONS, INDICATIONS),
    "REASON FOR EXAMINATION": (INDICATIONS, INDICATIONS),
    "REASON FOR THE EXAM": (INDICATIONS, INDICATIONS),
    "REASON FOR STUDY": (INDICATIONS, INDICATIONS),
}
"""A heading of a report -> codes of the section and of each text in it (CID 7001, 7002), where they mean the same."""
