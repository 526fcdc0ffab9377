"""The clue bank: which diseases are perceived and told to the language model, as a file that users extend."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, field_validator, model_validator

from radwright.config import Config, read_yaml
from radwright.errors import ConfigError
from radwright.findings.signature import check_finding

FALLBACK_THRESHOLD = 0.5
"""Where no threshold was calibrated (the finding never occurs in ``tune``)."""


class Disease(Config):
    """One entry of the bank."""

    name: str = Field(min_length=1)
    """What the clue is called; unique."""
    finding: str | None = None
    """What counts as it in a report, for calibration and scores: one of CheXpert's observations or a concept of the
    ontology. None: it is perceived and told, but nothing can check it."""
    present: tuple[str, ...] = Field(min_length=1)
    """Sentences that say it is there."""
    absent: tuple[str, ...] = Field(min_length=1)
    """Sentences that say it is not there."""
    clue: str = Field(min_length=1)
    """What the language model is told."""
    threshold: float | None = Field(default=None, ge=0, le=1)
    """Probability above which it is a clue; calibrated on ``tune`` and stored in a checkpoint. None: 0.5."""

    @field_validator("finding")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        try:
            return None if value is None else check_finding(value)
        except ConfigError as error:
            raise ValueError(str(error)) from error

    @field_validator("present", "absent")
    @classmethod
    def _said(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(sentence.strip() for sentence in value):
            raise ValueError("an empty sentence says nothing")
        return value


class ClueBank(Config):
    """The diseases, in the order of tables; their order changes no result."""

    diseases: tuple[Disease, ...] = Field(min_length=1)
    """At least one."""

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        names = [disease.name.lower() for disease in self.diseases]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"the disease {twice!r} is in the bank twice")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Of the diseases, in order."""
        return tuple(disease.name for disease in self.diseases)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Of the diseases, in order; 0.5 where none was calibrated."""
        return tuple(FALLBACK_THRESHOLD if d.threshold is None else d.threshold for d in self.diseases)

    def with_thresholds(self, thresholds: Mapping[str, float | None]) -> ClueBank:
        """The same bank with other thresholds, by name; a disease that is not named keeps its own."""
        return ClueBank(
            diseases=tuple(
                disease.model_copy(update={"threshold": thresholds.get(disease.name, disease.threshold)})
                for disease in self.diseases
            )
        )

    def replaced_by(self, other: ClueBank) -> ClueBank:
        """``other``, with this bank's thresholds for diseases that it shares (same name and sentences) and gives none.

        A calibrated threshold belongs to the sentences it was found with.
        """
        own = {disease.name: disease for disease in self.diseases}
        kept = {}
        for disease in other.diseases:
            known = own.get(disease.name)
            same = known is not None and (known.present, known.absent) == (disease.present, disease.absent)
            if known is not None and same and disease.threshold is None:
                kept[disease.name] = known.threshold
        return other.with_thresholds(kept)


def default_bank() -> ClueBank:
    """The 13 pathologies of CheXpert, worded by us (``clue_bank.yaml``)."""
    text = resources.files("radwright.methods.trrg").joinpath("clue_bank.yaml").read_text(encoding="utf-8")
    return ClueBank.parse(yaml.safe_load(text), where="clue_bank.yaml")


def read_bank(path: Path) -> ClueBank:
    """A bank from a YAML file of the same form.

    Raises:
        ConfigError: the file or an entry cannot be used; every problem is named.
    """
    return ClueBank.parse(read_yaml(path), where=str(path))


def bank_of(value: Any) -> Any:
    """A bank as a config may give it: itself, a mapping, the path of a file, or None for the default.

    Raises:
        ValueError: the file cannot be used (for pydantic's validators).
    """
    if value is None:
        return default_bank()
    if isinstance(value, str | Path):
        try:
            return read_bank(Path(value))
        except ConfigError as error:
            raise ValueError(str(error)) from error
    return value
