"""chrF through sacreBLEU: F2 of character n-grams up to 6. The one place where sacreBLEU enters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radwright.errors import require
from radwright.metrics.base import FloatArray, check_pairs, divide

MAX_CHARACTERS = 6
BETA = 2
BLOCK = 256
"""Studies at once: sacreBLEU keeps the n-grams of every reference that it is given."""


class Chrf:
    """chrF2 on sacreBLEU's own scale, 0 to 100 (Popović, WMT 2015).

    A row is sacreBLEU's statistics: [draft n-grams, reference n-grams, matches] per order.

    Raises:
        MissingExtraError: sacreBLEU is not installed.
    """

    names = ("chrf",)
    higher_is_better = (True,)
    reads_as_written = False

    def __init__(self) -> None:
        sacrebleu = require("sacrebleu", extra="metrics")
        self._chrf = sacrebleu.metrics.CHRF(char_order=MAX_CHARACTERS, word_order=0, beta=BETA)
        self.variant = f"characters 1-6, beta 2, 0-100, sacrebleu {sacrebleu.__version__}"

    def rows(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> FloatArray:
        """Statistics (n, 18); see ``Metric``."""
        check_pairs(hypotheses, references)
        blocks = [np.zeros((0, 3 * MAX_CHARACTERS))]
        for begin in range(0, len(hypotheses), BLOCK):
            drafts, targets = hypotheses[begin : begin + BLOCK], references[begin : begin + BLOCK]
            # sacreBLEU wants one list per reference number; None stands where a study has fewer.
            streams = [
                [texts[k] if k < len(texts) else None for texts in targets] for k in range(max(map(len, targets)))
            ]
            blocks.append(np.array(self._chrf._extract_corpus_statistics(list(drafts), streams), dtype=np.float64))
        return np.concatenate(blocks)

    def scores(self, sums: FloatArray) -> FloatArray:
        """(..., 1) chrF2 in [0, 100], averaged over the orders that both sides have, as sacreBLEU does."""
        drafts, references, matches = (sums[..., part::3] for part in range(3))
        used = ((drafts > 0) & (references > 0)).astype(np.float64)
        num_orders = used.sum(axis=-1, keepdims=True)
        precision = divide((divide(matches, drafts) * used).sum(axis=-1, keepdims=True), num_orders)
        recall = divide((divide(matches, references) * used).sum(axis=-1, keepdims=True), num_orders)
        weight = BETA**2
        return 100 * divide((1 + weight) * precision * recall, weight * precision + recall)
