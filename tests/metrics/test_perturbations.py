"""Pairs of reports by somebody who had not seen the score: what must cost nothing, and which of two drafts is worse."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from radwright.metrics.finding_score import judge_texts

CASES: list[dict[str, Any]] = tomllib.loads((Path(__file__).parent / "perturbations.toml").read_text(encoding="utf-8"))[
    "case"
]
KINDS = {"harmless": {"draft"}, "worse_than": {"better", "worse"}}


def of_kind(kind: str) -> Any:
    cases = [case for case in CASES if case["kind"] == kind]
    return pytest.mark.parametrize("case", cases, ids=[case["why"] for case in cases])


def test_the_cases_are_well_formed() -> None:
    assert len(CASES) >= 40
    for case in CASES:
        drafts = KINDS[case["kind"]]
        assert set(case) == {"kind", "reference", "why"} | drafts, case
        texts = [case["reference"], *(case[draft] for draft in sorted(drafts))]
        assert len(set(texts)) == len(texts), f"{case['why']}: two texts are the same"


@of_kind("harmless")
def test_harmless_edits_cost_nothing(case: dict[str, Any]) -> None:
    assert judge_texts(case["draft"], case["reference"]).score == pytest.approx(1, abs=1e-12)


@of_kind("worse_than")
def test_the_worse_draft_scores_less(case: dict[str, Any]) -> None:
    better, worse = (judge_texts(case[name], case["reference"]).score for name in ("better", "worse"))
    assert worse < better
