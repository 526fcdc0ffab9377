"""How often things are there, and how strongly a confounder goes along with its cause, per split."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from radwright.data.phantom import KINDS, PhantomConfig, draw_elements
from radwright.data.phantom.settings import PREVALENCE
from radwright.errors import ConfigError
from radwright.types import Split

NUM = 2500


def presence(config: PhantomConfig, split: Split, names: list[str], num: int = NUM) -> np.ndarray:
    """(names, num) of bool."""
    drawn = [draw_elements(config, split, index) for index in range(num)]
    return np.array([[elements[name] for elements in drawn] for name in names])


def knob(rho: float, **fields: Any) -> PhantomConfig:
    return PhantomConfig.parse({"confounders": [{"rho": {"train": rho, "test": -rho}, **fields}]}, where="test")


def error(rate: float, num: int = NUM) -> float:
    """Four standard deviations of a rate's estimate."""
    return 4 * float(np.sqrt(rate * (1 - rate) / num)) + 1e-9


def test_prevalence_is_kept_and_findings_are_independent() -> None:
    config = PhantomConfig(prevalence={"nodule": 0.5, "fracture": 0.0, "edema": 1.0})
    rows = presence(config, "train", list(KINDS))
    for kind, row in zip(KINDS, rows, strict=True):
        rate = {**PREVALENCE, "nodule": 0.5, "fracture": 0.0, "edema": 1.0}[kind]
        assert abs(row.mean() - rate) <= error(rate), kind
    varied = [row for row in rows if 0 < row.mean() < 1]
    for one, other in pairwise(varied):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(NUM)


@pytest.mark.parametrize("rho", [0.0, 0.4, 0.8])
@pytest.mark.parametrize(
    ("fields", "element"),
    [
        ({"kind": "device", "name": "pacemaker", "cause": "cardiomegaly"}, "pacemaker"),
        ({"kind": "marker", "name": "P", "cause": "effusion"}, "marker:P"),
        ({"kind": "phrase", "name": "portable", "cause": "edema"}, "phrase:portable"),
    ],
)
def test_rho_is_the_correlation_and_rates_are_kept(rho: float, fields: dict[str, str], element: str) -> None:
    rate = PREVALENCE[fields["cause"]]
    cause, effect = presence(knob(rho, **fields), "train", [fields["cause"], element])
    assert abs(cause.mean() - rate) <= error(rate)
    assert abs(effect.mean() - rate) <= error(rate)
    assert abs(np.corrcoef(cause, effect)[0, 1] - rho) < 0.07
    # The test split is reversed, at the same rates; val is not named, so independent.
    cause, effect = presence(knob(rho, **fields), "test", [fields["cause"], element])
    assert abs(effect.mean() - rate) <= error(rate)
    expected = rate * (1 - rho)
    assert abs(effect[cause].mean() - expected) <= error(expected, int(cause.sum())) + 0.01
    cause, effect = presence(knob(rho, **fields), "val", [fields["cause"], element])
    assert abs(np.corrcoef(cause, effect)[0, 1]) < 0.07


def test_rho_of_one_is_always_together_and_of_minus_one_never() -> None:
    config = knob(1.0, kind="device", name="chest_tube", cause="pneumothorax")
    cause, effect = presence(config, "train", ["pneumothorax", "chest_tube"], 1500)
    assert np.array_equal(cause, effect)
    assert 0 < cause.sum() < 1500
    cause, effect = presence(config, "test", ["pneumothorax", "chest_tube"], 1500)
    assert not (cause & effect).any()
    assert effect.any()


@pytest.mark.parametrize("rate", [0.1, 0.6, 0.9])
@pytest.mark.parametrize("rho", [1.0, 0.5, -0.5, -1.0])
def test_a_rate_of_its_own_is_kept_for_every_rho(rate: float, rho: float) -> None:
    config = knob(rho, kind="marker", name="X", cause="effusion", rate=rate)
    cause, effect = presence(config, "train", ["effusion", "marker:X"], 2500)
    assert abs(effect.mean() - rate) <= error(rate, 2500)
    p = PREVALENCE["effusion"]
    if rho == 1 and rate >= p:
        assert effect[cause].all()
    if rho == -1 and rate <= 1 - p:
        assert not effect[cause].any()


def test_confounder_moves_nothing_else() -> None:
    plain, tied = PhantomConfig(), knob(1.0, kind="device", name="pacemaker", cause="effusion")
    for index in range(200):
        one, other = draw_elements(plain, "train", index), draw_elements(tied, "train", index)
        assert {**one, "pacemaker": None} == {**other, "pacemaker": None}


def test_do_leaves_the_effect_where_the_cause_would_have_put_it() -> None:
    config = knob(1.0, kind="device", name="pacemaker", cause="effusion")
    for index in range(50):
        natural = draw_elements(config, "train", index)
        forced = draw_elements(config, "train", index, {"effusion": not natural["effusion"]})
        assert forced == {**natural, "effusion": not natural["effusion"]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prevalence": {"efusion": 0.1}}, "did you mean 'effusion'"),
        ({"prevalence": {"effusion": 1.5}}, r"prevalence\.effusion = 1\.5"),
        ({"markers": {"Q": 0.5}}, "unknown 'Q'; known: L"),
        ({"num_studies": {"train": -1}}, "cannot be negative"),
        ({"num_studies": {"training": 5}}, "num_studies"),
        ({"sizepx": 64}, "unknown key 'sizepx'.*did you mean 'size_px'"),
        ({"size_px": 8}, "size_px = 8"),
        ({"confounders": [{"kind": "device", "name": "pacer", "cause": "effusion"}]}, "did you mean 'pacemaker'"),
        ({"confounders": [{"kind": "marker", "name": "L", "cause": "flu"}]}, "no finding 'flu'"),
        (
            {"confounders": [{"kind": "marker", "name": "L", "cause": "edema", "rho": {"train": 2}}]},
            "rho of train is 2",
        ),
        ({"confounders": [{"kind": "device", "name": "pacemaker", "cause": "pacemaker"}]}, "along with itself"),
        (
            {
                "confounders": [
                    {"kind": "device", "name": "pacemaker", "cause": "edema"},
                    {"kind": "device", "name": "pacemaker", "cause": "nodule"},
                ]
            },
            "two causes",
        ),
        (
            {
                "confounders": [
                    {"kind": "device", "name": "pacemaker", "cause": "edema"},
                    {"kind": "marker", "name": "L", "cause": "pacemaker"},
                ]
            },
            "itself an effect",
        ),
    ],
)
def test_bad_configs_say_what_is_wrong(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PhantomConfig.parse(values, where="phantom.yaml")


def test_config_survives_yaml() -> None:
    config = knob(0.5, kind="phrase", name="fall", cause="fracture")
    assert PhantomConfig.parse(config.plain(), where="again") == config
