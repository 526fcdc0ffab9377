"""Sampling: the right distribution, cut where it should be, and draws that belong to a study."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from test_generate import STUDIES, run
from torch import Tensor
from toy_decodables import EOS, ToyModel, ToyState, batch_of

from radwright.decoding.choosers import SamplingChooser, keep_top_k, keep_top_p, keyed_uniform
from radwright.decoding.config import DecodingConfig, Greedy, Sampling
from radwright.decoding.generate import generate


class OneStep(ToyModel):
    """A fixed distribution over five tokens for the first token, then the end."""

    probs = (0.4, 0.0, 0.3, 0.2, 0.1)

    def step(self, state: ToyState, token_ids_BW: Tensor) -> tuple[Tensor, ToyState]:
        _, after = super().step(state, token_ids_BW)
        return torch.tensor(self.probs).log().expand(*token_ids_BW.shape, 5), after


def frequencies(strategy: Sampling, num_draws: int = 4000) -> list[float]:
    batch = batch_of(*(f"study {number}" for number in range(num_draws)))
    config = DecodingConfig(strategy=strategy, max_tokens=1)
    drafts = generate(OneStep(5), batch, config, bos_id=0, eos_id=EOS)
    counts = Counter(draft.token_ids[0] for draft in drafts)
    return [counts[token] / num_draws for token in range(5)]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Sampling(), [0.4, 0, 0.3, 0.2, 0.1]),
        (Sampling(seed=1), [0.4, 0, 0.3, 0.2, 0.1]),
        (Sampling(top_k=2), [4 / 7, 0, 3 / 7, 0, 0]),
        (Sampling(top_p=0.69), [4 / 7, 0, 3 / 7, 0, 0]),
        (Sampling(top_p=0.71), [4 / 9, 0, 3 / 9, 2 / 9, 0]),
        (Sampling(temperature=0.5), [16 / 30, 0, 9 / 30, 4 / 30, 1 / 30]),
        (Sampling(top_k=3, top_p=0.5), [4 / 7, 0, 3 / 7, 0, 0]),
        (Sampling(top_k=1), [1, 0, 0, 0, 0]),
        (Sampling(top_p=1e-9), [1, 0, 0, 0, 0]),
        (Sampling(temperature=1e-3), [1, 0, 0, 0, 0]),
    ],
)
def test_draws_follow_the_distribution(strategy: Sampling, expected: list[float]) -> None:
    for found, wanted in zip(frequencies(strategy), expected, strict=True):
        assert found == pytest.approx(wanted, abs=0.03)  # 3.8 standard deviations
        assert (found == 0) == (wanted == 0)


def test_top_k_of_one_is_greedy() -> None:
    model = ToyModel(13, seed=1, eos_bias=1.0)
    assert run(model, batch_of(*STUDIES), Sampling(top_k=1)) == run(model, batch_of(*STUDIES), Greedy())


def test_draws_belong_to_seed_study_and_step() -> None:
    model = ToyModel(13, seed=1, sharpness=0.3, eos_bias=-5.0)
    forward = run(model, batch_of(*STUDIES), Sampling())
    backward = run(model, batch_of(*reversed(STUDIES)), Sampling())
    assert [draft.token_ids for draft in forward] == [draft.token_ids for draft in reversed(backward)]
    assert forward == run(model, batch_of(*STUDIES), Sampling())
    other = run(model, batch_of(*STUDIES), Sampling(seed=1))
    assert all(one.token_ids != two.token_ids for one, two in zip(forward, other, strict=True))
    keys = [(seed, study, step) for seed in (0, 1, 10) for study in ("0", "1", "10", "") for step in (0, 1, 10)]
    assert len({keyed_uniform(*key) for key in keys}) == len(keys)


def test_keyed_numbers_are_uniform_and_never_change() -> None:
    numbers = [keyed_uniform(0, "anna", step) for step in range(4000)]
    assert all(0 <= number < 1 for number in numbers)
    assert sum(numbers) / 4000 == pytest.approx(0.5, abs=0.02)
    assert sum(number < 0.1 for number in numbers) / 4000 == pytest.approx(0.1, abs=0.02)
    # Written down once: a release that changes it changes everybody's drafts.
    assert keyed_uniform(7, "anna", 3) == 0.969287605423163


def test_draws_at_the_edges_stay_on_possible_tokens() -> None:
    scores = torch.tensor([[[-torch.inf, -1e-30, -torch.inf, -80.0, -torch.inf]]])
    chooser, sums = SamplingChooser(Sampling()), torch.zeros(1, 1, dtype=torch.float64)
    last = torch.tensor([[1 - 2.0**-52]], dtype=torch.float64)
    for draw, wanted in ((torch.zeros_like(last), 1), (last, 1)):
        choice = chooser(scores, sums, draw)
        assert choice.tokens_CX.tolist() == [[wanted]]
    even = torch.full((1, 1, 7), 1 / 7).log()
    choice = chooser(even, sums, last)
    assert choice.tokens_CX.tolist() == [[6]]


def test_cuts_break_ties_towards_the_lower_index() -> None:
    even = torch.full((2, 50), 0.02, dtype=torch.float64)
    for kept in (keep_top_k(even, 7), keep_top_p(even, 0.131)):
        assert (kept > 0).tolist() == [[True] * 7 + [False] * 43] * 2
    assert keep_top_k(even, 0) is even
    assert keep_top_k(even, 50) is even
    assert keep_top_p(even, 1.0) is even


def test_several_samples_are_independent_draws_of_one_study() -> None:
    """Each follows the distribution, two of them agree no more often than chance, and the first is the single draw."""
    batch = batch_of(*(f"study {number}" for number in range(1500)))
    config = DecodingConfig(strategy=Sampling(num_samples=3), max_tokens=1)
    found = generate(OneStep(5), batch, config, bos_id=0, eos_id=EOS)
    pools = [[draft.token_ids[0] for draft in (best, *best.alternatives)] for best in found]
    assert all(len(pool) == 3 for pool in pools)
    counts = Counter(token for pool in pools for token in pool)
    assert [counts[token] / 4500 for token in range(5)] == pytest.approx([0.4, 0, 0.3, 0.2, 0.1], abs=0.03)
    agreeing = sum((a == b) + (a == c) + (b == c) for a, b, c in pools) / 4500
    assert agreeing == pytest.approx(0.4**2 + 0.3**2 + 0.2**2 + 0.1**2, abs=0.03)
    single = generate(OneStep(5), batch, config.model_copy(update={"strategy": Sampling()}), bos_id=0, eos_id=EOS)
    assert all(one.token_ids[0] in pool for one, pool in zip(single, pools, strict=True))


def test_samples_of_a_study_do_not_depend_on_the_batch() -> None:
    strategy = Sampling(num_samples=4, temperature=1.5)
    model, config = ToyModel(7), DecodingConfig(strategy=strategy, max_tokens=6)
    together = generate(model, batch_of("a", "b", "c"), config, bos_id=0, eos_id=EOS)
    for number, name in enumerate("abc"):
        [alone] = generate(model, batch_of(name), config, bos_id=0, eos_id=EOS)
        assert alone == together[number]
        scores = [draft.score for draft in (alone, *alone.alternatives)]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) == 4
