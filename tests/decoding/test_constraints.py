"""Blocked tokens: n-grams against a naive count, suppressed ids, the fallback."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_generate import STUDIES, each_strategy, run
from toy_decodables import EOS, ToyModel, batch_of

from radwright.decoding.config import Beam, DecodingConfig, Strategy
from radwright.decoding.constraints import Constraints, block_repeated_ngrams


def naively_blocked(tokens: list[int], n: int, num_tokens: int) -> set[int]:
    """Every token after which some n-gram would stand in the list twice."""
    seen = {tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1)}
    return {token for token in range(num_tokens) if tuple([*tokens, token][len(tokens) + 1 - n :]) in seen}


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_tokens=st.integers(1, 6),
    length=st.integers(1, 25),
    n=st.integers(1, 5),
)
def test_blocks_what_would_repeat(seed: int, num_tokens: int, length: int, n: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(num_tokens, (2, 3, length), generator=draw)
    log_probs = torch.log_softmax(torch.randn(2, 3, num_tokens + 1, generator=draw), -1)
    constraints = Constraints(eos_id=num_tokens, suppressed_ids=(), min_tokens=1, no_repeat_ngram=n)
    scores = constraints.apply(log_probs, tokens)
    for study in range(2):
        for beam in range(3):
            row, before = scores[study, beam], log_probs[study, beam]
            blocked = {token for token in range(num_tokens + 1) if row[token] == -torch.inf}
            assert blocked == (naively_blocked(tokens[study, beam].tolist(), n, num_tokens) if n <= length else set())
            kept = [token for token in range(num_tokens + 1) if token not in blocked]
            assert torch.equal(row[kept], before[kept])


@each_strategy
@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_report_repeats_an_ngram(strategy: Strategy, n: int) -> None:
    repeats = 0
    for seed in range(3):
        model = ToyModel(8, seed=seed, eos_bias=-20.0)
        for draft in run(model, batch_of(*STUDIES), strategy, max_tokens=18, no_repeat_ngram=n):
            ngrams = [tuple(draft.token_ids[at : at + n]) for at in range(len(draft.token_ids) - n + 1)]
            assert len(ngrams) == len(set(ngrams))
        for draft in run(model, batch_of(*STUDIES), strategy, max_tokens=18):
            ngrams = [tuple(draft.token_ids[at : at + n]) for at in range(len(draft.token_ids) - n + 1)]
            repeats += len(ngrams) - len(set(ngrams))
    assert repeats > 0, "without blocking the toy repeats itself"


def test_zero_turns_blocking_off() -> None:
    model = ToyModel(8, seed=1, eos_bias=-3.0)
    free = run(model, batch_of(*STUDIES), Beam(), max_tokens=18)
    assert free == run(model, batch_of(*STUDIES), Beam(), max_tokens=18, no_repeat_ngram=0)
    assert free == run(model, batch_of(*STUDIES), Beam(), max_tokens=18, no_repeat_ngram=18)
    assert free != run(model, batch_of(*STUDIES), Beam(), max_tokens=18, no_repeat_ngram=2)


def test_eos_comes_back_only_where_nothing_else_is_left() -> None:
    log_probs = torch.log_softmax(torch.randn(1, 2, 4), -1)
    constraints = Constraints.build(
        DecodingConfig(min_tokens=9, no_repeat_ngram=1), eos_id=EOS, suppressed_ids=(0, EOS)
    )
    assert constraints.suppressed_ids == (0,)
    scores = constraints.apply(log_probs, torch.tensor([[[2, 3], [2, 2]]]))
    assert scores[0, 0].tolist() == [-torch.inf, log_probs[0, 0, EOS], -torch.inf, -torch.inf]
    assert scores[0, 1].tolist() == [-torch.inf, -torch.inf, -torch.inf, log_probs[0, 1, 3]]


def test_nan_stays_visible_under_a_block() -> None:
    scores = torch.full((1, 1, 3), torch.nan)
    block_repeated_ngrams(scores, torch.tensor([[[2, 2]]]), 1)
    assert bool(torch.isnan(scores[0, 0, :2]).all())
