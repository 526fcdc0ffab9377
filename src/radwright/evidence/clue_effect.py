"""What clues do to a sentence: how likely it is, and what would stand there, with a clue forced on and forced off.

Pearl's do: the clue is set from outside whatever the images say, everything else stays as it was.

Shape legend: B variants, M diseases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from radwright.decoding.config import Beam, DecodingConfig, Greedy
from radwright.decoding.generate import generate
from radwright.evidence.sentences import sentence_log_probs, token_log_probs, with_drafts
from radwright.findings import read_report
from radwright.findings.signature import signature
from radwright.inference.predictor import special_ids
from radwright.methods.trrg.perception import telling
from radwright.text.sentences import TokenSentence, cut_tokens
from radwright.types import Batch, ClueTelling, ReportModel, Tokenizer

SURE = 0.95
"""How sure the network is told to be of a clue that is forced on and was not told."""


@dataclass(frozen=True, slots=True)
class ClueEffect:
    """What one clue does to one sentence.

    Attributes:
        disease: the clue.
        told: whether the draft was written from it.
        probability: as perceived, in [0, 1].
        spoken_of: whether the sentence asserts, denies or leaves open what counts as this disease.
        log_prob_on: of the sentence, the words before it as drafted, with the clue told.
        log_prob_off: the same without it.
        redone_on: the sentence that would stand there with the clue told; None where it was not redone, "" where the
            report would end.
        redone_off: the same without it.
    """

    disease: str
    told: bool
    probability: float
    spoken_of: bool
    log_prob_on: float
    log_prob_off: float
    redone_on: str | None = None
    redone_off: str | None = None

    @property
    def effect(self) -> float:
        """How much likelier the clue makes the sentence, in nats."""
        return self.log_prob_on - self.log_prob_off


def clue_effects(
    model: Any,
    tokenizer: Tokenizer,
    batch: Batch,
    token_ids: Sequence[int],
    sentences: Sequence[TokenSentence],
    decoding: DecodingConfig,
    *,
    batch_size: int = 32,
) -> list[tuple[ClueEffect, ...]]:
    """Per sentence the effects of the clues that were told and of those that it speaks of, the largest first.

    A sentence is redone, from the words before it, where it speaks of the clue. Forced on, a clue that was told keeps
    its probability; any other one is told with ``SURE``.

    Args:
        model: fulfils ``ReportModel`` and ``ClueTelling``; in evaluation mode.
        tokenizer: its own.
        batch: one study, on the model's device.
        token_ids: its draft, without BOS and EOS.
        sentences: of the draft.
        decoding: how sentences are redone; where it draws, the likeliest tokens are taken instead.
        batch_size: variants that go through the network at once.
    """
    with torch.inference_mode():
        told = model.told(batch)[0]
        perceived = dict(zip(model.diseases, model.perceive(batch)[0].tolist(), strict=True))
    spoken = [_spoken_of(sentence.text, model.findings) for sentence in sentences]
    diseases = sorted({*told, *(disease for names in spoken for disease in names)})
    forced = {(disease, on): _forced(told, disease, on=on) for disease in diseases for on in (True, False)}
    study = with_drafts(batch, [token_ids], tokenizer)
    keys = list(forced)
    scores: dict[tuple[str, bool], list[float]] = {}
    for start in range(0, len(keys), batch_size):
        chunk = keys[start : start + batch_size]
        with _told(model, study, [forced[key] for key in chunk]) as variants:
            rows = token_log_probs(model, variants)
        scores |= {key: sentence_log_probs(row, sentences) for key, row in zip(chunk, rows, strict=True)}
    wanted = [(place, disease, on) for place, names in enumerate(spoken) for disease in names for on in (True, False)]
    redone: dict[tuple[int, str, bool], str] = {}
    for start in range(0, len(wanted), batch_size):
        part = wanted[start : start + batch_size]
        beginnings = [token_ids[: sentences[place].start] for place, _, _ in part]
        with _told(model, batch, [forced[disease, on] for _, disease, on in part]) as variants:
            texts = _next_sentences(model, tokenizer, variants, beginnings, decoding)
        redone |= dict(zip(part, texts, strict=True))
    return [
        tuple(
            sorted(
                (
                    ClueEffect(
                        disease,
                        disease in told,
                        told.get(disease, perceived[disease]),
                        disease in names,
                        scores[disease, True][place],
                        scores[disease, False][place],
                        redone.get((place, disease, True)),
                        redone.get((place, disease, False)),
                    )
                    for disease in diseases
                    if disease in told or disease in names
                ),
                key=lambda effect: (-abs(effect.effect), effect.disease),
            )
        )
        for place, names in enumerate(spoken)
    ]


def _spoken_of(sentence: str, findings: Mapping[str, str | None]) -> list[str]:
    checked = {disease: finding for disease, finding in findings.items() if finding is not None}
    said = signature(read_report(sentence), list(checked.values()))
    return [disease for disease, status in zip(checked, said, strict=True) if status is not None]


def _forced(told: Mapping[str, float], disease: str, *, on: bool) -> dict[str, float]:
    others = {name: probability for name, probability in told.items() if name != disease}
    return others | {disease: told.get(disease, SURE)} if on else others


@contextmanager
def _told(model: ClueTelling, batch: Batch, clues: Sequence[Mapping[str, float]]) -> Iterator[Batch]:
    """The one study of ``batch`` once per set of clues, while the network is told these; its own policy comes back."""
    names = tuple(f"{batch.study_ids[0]}/{number}" for number in range(len(clues)))
    with telling(model, dict(zip(names, clues, strict=True))):
        yield replace(batch.rows(torch.zeros(len(clues), dtype=torch.int64)), study_ids=names)


def _next_sentences(
    model: ReportModel,
    tokenizer: Tokenizer,
    batch: Batch,
    beginnings: Sequence[Sequence[int]],
    decoding: DecodingConfig,
) -> list[str]:
    """The sentence that each report goes on with behind its beginning; "" where it ends there."""
    if not isinstance(decoding.strategy, Beam | Greedy):
        decoding = decoding.model_copy(update={"strategy": Greedy()})
    reports = generate(model, batch, decoding, **special_ids(tokenizer), beginnings=beginnings)
    texts = []
    for report, beginning in zip(reports, beginnings, strict=True):
        sentences = cut_tokens(report.token_ids, tokenizer)
        texts.append(next((sentence.text for sentence in sentences if sentence.stop > len(beginning)), ""))
    return texts
