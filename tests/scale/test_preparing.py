"""A store by many workers is the one that a single process writes, to the byte; either goes on where the other ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from here_cluster import HereCluster, Killed

from radwright.data import prepare as preparation
from radwright.data import writing
from radwright.data.phantom import generate_study
from radwright.data.prepare import PrepareConfig, StoreJob, prepare, write_here
from radwright.data.remote import filesystem
from radwright.data.store import PreparedStore
from radwright.errors import ConfigError, OutputError
from radwright.scale.cluster import ClusterConfig
from radwright.scale.preparing import PreparingWorker, pieces_of, prepare_on_cluster
from trained import PHANTOM

PHANTOMS = PrepareConfig(format="phantom", options={"size_px": 64}, limit=11)


def content_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of small shards, some of which end by their bytes."""
    monkeypatch.setattr(writing, "SHARD_REFERENCES", 4)
    monkeypatch.setattr(writing, "SHARD_BYTES", 12_000)
    monkeypatch.setattr(writing, "BATCH_BYTES", 4_000)
    prepare(Path("default"), tmp_path / "whole", PHANTOMS)
    ends = [shard.end_reference for shard in PreparedStore(tmp_path / "whole").shards]
    assert {4, 8, 11} < set(ends), "shards end by their bytes, too"
    return tmp_path / "whole"


def on_cluster(job: StoreJob) -> None:
    prepare_on_cluster(job, ClusterConfig())


@pytest.mark.parametrize("seed", range(3))
def test_the_same_store(seed: int, here: HereCluster, whole: Path, tmp_path: Path) -> None:
    here.seed = seed
    told: list[tuple[int, int, int]] = []
    summary = prepare(
        Path("default"), tmp_path / "many", PHANTOMS, write=on_cluster, on_progress=lambda *now: told.append(now)
    )
    assert content_of(tmp_path / "many") == content_of(whole)
    assert summary["studies"] == 11
    assert told[0] == (0, 11, 0)
    assert told[-1] == (11, 11, 0)


@pytest.mark.parametrize("answers_lost", [True, False])
@pytest.mark.parametrize("begun", ["here", "on the cluster"])
def test_either_goes_on_where_the_other_stopped(
    begun: str, answers_lost: bool, here: HereCluster, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "many"
    here.num_answers, here.answers_lost, here.seed = 1, answers_lost, 1

    def stopped(*_: Any) -> bool:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return put(*_)

    put, left = preparation.put, 6
    with monkeypatch.context() as patch:
        if begun == "here":
            patch.setattr(preparation, "put", stopped)
        with pytest.raises(Killed):
            prepare(Path("default"), out, PHANTOMS, write=write_here if begun == "here" else on_cluster)
    here.num_answers = None
    summary = prepare(Path("default"), out, PHANTOMS, write=on_cluster if begun == "here" else write_here)
    assert 0 < summary["resumed_from"] < 11
    assert content_of(out) == content_of(whole)


def test_pieces_end_where_shards_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "SHARD_REFERENCES", 10)
    assert list(pieces_of([range(3, 7), range(8, 25)])) == [(3, 7), (8, 10), (10, 20), (20, 25)]


def test_a_machine_that_does_not_see_the_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="file system that all machines"):
        PreparingWorker(None, PHANTOMS, tmp_path / "elsewhere")  # type: ignore[arg-type]


def test_a_setting_without_a_meaning(here: HereCluster, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cluster.piece_size: prepare has no use"):
        prepare(
            Path("default"),
            tmp_path / "x",
            PHANTOMS,
            write=lambda job: prepare_on_cluster(job, ClusterConfig(piece_size=2)),
        )


@pytest.mark.parametrize("layout", ["parquet", "table"])
def test_a_dataset_in_object_storage(layout: str, here: HereCluster, tmp_path: Path) -> None:
    system, _ = filesystem("memory://sets")
    rows = []
    for number in range(5):
        study = generate_study(PHANTOM, "train", number).study()
        image = study.views[0].image.read()
        system.pipe_file(f"/sets/{layout}/images/{number}.png", image)
        rows.append({"study_id": f"s{number}", "image": image, "findings": study.section("findings")})
    if layout == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
        system.pipe_file("/sets/parquet/a.parquet", (tmp_path / "a.parquet").read_bytes())
    else:
        lines = [f"{row['study_id']},{number}.png,{row['findings']!r}" for number, row in enumerate(rows)]
        text = "\n".join(["study_id,image,findings", *(line.replace("'", '"') for line in lines)])
        system.pipe_file("/sets/table/rows.csv", text.encode())
    try:
        config = PrepareConfig(format=layout)
        prepare(f"memory://sets/{layout}", tmp_path / "many", config, write=on_cluster)
        prepare(f"memory://sets/{layout}", tmp_path / "one", config)
    finally:
        system.store.clear()
    assert content_of(tmp_path / "many") == content_of(tmp_path / "one")
    store = PreparedStore(tmp_path / "one")
    assert store.study_ids == tuple(f"s{number}" for number in range(5))
    assert [study.views[0].image.read() for study in store] == [row["image"] for row in rows]
    assert [study.section("findings") for study in store] == [row["findings"] for row in rows]
