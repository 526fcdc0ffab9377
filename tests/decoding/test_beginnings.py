"""Reports that must begin with given tokens: the model's numbers stay its own, and a batch changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from test_generate import SPECIAL, STUDIES, each_strategy, same
from toy_decodables import BOS, EOS, PAD, ToyModel, batch_of, log_prob_of

from radwright.decoding.config import DecodingConfig, Greedy, Sampling, Strategy
from radwright.decoding.generate import Hypothesis, generate
from radwright.errors import ConfigError

BEGINNINGS: tuple[tuple[int, ...], ...] = ((5, 6, 7), (), (8,), (4, 4, 4, 4), (9, 5), (), (6,))


def write(
    model: ToyModel, studies: Sequence[str], strategy: Strategy, beginnings: Sequence[Sequence[int]] | None
) -> list[Hypothesis]:
    config = DecodingConfig(strategy=strategy, max_tokens=12)
    ids = {"bos_id": BOS, "eos_id": EOS, "suppressed_ids": SPECIAL}
    return generate(model, batch_of(*studies), config, **ids, beginnings=beginnings)


@each_strategy
@pytest.mark.parametrize("seed", range(3))
def test_every_report_begins_as_given_and_as_alone(strategy: Strategy, seed: int) -> None:
    model = ToyModel(11, seed=seed, eos_bias=1.0)
    together = write(model, STUDIES, strategy, BEGINNINGS)
    for study, beginning, draft in zip(STUDIES, BEGINNINGS, together, strict=True):
        assert tuple(draft.token_ids[: len(beginning)]) == beginning
        [alone] = write(model, [study], strategy, [beginning])
        same(draft, alone)
        for one in (draft, *draft.alternatives):
            assert tuple(one.token_ids[: len(beginning)]) == beginning
            if one.finished and not isinstance(strategy, Sampling):
                assert one.score == pytest.approx(log_prob_of(model, batch_of(study), [*one.token_ids, EOS]))


@each_strategy
def test_no_beginning_is_none(strategy: Strategy) -> None:
    model = ToyModel(11, seed=5, eos_bias=1.0)
    for one, other in zip(
        write(model, STUDIES, strategy, [()] * len(STUDIES)), write(model, STUDIES, strategy, None), strict=True
    ):
        same(one, other)


def test_a_greedy_report_goes_on_from_its_own_beginning_as_before() -> None:
    model = ToyModel(11, seed=2, eos_bias=0.5)
    free = write(model, STUDIES, Greedy(), None)
    again = write(model, STUDIES, Greedy(), [draft.token_ids[:3] for draft in free])
    for one, other in zip(free, again, strict=True):
        same(one, other)


def test_what_is_suppressed_may_still_be_given() -> None:
    [draft] = write(ToyModel(11, seed=3), ["anna"], Greedy(), [(PAD,)])
    assert draft.token_ids[0] == PAD
    assert PAD not in draft.token_ids[1:]


@pytest.mark.parametrize(
    ("beginnings", "words"),
    [
        ([(5,)], "1 for 7 studies"),
        ([(EOS,), *[()] * 6], "the end of a report"),
        ([(5,) * 12, *[()] * 6], "no room"),
        ([(5, 99), *[()] * 6], "outside the model's vocabulary"),
    ],
)
def test_beginnings_that_cannot_be(beginnings: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        write(ToyModel(11), STUDIES, Greedy(), beginnings)
