"""Self-critical sequence training, ours for these methods: drafts that agree with the reference become likelier.

Teacher forcing asks for the likeliest next word, and the likeliest report of a mostly normal collection is one normal
sentence after the other, whatever the image. Here the model drafts K reports itself, and each is pushed by how much
better it agrees with the reference than its siblings (Rennie et al., CVPR 2017; mean of the others as the baseline:
Luo, 2020). It optimises an n-gram score: say so beside every n-gram score of a model that was trained with it.

Shape legend: B studies, K drafts per study, T report tokens, U vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from radwright.config import Config
from radwright.decoding.config import DecodingConfig, Sampling
from radwright.decoding.generate import generate
from radwright.errors import ConfigError, StudyError
from radwright.metrics.cider import ALIKE, DocumentFrequency, similarity, weigh
from radwright.types import Batch, TrainReport


class SelfCriticalConfig(Config):
    """Self-critical training with a share of teacher forcing."""

    num_drafts: int = Field(default=5, ge=2)
    """Drafts per study and step (K)."""
    max_tokens: int = Field(default=60, ge=2)
    """Longest draft, EOS included."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the draws. The gradient is that of the model's own distribution only at 1."""
    rarity: float = Field(default=0.5, ge=0, le=1)
    """Share of the reward in which n-grams count by tf-idf (CIDEr-D); in the rest all count alike (closer to BLEU)."""
    reward: float = Field(default=1.0, gt=0)
    """Weight of the reward term; rewards lie in [0, 10] as CIDEr-D does."""
    teacher_forcing: float = Field(default=0.2, ge=0)
    """Weight of the cross-entropy of the reference, which keeps the language."""


class SelfCritical(nn.Module):
    """-mean_bk advantage_bk * log p(draft_bk | study_b), and the cross-entropy of the reference.

    ``advantage_bk`` is draft k's reward minus the mean reward of the study's other drafts. Drafts are drawn in
    evaluation mode; their likelihood is worked out in training mode.
    """

    Config = SelfCriticalConfig

    def __init__(self, model: nn.Module, config: SelfCriticalConfig) -> None:
        """Hold the network.

        Raises:
            ConfigError: the network cannot score several texts per study.
        """
        super().__init__()
        if not hasattr(model, "logits_of"):
            raise ConfigError(f"objective self_critical: {type(model).__name__} cannot score drafts of its own")
        self.model = model
        self.config = config
        self.weights: Mapping[str, float] = {"reward": config.reward}
        if config.teacher_forcing:
            self.weights = {"reward": config.reward, "report": config.teacher_forcing}
        self._frequency = DocumentFrequency(1, Counter())
        self._rewarded = [0.0, 0.0]

    def read_reports(self, reports: Iterable[TrainReport]) -> None:
        """Learn how rare n-grams are from the train reports."""
        self._frequency = DocumentFrequency.of([_text(report.token_ids)] for report in reports)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Studies, and target tokens of the references.

        Raises:
            StudyError: a study has no report.
        """
        if batch.lengths_B is None or not bool(batch.has_report_B.all()):
            raise StudyError("self-critical training needs the report of every study; leave incomplete ones out")
        counts = {"reward": float(len(batch)), "report": float((batch.lengths_B - 1).sum())}
        return {name: counts[name] for name in self.weights}

    def observed(self) -> dict[str, float]:
        """Mean reward of the drafts since the last call, and the gates of the model's interventions."""
        total, number = self._rewarded
        self._rewarded = [0.0, 0.0]
        gates: dict[str, float] = getattr(self.model, "gates", dict)()
        return {"mean_reward": total / number} | gates if number else gates

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Sums of both terms."""
        ids_BT, lengths_B = batch.token_ids_BT, batch.lengths_B
        assert ids_BT is not None
        assert lengths_B is not None
        drafts = self._draft(batch)
        rewards_BK = torch.tensor(self._rewards(drafts, ids_BT, lengths_B), device=ids_BT.device)
        self._rewarded = [self._rewarded[0] + float(rewards_BK.sum()), self._rewarded[1] + rewards_BK.numel()]
        num_drafts = rewards_BK.shape[1]
        advantage_BK = (rewards_BK - rewards_BK.mean(1, keepdim=True)) * num_drafts / (num_drafts - 1)
        texts, lengths = self._texts(drafts, ids_BT, lengths_B)
        model: Any = self.model
        logits_BKTU = model.logits_of(batch, texts)
        half = logits_BKTU.dtype in {torch.bfloat16, torch.float16}
        log_probs_BKTU = (logits_BKTU.float() if half else logits_BKTU).log_softmax(-1)
        chosen_BKT = log_probs_BKTU.gather(-1, texts[..., 1:, None]).squeeze(-1)
        place_T = torch.arange(chosen_BKT.shape[-1], device=texts.device)
        sums_BK = (chosen_BKT * (place_T < (lengths - 1).unsqueeze(-1))).sum(-1)
        terms = {"reward": -(advantage_BK * sums_BK[:, :-1]).sum() / num_drafts, "report": -sums_BK[:, -1].sum()}
        return {name: terms[name] for name in self.weights}

    def _draft(self, batch: Batch) -> list[list[list[int]]]:
        """K drafts per study, token ids with EOS where they ended."""
        model: Any = self.model
        config = self.config
        seed = int(torch.randint(2**31, ()))  # the step's own, from the generator that the engine keys
        strategy = Sampling(num_samples=config.num_drafts, temperature=config.temperature, seed=seed)
        was_training = model.training
        model.eval()
        try:
            found = generate(
                model,
                batch,
                DecodingConfig(strategy=strategy, max_tokens=config.max_tokens),
                bos_id=model.bos_id,
                eos_id=model.eos_id,
                suppressed_ids=model.unwritten_ids,
            )
        finally:
            model.train(was_training)
        return [
            [[*draft.token_ids, *([model.eos_id] if draft.finished else [])] for draft in (best, *best.alternatives)]
            for best in found
        ]

    def _rewards(self, drafts: list[list[list[int]]], ids_BT: Tensor, lengths_B: Tensor) -> list[list[float]]:
        """Agreement of every draft with its study's reference, 0 to 10."""
        eos: Any = self.model.eos_id
        references = [
            _text([number for number in ids[1:length] if number != eos])
            for ids, length in zip(ids_BT.tolist(), lengths_B.tolist(), strict=True)
        ]
        rewards = [[0.0] * len(own) for own in drafts]
        for share, frequency in ((self.config.rarity, self._frequency), (1.0 - self.config.rarity, ALIKE)):
            if not share:
                continue
            idf: dict[Any, float] = {}
            targets = [weigh(reference, frequency, idf) for reference in references]
            for row, own in enumerate(drafts):
                for place, draft in enumerate(own):
                    text = weigh(_text([number for number in draft if number != eos]), frequency, idf)
                    rewards[row][place] += 10 * share * similarity(text, targets[row])
        return rewards

    def _texts(self, drafts: list[list[list[int]]], ids_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Drafts and, last, the reference, from BOS on: ids (B, K + 1, T) with padding, and lengths (B, K + 1)."""
        model: Any = self.model
        rows = [
            [[model.bos_id, *draft] for draft in own] + [ids[:length]]
            for own, ids, length in zip(drafts, ids_BT.tolist(), lengths_B.tolist(), strict=True)
        ]
        longest = max(len(text) for row in rows for text in row)
        padded = [[text + [model.pad_id] * (longest - len(text)) for text in row] for row in rows]
        lengths = [[len(text) for text in row] for row in rows]
        device = ids_BT.device
        return torch.tensor(padded, device=device), torch.tensor(lengths, device=device)


def _text(ids: Iterable[int]) -> str:
    """Token ids as the words that the metric counts."""
    return " ".join(map(str, ids))
