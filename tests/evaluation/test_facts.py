"""Facts of studies: what `--by` groups, and whether there was an earlier examination."""

from __future__ import annotations

from typing import Any

import pytest

from radwright.errors import ConfigError
from radwright.evaluation.facts import age_band, read_facts, sex
from radwright.types import Study, ViewPosition


def study(name: str, comparison: str | None = None, **extra: Any) -> Study:
    return Study(name, (), sections={} if comparison is None else {"comparison": comparison}, extra=extra)


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("045Y", "40-59"),
        ("006M", "0-17"),
        ("12D", "0-17"),
        (17, "0-17"),
        (18.0, "18-39"),
        ("39", "18-39"),
        ("60 years", "60-79"),
        ("80", "80+"),
        (">89", None),
        ("", None),
        ("unknown", None),
        ("999Y", None),
        (None, None),
    ],
)
def test_age_bands(age: Any, band: str | None) -> None:
    assert age_band(age) == band


def test_sexes() -> None:
    assert [sex(value) for value in ("M", "female", " f ", "Other", "", "?")] == [
        "male",
        "female",
        "female",
        "other",
        None,
        None,
    ]


def with_views(*studies: Study) -> list[tuple[Study, tuple[ViewPosition, ...]]]:
    positions: list[tuple[ViewPosition, ...]] = [("frontal", "lateral"), ("lateral", "frontal"), ("frontal",)]
    return [(one, positions[number % 3]) for number, one in enumerate(studies)]


def test_groups() -> None:
    studies = with_views(
        study("a", sex="F", age="90", site="north"),
        study("b", "none", sex="M", age=5),
        study("c", sex="female", age="?"),
    )
    facts = read_facts(studies, ["view", "sex", "age", "site"], where="here")
    assert facts.groups() == {
        "view": {"frontal + lateral": ["a", "b"], "frontal": ["c"]},
        "sex": {"female": ["a", "c"], "male": ["b"]},
        "age": {"0-17": ["b"], "80+": ["a"], "not stated": ["c"]},
        "site": {"north": ["a"], "not stated": ["b", "c"]},
    }
    assert facts.priors == {"a": None, "b": False, "c": None}


def test_facts_that_nobody_says_or_that_group_nobody() -> None:
    studies = with_views(*(study(f"s{number}", sex="M", visit=number, findings=[]) for number in range(40)))
    with pytest.raises(
        ConfigError, match=r"--by sx: no study of here says it \(did you mean 'sex'\?\).*view, sex, visit"
    ):
        read_facts(studies, ["sx"], where="here")
    with pytest.raises(ConfigError, match="--by findings: no study"):
        read_facts(studies, ["findings"], where="here")
    with pytest.raises(ConfigError, match="--by visit: has 40 different values"):
        read_facts(studies, ["visit"], where="here")
