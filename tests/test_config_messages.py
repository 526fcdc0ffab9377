"""What a config says of values that cannot be used: one line per fault of the user's, none that only follows."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import pytest
from pydantic import model_validator

from radwright.config import Config, read_yaml
from radwright.errors import ConfigError
from radwright.methods.trrg.clue_bank import read_bank


def refusal(text: str, path: Path) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_bank(path)
    return str(caught.value)


def test_a_fault_inside_a_list_does_not_make_the_list_too_short(tmp_path: Path) -> None:
    bank = "diseases: [{name: X, finding: hiatal_herna, present: [a.], absent: [b.], clue: x}]"
    said = refusal(bank, tmp_path / "bank.yaml")
    assert "did you mean 'hiatal_hernia'?" in said
    assert "at least" not in said
    assert "diseases = " not in said


def test_a_list_that_is_too_short_says_how_many_are_needed(tmp_path: Path) -> None:
    assert refusal("diseases: []", tmp_path / "bank.yaml").endswith("diseases = []: at least 1 must be given")
    both = "diseases: [{name: X, present: [], absent: [b.], clue: x}]"
    said = refusal(both, tmp_path / "bank.yaml")
    assert said.endswith("diseases.0.present = []: at least 1 must be given")


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"empty\.yaml: is empty"):
        read_yaml(tmp_path / "empty.yaml")


class Range(Config):
    """Two ends, in order."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low: {self.low} lies above high")
        return self


class Ranges(Config):
    """Several."""

    ranges: tuple[Range, ...]
    """One at least."""
    names: tuple[str, ...] = ()
    """What they are called."""


def refused(config: type[Config], values: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        config.parse(values, where="file.yaml")
    return str(caught.value)


def test_what_a_whole_model_refuses_is_said_without_all_that_was_written() -> None:
    assert refused(Range, {"low": 2, "high": 1}) == "file.yaml: low: 2.0 lies above high"
    inner = refused(Ranges, {"ranges": [{"low": 0, "high": 1}, {"low": 2, "high": 1}]})
    assert inner == "file.yaml: ranges.1: low: 2.0 lies above high"


def test_a_long_value_is_cut_and_a_short_one_is_shown() -> None:
    assert "low = 'two': " in refused(Range, {"low": "two", "high": 1})
    said = refused(Ranges, {"ranges": [], "names": {str(number): "x" * 50 for number in range(50)}})
    assert "names = {'0': 'xxx" in said
    assert "...: " in said
    assert len(said) < 250
