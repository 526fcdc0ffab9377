"""The reader of reports on hard sentences of our own writing, and on what no wording may change.

`hard_sentences.toml` says what must come out of each text and what may never; its head explains the fields.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radwright.findings.labels import chexpert_labels
from radwright.findings.reader import read_report

HERE = Path(__file__).parent
CLASSES = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Lesion",
    "Lung Opacity",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)


CASES: list[dict[str, Any]] = tomllib.loads((HERE / "hard_sentences.toml").read_text(encoding="utf-8"))["case"]

each_case = pytest.mark.parametrize("case", CASES, ids=[case["tests"] for case in CASES])


def labels_of(text: str) -> dict[str, int | None]:
    return dict(chexpert_labels(read_report(text)))


def as_label(value: int | str) -> int | None:
    """What the data file calls "none" is None in the labels: TOML has no null."""
    return None if value == "none" else int(value)


def broken_promises(case: dict[str, Any], text: str) -> dict[str, str]:
    """By class: what the labels of `text` have against what `case` asks; empty where all is well."""
    got = labels_of(text)
    wrong = {
        name: f"{got[name]}, not {value}" for name, value in case["labels"].items() if got[name] != as_label(value)
    }
    never = case.get("never", {})
    return wrong | {name: f"{value}, never {value}" for name, value in never.items() if got[name] == as_label(value)}


# ---------------------------------------------------------------------------------------------- the data files


def test_the_cases_are_well_formed() -> None:
    assert len(CASES) >= 110
    assert len({case["tests"] for case in CASES}) == len(CASES)
    assert len({case["text"] for case in CASES}) == len(CASES)
    for case in CASES:
        assert set(case) <= {"text", "labels", "never", "tests"}, case
        promises = case["labels"] | case.get("never", {})
        assert promises, f"{case['tests']}: says nothing"
        assert len(promises) == len(case["labels"]) + len(case.get("never", {})), f"{case['tests']}: a class twice"
        assert set(promises) <= set(CLASSES), case
        assert all(value in (1, 0, -1, "none") for value in promises.values()), case


# ---------------------------------------------------------------------------------------------- hard sentences


@each_case
def test_hard_sentence(case: dict[str, Any]) -> None:
    assert broken_promises(case, case["text"]) == {}, case["text"]


@each_case
@pytest.mark.parametrize("change", [str.lower, str.upper], ids=["lower", "upper"])
def test_case_of_letters_changes_no_promise(case: dict[str, Any], change: Any) -> None:
    text = change(case["text"])
    assert broken_promises(case, text) == {}, text


def test_every_class_and_nothing_else_comes_out() -> None:
    labels = labels_of("No pneumothorax. Cardiomegaly. Possible pneumonia.")
    assert set(labels) == set(CLASSES)
    assert all(value in (1, 0, -1, None) for value in labels.values())


@pytest.mark.parametrize("text", ["", " ", ".", "\n\n", "XXXX", "___", "?!", "no", "No.", "not without"])
def test_texts_that_mention_nothing(text: str) -> None:
    labels = labels_of(text)
    assert {name for name, value in labels.items() if value is not None} <= {"No Finding"}


# ---------------------------------------------------------------------------------------------- properties

FINDINGS = (  # class, words, words with their article
    ("Pneumothorax", "pneumothorax", "a pneumothorax"),
    ("Pleural Effusion", "pleural effusion", "a pleural effusion"),
    ("Pleural Effusion", "effusion", "an effusion"),
    ("Consolidation", "consolidation", "consolidation"),
    ("Consolidation", "focal consolidation", "focal consolidation"),
    ("Edema", "pulmonary edema", "pulmonary edema"),
    ("Edema", "edema", "edema"),
    ("Atelectasis", "atelectasis", "atelectasis"),
    ("Pneumonia", "pneumonia", "pneumonia"),
    ("Fracture", "rib fracture", "a rib fracture"),
    ("Fracture", "fracture", "a fracture"),
    ("Cardiomegaly", "cardiomegaly", "cardiomegaly"),
    ("Lung Lesion", "nodule", "a nodule"),
    ("Lung Lesion", "lung mass", "a lung mass"),
    ("Lung Opacity", "airspace opacity", "an airspace opacity"),
    ("Lung Opacity", "infiltrate", "an infiltrate"),
    ("Pleural Other", "pleural thickening", "pleural thickening"),
)
UNRELATED = (
    "The patient is rotated to the right.",
    "Comparison is made with the prior examination.",
    "Findings were discussed with the referring team by telephone.",
    "Two views of the chest were obtained.",
    "The tip of the chin projects over the apices.",
    "Contrast material is present in the colon.",
)

a_finding = st.sampled_from(FINDINGS)
statements = st.sampled_from(
    ("There is {an}.", "{Word} is present.", "No {word}.", "Possible {word}.", "{Word} is not seen.")
)
exhaustive = settings(max_examples=150, deadline=None, derandomize=True)


def several(least: int, most: int) -> st.SearchStrategy[list[tuple[str, str, str]]]:
    """Findings of different classes."""
    return st.lists(a_finding, min_size=least, max_size=most, unique_by=lambda finding: finding[0])


def said(pattern: str, finding: tuple[str, str, str]) -> str:
    _, word, with_article = finding
    return pattern.format(word=word, Word=word.capitalize(), an=with_article)


def assert_labels(text: str, expected: Sequence[tuple[tuple[str, str, str], int]]) -> None:
    labels = labels_of(text)
    wanted = {finding[0]: value for finding, value in expected}
    assert {name: labels[name] for name in wanted} == wanted, text


@pytest.mark.parametrize("finding", FINDINGS, ids=[finding[1] for finding in FINDINGS])
@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("No {word}.", 0),
        ("no {word} .", 0),
        ("There is no {word}.", 0),
        ("No evidence of {word}.", 0),
        ("Without {word}.", 0),
        ("Negative for {word}.", 0),
        ("{Word} is not seen.", 0),
        ("{Word} is absent.", 0),
        ("{Word} has resolved.", 0),
        ("Resolution of {word}.", 0),
        ("{Word}: none.", 0),
        ("There is {an}.", 1),
        ("{Word}.", 1),
        ("{Word} is present.", 1),
        ("{Word}, unchanged.", 1),
        ("No change in {word}.", 1),
        ("Stable {word}.", 1),
        ("{Word}: present.", 1),
        ("Possible {word}.", -1),
        ("{Word} is possible.", -1),
        ("There may be {an}.", -1),
        ("{Word} cannot be excluded.", -1),
        ("Cannot rule out {word}.", -1),
        ("Suspicious for {word}.", -1),
        ("Questionable {word}.", -1),
        ("{Word}?", -1),
    ],
)
def test_one_finding_said_alone(finding: tuple[str, str, str], pattern: str, value: int) -> None:
    assert_labels(said(pattern, finding), [(finding, value)])


@exhaustive
@given(several(2, 6), st.sampled_from(("or", "and", "nor")), st.sampled_from(("", ",")))
def test_a_denied_list_denies_all(findings: list[tuple[str, str, str]], joint: str, oxford: str) -> None:
    *first, last = [finding[1] for finding in findings]
    text = f"No {', '.join(first)}{oxford} {joint} {last}."
    assert_labels(text, [(finding, 0) for finding in findings])


@exhaustive
@given(several(2, 6))
def test_a_denied_list_without_commas_denies_all(findings: list[tuple[str, str, str]]) -> None:
    *first, last = [finding[1] for finding in findings]
    assert_labels(f"no {' '.join(first)} or {last} .", [(finding, 0) for finding in findings])


@exhaustive
@given(several(2, 5))
def test_a_list_denied_after_it_denies_all(findings: list[tuple[str, str, str]]) -> None:
    *first, last = [finding[1] for finding in findings]
    text = f"{', '.join(first)} and {last} are not seen.".capitalize()
    assert_labels(text, [(finding, 0) for finding in findings])


@exhaustive
@given(several(2, 5))
def test_a_positive_list_asserts_all(findings: list[tuple[str, str, str]]) -> None:
    *first, last = [finding[2] for finding in findings]
    assert_labels(f"There is {', '.join(first)}, and {last}.", [(finding, 1) for finding in findings])


TWO_CLAUSES = (  # the pattern, what is said of the first finding and of the second
    ("{A} is present. No {b}.", 1, 0),
    ("No {a}. {B} is present.", 0, 1),
    ("No {a}, but {b} is present.", 0, 1),
    ("No {a}, but there is {an_b}.", 0, 1),
    ("No {a} but {b} persists.", 0, 1),
    ("No {a}; {b} is unchanged.", 0, 1),
    ("No {a}, although {b} remains.", 0, 1),
    ("There is no {a}; however, there is {an_b}.", 0, 1),
    ("Without {a}, {b} is present.", 0, 1),
    ("{A} without {b}.", 1, 0),
    ("{A}, no {b}.", 1, 0),
    ("There is {an_a} but no {b}.", 1, 0),
    ("{A} is not seen but {b} is present.", 0, 1),
    ("{A} has resolved, {b} persists.", 0, 1),
    ("Possible {a}. No {b}.", -1, 0),
    ("{A} and possible {b}.", 1, -1),
    ("Possible {a}, but no {b}.", -1, 0),
    ("{A} cannot be excluded. {B} is present.", -1, 1),
    ("No {a}, but {b} cannot be excluded.", 0, -1),
    ("{A} versus {b}.", -1, -1),
    ("1. No {a}. 2. {B}.", 0, 1),
    ("1. {A}. 2. No {b}. 3. Normal bowel gas.", 1, 0),
    ("- No {a}\n- {B}", 0, 1),
    ("{A}: none. {B}: present.", 0, 1),
)


@pytest.mark.parametrize(("pattern", "of_a", "of_b"), TWO_CLAUSES, ids=[clause[0] for clause in TWO_CLAUSES])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(findings=several(2, 2))
def test_two_findings_in_one_text(pattern: str, of_a: int, of_b: int, findings: list[tuple[str, str, str]]) -> None:
    (_, a, _), (_, b, an_b) = findings
    text = pattern.format(a=a, A=a.capitalize(), an_a=findings[0][2], b=b, B=b.capitalize(), an_b=an_b)
    assert_labels(text, [(findings[0], of_a), (findings[1], of_b)])


@st.composite
def reports(draw: st.DrawFn) -> list[str]:
    """Sentences, each with one finding and a statement of its own; a class may come back with another statement."""
    pairs = draw(st.lists(st.tuples(statements, a_finding), min_size=1, max_size=5))
    return [said(pattern, finding) for pattern, finding in pairs]


@exhaustive
@given(reports(), st.sampled_from(UNRELATED))
def test_an_unrelated_sentence_changes_nothing(sentences: list[str], unrelated: str) -> None:
    alone = labels_of(" ".join(sentences))
    assert labels_of(" ".join([*sentences, unrelated])) == alone
    assert labels_of(" ".join([unrelated, *sentences])) == alone


@exhaustive
@given(reports())
def test_case_changes_nothing(sentences: list[str]) -> None:
    text = " ".join(sentences)
    assert labels_of(text.upper()) == labels_of(text.lower()) == labels_of(text)


@exhaustive
@given(st.data())
def test_order_of_sentences_changes_nothing(data: st.DataObject) -> None:
    sentences = data.draw(reports())
    shuffled = data.draw(st.permutations(sentences))
    assert labels_of(" ".join(shuffled)) == labels_of(" ".join(sentences))


@exhaustive
@given(reports())
def test_saying_it_twice_changes_nothing(sentences: list[str]) -> None:
    text = " ".join(sentences)
    assert labels_of(f"{text} {text}") == labels_of(text)


@exhaustive
@given(reports(), st.sampled_from(("\n", "  ", "\t", " \n ")))
def test_white_space_changes_nothing(sentences: list[str], space: str) -> None:
    text = " ".join(sentences)
    assert labels_of(text.replace(" ", space)) == labels_of(text)


@exhaustive
@given(reports())
def test_present_beats_uncertain_beats_denied(sentences: list[str]) -> None:
    rank = {None: 0, 0: 1, -1: 2, 1: 3}
    apart = [labels_of(sentence) for sentence in sentences]
    together = labels_of(" ".join(sentences))
    for name in CLASSES[1:]:
        assert together[name] == max((labels[name] for labels in apart), key=rank.__getitem__), (name, sentences)


@exhaustive
@given(reports())
def test_no_finding_is_the_rest(sentences: list[str]) -> None:
    labels = labels_of(" ".join(sentences))
    found = any(labels[name] in (1, -1) for name in CLASSES[1:-1])
    assert labels["No Finding"] == (None if found else 1)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    assert set(labels_of(text)) == set(CLASSES)
