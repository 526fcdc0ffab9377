"""The nearest train report: the right neighbour whatever the shards, encoded once, damaged shards made anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from radwright.evaluation import nearest
from radwright.evaluation.nearest import FloatArray, StudyFeatures, make_features, nearest_studies
from radwright.types import Skipped, Study

KNOWN = {f"t{number}": np.random.default_rng(number).normal(size=6).astype(np.float32) for number in range(11)}
ASKED = {f"q{number}": KNOWN[f"t{number}"] * 1.01 for number in (3, 9, 0)}


class Maker:
    """Hands out made-up features and counts what it was asked."""

    def __init__(self, features: dict[str, FloatArray]) -> None:
        self.features, self.asked = features, 0

    def image_features(self, studies: Iterable[Study]) -> Iterator[tuple[str, FloatArray] | Skipped]:
        for study in studies:
            self.asked += 1
            found = self.features.get(study.study_id)
            yield Skipped(study.study_id, "broken") if found is None else (study.study_id, found)


def encode(maker: Maker, names: Iterable[str], folder: Path, weights: str = "w") -> StudyFeatures:
    studies = [Study(name, ()) for name in names]
    ids = [study.study_id for study in studies]
    return make_features(maker, studies, ids, folder, identity={"weights": weights})


@pytest.mark.parametrize("shard", [1, 4, 1024])
def test_the_nearest_is_found_whatever_the_shards(shard: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "SHARD_STUDIES", shard)
    maker = Maker({**KNOWN, **ASKED})
    known = encode(maker, [*KNOWN, "unreadable"], tmp_path)
    assert known.skipped == (Skipped("unreadable", "broken"),)
    found = nearest_studies(encode(maker, ASKED, tmp_path), known)
    assert found == {"q3": "t3", "q9": "t9", "q0": "t0"}
    own = nearest_studies(known, known)
    assert all(own[name] != name for name in KNOWN)
    assert own.keys() == KNOWN.keys()


def test_features_are_made_once_and_a_kill_costs_one_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "SHARD_STUDIES", 4)
    maker = Maker(KNOWN)
    first = encode(maker, KNOWN, tmp_path)
    assert maker.asked == 11
    assert encode(maker, KNOWN, tmp_path) == first
    assert maker.asked == 11
    first.shards[1].write_bytes(first.shards[1].read_bytes()[:100])
    first.shards[2].unlink()
    assert encode(maker, KNOWN, tmp_path) == first
    assert maker.asked == 11 + 4 + 3
    encode(maker, KNOWN, tmp_path, weights="other")
    assert maker.asked == 11 + 4 + 3 + 11
    assert nearest_studies(first, first)


def test_no_known_study_gives_no_nearest(tmp_path: Path) -> None:
    maker = Maker(ASKED)
    assert nearest_studies(encode(maker, ASKED, tmp_path), encode(maker, ["gone"], tmp_path)) == {}
