"""Stage 2's objective: the report under its prompt, and disease-aware consistency between image and text.

That there is a disease-aware consistency loss is the paper's; its formula is ours. Its text side is computed under
teacher forcing and so sees the reference: only the image side and the divergence teach the visual path, and the loss is
to be judged on generated text alone.

Shape legend: B studies, T report tokens with BOS and EOS, M diseases, D interaction width, E language model's width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from radwright.config import Config
from radwright.errors import ConfigError, StudyError
from radwright.methods.objectives import report_lengths
from radwright.methods.trrg.model import Trrg
from radwright.methods.trrg.sentences import report_signature
from radwright.nn.attention import linear
from radwright.types import Batch, TrainReport

MAX_POSITIVE_WEIGHT = 10.0


class CluedReportConfig(Config):
    """The two losses."""

    consistency: Literal["labels", "embedding", "none"] = "labels"
    """``labels``: both sides tell the report's diseases and agree on them. ``embedding``: their states agree, without
    labels. ``none``: the report alone (ablation)."""
    consistency_weight: float = Field(default=0.5, ge=0)
    """lambda."""
    consistency_dim: int = Field(default=128, ge=1)
    """Width in which a side's state meets a disease's words."""


class Consistency(nn.Module):
    """Disease logits of a state: <W x, U h(clue)> / sqrt(width) + b, one pair of matrices a side; no shape knows M."""

    def __init__(self, image_dim: int, text_dim: int, words_dim: int, dim: int) -> None:
        super().__init__()
        self.image, self.text = linear(image_dim, dim), linear(text_dim, dim)
        self.words, self.bias = linear(words_dim, dim), linear(words_dim, 1)

    def logits(self, state_BD: Tensor, words_MC: Tensor) -> Tensor:
        """(B, M) of states in the common width."""
        out: Tensor = state_BD @ self.words(words_MC).T / state_BD.shape[-1] ** 0.5 + self.bias(words_MC).T
        return out


class CluedReport(nn.Module):
    """L = L_LM + lambda L_cons, each a mean over the whole step: L_LM over tokens, L_cons over known labels.

    With a the image side's and b the text side's disease logits and y the report's own labels (1, 0; left open and not
    mentioned are unknown and masked; positives weighted by negatives per positive in train, at most 10):
    L_cons = BCE(a, y) + BCE(b, y) + KL(sg a || b) + KL(sg b || a), one side of each KL detached.
    ``embedding``: 1 - cos of the two states, one side detached each way, per study.

    Args:
        model: the network.
        config: the losses.

    Raises:
        ConfigError: the network takes no clues.
    """

    Config = CluedReportConfig

    def __init__(self, model: nn.Module, config: CluedReportConfig) -> None:
        super().__init__()
        if not isinstance(model, Trrg):
            raise ConfigError(f"objective clued_report: {type(model).__name__} takes no clues; use method: trrg")
        self.model = model
        self.config = config
        self.findings = tuple(disease.finding or "" for disease in model.bank.diseases)
        weight = config.consistency_weight if config.consistency != "none" else 0.0
        terms = {"labels": ("image_labels", "text_labels", "agreement"), "embedding": ("agreement",)}
        self.weights: Mapping[str, float] = {"report": 1.0} | dict.fromkeys(
            terms.get(config.consistency, ()) if weight else (), weight
        )
        if len(self.weights) > 1:
            self.consistency = Consistency(
                model.config.interaction_dim, model.language.dim, model.text_encoder.dim, config.consistency_dim
            )
        self.register_buffer("positive_weight_M", torch.ones(len(self.findings)))

    def read_reports(self, reports: Iterable[TrainReport]) -> None:
        """Count how often the train reports assert and deny each disease, for the weight of positives."""
        said = [report_signature(report.text, self.findings) for report in reports]
        for place in range(len(self.findings)):
            positive = sum(signature[place] == 1 for signature in said)
            negative = sum(signature[place] == 0 for signature in said)
            weight = min(MAX_POSITIVE_WEIGHT, max(1.0, negative / max(1, positive)))
            self.get_buffer("positive_weight_M")[place] = weight

    def counts(self, batch: Batch) -> dict[str, float]:
        """Target tokens, and per consistency term the known labels (studies for ``embedding``)."""
        counts = {"report": float((report_lengths(batch) - 1).sum())}
        known = float(self._labels(batch)[1].sum()) if self.config.consistency == "labels" else float(len(batch))
        return counts | {name: known for name in self.weights if name != "report"}

    def observed(self) -> dict[str, float]:
        """The interaction's gates."""
        return self.model.gates()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Summed losses by term."""
        assert batch.token_ids_BT is not None
        logits_BTU, states_BTE, prompted = self.model.teach(batch)
        targets_BT, lengths_B = batch.token_ids_BT[:, 1:], report_lengths(batch)
        # By length, never by id: PAD may be EOS.
        real_BT = torch.arange(targets_BT.shape[1], device=targets_BT.device) < (lengths_B - 1).unsqueeze(1)
        sums = {"report": F.cross_entropy(_wide(logits_BTU[real_BT]), targets_BT[real_BT], reduction="sum")}
        if len(self.weights) > 1:
            real_BT1 = real_BT.unsqueeze(-1).to(states_BTE.dtype)
            mean_BE = (states_BTE * real_BT1).sum(1) / real_BT1.sum(1).clamp(min=1)
            image_BD, text_BD = self.consistency.image(prompted.pooled_BD), self.consistency.text(mean_BE)
            agree = self._agree_on_labels if self.config.consistency == "labels" else self._agree_in_state
            sums |= agree(batch, image_BD, text_BD)
        return sums

    def _agree_on_labels(self, batch: Batch, image_BD: Tensor, text_BD: Tensor) -> dict[str, Tensor]:
        words_MC = self.model.text_encoder.encode([disease.clue for disease in self.model.bank.diseases])
        sides = [_wide(self.consistency.logits(state, words_MC)) for state in (image_BD, text_BD)]
        labels_BM, known_BM = (tensor.to(image_BD.device) for tensor in self._labels(batch))
        labels_BM = labels_BM.to(sides[0].dtype)
        weight_M = self.get_buffer("positive_weight_M")
        image, text = (
            F.binary_cross_entropy_with_logits(side, labels_BM, pos_weight=weight_M, reduction="none")[known_BM].sum()
            for side in sides
        )
        agreement_BM = bernoulli_kl(sides[0].detach(), sides[1]) + bernoulli_kl(sides[1].detach(), sides[0])
        return {"image_labels": image, "text_labels": text, "agreement": agreement_BM[known_BM].sum()}

    def _agree_in_state(self, batch: Batch, image_BD: Tensor, text_BD: Tensor) -> dict[str, Tensor]:
        pairs = ((image_BD.detach(), text_BD), (image_BD, text_BD.detach()))
        return {"agreement": sum((1 - F.cosine_similarity(*pair, dim=-1)).sum() for pair in pairs) / 2}  # type: ignore[dict-item]

    def _labels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """y (B, M) float, and where it is known, bool (B, M); on the CPU."""
        if batch.reports is None:
            raise StudyError("objective clued_report: its labels are those of the reports, and the batch has none")
        said = [report_signature(report, self.findings) for report in batch.reports]
        labels: Any = [[float(status == 1) for status in signature] for signature in said]
        known: Any = [[status in {0, 1} for status in signature] for signature in said]
        return torch.tensor(labels), torch.tensor(known)


def bernoulli_kl(fixed: Tensor, moving: Tensor) -> Tensor:
    """KL(Bern(sigmoid fixed) || Bern(sigmoid moving)), elementwise, from logits."""
    probability = fixed.sigmoid()
    cross = F.binary_cross_entropy_with_logits(moving, probability, reduction="none")
    own = F.binary_cross_entropy_with_logits(fixed, probability, reduction="none")
    return cross - own


def _wide(numbers: Tensor) -> Tensor:
    """In float32 at least: sums of losses in half precision drown."""
    return numbers if numbers.dtype == torch.float64 else numbers.float()
