from __future__ import annotations

import pytest
import torch
from torch import nn
from training_toy import ToyObjective

from radwright.errors import ConfigError
from radwright.training.optim import (
    ClipConfig,
    Ema,
    EmaConfig,
    OptimizerConfig,
    clip_gradients,
    freeze,
    make_optimizer,
    matches,
    parameter_groups,
    set_learning_rate,
)


def test_patterns_cover_what_lies_below_them() -> None:
    assert matches("model.stem.0.weight", "model.stem")
    assert matches("model.stem.0.weight", "*.0.weight")
    assert matches("model.stem.0.weight", "*stem")
    assert not matches("model.stemming.weight", "model.stem")


def test_frozen_parameters_stay_and_unknown_names_are_refused_with_the_near_one() -> None:
    toy = ToyObjective()
    assert freeze(toy, ["stem", "norm.bias"]) == ["stem.weight", "stem.bias", "norm.bias"]
    assert not toy.stem.weight.requires_grad
    assert toy.norm.weight.requires_grad
    names = {name for group in parameter_groups(toy, OptimizerConfig()) for name in group["names"]}
    assert names.isdisjoint({"stem.weight", "stem.bias", "norm.bias"})
    with pytest.raises(ConfigError, match=r"'sten' matches no parameter .*'stem'"):
        freeze(toy, ["sten"])
    with pytest.raises(ConfigError, match="nothing is left"):
        freeze(ToyObjective(), ["*"])


def test_groups_hold_every_parameter_once_with_its_own_rates() -> None:
    toy = ToyObjective()
    config = OptimizerConfig.parse(
        {
            "lr": 1.0,
            "weight_decay": 0.5,
            "decay_only_matrices": True,
            "groups": [{"pattern": "stem", "lr": 0.1}, {"pattern": "*.weight", "weight_decay": 0.25}],
        },
        where="recipe",
    )
    settings = {
        name: (group["label"], group["lr"], group["weight_decay"])
        for group in parameter_groups(toy, config)
        for name in group["names"]
    }
    assert settings["stem.weight"] == ("stem", 0.1, 0.5)
    assert settings["stem.bias"] == ("stem", 0.1, 0.0)
    assert settings["head.weight"] == ("*.weight", 1.0, 0.25)
    assert settings["head.bias"] == ("all", 1.0, 0.0)
    assert settings["norm.weight"] == ("*.weight", 1.0, 0.0)
    assert settings["embedding.weight"] == ("*.weight", 1.0, 0.0)
    held = [p for group in parameter_groups(toy, config) for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in toy.parameters()}
    assert len(held) == len(list(toy.parameters()))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([{"pattern": "haed"}], r"groups.0: 'haed' matches no parameter .*'head'"),
        ([{"pattern": "stem"}, {"pattern": "stem.weight"}], "groups.1: 'stem.weight' is wholly covered"),
    ],
)
def test_groups_that_would_do_nothing_are_refused(groups: list[dict[str, str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parameter_groups(ToyObjective(), OptimizerConfig.parse({"groups": groups}, where="recipe"))


def test_adam_adds_the_decay_to_the_gradient_and_adamw_does_not() -> None:
    moved = {}
    for name in ("adam", "adamw"):
        layer = nn.Linear(1, 1, bias=False)
        nn.init.constant_(layer.weight, 2.0)
        config = OptimizerConfig.parse({"name": name, "lr": 0.1, "weight_decay": 0.5}, where="recipe")
        optimizer = make_optimizer(layer, config)
        layer.weight.grad = torch.full((1, 1), -1e-3)
        optimizer.step()
        moved[name] = layer.weight.item()
    assert moved["adam"] == pytest.approx(1.9)  # the decay turns the gradient round: one full step down
    assert moved["adamw"] == pytest.approx(2.0 * (1 - 0.1 * 0.5) + 0.1)  # shrink, then one full step up


def test_the_schedule_scales_every_groups_own_rate() -> None:
    config = OptimizerConfig.parse({"lr": 1.0, "groups": [{"pattern": "stem", "lr": 0.1}]}, where="recipe")
    optimizer = make_optimizer(ToyObjective(), config)
    set_learning_rate(optimizer, 0.25)
    assert set_learning_rate(optimizer, 0.5) == {"all": 0.5, "stem": 0.05}


def test_clipping_by_norm_and_by_value_returns_the_norm_before() -> None:
    def parameter() -> nn.Parameter:
        weight = nn.Parameter(torch.zeros(2))
        weight.grad = torch.tensor([3.0, -4.0])
        return weight

    by_norm, by_value, as_is = parameter(), parameter(), parameter()
    assert float(clip_gradients([by_norm], ClipConfig(norm=1.0))) == pytest.approx(5.0)
    assert float(clip_gradients([by_value], ClipConfig(value=0.1))) == pytest.approx(5.0)
    assert float(clip_gradients([as_is], None)) == pytest.approx(5.0)
    assert by_norm.grad is not None
    assert by_value.grad is not None
    assert as_is.grad is not None
    assert by_norm.grad.tolist() == pytest.approx([0.6, -0.8], rel=1e-5)
    assert by_value.grad.tolist() == pytest.approx([0.1, -0.1])
    assert as_is.grad.tolist() == [3.0, -4.0]
    with pytest.raises(ConfigError, match="either norm or value"):
        ClipConfig.parse({"norm": 1.0, "value": 1.0}, where="recipe")


def test_ema_follows_its_equation_and_gives_the_weights_back_to_the_bit() -> None:
    layer = nn.Linear(3, 2)
    start = layer.weight.detach().clone()
    ema = Ema(layer, EmaConfig(decay=0.9, warmup=False))
    expected = start.clone()
    for step in range(3):
        with torch.no_grad():
            layer.weight.add_(0.1 * (step + 1))
        ema.update(step)
        expected = 0.9 * expected + 0.1 * layer.weight.detach()
    own = layer.weight.detach().clone()
    with ema.applied():
        torch.testing.assert_close(layer.weight.detach(), expected)
    assert torch.equal(layer.weight.detach(), own)
    with pytest.raises(RuntimeError), ema.applied():
        raise RuntimeError
    assert torch.equal(layer.weight.detach(), own)


def test_ema_warmup_forgets_the_start() -> None:
    layer = nn.Linear(1, 1)
    ema = Ema(layer, EmaConfig(decay=0.999))
    with torch.no_grad():
        layer.weight.fill_(7.0)
    for step in range(60):
        ema.update(step)
    assert float(ema.averages["weight"]) == pytest.approx(7.0, abs=1e-3)
