"""Scores of clues against slow, plain computation; label files, their matching and what is wrong with them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from radwright.errors import ScoringError
from radwright.evaluation.bootstrap import draw_counts
from radwright.evaluation.clue_labels import ClueLabels, labels_of_file, labels_of_reports
from radwright.evaluation.clues import ClueEvaluation, evaluate_clues
from radwright.evaluation.page.clues import CluePage, render_clue_page
from radwright.methods.trrg.clue_bank import ClueBank

R = 60
STUDIES = {f"s{number}": f"p{number // 2}" for number in range(6)}


def bank_of(*names: str, **more: dict[str, Any]) -> ClueBank:
    def entry(name: str) -> dict[str, Any]:
        own = {"finding": name, "threshold": 0.4} | more.get(name, {})
        return {"name": name, "present": ["It is there."], "absent": ["It is not."], "clue": name.lower()} | own

    return ClueBank.parse({"diseases": [entry(name) for name in names]}, where="test")


BANK = bank_of("Edema", "Cardiomegaly", "Fracture", Fracture={"threshold": None})


def labels_from(columns: dict[str, list[int]]) -> ClueLabels:
    number = len(next(iter(columns.values())))
    rows = {f"s{n:02}": {name: column[n] for name, column in columns.items()} for n in range(number)}
    return ClueLabels(rows, {}, {}, "a test")


def random_case(number: int = 40) -> tuple[dict[str, np.ndarray], ClueLabels]:
    rng = np.random.default_rng(5)
    columns = {name: rng.choice([1, 0, -1], number, p=p) for name, p in zip(BANK.names, SHARES, strict=True)}
    probabilities = {f"s{n:02}": rng.integers(0, 9, 3) / 9 for n in range(number)}
    return probabilities, labels_from({name: column.tolist() for name, column in columns.items()})


SHARES = ([0.4, 0.5, 0.1], [0.3, 0.7, 0.0], [0.05, 0.9, 0.05])


def plain_auc(drawn: list[tuple[float, int]]) -> float:
    high, low = ([p for p, label in drawn if label == wanted] for wanted in (1, 0))
    pairs = [(a > b) + (a == b) / 2 for a in high for b in low]
    return sum(pairs) / len(pairs) if pairs else math.nan


def plain_f1(drawn: list[tuple[float, int]], threshold: float) -> float:
    if len({label for _, label in drawn}) < 2:
        return math.nan
    right = sum(p > threshold and label == 1 for p, label in drawn)
    return 2 * right / (sum(p > threshold for p, _ in drawn) + sum(label for _, label in drawn))


def percentiles(values: list[float]) -> tuple[float, float]:
    low, high = np.percentile([value for value in values if not math.isnan(value)], [2.5, 97.5])
    return float(low), float(high)


def test_scores_and_intervals_are_those_of_plain_resampling() -> None:
    probabilities, labels = random_case()
    found = evaluate_clues(probabilities, labels, BANK, min_positives=8, num_resamples=R, seed=2)
    names = sorted(probabilities)
    counts = draw_counts(len(names), num_resamples=R, seed=2).astype(int)
    resamples = [[name for name, times in zip(names, row, strict=True) for _ in range(times)] for row in counts]
    assert [disease.in_macro for disease in found.diseases] == [True, True, False]
    aucs: dict[str, list[float]] = {}
    f1s: dict[str, list[float]] = {}
    for column, scores in enumerate(found.diseases):

        def drawn(studies: list[str], column: int = column, name: str = scores.name) -> list[tuple[float, int]]:
            pairs = [(float(probabilities[study][column]), labels.of_study[study][name]) for study in studies]
            return [(probability, label) for probability, label in pairs if label != -1]

        threshold = 0.5 if scores.name == "Fracture" else 0.4
        whole = drawn(names)
        assert scores.auc.value == pytest.approx(plain_auc(whole))
        assert scores.f1.value == pytest.approx(plain_f1(whole, threshold))
        aucs[scores.name] = [plain_auc(drawn(studies)) for studies in resamples]
        f1s[scores.name] = [plain_f1(drawn(studies), threshold) for studies in resamples]
        assert (scores.auc.low, scores.auc.high) == pytest.approx(percentiles(aucs[scores.name]))
        assert (scores.f1.low, scores.f1.high) == pytest.approx(percentiles(f1s[scores.name]))
        assert scores.num_undefined == sum(map(math.isnan, aucs[scores.name]))
        assert scores.num_studies + scores.num_open == len(names)
        chosen = [label for probability, label in whole if probability > threshold]
        assert scores.num_chosen == len(chosen)
        assert scores.precision == pytest.approx(sum(chosen) / len(chosen))
        assert scores.recall == pytest.approx(sum(chosen) / scores.num_positives)
        assert sum(studies for _, _, studies in scores.reliability) == scores.num_studies
    for macro, values in ((found.auc, aucs), (found.f1, f1s)):
        means = [sum(pair) / 2 for pair in zip(values["Edema"], values["Cardiomegaly"], strict=True)]
        assert (macro.low, macro.high) == pytest.approx(percentiles(means))
    assert found.auc.value == pytest.approx((found.diseases[0].auc.value + found.diseases[1].auc.value) / 2)
    assert found.in_macro == ("Edema", "Cardiomegaly")


def test_a_resample_without_a_positive_is_the_mean_of_the_other_diseases() -> None:
    probabilities = {f"s{n:02}": np.array([n / 10, 1 - n / 10]) for n in range(10)}
    labels = labels_from({"Edema": [0] * 9 + [1], "Cardiomegaly": [1, 0] * 5})
    bank = bank_of("Edema", "Cardiomegaly")
    found = evaluate_clues(probabilities, labels, bank, min_positives=1, num_resamples=200)
    edema, heart = found.diseases
    assert 0 < edema.num_undefined < 200
    assert found.num_incomplete >= edema.num_undefined
    assert f"({found.num_incomplete} of 200)" in found.notes[0]
    # Edema is told apart perfectly wherever it is defined; elsewhere the macro is the other disease alone.
    counts = draw_counts(10, num_resamples=200, seed=0)
    means = []
    for row in counts:
        studies = [(1 - n / 10, label) for n, label in enumerate([1, 0] * 5) for _ in range(int(row[n]))]
        own = plain_auc(studies)
        means.append(own if row[9] in {0, 10} else np.nanmean([1.0, own]))
    assert (found.auc.low, found.auc.high) == pytest.approx(percentiles(means))
    assert heart.num_undefined < edema.num_undefined


def same(one: ClueEvaluation, other: ClueEvaluation) -> bool:
    return json.dumps(one.plain()) == json.dumps(other.plain())


def test_the_order_of_studies_and_of_the_bank_changes_nothing() -> None:
    probabilities, labels = random_case()
    found = evaluate_clues(probabilities, labels, BANK, num_resamples=R)
    backwards = dict(reversed(probabilities.items()))
    turned = ClueLabels(dict(reversed(labels.of_study.items())), {}, {}, "a test")
    assert same(found, evaluate_clues(backwards, turned, BANK, num_resamples=R))
    other = ClueBank(diseases=BANK.diseases[::-1])
    mirrored = evaluate_clues(
        {name: row[::-1] for name, row in probabilities.items()}, labels, other, num_resamples=R, min_positives=10
    )
    assert [disease.plain() for disease in mirrored.diseases[::-1]] == [disease.plain() for disease in found.diseases]
    assert mirrored.auc.plain() == pytest.approx(found.auc.plain())


def test_without_positives_and_with_one_study_nothing_is_made_up() -> None:
    labels = labels_from({name: [0] for name in BANK.names})
    found = evaluate_clues({"s00": np.array([0.9, 0.1, 0.2]), "unlabelled": np.zeros(3)}, labels, BANK, num_resamples=R)
    assert found.num_studies == 1
    plain = found.plain()
    assert plain["macro"] == {
        "diseases": [],
        "auc": {"value": None, "low": None, "high": None},
        "f1": {"value": None, "low": None, "high": None},
        "num_incomplete_resamples": 0,
    }
    edema = plain["diseases"][0]
    assert (edema["auc"]["value"], edema["f1"]["value"], edema["recall"], edema["precision"]) == (None, None, None, 0)
    assert edema["num_undefined"] == R
    assert "NaN" not in json.dumps(plain)
    assert "no disease has 10 positives" in found.notes[0]
    page = render_clue_page(CluePage("One", found, "a test", found.notes))
    assert "nan" not in page.split("<main>")[1]
    with pytest.raises(ScoringError, match="no study has both"):
        evaluate_clues({"other": np.zeros(3)}, labels, BANK)


def test_all_labels_open_leaves_a_row_without_numbers() -> None:
    labels = labels_from({"Edema": [-1, -1], "Cardiomegaly": [1, 0], "Fracture": [0, 0]})
    found = evaluate_clues({f"s{n:02}": np.array([0.5, 0.2, 0.3]) for n in range(2)}, labels, BANK, num_resamples=R)
    edema = found.diseases[0].plain()
    assert (edema["num_studies"], edema["num_open"], edema["calibration_error"]) == (0, 2, None)
    assert "nan" not in render_clue_page(CluePage("Open", found, "a test")).split("<main>")[1]


def test_names_cannot_break_the_page() -> None:
    name = "<script>alert(1)</script>"
    labels = labels_from({name: [1, 0]})
    bank = bank_of(name, **{name: {"finding": None}})
    found = evaluate_clues({"s00": np.array([0.5]), "s01": np.array([0.2])}, labels, bank, num_resamples=R)
    page = render_clue_page(CluePage(name, found, name, (name,), {name: name}))
    assert "<script" not in page


def test_the_labeler_asserts_denies_and_leaves_open() -> None:
    bank = bank_of("Edema", "Cardiomegaly", "Mystery", Mystery={"finding": None})
    reports = {"a": "Pulmonary edema. Heart size is normal.", "b": "Possible cardiomegaly.", "c": " "}
    labels = labels_of_reports(reports, bank)
    assert labels.of_study == {"a": {"Edema": 1, "Cardiomegaly": 0}, "b": {"Edema": 0, "Cardiomegaly": -1}}
    assert list(labels.not_checkable) == ["Mystery"]
    assert "finding: null" in labels.not_checkable["Mystery"]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


HEAD = "id,Edema,Cardiomegaly\n"


def test_a_file_by_study_or_by_patient(tmp_path: Path) -> None:
    by_study = write(tmp_path, "\ufeff" + HEAD + "s0,1,\ns1,0,-1\n\ns2,1.0,-1.0\ns3,,0.0\nother,1,1\n")
    labels = labels_of_file(by_study, BANK, STUDIES)
    assert labels.source["matched_by"] == "study_id"
    assert (labels.source["num_matched"], labels.source["num_studies"]) == (4, 6)
    assert labels.of_study == {
        "s0": {"Edema": 1, "Cardiomegaly": 0},
        "s1": {"Edema": 0, "Cardiomegaly": -1},
        "s2": {"Edema": 1, "Cardiomegaly": -1},
        "s3": {"Edema": 0, "Cardiomegaly": 0},
    }
    assert labels.not_checkable == {"Fracture": "labels.csv has no column of its name"}
    by_patient = labels_of_file(write(tmp_path, HEAD + "p0,1,0\np2,0,1\n"), BANK, STUDIES)
    assert by_patient.source["matched_by"] == "patient_id"
    assert list(by_patient.of_study) == ["s0", "s1", "s4", "s5"]
    assert "2 studies share a row" in by_patient.notes[0]
    assert "4 of 6 studies" in by_patient.told
    # A patient called like a study: what names more studies counts.
    both = {"s0": "s1", "s1": "x", "s2": "y"}
    assert labels_of_file(write(tmp_path, HEAD + "s0,1,0\ns1,1,0\n"), BANK, both).source["matched_by"] == "study_id"


def test_a_column_counts_even_where_the_bank_names_no_finding(tmp_path: Path) -> None:
    bank = bank_of("Mystery", Mystery={"finding": None})
    labels = labels_of_file(write(tmp_path, "id,Mystery\ns0,1\ns1,0\ns2,0\n"), bank, STUDIES)
    assert labels.not_checkable == {}
    assert labels.of_study["s0"] == {"Mystery": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column has the name of a disease"),
        (HEAD, "has no row below its head"),
        ("id,Cardiomegali\ns0,1\n", r"'Cardiomegali' \(did you mean 'Cardiomegaly'.*it has: Cardiomegali"),
        ("id\ns0\n", "none besides the first"),
        (HEAD + "s0,1,0\ns1,0,2\n", r"labels.csv:3: column 'Cardiomegaly' holds '2'; give 1 \(present\)"),
        (HEAD + "s0,nan,0\n", "labels.csv:2: column 'Edema' holds 'nan'"),
        (HEAD + "s0,1\n", "labels.csv:2: has 2 values, the head has 3"),
        (HEAD + "s0,1,0,1\n", "labels.csv:2: has 4 values"),
        (HEAD + ",1,0\n", "labels.csv:2: names no study"),
        (HEAD + "s0,1,0\ns1,1,0\ns0,0,0\n", "labels.csv:4: 's0' is there already on line 2"),
        ("id,Edema,Edema\ns0,1,0\n", "has the column 'Edema' more than once"),
        (HEAD + '"s0,1,0\n', "is no line of a table"),
        (HEAD + "7,1,0\n8,0,0\n", r"no row fits; its first column has '7', '8', studies without a row are 's0'.*'p0'"),
        (HEAD + "s0,1,0\ns1,0,0\n", r"only 2 of 6 studies have a row \(by study_id\)"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=f"(?s){message}"):
        labels_of_file(write(tmp_path, text), BANK, STUDIES)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="cannot be read"):
        labels_of_file(tmp_path / "absent.csv", BANK, STUDIES)
    (tmp_path / "binary.csv").write_bytes(b"id,Edema\ns0,\xff\n")
    with pytest.raises(ScoringError, match="is no UTF-8 text"):
        labels_of_file(tmp_path / "binary.csv", BANK, STUDIES)


def test_the_entry_on_the_page_of_clues_is_a_bank() -> None:
    page = (Path(__file__).parents[2] / "docs" / "clues.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    bank = ClueBank.parse(yaml.safe_load(block), where="docs/clues.md")
    assert bank.names == ("Hiatal hernia",)
    for wanted, sentences in ((1, bank.diseases[0].present), (0, bank.diseases[0].absent)):
        labels = labels_of_reports({str(n): text for n, text in enumerate(sentences)}, bank)
        assert {row["Hiatal hernia"] for row in labels.of_study.values()} == {wanted}
