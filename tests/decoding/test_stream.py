"""Streaming: what was handed out never changes, and in the end it is the report."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_generate import SPECIAL, STRATEGIES, STUDIES, each_strategy, run
from toy_decodables import BOS, EOS, ToyModel, batch_of

from radwright.decoding.config import Beam, DecodingConfig, Greedy, Sampling, Strategy
from radwright.decoding.stream import StreamEvent, common_prefix, stream
from radwright.types import Decodable


def streamed(model: Decodable, study_id: str, strategy: Strategy, **options: int) -> list[StreamEvent]:
    config = DecodingConfig(strategy=strategy, **{"max_tokens": 12, **options})
    return list(stream(model, batch_of(study_id), config, bos_id=BOS, eos_id=EOS, suppressed_ids=SPECIAL))


def joined(events: list[StreamEvent]) -> list[int]:
    return [token for event in events for token in event.token_ids]


@each_strategy
@pytest.mark.parametrize("seed", range(4))
def test_tokens_joined_are_the_report(strategy: Strategy, seed: int) -> None:
    model = ToyModel(13, seed=seed, eos_bias=1.0)
    for study_id in STUDIES:
        draft = run(model, batch_of(study_id), strategy)[0]
        events = streamed(model, study_id, strategy)
        assert joined(events) == draft.token_ids
        assert events[-1].hypothesis == draft
        assert all(event.hypothesis is None and event.token_ids for event in events[:-1])


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_tokens=st.integers(5, 12),
    num_beams=st.integers(1, 6),
    num_reports=st.integers(1, 4),
    early_stop=st.booleans(),
    longest=st.integers(1, 14),
    penalty=st.floats(-2, 2),
    eos_bias=st.floats(-3, 3),
    sharpness=st.floats(0, 10),
    settling=st.floats(0, 3),
    least=st.integers(1, 4),
    ngram=st.integers(0, 3),
    keep_live=st.booleans(),
)
def test_nothing_handed_out_is_ever_taken_back(
    seed: int,
    num_tokens: int,
    num_beams: int,
    num_reports: int,
    early_stop: bool,
    longest: int,
    penalty: float,
    eos_bias: float,
    sharpness: float,
    settling: float,
    least: int,
    ngram: int,
    keep_live: bool,
) -> None:
    model = ToyModel(num_tokens, seed=seed, sharpness=sharpness, eos_bias=eos_bias, settling=settling)
    beam = Beam(
        num_beams=num_beams,
        num_reports=min(num_reports, num_beams),
        length_penalty=penalty,
        early_stop=early_stop,
        keep_live=keep_live,
    )
    options = {"max_tokens": longest, "min_tokens": min(least, longest), "no_repeat_ngram": ngram}
    events = streamed(model, "anna", beam, **options)
    draft = run(model, batch_of("anna"), beam, **options)[0]
    assert events[-1].hypothesis == draft
    assert joined(events) == draft.token_ids


@pytest.mark.parametrize("strategy", [Greedy(), Sampling(seed=1), Beam(num_beams=1)])
def test_one_beam_gives_one_token_per_step(strategy: Strategy) -> None:
    model = ToyModel(13, seed=1)
    events = stream(
        model, batch_of("cyril"), DecodingConfig(strategy=strategy), bos_id=BOS, eos_id=EOS, suppressed_ids=SPECIAL
    )
    for number, event in enumerate(events, start=1):
        assert len(model.grids) == number, "handed out before the next step runs"
        if event.hypothesis is None:
            assert len(event.token_ids) == 1


def test_beam_search_hands_out_tokens_before_it_is_through() -> None:
    for strategy in (STRATEGIES["beam"], Beam(num_beams=3, keep_live=True)):
        early = 0
        for seed in range(5):
            for study_id in STUDIES:
                events = streamed(ToyModel(13, seed=seed, sharpness=4.0), study_id, strategy)
                early += len(joined(events[:-1])) > 2
        assert early > 10


@each_strategy
@pytest.mark.parametrize("seed", range(4))
def test_a_batch_streams_each_study_as_if_alone(strategy: Strategy, seed: int) -> None:
    model = ToyModel(13, seed=seed, eos_bias=1.0)
    config = DecodingConfig(strategy=strategy, max_tokens=12)
    events = list(stream(model, batch_of(*STUDIES), config, bos_id=BOS, eos_id=EOS, suppressed_ids=SPECIAL))
    drafts = run(model, batch_of(*STUDIES), strategy)
    for row, study_id in enumerate(STUDIES):
        own = [event for event in events if event.row == row]
        alone = streamed(ToyModel(13, seed=seed, eos_bias=1.0), study_id, strategy)
        assert [event.token_ids for event in own] == [event.token_ids for event in alone]
        assert joined(own) == drafts[row].token_ids
        assert own[-1].hypothesis == drafts[row]
        assert all(event.hypothesis is None for event in own[:-1])


def test_a_batch_of_none_streams_nothing() -> None:
    assert not [*stream(ToyModel(9), batch_of(), DecodingConfig(), bos_id=BOS, eos_id=EOS)]


@given(st.lists(st.lists(st.integers(0, 2), max_size=6), min_size=1, max_size=5))
def test_common_prefix(lists: list[list[int]]) -> None:
    expected = []
    for column in zip(*lists, strict=False):
        if len(set(column)) > 1:
            break
        expected.append(column[0])
    assert common_prefix(lists) == expected
