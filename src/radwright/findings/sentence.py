"""One sentence with its phrases, what can be asked of it, and the findings that are being worked out in it."""

from __future__ import annotations

from radwright.findings.lexicon import PROBABLE, Kind
from radwright.findings.mention import Status
from radwright.findings.tokens import Phrase, Word

# fmt: off
_DETERMINERS = frozenset({
    "the", "a", "an", "this", "his", "her", "its", "both", "each",
    "either", "left", "right", "bilateral", "lower", "mid", "middle", "upper",
})
_PREPOSITIONS = frozenset({
    "in", "of", "within", "over", "at", "to", "overlying", "along", "from",
    "on", "throughout", "near", "into", "above", "below", "behind", "for", "involving",
    "adjacent", "through", "by", "around", "across", "about", "between", "under", "beneath",
    "projecting",
})
# fmt: on
LINKS = frozenset({Kind.COMMA, Kind.AND, Kind.OR})
VERBS = frozenset({"is", "are", "has", "have", "was", "were", "persist", "persists"})
"""First words of a change that is said of a subject."""
BACK_REACH = 9
"""Words between a finding and a cue behind it ("effusion in the left base is not seen")."""


class Draft:
    """A mention that is being worked out; ``first`` and ``last`` are indices of words."""

    __slots__ = (
        "change",
        "clause",
        "concept",
        "cue",
        "first",
        "last",
        "likely",
        "order",
        "severity",
        "sides",
        "status",
        "zones",
    )

    def __init__(self, concept: str, first: int, last: int, clause: int, order: int) -> None:
        self.concept, self.first, self.last = concept, first, last
        self.clause, self.order = clause, order
        self.status = Status.PRESENT
        self.cue: Phrase | None = None
        self.likely = False
        self.sides: set[str] = set()
        self.zones: set[str] = set()
        self.severity = 0
        self.change = ""

    def give(self, status: Status, cue: Phrase) -> None:
        """Take the status that a cue gives."""
        self.status, self.cue = status, cue
        self.likely = status is Status.UNCERTAIN and cue.value in PROBABLE


class Sentence:
    """One sentence, and the questions that the scope rules ask of it; nothing here changes it.

    Args:
        words: of the sentence.
        phrases: of the lexicon in it, in order.
    """

    def __init__(self, words: list[Word], phrases: list[Phrase]) -> None:
        self.words, self.phrases = words, phrases

    def also(self, index: int, kind: Kind) -> bool:
        """Whether the same words have another sense."""
        phrase = self.phrases[index]
        near = self.phrases[max(0, index - 4) : index + 5]
        return any(other.kind is kind and other.first == phrase.first and other.last == phrase.last for other in near)

    def names_next(self, index: int) -> bool:
        """Whether a finding follows the phrase before its clause or list goes on."""
        phrase = self.phrases[index]
        for other in self.phrases[index + 1 :]:
            if other.first <= phrase.last:
                continue
            if other.kind in LINKS or other.kind in (Kind.VERB, Kind.END) or other.first - phrase.last > BACK_REACH:
                return False
            if other.kind in (Kind.CONCEPT, Kind.ORGAN, Kind.BORDERLINE):
                return True
        return False

    def follows(self, index: int, kind: Kind) -> bool:
        """Whether the phrase stands right behind one of ``kind``."""
        before = self.phrases[index - 1] if index else None
        return before is not None and before.kind is kind and before.last + 1 == self.phrases[index].first

    def ahead(self, index: int, kind: Kind) -> bool:
        """Whether a phrase of ``kind`` follows before the clause or its subject ends."""
        for phrase in self.phrases[index + 1 :]:
            if phrase.kind in (Kind.END, Kind.VERB):
                return False
            if phrase.kind is kind:
                return True
        return False

    def link_before(self, draft: Draft, index: int) -> Kind | None:
        """The last comma, "and" or "or" before a mention, within the phrases up to ``index``."""
        links = [phrase for phrase in self.phrases[:index] if phrase.kind in LINKS and phrase.last < draft.first]
        if not links:
            return None
        joined = len(links) > 1 and links[-1].kind is Kind.AND and links[-2].last + 1 == links[-1].first
        return links[-2].kind if joined else links[-1].kind  # ", and" is a comma

    def only_grades(self, first: int, end: int) -> bool:
        """Whether nothing but words of degree lies between two places ("heart size moderately enlarged")."""
        graded = {
            place
            for phrase in self.phrases
            if phrase.kind in (Kind.SEVERITY, Kind.CHANGE)
            for place in range(phrase.first, phrase.last + 1)
        }
        return all(place in graded for place in range(first, end))

    def linked(self, first: Phrase, second: Phrase) -> bool:
        """Whether two phrases are neighbours in a list."""
        between = {word.text for word in self.words[first.last + 1 : second.first]}
        return bool(between) and between <= {"and", "or", ",", "/", "the", "pulmonary"}

    def is_month(self, phrase: Phrase) -> bool:
        """Whether "may" is one."""
        if self.words[phrase.first].text != "may" or phrase.last > phrase.first:
            return False
        following = self.words[phrase.last + 1].text if phrase.last + 1 < len(self.words) else ""
        before = self.words[phrase.first - 1].text if phrase.first else ""
        return following[:1].isdigit() or before in {"in", "of", "since", "from", "on"}

    def is_place(self, phrase: Phrase) -> bool:
        """Whether a preposition makes a phrase a mere place ("in the right lung")."""
        place = phrase.first - 1
        while place >= 0 and self.words[place].text in _DETERMINERS:
            place -= 1
        return place >= 0 and self.words[place].text in _PREPOSITIONS

    def spoken_of(self, draft: Draft, cue: Phrase) -> bool:
        """Whether a mention has had its verb, and another subject stands between that and the cue."""
        verbs = [phrase.last for phrase in self.verbs_between(draft.last, cue.first)]
        links = [phrase.last for phrase in self.phrases if phrase.kind in LINKS and phrase.last < cue.first]
        return bool(verbs and links and links[-1] > verbs[-1] and cue.first > links[-1] + 1)

    def verbs_between(self, first: int, end: int) -> list[Phrase]:
        """The verbs that begin in words ``first`` to ``end``; changes that are said of a subject are among them."""
        return [
            phrase
            for phrase in self.phrases
            if first <= phrase.first < end
            and (phrase.kind is Kind.VERB or (phrase.kind is Kind.CHANGE and self.words[phrase.first].text in VERBS))
        ]
