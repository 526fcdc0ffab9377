"""Micro-batches reach the device in order, are let go when training stops, and a GPU trains to a CPU's weights."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from training_toy import batch_of, configure, train

from radwright.data.transfer import finished, send
from radwright.imaging.augment import AugmentationConfig, draw
from radwright.imaging.tensor import augment
from radwright.methods.objectives import TeacherForcing, TeacherForcingConfig
from radwright.training.engine import StepModule
from radwright.training.feeding import feed
from radwright.training.optim import OptimizerConfig, make_optimizer
from radwright.types import Batch
from tiny import tiny_vlci


class Source:
    """Steps of one micro-batch each; knows how many were asked for, and whether it was closed."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps, self.asked, self.closed = num_steps, 0, False

    def steps(self) -> Generator[Sequence[Batch], None, None]:
        try:
            for number in range(self.num_steps):
                self.asked += 1
                yield [batch_of([number, number + 1])]
        finally:
            self.closed = True


def test_a_cpu_is_fed_step_by_step() -> None:
    source = Source(4)
    fed = feed(source.steps(), torch.device("cpu"))
    for number in range(4):
        step = next(fed)
        assert source.asked == number + 1
        assert step.host[0].study_ids == step.device[0].study_ids == (f"s{number}", f"s{number + 1}")
        assert step.device[0].images_BV1SS is step.host[0].images_BV1SS
    assert next(fed, None) is None
    assert source.closed


def test_what_feeds_is_closed_with_it() -> None:
    source = Source(4)
    fed = feed(source.steps(), torch.device("cpu"))
    next(fed)
    fed.close()
    assert source.closed


def test_a_gpu_is_fed_one_step_ahead(gpu: torch.device) -> None:
    source = Source(5)
    fed = feed(source.steps(), gpu)
    for number in range(5):
        step = next(fed)
        assert source.asked <= number + 2
        assert step.host[0].images_BV1SS.device.type == "cpu"
        assert torch.equal(step.device[0].images_BV1SS.cpu(), batch_of([number, number + 1]).images_BV1SS)
    assert next(fed, None) is None
    assert source.closed
    early = Source(5)
    fed = feed(early.steps(), gpu)
    next(fed)
    fed.close()
    assert early.closed


def test_a_failing_source_fails_the_step_it_belongs_to(gpu: torch.device) -> None:
    def broken() -> Generator[Sequence[Batch], None, None]:
        yield [batch_of([0])]
        raise OSError("disk gone")

    fed = feed(broken(), gpu)
    next(fed)
    with pytest.raises(OSError, match="disk gone"):
        next(fed)


def test_the_loop_closes_its_batches_on_a_gpu_and_trains_to_the_same_weights(tmp_path: Path, gpu: torch.device) -> None:
    finals = []
    for accelerator in ("cpu", "cuda"):
        folder = tmp_path / accelerator
        folder.mkdir()
        toy, summary = train(folder, configure(engine={"accelerator": accelerator}), validate=None)
        assert summary.stopped == "completed"
        finals.append({name: tensor.cpu() for name, tensor in toy.state_dict().items()})
    for name, tensor in finals[0].items():
        torch.testing.assert_close(finals[1][name], tensor, rtol=1e-9, atol=1e-12)


def raw(dtype: torch.dtype) -> Batch:
    """As a loader yields it: eight or sixteen bits, changes to be made, a study without its second view."""
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (3, 2, 1, 32, 32), generator=generator, dtype=torch.uint8)
    views = torch.tensor([[True, True], [True, False], [True, True]])
    images[~views] = 0
    draws = [draw(AugmentationConfig(), seed=0, epoch=0, study_id=str(k)).numbers(0.25) for k in range(3)]
    given = images if dtype == torch.uint8 else images.float() / 255
    return Batch(("a", "b", "c"), given, views, views.long(), changes_B7=torch.tensor(draws))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_what_is_fed_is_finished(dtype: torch.dtype) -> None:
    (fed,) = feed((step for step in [[raw(dtype)]]), torch.device("cpu"))
    (host,), (batch,) = fed.host, fed.device
    assert host.changes_B7 is not None
    assert batch.changes_B7 is None
    assert batch.images_BV1SS.dtype == torch.float32
    assert not batch.images_BV1SS[1, 1].any()
    unit_BVSS = raw(torch.float32).images_BV1SS[:, :, 0]
    changed = augment(unit_BVSS, host.changes_B7)
    assert torch.equal(batch.images_BV1SS[batch.view_mask_BV][:, 0], changed[batch.view_mask_BV])
    assert not torch.allclose(changed, unit_BVSS, atol=0.01)
    # A loader's batch is as it was: another epoch, or a step done again, finds it so.
    assert torch.equal(host.images_BV1SS, raw(dtype).images_BV1SS)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_gpu_finishes_as_a_cpu_does(dtype: torch.dtype, gpu: torch.device) -> None:
    expected, found = finished(raw(dtype)), send(raw(dtype), gpu)
    assert found.images_BV1SS.device.type == "cuda"
    torch.testing.assert_close(found.images_BV1SS.cpu(), expected.images_BV1SS, rtol=0, atol=1e-4)
    assert found.changes_B7 is None


def reports(num_studies: int, dtype: torch.dtype) -> Batch:
    draw = torch.Generator().manual_seed(1)
    views = torch.ones(num_studies, 2, dtype=torch.bool)
    ids = torch.randint(3, 23, (num_studies, 9), generator=draw)
    ids[:, 0], ids[:, -1] = 1, 2
    images = torch.rand(num_studies, 2, 1, 32, 32, generator=draw, dtype=dtype)
    names = tuple(f"s{n}" for n in range(num_studies))
    return Batch(names, images, views, views.long(), ids, torch.full((num_studies,), 9))


def losses(device: torch.device, dtype: torch.dtype, precision: str) -> list[float]:
    """Losses of ten steps of VLCI without dropout."""
    objective = TeacherForcing(tiny_vlci(23, seed=0).to(dtype), TeacherForcingConfig()).to(device).train()
    optimizer = make_optimizer(objective, OptimizerConfig(lr=1e-3))
    assert all(group["fused"] for group in optimizer.param_groups)
    step_module, batch = StepModule(objective, precision).to(device), reports(10, dtype)
    found = []
    for _ in range(10):
        optimizer.zero_grad()
        loss, _ = step_module(batch.to(device), {"report": 1 / objective.counts(batch)["report"]})
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def test_vlci_learns_on_a_gpu_as_on_a_cpu(gpu: torch.device) -> None:
    cases: list[tuple[torch.dtype, str, dict[str, Any]]] = [
        (torch.float64, "fp32", {"rel": 1e-7}),
        (torch.float32, "fp32", {"rel": 1e-3}),
        (torch.float32, "bf16", {"abs": 0.1}),
    ]
    for dtype, precision, tolerance in cases:
        expected = losses(torch.device("cpu"), dtype, "fp32")
        assert expected[-1] < expected[0] - 0.3
        assert losses(gpu, dtype, precision) == pytest.approx(expected, **tolerance)
