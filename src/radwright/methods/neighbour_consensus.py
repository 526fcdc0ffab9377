"""Teacher forcing towards what the reports of similar images agree on, ours for these methods.

A report says what one reader chose to mention; the likeliest next word of a mostly normal collection is learnt long
before the image is looked at, and beam search then writes one report for everyone. Here each study's target is the
report, among those of its nearest neighbours by the stem's features, that agrees most with all of theirs: a text that
the image does determine. It is sequence-level distillation (Kim and Rush, EMNLP 2016) whose teacher is a
nearest-neighbour consensus (minimum Bayes risk with the neighbours as samples). The stem has to know something
already: pre-train it. Targets are fixed before the first step, by the weights that the stage starts from.

Shape legend: N studies, C pooled features, B studies of a batch, T report tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from radwright.config import Config
from radwright.errors import ConfigError, StudyError
from radwright.methods.objectives import TeacherForcing, TeacherForcingConfig
from radwright.metrics.cider import DocumentFrequency
from radwright.metrics.consensus import choose
from radwright.types import Batch, ImageFeatures

CHUNK = 1024
"""Studies whose distances to all others are held at once."""


class NeighbourConsensusConfig(Config):
    """Where the targets come from."""

    num_neighbours: int = Field(default=30, ge=2)
    """Most similar other studies whose reports are asked. More: safer and more alike; fewer: more distinct, noisier."""
    rarity: float = Field(default=0.33, ge=0, le=1)
    """Share of the agreement in which an n-gram counts by how rare it is in the reports; see ``Consensus``."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target's probability spread over the vocabulary."""


class NeighbourConsensus(nn.Module):
    """Cross-entropy of every next token of the consensus report, EOS included.

    A study's own report is no neighbour of its own. Finding the neighbours costs N * N * C multiplications and N * C
    numbers of memory: meant for collections of some ten thousand studies.
    """

    Config = NeighbourConsensusConfig

    def __init__(self, model: nn.Module, config: NeighbourConsensusConfig) -> None:
        """Hold the network.

        Raises:
            ConfigError: it has no image features to compare images by.
        """
        super().__init__()
        if not isinstance(model, ImageFeatures):
            raise ConfigError(
                f"objective neighbour_consensus: {type(model).__name__} has no image_features to compare images by"
            )
        self.model = model
        self.config = config
        self.forcing = TeacherForcing(model, TeacherForcingConfig(label_smoothing=config.label_smoothing))
        self.weights: Mapping[str, float] = self.forcing.weights
        self.targets: dict[str, Tensor] = {}
        """Study id -> its target from BOS to EOS; filled by ``read_studies``."""

    @torch.no_grad()
    def read_studies(self, batches: Iterable[Batch]) -> None:
        """Settle every study's target from the images and reports of all, as the network sees them now.

        Args:
            batches: the train studies without augmentation; those without image or report are passed over.

        Raises:
            StudyError: fewer than two studies have both.
        """
        model: Any = self.model
        was_training = model.training
        model.eval()
        features, reports = [], {}
        try:
            for batch in batches:
                complete_B = (batch.has_image_B & batch.has_report_B).cpu()
                if not bool(complete_B.any()):
                    continue
                whole = batch.rows(complete_B.nonzero().flatten())
                assert whole.token_ids_BT is not None
                assert whole.lengths_B is not None
                features.append(model.image_features(whole).float().cpu())
                for study_id, ids, length in zip(
                    whole.study_ids, whole.token_ids_BT.cpu(), whole.lengths_B.tolist(), strict=True
                ):
                    reports[study_id] = ids[:length].clone()
        finally:
            model.train(was_training)
        if len(reports) < 2:
            raise StudyError("objective neighbour_consensus: needs at least two studies with image and report")
        nearest = neighbours(torch.cat(features), self.config.num_neighbours)
        self.targets = self._settle(list(reports), list(reports.values()), nearest)

    def _settle(self, study_ids: list[str], reports: list[Tensor], nearest_NK: Tensor) -> dict[str, Tensor]:
        special = {self.model.bos_id, self.model.eos_id}
        texts = [" ".join(str(number) for number in ids.tolist() if number not in special) for ids in reports]
        frequency = DocumentFrequency.of([text] for text in texts)
        targets = {}
        for study_id, near in zip(study_ids, nearest_NK.tolist(), strict=True):
            chosen = choose([texts[other] for other in near], frequency, rarity=self.config.rarity)
            targets[study_id] = reports[near[chosen]]
        return targets

    def counts(self, batch: Batch) -> dict[str, float]:
        """Number of target tokens: every token of a consensus report but its BOS."""
        return self.forcing.counts(self._with_targets(batch))

    def observed(self) -> dict[str, float]:
        """Share of distinct targets, and the gates of the model's interventions."""
        distinct = len({tuple(ids.tolist()) for ids in self.targets.values()}) / max(1, len(self.targets))
        return {"distinct_targets": distinct} | self.forcing.observed()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Summed cross-entropy over the targets."""
        return self.forcing(self._with_targets(batch))  # type: ignore[no-any-return]

    def _with_targets(self, batch: Batch) -> Batch:
        if unknown := [study_id for study_id in batch.study_ids if study_id not in self.targets]:
            raise StudyError(
                f"study {unknown[0]}: has no target; it has no image or no report, or read_studies was not called"
            )
        targets = [self.targets[study_id] for study_id in batch.study_ids]
        device = batch.images_BV1SS.device
        pad_id: Any = self.model.pad_id
        ids_BT = nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=pad_id).to(device)
        return replace(batch, token_ids_BT=ids_BT, lengths_B=torch.tensor([len(ids) for ids in targets]).to(device))


def neighbours(features_NC: Tensor, number: int) -> Tensor:
    """The most similar other rows of each row, int64 (N, min(number, N - 1)), the most similar one first.

    Similar by the cosine of features standardised over all rows; equals go to the lower row.
    """
    standard = (features_NC - features_NC.mean(0)) / (features_NC.std(0, correction=0) + 1e-3)
    unit_NC = nn.functional.normalize(standard, dim=1)
    number = min(number, len(unit_NC) - 1)
    found = []
    for start in range(0, len(unit_NC), CHUNK):
        cosine_MN = unit_NC[start : start + CHUNK] @ unit_NC.T
        cosine_MN[torch.arange(len(cosine_MN)), torch.arange(start, start + len(cosine_MN))] = -torch.inf
        found.append(cosine_MN.sort(dim=1, descending=True, stable=True).indices[:, :number])
    return torch.cat(found)
