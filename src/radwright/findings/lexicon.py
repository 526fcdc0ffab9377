"""The lexicon: phrases of reports and what each of them means, as a tree of words that is walked while reading."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, auto
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from radwright.findings.mention import Status
from radwright.findings.ontology import concepts


class Kind(IntEnum):
    """What a phrase does in its sentence."""

    CONCEPT = auto()
    DENIAL = auto()
    BORDERLINE = auto()
    ORGAN = auto()
    STATE = auto()
    NEGATION = auto()
    NEGATION_AFTER = auto()
    UNCERTAINTY = auto()
    UNCERTAINTY_AFTER = auto()
    NEUTRAL = auto()
    END = auto()
    VERB = auto()
    SEEN = auto()
    AND = auto()
    OR = auto()
    WITH = auto()
    NOT_NOW = auto()
    PRONOUN = auto()
    COMPARISON = auto()
    SIDE = auto()
    ZONE = auto()
    SEVERITY = auto()
    CHANGE = auto()
    COMMA = auto()
    QUESTION = auto()


class Sense(NamedTuple):
    """One meaning of a phrase: its kind, and which concept, organ, state, side, grade or change it is."""

    kind: Kind
    value: str


class Composed(NamedTuple):
    """What an organ and its state say together."""

    concept: str
    status: Status
    likely: bool


SENSES = ""
"""Key under which a node of the tree keeps the senses of the phrase that ends there; no word is empty."""

Node = dict[str, Any]
_SIDE_WORDS = {"left": "left", "right": "right", "bilateral": "both", "both": "both"}

PROBABLE = frozenset({"probable", "probable_after"})
"""Cues of uncertainty that call a finding likely, or one of two readings."""
_CUES = {"probable": Kind.UNCERTAINTY, "probable_after": Kind.UNCERTAINTY_AFTER}


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Everything the reader knows of words.

    Attributes:
        root: word -> node, level by level; a node's ``SENSES`` holds the senses of the phrase that ends with it.
        compositions: (organ, state) -> what they say.
    """

    root: Node
    compositions: Mapping[tuple[str, str], tuple[Composed, ...]]


def expand(pattern: str) -> Iterator[tuple[str, ...]]:
    """Every phrase that a pattern stands for; see the head of ``lexicon.toml``."""
    choices = []
    for part in pattern.split():
        words = part.removesuffix("?").split("|")
        choices.append([*words, ""] if part.endswith("?") else words)
    for combination in itertools.product(*choices):
        phrase = tuple(word for word in combination if word)
        if phrase:
            yield phrase


@cache
def lexicon() -> Lexicon:
    """The lexicon of ``lexicon.toml``."""
    text = resources.files("radwright.findings").joinpath("lexicon.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    root: Node = {}
    sections = (
        (Kind.CONCEPT, tables["concepts"]),
        (Kind.DENIAL, tables["denials"]),
        (Kind.BORDERLINE, tables["borderline"]),
        (Kind.ORGAN, tables["organs"]),
        (Kind.STATE, tables["states"]),
        (Kind.SIDE, tables["sides"]),
        (Kind.ZONE, tables["zones"]),
        (Kind.SEVERITY, tables["severities"]),
        (Kind.CHANGE, tables["changes"]),
    )
    for kind, entries in sections:
        for value, patterns in entries.items():
            for pattern in patterns:
                _insert(root, pattern, Sense(kind, value))
    for cue, patterns in tables["cues"].items():
        for pattern in patterns:
            _insert(root, pattern, Sense(_CUES.get(cue) or Kind[cue.upper()], cue))
    unknown = (tables["concepts"].keys() | tables["denials"].keys()) - concepts().keys()
    assert not unknown, f"lexicon.toml names concepts that ontology.toml lacks: {sorted(unknown)}"
    return Lexicon(root, dict(_compositions(tables["compositions"])))


def _insert(root: Node, pattern: str, sense: Sense) -> None:
    for phrase in expand(pattern):
        node = root
        for word in phrase:
            node = node.setdefault(word, {})
        senses = node.get(SENSES, ())
        added = [sense]
        if sense.kind in (Kind.ORGAN, Kind.DENIAL, Kind.STATE):  # "right lung base" is a side as well
            added += [Sense(Kind.SIDE, _SIDE_WORDS[word]) for word in phrase if word in _SIDE_WORDS]
        node[SENSES] = (*senses, *(one for one in added if one not in senses))


def _compositions(
    table: Mapping[str, Mapping[str, str]],
) -> Iterator[tuple[tuple[str, str], tuple[Composed, ...]]]:
    known = concepts()
    for organ, states in table.items():
        for state, outcome in states.items():
            composed = []
            for entry in outcome.split():
                concept = entry.strip("!?")
                assert concept in known, f"lexicon.toml: {organ}.{state} names no concept: {concept}"
                status = Status.PRESENT
                if entry.startswith("!"):
                    status = Status.ABSENT
                elif entry.endswith("?"):
                    status = Status.UNCERTAIN
                composed.append(Composed(concept, status, entry.endswith("??")))
            yield (organ, state), tuple(composed)
