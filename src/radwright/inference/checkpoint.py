"""The checkpoint directory: everything needed to draft a report, readable by anyone, nothing pickled.

``config.json`` (method, network, image, decoding), ``model.safetensors``, ``tokenizer/``, ``provenance.json`` (where it
comes from: versions, commit, seed, recipe, studies, scores) and ``MODEL_CARD.md``; a folder for every part of the
network that came out of one and was trained whole. Of a frozen base it holds the fingerprint only.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from radwright.config import Config
from radwright.data.files import sync, why_not_written
from radwright.decoding.config import DecodingConfig
from radwright.errors import CheckpointError, ConfigError, OutputError
from radwright.imaging.config import ImageConfig
from radwright.inference.card import model_card
from radwright.inference.document_frequency import load_frequency, save_frequency
from radwright.inference.parts import outside_bases, save_folders, stored_weights, with_places
from radwright.metrics.cider import DocumentFrequency
from radwright.tables import METHODS, resolve
from radwright.text.tokenizers import load_tokenizer
from radwright.types import Tokenizer

FORMAT = "radwright.checkpoint/1"
NUM_LISTED = 6
"""Names of weights in a message."""


class CheckpointConfig(Config):
    """``config.json``."""

    format: str = FORMAT
    """Version of the layout."""
    method: str
    """Name in the table of methods, or ``module:Class``."""
    model: dict[str, Any]
    """Config of the method's class."""
    image: ImageConfig
    """How an image becomes the network's tensor."""
    max_views: int = 4
    """At most this many views of a study are read."""
    decoding: DecodingConfig = DecodingConfig()
    """How a report is read out, unless the caller says otherwise."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        path: its directory.
        config: what ``config.json`` says.
        model: the network in eval mode, fulfilling ``radwright.types.ReportModel``.
        tokenizer: the one it was trained with.
        provenance: what ``provenance.json`` says.
        frequency: of n-grams in the train reports, where the directory has it; for a consensus.
    """

    path: Path
    config: CheckpointConfig
    model: Any
    tokenizer: Tokenizer
    provenance: Mapping[str, Any]
    frequency: DocumentFrequency | None = None


def build_model(method: str, values: Mapping[str, Any], tokenizer: Tokenizer, image: ImageConfig) -> Any:
    """The network of a method, newly initialised.

    Raises:
        ConfigError: unknown method, or values its config refuses.
    """
    model_class = resolve(METHODS, method, kind="method")
    return model_class(model_class.Config.parse(values, where="model"), tokenizer, image.size_px)


def save_checkpoint(
    path: Path,
    config: CheckpointConfig,
    model: nn.Module,
    tokenizer: Tokenizer,
    provenance: Mapping[str, Any],
    frequency: DocumentFrequency | None = None,
) -> None:
    """Write a checkpoint directory; an older one at ``path`` is replaced only when the new one is whole on disk.

    Weights that a base's folder holds are left out, tied ones are written once (``radwright.inference.parts``).

    Raises:
        OutputError: it cannot be written.
    """
    bases = outside_bases(model)
    provenance = {**provenance, "bases": bases} if bases else provenance
    partial, old = path.with_name(path.name + ".partial"), path.with_name(path.name + ".old")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "tokenizer").mkdir(parents=True)
        weights = {name: tensor.cpu().contiguous() for name, tensor in stored_weights(model).items()}
        save_file(weights, partial / "model.safetensors", metadata={"format": FORMAT})
        tokenizer.save(partial / "tokenizer")
        save_folders(model, partial)
        if frequency is not None:
            save_frequency(frequency, partial)
        _write_json(partial / "config.json", config.plain())
        _write_json(partial / "provenance.json", provenance)
        (partial / "MODEL_CARD.md").write_text(model_card(config.method, provenance), encoding="utf-8")
        for file in partial.rglob("*"):
            sync(file)
        if path.exists():  # else a kill came between the renames, and what there was is in `old` alone
            shutil.rmtree(old, ignore_errors=True)
            os.replace(path, old)
        os.replace(partial, path)
        sync(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path}: the checkpoint cannot be written: {why_not_written(error)}") from error


def find_checkpoint(path: Path) -> Path:
    """Where a checkpoint directory's files are, before anything of it is read.

    Raises:
        CheckpointError: it is none.
    """
    if not path.is_dir() and path.with_name(path.name + ".old").is_dir():
        path = path.with_name(path.name + ".old")  # a kill between the two renames of `save_checkpoint`
    if not (path / "config.json").is_file():
        raise CheckpointError(
            f"{path}: is no checkpoint (it has no config.json); `radwright train` writes one to RUN/best"
        )
    return path


def load_checkpoint(path: Path, *, device: str = "cpu") -> Checkpoint:
    """Read a checkpoint directory, strictly: every weight that it should hold must be there, and no other.

    Raises:
        CheckpointError: something is missing, damaged, of another version, or does not fit; a base that it needs is not
            where it was, or is another one.
    """
    path = find_checkpoint(path)
    config_path = path / "config.json"
    try:
        values = json.loads(config_path.read_text(encoding="utf-8"))
        provenance = json.loads((path / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise CheckpointError(f"{config_path}: is not of this version's format ({FORMAT})")
    tokenizer = load_tokenizer(path / "tokenizer")
    try:
        config = CheckpointConfig.parse(values, where=str(config_path))
        model = build_model(config.method, with_places(config.model, path), tokenizer, config.image)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    _load_weights(model, path / "model.safetensors")
    return Checkpoint(path, config, model.to(torch.device(device)).eval(), tokenizer, provenance, load_frequency(path))


def _load_weights(model: nn.Module, path: Path) -> None:
    try:
        weights = load_file(path)
        expected = stored_weights(model).keys()
        wrong = {"lacks": sorted(expected - weights.keys()), "holds besides": sorted(weights.keys() - expected)}
        told = "; ".join(f"it {verb} {_listed(names)}" for verb, names in wrong.items() if names)
        if told:
            raise CheckpointError(f"{path}: does not fit the network of config.json: {told}")
        model.load_state_dict(weights, strict=False)  # what is not in the file is in a base's folder, or tied
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{path}: does not fit the network of config.json: {error}") from error


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NUM_LISTED} more" if len(names) > NUM_LISTED else ""
    return f"{', '.join(names[:NUM_LISTED])}{more}"


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
