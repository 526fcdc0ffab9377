"""The parity check: a small network in the authors' names, run on a fixture's inputs, against the numbers it holds.

It goes the way of an import: names and shapes -> config -> network -> strict loading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from radwright.decoding.config import DecodingConfig
from radwright.decoding.generate import generate
from radwright.errors import CheckpointError, ConfigError
from radwright.methods.cmcrl.released import ReleasedFacts, ReleasedNetwork, infer_network, load_released, plain_names
from radwright.methods.cmcrl.vlci import EncodedStudies, Vlci
from radwright.nn.backbone import read_weights
from radwright.runs.released import read_vocabulary
from radwright.types import Batch

TOLERANCE = 1e-4
"""Largest absolute difference that still counts as the released network's number."""
_OUTPUTS = ("local_tokens", "global_tokens", "memory", "log_probs", "beam3_ids")
_TENSORS = ("inputs.features", "inputs.report_ids", *(f"outputs.{name}" for name in _OUTPUTS))


@dataclass(frozen=True, slots=True)
class _Fixture:
    """A small released network with inputs and outputs; its stem is left out."""

    facts: ReleasedFacts
    decoding: DecodingConfig
    network: ReleasedNetwork
    weights: Mapping[str, Tensor]
    features_IPC: Tensor
    ids_BT: Tensor
    outputs: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class _FromFeatures:
    """A ``Decodable`` whose studies are encoded already."""

    model: Vlci
    encoded: EncodedStudies

    def start(self, batch: Batch) -> Any:
        return self.model.start_from(self.encoded)

    def step(self, state: Any, token_ids_BW: Tensor) -> tuple[Tensor, Any]:
        return self.model.step(state, token_ids_BW)

    def reorder(self, state: Any, studies_C: Tensor | None, parents_CW: Tensor) -> Any:
        return self.model.reorder(state, studies_C, parents_CW)


def check_parity(path: Path) -> dict[str, float | bool]:
    """Run a fixture's network and compare with the released numbers it holds.

    Args:
        path: ``.safetensors`` with ``weights.*`` in the authors' names, ``inputs.*``, ``outputs.*`` and metadata.

    Returns:
        Largest absolute differences of ``local_tokens``, ``global_tokens``, ``memory``, ``log_probs``, and whether the
        beams are the same (``beam3_ids_equal``).

    Raises:
        CheckpointError: the fixture is damaged.
    """
    try:
        return _compare(_read_fixture(path))
    except CheckpointError as error:
        message = str(error)
        raise CheckpointError(message if str(path) in message else f"{path}: {message}") from error


def agrees(found: Mapping[str, float | bool]) -> bool:
    """Whether ``check_parity`` found the released numbers: every difference below ``TOLERANCE``, the same beams."""
    differences = [value for key, value in found.items() if key != "beam3_ids_equal"]
    return bool(found["beam3_ids_equal"]) and all(value < TOLERANCE for value in differences)


def _compare(fixture: _Fixture) -> dict[str, float | bool]:
    network = fixture.network
    model = Vlci(network.config, read_vocabulary((), network.vocab_size)[0], network.size_px).eval()
    load_released(model, fixture.weights, with_stem=network.has_stem)
    ids_BT, num_views = fixture.ids_BT, fixture.facts.num_views
    if ids_BT.ndim != 2 or ids_BT.shape[1] < 2 or not bool(((ids_BT >= 0) & (ids_BT < network.vocab_size)).all()):
        raise CheckpointError(f"inputs.report_ids are no rows of ids below {network.vocab_size}")
    num_studies = len(ids_BT)
    wanted = (num_studies * num_views, model.patches_per_side**2, model.project.in_features)
    if fixture.features_IPC.shape != wanted:
        raise CheckpointError(f"inputs.features is {tuple(fixture.features_IPC.shape)}, not {wanted}")
    mask_BV = torch.ones(num_studies, num_views, dtype=torch.bool)
    with torch.no_grad():
        encoded = model.encode_features(fixture.features_IPC, mask_BV, torch.zeros_like(mask_BV, dtype=torch.int64))
        log_probs = model.logits_from(encoded, ids_BT[:, :-1]).log_softmax(-1)
    found: dict[str, float | bool] = {}
    outputs = {"local_tokens": encoded.local_BLD, "global_tokens": encoded.global_BMD, "memory": encoded.memory_BND}
    for name, ours in {**outputs, "log_probs": log_probs}.items():
        theirs = fixture.outputs[name].float()
        if ours is None or ours.shape != theirs.shape:
            shape = "absent" if ours is None else tuple(ours.shape)
            raise CheckpointError(f"outputs.{name} is {tuple(theirs.shape)}, ours is {shape}")
        found[name] = (ours - theirs).abs().max().item()
    names = tuple(str(row) for row in range(num_studies))
    empty = Batch(names, torch.zeros(num_studies, num_views, 1, 1, 1), mask_BV, mask_BV.long())
    reports = generate(_FromFeatures(model, encoded), empty, fixture.decoding, bos_id=0, eos_id=0)
    if fixture.outputs["beam3_ids"].ndim != 2:
        raise CheckpointError("outputs.beam3_ids are no rows of ids")
    expected = [row[: row.index(0)] if 0 in row else row for row in fixture.outputs["beam3_ids"].tolist()]
    found["beam3_ids_equal"] = [report.token_ids for report in reports] == expected
    return found


def _read_fixture(path: Path) -> _Fixture:
    tensors = read_weights(path)
    for name in _TENSORS:
        if name not in tensors:
            raise CheckpointError(f"has no {name!r}: it is no whole parity fixture")
    weights, inputs, outputs = (
        plain_names({name.removeprefix(part): tensor for name, tensor in tensors.items() if name.startswith(part)})
        for part in ("weights.", "inputs.", "outputs.")
    )
    said, facts, decoding = _read_metadata(path)
    network = infer_network(weights, facts)
    sizes = {
        "layers": network.config.num_encoder_layers,
        "vocab": network.vocab_size - 1,
        "embed_dim": network.config.dim,
    }
    wrong = [f"{name} is {said[name]}, by the weights {size}" for name, size in sizes.items() if said[name] != size]
    if wrong:
        raise CheckpointError(f"metadata and weights disagree: {'; '.join(wrong)}")
    features, ids = inputs["features"].float(), inputs["report_ids"].long()
    return _Fixture(facts, decoding, network, weights, features, ids, outputs)


def _read_metadata(path: Path) -> tuple[dict[str, int], ReleasedFacts, DecodingConfig]:
    try:
        with safe_open(path, framework="pt") as file:
            texts = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"is no parity fixture, a .safetensors with metadata: {error}") from error
    names = ("views", "layers", "vocab", "embed_dim", "heads", "max_seq_length", "beam")
    try:
        said = {name: int(texts[name]) for name in names}
        values = {"num_heads": said["heads"], "num_views": said["views"], "max_tokens": said["max_seq_length"]}
        projected = {"True": True, "False": False}[texts["causal_proj"]]
        facts = ReleasedFacts.parse({**values, "projected": projected}, where="metadata")
        beam = {"kind": "beam", "num_beams": said["beam"]}
        decoding = DecodingConfig.parse({"strategy": beam, "max_tokens": facts.max_tokens}, where="metadata")
    except KeyError as error:
        raise CheckpointError(f"its metadata are damaged: {error} is missing or unknown") from error
    except (ValueError, ConfigError) as error:
        raise CheckpointError(f"its metadata are damaged: {error}") from error
    return said, facts, decoding
