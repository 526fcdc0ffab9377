"""F1 of CheXpert's observations in drafts against references, read out of both by the built-in reader.

The 14 observations, the four labels and the five of the competition are CheXpert's (Irvin et al., AAAI 2019); micro,
macro and example-based F1 are the usual ones. That both policies for open findings, both macro averages and both lists
are given side by side is ours: the choice among them decides the number.

Shape legend: P policies (2), C classes (14), 3 counts [right, fabricated, missed].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from radwright.findings import VERSION, read_report
from radwright.findings.labels import chexpert_labels
from radwright.findings.ontology import CHEXPERT, CHEXPERT_5
from radwright.metrics.base import FloatArray, check_pairs, divide
from radwright.metrics.statements import CACHED_REPORTS

POLICIES: tuple[str, ...] = ("", "_u")
"""Suffix of a score's name: open findings count as negative, open findings count as positive."""
LISTS: tuple[tuple[str, tuple[str, ...]], ...] = (("14", CHEXPERT), ("5", CHEXPERT_5))
AVERAGES: tuple[str, ...] = ("micro", "macro", "macro_supported", "example")

_NUM_CLASSES = len(CHEXPERT)
_COUNTS = len(POLICIES) * _NUM_CLASSES * 3
_MEMBERS = [np.array([CHEXPERT.index(name) for name in names]) for _, names in LISTS]
_BLANK = -2
"""Stands for "not mentioned" in an array of labels."""


class ClinicalF1:
    """F1 of the classes that a draft asserts, as micro, macro and example-based averages.

    For each list (14 classes, "No Finding" among them; 5 classes) and each policy for open findings:

    - ``micro``: 2 right / (2 right + fabricated + missed), summed over studies and classes; 0 where all are 0.
    - ``macro``: the mean of the classes' F1. A class that no reference asserts counts 0, so identical texts reach 1
      only where every class occurs.
    - ``macro_supported``: the mean over the classes that some reference asserts (of this resample, in a bootstrap); 0
      where there is none.
    - ``example``: the mean over studies of the study's own micro-F1; 1 for a study where neither text asserts a class
      of the list, 0 for such a study where the draft has no word.

    Identical texts reach 1 in all but ``macro`` as soon as one of them asserts a class of the list.

    Of several references, the one with the highest example-based F1 counts (14 classes, open findings negative), the
    first of equals.

    A row is [14 x 3 counts, open findings negative; the same, positive; example-based F1 per list and policy; 1].
    """

    names = tuple(
        f"f1_{length}_{average}{policy}" for length, _ in LISTS for policy in POLICIES for average in AVERAGES
    )
    higher_is_better = (True,) * len(names)
    reads_as_written = True
    variant = f"reader {VERSION}, texts as written"

    def rows(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> FloatArray:
        """Statistics (n, 89); see ``Metric``."""
        check_pairs(hypotheses, references)
        rows = np.zeros((len(hypotheses), _COUNTS + len(LISTS) * len(POLICIES) + 1))
        for row, hypothesis, texts in zip(rows, hypotheses, references, strict=True):
            row[:] = max((_row(hypothesis, text) for text in texts), key=_first_example_f1)
        return rows

    def scores(self, sums: FloatArray) -> FloatArray:
        """(..., 16) in the order of ``names``, each in [0, 1]."""
        counts_PC3 = class_counts(sums)
        f1_PC = _f1(counts_PC3)
        has_support_PC = counts_PC3[..., 0] + counts_PC3[..., 2] > 0
        examples = divide(sums[..., _COUNTS:-1], sums[..., -1:])
        scores = []
        for k, members in enumerate(_MEMBERS):
            for policy in range(len(POLICIES)):
                f1_C = f1_PC[..., policy, members]
                support_C = has_support_PC[..., policy, members]
                scores += [
                    _f1(counts_PC3[..., policy, members, :].sum(axis=-2)),
                    f1_C.mean(axis=-1),
                    divide((f1_C * support_C).sum(axis=-1), support_C.sum(axis=-1).astype(np.float64)),
                    examples[..., k * len(POLICIES) + policy],
                ]
        return np.stack(scores, axis=-1)


def class_counts(sums: FloatArray) -> FloatArray:
    """(..., 2 policies, 14 classes, [right, fabricated, missed]) of summed rows (..., 89)."""
    return sums[..., :_COUNTS].reshape(*sums.shape[:-1], len(POLICIES), _NUM_CLASSES, 3)


def class_scores(sums: FloatArray) -> FloatArray:
    """(..., 2 policies, 14 classes, [precision, recall, F1]) of summed rows (..., 89); 0 for 0 / 0."""
    counts = class_counts(sums)
    right, fabricated, missed = counts[..., 0], counts[..., 1], counts[..., 2]
    return np.stack([divide(right, right + fabricated), divide(right, right + missed), _f1(counts)], axis=-1)


def _f1(counts: FloatArray) -> FloatArray:
    twice = 2 * counts[..., 0]
    return divide(twice, twice + counts[..., 1] + counts[..., 2])


def _row(draft: str, reference: str) -> FloatArray:
    ours_PC, theirs_PC = _asserted(draft), _asserted(reference)
    counts_PC3 = np.stack([ours_PC & theirs_PC, ours_PC & ~theirs_PC, ~ours_PC & theirs_PC], axis=-1).astype(np.float64)
    examples = []
    for members in _MEMBERS:
        for policy in range(len(POLICIES)):
            counts = counts_PC3[policy, members].sum(axis=0)
            examples.append(float(_f1(counts)) if counts.any() else float(_has_words(draft)))
    return np.concatenate([counts_PC3.ravel(), examples, [1.0]])


def _first_example_f1(row: FloatArray) -> float:
    return float(row[_COUNTS])


def _has_words(text: str) -> bool:
    return any(character.isalnum() for character in text)


@lru_cache(maxsize=CACHED_REPORTS)
def _asserted(text: str) -> NDArray[np.bool_]:
    """(2, 14) the classes that a text asserts under each policy; each distinct text is read once."""
    found = chexpert_labels(read_report(text))
    labels = np.array([_BLANK if found[name] is None else found[name] for name in CHEXPERT])
    asserted = np.stack([labels == 1, np.abs(labels) == 1])
    asserted.flags.writeable = False
    return asserted
