"""Several prepared stores as one: a public set with an extra one, or the mixture of two hospitals."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from radwright.data.splits import indices_of
from radwright.data.store import PreparedStore
from radwright.errors import StoreError
from radwright.types import Study


class JoinedStores:
    """The studies of several stores, one store after the other; fulfils ``radwright.data.studies.Studies``.

    Patients are compared by their ids, and a study that names no patient counts as its own: joined stores must call a
    patient the same, as the files of one dataset do, or the check means nothing.

    Args:
        stores: at least one.
        allow_patient_overlap: go on where the stores have a patient in different splits (ids that two institutions
            gave out independently, so that equal ones are different people).

    Raises:
        StoreError: a study id occurs in two stores, or a patient in different splits of two stores.
    """

    def __init__(self, stores: Sequence[PreparedStore], *, allow_patient_overlap: bool = False) -> None:
        if not stores:
            raise StoreError("no store is given; name at least one")
        self.stores = tuple(stores)
        self._ends = list(itertools.accumulate(map(len, self.stores)))
        self._check_study_ids()
        if not allow_patient_overlap:
            self._check_patients()

    @property
    def name(self) -> str:
        """The stores' folders."""
        return " + ".join(store.name for store in self.stores)

    def __len__(self) -> int:
        return self._ends[-1]

    def study(self, index: int, *, images: bool = True) -> Study:
        """One study, as ``PreparedStore.study``.

        Raises:
            IndexError: there is no such study.
            StoreError: its shard is damaged.
        """
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"{self.name}: study {index} of {size}")
        index %= size
        number = bisect.bisect_right(self._ends, index)
        start = self._ends[number - 1] if number else 0
        return self.stores[number].study(index - start, images=images)

    @cached_property
    def study_ids(self) -> tuple[str, ...]:
        """Ids of all studies, in order."""
        return tuple(itertools.chain.from_iterable(store.study_ids for store in self.stores))

    @cached_property
    def splits(self) -> tuple[str | None, ...]:
        """Split of every study, in order."""
        return tuple(itertools.chain.from_iterable(store.splits for store in self.stores))

    def indices(self, split: str | None = None) -> list[int]:
        """Indices of the studies of one split (None: of all), in order.

        Raises:
            StoreError: no store has such a split; the message names those they have.
        """
        return indices_of(split, self.splits, where=self.name)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Number of studies and checksums of all shards; of one store alone the same as its own."""
        shards = [sha256 for store in self.stores for sha256 in store.fingerprint["shards"]]
        return {"studies": len(self), "shards": shards}

    @property
    def terms(self) -> dict[str, Any]:
        """All licences; ``credentialed`` as soon as one store is."""
        licences = dict.fromkeys(str(store.terms["licence"]) for store in self.stores if store.terms.get("licence"))
        terms: dict[str, Any] = {"licence": "; ".join(licences)} if licences else {}
        return terms | ({"credentialed": True} if any(store.terms.get("credentialed") for store in self.stores) else {})

    def _check_study_ids(self) -> None:
        owner: dict[str, PreparedStore] = {}
        for store in self.stores:
            for study_id in store.study_ids:
                if study_id in owner:
                    raise StoreError(
                        f"study {study_id} is in {owner[study_id].name} and in {store.name};"
                        " joined stores must not share studies: leave one store out, or prepare it with other ids"
                    )
            owner.update(dict.fromkeys(store.study_ids, store))

    def _check_patients(self, num_examples: int = 3) -> None:
        # Within one store `radwright prepare` has asked already; here each store is held against the earlier ones.
        seen: dict[str, dict[str | None, PreparedStore]] = {}
        clashes: dict[str, str] = {}
        for store in self.stores:
            patients = list(zip(store.patient_ids, store.study_ids, store.splits, strict=True))
            for patient_id, study_id, split in patients:
                patient = patient_id or study_id
                for other, earlier in seen.get(patient, {}).items():
                    if other != split:
                        clashes.setdefault(patient, f"{patient} ({other} in {earlier.name}, {split} in {store.name})")
            for patient_id, study_id, split in patients:
                seen.setdefault(patient_id or study_id, {}).setdefault(split, store)
        if clashes:
            listed = "; ".join(list(clashes.values())[:num_examples])
            patients_are = "1 patient is" if len(clashes) == 1 else f"{len(clashes)} patients are"
            raise StoreError(
                f"{patients_are} in different splits of two stores, so scores would be too good: {listed}."
                " Prepare one of them with the splits of the other, or leave these studies out"
            )
