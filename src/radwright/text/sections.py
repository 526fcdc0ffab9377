"""A free-text radiology report, as MIMIC-CXR has them -> its findings, impression, indication and comparison."""

from __future__ import annotations

import re

# What reports call a section -> ours; "" ends a section without starting one of ours.
_HEADINGS = {
    "FINDINGS": "findings",
    "FINDING": "findings",
    "REPORT": "findings",
    "FINDINGS AND IMPRESSION": "findings",
    "FINDINGS/IMPRESSION": "findings",
    "IMPRESSION AND FINDINGS": "findings",
    "IMPRESSION": "impression",
    "IMPRESSIONS": "impression",
    "CONCLUSION": "impression",
    "CONCLUSIONS": "impression",
    "OPINION": "impression",
    "SUMMARY": "impression",
    "INDICATION": "indication",
    "INDICATIONS": "indication",
    "HISTORY": "indication",
    "CLINICAL HISTORY": "indication",
    "CLINICAL INFORMATION": "indication",
    "CLINICAL INDICATION": "indication",
    "REASON FOR EXAM": "indication",
    "REASON FOR EXAMINATION": "indication",
    "REASON FOR THE EXAM": "indication",
    "REASON FOR STUDY": "indication",
    "COMPARISON": "comparison",
    "COMPARISONS": "comparison",
    "COMPARISON STUDY": "comparison",
    "COMPARISON EXAM": "comparison",
    "TECHNIQUE": "",
    "EXAMINATION": "",
    "EXAM": "",
    "STUDY": "",
    "PROCEDURE": "",
    "VIEWS": "",
    "WET READ": "",
    "NOTIFICATION": "",
    "NOTIFICATIONS": "",
    "RECOMMENDATION": "",
    "RECOMMENDATIONS": "",
    "RECOMMENDATION(S)": "",
    "ADDENDUM": "",
    "FINAL REPORT": "",
    "PREAMBLE": "",
}
# A heading starts a line and ends with a colon or, in capitals, stands alone on it.
_HEADING = re.compile(r"^[ \t]*([A-Za-z][A-Za-z/()]*(?:[ \t]+[A-Za-z][A-Za-z()]*){0,4})[ \t]*(:|$)", re.MULTILINE)


# Beginnings of a comparison section that names no earlier examination ("None.", "No prior studies", "Not available").
_NO_PRIOR = re.compile(
    r"(?:there (?:is|are|was|were) )?(?:none|nil|no\b(?! (?:\w+ )?change))|n/?a\b|not applicable"
    r"|(?:[a-z-]+ ){0,4}(?:not available|unavailable)$"
)


def names_prior(comparison: str) -> bool | None:
    """Whether a comparison section names an earlier examination; None where it holds no word."""
    text = " ".join(comparison.lower().split()).strip(" .:;,_")
    if not any(character.isalnum() for character in text):
        return None
    return _NO_PRIOR.match(text) is None


def split_sections(report: str) -> dict[str, str]:
    """Cut a report at its headings.

    A heading stands at the start of a line and ends with a colon (``FINDINGS:``, ``Impression:``, ``REASON FOR EXAM:``)
    or, in capitals, stands alone on its line. A report that joins both sections (``FINDINGS AND IMPRESSION:``) has
    findings only. Text under no known heading belongs to no section. The last of several sections of one name that hold
    any text counts, since addenda and preliminary reads come first in such reports.

    Returns:
        Section name -> text with runs of white space as one space; only the sections that the report has.
    """
    marks = []
    for match in _HEADING.finditer(report):
        words = " ".join(match.group(1).split())
        section = _HEADINGS.get(words.upper())
        if section is not None and (match.group(2) == ":" or words.isupper()):
            marks.append((match.start(), match.end(), section))
    sections: dict[str, str] = {}
    ends = [start for start, _, _ in marks[1:]] + [len(report)]
    for (_, start, section), end in zip(marks, ends, strict=False):  # no heading, no section
        text = " ".join(report[start:end].split())
        if section and (text or section not in sections):
            sections[section] = text
    return sections
