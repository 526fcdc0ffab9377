"""Several stores as one: the same studies behind one index, and no patient on both sides of a split."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from radwright.data import files
from radwright.data.joined import JoinedStores
from radwright.data.loading import BatchLoader, LoadingConfig
from radwright.data.store import HEADER, STORE_VERSION, PreparedStore, study_row
from radwright.data.studies import Studies
from radwright.data.writing import StoreWriter
from radwright.errors import StoreError
from radwright.imaging.config import ImageConfig
from radwright.types import ImageInMemory, Study, View


def write(path: Path, rows: list[tuple[str, str, str]], data: bytes = b"", **terms: Any) -> PreparedStore:
    """A store of (study id, patient id, split)."""
    path.mkdir()
    files.write_lines(path / HEADER, [{"version": STORE_VERSION, "complete": True, "terms": terms}])
    with StoreWriter(path) as writer:
        for study_id, patient_id, split in rows:
            view = View(ImageInMemory("x", data or study_id.encode()))
            writer.add(study_row(Study(study_id, (view,), patient_id, split, {"findings": study_id})))  # type: ignore[arg-type]
    return PreparedStore(path)


@pytest.fixture
def stores(tmp_path: Path) -> list[PreparedStore]:
    return [
        write(tmp_path / "main", [("a", "1", "train"), ("b", "2", "val"), ("c", "1", "train")], licence="A"),
        write(tmp_path / "none", []),
        write(tmp_path / "extra", [("d", "3", "train"), ("e", "1", "train")], licence="B", credentialed=True),
    ]


def test_studies_stand_behind_one_index(stores: list[PreparedStore]) -> None:
    joined: Studies = JoinedStores(stores)
    separate = [study for store in stores for study in store]
    assert len(joined) == len(separate) == 5
    assert joined.study_ids == ("a", "b", "c", "d", "e")
    assert joined.splits == ("train", "val", "train", "train", "train")
    for index, study in enumerate(separate):
        assert joined.study(index) == joined.study(index - 5) == study
        assert joined.study(index, images=False).views == ()
    assert joined.indices("train") == [0, 2, 3, 4]
    assert joined.indices("val") == [1]
    assert joined.indices() == list(range(5))
    with pytest.raises(StoreError, match=r"main \+ .*extra: has no split 'tune'; it has: train, val"):
        joined.indices("tune")
    for index in (5, -6):
        with pytest.raises(IndexError):
            joined.study(index)
    assert pickle.loads(pickle.dumps(joined)).study_ids == joined.study_ids


def test_identity_and_terms(stores: list[PreparedStore]) -> None:
    joined = JoinedStores(stores)
    shards = joined.fingerprint["shards"]
    assert shards == stores[0].fingerprint["shards"] + stores[2].fingerprint["shards"]
    assert len(set(shards)) == 2
    assert JoinedStores(stores[:1]).fingerprint == stores[0].fingerprint
    assert joined.terms == {"licence": "A; B", "credentialed": True}
    assert JoinedStores(stores[:2]).terms == {"licence": "A"}
    with pytest.raises(StoreError, match="no store"):
        JoinedStores([])


def test_a_study_in_two_stores_is_refused(stores: list[PreparedStore], tmp_path: Path) -> None:
    again = write(tmp_path / "again", [("x", "9", "train"), ("c", "1", "train")])
    with pytest.raises(StoreError, match=r"study c is in .*main and in .*again; joined stores must not share"):
        JoinedStores([*stores, again], allow_patient_overlap=True)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("row", [("x", "2", "train"), ("x", "2", "tune"), ("x", "3", "test"), ("2", "", "train")])
def test_a_patient_on_both_sides_is_refused(
    order: int, row: tuple[str, str, str], stores: list[PreparedStore], tmp_path: Path
) -> None:
    other = write(tmp_path / "other", [row, ("y", "2", "val"), ("z", "77", "train")])
    chosen = [*stores, other][::order]
    patient = row[1] or row[0]
    places = (
        rf"{patient} \((\w+ in .*(main|extra), {row[2]} in .*other|{row[2]} in .*other, \w+ in .*(main|extra))\)\. "
    )
    with pytest.raises(StoreError, match=rf"1 patient is in different splits of two stores.*: {places}Prepare"):
        JoinedStores(chosen)
    assert len(JoinedStores(chosen, allow_patient_overlap=True)) == 8


def test_what_prepare_allowed_within_a_store_is_not_asked_again(tmp_path: Path) -> None:
    mixed = write(tmp_path / "mixed", [("a", "1", "train"), ("b", "1", "val")])
    assert len(JoinedStores([mixed, write(tmp_path / "more", [("c", "2", "train")])])) == 3


def test_batches_come_from_all_stores(tmp_path: Path, picture_bytes: Any) -> None:
    data = picture_bytes(0)
    one = write(tmp_path / "one", [(f"a{n}", f"p{n}", "train" if n else "val") for n in range(4)], data)
    two = write(tmp_path / "two", [(f"b{n}", f"q{n}", "train") for n in range(3)], data)
    whole = write(tmp_path / "whole", [(s.study_id, s.patient_id, str(s.split)) for s in (*one, *two)], data)
    found = []
    for store in (JoinedStores([one, two]), whole):
        loading = LoadingConfig(workers=0)
        batches = BatchLoader(
            store, store.indices("train"), ImageConfig(size_px=16), loading, tokenizer=None, batch_size=4
        )
        found.append([batch.study_ids for epoch in range(2) for step in batches.steps(epoch) for batch in step])
    assert found[0] == found[1]
    assert {study_id for ids in found[0] for study_id in ids} == {"a1", "a2", "a3", "b0", "b1", "b2"}
