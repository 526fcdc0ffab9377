"""What ``radwright generate`` is asked for, opened: network, clues and silence, in this process or in a worker's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from radwright.evaluation.predict import Drafter
from radwright.inference.onnx_backend import MANIFEST
from radwright.inference.predictor import Predictor
from radwright.runs.clue_policies import CluePlan, ClueRequest, plan_clues
from radwright.runs.drafting import Inputs, open_predictor
from radwright.runs.silence import CalibratingStudies, SilencePlan, plan_silence


@dataclass(frozen=True, slots=True)
class DraftingRequest:
    """How drafts are to be made; plain values, so that it can be sent to another process.

    Attributes:
        checkpoint: its directory, which every process that drafts can read.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ...
        threads: CPU threads; None: all cores.
        batch_size: studies decoded at once.
        decoding: ``key=value`` changes of the checkpoint's own.
        beginnings: study id -> text that its draft must begin with.
        precision: of matrix products.
        onnx: folder of an exported network that is to run; None: the checkpoint's own.
        compiled: whether the stem is compiled first.
        clues: what is said of clues.
        risk: level that the drafts are to keep; None: no filter, unless ``uncertain`` is given.
        uncertain: what becomes of sentences under the bar.
    """

    checkpoint: Path
    device: str = "auto"
    threads: int | None = None
    batch_size: int = 16
    decoding: tuple[str, ...] = ()
    beginnings: Mapping[str, str] = field(default_factory=dict)
    precision: str = "fp32"
    onnx: Path | None = None
    compiled: bool = False
    clues: ClueRequest = field(default_factory=ClueRequest)
    risk: float | None = None
    uncertain: str | None = None


@dataclass(frozen=True, slots=True)
class Drafting:
    """A request opened.

    Attributes:
        request: what was asked.
        predictor: the network.
        plan: its clues; None for a network without any.
        silence: its filter; None where drafts stand as they come.
    """

    request: DraftingRequest
    predictor: Predictor
    plan: CluePlan | None
    silence: SilencePlan | None

    @classmethod
    def open(cls, request: DraftingRequest) -> Drafting:
        """Load the network and check what is asked of it.

        Raises:
            CheckpointError, ConfigError: see ``open_predictor``, ``plan_clues`` and ``plan_silence``.
        """
        predictor = open_predictor(
            request.checkpoint,
            device=request.device,
            threads=request.threads,
            batch_size=request.batch_size,
            decoding=request.decoding,
            beginnings=request.beginnings,
            precision=request.precision,
            onnx=request.onnx,
            compiled=request.compiled,
        )
        plan = plan_clues(predictor, request.clues)
        return cls(
            request, predictor, plan, plan_silence(predictor, plan, risk=request.risk, uncertain=request.uncertain)
        )

    @property
    def drafter(self) -> Drafter:
        """What writes the reports, filtered where that is asked."""
        return self.predictor if self.silence is None else self.silence.asserter

    @property
    def row_facts(self) -> dict[str, Any]:
        """What every draft says besides."""
        return {} if self.plan is None else self.plan.row_facts

    def calibrating(self) -> CalibratingStudies:
        """A counter of the studies that set the bars; it counts nothing where these are skipped anyway."""
        return CalibratingStudies() if self.silence else CalibratingStudies.of(self.request.checkpoint)

    def identity(self, inputs: Inputs) -> dict[str, Any]:
        """All that the drafts depend on, as plain values: a job of another identity is never continued.

        Raises:
            OSError: the exported network's manifest cannot be read.
        """
        request, begun = self.request, dict(self.request.beginnings)
        return {
            "checkpoint": str(request.checkpoint),
            "weights": self.predictor.fingerprint,
            **inputs.plain(),
            "decoding": self.predictor.decoding.plain(),
            **({} if request.precision == "fp32" else {"precision": request.precision}),
            **({} if request.onnx is None else {"onnx": sha256((request.onnx / MANIFEST).read_bytes()).hexdigest()}),
            **({} if self.plan is None else {"clues": self.plan.plain()}),
            **({} if self.silence is None else {"silence": self.silence.plain()}),
            **({"beginnings": sha256(json.dumps(begun).encode()).hexdigest()} if begun else {}),
        }
