"""Inverse-propensity weighting of the next word, ours: what goes along in the reports is weighed until it does not.

In the reports two findings, or a phrase and a finding, may go along with each other beyond what the images show. A
network then learns to write the second wherever it sees or has written the first. Two small networks that see words
only tell how strongly: one has learnt p(y_t | y_<t), the *propensity*, the other q(y_t | do(y_<t)), with beginnings
from other reports before each sentence (``radwright.methods.splicing``). The cross-entropy of each next word counts

    w_t = clip(q(y_t | do(y_<t)) / p(y_t | y_<t), 1/c, c)

the stabilised weight of Robins, Hernan and Brumback (Epidemiology 2000), with the words before in the place of the
confounder. Under it a sentence no longer depends on the sentences before, so neither the words nor whatever in the
image they stand for (a device that the report names) foretells it; what the image shows of the finding itself still
does. It is the re-weighting way to P(R | do(.)), where CMCRL's modules take the front door. What no report names (a
side marker) it cannot weigh.

Shape legend: B studies, T report tokens, N target tokens of a batch, U vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from radwright.config import Config
from radwright.methods.objectives import TeacherForcing, TeacherForcingConfig
from radwright.methods.splicing import Sentences, Splicer
from radwright.nn.decoder import ReportDecoder, TokenEmbedding
from radwright.types import Batch


class PriorConfig(Config):
    """The networks that see words only."""

    dim: int = Field(default=96, ge=4)
    """Width D."""
    num_layers: int = Field(default=1, ge=1)
    """Depth."""
    num_heads: int = Field(default=8, ge=1)
    """Attention heads."""
    hidden_dim: int = Field(default=192, ge=1)
    """Width inside the feed-forward blocks."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Of words and layers."""


class PropensityWeightedConfig(TeacherForcingConfig):
    """How words are weighed; beside it all of teacher forcing."""

    largest_weight: float = Field(default=20.0, ge=1.0)
    """c: no word counts more than c or less than 1/c times. 1 is plain teacher forcing."""
    num_splices: int = Field(default=3, ge=1)
    """Sentences per study and step from which q learns."""
    prior: PriorConfig = PriorConfig()
    """Sizes of p and q; they are trained along and not kept in the checkpoint."""


class TextPrior(nn.Module):
    """A causal network over words, with no image.

    Args:
        vocab_size: U.
        config: sizes.
    """

    def __init__(self, vocab_size: int, config: PriorConfig) -> None:
        super().__init__()
        self.embedding = TokenEmbedding(vocab_size, config.dim, config.dropout, nn.LayerNorm)
        self.decoder = ReportDecoder(
            vocab_size,
            config.dim,
            config.num_layers,
            config.num_heads,
            config.hidden_dim,
            config.dropout,
            nn.LayerNorm,
        )
        self.memory_11D = nn.Parameter(torch.zeros(1, 1, config.dim))

    def forward(self, token_ids_BT: Tensor) -> Tensor:
        """-log p of every token behind the first, (B, T-1), in nats."""
        memory = self.memory_11D.expand(len(token_ids_BT), -1, -1)
        logits_BTU = self.decoder(self.embedding(token_ids_BT[:, :-1]), memory, None, None)
        return F.cross_entropy(logits_BTU.float().transpose(1, 2), token_ids_BT[:, 1:], reduction="none")


class PropensityWeighted(TeacherForcing):
    """Teacher forcing in which each next word counts by the inverse of its propensity; out of training all alike.

    p and q learn along, by cross-entropy on the same studies; no gradient passes from the weights to them.
    """

    Config = PropensityWeightedConfig
    config: PropensityWeightedConfig

    def __init__(self, model: nn.Module, config: PropensityWeightedConfig) -> None:
        super().__init__(model, config)
        self.weights: Mapping[str, float] = {"report": 1.0, "prior": 1.0}
        self._weighed = torch.zeros(3, dtype=torch.float64)

    def read_sentences(self, reports: Iterable[Sentences]) -> None:
        """Take in the train reports, sentence by sentence, before the first step; p and q are made for their words."""
        largest = 0

        def watched() -> Iterable[Sentences]:
            nonlocal largest
            for sentences in reports:
                largest = max([largest, *(max(ids, default=0) for _, ids in sentences)])
                yield sentences

        self.splicer = Splicer(watched())
        model: Any = self.model
        size = 1 + max(largest, model.pad_id, model.bos_id, model.eos_id)
        self.propensity = TextPrior(size, self.config.prior)
        # Alike at first, so that every weight is 1 until there is something to weigh.
        self.marginal = deepcopy(self.propensity)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Number of target tokens, for both terms."""
        counts = super().counts(batch)
        return counts | {"prior": counts["report"]}

    def observed(self) -> dict[str, float]:
        """Since the last call: the share of words that would count as much if all weighed alike,
        (sum w)^2 / (n sum w^2), and the mean weight; and the gates of the model's interventions, where it has any.
        """
        (number, total, squares), self._weighed = self._weighed.tolist(), torch.zeros(3, dtype=torch.float64)
        gates = super().observed()
        if not number:
            return gates
        return {"effective_share": total**2 / (number * squares), "mean_weight": total / number} | gates

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Summed cross-entropy over the targets, in training weighted; and that of p and q, for them to learn."""
        loss_N, real_BT = self.target_losses(batch)
        assert batch.token_ids_BT is not None
        own_N = self.propensity(batch.token_ids_BT)[real_BT]
        prior = own_N.sum()
        for _ in range(self.config.num_splices):
            prior = prior + self._spliced_loss(batch)
        if self.training:
            weight_N = self.word_weights(batch)[real_BT]
            loss_N = loss_N * weight_N
            self._weighed += torch.stack([torch.ones_like(weight_N), weight_N, weight_N**2]).sum(1).double().cpu()
        return {"report": loss_N.sum(), "prior": prior}

    @torch.no_grad()
    def word_weights(self, batch: Batch) -> Tensor:
        """w of every token behind BOS, (B, T-1), in [1/c, c]; what stands behind EOS means nothing."""
        assert batch.token_ids_BT is not None
        was_training = self.propensity.training
        self.propensity.eval()
        self.marginal.eval()
        log_ratio_BT = self.propensity(batch.token_ids_BT) - self.marginal(batch.token_ids_BT)
        self.propensity.train(was_training)
        self.marginal.train(was_training)
        largest = self.config.largest_weight
        weights_BT: Tensor = log_ratio_BT.exp().clamp(1 / largest, largest)
        return weights_BT

    def _spliced_loss(self, batch: Batch) -> Tensor:
        """Summed -log q of one sentence of each study behind another beginning."""
        model: Any = self.model
        assert batch.token_ids_BT is not None
        assert batch.lengths_B is not None
        ids_BT, lengths_B, begun_B = self.splicer.draw(
            batch.token_ids_BT, batch.lengths_B, eos_id=model.eos_id, pad_id=model.pad_id
        )
        place_T = torch.arange(ids_BT.shape[1] - 1, device=ids_BT.device)
        counted_BT = (place_T >= begun_B.unsqueeze(1)) & (place_T < (lengths_B - 1).unsqueeze(1))
        loss: Tensor = self.marginal(ids_BT)[counted_BT].sum()
        return loss
