"""An epoch's order with weights: how often each study comes, and that ranks and resumed runs agree on it."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radwright.data import files
from radwright.data.loading import AugmentationConfig, BatchLoader, LoadingConfig
from radwright.data.order import draw_key, epoch_order, study_seed
from radwright.data.store import HEADER, STORE_VERSION, PreparedStore, study_row
from radwright.data.transfer import finished
from radwright.data.writing import StoreWriter
from radwright.errors import ConfigError
from radwright.imaging.config import ImageConfig
from radwright.types import Batch, ImageInMemory, Study, View

WEIGHTS = [1.0, 4.0, 0.0, 1.0, 0.5, 1.0, 2.0, 1.0, 1.0, 1.5, 1.0]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, picture_bytes: Any) -> PreparedStore:
    path: Path = tmp_path_factory.mktemp("stores") / "s"
    path.mkdir()
    files.write_lines(path / HEADER, [{"version": STORE_VERSION, "complete": True}])
    with StoreWriter(path) as writer:
        for number in range(len(WEIGHTS)):
            view = View(ImageInMemory("x", picture_bytes(number)))
            writer.add(study_row(Study(f"s{number}", (view,), "", "train", {})))
    return PreparedStore(path)


def loader(store: PreparedStore, **values: Any) -> BatchLoader:
    indices = values.pop("indices", range(len(store)))
    common: dict[str, Any] = {"tokenizer": None, "batch_size": 4, "seed": 3, "augmentation": AugmentationConfig()}
    loading = LoadingConfig(workers=values.pop("workers", 0))
    return BatchLoader(store, indices, ImageConfig(size_px=16), loading, **{**common, **values})


def contents(batches: list[Batch]) -> Counter[tuple[str, int, float]]:
    """(study, seed, sum of its pixels) for each place of the batches."""
    found: Counter[tuple[str, int, float]] = Counter()
    for batch in map(finished, batches):
        assert batch.seeds_B is not None
        sums = batch.images_BV1SS.double().sum(dim=(1, 2, 3, 4)).tolist()
        found.update(zip(batch.study_ids, batch.seeds_B.tolist(), sums, strict=True))
    return found


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=40).filter(lambda weights: sum(weights) > 1e-3),
    st.integers(0, 10**6),
    st.integers(0, 10**4),
)
def test_every_epoch_follows_the_weights(weights: list[float], seed: int, epoch: int) -> None:
    """Not only on average: each study comes as often as its share says, rounded down or up."""
    size = len(weights)
    order = epoch_order(size, seed, epoch, weights)
    assert order == epoch_order(size, seed, epoch, weights)
    assert len(order) == size
    times = Counter(order)
    for place, weight in enumerate(weights):
        share = size * weight / sum(weights)
        assert math.floor(share - 1e-6) <= times[place] <= math.ceil(share + 1e-6)
        assert weight > 0 or not times[place]


def test_frequencies_over_epochs() -> None:
    num_epochs = 4000
    times = Counter(place for epoch in range(num_epochs) for place in epoch_order(11, 5, epoch, WEIGHTS))
    for place, weight in enumerate(WEIGHTS):
        # Systematic sampling varies by less than one draw per epoch: 4 standard errors of a fair coin.
        assert times[place] / num_epochs == pytest.approx(11 * weight / sum(WEIGHTS), abs=4 * 0.5 / num_epochs**0.5)
    first = Counter(epoch_order(11, 5, epoch, WEIGHTS)[0] for epoch in range(num_epochs))
    assert first[1] / num_epochs == pytest.approx(4 / sum(WEIGHTS), abs=4 * 0.5 / num_epochs**0.5)


@pytest.mark.parametrize("size", [1, 2, 7, 100, 2068])
def test_equal_weights_give_every_study_once(size: int) -> None:
    orders = [epoch_order(size, 1, epoch, [0.3] * size) for epoch in range(5)]
    assert all(sorted(order) == list(range(size)) for order in orders)


def test_no_weights_is_the_permutation_of_before(store: PreparedStore) -> None:
    # Written down once: another machine or version must not train on another order.
    assert epoch_order(21, 3, 0)[:6] == [20, 0, 4, 9, 7, 1]
    assert epoch_order(11, 3, 0, WEIGHTS) == [8, 1, 7, 3, 9, 5, 10, 0, 1, 6, 1]
    assert loader(store).order(2) == epoch_order(11, 3, 2)


@pytest.mark.parametrize("num_ranks", [2, 3])
@pytest.mark.parametrize("micro_batch_size", [None, 1])
def test_ranks_and_resumed_runs_agree(num_ranks: int, micro_batch_size: int | None, store: PreparedStore) -> None:
    common = {"weights": WEIGHTS, "micro_batch_size": micro_batch_size}
    alone = [contents(step) for step in loader(store, **common).steps(1)]
    assert sum(sum(step.values()) for step in alone) == len(WEIGHTS)
    shares = [list(loader(store, rank=rank, num_ranks=num_ranks, **common).steps(1)) for rank in range(num_ranks)]
    for number, whole in enumerate(alone):
        assert contents([batch for share in shares for batch in share[number]]) == whole
    resumed = loader(store, workers=2, **common)
    assert [contents(step) for step in resumed.steps(1, 1)] == alone[1:]
    assert [contents(step) for step in resumed.steps(1)] == alone


def test_a_study_drawn_twice_is_drawn_from_anew(store: PreparedStore) -> None:
    found = contents([batch for step in loader(store, weights=WEIGHTS).steps(0) for batch in step])
    often = [(seed, pixels) for study_id, seed, pixels in found if study_id == "s1"]
    assert len(often) >= 3
    assert len(dict(often)) == len({pixels for _, pixels in often}) == len(often)
    assert {seed for seed, _ in often} == {study_seed(3, 0, draw_key("s1", time)) for time in range(len(often))}
    assert draw_key("s1", 0) == "s1"


def test_weights_by_study(store: PreparedStore) -> None:
    chosen = [9, 1, 4]
    by_id = {f"s{number}": weight for number, weight in enumerate(WEIGHTS)}
    by_place = loader(store, indices=chosen, weights=[WEIGHTS[number] for number in chosen])
    assert loader(store, indices=chosen, weights=by_id).order(0) == by_place.order(0)
    assert set(by_place.order(0)) <= set(chosen)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"s1": 1.0}, "10 of 11 studies have none, e.g. s0"),
        ([1.0], "1 for 11 studies"),
        ([1.0] * 10 + [-1.0], "study s10 has -1.0"),
        ([float("nan")] + [1.0] * 10, "study s0 has nan"),
        ([float("inf")] + [1.0] * 10, "study s0 has inf"),
        ([0.0] * 11, "all are 0"),
    ],
)
def test_what_are_no_weights(weights: Any, message: str, store: PreparedStore) -> None:
    with pytest.raises(ConfigError, match=message):
        loader(store, weights=weights)
