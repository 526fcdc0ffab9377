"""How likely a draft's sentences are: as likely as decoding found them."""

from __future__ import annotations

import pytest

from radwright.decoding.config import DecodingConfig, Greedy
from radwright.decoding.generate import generate
from radwright.errors import StudyError
from radwright.evidence.sentences import sentence_log_probs, token_log_probs, with_drafts
from radwright.text.sentences import cut_tokens
from radwright.types import ReportModel, Tokenizer
from tiny import Ids, tiny_vlci
from trrg_toy import Letters, tiny_trrg, toy_batch


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
