"""The Predictor: a checkpoint that drafts reports; what generate, evaluate and serve all use."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from radwright.data.loading import LoadedStudy
from radwright.decoding.config import Consensus, DecodingConfig
from radwright.decoding.generate import Hypothesis, Writer, generate
from radwright.decoding.graphs import recorder
from radwright.decoding.stream import StreamEvent, stream
from radwright.errors import CheckpointError, ConfigError, StudyError
from radwright.inference.checkpoint import Checkpoint, load_checkpoint
from radwright.inference.reading import Precision, StudyReader
from radwright.metrics.cider import DocumentFrequency
from radwright.metrics.consensus import choose
from radwright.text.cleaning import clean_report
from radwright.types import Batch, ClueTelling, Decodable, ImageFeatures, Report, Skipped, Study, Tokenizer

FloatArray = NDArray[np.float32]


class Predictor(StudyReader):
    """Drafts reports for studies, in batches, in order; a study that cannot be read becomes a ``Skipped``.

    Args:
        checkpoint: a loaded checkpoint.
        decoding: another way to read reports out than the checkpoint's own.
        batch_size: studies decoded at once.
        num_decoders: threads that decode images while the network works.
        precision: of the network's matrix products.
        beginnings: study id -> text that its draft begins with, as if it had been dictated; others begin freely.
            ``stream`` knows nothing of them.

    Raises:
        CheckpointError: the network writes no reports (a pre-training stage).
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        decoding: DecodingConfig | None = None,
        batch_size: int = 16,
        num_decoders: int = 2,
        precision: Precision = "fp32",
        beginnings: Mapping[str, str] | None = None,
    ) -> None:
        if not isinstance(checkpoint.model, Decodable):
            raise CheckpointError(
                f"{checkpoint.path}: is a checkpoint of {checkpoint.config.method!r}, which writes no reports by "
                "itself; fine-tune from it (init_from), and give that run's best"
            )
        super().__init__(checkpoint, batch_size=batch_size, num_decoders=num_decoders, precision=precision)
        self._writer = recorder(checkpoint.model, self.device)
        self.decoding = checkpoint.config.decoding if decoding is None else decoding
        self.beginnings = {} if beginnings is None else dict(beginnings)

    @classmethod
    def load(cls, path: Path, *, device: str = "cpu", decoding: DecodingConfig | None = None) -> Predictor:
        """A predictor from a checkpoint directory (see ``load_checkpoint`` for what is raised)."""
        return cls(load_checkpoint(path, device=device), decoding=decoding)

    def draft(self, studies: Iterable[Study]) -> Iterator[Report | Skipped]:
        """A report or the reason for none per study, in order; the next batch's images decode meanwhile."""
        for outcomes, batch in self._chunks(studies):
            readable = [views for views in outcomes if not isinstance(views, Skipped)]
            drafts = iter(self._draft_readable(readable, batch))
            for views in outcomes:
                yield views if isinstance(views, Skipped) else next(drafts)

    def told_clues(self, studies: Iterable[Study]) -> Iterator[tuple[str, dict[str, float]] | Skipped]:
        """(study id, the clues it would be told) or the reason for none per study, in order; nothing is drafted.

        Raises:
            CheckpointError: the network is told no clues (``radwright.types.ClueTelling``).
        """
        model = self.checkpoint.model
        if not isinstance(model, ClueTelling):
            raise CheckpointError(f"{self.checkpoint.path}: {type(model).__name__} is told no clues")
        for outcomes, batch in self._chunks(studies):
            readable = [views for views in outcomes if not isinstance(views, Skipped)]
            clues = iter(self._told(readable, batch))
            for views in outcomes:
                yield views if isinstance(views, Skipped) else next(clues)

    def _told(
        self, readable: Sequence[LoadedStudy], batch: Batch | None
    ) -> list[tuple[str, dict[str, float]] | Skipped]:
        """Clues of a batch; where the network fails on it, of each study alone, so that one costs no other its own."""
        if batch is None:
            return []
        try:
            with torch.inference_mode(), self._computing():
                told = self.checkpoint.model.told(batch)
        except StudyError as error:
            if len(readable) == 1:
                return [Skipped(readable[0].study_id, str(error))]
            return [outcome for views in readable for outcome in self._told([views], self.batch_of([views]))]
        return [(views.study_id, clues) for views, clues in zip(readable, told, strict=True)]

    def image_features(self, studies: Iterable[Study]) -> Iterator[tuple[str, FloatArray] | Skipped]:
        """(study id, its image features (C,)) or the reason for none per study, in order.

        Raises:
            CheckpointError: the network has no image features (``radwright.types.ImageFeatures``).
        """
        model = self.checkpoint.model
        if not isinstance(model, ImageFeatures):
            raise CheckpointError(f"{self.checkpoint.path}: {type(model).__name__} has no image features to compare")
        for outcomes, batch in self._chunks(studies):
            features = iter(())
            if batch is not None:
                with torch.inference_mode(), self._computing():
                    features = iter(model.image_features(batch).float().cpu().numpy())
            for views in outcomes:
                yield views if isinstance(views, Skipped) else (views.study_id, next(features))

    def stream(self, study: Study) -> Iterator[str | Report]:
        """One study's draft while it is written: ever longer texts that only grow, then the report.

        Raises:
            StudyError: the study cannot be read.
        """
        views = self.read_study(study)
        if isinstance(views, Skipped):
            raise StudyError(f"{views.study_id}: {views.reason}")
        batch, started, token_ids = self.batch_of([views]), time.perf_counter(), list[int]()
        for event in self.stream_tokens(batch):
            token_ids += event.token_ids
            if event.hypothesis is None:
                yield growing_text(self.checkpoint.tokenizer, token_ids)
                continue
            seconds = time.perf_counter() - started
            report = as_report(study.study_id, event.hypothesis, self.checkpoint.tokenizer, seconds)
            with self._computing():
                reports = with_clues(self.checkpoint.model, batch, [report])
            yield from reports

    def stream_tokens(self, batch: Batch) -> Iterator[StreamEvent]:
        """Drafts of a batch as their tokens become certain (``radwright.decoding.stream``); a consensus, which is
        certain of nothing before every draw has ended, gives each draft whole.

        Raises:
            StudyError: see ``radwright.decoding.generate.generate``.
        """
        checkpoint = self.checkpoint
        if isinstance(self.decoding.strategy, Consensus):
            with self._computing():
                found = draft_tokens(
                    checkpoint.model,
                    checkpoint.tokenizer,
                    batch,
                    self.decoding,
                    checkpoint.frequency,
                    writer=self._writer,
                )
            yield from (StreamEvent(draft.token_ids, draft, row) for row, draft in enumerate(found))
            return
        events = stream(checkpoint.model, batch, self.decoding, **special_ids(checkpoint.tokenizer))
        while True:
            with self._computing():  # not around a yield: the precision is the whole thread's
                event = next(events, None)
            if event is None:
                return
            yield event

    def _draft_readable(self, studies: Sequence[LoadedStudy], batch: Batch | None) -> list[Report | Skipped]:
        """Drafts of a batch; where the network fails on it, each study alone, so that one costs no other its draft."""
        if batch is None:
            return []
        try:
            with self._computing():
                return [*self._reports(batch)]
        except StudyError as error:
            if len(studies) == 1:
                return [Skipped(studies[0].study_id, str(error))]
            return [outcome for study in studies for outcome in self._draft_readable([study], self.batch_of([study]))]

    def _begun(self, study_ids: Sequence[str]) -> list[list[int]] | None:
        """The tokens that each study's draft begins with; None where all begin freely.

        Raises:
            StudyError: a word of a beginning is not in the vocabulary.
        """
        if not self.beginnings:
            return None
        tokenizer = self.checkpoint.tokenizer
        begun = []
        for study_id in study_ids:
            text = self.beginnings.get(study_id, "")
            ids = tokenizer.encode(text)
            if getattr(tokenizer, "unk_id", None) in ids:
                raise StudyError(f"study {study_id}: the beginning {text!r} has words that the network does not know")
            begun.append(ids)
        return begun

    def _reports(self, batch: Batch) -> list[Report]:
        """The drafts of a batch on the network's device."""
        checkpoint, begun = self.checkpoint, self._begun(batch.study_ids)
        model, tokenizer = checkpoint.model, checkpoint.tokenizer
        drafts = draft_batch(model, tokenizer, batch, self.decoding, checkpoint.frequency, begun, writer=self._writer)
        return with_clues(model, batch, drafts)


def special_ids(tokenizer: Tokenizer) -> dict[str, Any]:
    """The ids that decoding must know: BOS, EOS, and what is never written (PAD, BOS, unknown words)."""
    unknown = getattr(tokenizer, "unk_id", None)
    never = {tokenizer.pad_id, tokenizer.bos_id} | (set() if unknown is None else {unknown})
    return {"bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id, "suppressed_ids": tuple(sorted(never))}


def draft_batch(
    model: Decodable,
    tokenizer: Tokenizer,
    batch: Batch,
    decoding: DecodingConfig,
    frequency: DocumentFrequency | None = None,
    beginnings: Sequence[Sequence[int]] | None = None,
    *,
    writer: Writer | None = None,
) -> list[Report]:
    """Reports for a batch that is on the model's device already.

    Args:
        model: in evaluation mode.
        tokenizer: its own.
        batch: B studies.
        decoding: how to read reports out.
        frequency: of n-grams in the train reports; only a consensus asks for it.
        beginnings: per study the tokens that its draft begins with (see ``generate``).
        writer: what runs the steps (see ``generate``).

    Raises:
        ConfigError: a consensus weighs rare n-grams and there is no ``frequency``.
        StudyError: see ``generate``.
    """
    started = time.perf_counter()
    hypotheses = draft_tokens(model, tokenizer, batch, decoding, frequency, beginnings, writer=writer)
    seconds = (time.perf_counter() - started) / max(1, len(batch))
    return [
        as_report(study_id, hypothesis, tokenizer, seconds)
        for study_id, hypothesis in zip(batch.study_ids, hypotheses, strict=True)
    ]


def growing_text(tokenizer: Tokenizer, token_ids: Sequence[int]) -> str:
    """The text of a report's first tokens, such that it is a beginning of the text of more of them.

    A period at its end is left out: tokenizers of cleaned words put one behind any last word.
    """
    return tokenizer.decode(list(token_ids)).removesuffix(".")


def as_report(study_id: str, hypothesis: Hypothesis, tokenizer: Tokenizer, seconds: float) -> Report:
    """A hypothesis as a report."""
    ids = hypothesis.token_ids
    return Report(study_id, tokenizer.decode(ids), hypothesis.score, seconds, len(ids), hypothesis.finished)


def draft_tokens(
    model: Decodable,
    tokenizer: Tokenizer,
    batch: Batch,
    decoding: DecodingConfig,
    frequency: DocumentFrequency | None = None,
    beginnings: Sequence[Sequence[int]] | None = None,
    *,
    writer: Writer | None = None,
) -> list[Hypothesis]:
    """As ``draft_batch``, the drafts as their tokens."""
    strategy = decoding.strategy
    if isinstance(strategy, Consensus) and strategy.rarity and frequency is None:
        raise ConfigError(
            "decoding.strategy: this checkpoint does not know how rare n-grams are in its train reports "
            "(document_frequency.json); say strategy.rarity=0, or decode otherwise"
        )
    hypotheses = generate(model, batch, decoding, **special_ids(tokenizer), beginnings=beginnings, writer=writer)
    if isinstance(strategy, Consensus):
        known = frequency or DocumentFrequency(1, Counter())
        voters = [_pool(hypothesis) for hypothesis in hypotheses]
        if strategy.num_candidates:
            drawn = decoding.model_copy(update={"strategy": _candidates(strategy)})
            hypotheses = generate(model, batch, drawn, **special_ids(tokenizer), beginnings=beginnings, writer=writer)
        hypotheses = [
            _consensus(_pool(hypothesis), votes, tokenizer, known, strategy.rarity)
            for hypothesis, votes in zip(hypotheses, voters, strict=True)
        ]
    return hypotheses


def with_clues(model: Decodable, batch: Batch, reports: Sequence[Report]) -> list[Report]:
    """The reports of a batch with the clues that they were written from, where the network is told any."""
    if not isinstance(model, ClueTelling):
        return [*reports]
    # The decoding state does not leave ``generate``, so the images are encoded once more: one step of many.
    with torch.inference_mode():
        clues = model.told(batch)
    return [replace(report, clues=told) for report, told in zip(reports, clues, strict=True)]


def _candidates(strategy: Consensus) -> Consensus:
    """How the candidates of a consensus are drawn: sharper than its voters, and by a seed of their own."""
    changes = {"num_samples": strategy.num_candidates, "temperature": strategy.candidate_temperature}
    return strategy.model_copy(update={**changes, "num_candidates": 0, "seed": strategy.seed + 1})


def _pool(best: Hypothesis) -> list[Hypothesis]:
    return [best, *best.alternatives]


def _consensus(
    candidates: list[Hypothesis],
    voters: list[Hypothesis],
    tokenizer: Tokenizer,
    frequency: DocumentFrequency,
    rarity: float,
) -> Hypothesis:
    texts, votes = (
        [clean_report(tokenizer.decode(hypothesis.token_ids)) for hypothesis in pool] for pool in (candidates, voters)
    )
    return candidates[choose(texts, frequency, rarity=rarity, voters=votes)]
