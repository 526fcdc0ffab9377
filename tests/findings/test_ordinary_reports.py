"""Whole reports in ordinary words: labels, and the side of the finding that decides each."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from radwright.findings import read_report
from radwright.findings.labels import chexpert_evidence, chexpert_labels

CASES: list[dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "ordinary_reports.toml").read_text(encoding="utf-8")
)["case"]
SIDES = {"left": {"left"}, "right": {"right"}, "both": {"left", "right"}}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:40])
def test_ordinary_report(case: dict[str, Any]) -> None:
    read = read_report(case["text"])
    labels, evidence = chexpert_labels(read), chexpert_evidence(read)
    expected = {name: None if label == "none" else label for name, label in case["labels"].items()}
    assert {name: labels[name] for name in expected} == expected
    assert {name: evidence[name].sides for name in case["sides"]} == {n: SIDES[s] for n, s in case["sides"].items()}


def test_the_reports_assert_enough_to_be_a_test() -> None:
    asserted = [name for case in CASES for name, label in case["labels"].items() if label == 1]
    assert len(CASES) == 100
    assert len(asserted) > 100
