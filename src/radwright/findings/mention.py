"""What reading a report gives: mentions of findings, each with its words, its status and its details."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Status(IntEnum):
    """What a report says of a finding; the numbers are those of CheXpert's label files."""

    UNCERTAIN = -1
    ABSENT = 0
    PRESENT = 1


class Mention(NamedTuple):
    """One finding named once in a report.

    Attributes:
        concept: id in the ontology, finer than the classes (``"hiatal_hernia"``).
        status: asserted, denied or left open.
        start: first character of the words that name it, in the text as given.
        end: one past their last character.
        cue: (start, end) of the words that deny it or leave it open; None where nothing does.
        sentence: index of its sentence.
        sides: ``"left"``, ``"right"``, both for a bilateral finding; empty where no side is said.
        zones: of ``"upper"``, ``"middle"``, ``"lower"``, those of the lung that are named; empty where none is.
        severity: 1 minimal, 2 mild (small), 3 moderate, 4 severe (large); 0 where it is not said.
        change: against an earlier examination: ``"new"``, ``"worse"``, ``"better"``, ``"same"``; ``""`` where
            nothing is said.
        likely: of a finding that is left open: it is called likely, or is one of two readings ("atelectasis versus
            scarring").
    """

    concept: str
    status: Status
    start: int
    end: int
    cue: tuple[int, int] | None
    sentence: int
    sides: frozenset[str]
    severity: int
    change: str
    likely: bool = False
    zones: frozenset[str] = frozenset()


class ReadReport(NamedTuple):
    """A report that was read.

    Attributes:
        text: as given; all offsets are into it.
        sentences: (start, end) of every sentence.
        mentions: in the order of the text.
        comparisons: (start, end) of words that compare with an earlier examination ("unchanged", "since the prior").
    """

    text: str
    sentences: tuple[tuple[int, int], ...]
    mentions: tuple[Mention, ...]
    comparisons: tuple[tuple[int, int], ...]
