"""The decoding config: strategies are data, and mistakes are named with the near word."""

from __future__ import annotations

from typing import Any

import pytest

from radwright.decoding.choosers import CHOOSERS
from radwright.decoding.config import Beam, DecodingConfig, Greedy, Sampling
from radwright.errors import ConfigError


@pytest.mark.parametrize("strategy", [Greedy(), Beam(num_beams=5, length_penalty=0.6), Sampling(top_p=0.9, seed=2)])
def test_survives_plain_values(strategy: Greedy | Beam | Sampling) -> None:
    config = DecodingConfig(strategy=strategy, max_tokens=80, no_repeat_ngram=3)
    assert DecodingConfig.parse(config.plain(), where="recipe") == config
    assert type(strategy) in CHOOSERS


def test_default_is_the_released_search() -> None:
    assert DecodingConfig().strategy == Beam(num_beams=3, length_penalty=0.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strategy": {"kind": "beam", "num_beam": 3}}, "num_beam'.*did you mean 'num_beams'"),
        ({"strategy": {"kind": "beem"}}, "'greedy', 'beam', 'sampling'"),
        ({"strategy": {"kind": "beam", "num_beams": 0}}, "num_beams = 0: .*greater than or equal to 1"),
        ({"strategy": {"kind": "beam", "num_reports": 4}}, "num_reports .4. is above num_beams .3."),
        ({"strategy": {"kind": "sampling", "temperature": 0}}, "temperature = 0: .*greater than 0"),
        ({"strategy": {"kind": "sampling", "top_p": 1.5}}, "top_p = 1.5"),
        ({"strategy": {"kind": "greedy", "num_beams": 3}}, "unknown key 'strategy.greedy.num_beams'"),
        ({"max_token": 3}, "'max_token'.*did you mean 'max_tokens'"),
        ({"min_tokens": 61}, "min_tokens .61. is above max_tokens .60."),
        ({"max_tokens": 0}, "max_tokens = 0"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DecodingConfig.parse(values, where="recipe")


def test_every_field_is_explained() -> None:
    for config in (DecodingConfig, Greedy, Beam, Sampling):
        for name, field in config.model_fields.items():
            assert field.description, f"{config.__name__}.{name}"
