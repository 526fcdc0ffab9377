"""What an epoch costs: every image decoded once, and memory that does not grow from epoch to epoch."""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from radwright.data import files
from radwright.data.loading import AugmentationConfig, BatchLoader, LoadingConfig
from radwright.data.store import HEADER, STORE_VERSION, PreparedStore, study_row
from radwright.data.writing import StoreWriter
from radwright.imaging import pixels
from radwright.imaging.config import ImageConfig
from radwright.text.words import WordTokenizer
from radwright.types import ImageInMemory, Study, View

NUM_STUDIES = 14


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, picture_bytes: Any) -> PreparedStore:
    path = tmp_path_factory.mktemp("stores") / "s"
    path.mkdir()
    files.write_lines(path / HEADER, [{"version": STORE_VERSION, "complete": True}])
    with StoreWriter(path) as writer:
        for number in range(NUM_STUDIES):
            views = tuple(
                View(ImageInMemory("x", picture_bytes(number, kind, size=(300, 300)))) for kind in ("PNG", "JPEG")
            )
            writer.add(study_row(Study(f"s{number}", views, "", "train", {"findings": "No effusion."})))
    return PreparedStore(path)


def loader(store: PreparedStore, *, size_px: int = 32, **loading: Any) -> BatchLoader:
    return BatchLoader(
        store,
        range(len(store)),
        ImageConfig(size_px=size_px),
        LoadingConfig(**loading),
        tokenizer=WordTokenizer(["no", "effusion", "."]),
        augmentation=AugmentationConfig(),
        batch_size=4,
    )


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Name of an image -> how many times it was decoded."""
    counted: Counter[str] = Counter()
    decode = pixels.decode

    def counting(encoded: Any, **values: Any) -> Any:
        counted[encoded.name] += 1
        return decode(encoded, **values)

    monkeypatch.setattr(pixels, "decode", counting)
    return counted


@pytest.mark.parametrize("workers", [0, 3])
def test_an_epoch_decodes_every_image_once(workers: int, store: PreparedStore, decoded: Counter[str]) -> None:
    batches = loader(store, workers=workers, cache_mb=0)
    for epoch in range(3):
        decoded.clear()
        assert sum(len(batch.study_ids) for step in batches.steps(epoch) for batch in step) == NUM_STUDIES
        assert len(decoded) == 2 * NUM_STUDIES
        assert set(decoded.values()) == {1}


@pytest.mark.parametrize("workers", [0, 3])
def test_with_room_for_them_images_are_decoded_once_in_all_epochs(
    workers: int, store: PreparedStore, decoded: Counter[str]
) -> None:
    batches = loader(store, workers=workers, cache_mb=1)
    for epoch in range(3):
        assert sum(len(batch.study_ids) for step in batches.steps(epoch) for batch in step) == NUM_STUDIES
    assert len(decoded) == 2 * NUM_STUDIES
    assert set(decoded.values()) == {1}


def own_bytes() -> int:
    """Resident memory of this process that belongs to no file."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))


@pytest.mark.parametrize("loading", [{"workers": 0, "cache_mb": 0}, {"workers": 2, "cache_mb": 0}, {"cache_mb": 2}])
def test_memory_is_flat_over_ten_epochs(loading: dict[str, int], store: PreparedStore) -> None:
    batches = loader(store, size_px=256, **loading)

    def run(epochs: range) -> int:
        for epoch in epochs:
            for step in batches.steps(epoch):
                del step
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        begun = run(range(2))
        resident = own_bytes() if Path("/proc/self/status").exists() else None
        grown = run(range(2, 10)) - begun
    finally:
        tracemalloc.stop()
    # One study that stays behind in each epoch would be 8 x 2 x 256 x 256 bytes of pixels, one batch 32 times that.
    assert grown < 2 * 256 * 256
    if resident is not None:
        assert own_bytes() - resident < 16 * 2**20
