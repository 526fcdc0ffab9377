"""The robustness card's numbers: paired differences, perception, labels of another source, and how it is told."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radwright.cli.robustness import _cell
from radwright.errors import ConfigError, ScoringError
from radwright.evaluation.bootstrap import Interval
from radwright.evaluation.clue_labels import ClueLabels
from radwright.evaluation.outside import (
    Detection,
    LabelMap,
    OutsideScores,
    Share,
    detect,
    find_label_map,
    score_outside,
    stated_findings,
)
from radwright.evaluation.page.robustness import RobustnessPage, render_robustness_page
from radwright.evaluation.robustness import (
    SHOWN,
    ConditionScores,
    RobustnessCard,
    compare_perception,
    score_drafts,
    share_changed,
)
from radwright.evaluation.robustness_text import card_markdown, card_summary
from radwright.inference.card import put_section
from radwright.metrics.detection import auc

REPORTS = {
    f"s{number}": ("Small left pleural effusion.", "The heart is enlarged.", "The lungs are clear.")[number % 3]
    for number in range(30)
}
NORMAL = dict.fromkeys(REPORTS, "The lungs are clear.")


def test_equal_drafts_differ_by_exactly_0_and_worse_ones_are_called_worse() -> None:
    _, same, _ = score_drafts(REPORTS, REPORTS, REPORTS, {})
    assert set(same) == set(SHOWN)
    assert all((each.value, each.low, each.high) == (0, 0, 0) for each in same.values())
    scores, differences, evaluation = score_drafts(NORMAL, REPORTS, REPORTS, {})
    found = ConditionScores("x", None, "x", "", "", 30, scores, differences)
    assert (
        scores["finding_score"].value + 1e-9
        < 1
        == pytest.approx(scores["finding_score"].value - differences["finding_score"].value)
    )
    assert found.is_worse("finding_score")
    assert found.is_worse("missed")
    assert not found.is_worse("fabricated")
    assert not found.is_worse("nothing")
    assert len(evaluation.study_ids) == 30
    better = ConditionScores("x", None, "x", "", "", 30, *score_drafts(REPORTS, NORMAL, REPORTS, {})[:2])
    assert not any(better.is_worse(name) for name in SHOWN)
    assert share_changed(NORMAL, REPORTS) == pytest.approx(2 / 3)
    assert math.isnan(share_changed(NORMAL, {}))


def test_only_studies_with_both_drafts_are_compared() -> None:
    some = {name: REPORTS[name] for name in ("s0", "s1", "s2", "s3")}
    scores, differences, evaluation = score_drafts(some, NORMAL, REPORTS, {})
    assert set(evaluation.study_ids) == set(some)
    alone, _, _ = score_drafts({name: NORMAL[name] for name in some}, NORMAL, REPORTS, {})
    for name, difference in differences.items():
        assert difference.value == pytest.approx(scores[name].value - alone[name].value)


def labels(of: np.ndarray[Any, Any]) -> ClueLabels:
    names = ("a", "b", "rare")
    of_study = {f"s{row}": dict(zip(names, map(int, values), strict=True)) for row, values in enumerate(of)}
    return ClueLabels(of_study, {"unknown": "no finding"}, {}, "test")


def test_perception_is_the_mean_auc_and_its_difference_is_paired() -> None:
    random = np.random.default_rng(0)
    truth = random.random((60, 3)) < (0.5, 0.4, 0.02)
    truth[0] = (True, False, False)
    values = truth.astype(int)
    values[5, 0] = -1
    clean = {f"s{row}": np.append(0.4 * truth[row] + random.random(3), 0.0) for row in range(60)}
    worse = {name: row + 0.5 * random.random(4) for name, row in clean.items()}
    names = ("a", "b", "rare", "unknown")
    found = compare_perception(worse, clean, labels(values), names)
    assert found is not None
    value, difference = found

    def mean(rows: dict[str, Any]) -> float:
        table = np.stack([rows[f"s{row}"] for row in range(60)])
        return float(
            np.mean([auc(table[known, k], truth[known, k])[0] for k in (0, 1) for known in [values[:, k] >= 0]])
        )

    assert value.value == pytest.approx(mean(worse))
    assert difference.value == pytest.approx(mean(worse) - mean(clean))
    assert difference.low < difference.value < difference.high
    assert difference.high - difference.low < value.high - value.low
    same = compare_perception(clean, clean, labels(values), names)
    assert same is not None
    assert same[1] == Interval(0, 0, 0)
    assert compare_perception(worse, {}, labels(values), names) is None
    assert compare_perception(worse, clean, labels(values), names, min_positives=50) is None


# --- another source ---


def test_the_built_in_map_is_one() -> None:
    found = find_label_map("covid-chestxray")
    assert found.fact == "finding"
    everything = {label for each in found.findings.values() for label in (*each.present, *each.absent)}
    for name, each in found.findings.items():
        assert not set(each.present) & set(each.absent), name
    assert set(found.findings["lung_opacity"].present) | {"No Finding"} == everything
    assert set(found.findings["No Finding"].absent) | {"No Finding"} == everything


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[mine]\nfact = 'x'\n", "findings"),
        ("[mine]\nfact = 'x'\n[mine.findings.oedemaa]\npresent = ['a']\n", "unknown finding 'oedemaa'"),
        ("[mine]\nfact = 'x'\n[mine.findings.edema]\npresent = ['a']\nabsent = ['a']\n", "both present and absent"),
        ("[mine]\nfact = 'x'\n[mine.findings.edema]\npressent = ['a']\n", "did you mean 'present'"),
        ("[mine", "cannot be read as TOML"),
        ("[mime]\nfact = 'x'\n", "did you mean 'mime'"),
        (b"\xff", "cannot be read as TOML"),
    ],
)
def test_maps_that_cannot_be_used(content: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=message):
        find_label_map("mine", path)
    with pytest.raises(ConfigError, match=r"gone\.toml"):
        find_label_map("mine", tmp_path / "gone.toml")


def test_a_share_counts_studies_and_its_interval_counts_patients() -> None:
    few = Share.of([True] * 4, ["a", "b", "c", "d"])
    assert few.value.value == few.value.high == 1
    assert 0.4 < few.value.low < 0.6  # Wilson: 4 / (4 + z^2)
    assert few.value.low == pytest.approx(4 / (4 + 1.96**2), abs=1e-3)
    alike = Share.of([True] * 4, ["a", "a", "b", "b"])
    assert alike.value.low < few.value.low
    assert (alike.num_studies, alike.num_patients) == (4, 2)
    assert math.isnan(Share.of([], []).value.value)
    half = Share.of([True, False] * 200, [str(number) for number in range(400)]).value
    assert (half.low, half.high) == pytest.approx((0.451, 0.549), abs=1e-3)


MAP = LabelMap.parse(
    {
        "fact": "finding",
        "findings": {
            "lung_opacity": {"present": ["sick"], "absent": ["well"]},
            "No Finding": {"present": ["well"], "absent": ["sick"]},
        },
    },
    where="test",
)
DRAFTS = {
    "a": "There is a right consolidation.",
    "b": "The lungs are clear.",
    "c": "Possible pneumonia.",
    "d": "The heart is normal. No pleural effusion.",
    "e": "Left lower lobe opacity.",
    "f": "The lungs are clear.",
}
LABELS = {"a": "sick", "b": "sick", "c": "sick", "d": "well", "e": "well", "f": "odd"}


def outside() -> OutsideScores:
    home = detect(REPORTS, stated_findings(REPORTS, list(MAP.findings)), {})
    return score_outside(DRAFTS, LABELS, MAP, {"a": "p", "b": "p"}, data="a set", at_home=home, skipped={"g": "gone"})


def test_what_drafts_assert_is_held_against_labels() -> None:
    found = outside()
    opacity, normal = found.findings["lung_opacity"], found.findings["No Finding"]
    assert (opacity.sensitivity.value.value, opacity.sensitivity.num_studies) == (pytest.approx(1 / 3), 3)
    assert opacity.sensitivity.num_patients == 2
    assert (opacity.specificity.value.value, opacity.specificity.num_studies) == (0.5, 2)
    assert normal.sensitivity.value.value == 0.5
    assert normal.specificity.value.value == pytest.approx(2 / 3)
    assert found.labels["well"]["lung_opacity"].value.value == 0.5
    assert list(found.labels) == ["sick", "well"]
    assert found.unknown == {"odd": 1}
    assert found.at_home["No Finding"].sensitivity.value.value == 1
    assert found.at_home["lung_opacity"].sensitivity.num_studies == 0
    json.dumps(found.plain(), allow_nan=False)


def test_labels_that_the_map_does_not_know_are_refused() -> None:
    with pytest.raises(ScoringError, match="labels there are: 'odd'"):
        score_outside({"f": "x"}, {"f": "odd"}, MAP, {}, data="a set", at_home={}, skipped={})
    with pytest.raises(ScoringError, match="labels there are: none"):
        score_outside({"f": "x"}, {}, MAP, {}, data="a set", at_home={}, skipped={})


def test_what_a_report_leaves_open_is_neither() -> None:
    truth = stated_findings({"a": "Possible pneumonia.", "b": "No pneumonia.", "c": "Pneumonia."}, ["pneumonia"])
    assert truth == {"pneumonia": {"a": -1, "b": 0, "c": 1}}
    found = detect({"a": "Pneumonia.", "b": "Pneumonia.", "c": ""}, truth, {})["pneumonia"]
    assert isinstance(found, Detection)
    assert (found.sensitivity.num_studies, found.specificity.num_studies) == (1, 1)
    assert (found.sensitivity.value.value, found.specificity.value.value) == (0, 0)


# --- how it is told ---


def card() -> RobustnessCard:
    clean = ConditionScores(
        "clean", None, "clean", "as they are", "", 30, score_drafts(REPORTS, REPORTS, REPORTS, {})[0]
    )
    scores, differences, _ = score_drafts(NORMAL, REPORTS, REPORTS, {})
    conditions = [
        ConditionScores("blur", 0.01, "blur=0.01", "motion", "sigma", 30, clean.scores, differences_of(REPORTS), 0.0),
        ConditionScores("blur", 0.02, "blur=0.02", "motion", "sigma", 30, scores, differences, 2 / 3, 1),
        ConditionScores("swapped_views", None, "swapped_views", "swapped", why_not="no study can be so"),
    ]
    return RobustnessCard("<run>", "split 'val' of x, 30 studies", clean, conditions, outside(), {}, ["a | note"])


def differences_of(drafts: dict[str, str]) -> dict[str, Interval]:
    return score_drafts(drafts, REPORTS, REPORTS, {})[1]


def test_the_card_names_its_worst_condition_and_marks_what_is_worse() -> None:
    made = card()
    assert made.worst is not None
    assert made.worst.key == "blur=0.02"
    text = card_markdown(made)
    [weak], [strong] = (
        [line for line in text.splitlines() if line.startswith(f"| {key} |")] for key in ("blur=0.01", "blur=0.02")
    )
    assert "**" not in weak
    assert strong.count("**") >= 4
    assert strong.endswith("| 67% |")
    assert "| swapped_views | 0 | – |" in text
    assert (
        len({line.count("|") for line in text.splitlines() if line.startswith("| clean") or "blur=" in line[:9]}) == 1
    )
    summary = card_summary(made)
    assert "- blur=0.02 (motion): -" in summary
    assert "blur=0.01" not in summary
    assert "lung opacity: sensitivity 0.33" in summary
    json.dumps(made.plain(), allow_nan=False)


def test_the_page_shows_every_condition_and_escapes_what_it_is_given() -> None:
    page = render_robustness_page(RobustnessPage(card()))
    assert "<run>" not in page
    assert "blur=0.02" in page
    assert "no study can be so" in page
    assert page.count('class="dot"') == 1
    # The interval that is drawn is the one that a dot is filled by: it crosses the line of no difference, or not.
    plot = page[page.index("<svg") : page.index("</svg>")]
    [line] = re.findall(r'y1="([\d.]+)"[^>]*class="kept"', plot)
    bars = re.findall(r'y1="([\d.]+)" y2="([\d.]+)" class="range"', plot)
    dots = re.findall(r'class="(dot(?: open)?)"', plot)
    assert len(bars) == len(dots) == 3
    for (low, high), dot in zip(bars, dots, strict=True):
        below = min(float(low), float(high)) > float(line)  # y grows downwards
        assert (dot == "dot") == below
    assert "lung opacity" in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_terminal_shows_the_difference_and_stars_it() -> None:
    made = card()
    weak, strong = (_cell(each, "finding_score").splitlines() for each in made.conditions[:2])
    assert [float(strong[0]), float(strong[1].rstrip("*"))] == pytest.approx(
        [
            each.value
            for each in (made.conditions[1].scores["finding_score"], made.conditions[1].differences["finding_score"])
        ],
        abs=1e-3,
    )
    assert ["*" in line for line in strong] == [False, True, False]
    assert not any("*" in line for line in weak)


def test_a_section_of_a_model_card_is_replaced_and_the_others_stay() -> None:
    whole = "# Card\n\n## Scores\n\n- x\n\n## Robustness\n\nold\n\n### more\n\nold\n\n## Limits\n\n- y\n"
    once = put_section(whole, "Robustness", "new\n")
    assert "old" not in once
    assert once.startswith("# Card\n\n## Scores\n\n- x\n")
    assert "## Limits\n\n- y\n" in once
    assert once.endswith("## Robustness\n\nnew\n")
    assert put_section(once, "Robustness", "new") == once
    assert put_section("", "Robustness", "new").startswith("# Model card\n")
