"""What moves the weights: frozen names, parameter groups, Adam and AdamW, clipping, exponential moving average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from radwright.config import Config
from radwright.errors import ConfigError, near
from radwright.training.weights import NormOf, gradient_norm

ALGORITHMS: Mapping[str, type[torch.optim.Optimizer]] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
"""adamw decouples the weight decay; adam adds it to the gradient (L2), as the released fine-tuning does."""


class GroupConfig(Config):
    """Parameters with a learning rate or a weight decay of their own."""

    pattern: str
    """Dotted parameter name; ``*`` stands for anything, and everything below a match belongs to it (``model.stem``)."""
    lr: float | None = Field(default=None, ge=0)
    """Peak learning rate of these parameters; None: the optimiser's."""
    weight_decay: float | None = Field(default=None, ge=0)
    """Weight decay of these parameters; None: the optimiser's."""


class OptimizerConfig(Config):
    """Adam or AdamW (Kingma and Ba 2015; Loshchilov and Hutter 2019; AMSGrad: Reddi et al. 2018)."""

    name: Literal["adamw", "adam"] = "adamw"
    """``adamw``: decoupled weight decay; ``adam``: L2."""
    lr: float = Field(default=5e-4, ge=0)
    """Peak learning rate; the schedule multiplies it."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Weight decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the running first and second moment."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""
    amsgrad: bool = False
    """Keep the largest second moment seen (as released: true)."""
    decay_only_matrices: bool = False
    """No weight decay for norms, biases, embeddings and other parameters of fewer than two dimensions."""
    groups: tuple[GroupConfig, ...] = ()
    """Exceptions by name; the first pattern that matches a parameter decides."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), not {self.betas}")
        return self


class ClipConfig(Config):
    """Gradient clipping, by total norm or by value: give one of the two."""

    norm: float | None = Field(default=None, gt=0)
    """Largest L2 norm of all gradients together; larger ones are scaled down."""
    value: float | None = Field(default=None, gt=0)
    """Largest absolute gradient of a single weight (as released: 0.1)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.norm is None) == (self.value is None):
            raise ValueError("give either norm or value, e.g. clip: {norm: 1.0}")
        return self


class EmaConfig(Config):
    """Exponential moving average of the weights; validation and the kept checkpoint use it."""

    decay: float = Field(default=0.999, ge=0, lt=1)
    """Share of the old average kept per optimiser step."""
    warmup: bool = True
    """Start with a shorter memory, min(decay, (1 + step) / (10 + step)), so that short runs do not keep their start."""


def matches(name: str, pattern: str) -> bool:
    """Whether a dotted parameter name is matched by ``pattern`` or lies below what is."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def freeze(module: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Take the parameters that match out of training (``requires_grad = False``); return their names.

    Raises:
        ConfigError: a pattern matches nothing, or nothing would be left to train.
    """
    names = [name for name, _ in module.named_parameters()]
    for pattern in patterns:
        _require_match(pattern, names, where="frozen")
    frozen = []
    for name, parameter in module.named_parameters():
        if any(matches(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)
            frozen.append(name)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ConfigError("every parameter is frozen: nothing is left to train")
    return frozen


def train_mode(module: nn.Module) -> None:
    """Training mode for what is trained; a part whose every weight is frozen stays in evaluation mode.

    Its dropout, drop-path and batch statistics belong to the network it came from: left in training mode it would be
    another network than the one that is used afterwards.
    """
    module.train()
    for part in module.modules():
        weights = list(part.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            part.eval()


def _require_match(pattern: str, names: Sequence[str], *, where: str) -> None:
    if any(matches(name, pattern) for name in names):
        return
    prefixes = {".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 2)}
    raise ConfigError(f"{where}: {pattern!r} matches no parameter{near(pattern, sorted(prefixes))}")


def _undecayed(module: nn.Module) -> set[str]:
    """Names of norms', biases', embeddings' and other parameters of fewer than two dimensions."""
    names = {name for name, parameter in module.named_parameters() if parameter.ndim < 2}
    for path, inner in module.named_modules():
        if isinstance(inner, nn.Embedding):
            names.add(f"{path}.weight" if path else "weight")
    return names


def parameter_groups(
    module: nn.Module, config: OptimizerConfig, parameters: Mapping[str, nn.Parameter] | None = None
) -> list[dict[str, Any]]:
    """The trainable parameters as optimiser groups; each parameter is in exactly one.

    Args:
        module: what they belong to.
        config: the groups.
        parameters: what of them is updated here, by name (``Weights.named``); None: they are.

    Returns:
        Dicts with ``params``, ``names`` (of the parameters, same order), ``label`` (the pattern, or "all"),
        ``peak_lr``, ``lr`` and ``weight_decay``.

    Raises:
        ConfigError: a pattern matches no trainable parameter, or all that it matches are taken by earlier patterns.
    """
    named = dict(module.named_parameters()) if parameters is None else parameters
    trainable = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
    undecayed = _undecayed(module) if config.decay_only_matrices else set()
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for index, group in enumerate(config.groups):
        _require_match(group.pattern, list(trainable), where=f"optimizer.groups.{index}")
    for name, parameter in trainable.items():
        index = next((i for i, group in enumerate(config.groups) if matches(name, group.pattern)), len(config.groups))
        chosen = config.groups[index] if index < len(config.groups) else GroupConfig(pattern="all")
        lr = config.lr if chosen.lr is None else chosen.lr
        decay = config.weight_decay if chosen.weight_decay is None else chosen.weight_decay
        key = (index, name in undecayed)
        if key not in groups:
            groups[key] = {
                "params": [],
                "names": [],
                "label": chosen.pattern,
                "peak_lr": lr,
                "lr": lr,
                "weight_decay": 0.0 if key[1] else decay,
            }
        groups[key]["params"].append(parameter)
        groups[key]["names"].append(name)
    for index, group in enumerate(config.groups):
        if not any(key[0] == index for key in groups):
            raise ConfigError(f"optimizer.groups.{index}: {group.pattern!r} is wholly covered by earlier patterns")
    return [groups[key] for key in sorted(groups, key=lambda key: (-key[0], key[1]))]


def make_optimizer(
    module: nn.Module, config: OptimizerConfig, parameters: Mapping[str, nn.Parameter] | None = None
) -> torch.optim.Optimizer:
    """The optimiser over ``module``'s trainable parameters, grouped by `parameter_groups`, with fused kernels."""
    algorithm = ALGORITHMS[config.name]
    keywords: dict[str, Any] = {"betas": config.betas, "eps": config.eps, "amsgrad": config.amsgrad, "fused": True}
    optimizer = algorithm(parameter_groups(module, config, parameters), **keywords)
    optimizer.register_step_post_hook(_count_change)
    return optimizer


def _count_change(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Let the weights' version counters rise, which fused kernels leave as they are; what was remembered of the old
    weights is known by them to be old."""
    torch.autograd.graph.increment_version([weight for group in optimizer.param_groups for weight in group["params"]])


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> dict[str, float]:
    """Give every group its peak rate times ``factor``; return the rates by label."""
    rates = {}
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
        rates[group["label"]] = group["lr"]
    return rates


def clip_gradients(
    parameters: Sequence[nn.Parameter], config: ClipConfig | None, norm_of: NormOf = gradient_norm
) -> Tensor:
    """Clip in place; return the L2 norm of all gradients before clipping, a scalar on their device.

    A norm that is not finite leaves garbage in the gradients: check it before the optimiser steps.
    """
    norm = norm_of(parameters)
    if config is not None and config.norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, config.norm, norm, foreach=True)
    elif config is not None and config.value is not None:
        nn.utils.clip_grad_value_(parameters, config.value, foreach=True)
    return norm


class Ema:
    """An exponential moving average of a module's trainable parameters; buffers are those of the last step.

    Args:
        module: whose.
        config: how slow.
        parameters: as for `parameter_groups`.
    """

    def __init__(
        self, module: nn.Module, config: EmaConfig, parameters: Mapping[str, nn.Parameter] | None = None
    ) -> None:
        self.config = config
        named = dict(module.named_parameters()) if parameters is None else parameters
        self._parameters = {name: p for name, p in named.items() if p.requires_grad}
        self.averages = {name: p.detach().clone() for name, p in self._parameters.items()}

    def update(self, step: int) -> None:
        """Average in the weights that step ``step`` (0 for the first) left: e <- d e + (1 - d) w."""
        decay = min(self.config.decay, (1 + step) / (10 + step)) if self.config.warmup else self.config.decay
        weights = [parameter.detach() for parameter in self._parameters.values()]
        torch._foreach_lerp_(list(self.averages.values()), weights, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the module holds the averages; afterwards its own weights again, to the bit."""
        # Not through `.data`, which version counters do not see: see `_count_change`.
        weights: list[Tensor] = list(self._parameters.values())
        own = [weight.detach().clone() for weight in weights]
        with torch.no_grad():
            torch._foreach_copy_(weights, list(self.averages.values()))
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(weights, own)

    def load(self, averages: Mapping[str, Tensor]) -> None:
        """Take over saved averages, named as the parameters are."""
        for name, average in self.averages.items():
            average.copy_(averages[name])
