"""Which findings of a draft its reference supports, and which are fabricated, missed, flipped or on the wrong side.

Mentions are compared by concept and, where both say sides, by side: "no right effusion" contradicts no left one. A
narrower concept bears out a broader one (a consolidation is an opacity); who denies the broader denies the narrower; a
kindred name (``radwright.metrics.kinship``) is imprecise, neither fabricated nor missed, as in ``finding_score``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from radwright.findings.mention import Mention, ReadReport, Status
from radwright.findings.ontology import ancestors, concept
from radwright.findings.reader import read_report
from radwright.metrics.kinship import told
from radwright.metrics.statements import sides_of, state, zones_of


class Kind(StrEnum):
    """What the comparison says of a finding, the gravest first."""

    FLIPPED = "flipped"
    """One report asserts it, the other denies it."""
    FABRICATED = "fabricated"
    """The draft asserts it, the reference does not speak of it."""
    MISSED = "missed"
    """The reference asserts it, the draft does not speak of it."""
    SIDE = "side"
    """Both assert it, on another side."""
    DESCRIBED = "described"
    """Both assert it, in another zone of the lung, or with another size or change."""
    IMPRECISE = "imprecise"
    """The other report asserts what goes by a broader or a kindred name."""
    COMPARISON = "comparison"
    """The draft compares with an earlier examination that there is not."""
    OPEN = "open"
    """One report leaves it open, the other does not."""
    SUPPORTED = "supported"
    """Both assert it, or both leave it open."""
    DENIED = "denied"
    """Both deny it."""


ERRORS = (Kind.FLIPPED, Kind.FABRICATED, Kind.MISSED, Kind.SIDE)
_ORDER = {kind: place for place, kind in enumerate(Kind)}
_GRADES = ("", "minimal", "mild", "moderate", "severe")
_SIZES = ("", "minimal", "small", "moderate", "large")
_CHANGES = {"same": "unchanged"}


@dataclass(frozen=True, slots=True)
class Mark:
    """Words of one report that name a finding.

    Attributes:
        start: first character, in the report as written.
        end: one past the last.
        kind: what the comparison says of it.
        notes: a sentence for every finding that these words name.
    """

    start: int
    end: int
    kind: Kind
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """One finding of a study, over both reports.

    Attributes:
        kind: what the comparison says of it.
        concept: the finding's id in the ontology.
        classes: the classes that it counts for.
        reference: what the reference says of it (``"left, mild"``, ``"denied"``); empty where it asserts no more than
            its name.
        draft: the same of the draft.
        asserted: whether the draft asserts it.
    """

    kind: Kind
    concept: str
    classes: tuple[str, ...]
    reference: str
    draft: str
    asserted: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """Both reports of a study, read and held against one another.

    Attributes:
        reference: marks in the reference, in its order, none overlapping another.
        draft: marks in the draft.
        facts: the findings that either report asserts or leaves open, the gravest first.
    """

    reference: tuple[Mark, ...]
    draft: tuple[Mark, ...]
    facts: tuple[Fact, ...]

    def of(self, *kinds: Kind) -> list[Fact]:
        """The facts of some kinds."""
        return [fact for fact in self.facts if fact.kind in kinds]

    @property
    def fabricated(self) -> list[Fact]:
        """Asserted by the draft, denied by the reference or not in it."""
        return [fact for fact in self.of(Kind.FABRICATED, Kind.FLIPPED) if fact.asserted]

    @property
    def missed(self) -> list[Fact]:
        """Asserted by the reference, denied by the draft or not in it."""
        return [fact for fact in self.of(Kind.MISSED, Kind.FLIPPED) if not fact.asserted]

    @property
    def num_errors(self) -> int:
        """Findings that are flipped, fabricated, missed or on the wrong side."""
        return len(self.of(*ERRORS))

    @property
    def num_comparisons(self) -> int:
        """Places where the draft compares with an earlier examination that there is not."""
        return sum(mark.kind is Kind.COMPARISON for mark in self.draft)

    @property
    def exact(self) -> bool:
        """Whether the draft asserts what the reference asserts, no more, no less, described alike."""
        return not self.num_comparisons and all(fact.kind is Kind.SUPPORTED for fact in self.facts)


def read_both(reference: str, draft: str, *, prior: bool | None = None) -> Reading:
    """Read both reports of a study and hold them against one another; see ``mark_reports``."""
    return mark_reports(read_report(reference), read_report(draft), prior=prior)


def mark_reports(reference: ReadReport, draft: ReadReport, *, prior: bool | None = None) -> Reading:
    """Hold a draft's findings against its reference's.

    Args:
        reference: the reference, read.
        draft: the draft, read.
        prior: whether there is an earlier examination to compare with; None: not known, the reference decides.
    """
    has_prior = bool(reference.comparisons) if prior is None else prior
    reference, draft = _with_sides_of_lateral(reference), _with_sides_of_lateral(draft)
    references = [(mention, _judge(mention, draft.mentions, drafted=False)) for mention in reference.mentions]
    drafts = [(mention, _judge(mention, reference.mentions, drafted=True)) for mention in draft.mentions]
    found: dict[str, set[Kind]] = {}
    for read, judged in ((reference, references), (draft, drafts)):
        named = state(read).asserted  # without "opacity" beside its own kind, as in finding_score
        for mention, kind in judged:
            # A denial is the other side of an assertion that is counted there, or it goes without saying.
            if kind is not None and mention.status is not Status.ABSENT and mention.concept in named:
                found.setdefault(mention.concept, set()).add(kind)
    facts = [
        Fact(
            kind,
            name,
            tuple(filter(None, [concept(name).chexpert])),
            describe(reference.mentions, name),
            describe(draft.mentions, name),
            any(mention.concept == name and mention.status is Status.PRESENT for mention in draft.mentions),
        )
        for name, kinds in found.items()
        for kind in kinds
        # What is right of a finding goes without saying where something else of it is wrong; so does a size then.
        if (kind is not Kind.SUPPORTED or kinds == {Kind.SUPPORTED})
        and (kind is not Kind.DESCRIBED or Kind.SIDE not in kinds)
    ]
    said = {fact.concept: (fact.reference, fact.draft) for fact in facts}
    return Reading(
        _marks(references, said),
        _marks(drafts, said, () if has_prior else draft.comparisons),
        tuple(sorted(facts, key=lambda fact: _ORDER[fact.kind])),
    )


def _with_sides_of_lateral(read: ReadReport) -> ReadReport:
    """Without the sides and zones of findings that have none."""
    return read._replace(
        mentions=tuple(mention._replace(sides=sides_of(mention), zones=zones_of(mention)) for mention in read.mentions)
    )


def _about(name: str, mentions: Iterable[Mention]) -> list[Mention]:
    """The mentions that say something of a concept: itself, narrower ones that are there, broader ones that are not."""
    return [
        mention
        for mention in mentions
        if mention.concept == name
        or (
            mention.concept in ancestors(name)
            if mention.status is Status.ABSENT
            else name in ancestors(mention.concept)
        )
    ]


def _judge(mention: Mention, others: Sequence[Mention], *, drafted: bool) -> Kind | None:
    """What the other report's mentions make of one; None where there is nothing to say of it."""
    same = _about(mention.concept, others)
    near = [other for other in same if not (mention.sides and other.sides) or mention.sides & other.sides]
    said = {other.status for other in near}
    if mention.status is Status.PRESENT:
        if Status.PRESENT in said:
            return _details(mention, [other for other in same if other.status is Status.PRESENT])
        if any(other.status is Status.PRESENT for other in same):
            return Kind.SIDE
        if Status.UNCERTAIN in said:
            return Kind.OPEN
        if Status.ABSENT in said:
            return Kind.FLIPPED
        asserted = {other.concept for other in others if other.status is not Status.ABSENT}
        if told(mention.concept, asserted)[0]:
            return Kind.IMPRECISE
        return Kind.FABRICATED if drafted else Kind.MISSED
    if mention.status is Status.UNCERTAIN:
        return Kind.SUPPORTED if Status.UNCERTAIN in said else Kind.OPEN
    if Status.PRESENT in said:
        return Kind.FLIPPED
    if Status.UNCERTAIN in said:
        return Kind.OPEN
    return Kind.DENIED if said else None


def _details(mention: Mention, others: Sequence[Mention]) -> Kind:
    """Side, zone, size and change of a finding that both assert; what one of them leaves unsaid is no difference."""
    sides = frozenset().union(*(other.sides for other in others))
    if sides and not mention.sides <= sides:
        return Kind.SIDE
    near = [other for other in others if not (mention.sides and other.sides) or mention.sides & other.sides]
    sizes = {other.severity for other in near} - {0}
    changes = {other.change for other in near} - {""}
    zones = frozenset().union(*(other.zones for other in near))
    if (
        (mention.severity and sizes and mention.severity not in sizes)
        or (mention.change and changes and mention.change not in changes)
        or (zones and not mention.zones <= zones)
    ):
        return Kind.DESCRIBED
    return Kind.SUPPORTED


def describe(mentions: Iterable[Mention], name: str) -> str:
    """What a report says of a finding: side, size and change where it asserts it, which may be nothing, else how."""
    said = _about(name, mentions)
    asserted = [mention for mention in said if mention.status is Status.PRESENT]
    if not asserted:
        is_open = any(mention.status is Status.UNCERTAIN for mention in said)
        return "left open" if is_open else "denied" if said else "not mentioned"
    return "; ".join(dict.fromkeys(text for mention in asserted if (text := _detail(mention))))


def _detail(mention: Mention) -> str:
    sides = "both sides" if len(mention.sides) > 1 else "".join(mention.sides)
    # What lies on a side has a size, what is everywhere a grade.
    grades = _SIZES if concept(mention.concept).lateral else _GRADES
    zones = " and ".join(zone for zone in ("upper", "middle", "lower") if zone in mention.zones)
    parts = (sides, zones and f"{zones} zone", grades[mention.severity], _CHANGES.get(mention.change, mention.change))
    return ", ".join(part for part in parts if part)


def _marks(
    judged: Iterable[tuple[Mention, Kind | None]],
    said: dict[str, tuple[str, str]],
    comparisons: Iterable[tuple[int, int]] = (),
) -> tuple[Mark, ...]:
    """Marks that do not overlap: of words that name two findings, the graver judgement shows, with both notes."""
    kept: list[Mark] = []
    entries = [(kind, mention) for mention, kind in judged if kind is not None]
    for kind, mention in sorted(entries, key=lambda entry: (_ORDER[entry[0]], entry[1].start)):
        note = _note(kind, mention, *said.get(mention.concept, ("", "")))
        place = next((k for k, mark in enumerate(kept) if mark.start < mention.end and mention.start < mark.end), None)
        if place is None:
            kept.append(Mark(mention.start, mention.end, kind, (note,)))
        elif note not in kept[place].notes:
            mark = kept[place]
            kept[place] = Mark(mark.start, mark.end, mark.kind, (*mark.notes, note))
    for start, end in comparisons:
        if not any(mark.start < end and start < mark.end for mark in kept):
            kept.append(Mark(start, end, Kind.COMPARISON, ("compares with an earlier examination that there is not",)))
    return tuple(sorted(kept, key=lambda mark: mark.start))


def _note(kind: Kind, mention: Mention, reference: str, draft: str) -> str:
    name = concept(mention.concept).name
    asserted = mention.status is Status.PRESENT
    if kind is Kind.FLIPPED:
        here, there = ("asserted", "denied") if asserted else ("denied", "asserted")
        return f"{name}: {there} by the other report, {here} here"
    if kind is Kind.FABRICATED:
        return f"{name}: the reference does not mention it"
    if kind is Kind.MISSED:
        return f"{name}: the draft does not mention it"
    if kind in {Kind.SIDE, Kind.DESCRIBED}:
        return f"{name}: {reference or 'asserted'} in the reference, {draft or 'asserted'} in the draft"
    if kind is Kind.IMPRECISE:
        return f"{name}: the other report has a broader or a kindred name"
    if kind is Kind.OPEN:
        here = "left open here" if mention.status is Status.UNCERTAIN else "the other report leaves it open"
        return f"{name}: {here}"
    if kind is Kind.DENIED:
        return f"{name}: denied by both reports"
    return f"{name}: in both reports" if asserted else f"{name}: left open by both reports"
