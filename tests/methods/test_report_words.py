"""Weak supervision by the report's words: what counts as asserted and denied, and that it reaches the stem only."""

from __future__ import annotations

import pytest
import torch

from radwright.errors import ConfigError
from radwright.methods.cmcrl.pretraining import RadCareObjective, RadCareObjectiveConfig
from radwright.methods.cmcrl.radcare import RadCare, RadCareConfig
from radwright.methods.cmcrl.report_words import ReportWords
from radwright.text.words import WordTokenizer
from radwright.types import Batch

REPORTS = ["There is a large effusion. No pneumothorax.", "The heart is enlarged.", "Lungs are clear. No effusion."]
NETWORK = {
    "backbone": {"name": "resnet", "depth": 18, "width": 8, "num_stages": 2},
    "dim": 16,
    "num_heads": 2,
    "hidden_dim": 16,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
}


@pytest.fixture
def tokenizer() -> WordTokenizer:
    return WordTokenizer.build(REPORTS, min_count=1)


def tokens(tokenizer: WordTokenizer, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [[tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id] if text else [] for text in texts]
    ids = torch.full((len(rows), max(map(len, rows)) + 2), tokenizer.pad_id)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
    return ids, torch.tensor([len(row) for row in rows])


def objective(tokenizer: WordTokenizer, **weights: float) -> RadCareObjective:
    torch.manual_seed(0)
    model = RadCare(RadCareConfig.parse(NETWORK | {"report_words": True}, where="test"), tokenizer, 32).double()
    tasks = {"vt2t": 0, "vt2v": 0, "v2v": 0, "t2t": 0, "words": 1.0} | weights
    return RadCareObjective(
        model, RadCareObjectiveConfig.parse({"tasks": tasks, "one_view": False}, where="test")
    ).eval()


def batch(tokenizer: WordTokenizer, texts: list[str]) -> Batch:
    ids, lengths = tokens(tokenizer, texts)
    mask = torch.ones(len(texts), 2, dtype=torch.bool)
    mask[0, 1] = False
    images = torch.rand(len(texts), 2, 1, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    names = tuple(f"study-{number}" for number in range(len(texts)))
    images = images * mask[:, :, None, None, None]
    return Batch(names, images, mask, torch.tensor([[1, 2]] * len(texts)), ids, lengths)


def test_words_are_told_apart_by_what_their_sentence_does(tokenizer: WordTokenizer) -> None:
    head = ReportWords(8, tokenizer)
    found = head.targets(*tokens(tokenizer, REPORTS))
    words = {word: tokenizer.encode(word)[0] for word in ("effusion", "pneumothorax", "large", "enlarged", "lungs")}
    asserted, denied = found[:, 0], found[:, 1]
    assert asserted[:, words["effusion"]].tolist() == [True, False, False]
    assert denied[:, words["effusion"]].tolist() == [False, False, True]
    assert denied[:, words["pneumothorax"]].tolist() == [True, False, False]
    assert asserted[:, words["enlarged"]].tolist() == [False, True, False]
    assert denied[:, words["lungs"]].tolist() == [False, False, True]
    never = [tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.encode("clear .")[-1]]
    assert not found[:, :, never].any()


def test_logits_add_up_over_views_and_need_none(tokenizer: WordTokenizer) -> None:
    head = ReportWords(8, tokenizer).double().eval()
    for layer in head.heads:
        torch.nn.init.normal_(layer.weight)  # type: ignore[arg-type]
    features = torch.randn(3, 4, 8, dtype=torch.float64)
    positions = torch.tensor([1, 2, 1])
    both = head(features, positions, torch.tensor([0, 0, 2]), 3)
    first = head(features[:1], positions[:1], torch.tensor([0]), 1)
    second = head(features[1:2], positions[1:2], torch.tensor([0]), 1)
    prior = head.bias.unflatten(0, (2, -1))  # type: ignore[no-untyped-call]
    assert (both[0] - (first + second - prior)[0]).abs().max() < 1e-12
    assert torch.equal(both[1], prior.to(both.dtype))


def test_the_task_trains_the_stem_and_counts_whole_studies_only(tokenizer: WordTokenizer) -> None:
    made = objective(tokenizer)
    torch.nn.init.normal_(made.model.report_words.heads[1].weight)  # type: ignore[union-attr,arg-type]
    studies = batch(tokenizer, REPORTS)
    assert made.counts(studies) == {"words": 3.0}
    made(studies)["words"].backward()
    trained = {name.split(".")[0] for name, p in made.model.named_parameters() if p.grad is not None and p.grad.any()}
    assert trained == {"backbone", "report_words"}
    incomplete = batch(tokenizer, [REPORTS[0], "", REPORTS[2]])
    incomplete.view_mask_BV[2] = False
    assert made.counts(incomplete) == {"words": 1.0}
    alone = batch(tokenizer, REPORTS[:1])
    with torch.no_grad():
        assert float(made(incomplete)["words"]) == pytest.approx(float(made(alone)["words"]), abs=1e-9)


def test_the_head_starts_from_the_words_own_frequency(tokenizer: WordTokenizer) -> None:
    """Without an image its prediction is the train reports' own share, the best there is that looks at nothing."""
    head = ReportWords(8, tokenizer)
    ids = [tokenizer.encode(text) for text in REPORTS]
    head.read_reports(ids)
    prior = head.bias.sigmoid().unflatten(0, (2, -1))  # type: ignore[no-untyped-call]
    effusion, lungs = tokenizer.encode("effusion")[0], tokenizer.encode("lungs")[0]
    assert prior[0, effusion].item() == pytest.approx(1.5 / 4, abs=1e-6)
    assert prior[1, effusion].item() == pytest.approx(1.5 / 4, abs=1e-6)
    assert prior[0, lungs].item() == pytest.approx(0.5 / 4, abs=1e-6)
    before = head.bias.detach().clone()
    head.read_reports([])
    assert torch.equal(head.bias, before)


def test_the_head_must_be_asked_for(tokenizer: WordTokenizer) -> None:
    model = RadCare(RadCareConfig.parse(NETWORK, where="test"), tokenizer, 32)
    with pytest.raises(ConfigError, match=r"model\.report_words"):
        RadCareObjective(model, RadCareObjectiveConfig.parse({"tasks": {"words": 0.1}}, where="test"))
