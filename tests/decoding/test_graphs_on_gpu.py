"""Recorded blocks on a GPU: the CPU's reports, no wait while a block is written, weights and batches that change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from radwright.decoding.config import Beam, DecodingConfig, Greedy, Sampling, Strategy
from radwright.decoding.generate import (
    BLOCK,
    Hypothesis,
    Progress,
    Rules,
    Writer,
    begin,
    draw_block,
    generate,
    write_block,
)
from radwright.decoding.graphs import Recorder
from radwright.errors import StudyError
from radwright.methods.cmcrl.vlci import Vlci
from radwright.types import Batch, Decodable
from tiny import tiny_vlci

VOCABULARY = 40
STRATEGIES: dict[str, Strategy] = {
    "greedy": Greedy(),
    "beam": Beam(num_beams=3),
    "beam, live": Beam(num_beams=3, keep_live=True, length_penalty=1.0, num_reports=2),
    "sampling": Sampling(seed=3, top_p=0.9, num_samples=2),
}
each_strategy = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())


def network(seed: int = 0) -> Vlci:
    """Reports of many lengths; gates open, so that every part counts."""
    model = tiny_vlci(VOCABULARY, seed=seed).eval()
    with torch.no_grad():
        model.decoder.logit.weight *= 2
        model.decoder.logit.bias[2] += 1.0
        for name, weight in model.named_parameters():
            if name.endswith("gate"):
                weight.fill_(0.7)
    return model


def batch_of(seed: int, *, lacking: bool = False, num_studies: int = 6) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(num_studies, 2, 1, 32, 32, generator=draw, dtype=torch.float64)
    views = torch.ones(num_studies, 2, dtype=torch.bool)
    views[1, 1] = not lacking
    return Batch(tuple(f"{seed}-{n}" for n in range(num_studies)), images, views, torch.tensor([[1, 2]] * num_studies))


def run(model: Decodable, batch: Batch, strategy: Strategy, writer: Writer | None = None) -> list[Hypothesis]:
    config = DecodingConfig(strategy=strategy, max_tokens=26, no_repeat_ngram=3, min_tokens=2)
    return generate(model, batch, config, bos_id=1, eos_id=2, suppressed_ids=(0, 1), writer=writer)


def same(one: Hypothesis, other: Hypothesis, tolerance: float = 1e-9) -> None:
    assert one.token_ids == other.token_ids
    assert one.finished == other.finished
    assert one.score == pytest.approx(other.score, rel=tolerance)
    for first, second in zip(one.alternatives, other.alternatives, strict=True):
        same(first, second, tolerance)


@each_strategy
@pytest.mark.parametrize("lacking", [False, True], ids=["two views", "one view is missing"])
def test_a_recording_writes_the_reports_of_a_cpu(gpu: torch.device, strategy: Strategy, lacking: bool) -> None:
    model, recorder = network(), Recorder()
    batches = [batch_of(seed, lacking=lacking) for seed in range(5)]
    expected = [run(model, batch, strategy) for batch in batches]
    assert len({len(report.token_ids) for reports in expected for report in reports}) > 2
    model.to(gpu)
    # The first is written unrecorded, the second records, the others replay; one of another size comes between.
    for number, (batch, reports) in enumerate(zip(batches, expected, strict=True)):
        for one, other in zip(run(model, batch.to(gpu), strategy, recorder), reports, strict=True):
            same(one, other)
        small = batch.rows(torch.arange(2 + number % 2)).to(gpu)
        for one, other in zip(run(model, small, strategy, recorder), reports, strict=False):
            same(one, other)


@each_strategy
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_recording_is_what_it_recorded(gpu: torch.device, strategy: Strategy, precision: torch.dtype) -> None:
    model, recorder = network().float().to(gpu), Recorder()
    for seed in range(4):
        batch = batch_of(seed)
        batch.images_BV1SS = batch.images_BV1SS.float()
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=precision is torch.bfloat16):
            # A fresh recorder writes a shape that it has not seen unrecorded, with all studies to the end.
            plain = run(model, batch.to(gpu), strategy, Recorder())
            recorded = run(model, batch.to(gpu), strategy, recorder)
        for one, other in zip(recorded, plain, strict=True):
            same(one, other, 1e-6)
        with torch.no_grad():
            for weight in model.parameters():  # as training does between two validations
                weight.add_(0.01 * torch.randn_like(weight))


@contextmanager
def waiting_forbidden() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@each_strategy
def test_nothing_waits_for_the_gpu_while_a_block_is_written(gpu: torch.device, strategy: Strategy) -> None:
    model = network().to(gpu)
    config = DecodingConfig(strategy=strategy, max_tokens=2 * BLOCK, no_repeat_ngram=3, min_tokens=2)
    rules = Rules.build(config, bos_id=1, eos_id=2, suppressed_ids=(0, 1))
    progress: Progress = begin(model, batch_of(0).to(gpu), rules)
    draws = draw_block(progress, rules, BLOCK)
    with waiting_forbidden():
        progress = write_block(model, progress, rules, BLOCK, draws)
        with pytest.raises(RuntimeError, match="synchroniz"):
            progress.settled_at_C.tolist()


def test_a_broken_study_is_named_by_a_recording_too(gpu: torch.device) -> None:
    model, recorder = network().to(gpu), Recorder()
    for seed in range(3):
        run(model, batch_of(seed).to(gpu), Beam(), recorder)
    broken = batch_of(4)
    broken.images_BV1SS[2] = torch.nan
    with pytest.raises(StudyError, match=r"'4-2'.*token 1 are NaN"):
        run(model, broken.to(gpu), Beam(), recorder)
    for one, other in zip(
        run(model, batch_of(5).to(gpu), Beam(), recorder), run(network(), batch_of(5), Beam()), strict=True
    ):
        same(one, other)


def test_given_beginnings_are_kept(gpu: torch.device) -> None:
    model, recorder = network().to(gpu), Recorder()
    options: dict[str, Any] = {"bos_id": 1, "eos_id": 2, "suppressed_ids": (0, 1)}
    beginnings = [[5, 6], [], [9], [], [], [7, 7, 8]]
    config = DecodingConfig(max_tokens=20)
    expected = generate(network(), batch_of(1), config, beginnings=beginnings, **options)
    for _ in range(3):
        found = generate(model, batch_of(1).to(gpu), config, beginnings=beginnings, writer=recorder, **options)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
