"""The Asserter: a checkpoint that drafts reports and says of each finding they assert how sure it is, or is silent."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from radwright.data.loading import LoadedStudy
from radwright.errors import CheckpointError, StudyError
from radwright.evidence.asserted import asserted_in, marked, sentences_to_withhold, without
from radwright.evidence.features import Drafted, measure_features
from radwright.evidence.sentences import token_log_probs, with_drafts
from radwright.evidence.silence import Silence, study_digest
from radwright.inference.predictor import Predictor, draft_tokens, with_clues
from radwright.text.sentences import cut_tokens
from radwright.types import AssertedFinding, Assertions, Batch, Report, ReportModel, Skipped, Study

CALIBRATED = "it calibrated the bars, which promise nothing for it"
"""Why a study that calibrated is skipped where drafts are filtered."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What becomes of drafts.

    Attributes:
        silence: the checkpoint's calibration.
        bar: a sentence stands where each finding that it asserts has a probability above it.
        marks: True: other sentences are marked as uncertain; False: they are left out.
    """

    silence: Silence
    bar: float
    marks: bool


class Asserter(Predictor):
    """Drafts whose reports carry what they assert (``Report.assertions``), filtered where that is asked for.

    With a filter, studies that calibrated it become a ``Skipped``: the bar's promise does not hold for them.

    Args:
        predictor: whose checkpoint, decoding and batch size are taken over.
        filter: None: nothing is judged, marked or left out; all features are measured.

    Raises:
        CheckpointError: the network gives texts no probability (``radwright.types.ReportModel``).
    """

    def __init__(self, predictor: Predictor, filter: Filter | None = None) -> None:
        checkpoint = predictor.checkpoint
        super().__init__(
            checkpoint,
            decoding=predictor.decoding,
            batch_size=predictor.batch_size,
            num_decoders=predictor.num_decoders,
            precision=predictor.precision,
        )
        if not isinstance(checkpoint.model, ReportModel):
            raise CheckpointError(f"{checkpoint.path}: {type(checkpoint.model).__name__} gives no text a probability")
        self.filter = filter
        self._members = frozenset(filter.silence.members) if filter else frozenset()

    def stream(self, study: Study) -> Iterator[str | Report]:
        """The report alone: what a draft may say is known when it is whole.

        Raises:
            StudyError: the study cannot be read.
        """
        [outcome] = self.draft([study])
        if isinstance(outcome, Skipped):
            raise StudyError(f"{outcome.study_id}: {outcome.reason}")
        yield outcome

    def read_study(self, study: Study) -> LoadedStudy | Skipped:
        """As its base, but a study that calibrated is skipped."""
        views = super().read_study(study)
        if self._members and not isinstance(views, Skipped) and study_digest(study) in self._members:
            return Skipped(study.study_id, CALIBRATED)
        return views

    def _reports(self, batch: Batch) -> list[Report]:
        started = time.perf_counter()
        checkpoint, tokenizer = self.checkpoint, self.checkpoint.tokenizer
        drafts = draft_tokens(
            checkpoint.model, tokenizer, batch, self.decoding, checkpoint.frequency, writer=self._writer
        )
        assertions = self.assertions(batch, [draft.token_ids for draft in drafts])
        seconds = (time.perf_counter() - started) / max(1, len(batch))
        reports = [
            Report(
                study_id,
                self.text(own, tokenizer.decode(draft.token_ids)),
                draft.score,
                seconds,
                len(draft.token_ids),
                draft.finished,
                assertions=own,
            )
            for study_id, draft, own in zip(batch.study_ids, drafts, assertions, strict=True)
        ]
        return with_clues(checkpoint.model, batch, reports)

    def assertions(self, batch: Batch, token_ids: Sequence[Sequence[int]]) -> list[Assertions]:
        """What drafts of a batch assert, judged where there is a filter.

        Args:
            batch: B studies, on the network's device.
            token_ids: B drafts, without BOS and EOS.
        """
        model, tokenizer = self.checkpoint.model, self.checkpoint.tokenizer
        sentences = [cut_tokens(ids, tokenizer) for ids in token_ids]
        texts = [tuple(sentence.text for sentence in own) for own in sentences]
        asserted = [asserted_in(own) for own in texts]
        names = None if self.filter is None else self.filter.silence.confidence.features
        with torch.inference_mode():
            told = with_drafts(batch, token_ids, tokenizer)
            drafted = Drafted(model, told, sentences, asserted, token_log_probs(model, told))
            features = measure_features(drafted, names)
        found = [
            Assertions(
                own,
                tuple(
                    AssertedFinding(finding, place, values)
                    for (place, finding), values in zip(places, rows, strict=True)
                ),
            )
            for own, places, rows in zip(texts, asserted, features, strict=True)
        ]
        return found if self.filter is None else [judge(own, self.filter) for own in found]

    def text(self, assertions: Assertions, draft: str) -> str:
        """The draft with its withheld sentences marked or left out."""
        if self.filter is None or not assertions.withheld:
            return draft
        change = marked if self.filter.marks else without
        return change(assertions.sentences, assertions.withheld)


def judge(assertions: Assertions, filter: Filter) -> Assertions:
    """The same with the probability of every finding, and which sentences are withheld."""
    findings = assertions.findings
    probability_A = filter.silence.confidence.probabilities(
        [each.finding for each in findings], [each.features for each in findings]
    )
    places = [(each.sentence, each.finding) for each in findings]
    withheld = sentences_to_withhold(assertions.sentences, places, np.asarray(probability_A).tolist(), filter.bar)
    judged = tuple(
        replace(each, probability=float(probability), kept=each.sentence not in withheld)
        for each, probability in zip(findings, probability_A, strict=True)
    )
    return replace(assertions, findings=judged, bar=filter.bar, withheld=withheld)
