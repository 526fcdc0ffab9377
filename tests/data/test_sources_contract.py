"""What every source in the table must fulfil, on a miniature of its layout."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from radwright.data.prepare import PrepareConfig, prepare
from radwright.data.sources.base import Source
from radwright.data.store import PreparedStore
from radwright.errors import ConfigError
from radwright.imaging.config import ImageConfig
from radwright.imaging.tensor import image_tensor
from radwright.tables import SOURCES, resolve
from radwright.types import SECTIONS, SPLITS, VIEW_POSITIONS


def source_of(name: str, mini: Any) -> Source:
    made: Source = resolve(SOURCES, name, kind="dataset format")(mini.path, mini.options)
    return made


def config_of(name: str, mini: Any, **values: Any) -> PrepareConfig:
    return PrepareConfig(format=name, options=mini.options, limit=mini.limit, **mini.prepared, **values)


@pytest.mark.parametrize("name", SOURCES)
def test_references_are_repeatable_and_load_alike_in_another_process(name: str, miniature: Any) -> None:
    mini = miniature(name)
    source = source_of(name, mini)
    references = list(source.references())[: mini.limit]
    assert len(references) == mini.num_studies
    assert references == list(source_of(name, mini).references())[: mini.limit]
    assert len({reference.study_id for reference in references}) == len(references)
    travelled: Source = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 4000, "a source is sent to every worker: it stays light"
    for reference in references:
        study = source.load(reference)
        again = travelled.load(pickle.loads(pickle.dumps(reference)))
        assert (study.study_id, study.patient_id, study.split) == (
            reference.study_id,
            reference.patient_id,
            reference.split,
        )
        assert study.split is None or study.split in SPLITS
        assert study.views
        assert all(view.position in VIEW_POSITIONS for view in study.views)
        assert set(study.sections) <= set(SECTIONS)
        assert study.section("findings") or not source.has_reports
        assert [view.image.read() for view in study.views] == [view.image.read() for view in again.views]
        assert study.sections == again.sections


@pytest.mark.parametrize("name", SOURCES)
def test_the_tensor_is_the_same_to_the_bit_through_prepare(name: str, miniature: Any, tmp_path: Path) -> None:
    mini = miniature(name)
    summary = prepare(mini.path, tmp_path / "store", config_of(name, mini))
    store = PreparedStore(tmp_path / "store")
    source = source_of(name, mini)
    assert summary["studies"] == len(store) == mini.num_studies
    assert summary["skipped"] == 0
    image = ImageConfig(size_px=32)
    for reference, kept in zip(source.references(), store, strict=False):
        study = source.load(reference)
        assert (kept.study_id, kept.patient_id, kept.sections) == (study.study_id, study.patient_id, study.sections)
        said = [(view.position, now.position) for view, now in zip(study.views, kept.views, strict=True)]
        assert all(now == position for position, now in said if position != "unknown")
        for before, after in zip(study.views, kept.views, strict=True):
            direct = image_tensor(before.image.read(), image, name="a", original_size=before.original_size)
            stored = image_tensor(after.image.read(), image, name="b", original_size=after.original_size)
            assert torch.equal(direct, stored)


@pytest.mark.parametrize("name", SOURCES)
def test_an_unknown_option_names_itself(name: str, miniature: Any) -> None:
    mini = miniature(name)
    with pytest.raises(ConfigError, match="nonsense"):
        resolve(SOURCES, name, kind="dataset format")(mini.path, {**mini.options, "nonsense": 1})


@pytest.mark.parametrize("name", SOURCES)
def test_splits_never_share_a_patient(name: str, miniature: Any, tmp_path: Path) -> None:
    mini = miniature(name)
    prepare(mini.path, tmp_path / "store", config_of(name, mini))
    splits: dict[str, set[Any]] = {}
    for study in PreparedStore(tmp_path / "store"):
        splits.setdefault(study.patient_id or study.study_id, set()).add(study.split)
    assert all(len(names) == 1 for names in splits.values())
