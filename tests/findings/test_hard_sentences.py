"""Hard sentences, each with what it tests, and properties of a cue's scope.

The sentences were written by somebody who had not seen the reader or its lexicon.
"""

from __future__ import annotations

import random
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.findings import read_report
from radwright.findings.labels import chexpert_labels
from radwright.text.cleaning import clean_report

CASES: list[dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "hard_sentences.toml").read_text(encoding="utf-8")
)["case"]
# Words of a finding -> its class; none contains another.
FINDINGS = {
    "pneumothorax": "Pneumothorax",
    "pleural effusion": "Pleural Effusion",
    "consolidation": "Consolidation",
    "pneumonia": "Pneumonia",
    "atelectasis": "Atelectasis",
    "pulmonary edema": "Edema",
    "cardiomegaly": "Cardiomegaly",
    "rib fracture": "Fracture",
    "pulmonary nodule": "Lung Lesion",
}
ONE = st.sampled_from(sorted(FINDINGS))
SEVERAL = st.lists(ONE, min_size=2, max_size=5, unique=True)
NEGATIONS = st.sampled_from(
    ["No", "There is no", "Without", "No evidence of", "Negative for", "Free of", "No definite"]
)
OPEN = st.sampled_from(["Possible", "Questionable", "There may be", "Suspicious for", "Cannot exclude", "Likely"])
AFTER = st.sampled_from(["is not seen", "has resolved", "is absent", "has been excluded"])
OPEN_AFTER = st.sampled_from(["cannot be excluded", "is possible", "is suspected", "is not excluded"])
TURNS = st.sampled_from([", but there is", "; there is", ". There is", ", however there is", " although there is"])
UNRELATED = "The patient was imaged upright at noon."


def labels_of(text: str) -> dict[str, int | None]:
    return chexpert_labels(read_report(text))


def mentioned(text: str) -> dict[str, int]:
    return {k: v for k, v in labels_of(text).items() if v is not None and k != "No Finding"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["tests"])
def test_hard_sentence(case: dict[str, Any]) -> None:
    found = labels_of(case["text"])
    expected = {name: None if label == "none" else label for name, label in case["labels"].items()}
    assert {name: found[name] for name in expected} == expected
    for name, label in case.get("never", {}).items():
        assert found[name] != label


def test_every_case_says_what_it_tests() -> None:
    assert len(CASES) >= 60
    assert len({case["text"] for case in CASES}) == len({case["tests"] for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["tests"])
def test_case_and_sentences_added_change_nothing(case: dict[str, Any]) -> None:
    text = case["text"]
    assert labels_of(text.upper()) == labels_of(text)
    assert mentioned(f"{text} {UNRELATED}") == mentioned(f"{UNRELATED} {text}") == mentioned(text)


@given(NEGATIONS, ONE)
def test_a_denied_finding(cue: str, finding: str) -> None:
    assert mentioned(f"{cue} {finding}.") == {FINDINGS[finding]: 0}


@given(NEGATIONS, SEVERAL, st.sampled_from([" or ", " nor ", ", or ", " and/or "]))
def test_a_list_shares_its_negation(cue: str, findings: list[str], last: str) -> None:
    text = f"{cue} {', '.join(findings[:-1])}{last}{findings[-1]}."
    assert mentioned(text) == {FINDINGS[finding]: 0 for finding in findings}
    assert mentioned(clean_report(text)) == mentioned(text)  # without its commas


@given(ONE, AFTER)
def test_a_denial_behind(finding: str, cue: str) -> None:
    assert mentioned(f"The {finding} {cue}.") == {FINDINGS[finding]: 0}


@given(OPEN, ONE)
def test_an_open_finding(cue: str, finding: str) -> None:
    assert mentioned(f"{cue} {finding}.") == {FINDINGS[finding]: -1}


@given(ONE, OPEN_AFTER)
def test_an_open_cue_behind(finding: str, cue: str) -> None:
    assert mentioned(f"A {finding} {cue}.") == {FINDINGS[finding]: -1}


@given(NEGATIONS, SEVERAL, TURNS)
def test_a_turn_ends_the_negation(cue: str, findings: list[str], turn: str) -> None:
    denied, asserted = findings[:-1], findings[-1]
    text = f"{cue} {' or '.join(denied)}{turn} {asserted}."
    assert mentioned(text) == {**{FINDINGS[name]: 0 for name in denied}, FINDINGS[asserted]: 1}


@given(
    st.permutations(sorted(FINDINGS)), st.lists(st.sampled_from(["No {}.", "Possible {}.", "There is {}."]), min_size=9)
)
def test_sentences_do_not_touch_each_other(findings: list[str], forms: list[str]) -> None:
    sentences = [form.format(finding) for finding, form in zip(findings, forms, strict=False)]
    alone = {name: label for sentence in sentences for name, label in mentioned(sentence).items()}
    assert mentioned(" ".join(sentences)) == alone
    random.Random(len(forms)).shuffle(sentences)
    assert mentioned(" ".join(sentences)) == alone
