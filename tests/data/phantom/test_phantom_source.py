"""The phantom as a dataset source."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from radwright.data.phantom import KINDS, Finding, findings_of, generate_study
from radwright.data.sources.base import Source, StudyReference
from radwright.data.sources.phantom import PhantomSource
from radwright.errors import ConfigError, SourceError
from radwright.tables import SOURCES, resolve

FEW = {"num_studies": {"train": 3, "val": 2}, "size_px": 32}


def test_references_are_cheap_unique_and_disjoint_by_patient() -> None:
    source: Source = resolve(SOURCES, "phantom", kind="dataset format")(Path("default"), FEW)
    references = source.references()
    assert [reference.split for reference in references] == ["train"] * 3 + ["val"] * 2
    assert len({reference.study_id for reference in references}) == 5
    patients = {split: {r.patient_id for r in references if r.split == split} for split in ("train", "val")}
    assert not patients["train"] & patients["val"]
    assert source.has_reports


def test_load_in_another_process_gives_the_same_study() -> None:
    source = PhantomSource(Path("default"), FEW)
    reference = source.references()[4]
    here = source.load(reference)
    there = pickle.loads(pickle.dumps(source)).load(pickle.loads(pickle.dumps(reference)))
    assert [view.image.read() for view in here.views] == [view.image.read() for view in there.views]
    assert here.sections == there.sections
    assert (here.study_id, here.patient_id, here.split) == (
        reference.study_id,
        reference.patient_id,
        reference.split,
    )


def test_extra_holds_the_truth_as_json() -> None:
    source = PhantomSource(Path("default"), FEW)
    for reference in source.references():
        study = source.load(reference)
        extra = json.loads(json.dumps(study.extra))
        findings = tuple(Finding(**finding) for finding in extra["findings"])
        assert findings == findings_of(study.section("findings"))
        assert {finding.kind for finding in findings} == {name for name in extra["elements"] if name in KINDS}


def test_config_file_and_options(tmp_path: Path) -> None:
    path = tmp_path / "phantom.yaml"
    path.write_text("seed: 5\nsize_px: 48\nnum_studies: {test: 1}\n", encoding="utf-8")
    source = PhantomSource(path, {"bits": 16})
    study = source.load(source.references()[0])
    direct = generate_study(source.config, "test", 0)
    assert (source.config.seed, source.config.bits, source.config.size_px) == (5, 16, 48)
    assert study.views[0].image.read() == direct.study().views[0].image.read()


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        PhantomSource(tmp_path / "absent.yaml", {})
    with pytest.raises(ConfigError, match="did you mean 'bits'"):
        PhantomSource(Path("default"), {"bit": 8})
    path = tmp_path / "phantom.yaml"
    path.write_text("sed: 5\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"phantom\.yaml: unknown key 'sed'"):
        PhantomSource(path, {})
    with pytest.raises(SourceError, match="no reference"):
        PhantomSource(Path("default"), FEW).load(StudyReference("x", content="y"))
