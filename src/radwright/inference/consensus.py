"""Consensus decoding: of several drafts of one study the one that agrees most with all of them.

arg max over drafts c of sum_y votes(y) * agreement(c, y): minimum Bayes risk (Kumar and Byrne, NAACL 2004), estimated
from samples. The agreement is CIDEr-D's (Vedantam et al., CVPR 2015), partly with, partly without its weights for rare
n-grams: with them alone a few odd draws outvote the rest, without them every study gets the commonest phrases.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from radwright.errors import CheckpointError
from radwright.metrics.cider import ALIKE, DocumentFrequency, similarity, weigh

FILE_NAME = "document_frequency.json"
MAX_NGRAMS = 200_000
"""At most so many n-grams are kept in a checkpoint, the most frequent ones; all others count as seen once."""


def frequency_of(reports: Iterable[str]) -> DocumentFrequency:
    """Document frequencies of the n-grams that more than one report has; the others need no entry.

    Args:
        reports: cleaned (``radwright.text.cleaning.clean_report``).
    """
    counted = DocumentFrequency.of([report] for report in reports)
    kept = {ngram: count for ngram, count in counted.counts.most_common(MAX_NGRAMS) if count > 1}
    return DocumentFrequency(counted.num_studies, Counter(kept))


def choose(drafts: Sequence[str], frequency: DocumentFrequency, *, rarity: float) -> int:
    """Index of the draft that the others, itself among them, agree with most; the first of equals.

    Args:
        drafts: at least one; a text that was drawn more often is there, and votes, more often.
        frequency: of n-grams in the train reports.
        rarity: share of the agreement that counts n-grams by how rare they are, 0 to 1.
    """
    votes = Counter(drafts)
    texts = list(votes)
    totals = dict.fromkeys(texts, 0.0)
    for share, weights in ((rarity, frequency), (1.0 - rarity, ALIKE)):
        if not share:
            continue
        idf: dict[Any, float] = {}
        weighted = {text: weigh(text, weights, idf) for text in texts}
        for text in texts:
            totals[text] += share * sum(votes[other] * similarity(weighted[text], weighted[other]) for other in texts)
    return drafts.index(max(texts, key=lambda text: totals[text]))


def save_frequency(frequency: DocumentFrequency, directory: Path) -> None:
    """Write ``document_frequency.json`` into an existing directory."""
    values = {
        "num_reports": frequency.num_studies,
        "counts": {" ".join(ngram): count for ngram, count in sorted(frequency.counts.items())},
    }
    (directory / FILE_NAME).write_text(json.dumps(values, ensure_ascii=False) + "\n", encoding="utf-8")


def load_frequency(directory: Path) -> DocumentFrequency | None:
    """Read it back; None where the directory has none.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = directory / FILE_NAME
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        counts = Counter({tuple(text.split(" ")): int(count) for text, count in values["counts"].items()})
        return DocumentFrequency(int(values["num_reports"]), counts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
