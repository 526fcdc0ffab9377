"""First weights of a stage: from an earlier stage or checkpoint, by name, with an account of what came over."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from radwright.errors import CheckpointError
from radwright.inference.parts import outside_weights, stored_weights
from radwright.nn.folder import parts
from radwright.text.tokenizers import load_tokenizer
from radwright.types import Tokenizer

WEIGHTS = "model.safetensors"
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


@dataclass(frozen=True, slots=True)
class Account:
    """What became of every weight; names are sorted.

    Attributes:
        source: directory that the weights came from.
        loaded: names that both networks have, now with the source's values.
        new: names that only the new network has, newly initialised or as in their base's folder.
        unused: names that only the source has.
    """

    source: Path
    loaded: tuple[str, ...]
    new: tuple[str, ...]
    unused: tuple[str, ...]

    def plain(self) -> dict[str, object]:
        """As JSON-able values."""
        return {"source": str(self.source), "loaded": self.loaded, "new": self.new, "unused": self.unused}

    def lines(self) -> list[str]:
        """For people: one line per kind, weights counted by the part of the network that they belong to."""
        kinds = {"loaded": self.loaded, "new": self.new, "unused": self.unused}
        return [f"from {self.source}:"] + [
            f"  {len(names)} {kind}" + (f": {', '.join(modules(names))}" if names else "")
            for kind, names in kinds.items()
        ]


def modules(names: Iterable[str]) -> list[str]:
    """The parts of a network that names belong to, with how many each holds: ``encoder (48)``."""
    counts = Counter(name.partition(".")[0] for name in names)
    return [f"{part} ({count})" for part, count in counts.items()]


def hand_over(model: nn.Module, source: Path, *, called: str) -> Account:
    """Give ``model`` the weights of the checkpoint directory ``source`` whose names it has too.

    Weights that a base's folder holds are no part of it on either side. A network that has a method ``take_over(values,
    scores)`` is then told the source's model config and its scores, each empty where the source does not say.

    Args:
        model: the new network.
        source: a checkpoint directory.
        called: how the recipe names the source, for messages.

    Raises:
        CheckpointError: no weights there; a weight with another shape; stacks of another depth (corrected: the released
            code loads three layers into six without a word); not one weight in common; a part that this stage keeps as
            in its folder was trained in the source; or the source was trained on another base.
    """
    path = source / WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"init_from {called!r}: {path} does not exist")
    try:
        given = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"init_from {called!r}: {path} cannot be read: {error}") from error
    _refuse_other_bases(model, _mapping(source / "provenance.json", "bases"), called)
    _refuse_trained_bases(outside_weights(model), given, called)
    own = stored_weights(model)
    shared = own.keys() & given.keys()
    if not shared:
        raise CheckpointError(f"init_from {called!r}: {path} has not one weight by a name of this network")
    _refuse_other_shapes({name: own[name] for name in shared}, given, called)
    _refuse_other_depths(own.keys(), given.keys(), called)
    model.load_state_dict({name: given[name] for name in shared}, strict=False)
    take_over: Any = getattr(model, "take_over", None)
    if take_over is not None:
        take_over(_mapping(source / "config.json", "model"), _mapping(source / "provenance.json", "scores"))
    order = list(own)
    return Account(
        source,
        tuple(name for name in order if name in shared),
        tuple(name for name in order if name not in shared),
        tuple(sorted(given.keys() - own.keys())),
    )


def require_same_words(tokenizer: Tokenizer, source: Path, *, called: str) -> None:
    """Two vocabularies of one size would load without a word, and every word would mean another.

    Raises:
        CheckpointError: the checkpoint has no tokenizer, or another one.
    """
    if load_tokenizer(source / "tokenizer") != tokenizer:
        raise CheckpointError(
            f"init_from {called!r}: was trained with another vocabulary; take that over: vocabulary.checkpoint={called}"
        )


def _mapping(path: Path, key: str) -> dict[str, Any]:
    """A mapping in one of a checkpoint's JSON files; empty where there is none."""
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    found = values.get(key) if isinstance(values, dict) else None
    return found if isinstance(found, dict) else {}


def _refuse_other_bases(model: nn.Module, bases: Mapping[str, Any], called: str) -> None:
    """What was trained beside one base means nothing beside another."""
    for name, part in parts(model):
        there = bases.get(name, {}).get("identity")
        if there and part.identity and part.identity != there:
            raise CheckpointError(
                f"init_from {called!r}: was trained with {name} on the base {there}, and the recipe's folder "
                f"{part.part_config.directory} holds the base {part.identity}; give the folder that it was trained on"
            )


def _refuse_trained_bases(outside: Mapping[str, str], given: Iterable[str], called: str) -> None:
    trained = sorted({outside[name] for name in given if name in outside})
    if trained:
        part = trained[0]
        raise CheckpointError(
            f"init_from {called!r}: the stage keeps {part} as in its folder, and {called!r} changed it; say "
            f"tuning: full for {part} in the recipe, and freeze it there (train.frozen) if it is to stay as it came"
        )


def _refuse_other_shapes(own: Mapping[str, Tensor], given: Mapping[str, Tensor], called: str) -> None:
    wrong = sorted(name for name in own if own[name].shape != given[name].shape)
    if wrong:
        listed = "; ".join(
            f"{name} is {tuple(given[name].shape)} there, {tuple(own[name].shape)} here" for name in wrong[:3]
        )
        raise CheckpointError(
            f"init_from {called!r}: {len(wrong)} weights have another shape, e.g. {listed}. Both need one width, one "
            "image size and one vocabulary (vocabulary.checkpoint takes over the earlier one's)"
        )


def _refuse_other_depths(own: Iterable[str], given: Iterable[str], called: str) -> None:
    """A layer that one side has and the other lacks, while they share the stack and the layer's kind of weights."""
    here, there = _layers(own), _layers(given)
    for stack in here.keys() & there.keys():
        if here[stack] != there[stack]:
            raise CheckpointError(
                f"init_from {called!r}: {stack} has {len(there[stack])} layers there, {len(here[stack])} here; "
                "give both stages one depth"
            )


def _layers(names: Iterable[str]) -> dict[str, set[str]]:
    """Stack of layers -> numbers of the layers in it."""
    layers: dict[str, set[str]] = {}
    for name in names:
        if match := _NUMBER.search(name):
            layers.setdefault(name[: match.start() - 1], set()).add(match.group())
    return layers
