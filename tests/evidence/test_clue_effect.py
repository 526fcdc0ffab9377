"""Forcing clues: on and off are what the network says when it is told so, and its own policy comes back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from radwright.decoding.config import DecodingConfig, Greedy, Sampling
from radwright.decoding.generate import generate
from radwright.evidence.clue_effect import SURE, clue_effects
from radwright.evidence.sentences import sentence_log_probs, token_log_probs, with_drafts
from radwright.inference.predictor import special_ids
from radwright.methods.trrg.perception import Given
from radwright.text.sentences import cut_tokens
from radwright.types import Batch
from trrg_toy import Letters, tiny_trrg, toy_batch

GREEDY = DecodingConfig(strategy=Greedy(), max_tokens=60)
TEXT = "There is cardiomegaly. No pleural effusion. It is cold."


@pytest.fixture
def network() -> Any:
    pytest.importorskip("transformers")
    model = tiny_trrg()
    model.choose = Given({"s0": {"Cardiomegaly": 0.7, "Edema": 0.8}})
    return model


def effects(model: Any, batch: Batch, *, batch_size: int = 32, decoding: DecodingConfig = GREEDY) -> Any:
    ids = Letters().encode(TEXT)
    sentences = cut_tokens(ids, Letters())
    return ids, sentences, clue_effects(model, Letters(), batch, ids, sentences, decoding, batch_size=batch_size)


def test_told_clues_and_those_that_a_sentence_speaks_of(network: Any) -> None:
    policy, batch = network.choose, toy_batch([0])
    _, sentences, found = effects(network, batch)
    assert [sentence.text for sentence in sentences] == [
        "There is cardiomegaly.",
        "No pleural effusion.",
        "It is cold.",
    ]
    by_name = [{effect.disease: effect for effect in one} for one in found]
    assert [set(one) for one in by_name] == [
        {"Cardiomegaly", "Edema"},
        {"Cardiomegaly", "Edema", "Pleural Effusion"},
        {"Cardiomegaly", "Edema"},
    ]
    assert by_name[0]["Cardiomegaly"].told
    assert by_name[0]["Cardiomegaly"].spoken_of
    assert by_name[0]["Cardiomegaly"].probability == pytest.approx(0.7)
    effusion = by_name[1]["Pleural Effusion"]
    assert not effusion.told
    assert effusion.spoken_of
    with torch.no_grad():
        perceived = network.perceive(batch)[0][network.diseases.index("Pleural Effusion")]
    assert effusion.probability == pytest.approx(float(perceived))
    for one in found:
        assert all((effect.redone_on is not None) == effect.spoken_of for effect in one)
        assert all((effect.redone_off is not None) == effect.spoken_of for effect in one)
        assert [abs(effect.effect) for effect in one] == sorted((abs(effect.effect) for effect in one), reverse=True)
    assert network.choose is policy


def test_on_and_off_are_what_the_network_says_when_told_so(network: Any) -> None:
    batch = toy_batch([0])
    ids, sentences, found = effects(network, batch)

    def told(clues: dict[str, float]) -> list[float]:
        network.choose = Given({"s0": clues})
        return sentence_log_probs(token_log_probs(network, with_drafts(batch, [ids], Letters()))[0], sentences)

    as_drafted = told({"Cardiomegaly": 0.7, "Edema": 0.8})
    without = told({"Edema": 0.8})
    with_effusion = told({"Cardiomegaly": 0.7, "Edema": 0.8, "Pleural Effusion": SURE})
    for place, one in enumerate(found):
        cardiomegaly = next(effect for effect in one if effect.disease == "Cardiomegaly")
        assert cardiomegaly.log_prob_on == pytest.approx(as_drafted[place], abs=1e-9)
        assert cardiomegaly.log_prob_off == pytest.approx(without[place], abs=1e-9)
    effusion = next(effect for effect in found[1] if effect.disease == "Pleural Effusion")
    assert effusion.log_prob_on == pytest.approx(with_effusion[1], abs=1e-9)
    assert effusion.log_prob_off == pytest.approx(as_drafted[1], abs=1e-9)
    assert abs(effusion.effect) > 1e-6


def test_a_redone_sentence_is_what_decoding_goes_on_with(network: Any) -> None:
    batch = toy_batch([0])
    ids, sentences, found = effects(network, batch)
    network.choose = Given({"s0": {"Edema": 0.8}})
    beginning = ids[: sentences[0].start]
    [report] = generate(network, batch, GREEDY, **special_ids(Letters()), beginnings=[beginning])
    again = next((one.text for one in cut_tokens(report.token_ids, Letters()) if one.stop > len(beginning)), "")
    cardiomegaly = next(effect for effect in found[0] if effect.disease == "Cardiomegaly")
    assert cardiomegaly.redone_off == again


def test_batches_padding_views_and_drawing_change_nothing(network: Any) -> None:
    _, _, wanted = effects(network, toy_batch([0]))
    for batch, size, decoding in (
        (toy_batch([0]), 1, GREEDY),
        (toy_batch([0], num_views=3), 3, GREEDY),
        (toy_batch([0]), 32, GREEDY.model_copy(update={"strategy": Sampling(temperature=5.0)})),
    ):
        _, _, found = effects(network, batch, batch_size=size, decoding=decoding)
        for one, other in zip(wanted, found, strict=True):
            for effect, same in zip(one, other, strict=True):
                assert same.log_prob_on == pytest.approx(effect.log_prob_on, abs=1e-9)
                assert replace(same, log_prob_on=0, log_prob_off=0, probability=0) == replace(
                    effect, log_prob_on=0, log_prob_off=0, probability=0
                )


def test_the_policy_comes_back_after_an_error(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = network.choose

    def broken(batch: Batch) -> torch.Tensor:
        raise RuntimeError("broken")

    monkeypatch.setattr(network, "logits", broken)
    with pytest.raises(RuntimeError, match="broken"):
        effects(network, toy_batch([0]))
    assert network.choose is policy
