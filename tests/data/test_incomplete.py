"""Studies without images or without a report: what a batch of them is, who refuses them, and each study's seed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from radwright.data import files
from radwright.data.loading import AugmentationConfig, BatchLoader, LoadingConfig, make_batch
from radwright.data.order import study_seed
from radwright.data.store import HEADER, STORE_VERSION, PreparedStore, study_row
from radwright.data.writing import StoreWriter
from radwright.errors import StudyError
from radwright.imaging.config import ImageConfig
from radwright.methods.cmcrl.vlci import Vlci, VlciConfig
from radwright.methods.objectives import TeacherForcing, TeacherForcingConfig
from radwright.text.words import WordTokenizer
from radwright.types import VIEW_POSITIONS, Batch, ImageInMemory, Study, View

IMAGE = ImageConfig(size_px=24)
TENSORS = ("images_BV1SS", "view_mask_BV", "positions_BV", "token_ids_BT", "lengths_B", "seeds_B")


@pytest.fixture(scope="module")
def tokenizer() -> WordTokenizer:
    return WordTokenizer.build(["the lungs are clear . no effusion ."] * 3, min_count=1)


def write_store(path: Path, studies: list[Study]) -> PreparedStore:
    path.mkdir()
    files.write_lines(path / HEADER, [{"version": STORE_VERSION, "complete": True}])
    with StoreWriter(path) as writer:
        for study in studies:
            writer.add(study_row(study))
    return PreparedStore(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, picture_bytes: Any) -> PreparedStore:
    """24 studies; every fourth has images only, the next a report only, and the first of each eight a broken image."""
    studies = []
    for number in range(24):
        data = picture_bytes(number)
        views = [View(ImageInMemory("x", data), VIEW_POSITIONS[1 + view]) for view in range(1 + number % 2)]
        if number % 8 == 0:
            views = [View(ImageInMemory("x", data[:-30]))]
        findings = "The lungs are clear. No effusion." if number % 3 else "No effusion."
        sections = {} if number % 4 == 1 else {"findings": findings}
        studies.append(Study(f"s{number}", () if number % 4 == 2 else tuple(views), f"p{number}", "train", sections))
    return write_store(tmp_path_factory.mktemp("stores") / "s", studies)


def loader(store: PreparedStore, tokenizer: Any, **values: Any) -> BatchLoader:
    loading = LoadingConfig(workers=0, **values.pop("loading", {}))
    common = {"batch_size": 8, "seed": 3, "incomplete": True, "augmentation": AugmentationConfig()}
    indices = values.pop("indices", range(len(store)))
    return BatchLoader(store, indices, IMAGE, loading, tokenizer=tokenizer, **{**common, **values})


def by_study(steps: Any) -> dict[str, tuple[int, str]]:
    """Study id -> its seed, and a digest of what the batch holds of it without padding."""
    found: dict[str, tuple[int, str]] = {}
    for batch in (batch for step in steps for batch in step):
        for row, study_id in enumerate(batch.study_ids):
            assert study_id not in found
            mask = batch.view_mask_BV[row]
            digest = hashlib.sha256(batch.images_BV1SS[row][mask].numpy().tobytes())
            digest.update(batch.token_ids_BT[row, : batch.lengths_B[row]].numpy().tobytes())
            found[study_id] = (int(batch.seeds_B[row]), digest.hexdigest())
    return found


def assert_same(one: Batch, other: Batch) -> None:
    assert one.study_ids == other.study_ids
    for name in TENSORS:
        first, second = getattr(one, name), getattr(other, name)
        assert (first is None and second is None) or torch.equal(first, second), name


def test_incomplete_studies_are_kept_and_marked(store: PreparedStore, tokenizer: WordTokenizer) -> None:
    batches = loader(store, tokenizer)
    steps = list(batches.steps(0))
    assert set(by_study(steps)) == {f"s{number}" for number in range(24) if number % 8}
    assert set(batches.skipped) == {"s0", "s8", "s16"}, "a broken image is no missing image"
    num_views = 0
    for batch in (batch for step in steps for batch in step):
        for row, study_id in enumerate(batch.study_ids):
            number = int(study_id[1:])
            assert bool(batch.has_image_B[row]) == (number % 4 != 2)
            assert bool(batch.has_report_B[row]) == (number % 4 != 1)
            if number % 4 == 1:
                assert int(batch.lengths_B[row]) == 0
                assert (batch.token_ids_BT[row] == tokenizer.pad_id).all()
            if number % 4 == 2:
                assert not batch.images_BV1SS[row].any()
        num_views += len(batch.images_BV1SS[batch.view_mask_BV])
    # What goes through a stem: the views that there are, and nothing for a study without any.
    assert num_views == sum(1 + number % 2 for number in range(24) if number % 8 and number % 4 != 2)
    strict = loader(store, tokenizer, incomplete=False)
    assert set(by_study(strict.steps(0))) == {
        f"s{number}" for number in range(24) if number % 4 in (0, 3) and number % 8
    }
    assert "has no image" in strict.skipped["s2"]
    assert "findings is empty" in strict.skipped["s1"]


def test_a_study_of_neither_half_is_refused(tokenizer: WordTokenizer) -> None:
    nothing = Study("a", (), sections={"impression": "Clear."})
    with pytest.raises(StudyError, match="study a: has neither an image nor findings"):
        make_batch([nothing], IMAGE, tokenizer=tokenizer, incomplete=True)
    with pytest.raises(StudyError, match="study a: has no image"):
        make_batch([nothing], IMAGE, incomplete=True)


def test_batches_of_one_half_only(store: PreparedStore, tokenizer: WordTokenizer) -> None:
    texts = make_batch([store[2], store[6]], IMAGE, tokenizer=tokenizer, incomplete=True)
    assert texts.images_BV1SS.shape == (2, 1, 1, 24, 24)
    assert not texts.view_mask_BV.any()
    assert texts.images_BV1SS[texts.view_mask_BV].shape == (0, 1, 24, 24)
    images = make_batch([store[1], store[5]], IMAGE, tokenizer=tokenizer, incomplete=True)
    assert images.token_ids_BT is not None
    assert images.token_ids_BT.tolist() == [[tokenizer.pad_id]] * 2
    assert images.seeds_B is None


def test_complete_studies_are_the_same_to_the_bit(store: PreparedStore, tokenizer: WordTokenizer) -> None:
    complete = [number for number in range(24) if number % 4 == 3]
    pairs = zip(
        loader(store, tokenizer, indices=complete, batch_size=4).steps(1),
        loader(store, tokenizer, indices=complete, batch_size=4, incomplete=False).steps(1),
        strict=True,
    )
    for with_incomplete, without in pairs:
        for one, other in zip(with_incomplete, without, strict=True):
            assert_same(one, other)


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_ranks_and_resumed_runs_see_the_same_seeds(
    num_ranks: int, store: PreparedStore, tokenizer: WordTokenizer
) -> None:
    alone = list(loader(store, tokenizer).steps(1))
    shares = [list(loader(store, tokenizer, rank=rank, num_ranks=num_ranks).steps(1)) for rank in range(num_ranks)]
    for number, whole in enumerate(alone):
        assert by_study([whole]) == by_study([[batch for share in shares for batch in share[number]]])
    batches = loader(store, tokenizer, loading={"batches_ahead": 1})
    for resumed, before in zip(batches.steps(1, 1), alone[1:], strict=True):
        for one, other in zip(resumed, before, strict=True):
            assert_same(one, other)
    again = by_study(batches.steps(2))
    assert {seed for seed, _ in again.values()}.isdisjoint(seed for seed, _ in by_study(alone).values())


def test_a_seed_is_a_function_of_its_key() -> None:
    # Written down once: another machine or version must not draw differently.
    assert study_seed(3, 1, "s7") == 5805170718240401606
    seeds = {study_seed(seed, epoch, f"s{n}") for seed in range(3) for epoch in range(3) for n in range(50)}
    assert len(seeds) == 450
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_rows_of_a_batch(store: PreparedStore, tokenizer: WordTokenizer) -> None:
    studies = [store[number] for number in (1, 2, 3)]
    batch = make_batch(studies, IMAGE, tokenizer=tokenizer, incomplete=True, seeds=[5, 6, 7])
    with_image = batch.rows(batch.has_image_B)
    assert_same(with_image, batch.rows(torch.tensor([0, 2])))
    assert with_image.study_ids == ("s1", "s3")
    turned = batch.rows(torch.tensor([2, 0, 0]))
    assert turned.seeds_B is not None
    assert turned.seeds_B.tolist() == [7, 5, 5]
    assert turned.study_ids == ("s3", "s1", "s1")
    assert_same(turned.rows(torch.tensor([1])), batch.rows(torch.tensor([0])))
    assert len(batch.rows(torch.tensor([], dtype=torch.int64))) == 0
    moved = batch.to("meta")
    assert all(getattr(moved, name).device.type == "meta" for name in TENSORS)
    assert not make_batch([store[3]], IMAGE).has_report_B.any()


class Silent(nn.Module):
    def forward(self, batch: Batch) -> Tensor:
        assert batch.token_ids_BT is not None
        return torch.zeros(len(batch), batch.token_ids_BT.shape[1] - 1, 20)


def test_what_needs_both_halves_refuses(store: PreparedStore, tokenizer: WordTokenizer) -> None:
    batch = make_batch([store[3], store[1]], IMAGE, tokenizer=tokenizer, incomplete=True)
    objective = TeacherForcing(Silent(), TeacherForcingConfig())
    for ask in (objective.counts, objective):
        with pytest.raises(StudyError, match="study s1: has no report"):
            ask(batch)
        ask(batch.rows(batch.has_report_B))
    config = VlciConfig.parse(
        {
            "backbone": {"name": "resnet", "depth": 18},
            "dim": 16,
            "num_heads": 2,
            "hidden_dim": 16,
            "num_encoder_layers": 1,
            "num_decoder_layers": 1,
            "num_local_per_head": 1,
        },
        where="test",
    )
    model = Vlci(config, tokenizer, size_px=64).eval()
    whole = make_batch([store[3], store[2]], ImageConfig(size_px=64), tokenizer=tokenizer, incomplete=True)
    with torch.no_grad():
        with pytest.raises(StudyError, match="study s2: has no image"):
            model.encode(whole)
        model.encode(whole.rows(whole.has_image_B))
