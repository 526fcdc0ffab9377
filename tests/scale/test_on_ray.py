"""The two commands on real Ray workers, and what happens when these, or the command, are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from radwright.errors import OutputError
from radwright.scale.cluster import Cluster, ClusterConfig

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")]
pytest.importorskip("ray")


class Deadly:
    """Counts its calls by files; some pieces end the process that does them, as the kernel does without memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, piece: Any) -> dict[str, Any]:
        tries = len(list(self.folder.glob(f"{piece['number']}-*")))
        (self.folder / f"{piece['number']}-{tries}").touch()
        if tries < piece["deaths"]:
            os.kill(os.getpid(), signal.SIGKILL)
        if piece["refused"]:
            raise OutputError("the disk of this worker is full")
        return {"number": piece["number"]}


def run(tmp_path: Path, deaths: int = 0, refused: bool = False) -> list[int]:
    pieces = [{"number": n, "deaths": deaths * (n == 2), "refused": refused and n == 2} for n in range(5)]
    with Cluster(ClusterConfig(workers=2), takes_gpus=False) as cluster:
        return sorted(answer["number"] for answer in cluster.run(Deadly, (tmp_path,), pieces))


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers import this file, too."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))


def test_a_piece_whose_worker_dies_goes_to_another(tmp_path: Path) -> None:
    assert run(tmp_path, deaths=2) == [0, 1, 2, 3, 4]
    assert len(list(tmp_path.glob("2-*"))) == 3


def test_a_piece_that_kills_every_worker_ends_the_job(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="died on one piece of work"):
        run(tmp_path, deaths=99)
    assert len(list(tmp_path.glob("2-*"))) == 4


def test_a_worker_refusal_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="the disk of this worker is full"):
        run(tmp_path, refused=True)


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "radwright", *map(str, words)]


def test_prepare_on_ray(tmp_path: Path) -> None:
    start = ("prepare", "default", "--format", "phantom", "--option", "size_px=64", "--limit", 2100, "--out")
    subprocess.run(command(*start, tmp_path / "one", "--workers", 2), check=True, capture_output=True)
    answer = subprocess.run(
        command(*start, tmp_path / "many", "--engine", "ray", "--json"), check=True, capture_output=True
    )
    assert json.loads(answer.stdout)["studies"] == 2100
    own = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert own == {path.name: path.read_bytes() for path in (tmp_path / "many").iterdir()}


def test_generate_on_ray_killed_at_moments_of_its_own(checkpoint: Path, tmp_path: Path) -> None:
    start = ("prepare", "default", "--format", "phantom", "--option", "size_px=64", "--limit", 1200, "--out")
    subprocess.run(command(*start, tmp_path / "s", "--workers", 2), check=True, capture_output=True)
    words = command("generate", checkpoint, tmp_path / "s", "--out", tmp_path / "d", "--engine", "ray", "--json")
    words += ["--cluster", "piece_size=40", "--cluster", "workers=2"]
    for wanted, sent in ((2, signal.SIGKILL), (5, signal.SIGTERM), (9, signal.SIGKILL)):
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            while len(list((tmp_path / "d").glob("part-*"))) < wanted and process.poll() is None:
                time.sleep(0.02)
            process.send_signal(sent)
            said = process.communicate()[1]
        if sent == signal.SIGTERM:  # what schedulers send is what Ctrl-C is
            assert process.returncode == 130
            assert said.rstrip().endswith("interrupted; run the same command again to resume")
            assert "SIGTERM received" not in said
    begun = len(list((tmp_path / "d").glob("part-*")))
    assert 9 <= begun < 30
    summary = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    assert summary["num_reports"] == 1200
    assert summary["num_resumed"] >= 40 * begun
    rows = [row for path in (tmp_path / "d").glob("part-*") for row in pq.read_table(path)["study_id"].to_pylist()]
    assert set(Counter(rows).values()) == {1}
    assert len(rows) == 1200
