"""Constants that were chosen before are not chosen again, and nothing else changes by it."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from radwright.evaluation import baselines
from radwright.evaluation.baselines import choose_constants
from radwright.evaluation.chosen import user_cache_folder
from radwright.evaluation.score import score
from radwright.metrics.cider import DocumentFrequency

TEXTS = [
    f"the heart is {size} . no {finding} ." for size in ("normal", "large") for finding in ("mass", "mass", "scar")
]


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every time that constants are really chosen."""
    chosen: list[int] = []
    really = baselines._choose

    def watch(*arguments: Any) -> Any:
        chosen.append(1)
        return really(*arguments)

    monkeypatch.setattr(baselines, "_choose", watch)
    return chosen


def files(folder: Path) -> list[Path]:
    return sorted((folder / "chosen").iterdir())


def test_the_second_choice_is_the_first_one_remembered(tmp_path: Path, times: list[int]) -> None:
    without = choose_constants(TEXTS, TEXTS, seed=0)
    for _ in range(3):
        assert choose_constants(TEXTS[::-1], TEXTS, seed=0, cache_folder=tmp_path) == without
    assert len(times) == 2
    assert list(without) == ["constant_bleu_4", "constant_cider"]
    (file,) = files(tmp_path)
    assert not any(word in file.read_text() for word in ("heart", "mass"))  # no report lies about


def test_whatever_the_choice_depends_on_is_another_choice(
    tmp_path: Path, times: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = DocumentFrequency(3, Counter({("mass",): 2}))
    for texts, references, options in (
        (TEXTS, TEXTS, {}),
        (TEXTS[1:], TEXTS, {}),
        (TEXTS, TEXTS[1:], {}),
        (TEXTS, TEXTS[::-1], {}),
        (TEXTS, TEXTS, {"seed": 1}),
        (TEXTS, TEXTS, {"document_frequency": fixed}),
        (TEXTS, TEXTS, {"document_frequency": DocumentFrequency(3, Counter({("mass",): 1}))}),
        (TEXTS, TEXTS, {"document_frequency": DocumentFrequency(4, Counter({("mass",): 2}))}),
    ):
        arguments: dict[str, Any] = {"seed": 0} | options
        assert choose_constants(texts, references, **arguments, cache_folder=tmp_path) == choose_constants(
            texts, references, **arguments
        )
    monkeypatch.setattr(baselines, "CHOICE_VERSION", 0)
    choose_constants(TEXTS, TEXTS, seed=0, cache_folder=tmp_path)
    assert len(files(tmp_path)) == 9
    assert len(times) == 2 * 8 + 1


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"\xff\x00", b"[]", b"null", b"{}", b'{"constant_bleu_4": "x", "constant_cider": "y"}',
     b'{"constant_bleu_4": [], "constant_cider": {}}'],
)  # fmt: skip
def test_a_damaged_file_is_ignored_and_written_again(damage: bytes, tmp_path: Path, times: list[int]) -> None:
    expected = choose_constants(TEXTS, TEXTS, seed=0, cache_folder=tmp_path)
    (file,) = files(tmp_path)
    good = file.read_bytes()
    file.write_bytes(damage)
    assert choose_constants(TEXTS, TEXTS, seed=0, cache_folder=tmp_path) == expected
    assert file.read_bytes() == good
    assert json.loads(good).keys() == expected.keys()
    assert len(times) == 2


def test_a_folder_that_cannot_be_written_or_read_only_takes_time(tmp_path: Path, times: list[int]) -> None:
    (tmp_path / "file").write_text("in the way")
    for _ in range(2):
        choose_constants(TEXTS, TEXTS, seed=0, cache_folder=tmp_path / "file")
    (tmp_path / "chosen").mkdir()
    choose_constants(TEXTS, TEXTS, seed=0, cache_folder=tmp_path)
    (file,) = files(tmp_path)
    file.unlink()
    file.mkdir()
    choose_constants(TEXTS, TEXTS, seed=0, cache_folder=tmp_path)
    assert len(times) == 4


def test_the_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache_folder() == tmp_path / "radwright"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for named in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", named)
        assert user_cache_folder() == tmp_path / "home" / ".cache" / "radwright"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert user_cache_folder() == tmp_path / "home" / ".cache" / "radwright"
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # no home at all
    assert user_cache_folder() is None


def test_scoring_remembers_and_scores_alike(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, times: list[int]) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    studies = {f"v{k}": text for k, text in enumerate(TEXTS)}
    train = {f"t{k}": text for k, text in enumerate(TEXTS)}
    first, second = (score(studies, studies, train=train, num_resamples=10) for _ in range(2))
    assert first == second
    assert len(times) == 1
