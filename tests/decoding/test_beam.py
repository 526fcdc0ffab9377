"""Beam search: the true arg max, the released behaviour, and an early stop that never changes the answer."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_generate import SPECIAL, STUDIES, run, same
from torch import Tensor
from toy_decodables import EOS, ToyModel, ToyState, batch_of, live_beam_search, log_prob_of, released_beam_search

from radwright.decoding.config import Beam, DecodingConfig, Greedy
from radwright.decoding.generate import generate


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("penalty", [-0.7, 0.0, 0.9])
@pytest.mark.parametrize(("num_tokens", "longest"), [(3, 4), (4, 3)])
@pytest.mark.parametrize("keep_live", [False, True])
def test_wide_beam_finds_the_best_of_all_reports(
    seed: int, penalty: float, num_tokens: int, longest: int, keep_live: bool
) -> None:
    model = ToyModel(num_tokens, seed=seed, sharpness=1.0, eos_bias=-0.5)
    everything = []
    for length in range(1, longest + 1):
        for tokens in itertools.product(range(num_tokens), repeat=length):
            if EOS not in tokens[:-1] and (tokens[-1] == EOS or length == longest):
                total = log_prob_of(model, batch_of("anna"), list(tokens))
                everything.append((total / length**penalty, [token for token in tokens if token != EOS]))
    everything.sort(reverse=True)
    beam = Beam(num_beams=num_tokens**longest, length_penalty=penalty, num_reports=5, keep_live=keep_live)
    config = DecodingConfig(strategy=beam, max_tokens=longest)
    draft = generate(model, batch_of("anna"), config, bos_id=0, eos_id=EOS)[0]
    for report, (rank, tokens) in zip((draft, *draft.alternatives), everything, strict=False):
        assert report.token_ids == tokens
        assert report.rank == pytest.approx(rank, abs=1e-9)
    assert len(draft.alternatives) == 4


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_tokens=st.integers(2, 12),
    num_beams=st.integers(1, 5),
    num_steps=st.integers(1, 8),
    eos_bias=st.floats(-4, 3),
    sharpness=st.floats(0.1, 6),
)
def test_winner_is_the_released_search_s(
    seed: int, num_tokens: int, num_beams: int, num_steps: int, eos_bias: float, sharpness: float
) -> None:
    """Id 0 is BOS, EOS and PAD; the released search runs every step and parks finished beams at -1000."""
    model = ToyModel(num_tokens, seed=seed, sharpness=sharpness, eos_bias=eos_bias, eos_id=0)
    for early_stop in (True, False):
        config = DecodingConfig(strategy=Beam(num_beams=num_beams, early_stop=early_stop), max_tokens=num_steps)
        drafts = generate(model, batch_of("anna", "bela"), config, bos_id=0, eos_id=0, suppressed_ids=[0])
        for study_id, draft in zip(("anna", "bela"), drafts, strict=True):
            tokens, total = released_beam_search(model, batch_of(study_id), num_beams=num_beams, num_steps=num_steps)
            assert draft.token_ids == tokens
            assert draft.score == pytest.approx(total, abs=1e-9)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_tokens=st.integers(5, 10),
    num_beams=st.integers(1, 5),
    num_reports=st.integers(1, 5),
    num_steps=st.integers(1, 7),
    penalty=st.floats(-2, 2) | st.sampled_from([0.0, 1.0]),
    eos_bias=st.floats(-3, 3),
    sharpness=st.floats(0.1, 6),
    settling=st.floats(0, 3),
)
def test_live_beams_are_those_of_the_plain_search(
    seed: int,
    num_tokens: int,
    num_beams: int,
    num_reports: int,
    num_steps: int,
    penalty: float,
    eos_bias: float,
    sharpness: float,
    settling: float,
) -> None:
    model = ToyModel(num_tokens, seed=seed, sharpness=sharpness, eos_bias=eos_bias, settling=settling)
    asked = {"num_beams": num_beams, "num_reports": min(num_reports, num_beams)}
    for early_stop in (True, False):
        beam = Beam(**asked, length_penalty=penalty, keep_live=True, early_stop=early_stop)
        drafts = run(model, batch_of("anna", "bela"), beam, max_tokens=num_steps)
        for study_id, draft in zip(("anna", "bela"), drafts, strict=True):
            expected = live_beam_search(
                model, batch_of(study_id), **asked, num_steps=num_steps, penalty=penalty, suppressed=SPECIAL
            )
            assert [report.token_ids for report in (draft, *draft.alternatives)] == [tokens for _, tokens in expected]
            for report, (rank, _) in zip((draft, *draft.alternatives), expected, strict=True):
                assert report.rank == pytest.approx(rank, abs=1e-9)


def test_live_beams_fill_the_places_of_ended_ones() -> None:
    """Two beams, both likeliest continuations of the second step end: the released search has nothing left to go on
    with, the other one goes on with what came next and finds the better report."""
    script = {(): {4: -0.1, 5: -0.2}, (4,): {EOS: -3.0, 6: -3.2}, (5,): {EOS: -3.0, 6: -9.0}, (4, 6): {EOS: 0.0}}
    for early_stop in (True, False):
        drafts, grids = {}, {}
        for keep_live in (False, True):
            model = Scripted(script)
            beam = Beam(num_beams=2, num_reports=2, length_penalty=1.0, keep_live=keep_live, early_stop=early_stop)
            drafts[keep_live] = run(model, batch_of("anna"), beam, max_tokens=6)[0]
            grids[keep_live] = model.grids
        assert drafts[False].token_ids == [4]
        assert drafts[False].alternatives[0].token_ids == [5]
        assert drafts[True].token_ids == [4, 6]
        assert drafts[True].rank == pytest.approx(-3.3 / 3)
        assert drafts[True].alternatives[0].token_ids == [4]
        assert len(grids[False]) == 2
        assert [width for _, width in grids[True]] == [1, *[2] * (len(grids[True]) - 1)], "no wider than asked for"


def test_an_end_that_is_not_among_the_likeliest_is_no_report() -> None:
    """One place: EOS comes second at every step but the third, so there is no report of one or two tokens."""
    script = {(): {4: -0.1, EOS: -0.2}, (4,): {5: -0.1, EOS: -0.2}, (4, 5): {EOS: -0.1, 6: -0.2}}
    beam = Beam(num_beams=1, length_penalty=-4.0, keep_live=True, early_stop=False)
    draft = run(Scripted(script), batch_of("anna"), beam, max_tokens=5)[0]
    assert draft.token_ids == [4, 5]
    assert draft.rank == pytest.approx(-0.3 * 3**4)


@settings(max_examples=250, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_tokens=st.integers(5, 15),
    num_beams=st.integers(1, 6),
    num_reports=st.integers(1, 6),
    longest=st.integers(1, 14),
    penalty=st.floats(-2, 2) | st.sampled_from([0.0, 1.0, -10.0, 10.0]),
    eos_bias=st.floats(-3, 4),
    eos_ramp=st.floats(-2, 2),
    sharpness=st.floats(0, 8),
    settling=st.floats(0, 3),
    least=st.integers(1, 5),
    ngram=st.integers(0, 3),
    keep_live=st.booleans(),
)
def test_early_stop_changes_no_answer(
    seed: int,
    num_tokens: int,
    num_beams: int,
    num_reports: int,
    longest: int,
    penalty: float,
    eos_bias: float,
    eos_ramp: float,
    sharpness: float,
    settling: float,
    least: int,
    ngram: int,
    keep_live: bool,
) -> None:
    """Also with sharpness 0, where every report of a length ties with every other."""
    model = ToyModel(
        num_tokens, seed=seed, sharpness=sharpness, eos_bias=eos_bias, eos_ramp=eos_ramp, settling=settling
    )
    drafts = [
        run(
            model,
            batch_of("anna", "bela", "cyril"),
            Beam(
                num_beams=num_beams,
                length_penalty=penalty,
                num_reports=min(num_reports, num_beams),
                early_stop=early_stop,
                keep_live=keep_live,
            ),
            max_tokens=longest,
            min_tokens=min(least, longest),
            no_repeat_ngram=ngram,
        )
        for early_stop in (True, False)
    ]
    for one, other in zip(*drafts, strict=True):
        same(one, other)


@pytest.mark.parametrize("penalty", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("keep_live", [False, True])
def test_early_stop_saves_steps(penalty: float, keep_live: bool) -> None:
    steps = []
    for early_stop in (True, False):
        model = ToyModel(13, seed=1, sharpness=2.0, eos_bias=1.0)
        beam = Beam(num_beams=4, length_penalty=penalty, early_stop=early_stop, keep_live=keep_live)
        run(model, batch_of(*STUDIES), beam, max_tokens=40)
        steps.append(sum(num_studies for num_studies, _ in model.grids))
    assert steps[0] < steps[1]


def test_length_penalty_favours_long_reports_and_a_negative_one_short_reports() -> None:
    lengths = {}
    for alpha in (-1.0, 0.0, 1.5):
        beam = Beam(num_beams=4, length_penalty=alpha)
        drafts = [
            draft for seed in range(6) for draft in run(ToyModel(9, seed=seed, eos_bias=1), batch_of(*STUDIES), beam)
        ]
        lengths[alpha] = sum(len(draft.token_ids) for draft in drafts)
        for draft in drafts:
            assert draft.rank == pytest.approx(draft.score / (len(draft.token_ids) + draft.finished) ** alpha)
    assert lengths[-1.0] < lengths[0.0] < lengths[1.5]


class Scripted(ToyModel):
    """Log-probabilities from a table: the tokens so far -> {next token: log-probability}; all others cost 60."""

    def __init__(self, script: dict[tuple[int, ...], dict[int, float]]) -> None:
        super().__init__(9)
        self.script = script

    def step(self, state: ToyState, token_ids_BW: Tensor) -> tuple[Tensor, ToyState]:
        _, after = super().step(state, token_ids_BW)
        log_probs = torch.full((*token_ids_BW.shape, 9), -60.0)
        for study, beams in enumerate(after.fed_BWT.tolist()):
            for beam, fed in enumerate(beams):
                for token, gain in self.script.get(tuple(fed[1:]), {}).items():
                    log_probs[study, beam, token] = gain
        return log_probs, after


def test_a_long_report_may_still_win_by_its_length() -> None:
    """After three steps the best complete report ranks -0.5, the live beam -3/3 now and -3/10 when it ends at 10."""
    script = {(): {4: -0.5, 5: -3.0}, (4,): {EOS: -0.5}}
    script |= {(5,) * length: {5: 0.0} for length in range(1, 9)} | {(5,) * 9: {EOS: 0.0}}
    draft = run(Scripted(script), batch_of("anna"), Beam(num_beams=2, length_penalty=1.0), max_tokens=10)[0]
    assert draft.token_ids == [5] * 9
    assert draft.rank == pytest.approx(-0.3)
    # With 5 tokens at most, -3/5 cannot win, and the search stops at the second step.
    model = Scripted(script)
    draft = run(model, batch_of("anna"), Beam(num_beams=2, length_penalty=1.0), max_tokens=5)[0]
    assert draft.token_ids == [4]
    assert len(model.grids) == 2


def test_a_short_report_may_still_win_by_its_length() -> None:
    """With alpha -1 sums are multiplied by the length: -3 x 1 is complete first, -1 x 2 comes later, -1.2 x 3 never."""
    script = {(): {EOS: -3.0, 4: -1.0}, (4,): {EOS: 0.0, 5: -0.2}, (4, 5): {EOS: 0.0}}
    for early_stop in (True, False):
        beam = Beam(num_beams=2, length_penalty=-1.0, early_stop=early_stop)
        draft = run(Scripted(script), batch_of("anna"), beam, max_tokens=12)[0]
        assert draft.token_ids == [4]
        assert draft.rank == pytest.approx(-2.0)


def test_rounding_above_zero_never_raises_a_sum() -> None:
    script = {(): {4: 4e-4}, (4,): {5: 4e-4}, (4, 5): {EOS: 4e-4}}
    for strategy in (Beam(num_beams=2), Greedy()):
        draft = run(Scripted(script), batch_of("anna"), strategy)[0]
        assert (draft.token_ids, draft.score) == ([4, 5], 0.0)


def test_n_best_list_is_sorted_and_distinct() -> None:
    drafts = run(ToyModel(13, seed=3, sharpness=1.0), batch_of(*STUDIES), Beam(num_beams=6, num_reports=6))
    for draft in drafts:
        reports = [draft, *draft.alternatives]
        assert len(reports) == 6
        assert [report.rank for report in reports] == sorted((report.rank for report in reports), reverse=True)
        assert len({(tuple(report.token_ids), report.finished) for report in reports}) == 6


@pytest.mark.parametrize("keep_live", [False, True])
def test_more_beams_than_candidates(keep_live: bool) -> None:
    """Two tokens are allowed, EOS among them: at step t there are at most two candidates, whatever the width."""
    model = ToyModel(5, seed=0)
    beam = Beam(num_beams=50, num_reports=50, keep_live=keep_live)
    drafts = run(model, batch_of("anna", "bela"), beam, max_tokens=4)
    for draft in drafts:
        reports = {tuple(report.token_ids): report.finished for report in (draft, *draft.alternatives)}
        assert reports == {(): True, (4,): True, (4, 4): True, (4, 4, 4): True, (4, 4, 4, 4): False}
    assert [width for _, width in model.grids][:2] == [1, 5], "no wider than there are candidates"


class Level(ToyModel):
    """Every token is as likely as every other, whatever came before."""

    def step(self, state: ToyState, token_ids_BW: Tensor) -> tuple[Tensor, ToyState]:
        log_probs, after = super().step(state, token_ids_BW)
        return torch.full_like(log_probs, -2.0), after


@pytest.mark.parametrize("keep_live", [False, True])
def test_ties_go_to_the_lower_beam_then_the_lower_token(keep_live: bool) -> None:
    beam = Beam(num_beams=3, num_reports=3, keep_live=keep_live)
    for studies in (("anna",), STUDIES):
        drafts = run(Level(300), batch_of(*studies), beam, max_tokens=3, min_tokens=3)
        for draft in drafts:
            assert [draft.token_ids, *(other.token_ids for other in draft.alternatives)] == [
                [4, 4],
                [4, 4, 4],
                [4, 4, 5],
            ]
            assert [draft.finished, *(other.finished for other in draft.alternatives)] == [True, False, False]


def test_ties_in_rank_go_to_the_report_that_was_complete_first() -> None:
    class Certain(ToyModel):
        """EOS and token 4 at 1/2 first, then EOS for sure."""

        def step(self, state: ToyState, token_ids_BW: Tensor) -> tuple[Tensor, ToyState]:
            _, after = super().step(state, token_ids_BW)
            log_probs = torch.full((*token_ids_BW.shape, 9), -50.0)
            first = after.fed_BWT.shape[-1] == 1
            log_probs[..., EOS] = -0.5 if first else 0.0
            log_probs[..., 4] = -0.5 if first else -50.0
            return log_probs, after

    for early_stop in (True, False):
        beam = Beam(num_beams=2, num_reports=2, early_stop=early_stop)
        draft = run(Certain(9), batch_of("anna"), beam, max_tokens=4)[0]
        assert draft.token_ids == []
        assert draft.alternatives[0].token_ids == [4]
        assert draft.rank == draft.alternatives[0].rank == -0.5


def test_suppressed_ids_take_no_beam() -> None:
    model = ToyModel(6, seed=0)  # tokens 1 (EOS), 4 and 5 remain
    drafts = run(model, batch_of(*STUDIES), Beam(num_beams=3, num_reports=3), max_tokens=2)
    for draft in drafts:
        assert len(draft.alternatives) == 2
        for report in (draft, *draft.alternatives):
            assert not set(report.token_ids) & set(SPECIAL)
