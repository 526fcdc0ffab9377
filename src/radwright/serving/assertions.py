"""What a report in the reading room asserts, how sure the network was of it, and how urgent it is."""

from __future__ import annotations

from collections.abc import Mapping

from radwright.findings import Status, read_report
from radwright.findings.ontology import concepts
from radwright.serving.records import Draft


def asserted(text: str, draft: Draft | None) -> dict[str, float | None]:
    """Findings that a text asserts, in its order -> the probability that the draft's calibration gives them.

    Args:
        text: a report, read by rules.
        draft: the draft that it goes back to; a finding that only a person wrote has no probability.
    """
    known = {each.finding: each.probability for each in draft.findings} if draft else {}
    mentions = read_report(text).mentions
    return {each.concept: known.get(each.concept) for each in mentions if each.status is Status.PRESENT}


def doubt(found: Mapping[str, float | None]) -> float | None:
    """How likely the least sure finding is wrong, in [0, 1], by the checkpoint's calibration; None where nobody knows.

    It says nothing of what a report misses: one that asserts nothing has no doubt that could be told.

    Args:
        found: see ``asserted``.
    """
    known = [value for value in found.values() if value is not None]
    return 1 - min(known) if known else None


def urgency(found: Mapping[str, float | None]) -> float:
    """The largest importance of a finding: 4 urgent, 3 significant, 2 minor, 1 incidental; 0 of none."""
    known = concepts()
    return max((known[name].importance for name in found), default=0.0)
