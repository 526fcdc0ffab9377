"""Stage 2 of TRRG: any number of clues in any order, equal alone and together, step by step and at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from radwright.decoding.config import DecodingConfig
from radwright.decoding.generate import generate
from radwright.errors import CheckpointError, ConfigError, StudyError
from radwright.methods.trrg.clue_bank import ClueBank, Disease, default_bank
from radwright.methods.trrg.model import Trrg, TrrgConfig
from radwright.methods.trrg.perception import (
    AllDiseases,
    Clues,
    Given,
    NoClues,
    RandomClues,
    Threshold,
    TopK,
    make_policy,
    noisy,
    shuffled,
)
from radwright.methods.trrg.tuning import CluedReport, CluedReportConfig
from radwright.training.optim import freeze, train_mode
from radwright.types import Batch, TrainReport
from trrg_toy import SIDE, Letters, tiny_trrg, toy_batch

pytest.importorskip("transformers")

BIG_BANK = ClueBank(
    diseases=tuple(
        Disease(name=f"disease {n:02}", present=(f"thing {n}.",), absent=(f"no thing {n}.",), clue=f"thing {n}")
        for n in range(40)
    )
)


def with_reports(batch: Batch, texts: list[str], tokenizer: Any = None) -> Batch:
    tokenizer = tokenizer or Letters()
    rows = [[tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id] for text in texts]
    ids = torch.full((len(rows), max(map(len, rows))), tokenizer.pad_id)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
    return replace(batch, token_ids_BT=ids, lengths_B=torch.tensor([len(tokens) for tokens in rows]))


def full_batch() -> Batch:
    """Four studies with one and two views, an indication or none, and reports of different lengths."""
    batch = toy_batch([0, 1, 2, 3], num_views=2, indications=("", "pain and fever", "", "cough"))
    return with_reports(batch, ["heart big.", "ok.", "no effusion seen.", "a"])


def told(number: int, bank: ClueBank = BIG_BANK) -> dict[str, float]:
    return {name: 0.3 + 0.01 * place for place, name in enumerate(bank.names[:number])}


def clued_model() -> Trrg:
    """Forty diseases; the studies are told none, one, thirteen and forty of them."""
    model = tiny_trrg(bank=BIG_BANK.plain())
    model.choose = Given({"s0": {}, "s1": told(1), "s2": told(13), "s3": told(40)})
    return model


def test_no_one_thirteen_and_forty_clues_in_a_batch_equal_each_alone() -> None:
    model, batch = clued_model(), full_batch()
    together = model.logits(batch)
    for row in range(4):
        one = batch.rows(torch.tensor([row]))
        length = int(batch.lengths_B[row])  # type: ignore[index]
        alone = model.logits(one)
        torch.testing.assert_close(together[row, : length - 1], alone[0, : length - 1], rtol=0, atol=1e-10)
        # Without the padding that the longest report and the most views of the batch bring.
        assert one.token_ids_BT is not None
        bare = replace(one, token_ids_BT=one.token_ids_BT[:, :length])
        torch.testing.assert_close(alone[0, : length - 1], model.logits(bare)[0], rtol=0, atol=1e-10)


def test_every_clue_counts_and_gradients_are_finite() -> None:
    model, batch = clued_model().train(), full_batch()
    objective = CluedReport(model, CluedReportConfig()).double()
    sums = objective(batch)
    assert all(torch.isfinite(value) for value in sums.values())
    sum(sums.values()).backward()  # type: ignore[union-attr]
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    for part in ("injection.null_clue", "injection.up.weight", "injection.confidence.weight", "clue_project.weight"):
        assert gradients[part].abs().sum() > 0, part
    model.eval()
    full = model.logits(batch)
    model.choose = Given({"s0": {}, "s1": {}, "s2": told(12), "s3": told(40)})
    fewer = model.logits(batch)
    changed = (full - fewer).abs().amax((1, 2))
    assert (changed[[1, 2]] > 1e-6).all()
    assert (changed[[0, 3]] < 1e-10).all()


def test_the_order_of_the_bank_changes_no_logit() -> None:
    model, batch = clued_model(), full_batch()
    before = model.logits(batch)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0)).tolist()
    model.bank = ClueBank(diseases=tuple(BIG_BANK.diseases[place] for place in order))
    torch.testing.assert_close(model.logits(batch), before, rtol=0, atol=1e-10)


def test_diseases_that_are_not_told_change_no_logit() -> None:
    model, batch = clued_model(), full_batch()
    model.choose = Given({f"s{n}": told(n) for n in range(4)})
    before = model.logits(batch)
    model.bank = ClueBank(diseases=BIG_BANK.diseases[:5])
    torch.testing.assert_close(model.logits(batch), before, rtol=0, atol=1e-10)


@pytest.mark.parametrize("policy", ["threshold", "topk", "all", "random", "none"])
def test_policies_look_at_one_study_and_not_at_the_order_of_the_bank(policy: Any) -> None:
    model, batch = tiny_trrg(policy=policy, max_clues=4), full_batch()
    before = model.logits(batch)
    for row in (1, 3):
        alone = model.logits(batch.rows(torch.tensor([row])))
        length = int(batch.lengths_B[row])  # type: ignore[index]
        torch.testing.assert_close(alone[0, : length - 1], before[row, : length - 1], rtol=0, atol=1e-10)
    model.bank = ClueBank(diseases=tuple(reversed(model.bank.diseases)))
    torch.testing.assert_close(model.logits(batch), before, rtol=0, atol=1e-10)


def test_step_by_step_equals_all_at_once() -> None:
    model, batch = clued_model(), full_batch()
    assert batch.token_ids_BT is not None
    logits = model.logits(batch).log_softmax(-1)
    with torch.no_grad():
        state = model.start(batch)
        for place in range(batch.token_ids_BT.shape[1] - 1):
            log_probs, state = model.step(state, batch.token_ids_BT[:, place : place + 1])
            for row in range(4):
                if place < int(batch.lengths_B[row]) - 1:  # type: ignore[index]
                    torch.testing.assert_close(log_probs[row, 0], logits[row, place], rtol=0, atol=1e-9)


def test_guidance_goes_further_in_the_direction_of_the_clues() -> None:
    batch = full_batch()
    assert batch.token_ids_BT is not None
    model = clued_model()
    told = model.logits(batch).log_softmax(-1)
    policy = model.choose
    model.choose = NoClues()
    untold = model.logits(batch).log_softmax(-1)
    model.choose = policy
    model.config = model.config.model_copy(update={"guidance": 1.5})
    wanted = (2.5 * told - 1.5 * untold).log_softmax(-1)
    order = torch.tensor([3, 1])
    with torch.no_grad():
        state = model.start(batch)
        for place in range(4):
            log_probs, state = model.step(state, batch.token_ids_BT[:, place : place + 1])
            torch.testing.assert_close(log_probs[2, 0], wanted[2, place], rtol=0, atol=1e-9)
        picked = model.reorder(state, order, torch.zeros(2, 1, dtype=torch.int64))
        log_probs, _ = model.step(picked, batch.token_ids_BT[order, 4:5])
        whole, _ = model.step(state, batch.token_ids_BT[:, 4:5])
        torch.testing.assert_close(log_probs, whole[order], rtol=0, atol=1e-9)


@pytest.mark.parametrize("guidance", [0.0, 2.0])
def test_drafts_do_not_depend_on_the_batch(guidance: float) -> None:
    model, batch = clued_model(), full_batch()
    model.config = model.config.model_copy(update={"guidance": guidance})
    config = DecodingConfig.parse({"strategy": {"kind": "beam", "num_beams": 3}, "max_tokens": 8}, where="test")
    ids: dict[str, Any] = {"bos_id": 1, "eos_id": 2, "suppressed_ids": (0, 1)}
    together = generate(model, batch, config, **ids)
    for row, draft in enumerate(together):
        [alone] = generate(model, batch.rows(torch.tensor([row])), config, **ids)
        assert alone.token_ids == draft.token_ids
        assert alone.score == pytest.approx(draft.score)


def test_later_words_and_the_reference_change_no_earlier_logit() -> None:
    model, batch = clued_model(), full_batch()
    assert batch.token_ids_BT is not None
    before = model.logits(batch)
    changed = batch.token_ids_BT.clone()
    changed[:, 4:] = 77
    after = model.logits(replace(batch, token_ids_BT=changed, reports=("Pneumothorax.",) * 4))
    torch.testing.assert_close(after[:, :4], before[:, :4], rtol=0, atol=1e-12)
    assert (after[2, 4:] - before[2, 4:]).abs().max() > 1e-6


def test_the_indication_is_read_and_only_where_it_is_given() -> None:
    model, batch = clued_model(), full_batch()
    before = model.logits(batch)
    other = model.logits(replace(batch, indications=("", "pain and  fever", "", "fall {clues} {image}")))
    moved = (other - before).abs().amax((1, 2))
    assert (moved[:3] < 1e-10).all()
    assert moved[3] > 1e-6


class Bare(Letters):
    """As GPT-2's tokenizer: no BOS, and PAD is EOS."""

    pad_id = bos_id = eos_id = 2
    begins_with_bos = False


@pytest.mark.parametrize("tokenizer", [Letters(), Bare()])
def test_the_loss_counts_every_word_and_eos_once(tokenizer: Any) -> None:
    model = tiny_trrg(tokenizer)
    batch = with_reports(toy_batch([0, 1]), ["heart big.", "ok."], tokenizer)
    objective = CluedReport(model, CluedReportConfig(consistency="none")).double()
    assert objective.counts(batch) == {"report": 11.0 + 4.0}
    expected = torch.zeros((), dtype=torch.float64)
    for row, text in enumerate(["heart big.", "ok."]):
        log_probs = model.logits(batch.rows(torch.tensor([row]))).log_softmax(-1)
        for place, token in enumerate([*tokenizer.encode(text), tokenizer.eos_id]):
            expected -= log_probs[0, place, token]
    torch.testing.assert_close(objective(batch)["report"], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("tokenizer", "number"), [(Letters(), 1), (Bare(), 0)])
def test_a_prompt_begins_with_bos_once_where_there_is_one(tokenizer: Any, number: int) -> None:
    model = tiny_trrg(tokenizer)
    read: list[torch.Tensor] = []
    embed = model.language.embed
    model.language.embed = lambda ids: (read.append(ids), embed(ids))[1]  # type: ignore[method-assign,func-returns-value]
    prompted = model.prompt(toy_batch([0]))
    assert bool(prompted.keep_BL.all())
    assert int((read[0] == tokenizer.bos_id).sum()) == number


def test_without_interaction_clues_are_told_but_patches_do_not_hear_them() -> None:
    model, batch = tiny_trrg(num_interaction_layers=0, bank=BIG_BANK.plain()), full_batch()
    model.choose = Given({f"s{n}": told(2) for n in range(4)})
    pooled = model.prompt(batch).pooled_BD
    model.choose = NoClues()
    torch.testing.assert_close(model.prompt(batch).pooled_BD, pooled, rtol=0, atol=0)
    heard = clued_model()
    first = heard.prompt(batch).pooled_BD
    heard.choose = NoClues()
    assert (heard.prompt(batch).pooled_BD - first)[3].abs().max() > 1e-6


def test_pooled_patches_shorten_the_prompt() -> None:
    whole, fewer = tiny_trrg(), tiny_trrg(patches_per_side=2)
    batch = toy_batch([0])
    views, side = 2, whole.patches_per_side
    shorter = whole.prompt(batch).prefix_BLE.shape[1] - fewer.prompt(batch).prefix_BLE.shape[1]
    assert shorter == views * (side**2 - 4)


# --- policies -------------------------------------------------------------------------------------------------------


def bank_of(**thresholds: float) -> ClueBank:
    return ClueBank(
        diseases=tuple(
            Disease(name=name, present=("a",), absent=("b",), clue=name, threshold=threshold)
            for name, threshold in thresholds.items()
        )
    )


def chosen(clues: Clues, bank: ClueBank) -> list[set[str]]:
    return [{name for name, keep in zip(bank.names, row, strict=True) if keep} for row in clues.keep_BM.tolist()]


def test_each_policy_chooses_what_it_says() -> None:
    bank = bank_of(a=0.5, b=0.2, c=0.9, d=0.5)
    p = torch.tensor([[0.6, 0.4, 0.95, 0.5], [0.1, 0.1, 0.1, 0.1]])
    ids = ("s", "t")
    assert chosen(Threshold(9)(ids, p, bank), bank) == [{"a", "b", "c"}, set()]
    assert chosen(Threshold(1)(ids, p, bank), bank) == [{"b"}, set()]
    assert chosen(TopK(2)(ids, p, bank), bank) == [{"a", "b"}, {"b", "a"}]
    assert chosen(AllDiseases()(ids, p, bank), bank) == [set("abcd")] * 2
    assert chosen(NoClues()(ids, p, bank), bank) == [set(), set()]
    given = Given({"s": {"d": 0.7, "unknown": 0.1}, "t": {}})(ids, p, bank)
    assert chosen(given, bank) == [{"d"}, set()]
    assert float(given.probability_BM[0, 3]) == pytest.approx(0.7)
    with pytest.raises(StudyError, match="s: no clues"):
        Given({})(ids, p, bank)
    assert isinstance(make_policy("topk", max_clues=3), TopK)


def test_random_clues_are_as_many_and_as_sure_as_the_predicted_ones() -> None:
    bank = default_bank()
    p = torch.rand(50, 13, generator=torch.Generator().manual_seed(1))
    ids = [f"s{n}" for n in range(50)]
    predicted, drawn = Threshold(13)(ids, p, bank), RandomClues(13)(ids, p, bank)
    assert predicted.keep_BM.sum(1).tolist() == drawn.keep_BM.sum(1).tolist()
    for row in range(50):
        sure = sorted(predicted.probability_BM[row][predicted.keep_BM[row]].tolist())
        assert sorted(drawn.probability_BM[row][drawn.keep_BM[row]].tolist()) == sure
    assert (predicted.keep_BM != drawn.keep_BM).any(1).float().mean() > 0.9
    again = RandomClues(13)(ids[7:9], p[7:9], bank)
    assert torch.equal(again.keep_BM, drawn.keep_BM[7:9])


def test_shuffled_clues_are_those_of_another_study() -> None:
    clues = {f"s{n}": {"a": n / 100} for n in range(30)}
    mixed = shuffled(clues).clues
    assert mixed.keys() == clues.keys()
    assert all(mixed[study_id] != clues[study_id] for study_id in clues)
    assert sorted(row["a"] for row in mixed.values()) == sorted(row["a"] for row in clues.values())
    with pytest.raises(StudyError, match="other"):
        shuffled({"s": {}})


def test_noise_depends_on_the_study_alone_and_has_the_rates_asked_for() -> None:
    keep = torch.zeros(4000, 10, dtype=torch.bool)
    keep[:, :4] = True
    clues = Clues(keep, torch.full((4000, 10), 0.7))
    made = noisy(clues, range(4000), dropout=0.1, false_clue=0.05).keep_BM
    rest = noisy(Clues(keep[9:], clues.probability_BM[9:]), range(9, 4000), dropout=0.1, false_clue=0.05)
    assert torch.equal(rest.keep_BM, made[9:])
    assert float((~made[:, :4]).float().mean()) == pytest.approx(0.1, abs=0.01)
    assert float(made[:, 4:].any(1).float().mean()) == pytest.approx(0.05, abs=0.01)
    assert int(made[:, 4:].sum(1).max()) == 1


# --- training -------------------------------------------------------------------------------------------------------


def test_labels_teach_the_image_side_and_the_reference_only_the_text_side() -> None:
    model, batch = tiny_trrg(), full_batch()
    objective = CluedReport(model, CluedReportConfig()).double()
    sums = objective(batch)
    assert sums.keys() == objective.weights.keys() == {"report", "image_labels", "text_labels", "agreement"}
    counts = objective.counts(batch)
    assert counts["image_labels"] == counts["agreement"] == 4 + 3 + 2 + 2
    other = objective(with_reports(batch, ["q", "w", "e", "r"]))
    torch.testing.assert_close(other["image_labels"], sums["image_labels"], rtol=0, atol=1e-12)
    assert abs(float((other["text_labels"] - sums["text_labels"]).detach())) > 1e-9


def test_rare_findings_weigh_more_but_not_without_limit() -> None:
    objective = CluedReport(tiny_trrg(), CluedReportConfig()).double()
    reports = ["The heart is enlarged. No effusion."] + ["Heart size is normal. No effusion."] * 30
    objective.read_reports(TrainReport(text, []) for text in reports)
    weights = dict(zip(objective.findings, objective.get_buffer("positive_weight_M").tolist(), strict=True))
    assert weights["Cardiomegaly"] == 10
    assert weights["Fracture"] == 1


def test_agreement_vanishes_where_both_sides_say_the_same() -> None:
    from radwright.methods.trrg.tuning import bernoulli_kl

    a, b = torch.tensor([0.0, 2.0, -3.0]), torch.tensor([0.0, -1.0, -3.0])
    kl = bernoulli_kl(a, b)
    p, q = a.sigmoid(), b.sigmoid()
    torch.testing.assert_close(kl, p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log(), rtol=1e-5, atol=1e-6)
    assert kl[0] == 0


@pytest.mark.parametrize("kind", ["labels", "embedding", "none"])
def test_every_kind_of_consistency_lowers_its_loss(kind: Any) -> None:
    model, batch = tiny_trrg(), full_batch()
    objective = CluedReport(model, CluedReportConfig(consistency=kind)).double()
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        sums, counts = objective(batch), objective.counts(batch)
        loss = sum(weight * sums[name] / counts[name] for name, weight in objective.weights.items())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        losses.append({name: float(value.detach()) for name, value in (sums | {"loss": loss}).items()})
    assert losses[-1]["loss"] < losses[0]["loss"]
    assert losses[-1].get("image_labels", 0) <= losses[0].get("image_labels", 0)


def test_frozen_encoders_stay_in_evaluation_mode() -> None:
    objective = CluedReport(tiny_trrg(), CluedReportConfig()).double()
    freeze(objective, ["model.backbone", "model.text_encoder"])
    train_mode(objective)
    model = objective.model
    assert not any(module.training for module in [*model.backbone.modules(), *model.text_encoder.modules()])
    assert model.language.training
    assert model.interaction.training
    before = {name: buffer.clone() for name, buffer in model.backbone.named_buffers()}
    objective(full_batch())
    assert all(torch.equal(before[name], buffer) for name, buffer in model.backbone.named_buffers())


def test_stage_two_wants_a_stage_one_that_perceives() -> None:
    model = tiny_trrg()
    values = {"bank": default_bank().with_thresholds({"Edema": 0.31}).plain()}
    with pytest.raises(CheckpointError, match=r"0\.512.*min_auc"):
        model.take_over(values, {"auc_macro": 0.512})
    with pytest.raises(CheckpointError, match="nan"):
        model.take_over(values, {"auc_macro": float("nan")})
    model.take_over(values, {"auc_macro": 0.7})
    assert dict(zip(model.bank.names, model.bank.thresholds, strict=True))["Edema"] == 0.31
    with pytest.raises(ConfigError, match="min_auc"):
        model.load_pretrained()
    assert tiny_trrg(min_auc=None).load_pretrained() is None


def test_the_deployed_config_builds_the_same_network() -> None:
    model = tiny_trrg()
    model.calibrate({"Edema": 0.31})
    config = TrrgConfig.parse(model.deployed_config(), where="test")
    twin = Trrg(config, Letters(), SIDE).double().eval()
    twin.load_state_dict(model.state_dict())
    torch.testing.assert_close(twin.logits(full_batch()), model.logits(full_batch()), rtol=0, atol=0)
    assert twin.bank.thresholds == model.bank.thresholds
