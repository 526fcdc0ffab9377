"""The Explainer: a checkpoint that drafts a study's report and shows what every sentence of it rests on.

Shape legend: V views, S image side in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from radwright.data.loading import LoadedStudy
from radwright.decoding.config import DecodingConfig
from radwright.errors import CheckpointError, StudyError
from radwright.evidence.attention import attention_maps
from radwright.evidence.clue_effect import ClueEffect, clue_effects
from radwright.evidence.occlusion import OcclusionConfig, occlusion_maps
from radwright.evidence.sentences import sentence_log_probs, token_log_probs, with_drafts
from radwright.inference.checkpoint import Checkpoint
from radwright.inference.predictor import Predictor, draft_tokens
from radwright.text.sentences import TokenSentence, cut_tokens
from radwright.types import AttentionMaps, Batch, ClueTelling, Report, ReportModel, Skipped, Study


@dataclass(frozen=True, slots=True)
class SentenceEvidence:
    """What one sentence of a draft rests on.

    Attributes:
        sentence: it, and its tokens.
        log_prob: its log-probability (natural log) behind the words before it.
        occlusion_VSS: effect of every pixel on it, in nats (``radwright.evidence.occlusion``).
        attention_VSS: share of its attention, in [0, 1]; None of a network that shows none.
        clues: what clues do to it; empty of a network that is told none.
    """

    sentence: TokenSentence
    log_prob: float
    occlusion_VSS: Tensor
    attention_VSS: Tensor | None
    clues: tuple[ClueEffect, ...] = ()


@dataclass(frozen=True, slots=True)
class StudyEvidence:
    """A draft with the evidence for it.

    Attributes:
        report: the draft.
        batch: the study alone with its draft's tokens, on the network's device.
        sentences: in order, with their evidence.
    """

    report: Report
    batch: Batch
    sentences: tuple[SentenceEvidence, ...]


class Explainer(Predictor):
    """Drafts, and shows for every sentence attention, occlusion and the effect of clues; one study at a time.

    Args:
        checkpoint: a loaded checkpoint.
        decoding: another way to read reports out than the checkpoint's own.
        batch_size: images that go through the network at once.
        num_decoders: threads that decode images.
        occlusion: which windows are hidden.

    Raises:
        CheckpointError: the network writes no reports, or is not teacher-forced (``radwright.types.ReportModel``).
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        decoding: DecodingConfig | None = None,
        batch_size: int = 32,
        num_decoders: int = 2,
        occlusion: OcclusionConfig | None = None,
    ) -> None:
        super().__init__(checkpoint, decoding=decoding, batch_size=batch_size, num_decoders=num_decoders)
        if not isinstance(checkpoint.model, ReportModel):
            raise CheckpointError(f"{checkpoint.path}: {type(checkpoint.model).__name__} gives no text a probability")
        self.occlusion = occlusion or OcclusionConfig()

    def explain(
        self, studies: Iterable[Study], *, clues: bool = True, on_images: Callable[[int], None] | None = None
    ) -> Iterator[StudyEvidence | Skipped]:
        """The evidence, or the reason for none, per study, in order.

        Args:
            studies: to draft and explain.
            clues: whether clues are forced on and off, where the network is told any.
            on_images: told how many occluded images went through the network, as they do (see ``occlusion_maps``).
        """
        for outcomes, _ in self._chunks(studies):
            for views in outcomes:
                if isinstance(views, Skipped):
                    yield views
                    continue
                try:
                    yield self._explain(views, clues, on_images)
                except StudyError as error:
                    yield Skipped(views.study_id, str(error))

    def _explain(self, views: LoadedStudy, clues: bool, on_images: Callable[[int], None] | None) -> StudyEvidence:
        model, tokenizer = self.checkpoint.model, self.checkpoint.tokenizer
        batch = self.batch_of([views])
        [draft] = draft_tokens(model, tokenizer, batch, self.decoding, self.checkpoint.frequency)
        ids = draft.token_ids
        told = None
        if isinstance(model, ClueTelling):
            with torch.inference_mode():
                told = model.told(batch)[0]
        report = Report(views.study_id, tokenizer.decode(ids), draft.score, 0.0, len(ids), draft.finished, told)
        sentences = self.evidence(batch, ids, clues=clues, on_images=on_images)
        return StudyEvidence(report, with_drafts(batch, [ids], tokenizer), sentences)

    def evidence(
        self,
        batch: Batch,
        token_ids: Sequence[int],
        *,
        clues: bool = True,
        on_images: Callable[[int], None] | None = None,
    ) -> tuple[SentenceEvidence, ...]:
        """The evidence for every sentence of a draft that is there already.

        Args:
            batch: one study, on the network's device.
            token_ids: its draft, without BOS and EOS.
            clues, on_images: as for ``explain``.
        """
        model, tokenizer = self.checkpoint.model, self.checkpoint.tokenizer
        sentences = cut_tokens(token_ids, tokenizer)
        drafted = with_drafts(batch, [token_ids], tokenizer)
        log_probs = sentence_log_probs(token_log_probs(model, drafted)[0], sentences)
        occlusion_JVSS = occlusion_maps(
            model, drafted, sentences, self.occlusion, batch_size=self.batch_size, on_images=on_images
        )
        attention: list[Tensor | None] = [None] * len(sentences)
        if isinstance(model, AttentionMaps):
            attention = list(attention_maps(model, drafted, [sentences])[0].double().cpu())
        effects: list[tuple[ClueEffect, ...]] = [()] * len(sentences)
        if clues and isinstance(model, ClueTelling):
            effects = clue_effects(
                model, tokenizer, drafted, token_ids, sentences, self.decoding, batch_size=self.batch_size
            )
        columns = zip(sentences, log_probs, occlusion_JVSS, attention, effects, strict=True)
        return tuple(SentenceEvidence(*row) for row in columns)
