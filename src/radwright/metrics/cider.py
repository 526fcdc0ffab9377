"""CIDEr-D: agreement of tf-idf weighted n-grams, clipped, with a Gaussian penalty for a different length.

Vedantam et al., CVPR 2015, in coco-caption's form (n = 1..4, sigma = 6, times 10).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radwright.metrics.base import FloatArray, add_up, check_pairs, divide
from radwright.metrics.ngrams import MAX_ORDER, Ngram, NgramCounts, StudyTexts, count_ngrams

SIGMA = 6.0


@dataclass(frozen=True, slots=True)
class DocumentFrequency:
    """In how many studies an n-gram occurs.

    Attributes:
        num_studies: studies counted.
        counts: n-gram -> studies in whose references it occurs.
    """

    num_studies: int
    counts: Counter[Ngram]

    @classmethod
    def of(cls, references: Iterable[Sequence[str]]) -> DocumentFrequency:
        """Count over studies, each a list of cleaned references."""
        counts: Counter[Ngram] = Counter()
        num_studies = 0
        for texts in references:
            num_studies += 1
            counts.update({ngram for text in texts for order in count_ngrams(text.split()) for ngram in order})
        return cls(num_studies, counts)

    def weight(self, ngram: Ngram) -> float:
        """Inverse document frequency: ln(studies) - ln(max(1, count))."""
        return self.idf(self.counts[ngram])

    def idf(self, count: int) -> float:
        """The weight of an n-gram that ``count`` studies have."""
        return math.log(self.num_studies) - math.log(max(1, count))


class AlikeFrequency(DocumentFrequency):
    """Every n-gram weighs 1, common or rare."""

    def weight(self, ngram: Ngram) -> float:
        """1."""
        return 1.0


ALIKE = AlikeFrequency(1, Counter())
"""For agreement without idf weights."""


@dataclass(frozen=True, slots=True)
class Weighted:
    """A text as tf-idf vectors: per order n-gram -> weight, its norm, and the length that the penalty compares."""

    vectors: tuple[dict[Ngram, float], ...]
    norms: tuple[float, ...]
    length: int


class Cider:
    """CIDEr-D; a row is [10 * similarity, 1].

    Args:
        document_frequency: where idf weights come from; None counts the evaluated references, as coco-caption does, so
            that the value depends on the test set (one single study scores 0).
    """

    names = ("cider",)
    higher_is_better = (True,)
    reads_as_written = False

    def __init__(self, document_frequency: DocumentFrequency | None = None) -> None:
        self.document_frequency = document_frequency
        origin = "refs" if document_frequency is None else f"file of {document_frequency.num_studies}"
        self.variant = f"CIDEr-D, n 1-4, sigma 6, x10, df={origin}"

    def rows(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> FloatArray:
        """Statistics (n, 2); see ``Metric``. Document frequencies stay those of all the references in a resample."""
        check_pairs(hypotheses, references)
        texts = StudyTexts.of(hypotheses, references)
        is_reference = texts.is_reference
        theirs, ours = np.flatnonzero(is_reference), texts.drafts[texts.studies[is_reference]]
        totals = np.zeros(len(theirs))
        word_texts = texts.words.texts
        for order, found in enumerate(texts.count(), start=1):
            weights = found.counts * self._idf(found, order, texts, is_reference)[found.ngrams]
            # Sums run in the order of the words, so that they are the same to the last bit in any company.
            squares = np.zeros(len(word_texts))
            squares[found.firsts] = weights * weights
            norms = np.sqrt(add_up(word_texts, squares, len(is_reference)))
            starts = found.starts[found.groups]
            shared = np.flatnonzero(is_reference[found.texts] & ~is_reference[found.texts[starts]])
            shared = shared[np.argsort(found.firsts[starts[shared]], kind="stable")]
            products = np.minimum(weights[starts[shared]], weights[shared]) * weights[shared]
            common = add_up(found.texts[shared], products, len(is_reference))
            totals += divide(common[theirs], norms[ours] * norms[theirs])
        lengths = np.maximum(0, texts.words.lengths - 1)  # as released: bigrams are counted as the length
        penalties = np.array([_penalty(difference) for difference in (lengths[ours] - lengths[theirs]).tolist()])
        sums = add_up(texts.studies[theirs], totals / MAX_ORDER * penalties, len(hypotheses))
        numbers = np.bincount(texts.studies[theirs], minlength=len(hypotheses))
        return np.stack((10 * sums / np.maximum(1, numbers), np.ones(len(hypotheses))), axis=1)

    def scores(self, sums: FloatArray) -> FloatArray:
        """(..., 1) mean similarity in [0, 10]."""
        return divide(sums[..., 0:1], sums[..., 1:2])

    def _idf(self, found: NgramCounts, order: int, texts: StudyTexts, is_reference: NDArray[np.bool_]) -> FloatArray:
        """The weight of every n-gram of one order."""
        new = np.flatnonzero(np.diff(found.ngrams, prepend=-1))
        if self.document_frequency is not None:
            words, ids = texts.vocabulary, texts.words.ids
            begins = found.firsts[new].tolist()
            weight = self.document_frequency.weight
            return np.array([weight(tuple(words[k] for k in ids[at : at + order])) for at in begins], dtype=np.float64)
        # One for every study in whose references it is.
        inside = found.groups[is_reference[found.texts]]
        owners = found.ngrams[found.starts[inside[np.flatnonzero(np.diff(inside, prepend=-1))]]]
        frequencies = np.bincount(owners, minlength=len(new))
        known = DocumentFrequency(max(1, len(texts.drafts)), Counter())
        table = np.array([known.idf(count) for count in range(int(frequencies.max(initial=0)) + 1)])
        return table[frequencies]


def weigh(text: str, frequency: DocumentFrequency, idf: dict[Ngram, float]) -> Weighted:
    """The tf-idf vectors of a cleaned text; ``idf`` keeps the weights that were already worked out."""
    vectors = []
    counted = count_ngrams(text.split())
    for counts in counted:
        vector = {}
        for ngram, count in counts.items():
            if ngram not in idf:
                idf[ngram] = frequency.weight(ngram)
            vector[ngram] = count * idf[ngram]
        vectors.append(vector)
    norms = tuple(math.sqrt(sum(weight * weight for weight in vector.values())) for vector in vectors)
    # coco-caption adds up the counts of bigrams (its index 1), not of words, as the length.
    return Weighted(tuple(vectors), norms, counted[1].total())


def similarity(draft: Weighted, reference: Weighted) -> float:
    """CIDEr-D of one pair, in [0, 1]: mean over n of the clipped cosine, times the penalty of a different length."""
    total = 0.0
    for order in range(MAX_ORDER):
        theirs = reference.vectors[order]
        common = sum(
            min(weight, theirs[ngram]) * theirs[ngram]
            for ngram, weight in draft.vectors[order].items()
            if ngram in theirs
        )
        norms = draft.norms[order] * reference.norms[order]
        total += common / norms if norms else 0.0
    difference = draft.length - reference.length
    return total / MAX_ORDER * _penalty(difference)


def _penalty(difference: int) -> float:
    return math.exp(-(difference**2) / (2 * SIGMA**2))
