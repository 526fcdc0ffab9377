"""One draft against one reference, finding by finding: which errors it makes, and what they cost.

Ours. The kinds of error are those that radiologists counted in ReXVal (Yu et al., Patterns 2023) and that GREEN
(Ostmeier et al., EMNLP Findings 2024) asks a language model for: false finding, omitted finding, wrong location, wrong
severity, a comparison that is not in the reference, an omitted comparison of change. The form matched / (matched +
errors) is GREEN's; rules, weights and the treatment of kindred findings are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import fsum

from radwright.metrics.kinship import DISTANT, KINDRED, told, weight
from radwright.metrics.statements import PRESENT, Assertion, Statements

NORMAL = 2.0
"""What a draft has right by being readable at all; errors are weighed against it and the findings matched."""
MATCHED = 0.5
"""Share of its weight that a finding told by the draft adds to what is right."""
FLIPPED = 1.5
"""An asserted finding that the other report denies costs this often its weight; one that it does not mention, once."""
SIDE = 0.7
"""Share of its weight that a matched finding on the wrong side costs; half of it where the sides overlap."""
ZONE = 0.35
"""The same, for another zone of the lung; half of it where the zones overlap."""
SEVERITY = (0.0, 0.15, 0.35, 0.55)
"""The same, by how many grades the stated severities are apart."""
CHANGE = 0.3
"""The same, for a change against an earlier examination that the draft leaves out or has the other way round."""
BELIEF = 0.25
"""The same, for an assertion where the reference leaves it open or the reverse, times the difference in belief."""
UNSTATED = 0.05
"""The same, for a side or a severity that only one of the two states."""
DETAILS = 0.9
"""The most that all details of one finding cost: a finding with wrong details is better than none."""
COMPARISON = 0.4
"""Each sentence that compares with an earlier examination that there is not."""
DENIALS = 0.15
"""The most that denials which only one report has cost."""


@dataclass(frozen=True, slots=True)
class Errors:
    """How many errors of each kind one draft makes.

    Attributes:
        fabricated: findings asserted that the reference denies or does not mention.
        missed: findings that the reference asserts and the draft denies or does not mention.
        flipped: those among both that one report asserts and the other explicitly denies.
        imprecise: findings told by a broader or kindred name only; neither fabricated nor missed.
        side_errors: matched findings where both state a side, and not the same.
        zone_errors: matched findings where both state a zone of the lung (upper, middle, lower), and not the same.
        severity_errors: matched findings where both state a severity, and not the same.
        unsupported_comparisons: sentences of the draft that compare with an earlier examination where there is none,
            or, where that is not known, where the reference compares nothing.
        omitted_comparisons: matched findings that the reference calls new, worse or better and the draft does not.
    """

    fabricated: int
    missed: int
    flipped: int
    imprecise: int
    side_errors: int
    zone_errors: int
    severity_errors: int
    unsupported_comparisons: int
    omitted_comparisons: int

    def counts(self) -> tuple[int, ...]:
        """The counts in the order of ``ERRORS``."""
        return tuple(getattr(self, name) for name in ERRORS)


ERRORS: tuple[str, ...] = tuple(field.name for field in fields(Errors))


@dataclass(frozen=True, slots=True)
class Judgement:
    """One draft judged.

    Attributes:
        errors: counts.
        score: 1 for no error, in [0, 1].
    """

    errors: Errors
    score: float


@dataclass(frozen=True, slots=True)
class _Details:
    """What a draft has of a finding's details that it tells."""

    sides_apart: float = 0.0  # 1 none in common, .5 some
    zones_apart: float = 0.0  # likewise
    grades_apart: int = 0
    loses_change: bool = False
    belief_gap: float = 0.0
    unstated: int = 0

    @property
    def cost(self) -> float:
        """Share of the finding's weight."""
        return min(
            DETAILS,
            SIDE * self.sides_apart
            + ZONE * self.zones_apart
            + SEVERITY[self.grades_apart]
            + CHANGE * self.loses_change
            + BELIEF * self.belief_gap
            + UNSTATED * self.unstated,
        )


@dataclass(frozen=True, slots=True)
class _Checked:
    """One finding of one report looked up in the other."""

    weight: float
    counts: bool
    told: float
    flipped: bool
    details: _Details = _Details()

    @property
    def untold_cost(self) -> float:
        """What it costs that the other report does not tell all of it."""
        return self.weight * (1 - self.told) * (FLIPPED if self.flipped else 1)


def judge(draft: Statements, reference: Statements, *, prior: bool | None = None) -> Judgement:
    """Judge a draft.

    The score is right / (right + wrong): right is ``NORMAL`` (for a draft in which anything was understood) plus
    ``MATCHED`` times the weight of the findings it tells; wrong is the sum of what its errors cost. A draft without a
    word scores 0.

    Args:
        draft: what it states.
        reference: what its reference states.
        prior: whether there is an earlier examination to compare with; None: not known, the reference decides.
    """
    theirs = [_check(name, found, draft) for name, found in reference.asserted.items()]
    ours = [_check(name, found, reference) for name, found in draft.asserted.items()]
    details = [checked.details for checked in theirs]
    unsupported = _unsupported_comparisons(draft, reference, prior)
    errors = Errors(
        fabricated=sum(checked.counts and not checked.told for checked in ours),
        missed=sum(checked.counts and not checked.told for checked in theirs),
        flipped=sum(checked.flipped for checked in (*ours, *theirs)),
        imprecise=max(_num_partly_told(ours), _num_partly_told(theirs)),
        side_errors=sum(detail.sides_apart > 0 for detail in details),
        zone_errors=sum(detail.zones_apart > 0 for detail in details),
        severity_errors=sum(detail.grades_apart > 0 for detail in details),
        unsupported_comparisons=unsupported,
        omitted_comparisons=0 if prior is False else sum(detail.loses_change for detail in details),
    )
    right = fsum(MATCHED * checked.weight * checked.told for checked in theirs)
    wrong = fsum(checked.untold_cost for checked in (*ours, *theirs))
    wrong += fsum(checked.weight * checked.told * checked.details.cost for checked in theirs)
    wrong += COMPARISON * unsupported + _denials_cost(draft, reference)
    return Judgement(errors, _score(draft, reference, right, wrong))


def _score(draft: Statements, reference: Statements, right: float, wrong: float) -> float:
    if not draft.has_words:
        return float(not reference.has_words)
    right += NORMAL if draft.says_something else 0
    return right / (right + wrong) if right + wrong else 1.0


def _check(name: str, found: Assertion, other: Statements) -> _Checked:
    weighed = weight(name) * found.belief * found.share
    counts = found.share == 1 and found.belief == PRESENT
    grade, tellers = told(name, other.asserted)
    is_denied = (grade < 1 and other.denies(name, found.sides)) or (
        grade < KINDRED and other.denies_broadly(name, found.sides)
    )
    if is_denied:
        return _Checked(weighed, counts, 0.0, counts)
    if grade <= DISTANT:
        return _Checked(weighed, counts, grade, False)
    best = min((_details(found, other.asserted[teller]) for teller in tellers), key=lambda details: details.cost)
    return _Checked(weighed, counts, grade, False, best)


def _details(reference: Assertion, draft: Assertion) -> _Details:
    unstated = (bool(reference.sides) != bool(draft.sides)) + (bool(reference.severity) != bool(draft.severity))
    return _Details(
        sides_apart=_apart(reference.sides, draft.sides),
        zones_apart=_apart(reference.zones, draft.zones),
        grades_apart=_grades_apart(reference, draft),
        loses_change=reference.has_changed and not (reference.changes - {"same"}) & draft.changes,
        belief_gap=abs(reference.belief - draft.belief),
        unstated=unstated,
    )


def _apart(first: frozenset[str], second: frozenset[str]) -> float:
    """0 for the same places or where one report names none, .5 for some in common, 1 for none."""
    if not first or not second or first == second:
        return 0.0
    return 0.5 if first & second else 1.0


def _grades_apart(reference: Assertion, draft: Assertion) -> int:
    """Between the severities of the sides that both grade, or of the whole finding."""
    theirs: Mapping[str, int] = reference.severities or {}
    ours: Mapping[str, int] = draft.severities or {}
    if not theirs or not ours:
        return 0
    common = sorted(theirs.keys() & ours.keys())
    if common:
        return max(abs(theirs[side] - ours[side]) for side in common)
    return abs(reference.severity - draft.severity)


def _num_partly_told(checked: list[_Checked]) -> int:
    return sum(each.counts and 0 < each.told < 1 for each in checked)


def _unsupported_comparisons(draft: Statements, reference: Statements, prior: bool | None) -> int:
    has_prior = prior if prior is not None else reference.comparisons > 0
    return 0 if has_prior else draft.comparisons


def _denials_cost(draft: Statements, reference: Statements) -> float:
    return DENIALS * (1 - (_share_denied(draft, reference) + _share_denied(reference, draft)) / 2)


def _share_denied(one: Statements, other: Statements) -> float:
    """Share, by weight, of the denials of ``one`` that ``other`` makes too; 1 where there are none."""
    if not one.denied:
        return 1.0
    shared = fsum(weight(name) for name, sides in one.denied.items() if other.denies_broadly(name, sides))
    return shared / fsum(map(weight, one.denied))
