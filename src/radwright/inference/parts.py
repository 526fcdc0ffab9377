"""What of a network a checkpoint holds when parts of it come out of folders: whose weights, which folders inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from radwright.errors import CheckpointError, OutputError
from radwright.nn.folder import parts

INSIDE = "./"
"""A ``directory`` in a checkpoint's config that begins so lies in the checkpoint."""
NOWHERE: tuple[Any, ...] = ()


def stored_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights that a checkpoint holds, by name, in the network's order.

    Left out are those that a base's folder holds (``FolderPart.outside_names``) and further names of one weight
    (tied weights are stored once, under their first name).
    """
    outside = outside_weights(model)
    seen = set()
    stored = {}
    for name, weight in model.state_dict(keep_vars=True).items():
        place = _place(weight)
        if name not in outside and (place == NOWHERE or place not in seen):
            stored[name] = weight.detach()
            seen.add(place)
    return stored


def outside_weights(model: nn.Module) -> dict[str, str]:
    """Name of every weight that a base's folder holds and a checkpoint does not -> name of its part.

    A weight is outside under all its names when it is under one.
    """
    weights = model.state_dict(keep_vars=True)
    owners = {_joined(part_name, name): part_name for part_name, part in parts(model) for name in part.outside_names()}
    by_place = {place: owner for name, owner in owners.items() if (place := _place(weights[name])) != NOWHERE}
    found = {name: owners.get(name, by_place.get(_place(weight))) for name, weight in weights.items()}
    return {name: owner for name, owner in found.items() if owner is not None}


def _place(weight: Tensor) -> tuple[Any, ...]:
    """Where in memory a weight lies: equal for two names of one weight; ``NOWHERE`` for one without values."""
    if not weight.numel():
        return NOWHERE
    start = weight.untyped_storage().data_ptr()
    return str(weight.device), start, weight.storage_offset(), weight.dtype, tuple(weight.shape), weight.stride()


def _joined(*names: str) -> str:
    return ".".join(name for name in names if name)


def save_folders(model: nn.Module, path: Path) -> None:
    """Write the folder of every part that a checkpoint holds whole into the checkpoint directory ``path``.

    Raises:
        OutputError: two would have one name (the last piece of a part's name), or that of a file of the checkpoint.
    """
    for name, part in parts(model):
        if not part.belongs_inside:
            continue
        folder = name.rpartition(".")[2]
        if (path / folder).exists():
            raise OutputError(
                f"{path}: the network's part {name!r} would be written over {folder}/, which is there already; give "
                "its parts names that end differently"
            )
        part.save_folder(path / folder)


def with_places(values: Any, checkpoint: Path, where: str = "model") -> Any:
    """A config's nested plain values with every ``directory`` that lies in the checkpoint as a whole path.

    Args:
        values: of ``config.json``.
        checkpoint: directory that they were read from.
        where: dotted path of ``values``, for the message.

    Raises:
        CheckpointError: a place leads out of the checkpoint.
    """
    if isinstance(values, list):
        return [with_places(value, checkpoint, f"{where}.{place}") for place, value in enumerate(values)]
    if not isinstance(values, Mapping):
        return values
    return {
        key: _inner_place(value, checkpoint, f"{where}.{key}")
        if key == "directory" and isinstance(value, str) and value.startswith(INSIDE)
        else with_places(value, checkpoint, f"{where}.{key}")
        for key, value in values.items()
    }


def _inner_place(value: str, checkpoint: Path, where: str) -> str:
    root = checkpoint.resolve()
    place = (root / value).resolve()
    if root not in place.parents:
        raise CheckpointError(
            f"{checkpoint / 'config.json'}: {where} = {value!r} leads out of the checkpoint; what begins with {INSIDE} "
            "must lie in it, a folder elsewhere is given with its whole path"
        )
    return str(place)


def outside_bases(model: nn.Module) -> dict[str, dict[str, str]]:
    """The bases that a checkpoint needs and does not hold: part's name -> folder's name and fingerprint."""
    return dict(_bases(model))


def _bases(model: nn.Module) -> Iterator[tuple[str, dict[str, str]]]:
    for name, part in parts(model):
        directory = part.part_config.directory
        if part.base is not None and not part.belongs_inside and directory is not None:
            yield name, {"directory": directory.resolve().name, "identity": part.identity}
