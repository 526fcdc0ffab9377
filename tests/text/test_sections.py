"""Free-text reports are cut at their headings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.text.sections import split_sections


def test_the_usual_report() -> None:
    report = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  Cough for two weeks.

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  None.

 FINDINGS:

 The lungs are clear.  Note: ribs
 are intact.

 IMPRESSION:  No acute process.
"""
    assert split_sections(report) == {
        "indication": "Cough for two weeks.",
        "comparison": "None.",
        "findings": "The lungs are clear. Note: ribs are intact.",
        "impression": "No acute process.",
    }


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("", {}),
        ("The lungs are clear.", {}),
        ("HISTORY: Pain.\nAP view. Clear.", {"indication": "Pain. AP view. Clear."}),
        ("FINDINGS AND IMPRESSION: Clear.", {"findings": "Clear."}),
        ("Findings: Clear.\nImpression: Normal.", {"findings": "Clear.", "impression": "Normal."}),
        ("IMPRESSION\nNormal.", {"impression": "Normal."}),
        ("impression\nNormal.", {}),
        ("FINDINGS: Clear. IMPRESSION: inside", {"findings": "Clear. IMPRESSION: inside"}),
        ("WET READ: Bad.\nFINDINGS: Good.\nNOTIFICATION: Told.", {"findings": "Good."}),
        ("IMPRESSION: Early.\nADDENDUM: x\nIMPRESSION: Late.", {"impression": "Late."}),
        ("IMPRESSION: Early.\nIMPRESSION:", {"impression": "Early."}),
        ("FINDINGS:\nIMPRESSION: Normal.", {"findings": "", "impression": "Normal."}),
        ("REASON FOR EXAM: Fall.\r\nFINDINGS: Clear.\r\n", {"indication": "Fall.", "findings": "Clear."}),
    ],
)
def test_cases(report: str, expected: dict[str, str]) -> None:
    assert split_sections(report) == expected


@given(st.text(alphabet="FINDGS IMPRESO:\n.abc", max_size=200))
def test_no_text_breaks_it_and_nothing_is_made_up(report: str) -> None:
    words = set(report.split())
    for text in split_sections(report).values():
        assert text == " ".join(text.split())
        assert all(any(word in whole for whole in words) for word in text.split())
