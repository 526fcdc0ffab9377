"""A worker that dies: a process of `prepare`, a thread that loads batches. A clear end, and nothing lost."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from radwright.data import files, writing
from radwright.data.prepare import PrepareConfig, prepare
from radwright.data.sources.base import StudyReference
from radwright.data.sources.phantom import PhantomSource
from radwright.data.store import HEADER, STORE_VERSION, PreparedStore, study_row
from radwright.data.writing import StoreWriter
from radwright.errors import SourceError, StoreError
from radwright.types import ImageInMemory, Study, View

DEADLY = "RADWRIGHT_TEST_DEADLY"


class Deadly(PhantomSource):
    """One of its studies ends the process that loads it, as a kernel does that has no memory left."""

    def load(self, reference: StudyReference) -> Study:
        if reference.study_id == os.environ.get(DEADLY):
            os._exit(9)
        return super().load(reference)


def test_a_dead_process_of_prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "SHARD_REFERENCES", 2)
    studies = tmp_path / "studies.yaml"
    studies.write_text("size_px: 32\nnum_studies: {train: 16}\n")
    config = PrepareConfig(format="test_dying_workers:Deadly", workers=2)
    alone = config.model_copy(update={"workers": 1})
    prepare(studies, tmp_path / "whole", alone)
    monkeypatch.setenv(DEADLY, PreparedStore(tmp_path / "whole").study_ids[13])
    with pytest.raises(SourceError, match=r"a worker process died.*run the same command again with fewer --workers"):
        prepare(studies, tmp_path / "out", config)
    assert not list((tmp_path / "out").glob(".writing-*"))
    with pytest.raises(StoreError, match="not finished"):
        PreparedStore(tmp_path / "out")
    monkeypatch.delenv(DEADLY)
    prepare(studies, tmp_path / "out", alone)
    whole, again = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "out"))
    assert again == whole


@pytest.mark.parametrize("error", [StoreError("shard-000000000.arrow: is damaged"), MemoryError("no memory left")])
def test_a_dead_thread_of_the_loader(error: Exception, tmp_path: Path, picture_bytes: Any) -> None:
    """The steps before it come as ever, then its error; no thread is left, and nobody waits."""
    from radwright.data.loading import BatchLoader, LoadingConfig  # torch, which the processes above do without
    from radwright.imaging.config import ImageConfig

    files.write_lines(tmp_path / HEADER, [{"version": STORE_VERSION, "complete": True}])
    with StoreWriter(tmp_path) as writer:
        for number in range(12):
            view = View(ImageInMemory("x", picture_bytes(number)))
            writer.add(study_row(Study(f"s{number}", (view,), "", "train", {"findings": "Clear."})))

    class Failing(PreparedStore):
        def study(self, index: int, *, images: bool = True) -> Study:
            if index == guilty:
                raise error
            return super().study(index, images=images)

    store = Failing(tmp_path)
    loading = LoadingConfig(workers=2, batches_ahead=2)
    batches = BatchLoader(store, range(12), ImageConfig(size_px=24), loading, tokenizer=None, batch_size=2)
    guilty = batches.order(0)[7]
    steps = batches.steps(0)
    assert [len(next(steps)) for _ in range(3)] == [1, 1, 1]
    with pytest.raises(type(error), match=str(error)):
        next(steps)
    assert not any("radwright-loading" in thread.name for thread in threading.enumerate())
