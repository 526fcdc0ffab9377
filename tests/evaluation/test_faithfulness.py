"""Faithfulness against a slow count by hand; nothing to divide by is no number; order changes nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.errors import ScoringError
from radwright.evaluation.bootstrap import PERCENTILES, draw_counts
from radwright.evaluation.faithfulness import COUNTS, SHARES, Faithfulness, measure_faithfulness
from radwright.evaluation.page import Page, render_page

FINDINGS = {"Effusion": "Pleural Effusion", "Aura": None, "Big heart": "Cardiomegaly", "Collapse": "Pneumothorax"}
CHECKED = ("Effusion", "Big heart", "Collapse")
SENTENCES = {  # disease -> what asserts, denies and leaves it open
    "Effusion": ("There is a small left pleural effusion.", "No pleural effusion.", "Possible pleural effusion."),
    "Big heart": ("There is cardiomegaly.", "No cardiomegaly.", "Possible cardiomegaly."),
    "Collapse": ("There is a right pneumothorax.", "No pneumothorax.", "Possible pneumothorax."),
}
Said = Mapping[str, int]
"""Disease -> 0 asserted, 1 denied, 2 left open; not mentioned where it is missing."""


def text(said: Said) -> str:
    return " ".join(SENTENCES[disease][kind] for disease, kind in said.items()) or "The lungs are clear."


said = st.dictionaries(st.sampled_from(CHECKED), st.sampled_from((0, 1, 2)))
study = st.tuples(st.sets(st.sampled_from(tuple(FINDINGS))), said, said)
studies = st.lists(study, min_size=1, max_size=7)
Studies = list[tuple[set[str], Said, Said]]


def measured(studies: Studies, names: list[str] | None = None, **given: Any) -> Faithfulness:
    names = names or [f"s{number}" for number in range(len(studies))]
    told = {name: dict.fromkeys(clues, 0.7) for name, (clues, _, _) in zip(names, studies, strict=True)}
    drafts = {name: text(draft) for name, (_, draft, _) in zip(names, studies, strict=True)}
    references = {name: text(reference) for name, (_, _, reference) in zip(names, studies, strict=True)}
    return measure_faithfulness(told, drafts, references, FINDINGS, num_resamples=given.pop("num_resamples", 40))


def slow_shares(studies: Studies, diseases: tuple[str, ...], weights: list[float]) -> dict[str, float]:
    """Each share by a walk over all pairs; a study counts ``weights`` times."""
    pairs = [
        (weight, name in clues, draft.get(name), reference.get(name))
        for weight, (clues, draft, reference) in zip(weights, studies, strict=True)
        for name in diseases
    ]

    def share(among: Any, of: Any) -> float:
        below = sum(weight for weight, *pair in pairs if among(*pair))
        above = sum(weight for weight, *pair in pairs if among(*pair) and of(*pair))
        return above / below if below else math.nan

    return {
        "clues_asserted": share(lambda told, d, r: told, lambda told, d, r: d == 0),
        "unclued_assertions": share(lambda told, d, r: d == 0, lambda told, d, r: not told),
        "negation_flips": share(lambda told, d, r: told, lambda told, d, r: d == 1),
        "precision": share(lambda told, d, r: told, lambda told, d, r: r == 0),
        "recall": share(lambda told, d, r: r == 0, lambda told, d, r: told),
    }


@given(studies)
def test_shares_and_intervals_are_those_of_a_plain_count(studies: Studies) -> None:
    found = measured(studies)
    draws = draw_counts(len(studies), num_resamples=40, seed=0)
    for diseases, one in [(CHECKED, found.overall), *(((name,), found.diseases[name]) for name in CHECKED)]:
        expected = slow_shares(studies, diseases, [1.0] * len(studies))
        resampled = [slow_shares(studies, diseases, list(weights)) for weights in draws]
        for name in SHARES:
            interval = one.shares[name]
            assert interval.value == pytest.approx(expected[name], nan_ok=True)
            known = [values[name] for values in resampled if not math.isnan(values[name])]
            if not math.isnan(interval.value) and known:
                assert (interval.low, interval.high) == pytest.approx(tuple(np.percentile(known, PERCENTILES)))
            else:
                assert math.isnan(interval.low)
                assert math.isnan(interval.high)


@given(studies, st.randoms(use_true_random=False))
def test_the_order_of_studies_changes_nothing(studies: Studies, random: Any) -> None:
    names = [f"s{number}" for number in range(len(studies))]
    order = list(range(len(studies)))
    random.shuffle(order)
    mixed = measured([studies[place] for place in order], [names[place] for place in order])
    assert json.dumps(mixed.plain()) == json.dumps(measured(studies, names).plain())


def test_every_share_on_a_case_that_was_counted_by_hand() -> None:
    found = measured(
        [
            ({"Effusion", "Collapse"}, {"Effusion": 0, "Collapse": 1}, {"Effusion": 0}),
            ({"Big heart", "Aura"}, {"Effusion": 0, "Big heart": 2}, {"Big heart": 0, "Collapse": 0}),
            (set(), {"Big heart": 0}, {"Effusion": 1}),
        ]
    )
    assert found.overall.counts == dict(zip(COUNTS, (3, 3, 3, 1, 1, 2), strict=True))
    assert {name: round(share.value, 3) for name, share in found.overall.shares.items()} == {
        "clues_asserted": 0.333,
        "unclued_assertions": 0.667,
        "negation_flips": 0.333,
        "precision": 0.667,
        "recall": 0.667,
    }
    assert found.num_studies == 3
    assert found.unchecked == ("Aura",)
    assert list(found.diseases) == list(CHECKED)
    assert found.diseases["Effusion"].counts["told"] == 1
    assert found.diseases["Effusion"].shares["unclued_assertions"].value == 0.5


def test_without_clues_or_assertions_there_is_no_number() -> None:
    nothing = measured([(set(), {}, {}), ({"Aura"}, {"Effusion": 1}, {"Effusion": 2})])
    assert set(nothing.overall.counts.values()) == {0}
    assert all(math.isnan(share.value) for share in nothing.overall.shares.values())
    plain = json.loads(json.dumps(nothing.plain(), allow_nan=False))
    assert plain["shares"]["recall"] == {"value": None, "low": None, "high": None}
    silent = measured([({"Effusion"}, {}, {"Effusion": 0})]).overall
    assert {name: share.value for name, share in silent.shares.items() if not math.isnan(share.value)} == {
        "clues_asserted": 0.0,
        "negation_flips": 0.0,
        "precision": 1.0,
        "recall": 1.0,
    }
    unled = measured([(set(), {"Effusion": 0}, {})]).overall.shares
    assert unled["unclued_assertions"].value == 1.0
    assert math.isnan(unled["clues_asserted"].value)


def test_a_study_that_lacks_a_text_is_named() -> None:
    with pytest.raises(ScoringError, match="no study"):
        measure_faithfulness({}, {}, {}, FINDINGS)
    with pytest.raises(ScoringError, match=r"'b'.* without a draft"):
        measure_faithfulness({"a": {}, "b": {}}, {"a": ""}, {"a": "", "b": ""}, FINDINGS)
    with pytest.raises(ScoringError, match=r"'a'.* without a reference"):
        measure_faithfulness({"a": {}}, {"a": ""}, {}, FINDINGS)


def test_the_page_shows_what_there_is_and_marks_an_oracle() -> None:
    hostile = "<script>alert(1)</script>"
    names = {"Effusion": "Pleural Effusion", hostile: "Cardiomegaly", "<b>Aura</b>": None}
    found = measure_faithfulness({"a": {"Effusion": 0.9}}, {"a": "No effusion."}, {"a": ""}, names, num_resamples=3)
    scores = {"clues": {"policy": "oracle"}, "faithfulness": found.plain()}
    page = render_page(Page("A page", scores=scores))
    assert "Oracle clues: an upper bound, not a result." in page
    assert "was told 1 clue in 1 study (policy oracle)" in page
    assert "Nothing can check &lt;b&gt;Aura&lt;/b&gt;" in page
    assert hostile not in page
    assert 'href="#clues"' not in page  # one part alone needs no links
    assert 'id="clues"' in page
    plain = render_page(Page("A page", scores={"clues": {"policy": "shuffled"}}))
    assert "upper bound" not in plain
    assert 'id="clues"' not in plain
