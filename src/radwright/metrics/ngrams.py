"""Word n-grams with their counts, the raw material of BLEU and CIDEr: of one text, and of all texts at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radwright.metrics.words import IntArray, Numbering, Words

MAX_ORDER = 4
Ngram = tuple[str, ...]
_KEY_BITS = 62


def count_ngrams(words: Sequence[str]) -> list[Counter[Ngram]]:
    """Counts of the n-grams of orders 1 to 4; index 0 holds the single words."""
    shifted = [words[start:] for start in range(MAX_ORDER)]
    return [Counter(zip(*shifted[:order], strict=False)) for order in range(1, MAX_ORDER + 1)]


@dataclass(frozen=True, slots=True)
class NgramCounts:
    """The n-grams of one order in the drafts and references of all studies.

    An entry is one n-gram in one text; entries are sorted by n-gram, then by study, the study's draft first. A group is
    one n-gram in one study.

    Attributes:
        ngrams: (entries,) number of the n-gram.
        texts: (entries,) the text.
        counts: (entries,) how often it is there.
        firsts: (entries,) the word that begins its first occurrence there.
        groups: (entries,) number of the group.
        starts: (groups,) first entry of each group.
    """

    ngrams: IntArray
    texts: IntArray
    counts: IntArray
    firsts: IntArray
    groups: IntArray
    starts: IntArray


@dataclass(frozen=True, slots=True)
class StudyTexts:
    """The words of n studies, each study's draft before its references.

    Attributes:
        words: of all texts.
        studies: (texts,) the study of each text.
        drafts: (n,) the text that is the study's draft.
        vocabulary: number of a word -> word.
    """

    words: Words
    studies: IntArray
    drafts: IntArray
    vocabulary: tuple[str, ...]

    @classmethod
    def of(cls, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> StudyTexts:
        """Split n drafts and n non-empty lists of references at white space."""
        numbering = Numbering()
        texts = [
            text.split() for draft, targets in zip(hypotheses, references, strict=True) for text in (draft, *targets)
        ]
        words = Words.of(texts, numbering)
        num_texts = np.fromiter((1 + len(targets) for targets in references), dtype=np.int64, count=len(references))
        studies = np.repeat(np.arange(len(references)), num_texts)
        return cls(words, studies, np.cumsum(num_texts) - num_texts, tuple(numbering))

    @property
    def is_reference(self) -> NDArray[np.bool_]:
        """(texts,) whether a text is a reference."""
        found = np.ones(len(self.studies), dtype=np.bool_)
        found[self.drafts] = False
        return found

    def count(self) -> Iterator[NgramCounts]:
        """Counts of the n-grams of order 1, then 2, 3 and 4; equal to ``count_ngrams`` of every text (tested)."""
        texts = self.words.texts
        remaining = self.words.lengths[texts] - self.words.places
        ngrams = np.zeros(len(texts), dtype=np.int64)
        for order in range(1, MAX_ORDER + 1):
            begins = np.flatnonzero(remaining >= order)
            keys = ngrams[begins] * max(1, len(self.vocabulary)) + self.words.ids[begins + order - 1]
            sorting = _stable_order(keys)
            begins, keys = begins[sorting], keys[sorting]
            new = np.ones(len(keys), dtype=np.bool_)
            new[1:] = keys[1:] != keys[:-1]
            numbers = np.cumsum(new) - 1
            ngrams[begins] = numbers
            entries = np.flatnonzero(new | _changes(texts[begins]))
            studies = self.studies[texts[begins[entries]]]
            begins_group = new[entries] | _changes(studies)
            yield NgramCounts(
                ngrams=numbers[entries],
                texts=texts[begins[entries]],
                counts=np.diff(np.append(entries, len(keys))),
                firsts=begins[entries],
                groups=np.cumsum(begins_group) - 1,
                starts=np.flatnonzero(begins_group),
            )


def _changes(values: IntArray) -> NDArray[np.bool_]:
    """Whether each value differs from the one before it; the first does."""
    changes = np.ones(len(values), dtype=np.bool_)
    changes[1:] = values[1:] != values[:-1]
    return changes


def _stable_order(keys: IntArray) -> IntArray:
    """``argsort`` that leaves equal keys in their order; a sort of keys and places packed together is much faster."""
    bits = len(keys).bit_length()
    if int(keys.max(initial=0)).bit_length() + bits > _KEY_BITS:
        return np.argsort(keys, kind="stable")
    return np.sort(keys << bits | np.arange(len(keys))) & ((1 << bits) - 1)
