"""Clinical scores of whole sets: the classes, priors, the constants beside them, and what the command writes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from radwright.cli.main import main
from radwright.evaluation.bootstrap import Resamples
from radwright.evaluation.class_table import class_table
from radwright.evaluation.page import Page, render_page
from radwright.evaluation.reports import read_reports
from radwright.evaluation.score import Evaluation, score
from radwright.findings import VERSION
from radwright.findings.ontology import CHEXPERT
from radwright.metrics.clinical import ClinicalF1
from radwright.metrics.finding_score import judge_texts
from radwright.metrics.judging import ERRORS
from radwright.text.sections import names_prior

NORMAL = "The lungs are clear. Heart size is normal. No pleural effusion."
ABNORMAL = "The heart is enlarged. There is a small left pleural effusion. No pneumothorax."
OPEN = "Possible pneumonia. Heart size is normal."
REFERENCES = {f"s{k}": text for k, text in enumerate([NORMAL, ABNORMAL, OPEN, NORMAL] * 3)}
DRAFTS = {f"s{k}": text for k, text in enumerate([NORMAL, ABNORMAL, NORMAL, ABNORMAL] * 3)}
TRAIN = {f"t{k}": text for k, text in enumerate([NORMAL] * 4 + [ABNORMAL])}


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return score(DRAFTS, REFERENCES, train=TRAIN, num_resamples=100)


def test_every_class_has_its_support_and_scores_under_both_policies(evaluation: Evaluation) -> None:
    assert [found.name for found in evaluation.classes] == list(CHEXPERT)
    by_name = {found.name: found for found in evaluation.classes}
    heart = by_name["Cardiomegaly"].open_negative
    assert (heart.support, heart.asserted) == (3, 6)
    assert (heart.precision.value, heart.recall.value) == (0.5, 1)
    assert heart.f1.value == pytest.approx(2 / 3)
    assert heart.precision.low < heart.precision.value < heart.precision.high
    pneumonia = by_name["Pneumonia"]
    assert (pneumonia.open_negative.support, pneumonia.open_positive.support) == (0, 3)
    assert pneumonia.open_positive.recall.value == 0
    plain = evaluation.plain()["classes"]
    assert plain["Cardiomegaly"]["open_negative"]["support"] == 3
    assert set(plain["Edema"]["open_positive"]) == {"support", "asserted", "precision", "recall", "f1"}


@pytest.mark.parametrize(("num_asserting", "silent"), [(0, True), (1, True), (2, False), (10, False)])
def test_drafts_that_hardly_assert_anything_raise_the_alarm(num_asserting: int, silent: bool) -> None:
    references = {f"s{k}": ABNORMAL if k < 10 else NORMAL for k in range(20)}
    drafts = {f"s{k}": f"{ABNORMAL if k < num_asserting else NORMAL} Rib {k} is normal." for k in range(20)}
    found = score(drafts, references, num_resamples=5)
    assert found.asserting is not None
    assert (found.asserting.drafts, found.asserting.references) == (num_asserting, 10)
    assert any(note.startswith("silent: ") for note in found.notes) == silent
    assert ("Silence alarm" in render_page(Page("t", scores=found.plain()))) == silent


def test_normal_references_are_no_reason_for_an_alarm() -> None:
    normal = {f"s{k}": NORMAL for k in range(20)}
    assert not score(normal, normal, num_resamples=5).notes[1:]
    found = score(normal, normal, metrics=["bleu"], num_resamples=5)
    assert found.asserting is None


def test_intervals_of_classes_are_those_of_the_texts_scored_anew() -> None:
    metric = ClinicalF1()
    rows = metric.rows(list(DRAFTS.values()), [[text] for text in REFERENCES.values()])
    resamples = Resamples.draw(len(rows), num_resamples=30, seed=3)
    place = CHEXPERT.index("Cardiomegaly")
    values = []
    for row in resamples.counts_Rn:
        drafts = [text for text, times in zip(DRAFTS.values(), row, strict=True) for _ in range(times)]
        references = [[text] for text, times in zip(REFERENCES.values(), row, strict=True) for _ in range(times)]
        right, fabricated, missed = metric.rows(drafts, references).sum(axis=0)[3 * place : 3 * place + 3]
        values.append(2 * right / max(1, 2 * right + fabricated + missed))
    found = class_table(rows, resamples)[place].open_negative.f1
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(values, (2.5, 97.5))))


def test_constants_have_clinical_scores_too(evaluation: Evaluation) -> None:
    constant = evaluation.baselines["constant_cider"]
    assert constant.metrics["fabricated"].value == 0
    judged = [judge_texts(NORMAL, text).score for text in REFERENCES.values()]
    assert constant.metrics["finding_score"].value == pytest.approx(sum(judged) / len(judged))
    assert evaluation.differences["constant_cider"]["missed"].value == pytest.approx(
        evaluation.metrics["missed"].value - constant.metrics["missed"].value
    )


def test_clinical_scores_read_texts_as_written_under_every_convention() -> None:
    """As written, capitals and punctuation and all; what ``r2gen-iu`` cuts off a reference is read too."""
    long = "The lungs are clear. " * 20 + "There is a left pleural effusion."
    drafts, references = dict.fromkeys("abc", long), dict.fromkeys("abc", long)
    scores = [
        score(drafts, references, train=TRAIN, convention=name, num_resamples=5).metrics
        for name in ("report", "r2gen-iu", "raw")
    ]
    for found in scores:
        assert found["f1_5_micro"].value == found["finding_score"].value == 1
    assert scores[1]["bleu_4"].value < 1


def test_the_signature_names_the_reader(evaluation: Evaluation) -> None:
    for part in (VERSION, "texts as written", "priors known of 0"):
        assert part in evaluation.signature
    known = score(DRAFTS, REFERENCES, priors={"s0": True, "stranger": False}, num_resamples=5)
    assert "priors known of 1" in known.signature


def test_priors_decide_which_comparisons_are_unsupported() -> None:
    drafts = {"a": "Unchanged cardiomegaly.", "b": "Unchanged cardiomegaly."}
    references = {"a": "Cardiomegaly.", "b": "Cardiomegaly."}
    unknown, known = (
        score(drafts, references, priors=priors, metrics=["clinical_errors", "finding_score"], num_resamples=5)
        for priors in (None, {"a": True, "b": False})
    )
    assert [row["unsupported_comparisons"] for row in unknown.study_rows] == [1, 1]
    assert [row["unsupported_comparisons"] for row in known.study_rows] == [0, 1]
    assert known.metrics["finding_score"].value > unknown.metrics["finding_score"].value
    assert known.classes == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("None.", False),
        ("No prior studies.", False),
        ("There are no comparisons available", False),
        ("N/A", False),
        ("Prior study not available.", False),
        ("", None),
        (" .", None),
        ("Chest radiograph of XXXX.", True),
        ("No significant change from 2010.", True),
        ("Two views dated 3 May.", True),
    ],
)
def test_what_a_comparison_section_says_of_priors(text: str, expected: bool | None) -> None:
    assert names_prior(text) is expected


def test_priors_come_from_the_reference_file(tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    rows = [
        {"study_id": "a", "report": "x", "comparison": "None."},
        {"study_id": "b", "report": "x", "comparison": "2010."},
        {"study_id": "c", "report": "x", "comparison": None},
        {"study_id": "d", "report": "x"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_reports(path).priors() == {"a": False, "b": True, "c": None, "d": None}
    table = tmp_path / "reports.csv"
    table.write_text("study_id,report,comparison\na,x,None.\nb,x,2010\nc,x,\n")
    assert read_reports(table).priors() == {"a": False, "b": True, "c": None}


def test_the_command_writes_and_shows_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name, texts in (("drafts", DRAFTS), ("refs", REFERENCES), ("train", TRAIN)):
        lines = [json.dumps({"study_id": k, "report": text, "comparison": "None."}) for k, text in texts.items()]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    with pytest.raises(SystemExit) as stop:
        main(
            [
                *("score", str(tmp_path / "drafts.jsonl"), "--references", str(tmp_path / "refs.jsonl")),
                *("--train", str(tmp_path / "train.jsonl"), "--resamples", "20"),
                *("--json", str(tmp_path / "scores.json"), "--per-study", str(tmp_path / "rows.csv")),
            ]
        )
    assert not stop.value.code
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"finding_score", "f1_14_example", *ERRORS} <= set(rows[0])
    first = next(row for row in rows if row["study_id"] == "s3")  # an abnormal draft of a normal study
    assert (first["fabricated"], first["flipped"], first["missed"]) == ("2", "2", "0")
    assert 0 < float(first["finding_score"]) < 0.5
    assert (
        json.loads((tmp_path / "scores.json").read_text())["classes"]["Cardiomegaly"]["open_negative"]["support"] == 3
    )
    printed = capsys.readouterr().out
    before_signature = printed.partition("signature:")[0]
    assert all(len(line) <= 80 for line in before_signature.splitlines())
    for part in ("in words", "in findings", "errors a study", "macro, supported", "Pleural Effusion"):
        assert part in printed
    assert "…" not in before_signature
    assert "priors known of 12" in printed
