"""Trivial baselines: what a system scores that never looks at the images.

A constant is chosen on other studies than the evaluated ones, as a system's thresholds would be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radwright import __version__
from radwright.evaluation.chosen import fingerprint, recall, remember
from radwright.metrics.base import Metric
from radwright.metrics.cider import DocumentFrequency
from radwright.metrics.constant import ConstantTables

NUM_FREQUENT = 200
NUM_RANDOM = 200
MAX_REFERENCES = 2000
CHOICE_VERSION = 1
"""Goes up whenever ``choose_constants`` would choose otherwise, so that choices remembered before are not used."""
CONSTANTS = ("constant_bleu_4", "constant_cider")


@dataclass(frozen=True, slots=True)
class Drafts:
    """One text per evaluated study, in both forms that metrics read.

    Attributes:
        prepared: as the scoring convention prepares drafts.
        as_written: untouched.
    """

    prepared: tuple[str, ...]
    as_written: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str], prepare: Callable[[str], str]) -> Drafts:
        """Texts as written, and prepared by ``prepare``."""
        return cls(tuple(map(prepare, texts)), tuple(texts))

    def form(self, metric: Metric) -> tuple[str, ...]:
        """The texts that ``metric`` reads."""
        return self.as_written if metric.reads_as_written else self.prepared


@dataclass(frozen=True, slots=True)
class Baseline:
    """Drafts that need no image.

    Attributes:
        name: what it is called in results.
        drafts: one per evaluated study.
        report: the one text, prepared, where the baseline is a constant.
    """

    name: str
    drafts: Drafts
    report: str | None = None


def choose_constants(
    candidates: Iterable[str],
    references: Sequence[str],
    *,
    seed: int,
    document_frequency: DocumentFrequency | None = None,
    cache_folder: Path | None = None,
) -> dict[str, str]:
    """The constant drafts with the best BLEU-4 and the best CIDEr over ``references``.

    Candidates tried are the 200 most frequent texts and 200 random others; references beyond 2,000 are thinned out at
    random. Ties go to the text that comes first in the alphabet.

    Args:
        candidates: cleaned reports of the choosing studies, repeated as often as they occur; at least one.
        references: the same studies' cleaned references; at least one.
        seed: of both draws.
        document_frequency: see ``Cider``.
        cache_folder: where the choice is remembered; the same texts and seed are not tried again. None: nowhere.

    Returns:
        ``{"constant_bleu_4": text, "constant_cider": text}``.
    """
    ordered = sorted(Counter(candidates).items(), key=lambda entry: (-entry[1], entry[0]))
    if cache_folder is None:
        return _choose(ordered, references, seed, document_frequency)
    key = _fingerprint(ordered, references, seed, document_frequency)
    chosen = recall(cache_folder, key, CONSTANTS, (text for text, _ in ordered))
    if chosen is None:
        chosen = _choose(ordered, references, seed, document_frequency)
        remember(cache_folder, key, chosen)
    return chosen


def _fingerprint(
    ordered: Sequence[tuple[str, int]],
    references: Sequence[str],
    seed: int,
    document_frequency: DocumentFrequency | None,
) -> str:
    """Stands for everything that the choice depends on."""
    rules = {
        "version": [__version__, CHOICE_VERSION, NUM_FREQUENT, NUM_RANDOM, MAX_REFERENCES],
        "seed": seed,
        "df": None if document_frequency is None else document_frequency.num_studies,
    }
    frequencies = {} if document_frequency is None else document_frequency.counts
    return fingerprint(
        rules,
        (part for text, count in ordered for part in (text, str(count))),
        references,
        (part for ngram, count in sorted(frequencies.items()) for part in (" ".join(ngram), str(count))),
    )


def _choose(
    ordered: Sequence[tuple[str, int]],
    references: Sequence[str],
    seed: int,
    document_frequency: DocumentFrequency | None,
) -> dict[str, str]:
    random = np.random.default_rng(seed)
    frequent = [text for text, _ in ordered[:NUM_FREQUENT]]
    others = [text for text, _ in ordered[NUM_FREQUENT:]]
    drawn = random.permutation(len(others))[:NUM_RANDOM]
    tried = sorted([*frequent, *(others[index] for index in drawn)])
    kept = np.sort(random.permutation(len(references))[:MAX_REFERENCES])
    tables = ConstantTables([references[index] for index in kept], document_frequency)
    return dict(zip(CONSTANTS, (max(tried, key=tables.bleu_4), max(tried, key=tables.cider)), strict=True))


def constant_baseline(name: str, report: str, as_written: str, num_studies: int) -> Baseline:
    """One text, given prepared and as written, for every study."""
    return Baseline(name, Drafts((report,) * num_studies, (as_written,) * num_studies), report)


def random_reports(train_reports: Sequence[str], num_studies: int, *, seed: int) -> list[str]:
    """Another train report for every study, drawn with replacement.

    Args:
        train_reports: at least one.
        num_studies: drafts to draw.
        seed: of the draw.
    """
    picks = np.random.default_rng(seed).integers(len(train_reports), size=num_studies)
    return [train_reports[index] for index in picks]
