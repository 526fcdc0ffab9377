"""Exact resume: one file that always holds a complete state, without a pickle in it.

A state is a safetensors file (weights, buffers, averages, optimiser moments, all by parameter name) whose metadata
hold the rest as JSON. It is written beside the old one, flushed to disk and renamed over it: a kill at any moment
leaves the old state or the new one. Random generators are not saved: draws are keyed by (seed, step, micro-batch).
Nor are weights that stay as they are in a base's folder (``FolderPart.outside_names``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from radwright.data.files import sync, why_not_written
from radwright.errors import CheckpointError, OutputError
from radwright.inference.parts import outside_weights
from radwright.training.optim import Ema
from radwright.training.weights import Weights, WholeWeights

FORMAT = "radwright.training_state/1"


@dataclass(slots=True)
class Window:
    """Sums since the last logged line."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    num_studies: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Progress:
    """Everything a run remembers besides tensors.

    Attributes:
        step: optimiser steps done.
        num_studies: studies seen, with repeats.
        elapsed_s: wall-clock seconds over all resumes.
        validated_step: the last step that was validated; -1 before the first.
        best_score: of the kept weights; None before the first validation.
        best_step: the step of the kept weights.
        stale_validations: validations in a row that were not better.
        stopped: why the run ended; empty while it runs.
        window: sums of the current logging window.
        hooks: what each hook wants to know after a resume.
    """

    step: int = 0
    num_studies: int = 0
    elapsed_s: float = 0.0
    validated_step: int = -1
    best_score: float | None = None
    best_step: int = -1
    stale_validations: int = 0
    stopped: str = ""
    window: Window = field(default_factory=Window)
    hooks: dict[str, dict[str, Any]] = field(default_factory=dict)


def save_state(
    path: Path,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: Ema | None,
    progress: Progress,
    fingerprint: Mapping[str, Any],
    weights: Weights | None = None,
    *,
    write: bool = True,
) -> None:
    """Write a complete state to ``path``, replacing the one there only when the new one is safely on disk.

    What is shared out over processes is put together first, by all of them; one writes.

    Raises:
        OutputError: it cannot be written (disk full, read-only); the old state is untouched.
    """
    weights = weights or WholeWeights(objective)
    tensors: dict[str, Tensor] = {}
    with weights.whole():
        outside = outside_weights(objective)
        own = {name: value for name, value in objective.state_dict().items() if name not in outside}
        tensors |= {f"objective/{name}": value for name, value in own.items()} if write else {}
    averages = {} if ema is None else ema.averages
    for path_in_file, name, share in (
        *((f"optimizer/{name}/{key}", name, value) for name, key, value in _moments(optimizer)),
        *((f"ema/{name}", name, value) for name, value in averages.items()),
    ):
        value = weights.gather(name, share)
        if write:
            tensors[path_in_file] = value
    if not write:
        return
    metadata = {
        "format": FORMAT,
        "progress": json.dumps(asdict(progress)),
        "fingerprint": json.dumps(fingerprint),
    }
    partial = path.with_name(path.name + ".partial")
    try:
        save_file(_unshared(tensors), partial, metadata=metadata)
        sync(partial)
        os.replace(partial, path)
        sync(path.parent)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"{path}: the training state cannot be written: {why_not_written(error)}") from error


def load_state(path: Path) -> tuple[Progress, dict[str, Any], dict[str, Tensor]]:
    """Read a state: progress, fingerprint, tensors by ``part/name``.

    Raises:
        CheckpointError: the file is missing, damaged, or no training state.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as a training state: {error}") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: is no training state of this version ({FORMAT})")
    values = json.loads(metadata["progress"])
    progress = Progress(**{**values, "window": Window(**values["window"])})
    return progress, json.loads(metadata["fingerprint"]), tensors


def restore(
    tensors: Mapping[str, Tensor],
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: Ema | None,
    weights: Weights | None = None,
) -> None:
    """Put a state's tensors back; what a base's folder holds may be missing, and stays as it was read from there.

    Raises:
        CheckpointError: the objective's names or shapes are not those of the state.
    """
    weights = weights or WholeWeights(objective)
    parts: dict[str, dict[str, Tensor]] = {"objective": {}, "optimizer": {}, "ema": {}}
    for path, tensor in tensors.items():
        part, _, name = path.partition("/")
        parts[part][name] = tensor
    try:
        found = objective.load_state_dict(weights.placed(parts["objective"]), strict=False)
        with weights.whole():
            missing = sorted(set(found.missing_keys) - outside_weights(objective).keys())
        wrong = {"lacks": missing, "holds besides": found.unexpected_keys}
        if told := "; ".join(f"it {verb} {', '.join(names)}" for verb, names in wrong.items() if names):
            raise RuntimeError(told)
    except RuntimeError as error:
        raise CheckpointError(f"the saved state does not fit this model: {error}") from error
    states: dict[int, dict[str, Tensor]] = {}
    names = [name for group in optimizer.param_groups for name in group["names"]]
    numbers = {name: number for number, name in enumerate(names)}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for path, tensor in parts["optimizer"].items():
        name, _, key = path.rpartition("/")
        number = numbers[name]
        tensor = tensor if key == "step" else weights.cut(name, tensor)
        same = tensor.shape == parameters[number].shape
        # A fused optimiser walks through memory: a moment must lie as its parameter does (channels last, say).
        place = torch.empty_like(parameters[number], dtype=tensor.dtype) if same else torch.empty_like(tensor)
        states.setdefault(number, {})[key] = place.copy_(tensor)
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    if ema is not None:
        ema.load({name: weights.cut(name, tensor) for name, tensor in parts["ema"].items()})


def changed_keys(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """``key: old -> new`` for every dotted key in which two nested mappings differ; values as JSON would keep them."""
    absent = object()
    old, new = dict(_flatten(json.loads(json.dumps(then)))), dict(_flatten(json.loads(json.dumps(now))))
    lines = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key, absent), new.get(key, absent)
        if before is absent or after is absent or before != after:
            shown = ["absent" if value is absent else repr(value) for value in (before, after)]
            lines.append(f"{key}: {shown[0]} -> {shown[1]}")
    return lines


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for number, inner in enumerate(value):
            yield from _flatten(inner, f"{prefix}.{number}")
    else:
        yield prefix, value


def _moments(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, str, Tensor]]:
    """(parameter name, key, tensor) of everything the optimiser remembers."""
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            for key, value in optimizer.state.get(parameter, {}).items():
                yield name, key, value


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors of which no two share memory (tied weights are stored under each of their names)."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        own = tensor.detach().contiguous()
        memory = own.untyped_storage().data_ptr()
        result[name] = own.clone() if memory in seen else own
        seen.add(memory)
    return result
