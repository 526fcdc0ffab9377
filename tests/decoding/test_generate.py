"""The decoding loop: equivalences that hold for every strategy, limits, and models that misbehave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_decodables import BOS, EOS, PAD, UNK, ToyModel, ToyState, UncachedModel, batch_of, log_prob_of

from radwright.decoding.config import Beam, DecodingConfig, Greedy, Sampling, Strategy
from radwright.decoding.generate import Hypothesis, generate
from radwright.errors import ConfigError, StudyError
from radwright.types import Batch, Decodable

SPECIAL = (BOS, PAD, UNK)
STUDIES = ("anna", "bela", "cyril", "dora", "emil", "frida", "gustav")
STRATEGIES: dict[str, Strategy] = {
    "greedy": Greedy(),
    "beam": Beam(num_beams=3),
    "beam, long": Beam(num_beams=4, length_penalty=0.8, num_reports=3),
    "beam, short": Beam(num_beams=4, length_penalty=-0.5),
    "beam, live": Beam(num_beams=3, keep_live=True, length_penalty=1.0, num_reports=2),
    "sampling": Sampling(seed=3),
    "sampling, cut": Sampling(temperature=1.4, top_k=6, top_p=0.9, seed=4),
}
each_strategy = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())


def run(
    model: Decodable, batch: Batch, strategy: Strategy, *, max_tokens: int = 12, **options: Any
) -> list[Hypothesis]:
    config = DecodingConfig(strategy=strategy, max_tokens=max_tokens, **options)
    return generate(model, batch, config, bos_id=BOS, eos_id=EOS, suppressed_ids=SPECIAL)


def same(one: Hypothesis, other: Hypothesis, *, atol: float = 1e-9) -> None:
    assert one.token_ids == other.token_ids
    assert one.finished == other.finished
    assert one.score == pytest.approx(other.score, rel=1e-9, abs=atol)
    assert one.rank == pytest.approx(other.rank, rel=1e-9, abs=atol)
    assert len(one.alternatives) == len(other.alternatives)
    for first, second in zip(one.alternatives, other.alternatives, strict=True):
        same(first, second, atol=atol)


def test_the_toy_is_decodable_and_writes_reports_of_many_lengths() -> None:
    model = ToyModel(11, seed=1, eos_bias=1.0)
    assert isinstance(model, Decodable)
    drafts = run(model, batch_of(*STUDIES), Beam(num_beams=3))
    assert len({len(draft.token_ids) for draft in drafts}) > 2
    assert len({tuple(draft.token_ids) for draft in drafts}) > 4
    assert not {token for draft in drafts for token in draft.token_ids} & {*SPECIAL, EOS}


@each_strategy
@pytest.mark.parametrize("seed", range(4))
def test_batched_is_single(strategy: Strategy, seed: int) -> None:
    model = ToyModel(13, seed=seed, eos_bias=1.0)
    together = run(model, batch_of(*STUDIES), strategy)
    for study_id, draft in zip(STUDIES, together, strict=True):
        same(draft, run(model, batch_of(study_id), strategy)[0])


@each_strategy
@pytest.mark.parametrize("seed", range(4))
def test_cached_is_uncached(strategy: Strategy, seed: int) -> None:
    cached, uncached = ToyModel(13, seed=seed, eos_bias=1.0), UncachedModel(13, seed=seed, eos_bias=1.0)
    for one, other in zip(
        run(cached, batch_of(*STUDIES), strategy), run(uncached, batch_of(*STUDIES), strategy), strict=True
    ):
        same(one, other)


@each_strategy
def test_score_is_the_teacher_forced_sum(strategy: Strategy) -> None:
    model = ToyModel(13, seed=4, eos_bias=1.0)
    ends = set()
    for study_id, draft in zip(STUDIES, run(model, batch_of(*STUDIES), strategy, max_tokens=7), strict=True):
        for report in (draft, *draft.alternatives):
            ends.add(report.finished)
            tokens = [*report.token_ids, *([EOS] if report.finished else [])]
            assert len(tokens) <= 7
            assert report.finished or len(tokens) == 7
            assert report.score == pytest.approx(log_prob_of(model, batch_of(study_id), tokens), abs=1e-9)
    assert ends == {True, False}, "the case should show both"


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("penalty", [-1.0, 0.0, 1.0])
def test_one_beam_is_greedy(seed: int, penalty: float) -> None:
    """Only where what ends takes its place: a live beam would go on past the end."""
    model = ToyModel(13, seed=seed, eos_bias=1.0)
    greedy = run(model, batch_of(*STUDIES), Greedy(), no_repeat_ngram=2)
    beam = run(model, batch_of(*STUDIES), Beam(num_beams=1, length_penalty=penalty), no_repeat_ngram=2)
    for one, other in zip(greedy, beam, strict=True):
        assert (one.token_ids, one.score, one.finished) == (other.token_ids, other.score, other.finished)


def test_greedy_takes_the_likeliest_token_at_every_step() -> None:
    model, batch = ToyModel(9, seed=5, eos_bias=-2.0), batch_of("anna")
    state, fed, expected = model.start(batch), BOS, []
    for _ in range(10):
        log_probs, state = model.step(state, torch.tensor([[fed]]))
        fed = max((log_probs[0, 0, token].item(), token) for token in range(9) if token not in SPECIAL)[1]
        expected.append(fed)
    draft = run(model, batch, Greedy(), max_tokens=10)[0]
    cut = expected.index(EOS) if EOS in expected else 10
    assert draft.token_ids == expected[:cut]


@each_strategy
def test_study_that_never_ends_stops_at_the_limit(strategy: Strategy) -> None:
    model = ToyModel(9, seed=0, eos_bias=-60.0)
    for draft in run(model, batch_of("anna", "bela"), strategy, max_tokens=5):
        assert len(draft.token_ids) == 5
        assert not draft.finished


def test_limit_of_one_token() -> None:
    draft = run(ToyModel(9, seed=0, eos_bias=60.0), batch_of("anna"), Beam(), max_tokens=1)[0]
    assert (draft.token_ids, draft.finished) == ([], True)
    draft = run(ToyModel(9, seed=0, eos_bias=-60.0), batch_of("anna"), Beam(), max_tokens=1)[0]
    assert (len(draft.token_ids), draft.finished) == (1, False)


@each_strategy
def test_no_step_beyond_the_limit_and_finished_studies_leave_the_batch(strategy: Strategy) -> None:
    model = ToyModel(13, seed=1, eos_bias=1.5)
    drafts = run(model, batch_of(*STUDIES), strategy, max_tokens=9)
    studies = [num_studies for num_studies, _ in model.grids]
    assert studies == sorted(studies, reverse=True)
    assert studies[0] == len(STUDIES)
    assert studies[-1] < len(STUDIES)
    assert len(studies) <= 9
    assert model.grids[0][1] == 1, "the first step expands one beam"
    if not isinstance(strategy, Beam):  # every study costs exactly its own tokens
        assert sum(studies) == sum(len(draft.token_ids) + draft.finished for draft in drafts)
        assert model.num_reorders <= len(set(studies)) - 1


def test_empty_batch() -> None:
    assert run(ToyModel(9), batch_of(), Beam()) == []


def test_min_tokens_counts_eos() -> None:
    model = ToyModel(13, seed=1, eos_bias=30.0)
    for least in (1, 2, 5):
        for draft in run(model, batch_of(*STUDIES), Beam(), min_tokens=least):
            assert len(draft.token_ids) + 1 == least
            assert draft.finished


def test_a_suppressed_eos_is_let_through() -> None:
    """Released vocabularies: 0 is BOS, EOS and PAD; a caller who suppresses BOS and PAD still gets reports that end."""
    model = ToyModel(7, seed=3, eos_bias=2.0, eos_id=0)
    config = DecodingConfig(max_tokens=10)
    free = generate(model, batch_of(*STUDIES), config, bos_id=0, eos_id=0)
    masked = generate(model, batch_of(*STUDIES), config, bos_id=0, eos_id=0, suppressed_ids=[0, 0])
    assert free == masked
    assert any(draft.finished for draft in free)


@each_strategy
def test_report_ends_when_every_other_token_is_blocked(strategy: Strategy) -> None:
    """Five tokens, four special: only token 4 is left, and unigram blocking forbids it after one use."""
    draft = run(ToyModel(5, seed=0), batch_of("anna"), strategy, min_tokens=6, no_repeat_ngram=1)[0]
    assert draft.token_ids == [4]
    assert draft.finished


class Broken(ToyModel):
    """A model whose output for the study named ``bela`` is spoilt at one step."""

    def __init__(self, spoil: Callable[[Tensor], Tensor], at: int, *, parked_only: bool = False) -> None:
        super().__init__(13, seed=1, eos_bias=-1.0)
        self.spoil, self.at, self.parked_only = spoil, at, parked_only
        self.victim_D = self.start(batch_of("bela")).study_BD[0]

    def step(self, state: ToyState, token_ids_BW: Tensor) -> tuple[Tensor, ToyState]:
        log_probs, after = super().step(state, token_ids_BW)
        hit = (state.study_BD == self.victim_D).all(-1)[:, None].expand(token_ids_BW.shape).clone()
        if self.parked_only:
            hit = (after.fed_BWT == EOS).any(-1)
        elif after.fed_BWT.shape[-1] != self.at:
            hit[:] = False
        return torch.where(hit[..., None], self.spoil(log_probs), log_probs), after


@each_strategy
@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda x: x * torch.nan, "NaN"),
        (lambda x: torch.cat([x[..., :-1], x[..., -1:] * torch.nan], -1), "NaN"),
        (lambda x: x + 50, "above 0"),
        (lambda x: x + torch.inf, "above 0"),
        (lambda x: x - torch.inf, "probability zero"),
    ],
    ids=["all NaN", "one NaN", "logits", "plus infinity", "minus infinity"],
)
def test_spoilt_output_names_the_study(
    strategy: Strategy, at: int, spoil: Callable[[Tensor], Tensor], reason: str
) -> None:
    with pytest.raises(StudyError, match=f"'bela'.*{reason}"):
        run(Broken(spoil, at), batch_of("anna", "bela", "dora"), strategy, max_tokens=20, min_tokens=5)


def test_what_a_parked_beam_gives_does_not_matter() -> None:
    """Slots of beams that have ended are still stepped; garbage from them neither raises nor wins."""
    for garbage in (torch.nan, torch.inf, 0.0):
        clean = ToyModel(13, seed=1, eos_bias=-1.0)
        dirty = Broken(lambda x, garbage=garbage: torch.full_like(x, garbage), 0, parked_only=True)
        for one, other in zip(
            run(clean, batch_of(*STUDIES), Beam(num_beams=5, num_reports=5)),
            run(dirty, batch_of(*STUDIES), Beam(num_beams=5, num_reports=5)),
            strict=True,
        ):
            same(one, other, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_floats_are_summed_in_float64(dtype: torch.dtype) -> None:
    class Narrow(ToyModel):
        def step(self, state: ToyState, token_ids_BW: Tensor) -> tuple[Tensor, ToyState]:
            log_probs, after = super().step(state, token_ids_BW)
            return log_probs.to(dtype), after

    class NarrowWide(Narrow):
        def step(self, state: ToyState, token_ids_BW: Tensor) -> tuple[Tensor, ToyState]:
            log_probs, after = super().step(state, token_ids_BW)
            return log_probs.double(), after

    for strategy in STRATEGIES.values():
        narrow, wide = (
            run(kind(13, seed=1, eos_bias=1.0), batch_of(*STUDIES), strategy) for kind in (Narrow, NarrowWide)
        )
        assert narrow == wide


def test_ids_outside_the_vocabulary_are_refused() -> None:
    config = DecodingConfig()
    for options in ({"eos_id": 9}, {"eos_id": 1, "suppressed_ids": [2, 12]}, {"eos_id": -1}):
        with pytest.raises(ConfigError, match="outside the model's vocabulary of 9"):
            generate(ToyModel(9), batch_of("anna"), config, bos_id=BOS, **options)  # type: ignore[arg-type]


def test_the_models_output_is_left_untouched() -> None:
    """A model may hand out a view of its own table."""
    table = torch.log_softmax(torch.randn(9, generator=torch.Generator().manual_seed(0)), -1)
    before = table.clone()

    class Table(ToyModel):
        def step(self, state: ToyState, token_ids_BW: Tensor) -> tuple[Tensor, ToyState]:
            _, after = super().step(state, token_ids_BW)
            return table.expand(*token_ids_BW.shape, 9), after

    for strategy in STRATEGIES.values():
        run(Table(9), batch_of("anna", "bela"), strategy, min_tokens=3, no_repeat_ngram=2)
        assert torch.equal(table, before)
