"""What one report states, finding by finding: many mentions become one assertion or denial per concept.

The order of mentions, and how often one is repeated, changes nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from radwright.findings import Mention, ReadReport, Status, read_report
from radwright.findings.ontology import ancestors, concept

PRESENT, LIKELY, POSSIBLE = 1.0, 0.7, 0.4
"""Belief in what is asserted, called likely, or otherwise left open (ours)."""
EXPLANATION = 0.4
"""Share of its weight that an open finding keeps as the explanation of an asserted broader one ("opacity, may be
pneumonia"); ours."""
CHANGES = frozenset({"new", "worse", "better"})
"""What ``Mention.change`` says of a finding that is not as it was."""
_DIRECTION = {"new": "worse"}
_WITHOUT_ZONES = frozenset({"support_device", "bone_abnormality", "prior_surgery"})
CACHED_REPORTS = 1 << 14


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a report says of one finding that it asserts or leaves open.

    Attributes:
        belief: 1 asserted, .7 called likely, .4 possible.
        sides: sides named; empty where none is, or where the finding has no side.
        zones: zones of the lung named; empty where none is, or for devices and bones.
        severities: side (``""``: no side said) -> the highest grade stated, 1 to 4.
        changes: of "worse" (new ones too), "better", "same": every change stated.
        share: of its weight that counts: 1, or ``EXPLANATION``.
    """

    belief: float
    sides: frozenset[str] = frozenset()
    severities: Mapping[str, int] | None = None
    changes: frozenset[str] = frozenset()
    zones: frozenset[str] = frozenset()
    share: float = 1.0

    @property
    def severity(self) -> int:
        """The highest grade stated; 0 where none is."""
        return max((self.severities or {"": 0}).values())

    @property
    def has_changed(self) -> bool:
        """Whether it is new, worse or better than before."""
        return bool(self.changes - {"same"})


@dataclass(frozen=True, slots=True)
class Statements:
    """What one report states.

    Attributes:
        asserted: concept -> assertion, sorted by concept; a broader concept beside its own kind ("opacity" beside
            "consolidation") is left out, its side, grade and change go to the kind.
        denied: concept -> sides it is denied for (empty: everywhere), sorted; none that is asserted.
        comparisons: sentences that compare with an earlier examination.
        has_words: whether there is a sentence at all.
    """

    asserted: Mapping[str, Assertion]
    denied: Mapping[str, frozenset[str]]
    comparisons: int
    has_words: bool

    @property
    def says_something(self) -> bool:
        """Whether anything was understood."""
        return bool(self.asserted or self.denied or self.comparisons)

    def denies(self, concept_id: str, sides: frozenset[str] = frozenset()) -> bool:
        """Whether the finding itself is denied, for one of ``sides`` (none: for any)."""
        if concept_id not in self.denied:
            return False
        denied = self.denied[concept_id]
        return not sides or not denied or bool(sides & denied)

    def denies_broadly(self, concept_id: str, sides: frozenset[str] = frozenset()) -> bool:
        """The same, or whether a broader finding is: "lungs clear" denies consolidation."""
        return any(self.denies(name, sides) for name in (concept_id, *ancestors(concept_id)))


def state(read: ReadReport) -> Statements:
    """What a report that was read states."""
    asserting: dict[str, list[Mention]] = {}
    denied: dict[str, list[frozenset[str]]] = {}
    for mention in read.mentions:
        if mention.status is Status.ABSENT:
            denied.setdefault(mention.concept, []).append(sides_of(mention))
        else:
            asserting.setdefault(mention.concept, []).append(mention)
    asserted = {name: _assertion(asserting[name]) for name in sorted(asserting)}
    return Statements(
        _most_specific(asserted),
        {
            name: frozenset() if frozenset() in denied[name] else frozenset().union(*denied[name])
            for name in sorted(denied)
            if name not in asserted
        },
        _count_comparisons(read),
        bool(read.sentences),
    )


@lru_cache(maxsize=CACHED_REPORTS)
def state_text(text: str) -> Statements:
    """What a text states; each distinct text is read once."""
    return state(read_report(text))


def sides_of(mention: Mention) -> frozenset[str]:
    """The sides of a finding that can have one; the side of "left atrial enlargement" is no place."""
    return mention.sides if concept(mention.concept).lateral else frozenset()


def zones_of(mention: Mention) -> frozenset[str]:
    """The zones of the lung; a device, a bone and a trace of surgery lie in none."""
    if not concept(mention.concept).lateral or _WITHOUT_ZONES & {mention.concept, *ancestors(mention.concept)}:
        return frozenset()
    return mention.zones


def _belief(mention: Mention) -> float:
    if mention.status is Status.PRESENT:
        return PRESENT
    return LIKELY if mention.likely else POSSIBLE


def _assertion(mentions: Iterable[Mention]) -> Assertion:
    mentions = list(mentions)
    severities: dict[str, int] = {}
    for mention in mentions:
        if mention.severity:
            for side in sides_of(mention) or {""}:
                severities[side] = max(severities.get(side, 0), mention.severity)
    return Assertion(
        max(map(_belief, mentions)),
        frozenset().union(*map(sides_of, mentions)),
        severities,
        frozenset(_DIRECTION.get(mention.change, mention.change) for mention in mentions if mention.change),
        frozenset().union(*map(zones_of, mentions)),
    )


def _most_specific(asserted: Mapping[str, Assertion]) -> dict[str, Assertion]:
    """Leave out broader concepts that a kind of theirs already says, and mark explanations."""
    kept = dict(asserted)
    # From the broadest to the most specific, so that details travel all the way down.
    for name in sorted(asserted, key=lambda name: (len(ancestors(name)), name)):
        broad = kept[name]
        kinds = [other for other in kept if name in ancestors(other)]
        surer = [other for other in kinds if kept[other].belief >= broad.belief and _same_place(broad, kept[other])]
        if surer:
            for other in surer:
                kept[other] = _inherit(kept[other], broad)
            del kept[name]
        for other in kinds:
            if kept[other].belief < broad.belief:
                kept[other] = replace(kept[other], share=EXPLANATION)
    return {name: kept[name] for name in asserted if name in kept}


def _same_place(broad: Assertion, kind: Assertion) -> bool:
    return not broad.sides or not kind.sides or broad.sides <= kind.sides


def _inherit(kind: Assertion, broad: Assertion) -> Assertion:
    return replace(
        kind,
        sides=kind.sides or broad.sides,
        severities=kind.severities or broad.severities,
        changes=kind.changes or broad.changes,
        zones=kind.zones or broad.zones,
    )


def _count_comparisons(read: ReadReport) -> int:
    starts = [start for start, _ in read.comparisons]
    comparing = {mention.sentence for mention in read.mentions if mention.change}
    comparing |= {
        number
        for number, (start, end) in enumerate(read.sentences)
        if any(start <= comparison < end for comparison in starts)
    }
    return len(comparing)
