"""Whether drafts say what the model was told: clues asserted, denied, and assertions that nothing was told of.

Drafts and references are read by the labeler's rules. A study's row holds additive counts, so a resample of studies is
one matrix product, and every share is a ratio of sums over studies.

Shape legend: N studies, M diseases that can be checked, F counts, R resamples, Q shares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radwright.errors import ScoringError
from radwright.evaluation.bootstrap import PERCENTILES, Interval, draw_counts
from radwright.evaluation.reports import name_some
from radwright.findings import read_report
from radwright.findings.signature import Signature, signature
from radwright.metrics.base import FloatArray

COUNTS = ("told", "asserted", "true", "told_asserted", "told_denied", "told_true")
"""Per study and disease, 0 or 1: told as a clue; asserted by the draft; asserted by the reference; and told besides
being asserted, being denied by the draft, being asserted by the reference."""
SHARES = ("clues_asserted", "unclued_assertions", "negation_flips", "precision", "recall")
"""Of the told clues those that the draft asserts; of the draft's assertions those that were not told; of the told clues
those that the draft denies; of the told clues those that the reference asserts; of its assertions those told."""
NUM_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Faithful:
    """Counts and shares of one disease, or of all together.

    Attributes:
        counts: name in ``COUNTS`` -> number of studies (of all diseases together: of pairs of study and disease).
        shares: name in ``SHARES`` -> value with interval; NaN where there is nothing to divide by.
    """

    counts: Mapping[str, int]
    shares: Mapping[str, Interval]

    def plain(self) -> dict[str, Any]:
        """As JSON-able values; None for a share that does not exist."""
        return {"counts": dict(self.counts), "shares": {name: each.plain() for name, each in self.shares.items()}}


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """What drafts do with the clues of their studies.

    Attributes:
        num_studies: studies looked at.
        overall: all diseases together.
        diseases: one by one, in the order of the bank.
        unchecked: diseases that no rule can find in a report; they count nowhere.
    """

    num_studies: int
    overall: Faithful
    diseases: Mapping[str, Faithful]
    unchecked: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "n": self.num_studies,
            **self.overall.plain(),
            "diseases": {name: found.plain() for name, found in self.diseases.items()},
            "unchecked": list(self.unchecked),
        }


def measure_faithfulness(
    told: Mapping[str, Mapping[str, float]],
    drafts: Mapping[str, str],
    references: Mapping[str, str],
    findings: Mapping[str, str | None],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Faithfulness:
    """Hold drafts against the clues they were written from, and the clues against the references.

    Args:
        told: study id -> disease -> probability, of the studies to look at; at least one.
        drafts: study id -> draft.
        references: study id -> the study's own report.
        findings: disease -> what counts as it in a report; None where nothing can check it.
        num_resamples: bootstrap resamples over studies.
        seed: of the resamples.

    Raises:
        ScoringError: no study, or one without a draft or a reference.
    """
    study_ids = sorted(told)
    if not study_ids:
        raise ScoringError("clues were told to no study, so there is nothing to hold drafts against")
    for texts, what in ((drafts, "draft"), (references, "reference")):
        if missing := [study_id for study_id in study_ids if study_id not in texts]:
            raise ScoringError(f"{name_some(missing, 'study')} without a {what}: faithfulness cannot be measured")
    checked = {name: finding for name, finding in findings.items() if finding is not None}
    rows = count_rows(
        [told[study_id] for study_id in study_ids],
        [drafts[study_id] for study_id in study_ids],
        [references[study_id] for study_id in study_ids],
        checked,
    )
    draws_RN = draw_counts(len(study_ids), num_resamples=num_resamples, seed=seed)
    resampled_RMF = (draws_RN @ rows.reshape(len(study_ids), -1)).reshape(-1, *rows.shape[1:])
    sums_MF = rows.sum(axis=0)
    return Faithfulness(
        len(study_ids),
        _faithful(sums_MF.sum(axis=0), resampled_RMF.sum(axis=1)),
        {name: _faithful(sums_MF[place], resampled_RMF[:, place]) for place, name in enumerate(checked)},
        tuple(name for name, finding in findings.items() if finding is None),
    )


def count_rows(
    told: Sequence[Mapping[str, float]], drafts: Sequence[str], references: Sequence[str], findings: Mapping[str, str]
) -> FloatArray:
    """The counts of every study, (N, M, F); what a report leaves open is neither asserted nor denied.

    Args:
        told: per study disease -> probability.
        drafts: per study.
        references: per study.
        findings: disease -> what counts as it, of the M diseases that can be checked.
    """
    wanted = list(findings.values())
    rows = np.zeros((len(told), len(findings), len(COUNTS)))
    for row, clues, draft, reference in zip(rows, told, drafts, references, strict=True):
        told_M = np.array([name in clues for name in findings], dtype=bool)
        said, stated = (_said(text, wanted) for text in (draft, reference))
        asserted_M, denied_M = (np.array([status == kind for status in said], dtype=bool) for kind in (1, 0))
        true_M = np.array([status == 1 for status in stated], dtype=bool)
        columns = (told_M, asserted_M, true_M, told_M & asserted_M, told_M & denied_M, told_M & true_M)
        row[:] = np.stack(columns, axis=-1)
    return rows


def _said(text: str, findings: Sequence[str]) -> Signature:
    return signature(read_report(text), findings)


def _shares(counts: FloatArray) -> FloatArray:
    """The shares (..., Q) of summed counts (..., F); NaN where there is nothing to divide by."""
    told, asserted, true, told_asserted, told_denied, told_true = np.moveaxis(counts, -1, 0)
    above = np.stack([told_asserted, asserted - told_asserted, told_denied, told_true, told_true], axis=-1)
    below = np.stack([told, asserted, told, told, true], axis=-1)
    shares: FloatArray = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return shares


def _faithful(sums_F: FloatArray, resampled_RF: FloatArray) -> Faithful:
    values, resampled_RQ = _shares(sums_F), _shares(resampled_RF)
    return Faithful(
        {name: int(count) for name, count in zip(COUNTS, sums_F, strict=True)},
        {name: _interval(values[place], resampled_RQ[:, place]) for place, name in enumerate(SHARES)},
    )


def _interval(value: float, resampled_R: FloatArray) -> Interval:
    """Of the resamples that have the share: one that misses every told clue says nothing of it."""
    known = resampled_R[~np.isnan(resampled_R)]
    if math.isnan(value) or not len(known):
        return Interval(float(value), math.nan, math.nan)
    low, high = np.percentile(known, PERCENTILES)
    return Interval(float(value), float(low), float(high))
