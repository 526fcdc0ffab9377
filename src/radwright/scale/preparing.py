"""A prepared store by many workers: each writes the shards of its own references, in a folder that all of them see.

Where a shard begins and ends does not depend on who writes it, so the store is the same to the byte as one that a
single process writes, and either way may go on where the other stopped.
"""

from __future__ import annotations

import json
import pickle
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from radwright.data import writing
from radwright.data.prepare import PrepareConfig, StoreJob, put
from radwright.data.sources.base import Source
from radwright.data.store import HEADER, Shard
from radwright.data.workers import Worker
from radwright.data.writing import StoreWriter, record_shard
from radwright.errors import ConfigError, OutputError
from radwright.scale.cluster import Cluster, ClusterConfig


class PreparingWorker:
    """Loads and checks the studies of a piece, and writes their shards.

    Args:
        source: the dataset; its files are read by every worker.
        config: how.
        out: the store's folder.

    Raises:
        OutputError: this machine does not see the folder.
    """

    def __init__(self, source: Source, config: PrepareConfig, out: Path) -> None:
        if not (out / HEADER).is_file():
            raise OutputError(
                f"{out}: is not to be seen on {platform.node()}; --out must lie on a file system that all machines of "
                "the cluster share"
            )
        self.worker = Worker(source, config)
        self.out = out

    def __call__(self, piece: Mapping[str, Any]) -> dict[str, Any]:
        """Write the references from ``first`` on; the rows of their shards, and how many studies are skipped."""
        shards: list[Shard] = []
        tasks = pickle.loads(piece["tasks"])
        with StoreWriter(self.out, piece["first"], shards.append) as writer:
            num_skipped = sum(put(self.worker.outcome(task), writer) for task in tasks)
        return {
            "shards": json.dumps([shard.row() for shard in shards]),
            "num_references": len(tasks),
            "num_skipped": num_skipped,
        }


def prepare_on_cluster(job: StoreJob, cluster: ClusterConfig) -> None:
    """Write what is missing of a store by the workers of a cluster; to be given to ``prepare`` as ``write``.

    Raises:
        ConfigError: there is no cluster, or a setting that means nothing here.
        OutputError, SourceError: see ``radwright.data.prepare.prepare``.
    """
    if unused := [name for name in ("gpus", "piece_size") if getattr(cluster, name) is not None]:
        raise ConfigError(f"cluster.{unused[0]}: prepare has no use for it; leave it out")
    pieces = [{"first": first, "tasks": pickle.dumps(job.tasks[first:end])} for first, end in pieces_of(job.missing)]
    if not pieces:
        return
    done = num_skipped = 0
    with Cluster(cluster, takes_gpus=False) as joined:
        for answer in joined.run(PreparingWorker, (job.source, job.config, job.out.resolve()), pieces):
            for row in json.loads(answer["shards"]):
                record_shard(job.out, Shard.of(row))
            done += answer["num_references"]
            num_skipped += answer["num_skipped"]
            job.on_progress(done, num_skipped)


def pieces_of(missing: Sequence[range]) -> Iterator[tuple[int, int]]:
    """(first, end) of the references that one worker writes at a time: they end where a shard ends in any case."""
    size = writing.SHARD_REFERENCES
    for run in missing:
        first = run.start
        while first < run.stop:
            end = min(run.stop, (first // size + 1) * size)
            yield first, end
            first = end
