"""Attention maps: shares that sum to 1, batched = alone, padding changes nothing, and they show what is looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from radwright.evidence.attention import attention_maps
from radwright.evidence.sentences import with_drafts
from radwright.methods.cmcrl.vlci import Vlci, VlciConfig
from radwright.text.sentences import TokenSentence
from radwright.types import Attention, AttentionMaps, Batch
from tiny import Ids, tiny_vlci
from trrg_toy import Letters, tiny_trrg, toy_batch

DRAFTS = ([5, 6, 7, 8], [9, 10], [11] * 6)
SENTENCES = [
    (TokenSentence("a", 0, 3), TokenSentence("b", 3, 4)),
    (TokenSentence("c", 0, 2),),
    (TokenSentence("d", 0, 1), TokenSentence("e", 1, 6)),
]


def vlci(**changes: Any) -> Vlci:
    torch.manual_seed(2)
    values = {
        "backbone": {"name": "resnet", "depth": 18, "width": 8, "num_stages": 2},
        "dim": 16,
        "num_heads": 2,
        "hidden_dim": 16,
        "linguistic_hidden_dim": 16,
        "num_encoder_layers": 2,
        "num_decoder_layers": 2,
        "num_local_per_head": 2,
    }
    model = Vlci(VlciConfig.parse(values | changes, where="test"), Ids(), size_px=32).double().eval()
    for name, parameter in model.named_parameters():
        if name.endswith("gate"):
            torch.nn.init.constant_(parameter, 0.7)
    return model


# The released form attends to the zeros of missing views as well, so it has a test of its own.
NETWORKS = {
    "vlci": lambda: (vlci(), Ids()),
    "baseline": lambda: (vlci(visual=False, linguistic=False), Ids()),
    "trrg": lambda: (tiny_trrg(), Letters()),
    "trrg with fewer patches": lambda: (tiny_trrg(patches_per_side=3), Letters()),
}
each_network = pytest.mark.parametrize("name", list(NETWORKS))


def made(name: str) -> tuple[Any, Any]:
    if "trrg" in name:
        pytest.importorskip("transformers")
    return NETWORKS[name]()


def maps_of(model: Any, tokenizer: Any, batch: Batch, drafts: Any = DRAFTS) -> Attention:
    assert isinstance(model, AttentionMaps)
    with torch.no_grad():
        attention: Attention = model.attention_maps(with_drafts(batch, drafts, tokenizer))
    return attention


@each_network
def test_shares_sum_to_one_and_lie_on_views_that_exist(name: str) -> None:
    model, tokenizer = made(name)
    batch = toy_batch([0, 1, 2], num_views=3)  # the second study has one view, the others two
    attention = maps_of(model, tokenizer, batch)
    assert (attention.patches_BTVGG >= 0).all()
    assert attention.patches_BTVGG.shape[1] == 7
    total = attention.patches_BTVGG.sum((-3, -2, -1)) + attention.elsewhere_BT
    for row, draft in enumerate(DRAFTS):
        # The library's plain attention makes its shares in float32.
        assert torch.allclose(total[row, : len(draft) + 1], torch.ones((), dtype=torch.float64), atol=1e-6)
    assert (attention.patches_BTVGG[:, :, 2] == 0).all()
    assert (attention.patches_BTVGG[1, :3, 1] == 0).all()
    assert (attention.patches_BTVGG[0, :5, :2] > 0).all()


@each_network
def test_batched_is_single_and_padding_views_change_nothing(name: str) -> None:
    model, tokenizer = made(name)
    together = attention_maps(model, with_drafts(toy_batch([0, 1, 2], num_views=3), DRAFTS, tokenizer), SENTENCES)
    for row, number in enumerate([0, 1, 2]):
        alone = with_drafts(toy_batch([number], num_views=1 if number % 2 else 2), [DRAFTS[row]], tokenizer)
        [maps] = attention_maps(model, alone, [SENTENCES[row]])
        assert maps.shape == (len(SENTENCES[row]), alone.view_mask_BV.shape[1], 32, 32)
        assert torch.allclose(together[row][:, : maps.shape[1]], maps, atol=1e-6)
        assert (together[row][:, maps.shape[1] :] == 0).all()


def test_shares_of_the_released_form_sum_to_one() -> None:
    attention = maps_of(vlci(preset="released"), Ids(), toy_batch([0, 2, 4], num_views=2))
    total = attention.patches_BTVGG.sum((-3, -2, -1)) + attention.elsewhere_BT
    assert torch.allclose(total, torch.ones((), dtype=torch.float64))


@each_network
def test_looking_at_attention_leaves_the_network_as_it_was(name: str) -> None:
    model, tokenizer = made(name)
    batch = with_drafts(toy_batch([0, 1], num_views=2), DRAFTS[:2], tokenizer)
    before = model.logits(batch)
    model.attention_maps(batch)
    assert torch.equal(model.logits(batch), before)


@pytest.mark.parametrize("place", [1, 7, 16, 20, 32])
def test_a_network_that_looks_at_one_patch_is_shown_to(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_vlci(23, seed=1).eval()

    def one_place(x: Tensor, memory: Tensor, *masks: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        cross = memory.new_zeros(len(x), 2, x.shape[1], memory.shape[1])
        cross[..., place] = 1.0
        return [(torch.eye(x.shape[1], dtype=x.dtype).expand(len(x), 2, -1, -1), cross)]

    monkeypatch.setattr(model.decoder, "maps", one_place)
    [maps] = attention_maps(
        model, with_drafts(toy_batch([0], num_views=2), [[5, 6, 7]], Ids()), [(TokenSentence("x", 0, 3),)]
    )
    view, patch = divmod(place - 1, 16)
    row, column = divmod(patch, 4)
    peak = maps[0] >= maps.max()
    wanted = torch.zeros_like(peak)
    wanted[view, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = True
    assert torch.equal(peak, wanted)


def test_a_language_model_that_looks_at_one_patch_is_shown_to(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    model = tiny_trrg()
    batch = with_drafts(toy_batch([0, 1], num_views=2), [[5, 6], [7, 8, 9]], Letters())
    prompted = model.prompt(batch)
    # The second study has one view, so its prompt begins with padding.
    wanted = [(0, 1, 9), (1, 0, 6)]
    places = [int((prompted.patch_BL[row] == 16 * view + patch).nonzero()) for row, view, patch in wanted]
    assert not prompted.keep_BL[1, 0]

    def one_place(network: Any, embedded: Tensor, keep: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        maps = embedded.new_zeros(len(embedded), 1, keep.shape[1], keep.shape[1])
        for row, place in enumerate(places):
            maps[row, :, :, place] = 1.0
        return (maps,)

    monkeypatch.setattr("radwright.nn.language.read_attention", one_place)
    attention = model.attention_maps(batch)
    for row, view, patch in wanted:
        shares = attention.patches_BTVGG[row, :3].flatten(2)
        assert torch.allclose(shares[:, view, patch], torch.full((3,), 0.5, dtype=torch.float64))
        assert float(shares.sum()) == pytest.approx(1.5)
        assert attention.elsewhere_BT[row, :3].tolist() == [0.5] * 3


def test_a_front_door_counts_as_the_mean_that_it_is() -> None:
    model = vlci()
    door, draw = model.visual_front_door, torch.Generator().manual_seed(0)
    x, mediators = (torch.randn(2, n, 16, generator=draw, dtype=torch.float64) for n in (9, 5))
    valid = torch.arange(9).expand(2, -1) < torch.tensor([[9], [6]])
    weights: Tensor = door.weights(x, mediators, valid)
    assert torch.allclose(weights.sum(-1), torch.ones((), dtype=torch.float64))
    gate = float(door.gate.detach())
    assert torch.allclose((1 + gate) * (weights @ x), x + door(x, mediators, valid))


def test_a_study_without_a_draft_has_no_maps() -> None:
    model = tiny_vlci(23, seed=1).eval()
    batch = with_drafts(toy_batch([0, 2], num_views=2), [[], [5]], Ids())
    empty, one = attention_maps(model, batch, [(), (TokenSentence("x", 0, 1),)])
    assert empty.shape == (0, 2, 32, 32)
    assert one.shape == (1, 2, 32, 32)
    with pytest.raises(ValueError, match="attention is that of given tokens"):
        model.attention_maps(replace(batch, token_ids_BT=None))
