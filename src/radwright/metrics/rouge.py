"""ROUGE-L as coco-caption computes it: mean over studies of an F-score of the longest common subsequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radwright.metrics.base import FloatArray, check_pairs, divide

BETA = 1.2


class RougeL:
    """F = (1 + b^2) P R / (R + b^2 P), b = 1.2, with the best precision and the best recall over the references.

    Lin, 2004. Words are cut at single spaces, as released: a double space makes an empty word. A row is [F, 1].
    """

    names = ("rouge_l",)
    higher_is_better = (True,)
    reads_as_written = False
    variant = "coco F, beta 1.2, split at single spaces"

    def rows(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> FloatArray:
        """Statistics (n, 2); see ``Metric``."""
        check_pairs(hypotheses, references)
        rows = np.ones((len(hypotheses), 2))
        for row, hypothesis, texts in zip(rows, hypotheses, references, strict=True):
            words = hypothesis.split(" ")
            precision = recall = 0.0
            for text in texts:
                reference = text.split(" ")
                common = longest_common_subsequence(words, reference)
                precision = max(precision, common / len(words))
                recall = max(recall, common / len(reference))
            both = precision and recall
            row[0] = (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision) if both else 0.0
        return rows

    def scores(self, sums: FloatArray) -> FloatArray:
        """(..., 1) mean F in [0, 1]."""
        return divide(sums[..., 0:1], sums[..., 1:2])


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    Bit-parallel (Hyyrö 2004): one step on a big integer per word of ``second``.
    """
    places: dict[str, int] = {}
    for index, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << index
    full = (1 << len(first)) - 1
    row = full
    for word in second:
        hits = row & places.get(word, 0)
        row = ((row + hits) | (row - hits)) & full
    return len(first) - row.bit_count()
