"""What a text says of a list of findings that the reader of the list chose: one status each."""

from __future__ import annotations

from collections.abc import Sequence

from radwright.errors import ConfigError, near
from radwright.findings.labels import chexpert_labels
from radwright.findings.mention import ReadReport, Status
from radwright.findings.ontology import CHEXPERT, ancestors, concepts

Signature = tuple[int | None, ...]
"""Per finding 1 present, 0 absent, -1 left open, None not mentioned (the numbers of CheXpert's label files)."""

_RANK = {Status.PRESENT: 2, Status.UNCERTAIN: 1, Status.ABSENT: 0}


def check_finding(name: str) -> str:
    """``name`` itself, where it is one of CheXpert's observations or a concept of the ontology.

    Raises:
        ConfigError: it is neither; the near name is given.
    """
    known = [*CHEXPERT, *concepts()]
    if name not in known:
        raise ConfigError(
            f"unknown finding {name!r}{near(name, known)}; known are the concepts of findings/ontology.toml "
            f"and CheXpert's observations: {', '.join(CHEXPERT)}"
        )
    return name


def signature(read: ReadReport, findings: Sequence[str]) -> Signature:
    """What a report says of each finding; of several mentions an assertion counts before an open one, then a denial.

    A concept is also named by every narrower one that is asserted or left open ("nodule" by "calcified nodule"), and
    denied where a broader one is ("no opacity" denies consolidation).

    Args:
        read: the report.
        findings: names that ``check_finding`` accepts.
    """
    observations = chexpert_labels(read) if any(name in CHEXPERT for name in findings) else {}
    return tuple(observations[name] if name in CHEXPERT else _of_concept(read, name) for name in findings)


def _of_concept(read: ReadReport, name: str) -> int | None:
    broader = {name, *ancestors(name)}
    statuses = [
        mention.status
        for mention in read.mentions
        if (mention.concept in broader if mention.status is Status.ABSENT else _is_kind_of(mention.concept, name))
    ]
    return int(max(statuses, key=_RANK.__getitem__)) if statuses else None


def _is_kind_of(concept: str, name: str) -> bool:
    return concept == name or name in ancestors(concept)
