"""A checkpoint's network written as ONNX graphs, in float32 or int8; checked against the network before they stand."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from radwright import __version__
from radwright.data.files import TEMPORARY_PREFIX, output_errors, strangers, sync
from radwright.errors import CheckpointError, ConfigError, OutputError, require
from radwright.inference.checkpoint import Checkpoint
from radwright.inference.onnx_backend import FORMAT, MANIFEST, OnnxRunner, digest_of
from radwright.nn.graphs import Exportable, Graph
from radwright.types import Batch

OPSET = 20
_STEPS = 8
"""Tokens that the check writes."""
_TOLERANCE = 1e-3
"""Largest difference of a log-probability in float32; rounding alone makes some 1e-5."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export found.

    Attributes:
        folder: it stands there.
        precision: ``fp32`` or ``int8``.
        largest_difference: of log-probabilities (natural log) to the network's own, over the check's tokens.
        megabytes: of all graphs.
    """

    folder: Path
    precision: str
    largest_difference: float
    megabytes: float


def export_onnx(
    checkpoint: Checkpoint,
    folder: Path,
    batches: Sequence[Batch],
    *,
    int8: bool = False,
    tell: Callable[[str], None] = lambda what: None,
) -> Exported:
    """Write a checkpoint's graphs; the folder appears whole, or not at all.

    Args:
        checkpoint: on the CPU.
        folder: new, or an empty one.
        batches: of studies as they will be drafted; the check runs on the first one, int8's ranges come from all.
        int8: convolutions in int8 with ranges out of ``batches`` (static), other products in int8 with ranges of the
            moment (dynamic); else float32.
        tell: told what is being done.

    Raises:
        CheckpointError: the network has no graphs, or they do not do what it does.
        ConfigError: no studies.
        OutputError: the folder holds something, or cannot be written.
        MissingExtraError: the ``onnx`` extra is not installed.
    """
    require("onnxscript", extra="onnx")
    require("onnxruntime", extra="onnx")
    model = checkpoint.model
    if not isinstance(model, Exportable):
        raise CheckpointError(f"{checkpoint.path}: {type(model).__name__} is not taken apart into graphs (VLCI is)")
    if not batches:
        raise ConfigError("no study could be read: the export is checked on some")
    if folder.exists() and (not folder.is_dir() or strangers(folder)):
        raise OutputError(f"{folder}: is there already; give a new folder")
    with output_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=folder.parent))
    try:
        with output_errors(folder):
            exported = _export(checkpoint, model, work, batches, int8=int8, tell=tell)
            if folder.is_dir():
                folder.rmdir()
            work.chmod(0o777 & ~_umask())  # as any new folder: `mkdtemp` keeps others out
            os.replace(work, folder)
            sync(folder.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Exported(folder, *exported)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _export(
    checkpoint: Checkpoint,
    model: Any,
    work: Path,
    batches: Sequence[Batch],
    *,
    int8: bool,
    tell: Callable[[str], None],
) -> tuple[str, float, float]:
    files = {}
    for name, graph in model.graphs().items():
        tell(f"writing the graph of {name}")
        files[name] = work / f"{name}.onnx"
        write_graph(graph, files[name])
        if int8:
            tell(f"quantising {name}")
            quantise(graph, files[name], batches)
    tell("checking against the network")
    found = model.on_graphs(OnnxRunner(files))
    largest = _largest_difference(model, found, batches[0])
    if not (int8 or largest <= _TOLERANCE):
        raise CheckpointError(
            f"{checkpoint.path}: the graphs' log-probabilities differ from the network's by {largest:.2g}, more than "
            f"{_TOLERANCE}; this is a fault of the export, please report it"
        )
    precision = "int8" if int8 else "fp32"
    with (checkpoint.path / "model.safetensors").open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    megabytes = sum(file.stat().st_size for file in files.values()) / 1e6
    manifest = {
        "format": FORMAT,
        "method": checkpoint.config.method,
        "weights": weights,
        "precision": precision,
        "opset": OPSET,
        "software": {"radwright": __version__, **{name: _version(name) for name in ("torch", "onnx", "onnxruntime")}},
        "studies": sum(len(batch) for batch in batches),
        "largest_difference": largest,
        "graphs": {name: {"file": file.name, "sha256": digest_of(file)} for name, file in files.items()},
    }
    (work / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    for path in work.iterdir():
        sync(path)
    return precision, largest, megabytes


def _version(name: str) -> str:
    from importlib.metadata import version

    return version(name)


def quantise(graph: Graph, file: Path, batches: Sequence[Batch]) -> None:
    """A written graph in int8, in its place; of convolutions the ranges come from what they make of the batches."""
    if graph.kind == "convolutions":
        _quantise_static(file, [{"images": _images(batch)} for batch in batches])
    else:
        _quantise_dynamic(file)


def _images(batch: Batch) -> Tensor:
    return batch.images_BV1SS[batch.view_mask_BV]


def write_graph(graph: Graph, file: Path) -> None:
    """One graph as a file, weights inside."""
    onnx = require("onnx", extra="onnx")
    sizes: dict[str, Any] = {}
    shapes: list[Any] = []
    for name in graph.inputs:
        varying = graph.varying.get(name, {})
        shapes.append({place: sizes.setdefault(size, torch.export.Dim(size)) for place, size in varying.items()})
    # Inputs beyond a module's named ones are one tuple to the exporter.
    fixed = _num_named(graph)
    dynamic = (*shapes[:fixed], tuple(shapes[fixed:])) if fixed < len(shapes) else tuple(shapes)
    module = graph.module.eval()
    with warnings.catch_warnings(), _quiet(), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        # The plain form of attention: the fused one has memory orders that the exporter cannot follow.
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            module,
            tuple(graph.inputs.values()),
            dynamo=True,
            dynamic_shapes=dynamic,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            opset_version=OPSET,
            verbose=False,
        )
    assert made is not None
    onnx.save_model(made.model_proto, str(file))


def _num_named(graph: Graph) -> int:
    import inspect

    parameters = inspect.signature(type(graph.module).forward).parameters.values()
    return sum(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters) - 1


class _quiet:  # noqa: N801
    """Inside, the exporter's loggers are still: they speak of libraries that are not needed."""

    def __enter__(self) -> None:
        self._before = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self._before)


def _quantise_static(file: Path, examples: Sequence[dict[str, Tensor]]) -> None:
    """Convolutions, and what stands between them, in int8: weights per channel, activations by ranges seen before."""
    quantization = require("onnxruntime.quantization", extra="onnx")
    preparing = require("onnxruntime.quantization.shape_inference", extra="onnx")

    class Examples(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self._left: Iterator[dict[str, Any]] = iter(
                {name: tensor.numpy() for name, tensor in example.items()} for example in examples
            )

        def get_next(self) -> dict[str, Any] | None:
            return next(self._left, None)

    with _quiet():
        folded = file.with_suffix(".folded")
        preparing.quant_pre_process(str(file), str(folded), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(folded),
            str(file),
            Examples(),
            quant_format=quantization.QuantFormat.QOperator,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["Conv", "Add", "MaxPool"],
        )
        folded.unlink()


def _quantise_dynamic(file: Path) -> None:
    """Products with weights in int8: weights per channel, activations by their range of the moment."""
    quantization = require("onnxruntime.quantization", extra="onnx")
    with _quiet():
        quantization.quantize_dynamic(
            str(file),
            str(file),
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul", "Gemm"],
            extra_options={"MatMulConstBOnly": True},
        )


@torch.no_grad()
def _largest_difference(network: Any, exported: Any, batch: Batch) -> float:
    """Of log-probabilities, along tokens that the network itself likes best, with beams and studies moved about."""
    own, other = network.start(batch), exported.start(batch)
    num_studies = len(batch)
    tokens = torch.full((num_studies, 1), network.bos_id)
    largest = 0.0
    for step in range(_STEPS):
        expected, own = network.step(own, tokens)
        found, other = exported.step(other, tokens)
        if not bool(torch.isfinite(found).all()):
            return float("inf")
        largest = max(largest, float((found - expected).abs().max()))
        best = expected.topk(3, dim=-1).indices
        parents = torch.zeros(num_studies, 3, dtype=torch.int64) if step == 0 else torch.tensor([[1, 0, 2]])
        parents = parents.expand(num_studies, 3)
        tokens = best[:, 0] if step == 0 else best.gather(1, parents[..., None].expand(-1, -1, 3))[..., step % 3]
        own, other = network.reorder(own, None, parents), exported.reorder(other, None, parents)
    return largest
