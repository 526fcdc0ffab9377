"""The word tokenizer: round trips, layouts, strict loading."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.errors import CheckpointError, ConfigError
from radwright.text.cleaning import clean_report, readable
from radwright.text.tokenizers import load_tokenizer
from radwright.text.words import DISTINCT_IDS, SpecialIds, WordTokenizer
from radwright.types import Tokenizer

REPORTS = ["Heart size normal. Lungs clear.", "The heart is large. No effusion.", "Lungs clear. No effusion, no mass."]


@pytest.fixture
def tokenizer() -> WordTokenizer:
    return WordTokenizer.build(REPORTS, min_count=1)


def test_fulfils_the_protocol_with_distinct_ids(tokenizer: WordTokenizer) -> None:
    assert isinstance(tokenizer, Tokenizer)
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (0, 1, 2, 3)
    assert tokenizer.vocab_size == 4 + len(tokenizer.words)
    assert list(tokenizer.words) == sorted(tokenizer.words)


def test_build_does_not_depend_on_the_order_of_reports(tokenizer: WordTokenizer) -> None:
    assert WordTokenizer.build(reversed(REPORTS), min_count=1) == tokenizer


def test_min_count_counts_words_not_reports() -> None:
    assert WordTokenizer.build(["No mass. No mass."], min_count=2).words == (".", "mass", "no")
    assert WordTokenizer.build(REPORTS, min_count=3).words == (".", "no")
    with pytest.raises(ConfigError, match="occurs 9 times"):
        WordTokenizer.build(REPORTS, min_count=9)


@given(st.lists(st.sampled_from(["heart", "size", "normal", "lungs", "clear", ".", "no", "effusion"]), max_size=20))
def test_round_trip_of_known_words(words: list[str]) -> None:
    tokenizer = WordTokenizer.build(REPORTS, min_count=1)
    cleaned = clean_report(" ".join(words))
    ids = tokenizer.encode(cleaned)
    assert tokenizer.decode(ids) == readable(cleaned)
    assert tokenizer.encode(tokenizer.decode(ids)) == ids


def test_unknown_words_show_as_gaps_and_specials_not_at_all(tokenizer: WordTokenizer) -> None:
    ids = tokenizer.encode("Heart enormous. Clear.")
    assert ids.count(tokenizer.unk_id) == 1
    assert tokenizer.decode([1, *ids, 2, 0, 0]) == "Heart XXXX. Clear."
    assert tokenizer.to_words(ids) == ["heart", "<unk>", ".", "clear", "."]
    with pytest.raises(ValueError, match="outside the vocabulary"):
        tokenizer.decode([tokenizer.vocab_size])


def test_released_layout() -> None:
    tokenizer = WordTokenizer.released({"heart", ".", "normal"})
    assert tokenizer.words == (".", "<unk>", "heart", "normal")
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 0, 0)
    assert tokenizer.encode("Heart big.") == [3, 2, 1]
    assert tokenizer.vocab_size == 5
    assert tokenizer.decode([0, 3, 4, 1, 0]) == "Heart normal."


@pytest.mark.parametrize("released", [False, True])
def test_save_and_load(tmp_path: Path, tokenizer: WordTokenizer, released: bool) -> None:
    if released:
        tokenizer = WordTokenizer.released(tokenizer.words)
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded == tokenizer
    assert loaded.encode("No mass, no xylophone.") == tokenizer.encode("No mass, no xylophone.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 9}, "version 9"),
        ({"kind": "bytes"}, "must be words or subwords, not 'bytes'"),
        ({"cleaning": "mine"}, "unknown cleaning 'mine'"),
        ({"words": ["a", "a"]}, "'a' is in the vocabulary twice"),
        ({"words": ["a b"]}, "no single word"),
        ({"words": []}, "empty"),
        ({"words": [1]}, "list of texts"),
        ({"words": "abc"}, "list of texts"),
        ({"special_ids": {"pad": 0}}, "special_ids"),
        ({"special_ids": {"pad": 0, "bos": 1, "eos": 9, "unk": 3, "first_word": 4}}, "eos=9 collides"),
        ({"special_ids": {"pad": 0, "bos": 1, "eos": 2, "unk": 7, "first_word": 4}}, "unk=7"),
        ({"extra": 1}, "unknown keys: extra"),
    ],
)
def test_load_refuses_what_it_does_not_understand(
    tmp_path: Path, tokenizer: WordTokenizer, change: dict[str, object], message: str
) -> None:
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_tokenizer(tmp_path)
    assert "tokenizer.json" in str(caught.value)


def test_load_says_what_is_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(CheckpointError, match="no tokenizer of Radwright"):
        load_tokenizer(tmp_path)


def test_special_ids_must_not_collide_with_words() -> None:
    with pytest.raises(ConfigError, match="unk=1"):
        WordTokenizer(["a"], special_ids=SpecialIds(0, 1, 2, 1, 4))
    with pytest.raises(ConfigError, match="unk=3"):
        WordTokenizer(["<unk>"], special_ids=DISTINCT_IDS)


def test_two_thousand_reports_encode_well_within_a_second(tokenizer: WordTokenizer) -> None:
    report = " ".join(REPORTS) * 2
    start = time.perf_counter()
    for _ in range(2000):
        tokenizer.encode(report)
    assert time.perf_counter() - start < 1.0
