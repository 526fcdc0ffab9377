"""The sentences of a text among its tokens: every token in one of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.text.sentences import cut_tokens
from radwright.text.subwords import SubwordTokenizer
from radwright.text.words import WordTokenizer
from radwright.types import Tokenizer

REPORTS = (
    "The heart is enlarged. No effusion, e.g. dr. smith saw none at 3 p.m. there. Lines end 3.5 cm above the carina",
    "Lungs are clear. Is it? Yes. The heart is not enlarged.",
    "1. Effusion. 2. No edema.",
    "clear",
)


def words() -> Tokenizer:
    return WordTokenizer.build(REPORTS * 3, min_count=1)


def pieces() -> Tokenizer:
    pytest.importorskip("tokenizers")
    return SubwordTokenizer.train(REPORTS * 3, size=300)


@pytest.mark.parametrize("make", [words, pieces])
@pytest.mark.parametrize("report", REPORTS)
def test_sentences_hold_every_token_once_and_read_as_the_text(make: Callable[[], Tokenizer], report: str) -> None:
    tokenizer = make()
    ids = tokenizer.encode(report)
    sentences = cut_tokens(ids, tokenizer)
    assert [sentence.start for sentence in sentences] == [0, *[sentence.stop for sentence in sentences[:-1]]]
    assert sentences[-1].stop == len(ids)
    assert " ".join(sentence.text for sentence in sentences) == tokenizer.decode(ids)
    for sentence in sentences:
        own = tokenizer.decode(ids[sentence.start : sentence.stop])
        assert own.lower().strip() == sentence.text.lower()


@given(st.lists(st.sampled_from(range(3, 300)), max_size=30))
def test_any_tokens_can_be_cut(ids: list[int]) -> None:
    tokenizer = pieces()
    ids = [number for number in ids if number < tokenizer.vocab_size]
    sentences = cut_tokens(ids, tokenizer)
    assert [place for one in sentences for place in range(one.start, one.stop)] == list(range(len(ids)))


def test_sentences_of_no_text() -> None:
    assert cut_tokens([], words()) == ()
