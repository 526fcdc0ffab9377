"""Word n-grams with their counts, the raw material of BLEU and CIDEr."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

MAX_ORDER = 4
Ngram = tuple[str, ...]


def count_ngrams(words: Sequence[str]) -> list[Counter[Ngram]]:
    """Counts of the n-grams of orders 1 to 4; index 0 holds the single words."""
    shifted = [words[start:] for start in range(MAX_ORDER)]
    return [Counter(zip(*shifted[:order], strict=False)) for order in range(1, MAX_ORDER + 1)]
