"""A report's sentences with what each says of the bank's diseases, and which of them a training step draws.

Shape legend: M diseases.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from radwright.findings import read_report
from radwright.findings.signature import Signature, signature

CACHED_TEXTS = 65_536
_BLANK = re.compile(r"[\s.]+")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence.

    Attributes:
        text: as it stands in the report.
        canonical: lower-cased, white space joined, without full stops: what equal sentences share.
        signature: M entries: 1 present, 0 absent, -1 left open, None not mentioned.
    """

    text: str
    canonical: str
    signature: Signature

    @property
    def is_positive(self) -> bool:
        """Whether it asserts a disease."""
        return 1 in self.signature

    @property
    def is_neutral(self) -> bool:
        """Whether it speaks of no disease of the bank."""
        return all(status is None for status in self.signature)


@lru_cache(maxsize=CACHED_TEXTS)
def report_sentences(text: str, findings: tuple[str, ...]) -> tuple[Sentence, ...]:
    """The sentences of a report; each is read alone, so that its signature is its own.

    Args:
        text: a report as written (no cleaning: "1.2 cm" and "T1. No effusion" stay what they are).
        findings: of the M diseases, "" for one that nothing can check.
    """
    spans = read_report(text).sentences
    # A span ends at its last word; what stands up to the next one (a period, a bracket) belongs to it.
    ends = [start for start, _ in spans[1:]] + [len(text)]
    whole = (text[start:end].strip() for (start, _), end in zip(spans, ends, strict=True))
    return tuple(
        Sentence(sentence, _BLANK.sub(" ", sentence.lower()).strip(), report_signature(sentence, findings))
        for sentence in whole
        if sentence
    )


@lru_cache(maxsize=CACHED_TEXTS)
def report_signature(text: str, findings: tuple[str, ...]) -> Signature:
    """What a whole text says of the M diseases; None of those that nothing can check (finding "")."""
    said = iter(signature(read_report(text), [finding for finding in findings if finding]))
    return tuple(next(said) if finding else None for finding in findings)


def draw_sentences(
    sentences: Sequence[Sentence], seed: int, *, num_negated: int, num_neutral: int
) -> tuple[Sentence, ...]:
    """Every sentence that asserts a disease, and a few of the others: the remedy for the many negated sentences.

    Args:
        sentences: of one report.
        seed: of the draw; the same seed draws the same.
        num_negated: at most so many of those that only deny or leave open.
        num_neutral: at most so many of those that speak of no disease.
    """
    rng = random.Random(seed)
    distinct = list({sentence.canonical: sentence for sentence in sentences}.values())
    positive = [sentence for sentence in distinct if sentence.is_positive]
    neutral = [sentence for sentence in distinct if sentence.is_neutral]
    negated = [sentence for sentence in distinct if not (sentence.is_positive or sentence.is_neutral)]
    return (
        *positive,
        *rng.sample(negated, min(num_negated, len(negated))),
        *rng.sample(neutral, min(num_neutral, len(neutral))),
    )
