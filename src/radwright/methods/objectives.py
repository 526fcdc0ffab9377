"""Training objectives that every report model can use.

Shape legend: B studies, T report tokens, U vocabulary size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from radwright.config import Config
from radwright.errors import StudyError
from radwright.types import Batch


class TeacherForcingConfig(Config):
    """Teacher-forced cross-entropy."""

    label_smoothing: float = 0.0
    """Share of the target's probability spread over the vocabulary (as released: 0)."""
    word_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the words read (never of those to be written) that are hidden behind PAD (as released: 0). A word whose
    predecessors are missing has to be found in the image (Bowman et al. 2016, for the same weakness)."""


class TeacherForcing(nn.Module):
    """Cross-entropy of every next token, EOS included; the mask comes from lengths, never from an id.

    (Where BOS = EOS = PAD = 0, ignoring id 0 would silently drop the supervision of EOS.)
    """

    Config = TeacherForcingConfig

    def __init__(self, model: nn.Module, config: TeacherForcingConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.weights: Mapping[str, float] = {"report": 1.0}

    def counts(self, batch: Batch) -> dict[str, float]:
        """Number of target tokens: every token of a report but its BOS."""
        return {"report": float((report_lengths(batch) - 1).sum())}

    def observed(self) -> dict[str, float]:
        """What the model wants logged beside the loss: the gates of its interventions, where it has any."""
        gates: dict[str, float] = getattr(self.model, "gates", dict)()
        return gates

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Summed cross-entropy over the targets."""
        loss_N, _ = self.target_losses(batch)
        return {"report": loss_N.sum()}

    def target_losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy of each target (N,), and which tokens behind BOS are targets: bool (B, T-1), N True."""
        lengths_B = report_lengths(batch)
        assert batch.token_ids_BT is not None
        logits_BTU = self.model(self._with_hidden_words(batch))
        targets_BT = batch.token_ids_BT[:, 1:]
        position_T = torch.arange(targets_BT.shape[1], device=targets_BT.device)
        real_BT = position_T < (lengths_B - 1).unsqueeze(1)
        loss_N = F.cross_entropy(
            logits_BTU[real_BT].float() if logits_BTU.dtype != torch.float64 else logits_BTU[real_BT],
            targets_BT[real_BT],
            reduction="none",
            label_smoothing=self.config.label_smoothing,
        )
        return loss_N, real_BT

    def _with_hidden_words(self, batch: Batch) -> Batch:
        """The batch with a share of its reports' words behind PAD; never BOS, and only in training."""
        ids_BT = batch.token_ids_BT
        if not self.training or not self.config.word_dropout or ids_BT is None:
            return batch
        hidden_BT = torch.rand(ids_BT.shape, device=ids_BT.device) < self.config.word_dropout
        hidden_BT[:, 0] = False
        pad_id: Any = self.model.pad_id
        return replace(batch, token_ids_BT=ids_BT.masked_fill(hidden_BT, pad_id))


def report_lengths(batch: Batch) -> Tensor:
    """Lengths of the reports, (B,), all at least 2.

    Raises:
        ValueError: the batch was made without a tokenizer.
        StudyError: a study has no report.
    """
    if batch.lengths_B is None:
        raise ValueError("teacher forcing needs reports")
    if not bool((has_report_B := batch.has_report_B).all()):
        study_id = batch.study_ids[int(has_report_B.int().argmin())]
        raise StudyError(f"study {study_id}: has no report, and teacher forcing learns from reports; leave it out")
    return batch.lengths_B
