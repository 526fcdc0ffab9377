"""RadCARE: masks, no leak, each task's sums, incomplete studies, the hand-over to VLCI, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from radwright.errors import ConfigError
from radwright.methods.cmcrl.masking import PatchMask, degrade, draw_from, from_patches, num_visible, to_patches
from radwright.methods.cmcrl.pretraining import RadCareObjective, RadCareObjectiveConfig
from radwright.methods.cmcrl.radcare import RadCare, RadCareConfig
from radwright.methods.cmcrl.vlci import Vlci, VlciConfig
from radwright.types import Batch
from tiny import Ids

TASKS = ("vt2t", "vt2v", "v2v", "t2t")
NETWORK: dict[str, Any] = {
    "backbone": {"name": "resnet", "depth": 18, "width": 4},
    "dim": 32,
    "num_heads": 4,
    "hidden_dim": 48,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
}


def build(changes: dict[str, Any] | None = None, **settings: Any) -> RadCareObjective:
    torch.manual_seed(7)
    model = RadCare(RadCareConfig.parse(NETWORK | (changes or {}), where="test"), Ids(), size_px=64)
    objective = RadCareObjective(
        model, RadCareObjectiveConfig.parse({"mask_ratio": 0.7, "lot": False} | settings, where="test")
    )
    return objective.double().eval()


def studies(num_words: tuple[int, ...] = (9, 4, 6), num_views: int = 2) -> Batch:
    """Complete studies, the second with one view only."""
    generator = torch.Generator().manual_seed(3)
    mask = torch.ones(len(num_words), num_views, dtype=torch.bool)
    mask[1:2, 1:] = False
    images = torch.rand(len(num_words), num_views, 1, 64, 64, generator=generator, dtype=torch.float64)
    ids = torch.zeros(len(num_words), max(num_words) + 2, dtype=torch.int64)
    for row, num in enumerate(num_words):
        words = torch.randint(3, 23, (num,), generator=generator).tolist()
        ids[row, : num + 2] = torch.tensor([1, *words, 2])
    return Batch(
        tuple("abcdefgh"[: len(num_words)]),
        images * mask[:, :, None, None, None],
        mask,
        torch.tensor([[1, 2, 0][:num_views]] * len(num_words)),
        ids,
        torch.tensor(num_words) + 2,
        torch.arange(len(num_words)) * 7919 + 5,
    )


def alone(batch: Batch, row: int) -> Batch:
    """One study without any padding."""
    one = batch.rows(torch.tensor([row]))
    views, length = max(1, int(one.view_mask_BV.sum())), int(one.lengths_B[0]) if one.lengths_B is not None else 0
    ids = None if one.token_ids_BT is None else one.token_ids_BT[:, : max(1, length)]
    return replace(
        one,
        images_BV1SS=one.images_BV1SS[:, :views],
        view_mask_BV=one.view_mask_BV[:, :views],
        positions_BV=one.positions_BV[:, :views],
        token_ids_BT=ids,
    )


def incomplete() -> Batch:
    """Complete; report only; images only; a report of two words."""
    batch = studies((9, 4, 6, 2))
    assert batch.token_ids_BT is not None
    assert batch.lengths_B is not None
    batch.view_mask_BV[1] = False
    batch.images_BV1SS[1] = 0.0
    batch.token_ids_BT[2] = 0
    batch.lengths_B[2] = 0
    return batch


# --- masks and patches ------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(2, 40), st.data())
def test_unshuffle_puts_each_visible_token_at_its_place(num_images: int, num_patches: int, data: st.DataObject) -> None:
    kept = data.draw(st.integers(1, num_patches - 1))
    noise = torch.rand(num_images, num_patches, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    tokens = torch.arange(num_images * num_patches, dtype=torch.float64).reshape(num_images, num_patches, 1)
    mask = PatchMask.from_noise(noise, kept)
    whole = mask.unshuffle(mask.keep(tokens), torch.tensor([-1.0]))
    assert torch.equal(whole, torch.where(mask.masked_IP.unsqueeze(-1), -1.0, tokens))
    assert mask.masked_IP.sum(1).tolist() == [num_patches - kept] * num_images
    assert (
        noise[mask.masked_IP]
        .reshape(num_images, -1)
        .amin(1)
        .ge(noise[~mask.masked_IP].reshape(num_images, -1).amax(1))
        .all()
    )


def test_published_number_of_visible_patches() -> None:
    assert [num_visible(196, 0.85), num_visible(64, 0.85), num_visible(100, 0.9)] == [29, 9, 10]


@pytest.mark.parametrize("side", [8, 9])
def test_degradation_equals_a_slow_reference(side: int) -> None:
    image = torch.randn(2, 1, side, side, dtype=torch.float64)
    expected = torch.empty_like(image)
    for row in range(side):
        for column in range(side):
            top, left = 2 * (row // 2) - 1, 2 * (column // 2) - 1
            window = image[..., max(top, 0) : top + 3, max(left, 0) : left + 3]
            expected[..., row, column] = window.amax((-2, -1))
    assert torch.equal(degrade(image), expected)


def test_patches_are_row_major_and_invertible() -> None:
    images = torch.randn(2, 3, 12, 12)
    patches = to_patches(images, 4)
    assert torch.equal(patches[1, 6].reshape(3, 3, 3), images[1, :, 3:6, 6:9])
    assert torch.equal(from_patches(patches, 12, 3), images)


def test_draws_are_uniform_and_depend_on_the_study_alone() -> None:
    batch = studies()
    assert batch.seeds_B is not None
    views, cuts, masked = [], [], torch.zeros(16)
    objective = build()
    for number in range(400):
        one = replace(alone(batch, 0), seeds_B=torch.tensor([number]))
        draws = draw_from(one, 16, one_view=True)
        views.append(int(draws.used_BV[0, 1]))
        cuts.append(int(objective._cuts(one, draws)))
        masked += PatchMask.from_noise(draws.noise_IP, 4).masked_IP[0]
    assert sorted(set(cuts)) == list(range(2, 9))  # nine words: c from 2 to 8
    assert 0.4 < np.mean(views) < 0.6
    assert min(cuts.count(cut) for cut in range(2, 9)) > 30
    assert (masked / 400 - 0.75).abs().max() < 0.08
    without = replace(batch, seeds_B=None)
    again = draw_from(without, 16, one_view=True), draw_from(without, 16, one_view=True)
    assert torch.equal(again[0].noise_IP, again[1].noise_IP)


def test_only_used_views_change_a_result() -> None:
    objective, batch = build(), studies()
    used = draw_from(batch, 16, one_view=True).used_BV
    assert used.sum(1).tolist() == [1, 1, 1]
    other = replace(batch, images_BV1SS=torch.where(used[:, :, None, None, None], batch.images_BV1SS, 0.3))
    for name, total in objective(batch).items():
        assert torch.equal(total, objective(other)[name])


# --- tasks ------------------------------------------------------------------------------------------------------------


def captured_logits(objective: RadCareObjective, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Logits of the report tasks, in their order, one row per study."""
    found: list[Tensor] = []
    original = RadCare.report_logits

    def spy(model: RadCare, *args: Tensor) -> Tensor:
        found.append(original(model, *args))
        return found[-1]

    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(RadCare, "report_logits", spy)
        objective(batch)
    return found


@pytest.mark.parametrize("task", ["vt2t", "t2t"])
def test_later_words_never_change_earlier_logits_and_the_beginning_does(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = build(tasks=dict.fromkeys(TASKS, 0.0) | {task: 1.0})
    batch = alone(studies((12, 4)), 0)
    assert batch.token_ids_BT is not None
    cut = int(objective._cuts(batch, objective._draw(batch)))
    (before,) = captured_logits(objective, batch, monkeypatch)
    num_rest = 12 + 2 - cut
    assert before.shape[1] == num_rest
    for later in range(1, num_rest - 1):
        ids = batch.token_ids_BT.clone()
        ids[:, cut + later] = 3 + (ids[:, cut + later] - 2) % 20
        (after,) = captured_logits(objective, replace(batch, token_ids_BT=ids), monkeypatch)
        assert torch.equal(before[:, : later + 1], after[:, : later + 1])
        assert not torch.equal(before[:, later + 1 :], after[:, later + 1 :])
    ids = batch.token_ids_BT.clone()
    ids[:, 1] = 3 + (ids[:, 1] - 2) % 20
    (after,) = captured_logits(objective, replace(batch, token_ids_BT=ids), monkeypatch)
    assert not torch.equal(before[:, 0], after[:, 0])


def gradients(objective: RadCareObjective, task: str, batch: Batch) -> dict[str, float]:
    """Largest absolute gradient per parameter; 0 where there is none."""
    objective.zero_grad()
    objective(batch)[task].backward()
    return {
        name: 0.0 if weight.grad is None else float(weight.grad.abs().max())
        for name, weight in objective.model.named_parameters()
    }


def test_each_task_trains_the_parts_it_should() -> None:
    objective, batch = build(), studies()
    vision = ("encoder.0.feed_forward", "encoder.1.feed_forward")
    experts = ("text_experts.0", "text_experts.1")
    report = ("decoder.layers.0.cross_attention", "decoder.layers.1.feed_forward", "decoder.logit")
    restored = ("restoration.mask_token", "restoration.layers.1.feed_forward", "restoration.head")
    cross = ("restoration.layers.0.cross_attention", "restoration.layers.1.cross_norm")
    stem = ("backbone.conv1", "project", "cls_token")
    shared = ("encoder.0.attention.", "decoder.layers.0.self_attention", "decoder.layers.1.self_norm")
    used = {
        "vt2t": (*vision, *experts, *report, *stem, *shared),
        # In the last layer only text outputs are read as memory, and every patch by the decoder: both experts work.
        "vt2v": (*vision, *experts, *restored, *cross, *stem, *shared),
        "v2v": (*vision, *restored, *stem, *shared),
        "t2t": (*experts, *report, *shared, "cls_token"),
    }
    everything = {*vision, *experts, *report, *restored, *cross, *stem, *shared}
    for task, wanted in used.items():
        found = gradients(objective, task, batch)
        for part in everything:
            largest = max(value for name, value in found.items() if name.startswith(part))
            assert (largest > 0) == (part in wanted), (task, part)


def test_every_parameter_gets_a_finite_gradient() -> None:
    objective, batch = build(), studies()
    sum(objective(batch).values()).backward()  # type: ignore[union-attr]
    without = [
        name for name, p in objective.model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())
    ]
    assert without == []


def test_image_alone_is_restored_without_its_report() -> None:
    objective, batch = build(), studies()
    assert batch.token_ids_BT is not None
    other = replace(batch, token_ids_BT=torch.where(batch.token_ids_BT > 2, 5, batch.token_ids_BT))
    before, after = objective(batch), objective(other)
    assert torch.equal(before["v2v"], after["v2v"])
    assert not torch.equal(before["vt2v"], after["vt2v"])


def test_end_of_report_is_a_target_and_a_cut_off_report_has_none() -> None:
    objective = build(tasks={"vt2t": 0, "vt2v": 0, "v2v": 0})
    batch = alone(studies((9, 4)), 0)
    assert batch.token_ids_BT is not None
    assert batch.lengths_B is not None
    cut = int(objective._cuts(batch, objective._draw(batch)))
    assert objective.counts(batch) == {"t2t": float(11 - cut)}
    objective(batch)["t2t"].backward()
    gradient = objective.model.decoder.logit.bias.grad
    assert gradient is not None
    assert gradient[2] < 0  # only targets pull their logit up
    truncated = replace(batch, token_ids_BT=batch.token_ids_BT[:, :-1], lengths_B=batch.lengths_B - 1)
    objective.zero_grad()
    assert objective.counts(truncated) == {"t2t": float(10 - cut)}
    objective(truncated)["t2t"].backward()
    assert objective.model.decoder.logit.bias.grad[2] > 0


def test_cross_entropy_equals_word_by_word_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    objective, batch = build(tasks={"vt2t": 0, "vt2v": 0, "v2v": 0}), studies()
    assert batch.token_ids_BT is not None
    assert batch.lengths_B is not None
    cuts = objective._cuts(batch, objective._draw(batch)).tolist()
    (logits,) = captured_logits(objective, batch, monkeypatch)
    log_probs, expected = logits.log_softmax(-1), 0.0
    for row, (cut, length) in enumerate(zip(cuts, batch.lengths_B.tolist(), strict=True)):
        for place in range(cut, length):
            expected -= float(log_probs[row, place - cut, batch.token_ids_BT[row, place]])
    assert objective(batch)["t2t"].item() == pytest.approx(expected, abs=1e-9)
    assert objective.counts(batch)["t2t"] == sum(batch.lengths_B.tolist()) - sum(cuts)


@pytest.mark.parametrize("one_view", [True, False])
def test_sums_of_single_studies_are_the_batch(one_view: bool) -> None:
    """Single studies carry no padding, so padded = alone too."""
    objective, batch = build(one_view=one_view), incomplete()
    together, counts = objective(batch), objective.counts(batch)
    assert set(together) == set(TASKS)
    singles = [alone(batch, row) for row in range(len(batch))]
    for task in TASKS:
        total = sum(objective(one)[task].item() for one in singles if task in objective(one))
        assert together[task].item() == pytest.approx(total, abs=1e-9)
        assert counts[task] == sum(objective.counts(one)[task] for one in singles)


@torch.no_grad()
def test_the_lot_gives_each_study_its_tasks_and_counts_agree() -> None:
    """Studies add up to the batch, an incomplete one is never idle, and shares are those of the released draw."""
    objective, batch = build(lot=True), incomplete()
    taken: dict[str, float] = dict.fromkeys(objective.weights, 0.0)
    num_draws = 80
    for draw in range(num_draws):
        seeded = replace(batch, seeds_B=torch.arange(len(batch)) + 1000 * draw)
        counts, sums = objective.counts(seeded), objective(seeded)
        assert {name for name, count in counts.items() if count} == set(sums)
        singles = [objective(alone(seeded, row)) for row in range(len(batch))]
        for name, total in sums.items():
            assert total.item() == pytest.approx(sum(float(one.get(name, 0.0)) for one in singles), abs=1e-9)
        whole = singles[int((batch.has_image_B & batch.has_report_B).nonzero()[0])]
        for name in whole:
            taken[name] += 1 / num_draws
        assert set(whole) in ({"vt2t", "vt2v"}, {"v2v"}, {"t2t"})
        for row in range(len(batch)):
            if not bool(batch.has_report_B[row]):
                assert set(singles[row]) == {"v2v"}
            if not bool(batch.has_image_B[row]):
                assert set(singles[row]) == {"t2t"}
    assert taken["vt2t"] == taken["vt2v"] == pytest.approx(0.5, abs=0.2)
    assert taken["v2v"] == pytest.approx(0.25, abs=0.17)
    assert taken["t2t"] == pytest.approx(0.25, abs=0.17)


def test_incomplete_studies_contribute_where_they_can() -> None:
    objective, batch = build(), incomplete()
    found = [set(objective(alone(batch, row))) for row in range(4)]
    assert found == [set(TASKS), {"t2t"}, {"v2v"}, {"vt2v", "v2v"}]  # complete, report, images, two words
    for row, tasks in enumerate(found):
        assert {task for task, count in objective.counts(alone(batch, row)).items() if count} == tasks
    no_reports = replace(batch, token_ids_BT=None, lengths_B=None)
    assert set(objective(no_reports)) == {"v2v"}
    assert set(objective.judge(no_reports)) == {"v2v", "copy"}


def test_restoration_counts_hidden_patches_of_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is that of restored against original pixels; visible patches carry none."""
    objective, batch = build(), alone(studies(), 1)
    found: list[tuple[Tensor, PatchMask]] = []
    original = RadCare.restore

    def spy(model: RadCare, visible: Tensor, mask: PatchMask, text: Any = None) -> Tensor:
        found.append((original(model, visible, mask, text), mask))
        return found[-1][0]

    monkeypatch.setattr(RadCare, "restore", spy)
    totals = objective(batch)
    image = (batch.images_BV1SS[0, 0] - 0.45) / 0.25
    for task, (restored, mask) in zip(("vt2v", "v2v"), found, strict=True):
        expected = 0.0
        for patch in range(16):
            row, column = 16 * (patch // 4), 16 * (patch % 4)
            pixels = image[0, row : row + 16, column : column + 16].flatten()
            expected += (mask.masked_IP[0, patch] * (restored[0, patch] - pixels).square().mean()).item()
        assert totals[task].item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("settings", [{}, {"one_view": False}, {"degraded_share": 0.0}])
def test_one_pass_of_the_stem_serves_all_tasks(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    objective, batch = build(**settings), studies()
    seen: list[Tensor] = []
    objective.model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    objective(batch)
    (images,) = seen
    given = batch.images_BV1SS[draw_from(batch, 16, one_view=settings.get("one_view", True)).used_BV]
    assert torch.equal(images, given if "degraded_share" in settings else degrade(given))
    report_only = build(tasks={"vt2t": 0, "vt2v": 0, "v2v": 0})
    report_only.model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert set(report_only(batch)) == set(report_only.weights) == {"t2t"}
    assert len(seen) == 1


def test_what_copying_the_degraded_image_would_cost() -> None:
    objective, batch = build(), studies()
    judged = objective.judge(batch)
    assert {name: count for name, (_, count) in judged.items() if name != "copy"} == objective.counts(batch)
    draws = objective._draw(batch)
    images = batch.images_BV1SS[draws.used_BV]
    masked = PatchMask.from_noise(draws.noise_IP, 4).masked_IP
    pixels = F.interpolate(masked.reshape(3, 1, 4, 4).double(), scale_factor=16) > 0
    error = ((degrade(images) - images) / 0.25).square()
    assert judged["copy"][0] / judged["copy"][1] == pytest.approx(float(error[pixels].mean()), abs=1e-9)
    assert all(
        total == pytest.approx(objective(batch)[name].item()) for name, (total, _) in judged.items() if name != "copy"
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_paste_what_was_shown_and_fill_in_the_rest(channels: int) -> None:
    objective, batch = build({"backbone": NETWORK["backbone"] | {"in_channels": channels}}), incomplete()
    strips = objective.pictures(batch)
    assert [study_id for study_id, _ in strips] == ["a", "c", "d"]
    images = batch.images_BV1SS[objective._draw(batch).used_BV]
    masked = PatchMask.from_noise(objective._draw(batch).noise_IP, 4).masked_IP
    for number, (study_id, strip) in enumerate(strips):
        assert strip.dtype == np.uint8
        panels = [strip[:, start : start + 64] for start in range(0, strip.shape[1], 66)]
        shown = (degrade(images)[number, 0].clamp(0, 1) * 255).round().numpy()
        original = (images[number, 0] * 255).round().numpy()
        assert np.abs(panels[0] - original).max() <= 1
        assert np.abs(panels[1] - shown).max() <= 1
        for patch in range(16):
            here = (slice(16 * (patch // 4), 16 * (patch // 4) + 16), slice(16 * (patch % 4), 16 * (patch % 4) + 16))
            hidden = bool(masked[number, patch])
            assert (np.ptp(panels[2][here]) == 0) == hidden
            assert (np.abs(panels[3][here] - shown[here]).max() <= 1) != hidden
            assert (np.ptp(panels[4][here]) == 0) == (hidden and study_id == "c")  # no report, no VT->V


# --- hand-over and learning -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"view_embedding": False, "released_norm": True}])
def test_hand_over_to_vlci_by_name(changes: dict[str, Any]) -> None:
    given = build(changes).model.state_dict()
    torch.manual_seed(1)
    own = Vlci(VlciConfig.parse(NETWORK | changes | {"num_local_per_head": 2}, where="test"), Ids(), 64).state_dict()
    assert all(own[name].shape == given[name].shape for name in own.keys() & given.keys())

    def parts(names: set[str]) -> set[str]:
        return {name.split(".")[0] for name in names}

    shared = {"backbone", "project", "visual_norm", "cls_token", "view_embedding", "encoder", "memory_norm"}
    shared |= {"text_embedding", "decoder"}
    assert parts(own.keys() & given.keys()) == shared - ({"view_embedding"} if changes else set())
    assert parts(given.keys() - own.keys()) == {"text_experts", "restoration"}
    assert parts(own.keys() - given.keys()) == {
        "local_sampling",
        "global_sampling",
        "fusion",
        "visual_front_door",
        "linguistic_mediator",
        "linguistic_front_door",
    }


def test_overfits_two_studies() -> None:
    objective, batch = build().float().train(), studies((6, 6))
    smooth = F.interpolate(torch.rand(2, 2, 4, 4, generator=torch.Generator().manual_seed(1)), size=64, mode="bilinear")
    batch = replace(batch, images_BV1SS=smooth.unsqueeze(2) * batch.view_mask_BV[:, :, None, None, None])
    optimizer = torch.optim.AdamW(objective.parameters(), lr=5e-3)
    counts = objective.counts(batch)
    history = []
    for _ in range(50):
        sums = objective(batch)
        optimizer.zero_grad()
        sum(objective.weights[name] * total / counts[name] for name, total in sums.items()).backward()  # type: ignore[union-attr]
        optimizer.step()
        history.append({name: total.item() / counts[name] for name, total in sums.items()})
    # Masks and views are drawn once per study here, so a hidden patch can be learnt by heart.
    falls = {"vt2t": 0.1, "t2t": 0.1, "vt2v": 0.25, "v2v": 0.25}
    assert all(history[-1][task] < share * history[0][task] for task, share in falls.items()), history[-1]


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match=r"image\.size_px = 72: 5 x 5"):
        RadCare(RadCareConfig.parse(NETWORK, where="test"), Ids(), 72)
    with pytest.raises(ConfigError, match=r"mask_ratio = 0\.95: of 16 patches 0"):
        build(mask_ratio=0.95)
    with pytest.raises(ConfigError, match="every weight is 0"):
        build(tasks=dict.fromkeys(TASKS, 0.0))
