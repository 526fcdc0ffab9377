"""A free-text radiology report, as MIMIC-CXR has them -> its findings, impression, indication and comparison."""

from __future__ import annotations

import re
from typing import NamedTuple

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
    sections: dict[str, str] = {}
    for heading, section, text in cut_sections(report):
        if heading and section and (text or section not in sections):
            sections[section] = " ".join(text.split())
    return sections


class Section(NamedTuple):
    """One section of a report, as it stands there.

    Attributes:
        heading: as written, without its colon; empty for what stands before the first one.
        name: ``findings``, ``impression`` ...; empty for a heading that starts none of ours, and before the first.
        text: what stands under it, its lines kept, without the white space around it.
    """

    heading: str
    name: str
    text: str


def cut_sections(report: str) -> list[Section]:
    """A report at the headings that ``split_sections`` knows, in order and with nothing left out.

    Returns:
        The sections; what stands before the first heading only where there is any.
    """
    marks = []
    for match in _HEADING.finditer(report):
        words = " ".join(match.group(1).split())
        section = _HEADINGS.get(words.upper())
        if section is not None and (match.group(2) == ":" or words.isupper()):
            marks.append((match.start(), match.end(), words, section))
    ends = [start for start, *_ in marks] + [len(report)]
    before = report[: ends[0]].strip()
    sections = [Section("", "", before)] if before else []
    for (_, start, words, section), end in zip(marks, ends[1:], strict=True):
        sections.append(Section(words, section, report[start:end].strip()))
    return sections
