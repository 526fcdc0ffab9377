"""The tokenizer that a recipe asks for: every kind, taken over or new, and keys that do not go together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from radwright.errors import CheckpointError, ConfigError
from radwright.nn.huggingface import subword_parts
from radwright.runs.preflight import check_recipe
from radwright.runs.recipe import Recipe, VocabularyConfig
from radwright.runs.vocabulary import make_tokenizer, stand_in
from radwright.text.subwords import SMALLEST, SubwordTokenizer
from radwright.text.words import WordTokenizer
from radwright.types import Study
from tiny_weights import write_byte_tokenizer, write_json, write_word_tokenizer

REPORTS = ["Lungs clear. No µ effusion.", "Heart large. No effusion.", "Lungs clear."]


class Reports:
    """Three train reports, and a tune report that nothing may be learnt from."""

    fingerprint: dict[str, Any] = {}  # noqa: RUF012
    study_ids = ("a", "b", "c", "d")

    def __len__(self) -> int:
        return 4

    def indices(self, split: str) -> list[int]:
        return [0, 1, 2] if split == "train" else [3]

    def study(self, index: int, *, images: bool = True) -> Study:
        return Study(self.study_ids[index], (), sections={"findings": [*REPORTS, "Unheard unheard."][index]})


def config(**values: Any) -> VocabularyConfig:
    return VocabularyConfig.parse(values, where="vocabulary")


def made(**values: Any) -> Any:
    return make_tokenizer(config(**values), Reports(), "findings")  # type: ignore[arg-type]


def test_words_are_the_default() -> None:
    assert made(min_count=2) == WordTokenizer.build(REPORTS, min_count=2)
    assert made(min_count=2, released=True).pad_id == made(min_count=2, released=True).eos_id == 0
    assert isinstance(stand_in(config()), WordTokenizer)


def test_subwords_are_learnt_from_the_train_reports() -> None:
    cleaned = made(kind="subwords", size=300)
    assert cleaned == SubwordTokenizer.train(REPORTS, size=300, cleaning="report")
    raw = made(kind="subwords", size=300, cleaning=None)
    assert raw == SubwordTokenizer.train(REPORTS, size=300)
    assert raw.decode(raw.encode("No µ  Effusion")) == "No µ Effusion"
    small = stand_in(config(kind="subwords", cleaning=None))
    assert isinstance(small, SubwordTokenizer)
    assert small.vocab_size <= SMALLEST
    assert small.cleaning is None


def test_a_checkpoint_s_tokenizer_of_either_kind_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    for tokenizer in (WordTokenizer(["a"]), SubwordTokenizer.train(["word"], size=270)):
        tokenizer.save(tmp_path / "tokenizer")
        assert made(checkpoint=tmp_path) == tokenizer
        assert stand_in(config(checkpoint=tmp_path)) == tokenizer


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "words", "directory": "lm"}, "kind words and directory"),
        ({"directory": "lm", "checkpoint": "best"}, "checkpoint and directory"),
        ({"directory": "lm", "released": True}, "kind subwords and released"),
        ({"kind": "subwords", "released": True}, "kind subwords and released"),
        ({"cleaning": None}, "kind words and cleaning null"),
        ({"kind": "subwords", "size": 259}, "size = 259"),
        ({"kind": "pieces"}, "kind = 'pieces'"),
    ],
)
def test_keys_that_do_not_go_together_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"vocabulary: .*{message}"):
        config(**values)


@pytest.mark.parametrize(
    "values", [{}, {"kind": "subwords", "cleaning": None}, {"directory": "lm"}, {"released": True}]
)
def test_a_resolved_config_reads_as_itself(values: dict[str, Any]) -> None:
    resolved = config(**values)
    assert config(**resolved.plain()) == resolved
    assert resolved.kind == ("subwords" if {"kind", "directory"} & values.keys() else "words")


# --- a language model's folder --------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_byte_tokenizer(tmp_path / "lm")
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    return write_json(folder / "tokenizer_config.json", named | {"pad_token": "<pad>"}).parent


def test_a_language_model_s_tokenizer_is_taken_over(folder: Path, tmp_path: Path) -> None:
    tokenizer = made(directory=folder, cleaning=None)
    assert (tokenizer.bos_id, tokenizer.pad_id, tokenizer.eos_id, tokenizer.begins_with_bos) == (0, 1, 2, True)
    for text in ("38 °C </s>", "Lungs <pad> clear. 肺"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert not {0, 1, 2} & set(tokenizer.encode(text)), "no special ids, neither around nor typed"
    assert stand_in(config(directory=folder, cleaning=None)) == tokenizer
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"})
    bare = made(directory=folder)
    assert (bare.bos_id, bare.pad_id, bare.eos_id, bare.begins_with_bos) == (2, 2, 2, False)
    assert bare.cleaning == "report"


def test_a_bos_that_no_text_begins_with_is_none(folder: Path) -> None:
    path = folder / "tokenizer.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, values | {"post_processor": None})
    _, bos, eos, pad = subword_parts(folder)
    assert (bos, eos, pad) == (None, 2, 1)


def test_folders_without_a_usable_tokenizer_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no EOS.*eos_token"):
        subword_parts(write_word_tokenizer(tmp_path / "bert"))
    with pytest.raises(CheckpointError, match="no such folder"):
        made(directory=tmp_path / "absent")
    slow = tmp_path / "slow"
    slow.mkdir()
    shutil.copy(folder / "tokenizer.json", slow / "vocab.json")
    write_json(slow / "tokenizer_config.json", {"tokenizer_class": "ByT5Tokenizer"})
    with pytest.raises(CheckpointError, match=r"ByT5Tokenizer.*slow form only.*tokenizer\.json"):
        subword_parts(slow)


def test_a_recipe_s_folder_is_looked_into_before_the_first_step(folder: Path, tmp_path: Path) -> None:
    stages = [{"name": "report", "train": {"max_steps": 1}}]
    model = {"dim": 16, "num_heads": 4, "num_encoder_layers": 1, "num_decoder_layers": 1, "hidden_dim": 16}
    model |= {"backbone": {"name": "resnet", "depth": 18, "width": 4, "num_stages": 2}, "visual": False}
    recipe = {"store": tmp_path, "model": model | {"linguistic": False}, "image": {"size_px": 32}, "stages": stages}
    check_recipe(Recipe.parse(recipe | {"vocabulary": {"directory": folder}}, where="recipe"))
    check_recipe(Recipe.parse(recipe | {"vocabulary": {"kind": "subwords"}}, where="recipe"))
    with pytest.raises(CheckpointError, match="no such folder"):
        check_recipe(Recipe.parse(recipe | {"vocabulary": {"directory": tmp_path / "absent"}}, where="recipe"))
