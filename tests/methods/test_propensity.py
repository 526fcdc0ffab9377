"""Inverse-propensity weighting: what it weighs, what it leaves alone, and that a planted shortcut loses its hold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from radwright.methods.objectives import TeacherForcing, TeacherForcingConfig
from radwright.methods.propensity import PropensityWeighted, PropensityWeightedConfig
from radwright.types import Batch
from tiny import tiny_vlci

PORTABLE, EFFUSION, NONE = [10, 9], [13, 9], [14, 9]
TEXTS = {10: "portable technique.", 13: "there is a pleural effusion.", 14: "no pleural effusion."}
STRENGTH = 0.9


def studies(number: int, *, seed: int) -> tuple[Batch, Tensor, Tensor]:
    """Half have an effusion; the phrase goes along with it. The finding is faint in the image, the device plain."""
    generator = torch.Generator().manual_seed(seed)
    has_N = torch.rand(number, generator=generator) < 0.5
    phrase_N = torch.where(torch.rand(number, generator=generator) < STRENGTH, has_N, ~has_N)
    images = 0.5 * torch.randn(number, 1, 1, 32, 32, generator=generator, dtype=torch.float64).mean((-1, -2), True)
    images = images.expand(-1, -1, -1, 32, 32).clone()
    images[:, 0, 0, 0, 0] = has_N.double() + 0.7 * torch.randn(number, generator=generator, dtype=torch.float64)
    images[:, 0, 0, 0, 1] = phrase_N.double()
    rows = [
        [1, *(PORTABLE if said else []), *(EFFUSION if has else NONE), 2]
        for has, said in zip(has_N.tolist(), phrase_N.tolist(), strict=True)
    ]
    ids = torch.zeros(number, 6, dtype=torch.long)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
    lengths = torch.tensor(list(map(len, rows)))
    names = tuple(map(str, range(number)))
    mask, positions = torch.ones(number, 1, dtype=torch.bool), torch.zeros(number, 1, dtype=torch.long)
    return Batch(names, images, mask, positions, ids, lengths), has_N, phrase_N


def reports_of(batch: Batch) -> list[list[tuple[str, list[int]]]]:
    assert batch.token_ids_BT is not None
    return [[(TEXTS[word], [word, 9]) for word in row if word in TEXTS] for row in batch.token_ids_BT.tolist()]


class Linear(nn.Module):
    """Each next word from two pixels and the word before."""

    pad_id, bos_id, eos_id = 0, 1, 2

    def __init__(self) -> None:
        super().__init__()
        self.pixels = nn.Linear(2, 16).double()
        self.words = nn.Embedding(16, 16).double()
        nn.init.zeros_(self.pixels.weight)
        nn.init.zeros_(self.words.weight)

    def forward(self, batch: Batch) -> Tensor:
        assert batch.token_ids_BT is not None
        seen = self.pixels(batch.images_BV1SS[:, 0, 0, 0, :2])
        logits: Tensor = self.words(batch.token_ids_BT[:, :-1]) + seen.unsqueeze(1)
        return logits


def trained(objective: TeacherForcing, batch: Batch, steps: int) -> None:
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.03)
    torch.manual_seed(0)
    for _ in range(steps):
        counts = objective.counts(batch)
        loss = sum(value / counts[name] for name, value in objective(batch).items())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()


def build(model: nn.Module, batch: Batch, **settings: object) -> PropensityWeighted:
    torch.manual_seed(0)
    small = {"prior": {"dim": 16, "num_heads": 2, "hidden_dim": 16, "dropout": 0.0}}
    objective = PropensityWeighted(model, PropensityWeightedConfig.parse(small | settings, where="test"))
    objective.read_sentences(reports_of(batch))
    return objective


def test_without_room_for_weights_it_is_teacher_forcing() -> None:
    batch, _, _ = studies(6, seed=0)
    model = tiny_vlci(16, seed=1)
    plain = TeacherForcing(model, TeacherForcingConfig())
    objective = build(model, batch, largest_weight=1)
    for training in (True, False):
        losses = objective.train(training)(batch)
        assert losses["report"].item() == pytest.approx(plain.train(training)(batch)["report"].item(), rel=1e-12)
        assert objective.counts(batch) == plain.counts(batch) | {"prior": plain.counts(batch)["report"]}
    weighed = build(model, batch)
    trained(weighed, batch, 3)
    assert weighed.eval()(batch)["report"].item() == pytest.approx(plain.eval()(batch)["report"].item(), rel=1e-12)


def test_weights_are_those_of_the_planted_strength() -> None:
    """q = 1/2 whatever stands before; p = .9 where the phrase and the finding agree, .1 where they do not."""
    batch, has_N, phrase_N = studies(200, seed=2)
    objective = build(Linear(), batch)
    trained(objective, batch, 120)
    weights_BT = objective.word_weights(batch)
    place_B = phrase_N.long() * 2  # the word that decides comes behind the phrase, or first
    decisive_B = weights_BT.gather(1, place_B.unsqueeze(1)).squeeze(1)
    against = decisive_B[has_N != phrase_N].mean().item()
    along = decisive_B[has_N == phrase_N].mean().item()
    # Where no phrase comes first, p is that of a report that begins with this sentence: of .5, .45 or .05 do.
    assert along < 0.8
    assert 3 < against < 8
    assert weights_BT.max() <= 20
    assert weights_BT.min() >= 1 / 20
    # Inside a sentence there is nothing left to weigh.
    inside_B = weights_BT.gather(1, place_B.unsqueeze(1) + 1).squeeze(1)
    assert inside_B.sub(1).abs().max() < 0.1
    seen = objective.observed()
    assert 0 < seen["effective_share"] < 0.95
    assert objective.observed() == {}


def test_nothing_is_weighed_before_anything_is_learnt() -> None:
    batch, _, _ = studies(6, seed=3)
    assert torch.equal(build(Linear(), batch).word_weights(batch), torch.ones(6, 5))


def test_weights_teach_neither_prior() -> None:
    batch, _, _ = studies(6, seed=3)
    objective = build(Linear(), batch)
    objective.train()(batch)["report"].backward()
    assert all(p.grad is None for prior in (objective.propensity, objective.marginal) for p in prior.parameters())
    assert objective.model.pixels.weight.grad.abs().sum() > 0  # type: ignore[union-attr, operator]


def test_a_planted_shortcut_loses_its_hold() -> None:
    """A network that sees a faint finding and a plain device leans on the device, unless words are weighed."""
    batch, _, _ = studies(200, seed=4)

    def leaning(objective: TeacherForcing) -> float:
        trained(objective, batch, 120)
        weight = objective.model.pixels.weight.detach()  # type: ignore[union-attr]
        finding, device = (weight[EFFUSION[0]] - weight[NONE[0]]).tolist()
        assert finding > 0.5
        return float(device / finding)

    plain = leaning(TeacherForcing(Linear(), TeacherForcingConfig()))
    weighed = leaning(build(Linear(), batch))
    assert plain > 1
    assert abs(weighed) < plain / 2
