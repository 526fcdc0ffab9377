"""Writing in blocks, as a GPU does: what is looked at later is what would have been looked at at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_decodables import BOS, EOS, PAD, UNK, ToyModel, ToyState, batch_of

from radwright.decoding.config import Beam, Consensus, DecodingConfig, Greedy, Sampling, Strategy
from radwright.decoding.generate import Hypothesis, Progress, Rules, Writer, advance_block, begin, generate
from radwright.decoding.graphs import Recorder, _changed, _key, _tensors, recorder, write_together
from radwright.errors import StudyError
from radwright.methods.cmcrl.vlci import Vlci, VlciConfig
from radwright.types import Batch, Decodable, Recordable
from tiny import Ids, tiny_vlci

STUDIES = ("anna", "bela", "cyril", "dora", "emil", "frida", "gustav")
STRATEGIES: dict[str, Strategy] = {
    "greedy": Greedy(),
    "beam": Beam(num_beams=3),
    "beam, all steps": Beam(num_beams=3, early_stop=False),
    "beam, long": Beam(num_beams=4, length_penalty=0.8, num_reports=3),
    "beam, short": Beam(num_beams=4, length_penalty=-0.5, num_reports=4),
    "beam, live": Beam(num_beams=3, keep_live=True, length_penalty=1.0, num_reports=2),
    "sampling": Sampling(seed=3),
    "sampling, many": Sampling(temperature=1.4, top_k=6, top_p=0.9, seed=4, num_samples=3),
    "consensus": Consensus(num_samples=4, rarity=0),
}


def in_blocks(num_tokens: int) -> Writer:
    def write(model: Decodable, progress: Progress, rules: Rules) -> Progress:
        while progress.rows:
            progress = advance_block(model, progress, rules, num_tokens)
        return progress

    return write


WRITERS = {
    "blocks of 1": in_blocks(1),
    "blocks of 4": in_blocks(4),
    "blocks of 50": in_blocks(50),
    "all": write_together,
}
each_strategy = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())
each_writer = pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS.keys())


def run(
    model: Decodable, strategy: Strategy, writer: Writer | None, *names: str, max_tokens: int = 23, **options: Any
) -> list[Hypothesis]:
    config = DecodingConfig(strategy=strategy, max_tokens=max_tokens, **options)
    batch = batch_of(*(names or STUDIES))
    return generate(model, batch, config, bos_id=BOS, eos_id=EOS, suppressed_ids=(BOS, PAD, UNK), writer=writer)


def same(one: Hypothesis, other: Hypothesis) -> None:
    assert one.token_ids == other.token_ids
    assert one.finished == other.finished
    # Whoever stays in the batch longer is multiplied in a matrix of another size.
    assert one.score == pytest.approx(other.score, rel=1e-12)
    assert one.rank == pytest.approx(other.rank, rel=1e-12)
    assert len(one.alternatives) == len(other.alternatives)
    for first, second in zip(one.alternatives, other.alternatives, strict=True):
        same(first, second)


@each_strategy
@each_writer
@pytest.mark.parametrize("seed", range(3))
def test_a_block_writes_what_single_tokens_do(strategy: Strategy, writer: Writer, seed: int) -> None:
    for ramp in (0.1, 1.0):
        model = ToyModel(13, seed=seed, eos_bias=-1.0, eos_ramp=ramp)
        for options in ({}, {"min_tokens": 6, "no_repeat_ngram": 2}):
            for one, other in zip(
                run(model, strategy, None, **options), run(model, strategy, writer, **options), strict=True
            ):
                same(one, other)


@each_writer
def test_beginnings_are_kept_in_blocks(writer: Writer) -> None:
    model, config = ToyModel(13, eos_bias=-2.0), DecodingConfig(strategy=Beam(num_beams=3), max_tokens=15)
    given = [[5, 6, 7], [], [8]]
    first, second = (
        generate(model, batch_of("anna", "bela", "dora"), config, bos_id=BOS, eos_id=EOS, beginnings=given, writer=each)
        for each in (None, writer)
    )
    for one, other, beginning in zip(first, second, given, strict=True):
        same(one, other)
        assert other.token_ids[: len(beginning)] == beginning


class Spoilt(ToyModel):
    """Spoils the log-probabilities of the second study at one token, or at every token after it."""

    def __init__(self, spoil: Callable[[Tensor], Tensor], at: range, **options: Any) -> None:
        super().__init__(13, **options)
        self.spoil, self.at = spoil, at

    def step(self, state: ToyState, token_ids_BW: Tensor) -> tuple[Tensor, ToyState]:
        log_probs, after = super().step(state, token_ids_BW)
        if after.fed_BWT.shape[-1] in self.at and len(log_probs) > 1:
            log_probs = torch.stack([self.spoil(row) if n == 1 else row for n, row in enumerate(log_probs)])
        return log_probs, after


@each_strategy
@each_writer
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(lambda x: x * torch.nan, "token 4 are NaN"), (lambda x: x - torch.inf, "probability zero at token 4")],
    ids=["NaN", "nothing left"],
)
def test_the_study_and_the_token_at_fault_are_named(
    strategy: Strategy, writer: Writer, spoil: Callable[[Tensor], Tensor], reason: str
) -> None:
    for each in (None, writer):
        model = Spoilt(spoil, range(4, 5), eos_bias=-9.0)
        with pytest.raises(StudyError, match=f"'bela'.*{reason}"):
            run(model, strategy, each, "anna", "bela", "dora")


@pytest.mark.parametrize("strategy", [each for name, each in STRATEGIES.items() if name != "beam, all steps"])
def test_what_a_settled_study_goes_on_to_give_does_not_matter(strategy: Strategy) -> None:
    """Alone, it would have left the batch before."""
    options: dict[str, Any] = {"seed": 1, "eos_bias": 4.0}
    clean = run(ToyModel(13, **options), strategy, None, "anna", "bela")
    settled = max(len(each.token_ids) for each in [clean[1], *clean[1].alternatives]) + 1
    if not clean[1].finished or settled > 22:
        pytest.skip("these draws do not end")
    for garbage in (torch.nan, torch.inf):
        late = Spoilt(lambda x, garbage=garbage: torch.full_like(x, garbage), range(settled + 12, 99), **options)
        for one, other in zip(clean, run(late, strategy, write_together, "anna", "bela", max_tokens=40), strict=True):
            assert one.token_ids == other.token_ids


def test_only_networks_that_can_be_recorded_are() -> None:
    model = tiny_vlci(23, seed=0)
    assert isinstance(model, Recordable)
    assert model.recordable
    assert recorder(model, torch.device("cpu")) is None
    assert isinstance(recorder(model, torch.device("cuda")), Recorder)
    assert recorder(ToyModel(9), torch.device("cuda")) is None
    values = {"backbone": {"name": "resnet", "depth": 18, "width": 8}, "dim": 16, "num_heads": 2, "preset": "released"}
    released = Vlci(VlciConfig.parse(values, where="test"), Ids(), size_px=64)
    assert not released.recordable
    assert recorder(released, torch.device("cuda")) is None


def test_batches_of_one_shape_share_a_recording_and_others_do_not() -> None:
    model = tiny_vlci(23, seed=0).eval()
    images = torch.rand(3, 2, 1, 32, 32, dtype=torch.float64)
    views = torch.ones(3, 2, dtype=torch.bool)
    lacking = views.clone()
    lacking[1, 1] = False

    def progress(names: str, views: Tensor = views, num_views: int = 2) -> Progress:
        places = slice(0, len(names)), slice(0, num_views)
        batch = Batch(tuple(names), images[places], views[places], views[places].long())
        return begin(model, batch, rules)

    config = DecodingConfig(strategy=Beam(num_beams=3))
    rules = Rules.build(config, bos_id=1, eos_id=2, suppressed_ids=())
    known = _key(progress("abc"), rules)
    assert known == _key(progress("xyz"), rules)
    greedy = Rules.build(DecodingConfig(strategy=Greedy()), bos_id=1, eos_id=2, suppressed_ids=())
    never = Rules.build(config, bos_id=1, eos_id=2, suppressed_ids=(7,))
    others = {
        _key(progress("ab"), rules),
        _key(progress("abc", num_views=1), rules),
        _key(progress("abc", lacking), rules),
        _key(progress("abc"), greedy),
        _key(progress("abc"), never),
    }
    with torch.autocast("cpu", torch.bfloat16):
        others.add(_key(progress("abc"), rules))
    assert len(others) == 6
    assert known not in others


def test_every_tensor_of_a_state_is_found_and_can_be_replaced() -> None:
    model = tiny_vlci(23, seed=0).eval()
    rules = Rules.build(DecodingConfig(), bos_id=1, eos_id=2, suppressed_ids=())
    views = torch.ones(2, 2, dtype=torch.bool)
    batch = Batch(("a", "b"), torch.rand(2, 2, 1, 32, 32, dtype=torch.float64), views, views.long())
    before = begin(model, batch, rules)
    copied = _changed(before, lambda tensor: tensor.clone())
    assert type(copied.state) is type(before.state)
    pairs = list(zip(_tensors(before), _tensors(copied), strict=True))
    assert len(pairs) == 18  # 4 of self-attention and its memory, 5 of the words, 3 of the loop, 5 of the list, settled
    for one, other in pairs:
        assert torch.equal(one, other)
        assert not one.numel() or one.data_ptr() != other.data_ptr()
    written = [write_together(model, replace(each), rules).drafts for each in (before, copied)]
    assert written[0] == written[1]
