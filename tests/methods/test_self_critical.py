"""Self-critical training: advantages, likelihoods of the drafts, and that it makes rewarded drafts likelier."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from radwright.decoding.config import DecodingConfig, Greedy
from radwright.decoding.generate import generate
from radwright.errors import ConfigError, StudyError
from radwright.methods.objectives import TeacherForcing, TeacherForcingConfig
from radwright.methods.self_critical import SelfCritical, SelfCriticalConfig
from radwright.types import Batch, TrainReport
from tiny import tiny_vlci

REPORTS = [[4, 5, 6, 7, 8], [9, 10, 11, 12], [4, 5, 9, 7]]


def build(**settings: float) -> SelfCritical:
    model = tiny_vlci(14, seed=3)
    objective = SelfCritical(model, SelfCriticalConfig.parse({"max_tokens": 8} | settings, where="test"))
    objective.read_reports(TrainReport("", ids) for ids in REPORTS)
    return objective


def studies(reports: list[list[int]] = REPORTS) -> Batch:
    rows = [[1, *report, 2] for report in reports]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
    images = torch.rand(len(rows), 1, 1, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mask = torch.ones(len(rows), 1, dtype=torch.bool)
    names = tuple(f"study-{number}" for number in range(len(rows)))
    return Batch(names, images, mask, mask.long(), ids, torch.tensor([len(row) for row in rows]))


def test_the_reference_term_is_teacher_forcing() -> None:
    objective, batch = build(), studies()
    forced = TeacherForcing(objective.model, TeacherForcingConfig())
    torch.manual_seed(0)
    assert objective(batch)["report"].item() == pytest.approx(forced(batch)["report"].item(), abs=1e-9)
    assert objective.counts(batch) == {"reward": 3.0, **forced.counts(batch)}


def test_the_reward_term_weighs_each_draft_by_its_advantage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against sums of log-probabilities taken draft by draft, with rewards set by hand."""
    objective, batch = build(num_drafts=3), studies()
    drafts = [[[4, 2], [5, 6, 2], [7]], [[9, 2], [9, 2], [9, 2]], [[4, 5, 2], [6, 2], [8, 9, 10, 2]]]
    rewards = [[1.0, 2.0, 6.0], [3.0, 3.0, 3.0], [0.0, 1.0, 0.5]]
    monkeypatch.setattr(objective, "_draft", lambda _: drafts)
    monkeypatch.setattr(objective, "_rewards", lambda *_: rewards)
    expected = 0.0
    for row in range(3):
        one = batch.rows(torch.tensor([row]))
        for place, draft in enumerate(drafts[row]):
            one.token_ids_BT = torch.tensor([[1, *draft]])
            log_probs = objective.model.logits(one).log_softmax(-1)[0]  # type: ignore[operator]
            total = sum(log_probs[t, word].item() for t, word in enumerate(draft))
            others = [reward for other, reward in enumerate(rewards[row]) if other != place]
            expected -= (rewards[row][place] - sum(others) / 2) * total / 3
    assert objective(batch)["reward"].item() == pytest.approx(expected, abs=1e-9)


def test_rewards_are_highest_for_the_reference_itself() -> None:
    objective, batch = build(), studies()
    assert batch.token_ids_BT is not None
    assert batch.lengths_B is not None
    drafts = [[[*REPORTS[row], 2], [*REPORTS[row][:2], 2], [13, 13, 13, 2]] for row in range(3)]
    for exact, part, wrong in objective._rewards(drafts, batch.token_ids_BT, batch.lengths_B):
        assert exact > part > wrong == 0.0


def test_rewarded_drafts_become_likelier() -> None:
    objective, batch = build(num_drafts=8, teacher_forcing=0.0, temperature=1.0), studies([[4, 4, 4, 4], [9, 9, 9, 9]])
    objective.read_reports(TrainReport("", ids) for ids in ([4, 4, 4, 4], [9, 9, 9, 9], [5, 6]))
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.03)

    def drafted() -> Tensor:
        objective.model.eval()
        config = DecodingConfig(strategy=Greedy(), max_tokens=8)
        found = generate(objective.model, batch, config, bos_id=1, eos_id=2)  # type: ignore[arg-type]
        objective.model.train()
        rewards = objective._rewards([[one.token_ids] for one in found], batch.token_ids_BT, batch.lengths_B)  # type: ignore[arg-type]
        return torch.tensor(rewards).mean()

    before = drafted()
    objective.train()
    for step in range(100):
        torch.manual_seed(step)
        optimizer.zero_grad()
        objective(batch)["reward"].backward()
        optimizer.step()
    assert drafted() > before + 1.0
    assert objective.observed()["mean_reward"] > 0


def test_it_refuses_what_it_cannot_train() -> None:
    objective, batch = build(), studies()
    assert batch.lengths_B is not None
    batch.lengths_B[1] = 0
    with pytest.raises(StudyError, match="every study"):
        objective.counts(batch)
    with pytest.raises(ConfigError, match="cannot score drafts"):
        SelfCritical(torch.nn.Linear(2, 2), SelfCriticalConfig())
