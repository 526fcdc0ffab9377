"""VLCI and its baseline: no leak, cached = uncached, batched = single, padded = alone, parity with the release."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from radwright.decoding.config import Beam, DecodingConfig, Greedy
from radwright.decoding.generate import generate
from radwright.errors import ConfigError
from radwright.methods.cmcrl.front_door import FrontDoor
from radwright.methods.cmcrl.released import ReleasedFacts, infer_network, load_released
from radwright.methods.cmcrl.vlci import EncodedStudies, Vlci, VlciConfig
from radwright.methods.objectives import TeacherForcing, TeacherForcingConfig
from radwright.types import Batch
from tiny import Ids

SMALL: dict[str, Any] = {
    "backbone": {"name": "resnet", "depth": 18, "width": 8},
    "dim": 32,
    "num_heads": 4,
    "hidden_dim": 48,
    "linguistic_hidden_dim": 40,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "num_local_per_head": 2,
}
SYSTEMS: dict[str, dict[str, Any]] = {
    "baseline": {"visual": False, "linguistic": False},
    "visual": {"linguistic": False},
    "linguistic": {"visual": False},
    "vlci": {},
    "projected": {"projected": True},
}


def build(**changes: Any) -> Vlci:
    torch.manual_seed(7)
    model = Vlci(VlciConfig.parse(SMALL | changes, where="test"), Ids(), size_px=64).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gate"):
                parameter.fill_(0.7)
    return model


def random_batch(num_studies: int = 3, num_views: int = 2, num_tokens: int = 9) -> Batch:
    generator = torch.Generator().manual_seed(3)
    mask = torch.ones(num_studies, num_views, dtype=torch.bool)
    mask[1, 1:] = False
    images = torch.rand(num_studies, num_views, 1, 64, 64, generator=generator, dtype=torch.float64)
    ids = torch.randint(3, 23, (num_studies, num_tokens), generator=generator)
    ids[:, 0] = 1
    lengths = torch.tensor([num_tokens, num_tokens - 3, num_tokens - 1])[:num_studies]
    for row, length in enumerate(lengths):
        ids[row, length - 1] = 2
        ids[row, length:] = 0
    positions = torch.tensor([[1, 2, 0][:num_views]] * num_studies)
    return Batch(tuple("abc"[:num_studies]), images * mask[:, :, None, None, None], mask, positions, ids, lengths)


def rows(batch: Batch, index: list[int], num_views: int | None = None) -> Batch:
    assert batch.token_ids_BT is not None
    assert batch.lengths_B is not None
    views = slice(0, num_views)
    return Batch(
        tuple(batch.study_ids[i] for i in index),
        batch.images_BV1SS[index, views],
        batch.view_mask_BV[index, views],
        batch.positions_BV[index, views],
        batch.token_ids_BT[index],
        batch.lengths_B[index],
    )


def step_logits(model: Vlci, batch: Batch, ids_BT: Tensor) -> Tensor:
    """Log-probabilities (B, T, U) by feeding one token after the other through the cache."""
    state, out = model.start(batch), []
    for t in range(ids_BT.shape[1]):
        log_probs, state = model.step(state, ids_BT[:, t : t + 1])
        out.append(log_probs[:, 0])
    return torch.stack(out, dim=1)


@pytest.mark.parametrize("system", SYSTEMS)
def test_later_words_never_change_earlier_logits(system: str) -> None:
    model, batch = build(**SYSTEMS[system]), random_batch()
    assert batch.token_ids_BT is not None
    before = model.logits(batch)
    for t in range(1, 8):
        changed = batch.token_ids_BT.clone()
        changed[:, t + 1 :] = (changed[:, t + 1 :] + 5) % 23
        after = model.logits(replace(batch, token_ids_BT=changed))
        assert torch.equal(before[:, : t + 1], after[:, : t + 1])
        assert t == 7 or not torch.equal(before[:, t + 1 :], after[:, t + 1 :])


@pytest.mark.parametrize("form", [{"causal_linguistic": False}, {"preset": "released"}], ids=str)
def test_released_linguistic_form_leaks_the_future(form: dict[str, Any]) -> None:
    """The defect that the causal form corrects is really there, so the test above can fail."""
    model, batch = build(**form), random_batch()
    assert batch.token_ids_BT is not None
    changed = batch.token_ids_BT.clone()
    changed[:, 5:] = 7
    before, after = model.logits(batch), model.logits(replace(batch, token_ids_BT=changed))
    assert (before[:, :4] - after[:, :4]).abs().max() > 1e-6


@pytest.mark.parametrize("system", SYSTEMS)
def test_cached_equals_uncached(system: str) -> None:
    model, batch = build(**SYSTEMS[system]), random_batch()
    assert batch.token_ids_BT is not None
    with torch.no_grad():
        whole = model.logits(batch).log_softmax(-1)
        steps = step_logits(model, batch, batch.token_ids_BT[:, :-1])
    assert (whole - steps).abs().max() < 1e-9


@pytest.mark.parametrize("system", SYSTEMS)
def test_reordered_beams_equal_recomputation(system: str) -> None:
    model, batch = build(**SYSTEMS[system]), random_batch()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        encoded = model.encode(batch)
        state = model.start_from(encoded)
        _, state = model.step(state, torch.ones(3, 1, dtype=torch.long))
        history = torch.ones(3, 1, 1, dtype=torch.long)
        studies = torch.arange(3)
        for t in range(6):
            parents = torch.randint(0, history.shape[1], (len(studies), 3), generator=generator)
            kept = torch.arange(len(studies)) if t != 3 else torch.tensor([2, 0])
            parents = parents[: len(kept)]
            state = model.reorder(state, kept, parents)
            history, studies = history[kept[:, None], parents], studies[kept]
            words = torch.randint(3, 23, (len(studies), 3), generator=generator)
            history = torch.cat([history, words.unsqueeze(-1)], dim=-1)
            log_probs, state = model.step(state, words)
            for row, study in enumerate(studies.tolist()):
                alone = model.start_from(model.encode(rows(batch, [study])))
                for beam in range(3):
                    fresh = alone
                    for word in history[row, beam].tolist():
                        expected, fresh = model.step(fresh, torch.tensor([[word]]))
                    assert (expected[0, 0] - log_probs[row, beam]).abs().max() < 1e-9


@pytest.mark.parametrize("system", ["baseline", "vlci"])
def test_beam_one_is_greedy_and_batched_drafts_equal_single_ones(system: str) -> None:
    model, batch = build(**SYSTEMS[system]), random_batch()
    ids = {"bos_id": 1, "eos_id": 2, "suppressed_ids": (0, 1)}
    greedy = generate(model, batch, DecodingConfig(strategy=Greedy(), max_tokens=15), **ids)  # type: ignore[arg-type]
    beam1 = generate(model, batch, DecodingConfig(strategy=Beam(num_beams=1), max_tokens=15), **ids)  # type: ignore[arg-type]
    assert [h.token_ids for h in greedy] == [h.token_ids for h in beam1]
    assert [h.score for h in greedy] == pytest.approx([h.score for h in beam1], abs=1e-9)
    config = DecodingConfig(strategy=Beam(num_beams=3), max_tokens=15)
    together = generate(model, batch, config, **ids)  # type: ignore[arg-type]
    for row, hypothesis in enumerate(together):
        [alone] = generate(model, rows(batch, [row]), config, **ids)  # type: ignore[arg-type]
        assert alone.token_ids == hypothesis.token_ids
        assert alone.score == pytest.approx(hypothesis.score, abs=1e-9)


@pytest.mark.parametrize("system", SYSTEMS)
def test_batched_equals_single_and_padded_equals_alone(system: str) -> None:
    model, batch = build(**SYSTEMS[system]), random_batch()
    with torch.no_grad():
        together = model.logits(batch)
        for row in range(3):
            assert (together[row] - model.logits(rows(batch, [row]))[0]).abs().max() < 1e-9
        alone = model.logits(rows(batch, [1], num_views=1))[0]
    assert (together[1] - alone).abs().max() < 1e-9


def test_number_of_views_is_free() -> None:
    model, batch = build(), random_batch(num_views=2)
    five = replace(
        batch,
        images_BV1SS=torch.rand(3, 5, 1, 64, 64, dtype=torch.float64),
        view_mask_BV=torch.ones(3, 5, dtype=torch.bool),
        positions_BV=torch.tensor([[1, 2, 0, 1, 2]] * 3),
    )
    assert model.logits(five).isfinite().all()


def test_zero_gate_is_the_baseline() -> None:
    vlci, baseline, batch = build(), build(**SYSTEMS["baseline"]), random_batch()
    baseline.load_state_dict(vlci.state_dict(), strict=False)
    with torch.no_grad():
        for name, parameter in vlci.named_parameters():
            if name.endswith("gate"):
                parameter.zero_()
        assert (vlci.logits(batch) - baseline.logits(batch)).abs().max() < 1e-12


@pytest.mark.parametrize("projected", [False, True])
def test_causal_front_door_equals_released_form_on_each_prefix(projected: bool) -> None:
    """Also where the scores would overflow: early words against the mediators, later ones along them."""
    torch.manual_seed(1)
    door = FrontDoor(512, projected=projected, gated=False).double()
    mediators = torch.randn(2, 6, 512, dtype=torch.float64)
    words = torch.randn(2, 10, 512, dtype=torch.float64)
    words[:, :5] -= 3 * mediators.mean(1, keepdim=True)
    words[:, 5:] += 3 * mediators.mean(1, keepdim=True)
    parallel, state = door.causal(words, mediators), door.start(mediators)
    assert parallel.isfinite().all()
    for t in range(10):
        expected = door(words[:, : t + 1], mediators)[:, -1]
        stepped, state = door.step(words[:, t : t + 1], state)
        assert (parallel[:, t] - expected).abs().max() < 1e-9
        assert (stepped[:, 0] - expected).abs().max() < 1e-9
    long = 100 * words
    assert door.causal(long, mediators).isfinite().all()
    assert (door.causal(long, mediators)[:, -1] - door(long, mediators)[:, -1]).abs().max() < 1e-6


def test_gradients_are_finite_and_reach_every_parameter() -> None:
    model, batch = build(), random_batch()
    objective = TeacherForcing(model, TeacherForcingConfig())
    objective(batch)["report"].backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []
    embedding = model.text_embedding.embedding.weight
    assert embedding.grad is not None


def test_word_dropout_hides_words_read_and_keeps_every_target() -> None:
    """Hidden are a share of the words that are read, never BOS nor a target, and nothing outside training."""
    model, batch = build(), random_batch()
    objective = TeacherForcing(model, TeacherForcingConfig(word_dropout=0.5))
    seen: list[Batch] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    plain = TeacherForcing(model, TeacherForcingConfig())(batch)["report"]
    assert torch.equal(objective.eval()(batch)["report"], plain)
    seen.clear()
    torch.manual_seed(0)
    objective.train()(batch)
    ids, read = batch.token_ids_BT, seen[0].token_ids_BT
    assert ids is not None
    assert read is not None
    changed = read != ids
    assert 0.2 < changed.float().mean() < 0.7
    assert (read[changed] == 0).all()
    assert torch.equal(read[:, 0], ids[:, 0])
    assert objective.counts(batch) == {"report": 20.0}
    # Hiding every word's id from the input leaves the targets: the loss still depends on them.
    other = replace(batch, token_ids_BT=ids.clone())
    assert other.token_ids_BT is not None
    other.token_ids_BT[0, 5] = 22 if int(ids[0, 5]) != 22 else 21
    model.eval()
    torch.manual_seed(0)
    first = objective(batch)["report"]
    torch.manual_seed(0)
    assert not torch.equal(first, objective(other)["report"])


def test_end_of_report_is_supervised_and_padding_is_not() -> None:
    model, batch = build(), random_batch()
    objective = TeacherForcing(model, TeacherForcingConfig())
    assert batch.token_ids_BT is not None
    assert batch.lengths_B is not None
    assert objective.counts(batch) == {"report": float(8 + 5 + 7)}
    loss = objective(batch)["report"]
    log_probs = model.logits(batch).log_softmax(-1)
    expected = 0.0
    for row, length in enumerate(batch.lengths_B.tolist()):
        for t in range(length - 1):
            expected -= log_probs[row, t, batch.token_ids_BT[row, t + 1]].item()
    assert loss.item() == pytest.approx(expected, abs=1e-9)
    longer = torch.cat([batch.token_ids_BT, torch.full((3, 4), 9)], dim=1)
    assert objective(replace(batch, token_ids_BT=longer))["report"].item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("fixture", ["vlci_two_view", "vlci_one_view_eos"])
def test_parity_with_the_released_network(shared: Path, fixture: str) -> None:
    with safe_open(shared / "golden" / f"{fixture}.safetensors", framework="pt") as file:
        facts = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    views = int(facts["views"])
    weights = {key.removeprefix("weights."): t for key, t in tensors.items() if key.startswith("weights.")}
    network = infer_network(weights, ReleasedFacts(num_views=views))
    model = Vlci(network.config, Ids(network.vocab_size, 0, 0, 0), network.size_px).eval()
    load_released(model, weights, with_stem=False)
    features = tensors["inputs.features"].float()
    ids = tensors["inputs.report_ids"]
    mask = torch.ones(len(ids), views, dtype=torch.bool)
    with torch.no_grad():
        encoded = model.encode_features(features, mask, torch.zeros(len(ids), views, dtype=torch.long))
        log_probs = model.logits_from(encoded, ids[:, :-1]).log_softmax(-1)
    expected = {name.removeprefix("outputs."): t for name, t in tensors.items() if name.startswith("outputs.")}
    assert encoded.local_BLD is not None
    assert encoded.global_BMD is not None
    for name, ours in {
        "local_tokens": encoded.local_BLD,
        "global_tokens": encoded.global_BMD,
        "memory": encoded.memory_BND,
        "log_probs": log_probs,
    }.items():
        assert (ours - expected[name]).abs().max() < 1e-4, name
    num_steps = int(facts["max_seq_length"])
    for early_stop in (True, False):
        beam = DecodingConfig(strategy=Beam(num_beams=3, early_stop=early_stop), max_tokens=num_steps)
        empty = Batch(tuple(map(str, range(len(ids)))), torch.zeros(len(ids), views, 1, 8, 8), mask, mask.long())
        reports = generate(FromFeatures(model, encoded), empty, beam, bos_id=0, eos_id=0)
        for report, row in zip(reports, expected["beam3_ids"].tolist(), strict=True):
            assert report.token_ids == (row[: row.index(0)] if 0 in row else row)


@dataclass
class FromFeatures:
    """A model whose studies are encoded already: the fixtures leave the stem out."""

    model: Vlci
    encoded: EncodedStudies

    def start(self, batch: Batch) -> Any:
        return self.model.start_from(self.encoded)

    def step(self, state: Any, token_ids_BW: Tensor) -> tuple[Tensor, Any]:
        return self.model.step(state, token_ids_BW)

    def reorder(self, state: Any, studies_C: Tensor | None, parents_CW: Tensor) -> Any:
        return self.model.reorder(state, studies_C, parents_CW)


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match="num_heads 7"):
        build(num_heads=7)
    with pytest.raises(ConfigError, match=r"image\.size_px = 16"):
        Vlci(VlciConfig.parse(SMALL, where="test"), Ids(), size_px=16)
