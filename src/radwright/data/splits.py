"""Which split a study belongs to: by a hash of its patient, so that it never depends on order, machine or seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from radwright.data.sources.base import StudyReference
from radwright.errors import StoreError, near
from radwright.types import SPLITS, Split

TUNE_SHARE = 0.1
"""Share of the training patients that becomes ``tune``, which serves every choice of epoch, threshold, constant."""
VAL_SHARE = 0.1
TEST_SHARE = 0.2
"""Shares of the patients for datasets that have no official split; the rest is train."""


def patient_fraction(patient_id: str, *, purpose: str) -> float:
    """A patient's fixed place in [0, 1): the first 8 bytes of SHA-256 of ``purpose/patient_id``, over 2^64.

    ``purpose`` keeps draws apart, so that the patients of one cut are no special selection for the other.
    """
    digest = hashlib.sha256(f"{purpose}/{patient_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def patient_of(reference: StudyReference) -> str:
    """The patient by which a study is split: its own, or the study where the dataset names none."""
    return reference.patient_id or reference.study_id


def indices_of(split: str | None, splits: Sequence[str | None], *, where: str) -> list[int]:
    """Places of one split (None: of all) in ``splits``, in order.

    Args:
        split: the wanted one.
        splits: that of every study.
        where: what the studies lie in, for the message.

    Raises:
        StoreError: there is none; the message names those there are.
    """
    if split is None:
        return list(range(len(splits)))
    found = [index for index, name in enumerate(splits) if name == split]
    if not found:
        present = [name for name in SPLITS if name in splits]
        raise StoreError(f"{where}: has no split {split!r}{near(split, present)}; it has: {', '.join(present)}")
    return found


def assign_splits(references: Iterable[StudyReference]) -> list[Split]:
    """A split for every study.

    Official val and test stay as they are. Of official train, ``TUNE_SHARE`` of the patients become tune, unless the
    dataset names tune studies itself. Studies without an official split are cut by patient into train (which is cut
    into train and tune in turn), val and test.
    """
    references = list(references)
    names_tune = any(reference.split == "tune" for reference in references)
    splits: list[Split] = []
    for reference in references:
        patient = patient_of(reference)
        split = reference.split or _official(patient)
        if split == "train" and not names_tune and patient_fraction(patient, purpose="tune") < TUNE_SHARE:
            split = "tune"
        splits.append(split)
    return splits


def _official(patient: str) -> Split:
    place = patient_fraction(patient, purpose="official")
    if place < TEST_SHARE:
        return "test"
    return "val" if place < TEST_SHARE + VAL_SHARE else "train"
