"""Writes the report of a phantom study; ``parse.py`` reads the exact findings back out of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from radwright.data.phantom.finding import DISEASES, ORDINALS, Finding
from radwright.data.phantom.lexicon import (
    ABSENCES,
    COMPLAINTS,
    MEDIASTINUM,
    NO_DISEASE,
    PHRASE_WORDS,
    PLACE_WORDS,
    SCALE_OF,
    SIZE_WORDS,
    STATEMENTS,
    SUMMARIES,
)
from radwright.data.phantom.streams import Stream

TOPICS: Mapping[str, tuple[str, ...]] = {
    "devices": ("endotracheal_tube", "central_line", "chest_tube", "pacemaker", "sternal_wires"),
    "heart": ("cardiomegaly",),
    "lungs": ("consolidation", "edema", "nodule"),
    "pleura": ("effusion", "pneumothorax"),
    "bones": ("fracture",),
}
_PHRASES = "other"
_ORDERS = (
    ("devices", "heart", "mediastinum", "lungs", "pleura", "bones", "other"),
    ("other", "heart", "mediastinum", "lungs", "pleura", "bones", "devices"),
    ("lungs", "pleura", "heart", "mediastinum", "bones", "devices", "other"),
    ("other", "devices", "lungs", "pleura", "heart", "bones", "mediastinum"),
)
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou]|8 |11 |18 )")

StreamOf = Callable[[str], Stream]
T = TypeVar("T")


def write_sections(
    findings: Sequence[Finding],
    phrases: Collection[str],
    *,
    age: int,
    female: bool,
    variety: float,
    stream_of: StreamOf,
    phrases_first: bool = False,
) -> dict[str, str]:
    """Write the findings, impression and indication sections.

    Args:
        findings: at most one per kind.
        phrases: names of harmless phrases to put in.
        age: in years.
        female: whether the patient is a woman.
        variety: chance in [0, 1] that a statement is worded freely rather than by its first wording.
        stream_of: the stream of one statement by name, so that adding a finding rewords only what speaks of it.
        phrases_first: whether the phrases open the findings rather than stand where the order of topics has them.
    """
    writer = _Writer(findings, phrases, variety, stream_of)
    return writer.sections(age, female, phrases_first=phrases_first)


class _Writer:
    def __init__(
        self, findings: Sequence[Finding], phrases: Collection[str], variety: float, stream_of: StreamOf
    ) -> None:
        self._findings = {finding.kind: finding for finding in findings}
        self._phrases = phrases
        self._variety = variety
        self._stream_of = stream_of

    def sections(self, age: int, female: bool, *, phrases_first: bool) -> dict[str, str]:
        order: tuple[str, ...] = self._pick(_ORDERS, self._stream_of("order"))
        if phrases_first:
            order = (_PHRASES, *(topic for topic in order if topic != _PHRASES))
        sentences = [sentence for topic in order for sentence in self._topic(topic)]
        person = "woman" if female else "man"
        complaint = self._pick(COMPLAINTS, self._stream_of("complaint")).format(age=age, person=person)
        return {
            "findings": " ".join(sentences),
            "impression": " ".join(self._impression()),
            "indication": " ".join([complaint, *self._phrase_sentences("indication")]),
        }

    def _topic(self, topic: str) -> list[str]:
        if topic == _PHRASES:
            return self._phrase_sentences("findings")
        stream = self._stream_of(topic)
        said = stream.unit()
        if topic == "mediastinum":
            # Where the heart is normal its sentence may already speak of the mediastinum.
            return [self._pick(MEDIASTINUM, stream)] if said < 0.4 * self._variety else []
        kinds = TOPICS[topic]
        present = [self._state(kind, STATEMENTS) for kind in kinds if kind in self._findings]
        if topic == "devices" or said < 0.12 * self._variety:
            return present
        return present + self._absent(topic, kinds, stream)

    def _absent(self, topic: str, kinds: Sequence[str], stream: Stream) -> list[str]:
        absent = tuple(kind for kind in kinds if kind not in self._findings)
        together = ("consolidation", "effusion", "pneumothorax")
        if not any(kind in self._findings for kind in together):
            joint = self._stream_of("joint").unit() < 0.25 * self._variety
            if joint and topic == "pleura":
                return []
            if joint and topic == "lungs":
                return [self._pick(ABSENCES[together], stream)]
        if absent not in ABSENCES:
            absent = absent[:1]
        return [self._pick(ABSENCES[absent], stream)] if absent in ABSENCES else []

    def _impression(self) -> list[str]:
        stream = self._stream_of("impression")
        named = [kind for kind in DISEASES if kind in self._findings]
        if not named:
            return [self._pick(NO_DISEASE, stream)]
        if stream.unit() < self._variety:
            named = stream.shuffled(named)
        return [self._state(kind, SUMMARIES) for kind in named]

    def _phrase_sentences(self, section: str) -> list[str]:
        return [
            self._pick(wordings, self._stream_of(f"phrase:{name}"))
            for name, (place, wordings) in PHRASE_WORDS.items()
            if place == section and name in self._phrases
        ]

    def _state(self, kind: str, templates: Mapping[str, Sequence[str]]) -> str:
        """One finding as a sentence of ``templates``."""
        finding = self._findings[kind]
        stream = self._stream_of(f"{kind} {'stated' if templates is STATEMENTS else 'summary'}")
        template = self._pick(templates[f"{kind} both" if finding.side == "both" else kind], stream)
        size = finding.size
        if kind in SCALE_OF:
            size = self._pick(SIZE_WORDS[SCALE_OF[kind]][size], stream)
        sentence = template.format(size=size, degree=f"{size}ly", side=finding.side, place=self._place(finding, stream))
        sentence = _ARTICLE.sub(r"\1n ", sentence.replace("left lingula", "lingula"))
        return sentence[0].upper() + sentence[1:]

    def _place(self, finding: Finding, stream: Stream) -> str:
        if finding.kind == "fracture":
            part, number, _ = finding.place.split()
            spelt = ORDINALS[int(number[:-2]) - 1]
            return f"{part} {self._pick((number, spelt), stream)} rib"
        words = PLACE_WORDS.get(finding.kind)
        return self._pick(words[finding.place], stream) if words else finding.place

    def _pick(self, options: Sequence[T], stream: Stream) -> T:
        free, place = stream.unit() < self._variety, stream.unit()
        return options[int(place * len(options)) if free else 0]
