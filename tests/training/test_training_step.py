"""The token-exact step: whole = accumulated = by hand, and a stop at what is not finite."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor
from training_toy import ToyBatches, ToyObjective, batch_of, configure, train

from radwright.errors import TrainingError
from radwright.training.engine import Engine, EngineConfig
from radwright.training.step import derive_seed
from radwright.types import Batch


def weights_by_hand() -> dict[str, Tensor]:
    """Two epochs of plain AdamW on whole batches, without any of the code under test."""
    toy, batches = ToyObjective(), ToyBatches(8, 8)
    optimizer = torch.optim.AdamW(toy.parameters(), lr=0.01, weight_decay=1e-2, amsgrad=True)
    for epoch in range(2):
        for step in range(3):
            batch = batch_of(batches.numbers(epoch, step))
            sums, counts = toy(batch), toy.counts(batch)
            optimizer.zero_grad()
            (sums["words"] / counts["words"] + 0.3 * sums["images"] / counts["images"]).backward()
            torch.nn.utils.clip_grad_norm_(toy.parameters(), 1.0)
            optimizer.step()
    return toy.state_dict()


def assert_equal_weights(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(
            tensor, theirs[name], rtol=0, atol=tolerance, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize("micro", [8, 4, 3, 1])
def test_accumulated_steps_equal_whole_batches_by_hand(tmp_path: Path, micro: int) -> None:
    config = configure(micro_batch_size=micro, schedule={"name": "constant"})
    toy, summary = train(tmp_path, config)
    assert_equal_weights(toy.state_dict(), weights_by_hand(), 1e-12)
    assert summary.num_studies == 44


def test_unused_parameters_are_left_alone(tmp_path: Path) -> None:
    toy, _ = train(tmp_path, configure(optimizer={"lr": 0.1, "weight_decay": 0.5}))
    fresh = ToyObjective()
    assert torch.equal(toy.never.weight, fresh.never.weight)
    assert not torch.equal(toy.rare.weight, fresh.rare.weight)


def test_single_precision_agrees_to_a_millionth(tmp_path: Path) -> None:
    config = configure(micro_batch_size=2, schedule={"name": "constant"})
    toy, _ = train(tmp_path, config, dtype=torch.float32)
    assert_equal_weights({n: t.double() for n, t in toy.state_dict().items()}, weights_by_hand_in_double(), 1e-5)


def weights_by_hand_in_double() -> dict[str, Tensor]:
    # The toy draws its weights in its own precision, so start the double one from the single one's.
    single = ToyObjective(dtype=torch.float32)
    toy, batches = ToyObjective(), ToyBatches(8, 8)
    toy.load_state_dict({name: tensor.double() for name, tensor in single.state_dict().items()})
    optimizer = torch.optim.AdamW(toy.parameters(), lr=0.01, weight_decay=1e-2, amsgrad=True)
    for epoch in range(2):
        for step in range(3):
            batch = batch_of(batches.numbers(epoch, step))
            sums, counts = toy(batch), toy.counts(batch)
            optimizer.zero_grad()
            (sums["words"] / counts["words"] + 0.3 * sums["images"] / counts["images"]).backward()
            torch.nn.utils.clip_grad_norm_(toy.parameters(), 1.0)
            optimizer.step()
    return {name: tensor.double() for name, tensor in toy.state_dict().items()}


def test_bf16_runs_near_fp32_and_keeps_weights_in_fp32(tmp_path: Path) -> None:
    finals = {}
    for precision in ("fp32", "bf16"):
        folder = tmp_path / precision
        folder.mkdir()
        config = configure(engine={"accelerator": "cpu", "precision": precision})
        finals[precision] = train(folder, config, dtype=torch.float32)[0].state_dict()
    for name, tensor in finals["bf16"].items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, finals["fp32"][name], rtol=0, atol=0.05)
    assert not torch.equal(finals["bf16"]["stem.weight"], finals["fp32"]["stem.weight"])


def test_dropout_is_drawn_by_seed_and_step(tmp_path: Path) -> None:
    finals = []
    for number, seed in enumerate((0, 0, 1)):
        folder = tmp_path / str(number)
        folder.mkdir()
        torch.manual_seed(number)  # what was drawn before must not matter
        finals.append(train(folder, configure(seed=seed), dropout=0.5)[0].stem.weight.detach())
    assert torch.equal(finals[0], finals[1])
    assert not torch.equal(finals[0], finals[2])


class Drawing(ToyObjective):
    """Notes what the first random number of every forward pass in training is."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[float] = []

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        if self.training:
            self.drawn.append(torch.rand(()).item())
        return super().forward(batch)


def test_every_micro_batch_draws_its_own_numbers(tmp_path: Path) -> None:
    toy = Drawing()
    train(tmp_path, configure(), objective=toy)
    expected = []
    for step in range(6):
        for micro in range(2):
            torch.manual_seed(derive_seed(0, step, micro))
            expected.append(torch.rand(()).item())
    assert toy.drawn == expected
    assert len(set(toy.drawn)) == 12


def test_derived_seeds_are_what_their_docstring_says() -> None:
    assert derive_seed(0, 1, 2) != derive_seed(0, 12)
    assert derive_seed(7, 3, 1) == int(hashlib.sha256(b"7/3/1").hexdigest()[:16], 16) >> 1
    assert all(0 <= derive_seed(seed, 0) < 2**63 for seed in range(100))


class Spoilt(ToyObjective):
    """Study s13 spoils the loss, or only the gradient."""

    def __init__(self, *, gradient_only: bool) -> None:
        super().__init__()
        self.gradient_only = gradient_only

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        sums = super().forward(batch)
        if "s13" in batch.study_ids:
            # At 0 the root is 0 and its slope infinite.
            zero = (self.head.bias - self.head.bias.detach()).square().sum()
            sums["words"] = sums["words"] + (zero.sqrt() if self.gradient_only else torch.log(zero))
        return sums


@pytest.mark.parametrize(("gradient_only", "what"), [(False, r"the loss \(words\)"), (True, "the gradient")])
def test_what_is_not_finite_stops_and_names_step_and_studies(tmp_path: Path, gradient_only: bool, what: str) -> None:
    batches = ToyBatches(8, 2)
    guilty = next(step for step in range(3) if 13 in batches.numbers(0, step))
    numbers = batches.numbers(0, guilty)
    place = numbers.index(13) // 2 * 2
    pair = [f"s{number}" for number in numbers[place : place + 2]]
    toy = Spoilt(gradient_only=gradient_only)
    before = tmp_path / "before"
    before.mkdir()
    if guilty:
        expected = train(before, configure(micro_batch_size=2, max_steps=guilty, schedule={"name": "constant"}))[0]
    else:
        expected = ToyObjective()
    config = configure(micro_batch_size=2, schedule={"name": "constant"})
    with pytest.raises(TrainingError, match=f"step {guilty + 1}: {what} is not finite.* {', '.join(pair)}. No"):
        train(tmp_path, config, objective=toy)
    ours, theirs = dict(toy.named_parameters()), dict(expected.named_parameters())
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


class Unweighted(ToyObjective):
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {**super().forward(batch), "extra": torch.zeros(())}


def test_a_term_without_weight_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="without a weight: extra"):
        train(tmp_path, configure(), objective=Unweighted())


def test_asking_for_gpus_that_are_not_there_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from radwright.errors import ConfigError

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no CUDA device"):
        Engine(EngineConfig(accelerator="cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"processes = 3: this machine has 1 GPU"):
        Engine(EngineConfig(processes=3))
