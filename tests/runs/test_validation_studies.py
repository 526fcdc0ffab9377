"""Tune studies: decoded once for all validations, shared out over processes, batches as they always were."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from radwright.data import files
from radwright.data.loading import LoadingConfig, make_batch
from radwright.data.store import HEADER, STORE_VERSION, PreparedStore, study_row
from radwright.data.writing import StoreWriter
from radwright.errors import ImageError
from radwright.imaging import pixels
from radwright.imaging.config import ImageConfig
from radwright.runs import validation
from radwright.runs.recipe import ValidationConfig
from radwright.text.words import WordTokenizer
from radwright.types import ImageInMemory, Study, View

IMAGE = ImageConfig(size_px=24)
WITHOUT_REPORT, WITHOUT_IMAGE = 3, 5


def picture(seed: int, depth: type) -> bytes:
    """A PNG of noise."""
    stream = io.BytesIO()
    pixels_HW = np.random.default_rng(seed).integers(0, np.iinfo(depth).max, (40, 30)).astype(depth)
    Image.fromarray(pixels_HW).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PreparedStore:
    path = tmp_path_factory.mktemp("stores") / "s"
    path.mkdir()
    files.write_lines(path / HEADER, [{"version": STORE_VERSION, "complete": True}])
    with StoreWriter(path) as writer:
        for number in range(11):
            views = tuple(
                View(ImageInMemory("x", picture(10 * number + view, np.uint16 if number == 2 else np.uint8)))
                for view in range(0 if number == WITHOUT_IMAGE else 2)
            )
            findings = " " if number == WITHOUT_REPORT else "No effusion." if number % 2 else "Clear."
            writer.add(study_row(Study(f"s{number}", views, "", "tune", {"findings": findings})))
    return PreparedStore(path)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How many images were decoded, under 0."""
    counted: Counter[int] = Counter()
    decode = pixels.decode

    def counting(encoded: Any, **values: Any) -> Any:
        counted[0] += 1
        return decode(encoded, **values)

    monkeypatch.setattr(pixels, "decode", counting)
    return counted


def studies(
    store: PreparedStore, monkeypatch: pytest.MonkeyPatch, *, rank: int = 0, num_ranks: int = 1, **loading: Any
) -> Any:
    monkeypatch.setattr(validation, "stage_image", lambda recipe, stage: IMAGE)
    run: Any = SimpleNamespace(
        store=store,
        tokenizer=WordTokenizer(["no", "effusion", "clear", "."]),
        recipe=SimpleNamespace(loading=LoadingConfig(**loading)),
        engine=SimpleNamespace(rank=rank, num_ranks=num_ranks, device=torch.device("cpu")),
    )
    stage: Any = SimpleNamespace(validation=ValidationConfig(batch_size=2))
    return validation._TuneStudies(run, stage)


def ids(chunks: Any) -> list[list[str]]:
    return [[study.study_id for study in chunk] for chunk in chunks]


def test_they_are_decoded_once_for_all_validations(
    store: PreparedStore, monkeypatch: pytest.MonkeyPatch, decoded: Counter[int]
) -> None:
    kept, again = (studies(store, monkeypatch, cache_mb=megabytes) for megabytes in (1, 0))
    first = ids(kept.chunks())
    assert first == [["s0", "s1"], ["s2"], ["s4"], ["s6", "s7"], ["s8", "s9"], ["s10"]]
    once = decoded[0]
    assert ids(kept.chunks()) == first
    assert decoded[0] == once == 2 * 9
    assert ids(again.chunks()) == ids(again.chunks()) == first
    assert decoded[0] == 3 * once


@pytest.mark.parametrize("workers", [0, 3])
def test_ranks_share_them_out(workers: int, store: PreparedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ids(studies(store, monkeypatch).chunks())
    shares = [ids(studies(store, monkeypatch, rank=rank, num_ranks=2, workers=workers).chunks()) for rank in range(2)]
    assert shares == [whole[0::2], whole[1::2]]


def test_their_batches_are_those_of_make_batch(store: PreparedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    tune = studies(store, monkeypatch)
    for chunk in tune.chunks():
        expected = make_batch([store[int(study.study_id[1:])] for study in chunk], IMAGE, tokenizer=tune.run.tokenizer)
        found = tune.batch(chunk, reports=True)
        assert torch.equal(found.images_BV1SS, expected.images_BV1SS)
        assert torch.equal(found.token_ids_BT, expected.token_ids_BT)
        assert found.reports == expected.reports
        assert found.seeds_B is None
        assert tune.batch(chunk, reports=False).token_ids_BT is None
        assert tune.batch(chunk, reports=False).reports is None


def test_a_study_that_cannot_be_loaded_stops_the_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_lines(tmp_path / HEADER, [{"version": STORE_VERSION, "complete": True}])
    with StoreWriter(tmp_path) as writer:
        broken = Study("s0", (View(ImageInMemory("broken.png", b"no image")),), "", "tune", {"findings": "Clear."})
        writer.add(study_row(broken))
    with pytest.raises(ImageError, match=r"broken\.png"):
        list(studies(PreparedStore(tmp_path), monkeypatch).chunks())
