"""What edits of a draft cost: harmless ones nothing, harmful ones by how harmful they are."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.findings import Mention, ReadReport, Status
from radwright.findings.ontology import ancestors, concepts
from radwright.metrics.finding_score import ClinicalErrors, FindingScore, judge_texts
from radwright.metrics.judging import ERRORS, Judgement, judge
from radwright.metrics.kinship import NEIGHBOURS, SIBLINGS, tells, told, weight
from radwright.metrics.statements import state, state_text

REFERENCE = (
    "There is a small left pleural effusion. The heart is mildly enlarged. There is a calcified granuloma. "
    "No pneumothorax. No focal consolidation."
)
NO_ERRORS = (0,) * len(ERRORS)


def errors(judgement: Judgement) -> dict[str, int]:
    return {name: count for name, count in zip(ERRORS, judgement.errors.counts(), strict=True) if count}


def edited(*edits: tuple[str, str]) -> str:
    text = REFERENCE
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return text


# --- whole texts, through the reader


@pytest.mark.parametrize(
    "draft",
    [
        REFERENCE,
        REFERENCE.upper(),
        REFERENCE.lower().replace(".", " ."),
        " ".join(reversed(REFERENCE.replace(". ", ".|").split("|"))),
        edited(("There is a small left pleural effusion.", "A small left-sided pleural effusion is seen.")),
        edited(("There is a small left pleural effusion.", "Small pleural effusion on the left.")),
        edited(("The heart is mildly enlarged.", "Mild cardiomegaly.")),
        edited(("No focal consolidation.", "There is no evidence of consolidation.")),
        edited(("No pneumothorax. No focal consolidation.", "No pneumothorax or consolidation.")),
        REFERENCE + " There is a small left pleural effusion.",
    ],
)
def test_harmless_edits_cost_nothing(draft: str) -> None:
    found = judge_texts(draft, REFERENCE)
    assert found.score == 1
    assert found.errors.counts() == NO_ERRORS


EFFUSION = "There is a small left pleural effusion."


@pytest.mark.parametrize(
    ("draft", "expected"),
    [
        (edited((EFFUSION, "No pleural effusion.")), {"missed": 1, "flipped": 1}),
        (edited(("No pneumothorax.", "There is a pneumothorax.")), {"fabricated": 1, "flipped": 1}),
        (edited(("small left", "small right")), {"side_errors": 1}),
        (edited(("small left", "small bilateral")), {"side_errors": 1}),
        (edited(("small left", "large left")), {"severity_errors": 1}),
        (edited((EFFUSION, "")), {"missed": 1}),
        (edited(("There is a calcified granuloma.", "")), {"missed": 1}),
        (REFERENCE + " Rib fracture.", {"fabricated": 1}),
        (REFERENCE + " Possible rib fracture.", {}),
        (REFERENCE + " Unchanged since the prior study.", {"unsupported_comparisons": 1}),
        (edited((EFFUSION, "")) + " Rib fracture.", {"missed": 1, "fabricated": 1}),
        (edited(("No pneumothorax.", "")), {}),
        (REFERENCE + " No rib fracture.", {}),
    ],
)
def test_harmful_edits_cost(draft: str, expected: dict[str, int]) -> None:
    found = judge_texts(draft, REFERENCE)
    assert errors(found) == expected
    assert 0 < found.score < 1


def test_worse_edits_cost_more() -> None:
    ladder = [
        edited(("No pneumothorax.", "")),
        edited(("small left", "moderate left")),
        edited(("small left", "large left")),
        edited(("small left", "small right")),
        edited((EFFUSION, "")),
        edited((EFFUSION, "No pleural effusion.")),
        edited((EFFUSION, "No pleural effusion."), ("No pneumothorax.", "There is a pneumothorax.")),
        "The lungs are clear. Heart size is normal. No pleural effusion. Large pneumothorax.",
        "",
    ]
    values = [judge_texts(draft, REFERENCE).score for draft in ladder]
    assert all(better > worse for better, worse in pairwise(values))
    assert values[0] > 0.95
    assert values[-1] == 0


def test_urgent_findings_weigh_more_than_incidental_ones() -> None:
    reference = "There is a large pneumothorax. There is a calcified granuloma."
    without_granuloma = judge_texts("There is a large pneumothorax.", reference)
    without_pneumothorax = judge_texts("There is a calcified granuloma.", reference)
    assert without_granuloma.errors == without_pneumothorax.errors
    assert without_pneumothorax.score < without_granuloma.score < 1
    normal = "The lungs are clear."
    assert judge_texts("Pneumothorax.", normal).score < judge_texts("Calcified granuloma.", normal).score


def test_normal_reports_that_list_other_structures_are_nearly_alike() -> None:
    found = judge_texts("No pneumothorax. The spine is unremarkable.", "The lungs are clear. Heart size is normal.")
    assert 0.9 < found.score < 1
    assert found.errors.counts() == NO_ERRORS


@pytest.mark.parametrize("draft", ["", " \n", "Thank you for the referral.", "xyzzy"])
def test_a_draft_that_says_nothing_earns_nothing(draft: str) -> None:
    assert judge_texts(draft, REFERENCE).score == 0
    assert judge_texts(draft, "The lungs are clear.").score == 0
    assert judge_texts(draft, draft).score == 1


@pytest.mark.parametrize(
    ("draft", "reference", "imprecise"),
    [
        ("Left basilar opacity.", "Left basilar consolidation.", 1),
        ("Left basilar consolidation.", "Left basilar opacity.", 1),
        ("Pneumonia.", "Consolidation.", 1),
        ("Left basilar opacity. Left basilar consolidation.", "Left basilar consolidation.", 0),
        ("Left basilar opacity.", "Left basilar opacity, which may represent pneumonia.", 0),
    ],
)
def test_a_broader_or_kindred_name_is_no_fabrication(draft: str, reference: str, imprecise: int) -> None:
    found = judge_texts(draft, reference)
    assert errors(found) == ({"imprecise": imprecise} if imprecise else {})
    assert judge_texts("Rib fracture.", reference).score < found.score <= 1


@pytest.mark.parametrize(
    ("draft", "reference", "zone_errors"),
    [
        ("Right upper lobe opacity.", "Right lower lobe opacity.", 1),
        ("Opacity in the left base and the left apex.", "Left basilar opacity.", 1),
        ("Left retrocardiac opacity.", "Left lower lobe opacity.", 0),
        ("Left opacity.", "Left lower lobe opacity.", 0),
        ("Right PICC ends in the upper SVC.", "Right PICC ends in the lower SVC.", 0),
    ],
)
def test_zones_of_the_lung(draft: str, reference: str, zone_errors: int) -> None:
    found = judge_texts(draft, reference)
    assert errors(found) == ({"zone_errors": 1} if zone_errors else {})
    assert (found.score < 1) == bool(zone_errors)


def test_a_denied_finding_is_not_excused_by_a_kindred_one() -> None:
    reference = "No pneumonia. There is consolidation."
    assert errors(judge_texts("There is pneumonia. There is consolidation.", reference)) == {
        "fabricated": 1,
        "flipped": 1,
    }


def test_the_other_side_may_be_denied() -> None:
    reference = "Right pleural effusion. No left pleural effusion."
    assert judge_texts("Right pleural effusion.", reference).score == 1
    assert errors(judge_texts("Left pleural effusion.", reference)) == {"side_errors": 1}
    assert errors(judge_texts("Left pleural effusion.", "No left pleural effusion.")) == {"fabricated": 1, "flipped": 1}
    assert errors(judge_texts("Left pleural effusion.", "No right pleural effusion.")) == {"fabricated": 1}


@pytest.mark.parametrize(
    ("reference", "prior", "unsupported"),
    [
        ("Left pleural effusion.", None, 1),
        ("Left pleural effusion, increased since the prior study.", None, 0),
        ("Left pleural effusion.", True, 0),
        ("Left pleural effusion.", False, 1),
        ("Left pleural effusion, unchanged.", False, 1),
    ],
)
def test_a_comparison_needs_an_earlier_examination(reference: str, prior: bool | None, unsupported: int) -> None:
    found = judge_texts("Unchanged left pleural effusion.", reference, prior=prior)
    assert found.errors.unsupported_comparisons == unsupported


def test_a_change_that_is_left_out_or_turned_round() -> None:
    reference = "New left pleural effusion."
    silent = judge_texts("Left pleural effusion.", reference)
    assert errors(silent) == {"omitted_comparisons": 1}
    assert errors(judge_texts("Unchanged left pleural effusion.", reference)) == {"omitted_comparisons": 1}
    assert judge_texts("New left pleural effusion.", reference).score == 1
    assert silent.score < 1
    assert errors(judge_texts("The lungs are clear.", reference)) == {"missed": 1}  # not both missed and left out


def test_metrics_average_over_studies() -> None:
    drafts, references = [REFERENCE, "The lungs are clear."], [[REFERENCE], [REFERENCE]]
    score, counts = FindingScore(), ClinicalErrors()
    rows = score.rows(drafts, references)
    assert rows[0].tolist() == [1, 1]
    assert score.scores(rows.sum(axis=0))[0] == pytest.approx((1 + judge_texts(drafts[1], REFERENCE).score) / 2)
    mean = dict(zip(counts.names, counts.scores(counts.rows(drafts, references).sum(axis=0)), strict=True))
    assert mean["missed"] == pytest.approx(3 / 2)
    assert not any(counts.higher_is_better)


def test_priors_are_given_by_study() -> None:
    drafts, references = ["Unchanged effusion."] * 3, [["Effusion."]] * 3
    place = ERRORS.index("unsupported_comparisons")
    rows = ClinicalErrors([True, False, None]).rows(drafts, references)
    assert rows[:, place].tolist() == [0, 1, 1]
    assert FindingScore([True, False, None]).rows(drafts, references)[0, 0] == 1
    assert "priors known of 2" in ClinicalErrors([True, False, None]).variant
    with pytest.raises(ValueError, match="3 drafts but 2 priors"):
        ClinicalErrors([True, False]).rows(drafts, references)


def test_of_several_references_the_kindest_counts() -> None:
    row = FindingScore().rows(["Cardiomegaly."], [["Left pleural effusion.", "Cardiomegaly."]])[0]
    assert row.tolist() == [1, 1]


# --- kinship


def test_tells_is_a_grade_and_a_kind_tells_the_broader_finding() -> None:
    known = concepts()
    for said in known:
        assert tells(said, said) == 1
        for above in ancestors(said):
            assert tells(said, above) == 1 > tells(above, said) > 0
    assert tells("airspace_disease", "pneumonia") > tells("lung_opacity", "pneumonia") > tells("edema", "pneumonia") > 0
    assert tells("pneumothorax", "pneumonia") == tells("chest_tube", "pacemaker") == 0
    assert told("pneumonia", []) == (0, [])
    assert told("pneumonia", ["lung_opacity", "consolidation", "fracture"]) == (0.5, ["consolidation"])


def test_the_lists_of_kindred_findings_name_concepts() -> None:
    assert set(SIBLINGS) | set().union(*NEIGHBOURS) <= set(concepts())
    assert all(weight(name) > 0 for name in concepts())


# --- properties, on reports put together by hand

UNRELATED = ("pneumothorax", "cardiomegaly", "fracture", "nodule", "consolidation", "pleural_effusion", "pacemaker")
SIDES = st.sampled_from([frozenset(), frozenset({"left"}), frozenset({"right"}), frozenset({"left", "right"})])


@st.composite
def mentions(draw: st.DrawFn, names: tuple[str, ...] = UNRELATED) -> list[Mention]:
    chosen = draw(st.lists(st.sampled_from(names), unique=True, max_size=len(names)))
    return [
        mention(
            name,
            draw(st.sampled_from(Status)),
            sides=draw(SIDES) if concepts()[name].lateral else frozenset(),
            severity=draw(st.integers(0, 4)),
            change=draw(st.sampled_from(["", "new", "same", "worse", "better"])),
        )
        for name in chosen
    ]


def mention(
    name: str,
    status: Status = Status.PRESENT,
    *,
    sides: frozenset[str] = frozenset(),
    severity: int = 0,
    change: str = "",
) -> Mention:
    return Mention(name, status, 0, 1, None, 0, sides, severity, change)


def report(mentions: list[Mention], comparisons: int = 0) -> ReadReport:
    """A report with a sentence per mention, and others that only compare."""
    count = len(mentions) + comparisons
    sentences = tuple((10 * k, 10 * k + 9) for k in range(count))
    placed = tuple(
        each._replace(sentence=k, start=10 * k, end=10 * k + 1, change=each.change) for k, each in enumerate(mentions)
    )
    comparing = tuple((10 * k, 10 * k + 1) for k in range(len(mentions), count))
    return ReadReport("x" * 10 * count, sentences, placed, comparing)


def judged(draft: list[Mention], reference: list[Mention], comparisons: int = 0) -> Judgement:
    return judge(state(report(draft, comparisons)), state(report(reference)))


@given(mentions(tuple(concepts())))
def test_identical_reports_score_one(stated: list[Mention]) -> None:
    found = judged(stated, stated)
    assert found.score == 1
    assert found.errors.counts() == NO_ERRORS


@given(mentions(tuple(concepts())), mentions(tuple(concepts())), st.integers())
def test_order_and_repetition_change_nothing(draft: list[Mention], reference: list[Mention], seed: int) -> None:
    shuffled = [*draft, *draft[:2]]
    random.Random(seed).shuffle(shuffled)
    # A sentence said twice compares twice; so only what does not compare is repeated.
    plain = [each._replace(change="") for each in draft]
    plain_shuffled = [each._replace(change="") for each in shuffled]
    assert judged(plain, reference) == judged(plain_shuffled, reference)
    moved = draft[:]
    random.Random(seed).shuffle(moved)
    assert judged(draft, reference) == judged(moved, reference)
    assert judged(draft, reference) == judged(draft, reference[::-1])


@given(mentions(tuple(concepts())), mentions(tuple(concepts())))
def test_scores_are_in_range_and_errors_cost(draft: list[Mention], reference: list[Mention]) -> None:
    found = judged(draft, reference)
    assert 0 <= found.score <= 1
    assert min(found.errors.counts()) >= 0
    assert found.errors.flipped <= found.errors.fabricated + found.errors.missed
    if any(found.errors.counts()):
        assert found.score < 1


@given(mentions(), mentions(), st.sampled_from(UNRELATED), st.booleans())
def test_a_further_false_finding_never_raises_the_score(
    draft: list[Mention], reference: list[Mention], name: str, is_denied: bool
) -> None:
    reference = [each for each in reference if each.concept != name]
    if is_denied:
        reference = [*reference, mention(name, Status.ABSENT)]
    before = [each for each in draft if each.concept != name]
    with_it = judged([*before, mention(name)], reference)
    if before:
        assert with_it.score < judged(before, reference).score
    for other in draft:  # also where the draft denied it or left it open
        if other.concept == name and other.status is Status.ABSENT:
            assert with_it.score < judged(draft, reference).score


@given(mentions(), mentions(), st.sampled_from(UNRELATED))
def test_leaving_out_a_finding_never_raises_the_score_and_denying_it_is_worse(
    draft: list[Mention], reference: list[Mention], name: str
) -> None:
    reference = [*(each for each in reference if each.concept != name), mention(name)]
    rest = [each for each in draft if each.concept != name]
    told_in_some_way = [each for each in draft if each.concept == name and each.status is not Status.ABSENT]
    silent = judged(rest, reference)
    denying = judged([*rest, mention(name, Status.ABSENT)], reference)
    for each in told_in_some_way or [mention(name)]:
        assert silent.score < judged([*rest, each._replace(change="")], reference).score
    if rest:  # a draft without any statement earns nothing either way
        assert denying.score < silent.score


@given(mentions(), st.sampled_from([name for name in UNRELATED if concepts()[name].lateral]), st.integers(1, 3))
def test_details_cost_in_order(rest: list[Mention], name: str, grade: int) -> None:
    rest = [each for each in rest if each.concept != name]
    left, right = frozenset({"left"}), frozenset({"right"})
    own = mention(name, sides=left, severity=grade)
    reference = [*rest, own]
    exact, graded, swapped, both, missed, denied = (
        judged([*rest, *changed], reference).score
        for changed in (
            [own],
            [own._replace(severity=grade + 1)],
            [own._replace(sides=right)],
            [own._replace(sides=right, severity=grade + 1)],
            [],
            [mention(name, Status.ABSENT)],
        )
    )
    assert exact == 1 > graded > swapped > both > missed
    assert missed > denied or not rest


@given(mentions(), mentions(), st.integers(1, 3))
def test_more_unsupported_comparisons_cost_more(draft: list[Mention], reference: list[Mention], more: int) -> None:
    plain = [each._replace(change="") for each in reference]
    draft = [*draft, mention("scarring")]
    assert judged(draft, plain, more).score < judged(draft, plain, more - 1).score


# --- statements


def test_a_report_is_told_by_its_most_specific_findings() -> None:
    left = frozenset({"left"})
    stated = state(report([mention("lung_opacity", sides=left, severity=2), mention("consolidation")]))
    assert list(stated.asserted) == ["consolidation"]
    assert stated.asserted["consolidation"].sides == left
    assert stated.asserted["consolidation"].severity == 2
    elsewhere = state(
        report([mention("lung_opacity", sides=left), mention("consolidation", sides=frozenset({"right"}))])
    )
    assert list(elsewhere.asserted) == ["consolidation", "lung_opacity"]
    explained = state(report([mention("lung_opacity"), mention("pneumonia", Status.UNCERTAIN)]))
    assert explained.asserted["lung_opacity"].share == 1 > explained.asserted["pneumonia"].share


def test_denials_by_side_and_by_a_broader_name() -> None:
    stated = state(report([mention("lung_opacity", Status.ABSENT, sides=frozenset({"left"}))]))
    assert stated.denies_broadly("pneumonia")
    assert stated.denies_broadly("pneumonia", frozenset({"left"}))
    assert not stated.denies_broadly("pneumonia", frozenset({"right"}))
    assert not stated.denies("pneumonia")
    assert not stated.denies_broadly("pneumothorax")


def test_comparing_sentences_are_counted_once_each() -> None:
    assert state_text("Stable and unchanged cardiomegaly since the prior. New effusion. No edema.").comparisons == 2
