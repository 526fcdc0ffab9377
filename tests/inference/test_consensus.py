"""Consensus decoding: the choice, its weights, what a checkpoint keeps for it, and drafts through the Predictor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_predictor import MODEL, WORDS, study

from radwright.data.loading import make_batch
from radwright.decoding.config import Consensus, DecodingConfig, Sampling
from radwright.decoding.generate import generate
from radwright.errors import CheckpointError, ConfigError
from radwright.imaging.config import ImageConfig
from radwright.inference.checkpoint import CheckpointConfig, build_model, load_checkpoint, save_checkpoint
from radwright.inference.document_frequency import FILE_NAME, frequency_of, load_frequency, save_frequency
from radwright.inference.predictor import Predictor, special_ids
from radwright.metrics.cider import Cider, DocumentFrequency
from radwright.metrics.consensus import choose
from radwright.text.cleaning import clean_report
from radwright.types import Report, Study

TRAIN = [
    "the heart is normal .",
    "the lungs are clear .",
    "the heart is large .",
    "the lungs are clear . no effusion .",
]


def test_the_draft_that_all_agree_with_is_chosen() -> None:
    frequency = frequency_of(TRAIN)
    odd, common = "the heart is large .", "the lungs are clear . no effusion ."
    near = "the lungs are clear ."
    for rarity in (0.0, 0.5, 1.0):
        assert choose([odd, common, near, common], frequency, rarity=rarity) == 1
    assert choose([odd], frequency, rarity=0.5) == 0
    assert choose([odd, odd, common], frequency, rarity=0.0) == 0


def test_voters_may_be_other_texts_than_candidates() -> None:
    """The commonest candidate loses to the one that the votes are nearest to; by the metric itself."""
    frequency = frequency_of(TRAIN)
    candidates = ["the heart is large .", "the heart is large .", "the lungs are clear ."]
    voters = ["the lungs are clear . no effusion .", "the lungs are clear .", "the lungs are clear ."]
    means = Cider(frequency).rows(candidates * 3, [[voter] for voter in voters for _ in candidates])[:, 0]
    assert choose(candidates, frequency, rarity=1.0) == 0
    assert choose(candidates, frequency, rarity=1.0, voters=voters) == 2 == means.reshape(3, 3).mean(0).argmax()


def test_agreement_is_cider_d_where_rarity_is_1() -> None:
    """The chosen draft has the best mean CIDEr-D against all draws, worked out by the metric itself."""
    frequency = frequency_of(TRAIN)
    pool = [
        "the heart is normal .",
        "the heart is large .",
        "the lungs are clear .",
        "the heart is normal . no effusion .",
    ]
    metric = Cider(frequency)
    means = [float(metric.rows([draft] * 4, [[other] for other in pool])[:, 0].mean()) for draft in pool]
    assert choose(pool, frequency, rarity=1.0) == means.index(max(means))


def test_frequencies_survive_the_disk_and_damage_is_named(tmp_path: Path) -> None:
    frequency = frequency_of(TRAIN)
    save_frequency(frequency, tmp_path)
    loaded = load_frequency(tmp_path)
    assert loaded == frequency
    assert loaded is not None
    whole = DocumentFrequency.of([text] for text in TRAIN)
    for ngram in whole.counts:
        assert loaded.weight(ngram) == whole.weight(ngram)
    (tmp_path / FILE_NAME).write_text('{"num_reports": "many"}')
    with pytest.raises(CheckpointError, match=FILE_NAME):
        load_frequency(tmp_path)
    assert load_frequency(tmp_path / "nowhere") is None


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    decoding = DecodingConfig(strategy=Consensus(num_samples=8, temperature=1.0), max_tokens=6)
    config = CheckpointConfig(method="vlci", model=MODEL, image=ImageConfig(size_px=32), decoding=decoding)
    path = tmp_path_factory.mktemp("consensus") / "best"
    save_checkpoint(path, config, build_model("vlci", MODEL, WORDS, config.image), WORDS, {}, frequency_of(TRAIN))
    return path


def test_a_consensus_is_one_of_the_samples_and_the_same_in_any_batch(saved: Path) -> None:
    studies = [study(f"s{number}", number) for number in range(4)]
    predictor = Predictor.load(saved)
    together = [report for report in predictor.draft(studies) if isinstance(report, Report)]
    alone = [report for one in studies for report in predictor.draft([one]) if isinstance(report, Report)]
    assert [report.text for report in together] == [report.text for report in alone]
    sampled = DecodingConfig(strategy=Sampling(num_samples=8, temperature=1.0), max_tokens=6)
    best = Predictor(predictor.checkpoint, decoding=sampled)
    likeliest = [report for report in best.draft(studies) if isinstance(report, Report)]
    # The same draws, another choice among them: never likelier than the likeliest, and somewhere another one.
    assert all(a.score <= b.score + 1e-9 for a, b in zip(together, likeliest, strict=True))
    assert any(a.text != b.text for a, b in zip(together, likeliest, strict=True))
    streamed = list(predictor.stream(studies[0]))
    assert [event.text for event in streamed if isinstance(event, Report)] == [together[0].text]


def test_candidates_of_their_own_are_drawn_sharper_and_only_they_are_chosen(saved: Path) -> None:
    """Against the choice made by hand from two samplings: votes at temperature 1, candidates at .2."""
    checkpoint = load_checkpoint(saved)
    assert checkpoint.frequency is not None

    def draft(strategy: Consensus, number: int) -> Report:
        found = [*Predictor(checkpoint, decoding=DecodingConfig(strategy=strategy, max_tokens=6)).draft(one(number))]
        assert isinstance(found[0], Report)
        return found[0]

    def one(number: int) -> list[Study]:
        return [study(f"s{number}", number)]

    def pool(strategy: Sampling, number: int) -> list[str]:
        batch = make_batch(one(number), checkpoint.config.image)
        config = DecodingConfig(strategy=strategy, max_tokens=6)
        [best] = generate(checkpoint.model, batch, config, **special_ids(checkpoint.tokenizer))
        return [checkpoint.tokenizer.decode(drawn.token_ids) for drawn in (best, *best.alternatives)]

    mixed = Consensus(num_samples=6, temperature=1.0, num_candidates=3, candidate_temperature=0.2, seed=4)
    for number in range(4):
        votes = pool(Sampling(num_samples=6, temperature=1.0, seed=4), number)
        sharp = pool(Sampling(num_samples=3, temperature=0.2, seed=5), number)
        cleaned = ([clean_report(text) for text in texts] for texts in (sharp, votes))
        place = choose(next(cleaned), checkpoint.frequency, rarity=mixed.rarity, voters=next(cleaned))
        assert draft(mixed, number).text == sharp[place]


def test_without_frequencies_a_consensus_says_what_to_do(saved: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(saved)
    save_checkpoint(tmp_path / "bare", loaded.config, loaded.model, loaded.tokenizer, {})
    bare = load_checkpoint(tmp_path / "bare")
    with pytest.raises(ConfigError, match=r"strategy\.rarity=0"):
        list(Predictor(bare).draft([study("s", 0)]))
    alike = DecodingConfig(strategy=Consensus(num_samples=4, rarity=0.0), max_tokens=6)
    [report] = Predictor(bare, decoding=alike).draft([study("s", 0)])
    assert isinstance(report, Report)
