"""Scores against pycocoevalcap, METEOR's own jar and sacreBLEU on real and on hand-made pairs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from radwright.metrics.base import Metric
from radwright.metrics.bleu import Bleu
from radwright.metrics.chrf import Chrf
from radwright.metrics.cider import Cider
from radwright.metrics.meteor import Meteor
from radwright.metrics.rouge import RougeL


def scores(metric: Metric, hypotheses: list[str], references: list[list[str]]) -> dict[str, float]:
    values = metric.scores(metric.rows(hypotheses, references).sum(axis=0))
    return dict(zip(metric.names, map(float, values), strict=True))


@pytest.fixture(scope="module")
def pairs(shared: Path) -> tuple[list[str], list[list[str]]]:
    with gzip.open(shared / "data" / "metrics" / "iu_pairs_316.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [row["report"] for row in rows], [[row["reference"]] for row in rows]


@pytest.fixture(scope="module")
def expected(shared: Path) -> dict[str, float]:
    values: dict[str, float] = json.loads((shared / "data" / "metrics" / "expected_scores.json").read_text())[
        "expected"
    ]
    return values


@pytest.mark.parametrize("metric", [Bleu(), RougeL(), Cider()], ids=lambda metric: metric.names[0])
def test_316_real_pairs(metric: Metric, pairs: Any, expected: dict[str, float]) -> None:
    for name, value in scores(metric, *pairs).items():
        assert value == pytest.approx(expected[name], abs=1e-9), name


@pytest.mark.parametrize(("stemming", "name"), [(True, "meteor15_exact_stem"), (False, "meteor15_exact")])
def test_316_real_pairs_against_the_jar(stemming: bool, name: str, pairs: Any, expected: dict[str, float]) -> None:
    assert scores(Meteor(stemming=stemming), *pairs)["meteor15_es"] == pytest.approx(expected[name], abs=1e-9)


def test_chrf_is_sacrebleus(pairs: Any) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    hypotheses, references = pairs
    theirs = sacrebleu.metrics.CHRF().corpus_score(hypotheses, [[texts[0] for texts in references]]).score
    assert scores(Chrf(), hypotheses, references)["chrf"] == pytest.approx(theirs, abs=1e-9)


def test_chrf_of_several_references_and_of_nothing() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    hypotheses = ["the lungs are clear", "", "heart normal"]
    references = [["lungs clear", "the lungs are clear ."], ["heart"], ["the heart is normal", "normal"]]
    streams = [[texts[k] if k < len(texts) else None for texts in references] for k in range(2)]
    theirs = sacrebleu.metrics.CHRF().corpus_score(hypotheses, streams).score
    assert scores(Chrf(), hypotheses, references)["chrf"] == pytest.approx(theirs, abs=1e-9)


# METEOR of case 1 was measured with the full jar: exact + stem there is .26731522, in the other cases it is the same.
@pytest.mark.parametrize(("index", "with_meteor"), [(0, True), (1, False), (2, True), (3, True)])
def test_small_cases_with_several_references(index: int, with_meteor: bool, shared: Path) -> None:
    case = json.loads((shared / "data" / "metrics" / "nlg_cases" / "cases.json").read_text())[index]
    if case.get("corpus"):
        hypotheses = case["hyps"]
        references = [list(texts) for texts in zip(*case["refs_by_column"], strict=True)]
    else:
        hypotheses, references = [case["hyp"]], [case["refs"]]
    found = {
        "METEOR": scores(Meteor(), hypotheses, references)["meteor15_es"],
        "ROUGE_L": scores(RougeL(), hypotheses, references)["rouge_l"],
        "CIDEr": scores(Cider(), hypotheses, references)["cider"],
        **{f"Bleu_{n[-1]}": value for n, value in scores(Bleu(), hypotheses, references).items()},
    }
    for name, value in case["expected"].items():
        if name != "METEOR" or with_meteor:
            assert found[name] == pytest.approx(value, abs=1e-6), name


# Values of METEOR 1.5's jar (-norm, modules "exact stem") on sentences of our own.
@pytest.mark.parametrize(
    ("hypothesis", "reference", "value"),
    [
        (
            "the lungs are clear . no effusion .",
            "the lungs are clear . no pleural effusion or pneumothorax .",
            0.3557013692244437,
        ),
        (
            "the heart is enlarged . the aorta is tortuous . the lungs are hyperinflated . the spine is normal .",
            "the aorta is tortuous . the heart is large . the spine is degenerated . the lungs are clear .",
            0.3846130942928204,
        ),
        ("enlarging nodules in the lungs", "the nodule in the lung enlarged", 0.31252858726883403),
        (
            "Right-sided pneumothorax, 3.5 cm; patient's tube (high).",
            "right sided pneumothorax of 3.5 cm . the patients tube is high .",
            0.36102882933925057,
        ),
        (
            "x-ray of xxxx-a-xxxx shows T1-T2 vs. old film",
            "x ray of xxxx a xxxx shows t1-t2 vs old film .",
            0.3962959196818514,
        ),
        (
            "no change . no change . no change . no change .",
            "no change . no acute change . no new change seen .",
            0.33859230397443574,
        ),
        (
            "The patient can't. \"quoted\" 'so' it's 5's U.S. e.g. this...and that",
            "the patient can not . quoted so it is 5 ' s us eg this ... and that",
            0.41753250112341966,
        ),
        ("heart size normal,lungs clear,1,000 ml", "heart size normal , lungs clear , 1,000 ml", 1.0),
        ("clear .", "clear .", 1.0),
        ("opacity", "effusion", 0.0),
    ],
)
def test_sentences_against_the_jar(hypothesis: str, reference: str, value: float) -> None:
    assert scores(Meteor(), [hypothesis], [[reference]])["meteor15_es"] == pytest.approx(value, abs=1e-9)
