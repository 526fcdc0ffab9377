"""A draft's sentences: every token in one of them, and log-probabilities that are those of decoding."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.decoding.config import DecodingConfig, Greedy
from radwright.decoding.generate import generate
from radwright.errors import StudyError
from radwright.evidence.sentences import sentence_log_probs, token_log_probs, with_drafts
from radwright.text.sentences import cut_tokens
from radwright.text.subwords import SubwordTokenizer
from radwright.text.words import WordTokenizer
from radwright.types import ReportModel, Tokenizer
from tiny import Ids, tiny_vlci
from trrg_toy import Letters, tiny_trrg, toy_batch

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
def test_sentences_hold_every_token_once_and_read_as_the_draft(make: Callable[[], Tokenizer], report: str) -> None:
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


def test_sentences_of_no_draft() -> None:
    assert cut_tokens([], words()) == ()


def networks() -> list[tuple[ReportModel, Tokenizer]]:
    return [(tiny_vlci(23, seed=1).eval(), Ids()), (tiny_trrg(), Letters())]


@pytest.mark.parametrize("place", [0, 1])
def test_log_probabilities_are_those_of_decoding(place: int) -> None:
    pytest.importorskip("transformers")
    model, tokenizer = networks()[place]
    batch = toy_batch([0, 1, 2], num_views=2)
    decoding = DecodingConfig(strategy=Greedy(), max_tokens=9)
    drafts = generate(
        model, batch, decoding, bos_id=1, eos_id=2, suppressed_ids=(0, 1), beginnings=[(5, 6), (7,), (9, 9, 9, 9)]
    )
    told = token_log_probs(model, with_drafts(batch, [draft.token_ids for draft in drafts], tokenizer))
    for draft, row in zip(drafts, told, strict=True):
        assert row.shape == (len(draft.token_ids) + 1,)
        behind = float(row.sum() if draft.finished else row[:-1].sum())
        assert behind == pytest.approx(draft.score, abs=1e-9)
        sentences = cut_tokens(draft.token_ids, tokenizer)
        assert sum(sentence_log_probs(row, sentences)) == pytest.approx(float(row[:-1].sum()), abs=1e-9)


def test_drafts_for_other_studies_are_refused() -> None:
    model, tokenizer = tiny_vlci(23, seed=1).eval(), Ids()
    batch = toy_batch([0, 1], num_views=2)
    with pytest.raises(StudyError, match="1 drafts for 2 studies"):
        with_drafts(batch, [[5]], tokenizer)
    with pytest.raises(StudyError, match="need their tokens"):
        token_log_probs(model, batch)
