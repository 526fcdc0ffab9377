"""How frequent n-grams are in the train reports, kept in a checkpoint: what a consensus weighs them by."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from radwright.errors import CheckpointError
from radwright.metrics.cider import DocumentFrequency

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
