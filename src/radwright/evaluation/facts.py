"""Facts of studies that scores can be split by: views, sex, age, scanner, and whatever else a store's studies carry."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from radwright.errors import ConfigError, near
from radwright.text.sections import names_prior
from radwright.types import Study, ViewPosition

NOT_STATED = "not stated"
"""The group of the studies that do not say the fact."""
MIN_STUDIES = 20
"""A group of fewer studies is too small to say anything."""
MAX_GROUPS = 30
"""More groups than this make no table that anybody reads: such a fact names studies, it does not group them."""
_AGE_BANDS = ((18, "0-17"), (40, "18-39"), (60, "40-59"), (80, "60-79"))
_OLDEST = "80+"
_OLDEST_POSSIBLE = 150
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([dwmy]?)[a-z]*$")
_PER_YEAR = {"d": 365.25, "w": 52.18, "m": 12.0, "y": 1.0, "": 1.0}
_SEXES = {"m": "male", "male": "male", "f": "female", "female": "female", "o": "other", "other": "other"}


def age_band(value: Any) -> str | None:
    """``"45"``, ``45.0`` or DICOM's ``"045Y"``, ``"006M"`` -> its band; None for anything else."""
    match = _AGE.match(str(value).strip().lower())
    if match is None:
        return None
    years = float(match[1]) / _PER_YEAR[match[2]]
    if years > _OLDEST_POSSIBLE:
        return None
    return next((band for end, band in _AGE_BANDS if years < end), _OLDEST)


def sex(value: Any) -> str | None:
    """``M``, ``male``, ``F`` ... in words; None for anything else."""
    return _SEXES.get(str(value).strip().lower())


def _text(value: Any) -> str | None:
    """Any other fact as it stands; None of an empty one, and of what is no single value."""
    if isinstance(value, Mapping | list) or value is None:
        return None
    return " ".join(str(value).split()) or None


_READERS: Mapping[str, Callable[[Any], str | None]] = {"age": age_band, "sex": sex}


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """The facts of some studies.

    Attributes:
        values: fact -> study id -> its group.
        priors: study id -> whether an earlier examination was at hand; None where the study does not say.
    """

    values: Mapping[str, Mapping[str, str]]
    priors: Mapping[str, bool | None]

    def groups(self) -> dict[str, dict[str, list[str]]]:
        """Fact -> group -> ids of its studies; larger groups first, ages in order, studies that say nothing last."""
        return {name: _grouped(name, studies) for name, studies in self.values.items()}


def _grouped(name: str, values: Mapping[str, str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for study_id, group in values.items():
        groups.setdefault(group, []).append(study_id)
    bands = [*(band for _, band in _AGE_BANDS), _OLDEST]

    def place(group: str) -> tuple[bool, float, str]:
        by_age = name == "age" and group in bands
        return group == NOT_STATED, bands.index(group) if by_age else -len(groups[group]), group

    return {group: groups[group] for group in sorted(groups, key=place)}


def read_facts(
    studies: Iterable[tuple[Study, Sequence[ViewPosition]]], names: Sequence[str], *, where: str
) -> StudyFacts:
    """Read the facts that scores are to be split by.

    Args:
        studies: each study (its images are not looked at) with the positions of its views.
        names: ``view``, or keys of ``Study.extra``.
        where: what the studies lie in, for messages.

    Raises:
        ConfigError: a fact that no study says, or one with more than ``MAX_GROUPS`` values.
    """
    values: dict[str, dict[str, str]] = {name: {} for name in names}
    priors: dict[str, bool | None] = {}
    known: dict[str, None] = {"view": None}
    for study, positions in studies:
        priors[study.study_id] = names_prior(study.section("comparison"))
        facts = {"view": " + ".join(sorted(set(positions))) or None} | {
            name: _READERS.get(name, _text)(value) for name, value in study.extra.items()
        }
        known |= dict.fromkeys(name for name, value in facts.items() if value is not None)
        for name in names:
            values[name][study.study_id] = facts.get(name) or NOT_STATED
    for name, groups in values.items():
        _check(name, set(groups.values()), list(known), where)
    return StudyFacts(values, priors)


def _check(name: str, groups: set[str], known: Sequence[str], where: str) -> None:
    if groups == {NOT_STATED}:
        raise ConfigError(
            f"--by {name}: no study of {where} says it{near(name, known)}; they say: {', '.join(known)}. A table's "
            f"column becomes a fact by `radwright prepare --format table --option 'facts={{{name}: COLUMN}}'`"
        )
    if len(groups) > MAX_GROUPS:
        raise ConfigError(
            f"--by {name}: has {len(groups)} different values in {where}, more than {MAX_GROUPS}; it does not group "
            "the studies"
        )
