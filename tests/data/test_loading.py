"""Batches: padding, tokens, the order that ranks and resumed runs share."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from radwright.data import files
from radwright.data.loading import (
    AugmentationConfig,
    BatchLoader,
    LoadingConfig,
    choose_views,
    make_batch,
    report_tokens,
)
from radwright.data.store import HEADER, STORE_VERSION, PreparedStore, study_row
from radwright.data.transfer import finished
from radwright.data.writing import StoreWriter
from radwright.errors import ConfigError, StudyError
from radwright.imaging.augment import draw
from radwright.imaging.config import ImageConfig
from radwright.imaging.tensor import image_tensor
from radwright.text.subwords import SubwordTokenizer
from radwright.text.words import WordTokenizer
from radwright.types import VIEW_POSITIONS, Batch, ImageInMemory, ImageOnDisk, Study, View, ViewPosition

IMAGE = ImageConfig(size_px=24)
WORDS = "the lungs are clear . no effusion ."


@pytest.fixture(scope="module")
def tokenizer() -> WordTokenizer:
    return WordTokenizer.build([WORDS] * 3, min_count=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, picture_bytes: Any) -> PreparedStore:
    path = tmp_path_factory.mktemp("stores") / "s"
    path.mkdir()
    files.write_lines(path / HEADER, [{"version": STORE_VERSION, "complete": True}])
    with StoreWriter(path) as writer:
        for number in range(21):
            depth = 16 if number % 5 == 0 else 8
            views = tuple(
                View(ImageInMemory("x", picture_bytes(10 * number + view, depth=depth)), VIEW_POSITIONS[1 + view % 2])
                for view in range(1 + number % 3)
            )
            sections = {"findings": "The lungs are clear. No effusion." if number % 2 else "No effusion."}
            writer.add(study_row(Study(f"s{number}", views, f"p{number}", "train", sections)))
    return PreparedStore(path)


def loader(store: PreparedStore, tokenizer: Any, indices: Any = None, **values: Any) -> BatchLoader:
    chosen = range(len(store)) if indices is None else indices
    loading = LoadingConfig(**{"workers": 0, **values.pop("loading", {})})
    return BatchLoader(store, chosen, IMAGE, loading, tokenizer=tokenizer, **{"batch_size": 8, "seed": 3, **values})


def by_study(batches: Any) -> dict[str, str]:
    """Study id -> digest of everything a batch holds of it, without padding."""
    found: dict[str, str] = {}
    for batch in map(finished, batches):
        for row, study_id in enumerate(batch.study_ids):
            assert study_id not in found
            mask = batch.view_mask_BV[row]
            digest = hashlib.sha256(batch.images_BV1SS[row][mask].numpy().tobytes())
            digest.update(batch.positions_BV[row][mask].numpy().tobytes())
            digest.update(batch.token_ids_BT[row, : batch.lengths_B[row]].numpy().tobytes())
            found[study_id] = digest.hexdigest()
    return found


def flat(steps: Any) -> list[Batch]:
    return [batch for step in steps for batch in step]


def test_make_batch_pads_and_keeps_every_tensor(store: PreparedStore, tokenizer: WordTokenizer) -> None:
    studies = [store[index] for index in (0, 2, 5)]
    batch = make_batch(studies, IMAGE, tokenizer=tokenizer)
    assert batch.images_BV1SS.shape == (3, 3, 1, 24, 24)
    assert batch.view_mask_BV.tolist() == [[True, False, False], [True] * 3, [True] * 3]
    assert not batch.images_BV1SS[0, 1:].any()
    for row, study in enumerate(studies):
        for column, view in enumerate(study.views):
            direct = image_tensor(view.image.read(), IMAGE, name="x", original_size=view.original_size)
            assert torch.equal(batch.images_BV1SS[row, column], direct)
            assert batch.positions_BV[row, column] == VIEW_POSITIONS.index(view.position)
    assert batch.token_ids_BT is not None
    assert batch.lengths_B is not None
    ids, length = batch.token_ids_BT[0], int(batch.lengths_B[0])
    assert ids[0] == tokenizer.bos_id
    assert ids[length - 1] == tokenizer.eos_id
    assert (ids[length:] == tokenizer.pad_id).all()
    assert length < ids.shape[0]
    assert make_batch(studies, IMAGE).token_ids_BT is None


def test_what_cannot_be_in_a_batch(store: PreparedStore, tokenizer: WordTokenizer, tmp_path: Path) -> None:
    view = store[0].views[0]
    with pytest.raises(StudyError, match="no image"):
        make_batch([Study("a", ())], IMAGE)
    with pytest.raises(StudyError, match="findings is empty"):
        make_batch([Study("a", (view,), sections={"findings": " "})], IMAGE, tokenizer=tokenizer)
    with pytest.raises(StudyError, match="cannot be read"):
        make_batch([Study("a", (View(ImageOnDisk(tmp_path / "no.png")),))], IMAGE)


@pytest.mark.parametrize("max_tokens", range(3, 14))
@pytest.mark.parametrize("cut_at_sentence", [True, False])
def test_long_reports_are_cut(max_tokens: int, cut_at_sentence: bool, tokenizer: WordTokenizer) -> None:
    study = Study("a", (), sections={"findings": "The lungs are clear. No effusion."})
    whole = tokenizer.encode(WORDS)
    assert len(whole) == 8
    loading = LoadingConfig(max_tokens=max_tokens, cut_at_sentence=cut_at_sentence)
    ids = report_tokens(study, tokenizer, loading)
    assert len(ids) <= max_tokens
    assert ids[0] == tokenizer.bos_id
    if max_tokens >= 10:
        assert ids[1:] == [*whole, tokenizer.eos_id]
    elif cut_at_sentence and max_tokens >= 7:
        assert ids[1:] == [*whole[:5], tokenizer.eos_id]
    else:
        assert ids[1:] == whole[: max_tokens - 1], "cut inside a sentence: no EOS is learnt"


@pytest.mark.parametrize("cleaning", [None, "report"])
def test_long_reports_are_cut_at_sentences_that_have_no_token_of_their_own(cleaning: str | None) -> None:
    """A decimal's point and an abbreviation's are the same piece as a sentence's."""
    text = "A 1.2 cm nodule, see Dr. Roe. No effusion. Lungs clear."
    pieces = SubwordTokenizer.train([text] * 3, size=300, cleaning=cleaning)
    study = Study("a", (), sections={"findings": text})
    sentences = [text[:29], text[:42], text]
    assert [part[-4:] for part in sentences] == ["Roe.", "ion.", "ear."]
    sizes = [len(pieces.encode(part)) for part in sentences]
    for max_tokens in range(3, sizes[-1] + 4):
        ids = report_tokens(study, pieces, LoadingConfig(max_tokens=max_tokens))
        assert len(ids) <= max_tokens
        assert ids[0] == pieces.bos_id
        fit = [part for part, size in zip(sentences, sizes, strict=True) if size + 2 <= max_tokens]
        if fit:
            assert ids[1:] == [*pieces.encode(fit[-1]), pieces.eos_id]
        else:
            assert ids[1:] == pieces.encode(text)[: max_tokens - 1], "cut inside a sentence: no EOS is learnt"
    cut = report_tokens(study, pieces, LoadingConfig(max_tokens=sizes[0] + 3, cut_at_sentence=False))
    assert cut[1:] == pieces.encode(text)[: sizes[0] + 2]


def test_choice_of_views() -> None:
    def names(positions: list[ViewPosition], max_views: int) -> list[str]:
        views = [View(ImageInMemory(str(number), b""), position) for number, position in enumerate(positions)]
        return [view.image.name for view in choose_views(views, max_views)]

    assert names(["frontal", "lateral"], 4) == ["0", "1"]
    assert names(["unknown", "frontal", "frontal", "lateral", "frontal"], 2) == ["1", "3"]
    assert names(["lateral", "lateral", "frontal"], 2) == ["0", "2"]
    assert names(["lateral", "lateral", "frontal"], 1) == ["2"]
    assert names(["unknown", "unknown", "unknown"], 2) == ["0", "1"]


def test_every_study_once_per_epoch_in_an_order_of_its_own(store: PreparedStore, tokenizer: WordTokenizer) -> None:
    batches = loader(store, tokenizer)
    assert batches.steps_per_epoch == 3
    orders = [batches.order(epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(21)) for order in orders)
    assert orders[0] != orders[1]
    assert orders[0] == loader(store, tokenizer).order(0)
    assert orders[0] != loader(store, tokenizer, seed=4).order(0)
    # Written down once: another machine or version must not train on another order.
    assert orders[0][:6] == [20, 0, 4, 9, 7, 1]
    assert set(by_study(flat(batches.steps(0)))) == set(store.study_ids)


@pytest.mark.parametrize("num_ranks", [2, 3])
@pytest.mark.parametrize("micro_batch_size", [None, 2, 3])
def test_any_number_of_ranks_sees_the_same_steps(
    num_ranks: int, micro_batch_size: int | None, store: PreparedStore, tokenizer: WordTokenizer
) -> None:
    common = {"augmentation": AugmentationConfig(), "micro_batch_size": micro_batch_size}
    alone = list(loader(store, tokenizer, **common).steps(1))
    shares = [
        list(loader(store, tokenizer, rank=rank, num_ranks=num_ranks, **common).steps(1)) for rank in range(num_ranks)
    ]
    for step, whole in enumerate(alone):
        together = [batch for share in shares for batch in share[step]]
        assert by_study(together) == by_study(whole)
    if micro_batch_size is not None:
        # Micro-batch m is the very same batch wherever it goes.
        for number, batch in enumerate(alone[0]):
            assert shares[number % num_ranks][0][number // num_ranks].study_ids == batch.study_ids


def test_resumed_threaded_and_cached_batches_are_the_same(store: PreparedStore, tokenizer: WordTokenizer) -> None:
    common = {"augmentation": AugmentationConfig(), "micro_batch_size": 3}
    plain = [by_study(step) for step in loader(store, tokenizer, **common, loading={"cache_mb": 0}).steps(2)]
    for loading in ({"workers": 3, "batches_ahead": 2}, {"workers": 1, "cache_mb": 0}, {"cache_mb": 1}):
        batches = loader(store, tokenizer, **common, loading=loading)
        assert [by_study(step) for step in batches.steps(2)] == plain
        assert [by_study(step) for step in batches.steps(2)] == plain
        assert [by_study(step) for step in batches.steps(2, 1)] == plain[1:]
    assert list(batches.steps(2, 3)) == []


def test_a_small_cache_changes_nothing(store: PreparedStore, tokenizer: WordTokenizer) -> None:
    batches = loader(store, tokenizer)
    batches._cache._left = 3 * 24 * 24
    first, second = by_study(flat(batches.steps(0))), by_study(flat(batches.steps(0)))
    assert first == second
    assert 0 < len(batches._cache._kept) < 21


def test_augmentation_follows_the_key_and_is_joint(store: PreparedStore, tokenizer: WordTokenizer) -> None:
    config = AugmentationConfig()
    batches = loader(store, tokenizer, augmentation=config)
    first, again, other = (by_study(flat(batches.steps(epoch))) for epoch in (0, 0, 1))
    assert first == again
    assert all(first[study_id] != other[study_id] for study_id in first)
    study = store[2]
    change = draw(config, seed=3, epoch=0, study_id=study.study_id)
    direct = make_batch([study], IMAGE, tokenizer=tokenizer, draws=[change])
    assert by_study([direct])["s2"] == first["s2"]
    twins = Study("t", (study.views[0], study.views[0]))
    both = make_batch([twins], IMAGE, draws=[change]).images_BV1SS
    assert torch.equal(both[0, 0], both[0, 1])


def test_a_study_that_cannot_be_loaded_is_left_out_and_recorded(
    tmp_path: Path, picture_bytes: Any, tokenizer: WordTokenizer
) -> None:
    path = tmp_path / "s"
    path.mkdir()
    files.write_lines(path / HEADER, [{"version": STORE_VERSION, "complete": True}])
    good = View(ImageInMemory("x", picture_bytes(0)))
    report = {"findings": "No effusion."}
    with StoreWriter(path) as writer:
        for study in (
            Study("good", (good,), "", "train", report),
            Study("broken", (View(ImageInMemory("x", picture_bytes(0)[:-30])),), "", "train", report),
            Study("silent", (good,), "", "train", {}),
            Study("blind", (), "", "train", report),
        ):
            writer.add(study_row(study))
    for workers in (0, 2):
        batches = loader(PreparedStore(path), tokenizer, micro_batch_size=1, batch_size=2, loading={"workers": workers})
        assert [batch.study_ids for batch in flat(batches.steps(0))] == [("good",)]
        assert set(batches.skipped) == {"broken", "silent", "blind"}
        assert "truncated" in batches.skipped["broken"]
        images_only = loader(PreparedStore(path), None, loading={"workers": workers})
        assert {name for batch in flat(images_only.steps(0)) for name in batch.study_ids} == {"good", "silent"}


def test_stopping_early_ends_the_threads(store: PreparedStore, tokenizer: WordTokenizer) -> None:
    import threading

    steps = loader(store, tokenizer, batch_size=2, loading={"workers": 2, "batches_ahead": 2}).steps(0)
    next(steps)
    assert any("radwright-loading" in thread.name for thread in threading.enumerate())
    steps.close()
    assert not any("radwright-loading" in thread.name for thread in threading.enumerate())


def test_impossible_shares() -> None:
    with pytest.raises(ConfigError, match="rank 2 of 2"):
        BatchLoader(None, [], IMAGE, LoadingConfig(), tokenizer=None, batch_size=4, rank=2, num_ranks=2)  # type: ignore[arg-type]
