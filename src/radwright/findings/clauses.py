"""The scope rules: which cue reaches which finding within one sentence, and which details belong to which finding.

A sentence is walked once from left to right. What is open at a place (a negation, an uncertainty, "history of") is
ended by the words that end a clause; cues behind a finding reach back over the list that it ends; organs wait for the
state that says something of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from radwright.findings.details import add_details
from radwright.findings.lexicon import PROBABLE, Composed, Kind
from radwright.findings.mention import Status
from radwright.findings.ontology import ancestors
from radwright.findings.sentence import BACK_REACH, LINKS, VERBS, Draft, Sentence
from radwright.findings.tokens import Phrase

_ATTRIBUTE_REACH = 5
"""Words between a state and the organ that it describes ("enlarged, globular cardiac silhouette")."""
_ADJECTIVES = frozenset({"suspicious", "suspected", "questionable", "apparent", "potential"})
"""Cues of uncertainty that open no clause of their own."""
_PARTICIPLES = frozenset({"concerning", "suspicious", "suggestive", "suggesting", "worrisome", "suggest"})
"""Cues of uncertainty that say what the finding before them would mean."""
_CAUSES = frozenset({"due", "secondary"})
"""First words of what names a cause: a negation does not reach it, an uncertainty does."""
_ARTICLES = frozenset({"the", "a", "an"})
_SINGULAR = frozenset({"is", "has", "was"})
_DEVICE = "support_device"
_LASTING = frozenset({"copd", "emphysema", "fibrosis", "prior_surgery", "sternotomy", "surgical_clips"})
"""What a history of is still there."""


def _lasts(concept: str) -> bool:
    return concept == _DEVICE or _DEVICE in ancestors(concept) or concept in _LASTING


class Reading:
    """The walk through one sentence.

    Args:
        sentence: to be read, once.
        compositions: what organ and state say together.
        named_last: the concept that the sentence before named last, or ``""``.
    """

    def __init__(
        self,
        sentence: Sentence,
        compositions: Mapping[tuple[str, str], tuple[Composed, ...]],
        named_last: str = "",
    ) -> None:
        self.sentence, self.compositions, self.named_last = sentence, compositions, named_last
        self.drafts: list[Draft] = []
        self.clause = 0
        self.negation: Phrase | None = None
        self.uncertainty: Phrase | None = None
        self.not_now = False
        self.organs: list[Phrase] = []  # of this clause, waiting for their state
        self.spoken: tuple[list[Phrase], int] = [], 0  # organs that a state was said of, and where it ended
        self.num_before_cue = 0  # drafts when the open cue began

    def read(self) -> list[Draft]:
        """The sentence's mentions in order, with their details."""
        for index, phrase in enumerate(self.sentence.phrases):
            _STEPS[phrase.kind](self, index, phrase)
        if self.drafts:
            add_details(self.sentence, self.drafts)
            self.drafts.sort(key=lambda draft: (draft.first, draft.order))
        return self.drafts

    # --- cues

    def _end(self, index: int, phrase: Phrase) -> None:
        self._resume(index, phrase)
        self.negation = None
        if self.sentence.words[phrase.first].text in _CAUSES:
            return  # "may be vascular or due to adenopathy"
        self.uncertainty = None
        self.not_now = False
        self.organs.clear()
        self.clause += 1

    def _resume(self, index: int, phrase: Phrase) -> None:
        """ "Effusion is not seen on the left but is moderate on the right": the same finding, asserted."""
        rest = [other for other in self.sentence.phrases[index + 1 :] if other.first > phrase.last]
        if (
            self.sentence.words[phrase.first].text != "but"
            or not self.drafts
            or not rest
            or rest[0].kind is not Kind.VERB
        ):
            return
        last = self.drafts[-1]
        names = {Kind.CONCEPT, Kind.ORGAN, Kind.BORDERLINE, Kind.NEGATION, Kind.NEGATION_AFTER, Kind.STATE}
        if last.status is Status.ABSENT and last.cue is not None and not names & {other.kind for other in rest}:
            self._add(last.concept, Status.PRESENT, last.first, last.last, plain=True)

    def _negation(self, index: int, phrase: Phrase) -> None:
        is_last = (
            phrase.last == len(self.sentence.words) - 1 and self.sentence.words[phrase.last].text == "no"
        )  # "pneumothorax: no"
        looks_back = is_last or (self.sentence.also(index, Kind.NEGATION_AFTER) and not self.sentence.names_next(index))
        if looks_back and self._reaches_back(phrase, Status.ABSENT):
            return
        self.not_now = False
        self.negation, self.uncertainty = phrase, None
        self.num_before_cue = len(self.drafts)

    def _negation_after(self, index: int, phrase: Phrase) -> None:
        if not self.sentence.also(index, Kind.NEGATION):
            self._reaches_back(phrase, Status.ABSENT)

    def _uncertainty(self, index: int, phrase: Phrase) -> None:
        if self.sentence.is_month(phrase):
            return
        both = phrase.value in PROBABLE  # "A versus B"
        if self.sentence.also(index, Kind.UNCERTAINTY_AFTER) and (both or not self.sentence.names_next(index)):
            self._reaches_back(phrase, Status.UNCERTAIN)
        if self.negation is not None and len(self.drafts) == self.num_before_cue:
            return  # "no evidence to suggest", "nothing suspicious for"
        if self.negation is not None and (
            self.sentence.words[phrase.first].text in _ADJECTIVES
            or self.sentence.follows(index, Kind.OR)
            or self._explains(phrase)
        ):
            return  # "no effusion or suspicious nodule", "no opacity to suggest pneumonia"
        if self.uncertainty is not None and self.uncertainty.value not in PROBABLE and phrase.value in PROBABLE:
            return  # "may be scarring versus atelectasis": no more than "may"
        self.uncertainty, self.negation = phrase, None
        self.num_before_cue = len(self.drafts)

    def _uncertainty_after(self, index: int, phrase: Phrase) -> None:
        if not self.sentence.also(index, Kind.UNCERTAINTY):
            self._reaches_back(phrase, Status.UNCERTAIN)

    def _question(self, index: int, phrase: Phrase) -> None:
        before = self.sentence.words[phrase.first - 1] if phrase.first else None
        if before is not None and before.end == self.sentence.words[phrase.first].start:
            self._reaches_back(phrase, Status.UNCERTAIN)
        else:
            self._uncertainty(index, phrase)

    def _not_now(self, index: int, phrase: Phrase) -> None:
        self.not_now = True

    def _with(self, index: int, phrase: Phrase) -> None:
        if self.negation is not None and len(self.drafts) > self.num_before_cue:
            self.negation = None
        self.not_now = False

    def _and(self, index: int, phrase: Phrase) -> None:
        """ "No pneumothorax, and a small effusion": an indefinite article begins something that is there."""
        following = self.sentence.words[phrase.last + 1].text if phrase.last + 1 < len(self.sentence.words) else ""
        if following in ("a", "an") and len(self.drafts) > self.num_before_cue:
            self.negation = None

    def _comma(self, index: int, phrase: Phrase) -> None:
        self.not_now = False

    def _assertion(self, index: int, phrase: Phrase) -> None:
        """A grade or change that opens a new statement right after a comma or "and" ends what is open."""
        if self.sentence.words[phrase.first].text in VERBS:
            self._verb(index, phrase)
        if len(self.drafts) == self.num_before_cue or self.sentence.ahead(index, Kind.OR):
            return
        after_and = self.sentence.follows(index, Kind.AND) and phrase.value not in ("4", "new")
        if self.sentence.follows(index, Kind.COMMA) or after_and:
            self.negation = None
            if phrase.kind is Kind.CHANGE:
                self.uncertainty = None

    def _verb(self, index: int, phrase: Phrase) -> None:
        """A verb has a subject of its own: what is open before a list's last comma ends before that subject."""
        cue = self.negation or self.uncertainty
        if cue is None:
            return
        if self.organs and self.organs[-1].first > cue.last and not self.sentence.is_place(self.organs[-1]):
            if len(self.drafts) > self.num_before_cue:
                self.negation = self.uncertainty = None
            return
        reached = [draft for draft in self.drafts[self.num_before_cue :] if draft.cue is cue]
        following = self.sentence.phrases[index + 1] if index + 1 < len(self.sentence.phrases) else None
        is_seen = following is not None and following.kind is Kind.SEEN and following.first <= phrase.last + 2
        if len(reached) > 1 and self._has_own_subject(reached[-1], index, is_seen=is_seen):
            last = reached[-1]
            for draft in reached:
                if draft.first == last.first:
                    draft.status, draft.cue, draft.likely = Status.PRESENT, None, False
        if reached:
            self.negation = self.uncertainty = None

    def _has_own_subject(self, last: Draft, index: int, *, is_seen: bool) -> bool:
        """Whether the last of several findings is the subject of the verb at ``index``, and no member of their list."""
        link = self.sentence.link_before(last, index)
        before = [phrase.last for phrase in self.sentence.phrases[:index] if phrase.kind in LINKS]
        start = max((place for place in before if place < last.first), default=last.first)
        if link is not Kind.OR and _ARTICLES & {word.text for word in self.sentence.words[start + 1 : last.first]}:
            return True  # "no opacity, and the effusion is noted"
        return link is Kind.COMMA and not is_seen

    # --- findings

    def _concept(self, index: int, phrase: Phrase) -> None:
        self._add(phrase.value, Status.PRESENT, phrase.first, phrase.last)

    def _pronoun(self, index: int, phrase: Phrase) -> None:
        """ "No effusion on the left; small one on the right." """
        named = self.drafts[-1].concept if self.drafts else self.named_last
        if named:
            self._add(named, Status.PRESENT, phrase.first, phrase.last, plain=True)

    def _denial(self, index: int, phrase: Phrase) -> None:
        if not self._directly_negated(phrase):
            self._add(phrase.value, Status.ABSENT, phrase.first, phrase.last)

    def _borderline(self, index: int, phrase: Phrase) -> None:
        self._add(phrase.value, Status.UNCERTAIN, phrase.first, phrase.last, likely=True)

    def _organ(self, index: int, phrase: Phrase) -> None:
        self.organs.append(phrase)

    def _state(self, index: int, phrase: Phrase) -> None:
        organs = self._described(index, phrase)
        if organs:  # "calcified" names a finding by itself only where it says nothing of an organ
            self.drafts = [draft for draft in self.drafts if (draft.first, draft.last) != (phrase.first, phrase.last)]
            self.spoken = organs, phrase.last
        for organ in organs:
            for concept, status, likely in self.compositions.get((organ.value, phrase.value), ()):
                first, last = min(organ.first, phrase.first), max(organ.last, phrase.last)
                if status is Status.ABSENT:
                    if not self._directly_negated(phrase):
                        self._add(concept, status, first, last, plain=True)
                else:
                    self._add(concept, status, first, last, likely=likely)

    def _described(self, index: int, state: Phrase) -> list[Phrase]:
        """The organs that a state is said of."""
        before = [organ for organ in self.organs if not self.sentence.is_place(organ) and self._fits(organ, state)]
        has_verb = any(
            phrase.kind in (Kind.VERB, Kind.NEGATION)
            for phrase in self.sentence.phrases[:index]
            if before and phrase.first > before[-1].last
        )
        touches = bool(before) and self.sentence.only_grades(before[-1].last + 1, state.first)
        if before and (has_verb or touches):
            self._take(before)
            return before
        after = self._organ_after(index, state)
        if after:
            return after
        if before and state.first - before[-1].last <= BACK_REACH:
            self._take(before)
            return before
        spoken, last = self.spoken
        between = {word.text for word in self.sentence.words[last + 1 : state.first]}
        if not before and spoken and between <= {"and", ",", "or", "mildly", "moderately", "slightly"}:
            return [organ for organ in spoken if self._fits(organ, state)]  # "tortuous and calcified"
        return []

    def _organ_after(self, index: int, state: Phrase) -> list[Phrase]:
        """The organ that follows a state without a verb between, and those that are listed with it."""
        found: list[Phrase] = []
        reach = state.last
        for place in range(index + 1, len(self.sentence.phrases)):
            phrase = self.sentence.phrases[place]
            if phrase.first == state.first:
                continue
            if phrase.first - reach > _ATTRIBUTE_REACH or phrase.kind in (Kind.VERB, Kind.END, Kind.CONCEPT):
                break
            if phrase.kind is Kind.COMMA and not found:
                break
            if phrase.kind is Kind.ORGAN:
                if found and not self.sentence.linked(found[-1], phrase):
                    break
                if self._fits(phrase, state):
                    found.append(phrase)
                reach = phrase.last
                if not found:
                    break
        if found and any(
            phrase.kind in (Kind.VERB, Kind.STATE) and phrase.first <= found[-1].last + 2
            for phrase in self.sentence.phrases[index + 1 :]
            if phrase.first > found[-1].last
        ):
            found = found[:1]
        return found

    def _fits(self, organ: Phrase, state: Phrase) -> bool:
        return (organ.value, state.value) in self.compositions

    def _take(self, organs: Sequence[Phrase]) -> None:
        last = organs[-1].last
        self.organs = [organ for organ in self.organs if organ.first > last]

    def _add(
        self, concept: str, status: Status, first: int, last: int, *, plain: bool = False, likely: bool = False
    ) -> None:
        """Note a finding; ``plain`` ones state a normal organ, and no open cue changes them."""
        if self.not_now and not plain and not _lasts(concept):
            return
        draft = Draft(concept, first, last, self.clause, len(self.drafts))
        draft.status, draft.likely = status, likely
        if not plain and status is not Status.ABSENT:
            if self.negation is not None:
                draft.give(Status.ABSENT, self.negation)
            elif self.uncertainty is not None:
                draft.give(Status.UNCERTAIN, self.uncertainty)
        self.drafts.append(draft)

    # --- looking around

    def _explains(self, phrase: Phrase) -> bool:
        """Whether a cue says what a denied finding would have meant ("no opacity concerning for pneumonia")."""
        if phrase.first and self.sentence.words[phrase.first - 1].text == "to":
            return True
        if self.sentence.words[phrase.first].text not in _PARTICIPLES or len(self.drafts) == self.num_before_cue:
            return False
        between = self.sentence.words[self.drafts[-1].last + 1 : phrase.first]
        return not {word.text for word in between} & {",", "and"}

    def _directly_negated(self, phrase: Phrase) -> bool:
        cue = self.negation
        return cue is not None and cue.last + 2 >= phrase.first

    def _link_to(self, draft: Draft, cue: Phrase) -> Kind | None:
        return self.sentence.link_before(draft, self.sentence.phrases.index(cue))

    def _reaches_back(self, cue: Phrase, status: Status) -> bool:
        """Give ``status`` to the mention before a cue and to those listed with it; False where there is none.

        For an open status a comma ends the list, unless "and" or "or" has shown that it is one ("opacity, scarring
        versus atelectasis" asserts the opacity; "edema, effusion or pneumonia cannot be excluded" leaves all open).
        """
        reached = [draft for draft in self.drafts if draft.clause == self.clause and draft.last < cue.first]
        if status is Status.UNCERTAIN:
            if any(draft.status is not Status.ABSENT for draft in reached):  # "A rather than B is favored"
                reached = [draft for draft in reached if draft.status is not Status.ABSENT]
            elif len(reached) > 1 and self._link_to(reached[-1], cue) is not Kind.OR:
                reached[-1].give(status, cue)  # "no effusion, and pneumonia cannot be excluded"
                return True
        if not reached or cue.first - reached[-1].last > BACK_REACH:
            return False
        if self.sentence.spoken_of(reached[-1], cue):
            return False  # "the opacity is stable, and the right base has cleared"
        if any(word.text in ("tip", "tips") for word in self.sentence.words[reached[-1].last + 1 : cue.first]):
            return True  # the tube is there, its tip is not seen
        end = cue.first
        group: list[Draft] = []
        listed = False
        is_singular = self.sentence.words[cue.first].text in _SINGULAR
        for draft in reversed(reached):
            between = [
                phrase.kind for phrase in self.sentence.phrases if draft.last < phrase.first and phrase.last < end
            ]
            if group and (Kind.VERB in between or Kind.WITH in between or not LINKS & set(between)):
                break
            if (
                group
                and Kind.OR not in between
                and (is_singular or bool(self.sentence.verbs_between(draft.first, end)))
            ):
                break  # "the heart is enlarged, and the effusion is no longer seen"
            if group and status is Status.UNCERTAIN and Kind.COMMA in between and not listed:
                break
            listed = listed or Kind.AND in between or Kind.OR in between
            group.append(draft)
            end = draft.first
        if (
            any(phrase.kind is Kind.END for phrase in self.sentence.phrases if phrase.last < group[-1].first)
            and len(group) > 1
        ):
            group = [draft for draft in group if draft.first == group[0].first]
        for draft in group:
            if draft.status is Status.PRESENT or (draft.status is Status.UNCERTAIN and status is Status.ABSENT):
                draft.give(status, cue)
        return True

    def _pass(self, index: int, phrase: Phrase) -> None:
        """Nothing to do while walking."""


_STEPS = {
    Kind.CONCEPT: Reading._concept,
    Kind.DENIAL: Reading._denial,
    Kind.BORDERLINE: Reading._borderline,
    Kind.ORGAN: Reading._organ,
    Kind.STATE: Reading._state,
    Kind.NEGATION: Reading._negation,
    Kind.NEGATION_AFTER: Reading._negation_after,
    Kind.UNCERTAINTY: Reading._uncertainty,
    Kind.UNCERTAINTY_AFTER: Reading._uncertainty_after,
    Kind.NEUTRAL: Reading._pass,
    Kind.END: Reading._end,
    Kind.VERB: Reading._verb,
    Kind.SEEN: Reading._pass,
    Kind.AND: Reading._and,
    Kind.OR: Reading._pass,
    Kind.WITH: Reading._with,
    Kind.NOT_NOW: Reading._not_now,
    Kind.PRONOUN: Reading._pronoun,
    Kind.COMPARISON: Reading._pass,
    Kind.SIDE: Reading._pass,
    Kind.ZONE: Reading._pass,
    Kind.SEVERITY: Reading._assertion,
    Kind.CHANGE: Reading._assertion,
    Kind.COMMA: Reading._comma,
    Kind.QUESTION: Reading._question,
}
