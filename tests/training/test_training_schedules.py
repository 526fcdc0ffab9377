from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.errors import ConfigError
from radwright.training.config import TrainConfig
from radwright.training.schedules import Constant, StepDecay, WarmupCosine, WarmupLinear


def test_warmup_climbs_linearly_and_cosine_ends_at_the_floor() -> None:
    schedule = WarmupCosine(warmup=0.1, floor=0.001)
    factors = [schedule.factor(step, 100) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10] == 1.0
    assert factors[-1] == pytest.approx(0.001)
    halfway = 10 + 89 / 2
    assert 0.5 * (factors[math.floor(halfway)] + factors[math.ceil(halfway)]) == pytest.approx((1 + 0.001) / 2)
    assert factors[10:] == sorted(factors[10:], reverse=True)


def test_linear_decay_is_straight() -> None:
    schedule = WarmupLinear(warmup=0.0, floor=0.2)
    assert [schedule.factor(step, 5) for step in range(5)] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


def test_step_decay_matches_the_released_schedule() -> None:
    # torch's StepLR(50, .1) per epoch, 100 epochs of 7 steps.
    schedule = StepDecay(milestones=(0.5,), gamma=0.1)
    assert [schedule.factor(step, 700) for step in (0, 349, 350, 699)] == pytest.approx([1, 1, 0.1, 0.1])


@given(
    st.sampled_from([Constant(), StepDecay(milestones=(0.3, 0.6)), WarmupCosine(warmup=0.3), WarmupLinear(warmup=0.9)]),
    st.integers(1, 500),
    st.data(),
)
def test_factors_stay_between_zero_and_one(schedule: Constant, total: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, total - 1))
    assert 0 <= schedule.factor(step, total) <= 1


def test_a_recipe_chooses_by_name_and_a_wrong_key_is_refused() -> None:
    config = TrainConfig.parse({"epochs": 1, "schedule": {"name": "warmup_linear", "warmup": 0.5}}, where="recipe.yaml")
    assert config.schedule == WarmupLinear(warmup=0.5)
    with pytest.raises(ConfigError, match="warm_up"):
        TrainConfig.parse({"epochs": 1, "schedule": {"name": "warmup_linear", "warm_up": 0.5}}, where="recipe.yaml")
    with pytest.raises(ConfigError, match="constant"):
        TrainConfig.parse({"epochs": 1, "schedule": {"name": "cosine"}}, where="recipe.yaml")
    with pytest.raises(ConfigError, match="epochs or max_steps"):
        TrainConfig.parse({}, where="recipe.yaml")
    with pytest.raises(ConfigError, match="larger than batch_size"):
        TrainConfig.parse({"epochs": 1, "batch_size": 4, "micro_batch_size": 8}, where="recipe.yaml")


def test_length_and_intervals() -> None:
    config = TrainConfig(epochs=3, max_steps=10, validate_every_epochs=0.5)
    assert config.total_steps(7) == 10
    assert config.total_steps(2) == 6
    assert config.validation_interval(7) == 4
    assert TrainConfig(max_steps=9).total_steps(1) == 9
