"""What the text of a report says of each finding, read by rules; the text alone counts, not the draft's own list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from radwright.findings import Status, read_report
from radwright.findings.ontology import concept

Said = Literal["present", "absent", "uncertain"]
_SAID: dict[Status, Said] = {Status.PRESENT: "present", Status.ABSENT: "absent", Status.UNCERTAIN: "uncertain"}
_RANK: dict[Said, int] = {"present": 2, "uncertain": 1, "absent": 0}


@dataclass(frozen=True, slots=True)
class SaidFinding:
    """One finding that a report names.

    Attributes:
        finding: a concept of the ontology.
        title: readable.
        said: asserted, denied or left open; of several mentions an assertion counts first, then an open one.
        sides: ``left``, ``right``, of that mention; empty where no side is said.
        sentence: the one that says it.
    """

    finding: str
    title: str
    said: Said
    sides: tuple[str, ...]
    sentence: str


def findings_said(text: str) -> list[SaidFinding]:
    """Every finding that a text names, once each, in the order of their first mention."""
    read = read_report(text)
    found: dict[str, SaidFinding] = {}
    for mention in read.mentions:
        said = _SAID[mention.status]
        known = found.get(mention.concept)
        if known is not None and _RANK[known.said] >= _RANK[said]:
            continue
        start, end = read.sentences[mention.sentence]
        found[mention.concept] = SaidFinding(
            mention.concept,
            concept(mention.concept).name,
            said,
            tuple(sorted(mention.sides)),
            " ".join(text[start:end].split()),
        )
    return list(found.values())
