"""Neighbour consensus: which studies are near, what their reports agree on, and that this is what is learnt."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import radwright.methods.neighbour_consensus as module
from radwright.errors import ConfigError, StudyError
from radwright.methods.neighbour_consensus import NeighbourConsensus, NeighbourConsensusConfig, neighbours
from radwright.methods.objectives import TeacherForcing, TeacherForcingConfig
from radwright.metrics.cider import Cider, DocumentFrequency
from radwright.types import Batch
from tiny import tiny_vlci

NORMAL, LARGE = [[4, 5, 6], [4, 5, 6, 7], [4, 5, 7]], [[8, 9, 10], [8, 9], [8, 9, 10, 11]]


def studies(reports: list[list[int]], names: str = "abcdef") -> Batch:
    rows = [[1, *report, 2] if report else [] for report in reports]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row, dtype=torch.long)
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(len(rows), 2, 1, 32, 32, generator=generator, dtype=torch.float64)
    mask = torch.ones(len(rows), 2, dtype=torch.bool)
    positions = torch.tensor([[0, 1]] * len(rows))
    return Batch(tuple(names[: len(rows)]), images, mask, positions, ids, torch.tensor([len(row) for row in rows]))


class Seen(nn.Module):
    """A model whose features are given: two groups of three studies."""

    pad_id, bos_id, eos_id = 0, 1, 2
    table: ClassVar = dict(
        zip("abcdef", [[0.0, 1.0], [0.1, 1.0], [0.2, 1.0], [1.0, 0.0], [1.0, 0.1], [1.0, 0.2]], strict=True)
    )

    def image_features(self, batch: Batch) -> Tensor:
        assert not self.training
        return torch.tensor([self.table[name] for name in batch.study_ids])


def test_neighbours_are_the_most_similar_others(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(23, 5, generator=torch.Generator().manual_seed(2))
    standard = (features - features.mean(0)) / (features.std(0, correction=0) + 1e-3)
    expected = []
    for row in range(23):
        cosine = torch.cosine_similarity(standard[row : row + 1], standard).tolist()
        expected.append(sorted((other for other in range(23) if other != row), key=lambda other: -cosine[other])[:4])
    assert neighbours(features, 4).tolist() == expected
    monkeypatch.setattr(module, "CHUNK", 7)
    assert neighbours(features, 4).tolist() == expected
    assert neighbours(features, 99).shape == (23, 22)


def test_a_target_is_what_the_neighbours_agree_on_without_the_study_itself() -> None:
    """Against mean CIDEr-D among the neighbours, worked out by the metric."""
    objective = NeighbourConsensus(Seen(), NeighbourConsensusConfig(num_neighbours=2, rarity=1.0))
    reports = NORMAL + LARGE
    batch = studies(reports)
    objective.read_studies([batch.rows(torch.tensor([0, 3, 1])), batch.rows(torch.tensor([4, 2, 5]))])
    texts = [" ".join(map(str, report)) for report in reports]
    metric = Cider(DocumentFrequency.of([text] for text in texts))
    for row in range(6):
        group = range(3) if row < 3 else range(3, 6)
        near = [other for other in group if other != row]
        agreement = {
            other: metric.rows([texts[other]] * 2, [[texts[voter]] for voter in near])[:, 0].mean() for other in near
        }
        chosen = objective.targets["abcdef"[row]][1:-1].tolist()
        assert chosen != reports[row]
        assert agreement[reports.index(chosen)] == pytest.approx(max(agreement.values()))


def test_it_is_teacher_forcing_on_the_targets() -> None:
    model = tiny_vlci(12, seed=5)
    objective, batch = NeighbourConsensus(model, NeighbourConsensusConfig(num_neighbours=3)), studies(NORMAL + LARGE)
    objective.read_studies([batch])
    rows = [objective.targets[name].tolist() for name in batch.study_ids]
    told = studies([row[1:-1] for row in rows])
    forced = TeacherForcing(model, TeacherForcingConfig())
    assert objective(batch)["report"].item() == pytest.approx(forced(told)["report"].item(), abs=1e-9)
    assert objective.counts(batch) == forced.counts(told)
    before = objective(batch)["report"].item()
    own = torch.full_like(batch.token_ids_BT, 3)  # type: ignore[arg-type]
    assert objective(replace(batch, token_ids_BT=own))["report"].item() == before  # own reports play no part
    assert model.training


def test_image_features_know_positions_and_no_padding() -> None:
    model, batch = tiny_vlci(12, seed=5).eval(), studies(NORMAL)
    together = model.image_features(batch)
    channels = model.backbone.out_channels
    assert together.shape == (3, 3 * channels)
    assert not together[:, 2 * channels :].any()
    mask = batch.view_mask_BV.clone()
    mask[1, 1] = False
    alone = model.image_features(replace(batch, view_mask_BV=mask))
    assert torch.allclose(alone[[0, 2]], together[[0, 2]])
    assert torch.allclose(alone[1, :channels], together[1, :channels])
    assert not alone[1, channels:].any()
    twice = model.image_features(replace(batch, positions_BV=torch.zeros_like(batch.positions_BV)))
    halves = together[:, :channels] + together[:, channels : 2 * channels]
    assert torch.allclose(twice[:, :channels], halves / 2)


def test_incomplete_studies_are_passed_over_and_unknown_ones_refused() -> None:
    objective = NeighbourConsensus(Seen(), NeighbourConsensusConfig(num_neighbours=2))
    objective.read_studies([studies([*NORMAL, [], *LARGE[1:]])])
    assert set(objective.targets) == set("abcef")
    with pytest.raises(StudyError, match="study d: has no target"):
        objective.counts(studies(NORMAL + LARGE))
    with pytest.raises(StudyError, match="at least two"):
        objective.read_studies([studies(NORMAL[:1])])
    with pytest.raises(ConfigError, match="image_features"):
        NeighbourConsensus(nn.Linear(2, 2), NeighbourConsensusConfig())
