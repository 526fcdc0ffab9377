"""The subword tokenizer: any text comes back, nothing typed is special, what is written only grows, saved = loaded."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.errors import CheckpointError, ConfigError, MissingExtraError
from radwright.text.cleaning import clean_report, readable
from radwright.text.sentences import sentence_ends
from radwright.text.subwords import SMALLEST, SPECIAL_TOKENS, SubwordTokenizer
from radwright.text.tokenizers import load_tokenizer
from radwright.text.words import WordTokenizer
from radwright.types import CutsAtSentences, Tokenizer

REPORTS = [
    "Heart size normal. Lungs clear.",
    "A 1.2 cm nodule, 12 mm from the pleura. </s> No effusion, temperature 38.5 °C.",
    "Lungs clear. No effusion, no mass of 10 µm. <s> <pad> </s></s>",
] * 3
RAW = SubwordTokenizer.train(REPORTS, size=400)
CLEANED = SubwordTokenizer.train(REPORTS, size=400, cleaning="report")
HARD = "½ of 38.5 °C, 10 µm – “clear” 肺 🫁 \ufffd é\u0301"


def test_fulfils_the_protocols_with_distinct_ids() -> None:
    assert isinstance(RAW, Tokenizer)
    assert isinstance(RAW, CutsAtSentences)
    assert not isinstance(WordTokenizer(["a"]), CutsAtSentences), "the word path stays what it is"
    assert (RAW.pad_id, RAW.bos_id, RAW.eos_id, RAW.begins_with_bos) == (0, 1, 2, True)
    assert SMALLEST <= RAW.vocab_size <= 400


@given(st.text() | st.sampled_from([HARD, "</s>", "a<pad>b", "\ufffd" * 5]))
def test_any_text_comes_back(text: str) -> None:
    ids = RAW.encode(text)
    assert RAW.decode(ids) == " ".join(text.split())
    assert not {RAW.pad_id, RAW.bos_id, RAW.eos_id} & set(ids)
    assert all(0 <= number < RAW.vocab_size for number in ids)


@given(st.text())
def test_cleaned_text_comes_back_readable(text: str) -> None:
    assert CLEANED.decode(CLEANED.encode(text)) == readable(clean_report(text))


def test_half_a_surrogate_pair_stops_nothing() -> None:
    assert RAW.decode(RAW.encode("clear \ud83e lungs")) == "clear ? lungs"


def test_what_is_typed_is_never_special() -> None:
    """Not even where the train reports are full of it."""
    many = SubwordTokenizer.train(["</s> <s> <pad>"] * 100, size=400)
    for tokenizer in (RAW, many):
        for spelling in SPECIAL_TOKENS:
            for text in (spelling, f"No effusion.{spelling}Clear", f"{spelling}{spelling}"):
                assert not set(tokenizer.encode(text)) & {0, 1, 2}
                assert tokenizer.decode(tokenizer.encode(text)) == text
    assert RAW.decode([1, *RAW.encode("Clear."), 2, 0, 0]) == "Clear."


def test_numbers_are_cut_digit_by_digit() -> None:
    frequent = SubwordTokenizer.train(["1.2 cm, 1.2 cm, 100 mm at 100 mm"] * 50, size=400)
    for text in ("1.2 cm", "100 mm", "0.75 or 2024"):
        pieces = [frequent.decode([number]) for number in frequent.encode(text)]
        assert all(sum(map(str.isdigit, piece)) <= 1 for piece in pieces)
        assert all(piece == piece.strip("0123456789") or len(piece) == 1 for piece in pieces)
    assert len(frequent.encode("cm")) == 1, "while words are joined"


def test_pieces_are_joined_and_a_first_word_is_a_word_like_others() -> None:
    assert len(RAW.encode("effusion")) == 1
    assert RAW.encode("effusion effusion") == RAW.encode("effusion") * 2
    assert len(RAW.encode("unheard")) > 1


def test_training_knows_no_order_and_no_process(tmp_path: Path) -> None:
    texts = [f"{a} {b} {c}." for a in ("mild", "no", "large") for b in ("left", "right") for c in ("mass", "effusion")]
    here = SubwordTokenizer.train(texts, size=290)
    here.save(tmp_path)
    assert SubwordTokenizer.train(reversed(texts), size=290) == here
    code = (
        "import sys, pathlib\nfrom radwright.text.subwords import SubwordTokenizer\n"
        f"SubwordTokenizer.train({texts[::-1]!r}, size=290).save(pathlib.Path(sys.argv[1]))"
    )
    for number, threads in enumerate(("1", "3")):
        there = tmp_path / str(number)
        there.mkdir()
        subprocess.run(
            [sys.executable, "-c", code, str(there)], check=True, env=os.environ | {"RAYON_NUM_THREADS": threads}
        )
        assert (there / "tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


def test_impossible_vocabularies_are_refused() -> None:
    with pytest.raises(ConfigError, match="size = 259"):
        SubwordTokenizer.train(REPORTS, size=SMALLEST - 1)
    assert SubwordTokenizer.train(REPORTS, size=SMALLEST).vocab_size == SMALLEST
    with pytest.raises(ConfigError, match="no text"):
        SubwordTokenizer.train(["", "  "], size=400)
    with pytest.raises(ConfigError, match=r"unknown cleaning 'reprot'.*'report'"):
        SubwordTokenizer.train(REPORTS, size=400, cleaning="reprot")
    with pytest.raises(ValueError, match="outside the vocabulary"):
        RAW.decode([RAW.vocab_size])
    with pytest.raises(ValueError, match="outside the vocabulary"):
        RAW.decode([-1])


@given(st.text() | st.just(HARD))
def test_a_report_that_is_being_written_only_grows(text: str) -> None:
    ids = RAW.encode(text)
    steps = [RAW.decode(ids[:number]) for number in range(len(ids) + 1)]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(steps))
    assert all(step.count("\ufffd") <= text.count("\ufffd") for step in steps)


@given(st.lists(st.integers(3, 258), max_size=12))
def test_even_bytes_that_make_no_characters_only_grow(ids: list[int]) -> None:
    steps = [RAW.decode(ids[:number]) for number in range(len(ids) + 1)]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(steps))


def test_torn_characters_wait() -> None:
    ids = SubwordTokenizer.train(["word"], size=SMALLEST).encode("38 °C")
    texts = [SubwordTokenizer.train(["word"], size=SMALLEST).decode(ids[:number]) for number in range(len(ids) + 1)]
    assert texts == ["", "", "3", "38", "38", "38", "38 °", "38 °C"]


@pytest.mark.parametrize("tokenizer", [RAW, CLEANED], ids=["raw", "cleaned"])
def test_save_and_load(tmp_path: Path, tokenizer: SubwordTokenizer) -> None:
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert isinstance(loaded, SubwordTokenizer)
    assert loaded == tokenizer
    assert hash(loaded) == hash(tokenizer)
    assert loaded.encode(HARD + " </s>") == tokenizer.encode(HARD + " </s>")
    assert loaded != (CLEANED if tokenizer is RAW else RAW)
    assert loaded != WordTokenizer(["a"])


def test_loading_needs_no_transformers_and_no_torch(tmp_path: Path) -> None:
    RAW.save(tmp_path)
    code = (
        "import sys, pathlib\nfrom radwright.text.tokenizers import load_tokenizer\n"
        "assert 'tokenizers' not in sys.modules, 'words need no library'\n"
        "assert load_tokenizer(pathlib.Path(sys.argv[1])).encode('Clear.')\n"
        "heavy = {'transformers', 'torch'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 9}, "version 9"),
        ({"kind": ["subwords"]}, "must be words or subwords"),
        ({"cleaning": "mine"}, "unknown cleaning 'mine'"),
        ({"cleaning": ["report"]}, "unknown cleaning"),
        ({"tokenizer": {}}, "is no tokenizer of the tokenizers library"),
        ({"tokenizer": "a"}, "is no tokenizer of the tokenizers library"),
        ({"special_ids": {"pad": 0, "eos": 2}}, "each of bos, eos, pad"),
        ({"special_ids": {"pad": 0, "bos": 1, "eos": None}}, "whole number for eos"),
        ({"special_ids": {"pad": 0, "bos": True, "eos": 2}}, "whole number"),
        ({"special_ids": {"pad": 0, "bos": 1, "eos": 4000}}, "eos=4000 is no id"),
        ({"extra": 1}, "unknown keys: extra"),
    ],
)
def test_load_refuses_what_it_does_not_understand(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    RAW.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_tokenizer(tmp_path)
    assert "tokenizer.json" in str(caught.value)


def test_a_missing_library_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RAW.save(tmp_path)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"radwright\[learned\]"):
        load_tokenizer(tmp_path)


# --- whole sentences ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("A 1.2 cm nodule. By Dr. Roe, 5 p.m. in bed. Clear", ["A 1.2 cm nodule.", "By Dr. Roe, 5 p.m. in bed."]),
        ("Removed at 5 p.m. Lungs clear.", ["Removed at 5 p.m.", "Lungs clear."]),
        ("1. Heart normal. 2. Level T1. No (large) mass.", ["1. Heart normal.", "2. Level T1.", "No (large) mass."]),
        ("Effusion? None! (Seen before.) ___.", ["Effusion?", "None!", "(Seen before.)", "___."]),
        ("heart 3.5 cm . lungs clear .", ["heart 3.5 cm .", "lungs clear ."]),
        ("", []),
    ],
)  # fmt: skip
def test_where_sentences_end(text: str, sentences: list[str]) -> None:
    ends = sentence_ends(text)
    assert [text[start:end].strip() for start, end in zip([0, *ends], ends, strict=False)] == sentences


@pytest.mark.parametrize("tokenizer", [RAW, CLEANED], ids=["raw", "cleaned"])
def test_as_many_whole_sentences_as_fit(tokenizer: SubwordTokenizer) -> None:
    text = "A 1.2 cm nodule is seen. Lungs clear. No effusion"
    first, both = "A 1.2 cm nodule is seen.", "A 1.2 cm nodule is seen. Lungs clear."
    sizes = [len(tokenizer.encode(part)) for part in (first, both)]
    for max_ids in range(sizes[1] + 9):
        fit = [part for part, size in zip((first, both), sizes, strict=True) if size <= max_ids]
        found = tokenizer.encode_sentences(text, max_ids)
        # Cleaning closes a last sentence, so that it is whole too.
        whole = tokenizer.encode(text)
        if tokenizer is CLEANED and len(whole) <= max_ids:
            fit.append(text)
        assert found == (tokenizer.encode(fit[-1]) if fit else [])


# --- a language model's tokenizer -----------------------------------------------------------------------------------


def llama_like(*, truncated: bool = False) -> str:
    """Byte fallback and a visible blank, as SentencePiece tokenizers come."""
    from tokenizers import AddedToken, decoders, models, normalizers
    from tokenizers import Tokenizer as Library

    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz.</>"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    vocabulary = {name: number for number, name in enumerate(names)}
    library = Library(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    library.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    strip = decoders.Strip(content=" ", left=1, right=0)
    library.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), strip])
    library.add_special_tokens([AddedToken(name, special=True) for name in ("<unk>", "<s>", "</s>")])
    if truncated:
        library.enable_truncation(3)
        library.enable_padding(length=9)
    return str(library.to_str())


def test_a_pretrained_tokenizer_keeps_its_ids(tmp_path: Path) -> None:
    tokenizer = SubwordTokenizer.of(llama_like(), bos_id=1, eos_id=2, pad_id=None)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.begins_with_bos) == (1, 2, 2, True)
    assert tokenizer.decode(tokenizer.encode("no µ </s> 38 °")) == "no µ </s> 38 °"
    assert not {1, 2} & set(tokenizer.encode("<s>no</s>"))
    assert tokenizer.decode([1, *tokenizer.encode("clear."), 2, 2]) == "clear."
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path) == tokenizer


def test_a_bos_that_there_is_not_is_a_placeholder(tmp_path: Path) -> None:
    without = SubwordTokenizer.of(llama_like(), bos_id=None, eos_id=2, pad_id=0)
    assert (without.bos_id, without.pad_id, without.begins_with_bos) == (0, 0, False)
    without.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert isinstance(loaded, SubwordTokenizer)
    assert loaded == without
    assert not loaded.begins_with_bos
    neither = SubwordTokenizer.of(llama_like(), bos_id=None, eos_id=2, pad_id=None)
    assert (neither.bos_id, neither.pad_id, neither.begins_with_bos) == (2, 2, False)
    assert neither != without
    with pytest.raises(ConfigError, match="eos=999 is no id"):
        SubwordTokenizer.of(llama_like(), bos_id=None, eos_id=999, pad_id=None)
    with pytest.raises(ConfigError, match="is no tokenizer"):
        SubwordTokenizer.of("not JSON", bos_id=None, eos_id=2, pad_id=None)


def test_texts_are_neither_cut_nor_filled_up() -> None:
    plain, cut = (SubwordTokenizer.of(llama_like(truncated=t), bos_id=1, eos_id=2, pad_id=None) for t in (False, True))
    assert len(cut.encode("the lungs are clear")) == 20
    assert cut == plain


@given(st.lists(st.sampled_from(["a", "µ", "€", "🫁", "\xe2", "\x82", "\xff", "\xc2"]), max_size=8))
def test_byte_pieces_only_grow_too(parts: list[str]) -> None:
    """Characters beyond U+0080 stand for their bytes, some of them torn: ``\\xe2`` is half a euro sign."""
    tokenizer = FALLBACK
    torn = {"\xe2": b"\xe2", "\x82": b"\x82", "\xff": b"\xff", "\xc2": b"\xc2"}
    ids: list[int] = []
    for part in parts:
        ids += tokenizer.encode("a")[1:] if part == "a" else [3 + byte for byte in torn.get(part) or part.encode()]
    steps = [tokenizer.decode(ids[:number]) for number in range(len(ids) + 1)]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(steps))
    assert "\ufffd" not in steps[-1]
    assert steps[-1].count("🫁") == parts.count("🫁")


FALLBACK = SubwordTokenizer.of(llama_like(), bos_id=1, eos_id=2, pad_id=None)


def test_a_vocabulary_that_holds_the_spelling_as_a_word_ends_no_report() -> None:
    from tokenizers import Tokenizer as Library
    from tokenizers import models, pre_tokenizers

    library = Library(models.WordLevel(vocab={"<unk>": 0, "</s>": 1, "clear": 2}, unk_token="<unk>"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    library.add_special_tokens(["</s>"])
    tokenizer = SubwordTokenizer.of(library.to_str(), bos_id=None, eos_id=1, pad_id=None)
    assert tokenizer.encode("clear </s> clear") == [2, 2]


def test_a_prompt_is_not_cleaned() -> None:
    tokenizer = SubwordTokenizer.train(["The lungs are clear."], size=SMALLEST, cleaning="report")
    prompt = "frontal:  <Img>"
    ids = tokenizer.encode_as_written(prompt)
    assert len(ids) == 1 + len(prompt)  # a text begins with a blank
    assert ids != tokenizer.encode(prompt)
