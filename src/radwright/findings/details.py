"""Which side, zone, grade and change belongs to which finding of a sentence."""

from __future__ import annotations

from itertools import pairwise

from radwright.findings.lexicon import Kind
from radwright.findings.mention import Status
from radwright.findings.ontology import ancestors
from radwright.findings.sentence import Draft, Sentence
from radwright.findings.tokens import Phrase

DETAIL_REACH = 5
"""Words between a side, grade or change and its finding."""
FRONTED_REACH = 12
"""The same for the first words of a sentence ("In the left upper lobe, there is a 1 cm nodule")."""
_BOTH = frozenset({"left", "right"})
_VERBS = frozenset({"has", "have", "is", "are"})
_INTERPRETING = frozenset(
    {
        *("consistent", "compatible", "represent", "represents", "representing", "reflect", "reflects", "reflecting"),
        *("suggest", "suggests", "suggesting", "suggestive", "concerning", "suspicious", "worrisome", "likely"),
        *("probably", "possibly", "favored", "due", "secondary", "associated", "adjacent", "overlying", "compressive"),
    }
)
"""What follows these words in a sentence is where the finding before them is."""
_ZONE_WORDS = {
    "upper": "upper",
    "lower": "lower",
    "middle": "middle",
    "apical": "upper",
    "biapical": "upper",
    "basilar": "lower",
    "bibasilar": "lower",
    "perihilar": "middle",
}
_SIDE_WORDS = {
    "left": frozenset({"left"}),
    "right": frozenset({"right"}),
    "leftward": frozenset({"left"}),
    "rightward": frozenset({"right"}),
    "bilateral": _BOTH,
    "both": _BOTH,
}


def add_details(sentence: Sentence, drafts: list[Draft]) -> None:
    """Note sides, zones, grades and changes in the drafts that they belong to."""
    for phrase in sentence.phrases:
        if phrase.kind is Kind.SIDE:
            for draft in _owners(sentence, drafts, phrase):
                draft.sides |= _SIDE_WORDS[phrase.value]
        elif phrase.kind is Kind.ZONE:
            for draft in _owners(sentence, drafts, phrase):
                draft.zones.add(phrase.value)
        elif phrase.kind is Kind.SEVERITY:
            for draft in _owners(sentence, drafts, phrase):
                draft.severity = max(draft.severity, int(phrase.value))
        elif phrase.kind is Kind.CHANGE:
            for draft in _owners(sentence, drafts, phrase):
                if draft.change in ("", "same"):
                    draft.change = phrase.value
    for draft in drafts:
        for word in sentence.words[draft.first : draft.last + 1]:
            draft.sides |= _SIDE_WORDS.get(word.text, frozenset())
            if word.text in _ZONE_WORDS:
                draft.zones.add(_ZONE_WORDS[word.text])
    # Which way a shift goes is not where the finding lies that causes it.
    for before, draft in pairwise([draft for draft in drafts if draft.concept != "mediastinal_shift"]):
        _share_place(sentence, before, draft)


def _share_place(sentence: Sentence, first: Draft, second: Draft) -> None:
    """Give a finding without a place that of its neighbour, where one of the two explains the other."""
    if Status.ABSENT in (first.status, second.status) or first.clause != second.clause:
        return
    between = {word.text for word in sentence.words[first.last + 1 : second.first]}
    shares_cue = second.cue is not None and second.cue is first.cue
    if not (second.sides or second.zones) and (between & _INTERPRETING or shares_cue):
        second.sides |= first.sides
        second.zones |= first.zones
    elif "with" in between and not (first.sides or first.zones) and _is_opacity(first) and _is_opacity(second):
        first.sides |= second.sides
        first.zones |= second.zones


def _is_opacity(draft: Draft) -> bool:
    return "lung_opacity" in (draft.concept, *ancestors(draft.concept))


def _is_predicate(sentence: Sentence, phrase: Phrase) -> bool:
    """Whether a grade or change is said of a subject ("the effusion is small, with atelectasis", "has increased")."""
    if phrase.kind not in (Kind.SEVERITY, Kind.CHANGE):
        return False
    if sentence.words[phrase.first].text in _VERBS:
        return True
    return any(other.kind is Kind.VERB and other.last + 1 == phrase.first for other in sentence.phrases)


def _owners(sentence: Sentence, drafts: list[Draft], phrase: Phrase) -> list[Draft]:
    """The mention that a side, zone, grade or change belongs to: the next one, or the one before; twins share it."""
    placed = phrase.kind in (Kind.SIDE, Kind.ZONE) and sentence.is_place(phrase)
    before = [draft for draft in drafts if draft.last < phrase.first]
    after = [draft for draft in drafts if draft.first > phrase.last]
    inside = [draft for draft in drafts if draft.first <= phrase.first and phrase.last <= draft.last]
    if inside:
        return inside
    follows = None
    if after:
        follows = min(after, key=lambda draft: draft.first)
        barred = any(
            other.kind in (Kind.COMMA, Kind.VERB, Kind.END)
            for other in sentence.phrases
            if phrase.last < other.first and other.last < follows.first
        )
        reach = DETAIL_REACH if before else FRONTED_REACH
        if (barred and before) or follows.first - phrase.last > reach:
            follows = None
    owner = None
    if before and (placed or follows is None or _is_predicate(sentence, phrase)):
        owner = max(before, key=lambda draft: draft.last)
    owner = owner or follows
    if owner is None:
        return []
    return [draft for draft in drafts if (draft.first, draft.last) == (owner.first, owner.last)]
