"""A network's graphs run by ONNX Runtime, in the place of the network: the decoding around them stays as it is.

An exported folder holds a file per graph and ``manifest.json``: of which weights, how exact, which software, what the
export's own check found. It holds no weights that are not the checkpoint's, and is used with that checkpoint only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from radwright.errors import CheckpointError, require
from radwright.inference.checkpoint import Checkpoint
from radwright.nn.graphs import Exportable

FORMAT = "radwright.onnx/1"
MANIFEST = "manifest.json"


class OnnxRunner:
    """See ``radwright.nn.graphs.Runner``. Inputs and outputs are bound where they lie, never copied.

    Args:
        files: graph -> its file.
        threads: of the engine; None: those of torch.

    Raises:
        CheckpointError: a file cannot be read as a graph.
        MissingExtraError: ONNX Runtime is not installed.
    """

    def __init__(self, files: Mapping[str, Path], *, threads: int | None = None) -> None:
        engine = require("onnxruntime", extra="onnx")
        options = engine.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.inter_op_num_threads = 1
        # A thread that waits by spinning takes the core from the images that are being decoded.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._sessions: dict[str, Any] = {}
        for name, file in files.items():
            try:
                self._sessions[name] = engine.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
            except Exception as error:  # the engine raises a dozen kinds of its own
                raise CheckpointError(f"{file}: is no graph that can be run: {' '.join(str(error).split())}") from error
        self._types = {torch.float32: "float32", torch.int64: "int64", torch.bool: "bool"}
        self._taken = {name: {each.name for each in session.get_inputs()} for name, session in self._sessions.items()}

    def __call__(self, name: str, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """See ``Runner``."""
        session = self._sessions[name]
        binding = session.io_binding()
        held = {key: tensor.contiguous() for key, tensor in inputs.items() if key in self._taken[name]}
        for key, tensor in held.items():
            kind = self._types[tensor.dtype]
            binding.bind_input(key, "cpu", 0, kind, tuple(tensor.shape), tensor.data_ptr())
        for output in session.get_outputs():
            binding.bind_output(output.name, "cpu")
        session.run_with_iobinding(binding)
        # The engine's memory as tensors; each keeps its part alive.
        return [from_dlpack(value._ortvalue) for value in binding.get_outputs()]


def read_manifest(folder: Path) -> dict[str, Any]:
    """What an exported folder says of itself.

    Raises:
        CheckpointError: it is none, or of another layout.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: is no exported network (no readable {MANIFEST}); see export-onnx") from error
    if manifest.get("format") != FORMAT:
        raise CheckpointError(f"{folder}: has the layout {manifest.get('format')!r}; export it again")
    return manifest


def on_onnx(checkpoint: Checkpoint, folder: Path, *, threads: int | None = None) -> Checkpoint:
    """The checkpoint with its network run by ONNX Runtime.

    Args:
        checkpoint: that was exported.
        folder: where to.
        threads: of the engine; None: those of torch.

    Raises:
        CheckpointError: the folder is none, damaged, or was exported from other weights.
        MissingExtraError: ONNX Runtime is not installed.
    """
    manifest = read_manifest(folder)
    with (checkpoint.path / "model.safetensors").open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    if manifest["weights"] != weights:
        raise CheckpointError(
            f"{folder}: was exported from weights {manifest['weights'][:12]}, and {checkpoint.path} has "
            f"{weights[:12]}; export this checkpoint"
        )
    files = {}
    for name, graph in manifest["graphs"].items():
        files[name] = folder / str(graph["file"])
        if not files[name].is_file() or digest_of(files[name]) != graph["sha256"]:
            raise CheckpointError(f"{files[name]}: is missing or was changed; export again")
    if not isinstance(checkpoint.model, Exportable):
        raise CheckpointError(f"{checkpoint.path}: {type(checkpoint.model).__name__} cannot be run from graphs")
    return replace(checkpoint, model=checkpoint.model.on_graphs(OnnxRunner(files, threads=threads)))


def digest_of(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
