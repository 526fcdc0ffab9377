"""Drafts on a cluster: those of one process, one row per study over any number of kills, from any kind of input."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from here_cluster import HereCluster, Killed

from radwright.cli.main import main
from radwright.data import parquet
from radwright.data.phantom import generate_study
from radwright.data.prepare import PrepareConfig, prepare
from radwright.data.remote import filesystem
from radwright.errors import ConfigError, OutputError, SourceError
from radwright.evaluation.reports import read_reports
from radwright.runs.clue_policies import ClueRequest
from radwright.runs.drafting import Inputs
from radwright.runs.generation import Drafting, DraftingRequest
from radwright.scale.cluster import ClusterConfig
from radwright.scale.drafting import SUMMARY, draft_on_cluster, part_name
from radwright.types import Skipped
from trained import PHANTOM

PIECES = ClusterConfig(piece_size=3)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("store") / "s"
    prepare(Path("default"), out, PrepareConfig(format="phantom", options={"size_px": 64}, limit=10))
    return out


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(out.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def drafts_here(checkpoint: Path, inputs: Inputs) -> dict[str, Any]:
    studies = inputs.find()
    outcomes = Drafting.open(DraftingRequest(checkpoint)).drafter.draft(studies[n] for n in range(len(studies)))
    return {o.study_id: o.reason if isinstance(o, Skipped) else o.text for o in outcomes}


def test_the_same_drafts_as_in_one_process(here: HereCluster, checkpoint: Path, store: Path, tmp_path: Path) -> None:
    told = []
    summary = draft_on_cluster(
        DraftingRequest(checkpoint),
        Inputs((store,)),
        tmp_path / "d",
        PIECES,
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert {row["study_id"]: row["report"] for row in rows_of(tmp_path / "d")} == drafts_here(
        checkpoint, Inputs((store,))
    )
    assert (summary.num_reports, summary.num_skipped, summary.num_pieces, summary.num_resumed) == (10, 0, 4, 0)
    assert told[0] == (0, 10)
    assert told[-1] == (10, 10)
    assert len(told) == 5
    assert json.loads((tmp_path / "d" / SUMMARY).read_text())["num_reports"] == 10
    assert len(read_reports(tmp_path / "d").rows) == 10


@pytest.mark.parametrize("answers_lost", [True, False])
@pytest.mark.parametrize("kills", [1, 2, 3])
def test_killed_and_called_again(
    kills: int, answers_lost: bool, here: HereCluster, checkpoint: Path, store: Path, tmp_path: Path
) -> None:
    """A run that is killed after each answer in turn: no study is drafted twice, and none is missing."""
    here.num_answers, here.answers_lost = kills, answers_lost
    here.seed = kills
    call = (DraftingRequest(checkpoint), Inputs((store,)), tmp_path / "d", PIECES)
    num_kills = 0
    while True:
        try:
            summary = draft_on_cluster(*call)
            break
        except Killed:
            num_kills += 1
            assert not (tmp_path / "d" / SUMMARY).exists()
    assert num_kills >= 1
    assert Counter(row["study_id"] for row in rows_of(tmp_path / "d")) == Counter(
        dict.fromkeys(drafts_here(checkpoint, Inputs((store,))), 1)
    )
    assert len({piece["number"] for piece in here.seen}) == len(here.seen) == 4
    assert summary.num_resumed > 0
    begun = len(here.seen)
    assert draft_on_cluster(*call).num_resumed == 10
    assert len(here.seen) == begun, "a finished job begins nothing"


def test_another_job_is_not_continued(here: HereCluster, checkpoint: Path, store: Path, tmp_path: Path) -> None:
    draft_on_cluster(DraftingRequest(checkpoint), Inputs((store,)), tmp_path / "d", PIECES)
    with pytest.raises(OutputError, match="another decoding"):
        draft_on_cluster(
            DraftingRequest(checkpoint, decoding=("max_tokens=3",)), Inputs((store,)), tmp_path / "d", PIECES
        )
    with pytest.raises(OutputError, match="another limit and"):
        draft_on_cluster(DraftingRequest(checkpoint), Inputs((store,), limit=4), tmp_path / "d", PIECES)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match=r"not empty \(it holds thesis.tex\)"):
        draft_on_cluster(DraftingRequest(checkpoint), Inputs((store,)), tmp_path / "e", PIECES)
    assert not here.seen[4:]


def test_where_the_same_weights_and_the_same_store_lie_does_not_matter(
    here: HereCluster, checkpoint: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.num_answers = 1
    with pytest.raises(Killed):
        draft_on_cluster(DraftingRequest(checkpoint), Inputs((store,)), tmp_path / "d", PIECES)
    here.num_answers = None
    for place, elsewhere in ((checkpoint, "c"), (store, "s")):
        shutil.copytree(place, tmp_path / elsewhere)
    monkeypatch.chdir(tmp_path)
    summary = draft_on_cluster(DraftingRequest(Path("c")), Inputs((Path("s"),)), Path("d"), PIECES)
    assert summary.num_resumed > 0
    assert len(rows_of(tmp_path / "d")) == 10


def test_loose_images_of_another_folder_are_another_job(
    here: HereCluster, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        [view] = generate_study(PHANTOM, "train", number).study().views[:1]
        (tmp_path / str(number) / "one.png").write_bytes(view.image.read())
    monkeypatch.chdir(tmp_path)
    draft_on_cluster(DraftingRequest(checkpoint), Inputs((Path("0"),)), Path("d"), PIECES)
    draft_on_cluster(DraftingRequest(checkpoint), Inputs((tmp_path / "0",)), Path("d"), PIECES)
    assert len(here.seen) == 1
    with pytest.raises(OutputError, match="another inputs"):
        draft_on_cluster(DraftingRequest(checkpoint), Inputs((Path("1"),)), Path("d"), PIECES)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"address": "127.0.0.1:1"}, "no Ray cluster can be had at 127.0.0.1:1"),
        ({"address": "ray://127.0.0.1:1"}, "no Ray cluster can be had at ray://127.0.0.1:1"),
        ({"cpus": 4096}, "cluster.cpus = 4096: this machine has"),
    ],
)
def test_a_cluster_that_cannot_be_had_leaves_no_job_behind(
    settings: dict[str, Any], said: str, checkpoint: Path, store: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    with pytest.raises(ConfigError, match=said):
        draft_on_cluster(DraftingRequest(checkpoint), Inputs((store,)), tmp_path / "d", ClusterConfig(**settings))
    assert not (tmp_path / "d").exists() or not list((tmp_path / "d").iterdir())


def test_a_changed_piece_size_changes_no_job_under_way(
    here: HereCluster, checkpoint: Path, store: Path, tmp_path: Path
) -> None:
    here.num_answers = 1
    with pytest.raises(Killed):
        draft_on_cluster(DraftingRequest(checkpoint), Inputs((store,)), tmp_path / "d", PIECES)
    here.num_answers = None
    summary = draft_on_cluster(
        DraftingRequest(checkpoint), Inputs((store,)), tmp_path / "d", ClusterConfig(piece_size=7)
    )
    assert summary.num_pieces == 4
    assert len(rows_of(tmp_path / "d")) == 10


def test_a_file_that_lost_rows_is_found(here: HereCluster, checkpoint: Path, store: Path, tmp_path: Path) -> None:
    call = (DraftingRequest(checkpoint), Inputs((store,)), tmp_path / "d", PIECES)
    draft_on_cluster(*call)
    part = tmp_path / "d" / part_name(1)
    pq.write_table(pq.read_table(part).slice(0, 2), part)
    with pytest.raises(OutputError, match=r"part-000001.parquet: has 2 studies instead of 3; remove it"):
        draft_on_cluster(*call)
    part.unlink()
    assert draft_on_cluster(*call).num_reports == 10


def test_what_cannot_be_read_is_on_record(here: HereCluster, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(4):
        [view] = generate_study(PHANTOM, "train", number).study().views[:1]
        (tmp_path / "in" / f"{number}.png").write_bytes(view.image.read()[: None if number % 2 else 100])
    inputs = Inputs((tmp_path / "in",))
    summary = draft_on_cluster(DraftingRequest(checkpoint), inputs, tmp_path / "d", PIECES)
    assert (summary.num_reports, summary.num_skipped) == (2, 2)
    rows = {row["study_id"]: row["report"] or row["skipped"] for row in rows_of(tmp_path / "d")}
    assert rows == drafts_here(checkpoint, inputs)
    assert {study_id for study_id, _ in summary.skipped} == {"0", "2"}
    assert {row.study_id for row in read_reports(tmp_path / "d").rows} == {"1", "3"}


def write_parquet(path: Path, numbers: range, *, group: int, damaged: int = -1) -> None:
    rows = []
    for number in numbers:
        views = generate_study(PHANTOM, "train", number).study().views
        images = [view.image.read()[: 90 if number == damaged else None] for view in views]
        rows.append({"study_id": f"s{number}", "images": images, "view": ["PA", "LATERAL"][: len(images)]})
    path.parent.mkdir(exist_ok=True, parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)


def test_parquet_is_read_group_by_group(
    here: HereCluster, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path / "in" / "a.parquet", range(7), group=2, damaged=5)
    write_parquet(tmp_path / "in" / "b.parquet", range(7, 10), group=2)
    read: list[tuple[str, int]] = []
    real = parquet.ParquetFile.read_group

    def counted(self: parquet.ParquetFile, number: int, columns: Any) -> Any:
        read.append((self.place, number))
        return real(self, number, columns)

    monkeypatch.setattr(parquet.ParquetFile, "read_group", counted)
    summary = draft_on_cluster(DraftingRequest(checkpoint), Inputs((tmp_path / "in",)), tmp_path / "d", PIECES)
    assert (summary.num_reports, summary.num_skipped) == (9, 1)
    assert len(read) == len(set(read)) == 6, "each row group is read once, by the worker that has all of it"
    assert [row["study_id"] for row in rows_of(tmp_path / "d")] == [f"s{number}" for number in range(10)]
    loose = Inputs(tuple(tmp_path / "loose" / f"s{n}" for n in (0, 9)))
    for place, number in zip(loose.places, (0, 9), strict=True):
        assert isinstance(place, Path)
        place.mkdir(parents=True)
        for view, image in enumerate(generate_study(PHANTOM, "train", number).study().views):
            (place / f"{view}.png").write_bytes(image.image.read())
    summary = draft_on_cluster(DraftingRequest(checkpoint), Inputs((tmp_path / "loose",)), tmp_path / "l", PIECES)
    same = {row["study_id"]: row["report"] for row in rows_of(tmp_path / "l")}
    assert same == {row["study_id"]: row["report"] for row in rows_of(tmp_path / "d") if row["study_id"] in same}


def test_parquet_that_cannot_be_used(checkpoint: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"study_id": ["a", "b", "a"], "image": [b"x"] * 3}), tmp_path / "twice.parquet")
    with pytest.raises(SourceError, match=r"several rows have one study_id \(a\)"):
        Inputs((tmp_path / "twice.parquet",)).find()
    pq.write_table(pa.table({"studyid": ["a"], "image": [b"x"]}), tmp_path / "name.parquet")
    with pytest.raises(SourceError, match="did you mean 'studyid'"):
        Inputs((tmp_path / "name.parquet",)).find()
    (tmp_path / "no.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(SourceError, match=r"no\.parquet: is no readable Parquet file"):
        Inputs((tmp_path / "no.parquet",)).find()
    with pytest.raises(ConfigError, match="give it alone"):
        Inputs((tmp_path / "twice.parquet", tmp_path / "other.png")).find()


@pytest.fixture
def bucket() -> Any:
    """An object storage in memory, which the workers of this process share."""
    system, _ = filesystem("memory://bucket")
    yield system
    system.store.clear()


def test_from_and_to_object_storage(here: HereCluster, checkpoint: Path, bucket: Any, tmp_path: Path) -> None:
    for number in range(4):
        for view, image in enumerate(generate_study(PHANTOM, "train", number).study().views):
            bucket.pipe_file(f"/bucket/in/s{number}/{view}.png", image.image.read())
    write_parquet(tmp_path / "a.parquet", range(4), group=2)
    bucket.pipe_file("/bucket/rows/a.parquet", (tmp_path / "a.parquet").read_bytes())
    for inputs, out in (("memory://bucket/in", "memory://bucket/d"), ("memory://bucket/rows", "memory://bucket/e")):
        here.num_answers = 0
        with pytest.raises(Killed):
            draft_on_cluster(DraftingRequest(checkpoint), Inputs((inputs,)), out, PIECES)
        here.num_answers = None
        summary = draft_on_cluster(DraftingRequest(checkpoint), Inputs((inputs,)), out, PIECES)
        assert (summary.num_reports, summary.num_skipped) == (4, 0)
        assert summary.num_resumed > 0
        names = sorted(name.rsplit("/", 1)[-1] for name in bucket.ls(out.removeprefix("memory:/"), detail=False))
        assert names == ["job.json", "part-000000.parquet", "part-000001.parquet", "summary.json"]
    one = [pq.read_table(bucket.open(f"/bucket/{out}/part-000000.parquet"))["report"].to_pylist() for out in "de"]
    assert one[0][:2] == one[1][:2]


def test_listings_are_not_remembered() -> None:
    """A worker elsewhere writes what this process then has to see (s3fs would go on saying that it is not there)."""
    system, _ = filesystem("memory://other")
    assert system.dircache.use_listings_cache is False


def failure(capsys: Any, *command: object) -> str:
    with pytest.raises(SystemExit, match="1"):
        main([str(word) for word in command])
    return str(capsys.readouterr().err)


def test_what_the_command_line_refuses(checkpoint: Path, store: Path, tmp_path: Path, capsys: Any) -> None:
    start = ("generate", checkpoint, store, "--out")
    out = tmp_path / "d"
    assert "--engine rai: is none of local, ray (did you mean 'ray'?)" in failure(
        capsys, *start, out, "--engine", "rai"
    )
    assert "--cluster workers=2: is for --engine ray" in failure(capsys, *start, out, "--cluster", "workers=2")
    told = failure(capsys, *start, out, "--engine", "ray", "--cluster", "worker=2")
    assert "worker" in told
    assert "workers" in told
    assert "needs --engine ray" in failure(capsys, *start, "memory://b/d")
    told = failure(capsys, *start, out, "--engine", "ray", "--clues", "shuffled")
    assert "all studies in one process" in told
    assert "on disk only" in failure(capsys, "prepare", "s3://b/x", "--format", "mimic-cxr", "--out", out)
    assert "gopher://b/x: cannot be reached" in failure(capsys, "generate", checkpoint, "gopher://b/x", "--out", out)
    assert not out.exists()


def test_clues_that_need_all_studies(checkpoint: Path, store: Path, tmp_path: Path) -> None:
    request = DraftingRequest(checkpoint, clues=ClueRequest("oracle", 0, True))
    with pytest.raises(ConfigError, match="--clues oracle: needs all studies"):
        draft_on_cluster(request, Inputs((store,)), tmp_path / "d", PIECES)
