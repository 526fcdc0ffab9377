"""F1 of CheXpert's observations: worked examples, conventions for nothing asserted, and resamples without support."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radwright.findings import read_report
from radwright.findings.labels import chexpert_labels
from radwright.findings.ontology import CHEXPERT, CHEXPERT_5
from radwright.metrics import clinical
from radwright.metrics.clinical import ClinicalF1, class_counts, class_scores

SENTENCES = (
    "The lungs are clear.",
    "There is a small left pleural effusion.",
    "No pleural effusion.",
    "Cardiomegaly.",
    "Possible pneumonia.",
    "Bibasilar atelectasis.",
    "No pneumothorax.",
    "Pulmonary edema may be present.",
)
TEXT = st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=5).map(" ".join)


def scores(drafts: list[str], references: list[str]) -> Mapping[str, float]:
    metric = ClinicalF1()
    values = metric.scores(metric.rows(drafts, [[text] for text in references]).sum(axis=0))
    return dict(zip(metric.names, map(float, values), strict=True))


def columns(pairs: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [draft for draft, _ in pairs], [reference for _, reference in pairs]


def test_two_studies_by_hand() -> None:
    found = scores(
        ["Cardiomegaly. Possible pneumonia.", "Left pleural effusion."],
        ["Cardiomegaly. Left pleural effusion.", "Left pleural effusion. Bibasilar atelectasis."],
    )
    # Open findings negative: right cardiomegaly 1, effusion 1; missed effusion 1, atelectasis 1.
    assert found["f1_14_micro"] == found["f1_5_micro"] == pytest.approx(4 / 6)
    assert found["f1_14_macro"] == pytest.approx((1 + 2 / 3 + 0) / 14)
    assert found["f1_14_macro_supported"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert found["f1_5_macro"] == pytest.approx((1 + 2 / 3 + 0) / 5)
    assert found["f1_14_example"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    # Open findings positive: pneumonia is fabricated.
    assert found["f1_14_micro_u"] == pytest.approx(4 / 7)
    assert found["f1_5_micro_u"] == pytest.approx(4 / 6)
    assert found["f1_14_macro_supported_u"] == found["f1_14_macro_supported"]
    assert found["f1_14_example_u"] == pytest.approx((2 / 4 + 2 / 3) / 2)


def test_names_say_list_average_and_policy() -> None:
    names = ClinicalF1.names
    assert len(names) == len(set(names)) == 16
    assert {"f1_14_micro", "f1_14_micro_u", "f1_14_macro_supported", "f1_5_example_u"} <= set(names)


def test_nothing_asserted_on_both_sides_is_agreement_and_an_empty_draft_is_not() -> None:
    agreeing = scores(["The lungs are clear."], ["No pleural effusion."])
    assert agreeing["f1_5_example"] == agreeing["f1_5_example_u"] == 1
    assert agreeing["f1_5_micro"] == agreeing["f1_5_macro_supported"] == 0  # nothing to count: 0 / 0
    assert agreeing["f1_14_example"] == 1  # "No Finding" is asserted by both
    empty = scores([" \n"], ["No pleural effusion."])
    assert set(empty.values()) == {0}


@given(st.lists(TEXT, min_size=1, max_size=5))
def test_identical_texts_reach_one(texts: list[str]) -> None:
    found = scores(texts, texts)
    for name, value in found.items():
        length = name.split("_")[1]
        if "example" in name:
            assert value == 1
        elif name.removesuffix("_u").endswith("macro"):
            classes = 14 if length == "14" else 5
            assert value * classes == pytest.approx(round(value * classes))  # 1 for a class that occurs, else 0
        else:
            assert value in {0, 1}
    assert found["f1_14_micro_u"] == found["f1_14_macro_supported_u"] == 1  # every text asserts something


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5))
def test_the_order_of_studies_and_of_sentences_changes_nothing(pairs: list[tuple[str, str]]) -> None:
    turned = [(" ".join(reversed(draft.replace(". ", ".|").split("|"))), reference) for draft, reference in pairs[::-1]]
    assert scores(*columns(pairs)) == pytest.approx(scores(*columns(turned)))


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6))
def test_micro_equals_counting_labels_one_by_one(pairs: list[tuple[str, str]]) -> None:
    found = scores(*columns(pairs))
    for suffix, positive in (("", {1}), ("_u", {1, -1})):
        for length, names in (("14", CHEXPERT), ("5", CHEXPERT_5)):
            right = wrong = 0
            for draft, reference in pairs:
                ours, theirs = chexpert_labels(read_report(draft)), chexpert_labels(read_report(reference))
                for name in names:
                    right += ours[name] in positive and theirs[name] in positive
                    wrong += (ours[name] in positive) != (theirs[name] in positive)
            expected = 2 * right / (2 * right + wrong) if right + wrong else 0
            assert found[f"f1_{length}_micro{suffix}"] == pytest.approx(expected)


def test_a_resample_without_support_scores_zero_and_no_warning() -> None:
    metric = ClinicalF1()
    rows = metric.rows(["Lungs clear.", "Cardiomegaly."], [["Lungs clear."], ["Cardiomegaly."]])
    only_first = dict(zip(metric.names, metric.scores(np.array([2.0, 0.0]) @ rows), strict=True))
    assert only_first["f1_5_macro_supported"] == only_first["f1_5_macro"] == only_first["f1_5_micro"] == 0
    assert only_first["f1_14_macro_supported"] == 1  # "No Finding" alone
    nothing = metric.scores(np.zeros(rows.shape[1]))
    assert nothing.tolist() == [0] * 16


def test_the_classes_come_from_the_same_rows() -> None:
    drafts = ["Cardiomegaly. Possible pneumonia.", "Cardiomegaly.", "Lungs clear."]
    references = [["Cardiomegaly. Pneumonia."], ["Heart size is normal."], ["Cardiomegaly."]]
    sums = ClinicalF1().rows(drafts, references).sum(axis=0)
    place = CHEXPERT.index("Cardiomegaly")
    assert class_counts(sums)[0, place].tolist() == [1, 1, 1]
    assert class_scores(sums)[0, place].tolist() == [0.5, 0.5, 0.5]
    pneumonia = CHEXPERT.index("Pneumonia")
    assert class_counts(sums)[:, pneumonia].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert class_scores(sums)[0, CHEXPERT.index("Fracture")].tolist() == [0, 0, 0]


def test_of_several_references_the_nearest_counts() -> None:
    metric = ClinicalF1()
    rows = metric.rows(["Cardiomegaly."], [["Pleural effusion.", "Cardiomegaly."]])
    assert rows.tolist() == metric.rows(["Cardiomegaly."], [["Cardiomegaly."]]).tolist()


def test_each_distinct_text_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def count(text: str) -> object:
        read.append(text)
        return original(text)

    original = clinical.read_report
    monkeypatch.setattr(clinical, "read_report", count)
    constant, others = "A text of this test alone.", [f"Text {k} of this test." for k in range(5)]
    ClinicalF1().rows([constant] * 5, [[text] for text in others])
    ClinicalF1().rows([constant] * 5, [[text] for text in others])
    assert sorted(read) == sorted([constant, *others])


@settings(max_examples=25)
@given(st.text(max_size=60))
def test_any_text_is_scored(text: str) -> None:
    assert all(0 <= value <= 1 for value in scores([text], ["Cardiomegaly."]).values())
