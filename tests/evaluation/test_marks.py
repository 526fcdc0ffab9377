"""Findings of a draft held against its reference's: supported, fabricated, missed, flipped, on another side."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.evaluation.marks import Kind, Reading, mark_reports, read_both
from radwright.findings.mention import Mention, ReadReport, Status

P, A, U = Status.PRESENT, Status.ABSENT, Status.UNCERTAIN


def report(*said: tuple[str, Status] | tuple[str, Status, str] | tuple[str, Status, str, int]) -> ReadReport:
    """A report of one word per mention: (concept, status, sides, severity)."""
    mentions, text = [], ""
    for concept, status, *details in said:
        sides = frozenset(details[0].split()) if details else frozenset()
        severity = int(details[1]) if len(details) > 1 else 0
        mentions.append(Mention(concept, status, len(text), len(text) + len(concept), None, 0, sides, severity, ""))
        text += concept + " "
    return ReadReport(text, ((0, len(text)),), tuple(mentions), ())


def kinds(reading: Reading) -> tuple[list[str], list[str]]:
    return [mark.kind.value for mark in reading.reference], [mark.kind.value for mark in reading.draft]


@pytest.mark.parametrize(
    ("reference", "draft", "in_reference", "in_draft"),
    [
        ([("nodule", P)], [("nodule", P)], ["supported"], ["supported"]),
        ([], [("nodule", P)], [], ["fabricated"]),
        ([("nodule", P)], [], ["missed"], []),
        ([("nodule", P)], [("nodule", A)], ["flipped"], ["flipped"]),
        ([("nodule", A)], [("nodule", P)], ["flipped"], ["flipped"]),
        ([("nodule", A)], [("nodule", A)], ["denied"], ["denied"]),
        ([("nodule", A)], [], [], []),
        ([], [("nodule", A)], [], []),
        ([("nodule", U)], [("nodule", U)], ["supported"], ["supported"]),
        ([("nodule", U)], [("nodule", P)], ["open"], ["open"]),
        ([("nodule", P)], [("nodule", U)], ["open"], ["open"]),
        ([("nodule", U)], [], ["open"], []),
        ([("nodule", A)], [("nodule", U)], ["open"], ["open"]),
        # Sides
        ([("pleural_effusion", P, "left")], [("pleural_effusion", P, "right")], ["side"], ["side"]),
        ([("pleural_effusion", P, "left")], [("pleural_effusion", P)], ["supported"], ["supported"]),
        ([("pleural_effusion", P, "left right")], [("pleural_effusion", P, "left")], ["side"], ["supported"]),
        ([("pleural_effusion", P, "left")], [("pleural_effusion", P, "left right")], ["supported"], ["side"]),
        ([("pleural_effusion", P, "left")], [("pleural_effusion", A, "right")], ["missed"], []),
        ([("pleural_effusion", P, "left")], [("pleural_effusion", A)], ["flipped"], ["flipped"]),
        (
            [("pleural_effusion", P, "left"), ("pleural_effusion", A, "right")],
            [("pleural_effusion", A, "left"), ("pleural_effusion", P, "right")],
            ["side", "flipped"],
            ["flipped", "side"],
        ),
        # Size
        ([("pleural_effusion", P, "left", 2)], [("pleural_effusion", P, "left", 4)], ["described"], ["described"]),
        ([("pleural_effusion", P, "left", 2)], [("pleural_effusion", P, "left")], ["supported"], ["supported"]),
        # A narrower concept bears out a broader one; a broader denial denies it.
        ([("consolidation", P)], [("lung_opacity", P)], ["imprecise"], ["supported"]),
        ([("lung_opacity", P)], [("consolidation", P)], ["supported"], ["imprecise"]),
        ([("emphysema", P)], [("hyperinflation", P)], ["imprecise"], ["imprecise"]),
        ([("consolidation", P)], [("lung_opacity", A)], ["flipped"], ["flipped"]),
        ([("lung_opacity", P)], [("consolidation", A)], ["missed"], []),
    ],
)
def test_judgements(
    reference: list[tuple[str, Status]], draft: list[tuple[str, Status]], in_reference: list[str], in_draft: list[str]
) -> None:
    assert kinds(mark_reports(report(*reference), report(*draft))) == (in_reference, in_draft)


def test_facts_count_a_finding_once_whichever_words_name_it() -> None:
    reading = mark_reports(
        report(("pleural_effusion", P, "left"), ("pleural_effusion", P, "left"), ("pneumothorax", A)),
        report(("pleural_effusion", P, "right"), ("pneumothorax", P), ("nodule", P), ("nodule", P)),
    )
    assert [(fact.kind, fact.concept) for fact in reading.facts] == [
        (Kind.FLIPPED, "pneumothorax"),
        (Kind.FABRICATED, "nodule"),
        (Kind.SIDE, "pleural_effusion"),
    ]
    assert reading.num_errors == 3
    assert [fact.concept for fact in reading.fabricated] == ["pneumothorax", "nodule"]
    assert not reading.missed
    assert not reading.exact
    flipped, _, side = reading.facts
    assert (flipped.reference, flipped.draft, flipped.classes) == ("denied", "", ("Pneumothorax",))
    assert (side.reference, side.draft, side.classes) == ("left", "right", ("Pleural Effusion",))


def test_a_size_beside_a_wrong_side_is_no_second_error() -> None:
    reading = mark_reports(
        report(("pleural_effusion", P, "left right", 2)), report(("pleural_effusion", P, "right", 3))
    )
    assert kinds(reading) == (["side"], ["described"])
    assert [fact.kind for fact in reading.facts] == [Kind.SIDE]
    assert reading.facts[0].reference == "both sides, small"


def test_another_zone_of_the_lung_is_described_otherwise() -> None:
    reading = read_both("Left upper lobe consolidation.", "Left lower lobe consolidation.")
    [fact] = reading.facts
    assert (fact.kind, fact.reference, fact.draft) == (Kind.DESCRIBED, "left, upper zone", "left, lower zone")
    assert read_both("Left upper lobe consolidation.", "Left consolidation.").exact


def test_a_contradiction_through_a_broader_concept_counts_once() -> None:
    reading = mark_reports(report(("consolidation", P)), report(("lung_opacity", A)))
    [fact] = reading.facts
    assert (fact.kind, fact.concept, fact.draft) == (Kind.FLIPPED, "consolidation", "denied")
    assert reading.missed == [fact]
    assert reading.num_errors == 1


def test_a_comparison_without_an_earlier_examination_is_marked() -> None:
    draft = "Unchanged small left pleural effusion. Heart size is stable compared to the prior study."
    alone = "Small left pleural effusion."
    for reference, prior, is_marked in (
        (alone, None, True),
        (alone, False, True),
        (alone, True, False),
        ("Unchanged small left pleural effusion.", None, False),
    ):
        reading = read_both(reference, draft, prior=prior)
        assert bool(reading.num_comparisons) is is_marked
        assert not reading.exact or not is_marked
    assert not read_both(draft, alone, prior=False).num_comparisons


def test_exact_reports() -> None:
    assert mark_reports(report(), report()).exact
    assert mark_reports(report(("nodule", A)), report()).exact
    assert mark_reports(report(("nodule", P)), report(("nodule", P))).exact
    assert not mark_reports(report(("nodule", U)), report()).exact


def test_words_that_name_two_findings_show_the_graver_judgement_and_both_notes() -> None:
    words = (("atelectasis", P), ("pleural_effusion", P))
    both = report(*words)
    overlapping = both._replace(
        text="basilar changes", mentions=tuple(mention._replace(start=0, end=15) for mention in both.mentions)
    )
    reading = mark_reports(report(("atelectasis", P)), overlapping)
    [mark] = reading.draft
    assert (mark.start, mark.end, mark.kind) == (0, 15, Kind.FABRICATED)
    assert [note.partition(":")[0] for note in mark.notes] == ["pleural effusion", "atelectasis"]


def test_real_sentences() -> None:
    reading = read_both(
        "Small left pleural effusion. No pneumothorax. Mild cardiomegaly.",
        "There is a pneumothorax. Small right effusion. Heart size is normal.",
    )
    assert {(fact.kind.value, fact.concept) for fact in reading.facts} == {
        ("flipped", "pneumothorax"),
        ("flipped", "cardiomegaly"),
        ("side", "pleural_effusion"),
    }
    [side] = reading.of(Kind.SIDE)
    assert (side.reference, side.draft) == ("left, small", "right, small")


SENTENCES = [
    "No pneumothorax.",
    "Small left pleural effusion.",
    "Right lower lobe consolidation may represent pneumonia.",
    "Heart size is normal.",
    "Cardiomegaly.",
    "XXXX",
    "\n",
]


@given(st.lists(st.sampled_from(SENTENCES), max_size=5), st.lists(st.sampled_from(SENTENCES), max_size=5))
def test_marks_lie_in_the_text_in_order_and_no_two_overlap(first: list[str], second: list[str]) -> None:
    reference, draft = " ".join(first), " ".join(second)
    reading = read_both(reference, draft)
    for text, marks in ((reference, reading.reference), (draft, reading.draft)):
        end = 0
        for mark in marks:
            assert end <= mark.start < mark.end <= len(text)
            end = mark.end
    same = read_both(reference, reference)
    assert same.exact
    assert same.num_errors == 0
