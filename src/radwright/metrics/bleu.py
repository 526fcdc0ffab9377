"""BLEU-1 to BLEU-4 over a corpus, with the "closest" reference length and coco-caption's vanishing constants.

Papineni et al., ACL 2002: BLEU-N = BP * (prod_n p_n)^(1/N), BP = exp(min(0, 1 - r/c)); p_n clipped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radwright.metrics.base import FloatArray, check_pairs
from radwright.metrics.ngrams import MAX_ORDER, StudyTexts

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
        texts = StudyTexts.of(hypotheses, references)
        lengths = texts.words.lengths
        is_reference = texts.is_reference
        rows[:, 0] = lengths[texts.drafts]
        # The closest length, and the shorter of two that are as close.
        studies, theirs = texts.studies[is_reference], lengths[is_reference]
        closest = np.lexsort((theirs, np.abs(theirs - rows[studies, 0]), studies))
        rows[:, 1] = theirs[closest[np.searchsorted(studies, np.arange(len(rows)))]]
        for order, found in enumerate(texts.count()):
            if not len(found.starts):
                continue
            counts = np.where(is_reference[found.texts], found.counts, 0)
            clip = np.maximum.reduceat(counts, found.starts)
            drafted = (found.counts - counts)[found.starts]
            owners = texts.studies[found.texts[found.starts]]
            rows[:, 2 + order] = np.bincount(owners, np.minimum(drafted, clip), minlength=len(rows))
            rows[:, 2 + MAX_ORDER + order] = np.maximum(0, rows[:, 0] - order)
        return rows

    def scores(self, sums: FloatArray) -> FloatArray:
        """(..., 4) BLEU-1 to BLEU-4 in [0, 1]."""
        precisions = (sums[..., 2:6] + TINY) / (sums[..., 6:10] + SMALL)
        means = np.cumprod(precisions, axis=-1) ** (1 / np.arange(1, MAX_ORDER + 1))
        ratio = (sums[..., 0:1] + TINY) / (sums[..., 1:2] + SMALL)
        scores: FloatArray = means * np.exp(np.minimum(0, 1 - 1 / ratio))
        return scores
