"""The prepared store: what goes in comes out, from any process; damage is named."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radwright.data import files, writing
from radwright.data.store import HEADER, SHARDS, STORE_VERSION, PreparedStore, study_row
from radwright.data.writing import StoreWriter, finished_shards
from radwright.errors import OutputError, StoreError
from radwright.types import SECTIONS, ImageInMemory, Study, View

texts = st.text(max_size=30).filter(lambda text: "\0" not in text)
views = st.builds(
    View,
    st.builds(ImageInMemory, st.just("folder/x.png"), st.binary(max_size=50)),
    st.sampled_from(["unknown", "frontal", "lateral"]),
    st.none() | st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
)
studies = st.builds(
    Study,
    texts,
    st.lists(views, min_size=1, max_size=5).map(tuple),
    texts,
    st.sampled_from(["train", "tune", "val", "test"]),
    st.dictionaries(st.sampled_from(SECTIONS), texts),
    st.dictionaries(texts, st.integers() | texts, max_size=2),
)


def write_store(path: Path, kept: list[Study]) -> PreparedStore:
    path.mkdir(parents=True)
    files.write_lines(path / HEADER, [{"version": STORE_VERSION, "complete": True}])
    with StoreWriter(path) as writer:
        for study in kept:
            writer.add(study_row(study))
    return PreparedStore(path)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "SHARD_REFERENCES", 4)
    monkeypatch.setattr(writing, "BATCH_BYTES", 2100)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(studies, max_size=12))
def test_what_goes_in_comes_out(
    small_shards: None, tmp_path_factory: pytest.TempPathFactory, kept: list[Study]
) -> None:
    store = write_store(tmp_path_factory.mktemp("store") / "s", kept)
    assert len(store) == len(kept)
    for before, after in zip(kept, store, strict=True):
        assert (after.study_id, after.patient_id, after.split) == (before.study_id, before.patient_id, before.split)
        assert dict(after.sections) == dict(before.sections)
        assert dict(after.extra) == dict(before.extra)
        assert [(v.image.read(), v.position, v.original_size) for v in after.views] == [
            (v.image.read(), v.position, v.original_size) for v in before.views
        ]
        assert "folder" not in after.views[0].image.name
    assert store.study_ids == tuple(study.study_id for study in kept)
    assert store.positions == tuple(tuple(view.position for view in study.views) for study in kept)
    store.verify()


def ten(path: Path) -> PreparedStore:
    return write_store(
        path,
        [
            Study(f"s{n}", (View(ImageInMemory("a", bytes([n]) * 700)),), f"p{n}", "val" if n % 3 == 0 else "train")
            for n in range(10)
        ],
    )


def third_byte(store: PreparedStore, index: int) -> int:
    return store[index].views[0].image.read()[2]


def test_access_by_index_and_split(small_shards: None, tmp_path: Path) -> None:
    store = ten(tmp_path / "s")
    assert len(store.shards) == 3
    assert store[-1].study_id == "s9"
    assert store[7].views[0].image.read() == bytes([7]) * 700
    assert store.study(7, images=False).views == ()
    assert store.indices("val") == [0, 3, 6, 9]
    assert len(store.indices()) == 10
    with pytest.raises(StoreError, match=r"no split 'vall' \(did you mean 'val'\?\); it has: train, val"):
        store.indices("vall")
    for index in (10, -11):
        with pytest.raises(IndexError):
            store[index]


def test_a_store_travels_to_other_processes(small_shards: None, tmp_path: Path) -> None:
    store = ten(tmp_path / "s")
    assert third_byte(store, 3) == 3
    assert len(pickle.dumps(store)) < 500
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.starmap(third_byte, [(store, index) for index in (0, 5, 9)]) == [0, 5, 9]


def test_damage_is_named(small_shards: None, tmp_path: Path) -> None:
    ten(tmp_path / "s")
    shard = tmp_path / "s" / "shard-000000004.arrow"
    data = shard.read_bytes()
    shard.write_bytes(data[:-100])
    with pytest.raises(StoreError, match=r"shard-000000004.arrow: is damaged \(it has"):
        PreparedStore(tmp_path / "s")
    for place in (3, 40, len(data) - 40, len(data) - 4):
        broken = bytearray(data)
        broken[place : place + 4] = b"\xff\xff\xff\x7f"
        shard.write_bytes(broken)
        store = PreparedStore(tmp_path / "s")
        with pytest.raises(StoreError, match=r"shard-000000004.arrow: is damaged"):
            store.verify()
    shard.unlink()
    with pytest.raises(StoreError, match=r"shard-000000004.arrow: is damaged \(it is missing"):
        PreparedStore(tmp_path / "s")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no prepared store"),
        ("{", "cannot be read"),
        ("[]", "no header"),
        ('{"version": 99, "complete": true}', "store version 99"),
        (json.dumps({"version": STORE_VERSION, "complete": False}), "not finished"),
    ],
)
def test_what_is_no_finished_store(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / HEADER).write_text(content)
    with pytest.raises(StoreError, match=message):
        PreparedStore(tmp_path)


def test_a_damaged_row_in_the_middle_of_the_manifest(small_shards: None, tmp_path: Path) -> None:
    ten(tmp_path / "s")
    rows = (tmp_path / "s" / SHARDS).read_text().splitlines(keepends=True)
    (tmp_path / "s" / SHARDS).write_text(rows[0] + "{half\n" + rows[1])
    with pytest.raises(StoreError, match=r"shards.jsonl:2: is damaged"):
        PreparedStore(tmp_path / "s")
    with pytest.raises(StoreError, match=r"shards.jsonl:2: is damaged"):
        finished_shards(tmp_path / "s")


def test_atomic_files(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail() -> None:
        with files.atomic_file(path) as stream:
            stream.write(b"new")
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert path.read_bytes() == b"old"
    with files.atomic_file(path) as stream:
        stream.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
    with pytest.raises(OutputError, match="nowhere"):
        files.write_lines(tmp_path / "nowhere" / "a", [1])


def test_a_torn_line_counts_as_not_written(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    assert files.read_lines(path) == []
    for number in range(3):
        files.append_line(path, {"number": number, "text": "Łódź\n"})
    with path.open("ab") as stream:
        stream.write(b'{"number": 3')
    assert [row["number"] for row in files.read_lines(path)] == [0, 1, 2]
    files.drop_torn_line(path)
    files.append_line(path, {"number": 4})
    assert [row["number"] for row in files.read_lines(path)] == [0, 1, 2, 4]


@pytest.mark.parametrize("torn", [0, 1, 2**16 - 1, 2**16, 2**16 + 1, 3 * 2**16])
@pytest.mark.parametrize("whole", [b"", b"1\n", b'"' + b"x" * 2**17 + b'"\n2\n'])
def test_a_torn_line_of_any_length_is_cut_and_nothing_else(whole: bytes, torn: int, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(whole + b"{" * torn)
    values = files.read_lines(path)
    assert len(values) == whole.count(b"\n")
    files.drop_torn_line(path)
    assert path.read_bytes() == whole
    assert files.read_lines(path) == values


def test_a_study_without_images_in_the_row(tmp_path: Path, picture_bytes: Any) -> None:
    store = write_store(tmp_path / "s", [Study("a", (), "", "train")])
    assert store[0].views == ()
    assert store.positions == ((),)
