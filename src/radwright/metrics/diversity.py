"""Signs of a model that has collapsed to a few texts: distinct drafts, copies of train reports, lengths, entropy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

COLLAPSE_SHARE = 0.5
"""One draft for more than this share of the studies raises the alarm, unless the references repeat as much."""


@dataclass(frozen=True, slots=True)
class Diversity:
    """How varied drafts are.

    Attributes:
        num_reports: drafts looked at.
        num_distinct: different drafts.
        num_distinct_references: different references of the same studies, for comparison.
        num_empty: drafts without a word.
        most_common_share: share of studies that got the most frequent draft, in [0, 1].
        entropy_bits: Shannon entropy of the drafts' distribution; log2(num_reports) when all differ.
        mean_words: mean words per draft.
        length_ratio: mean over studies of draft words / reference words.
        verbatim_train_share: share of drafts that are a train report word for word; None without train reports.
        collapsed: the alarm: more than half of the studies got one draft, and the references are not like that.
    """

    num_reports: int
    num_distinct: int
    num_distinct_references: int
    num_empty: int
    most_common_share: float
    entropy_bits: float
    mean_words: float
    length_ratio: float
    verbatim_train_share: float | None
    collapsed: bool


def measure_diversity(
    hypotheses: Sequence[str], references: Sequence[str], train_reports: Collection[str] | None = None
) -> Diversity:
    """Measure cleaned drafts beside the cleaned references of the same studies (at least one study).

    Args:
        hypotheses: n drafts.
        references: n references, none of them empty.
        train_reports: cleaned train reports, to find verbatim copies.
    """
    total = len(hypotheses)
    counts = Counter(hypotheses)
    share = counts.most_common(1)[0][1] / total
    reference_counts = Counter(references)
    reference_share = reference_counts.most_common(1)[0][1] / total
    known = None if train_reports is None else set(train_reports)
    lengths = [len(text.split()) for text in hypotheses]
    ratios = [length / len(text.split()) for length, text in zip(lengths, references, strict=True)]
    return Diversity(
        num_reports=total,
        num_distinct=len(counts),
        num_distinct_references=len(reference_counts),
        num_empty=sum(length == 0 for length in lengths),
        most_common_share=share,
        entropy_bits=abs(-sum(count / total * math.log2(count / total) for count in counts.values())),
        mean_words=sum(lengths) / total,
        length_ratio=sum(ratios) / total,
        verbatim_train_share=None if known is None else sum(text in known for text in hypotheses) / total,
        collapsed=total > 1 and share > COLLAPSE_SHARE and share > reference_share,
    )
