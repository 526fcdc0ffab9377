"""BLEU-1 to BLEU-4 over a corpus, with the "closest" reference length and coco-caption's vanishing constants.

Papineni et al., ACL 2002: BLEU-N = BP * (prod_n p_n)^(1/N), BP = exp(min(0, 1 - r/c)); p_n clipped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radwright.metrics.base import FloatArray, check_pairs
from radwright.metrics.ngrams import MAX_ORDER, count_ngrams

TINY = 1e-15
SMALL = 1e-9
"""coco-caption adds TINY to numerators and SMALL to denominators; they keep its values to the last digit."""


class Bleu:
    """BLEU-1..4, no smoothing beyond coco-caption's constants.

    A row is [draft words, closest reference words, clipped matches of orders 1 to 4, n-grams of orders 1 to 4].
    """

    names = ("bleu_1", "bleu_2", "bleu_3", "bleu_4")
    higher_is_better = (True, True, True, True)
    reads_as_written = False
    variant = "closest length, unsmoothed (1e-15/1e-9)"

    def rows(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> FloatArray:
        """Statistics (n, 10); see ``Metric``."""
        check_pairs(hypotheses, references)
        rows = np.zeros((len(hypotheses), 2 + 2 * MAX_ORDER))
        for row, hypothesis, texts in zip(rows, hypotheses, references, strict=True):
            words = hypothesis.split()
            split_texts = [text.split() for text in texts]
            counted = [count_ngrams(reference) for reference in split_texts]
            row[0] = len(words)
            row[1] = min((abs(len(reference) - len(words)), len(reference)) for reference in split_texts)[1]
            for order, counts in enumerate(count_ngrams(words)):
                row[2 + order] = sum(
                    min(count, max(orders[order][ngram] for orders in counted)) for ngram, count in counts.items()
                )
                row[2 + MAX_ORDER + order] = max(0, len(words) - order)
        return rows

    def scores(self, sums: FloatArray) -> FloatArray:
        """(..., 4) BLEU-1 to BLEU-4 in [0, 1]."""
        precisions = (sums[..., 2:6] + TINY) / (sums[..., 6:10] + SMALL)
        means = np.cumprod(precisions, axis=-1) ** (1 / np.arange(1, MAX_ORDER + 1))
        ratio = (sums[..., 0:1] + TINY) / (sums[..., 1:2] + SMALL)
        scores: FloatArray = means * np.exp(np.minimum(0, 1 - 1 / ratio))
        return scores
