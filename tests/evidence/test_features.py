"""The occlusion effect as a feature: the window that counts is found, no other study and no padding takes part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from radwright.evidence.features import OCCLUSION, Drafted, measure_features
from radwright.evidence.occlusion import window_effects
from radwright.evidence.sentences import DraftSentence, token_log_probs, with_drafts
from radwright.types import Batch
from tiny import Ids, tiny_vlci
from trrg_toy import SIDE, toy_batch

NAME = "occlusion_effect"
A, B = DraftSentence("a", 0, 2), DraftSentence("b", 2, 3)
DRAFT = [5, 5, 6]


@dataclass
class ReadsOnePatch:
    """Token 5 is as likely as one patch of one view varies; with a weight of 0 the network is blind."""

    view: int = 0
    place: tuple[int, int] = (8, 16)
    weight: float = 30.0
    num_passes: int = 0
    most_at_once: int = 0

    def logits(self, batch: Batch) -> Tensor:
        self.num_passes += len(batch)
        self.most_at_once = max(self.most_at_once, len(batch))
        pixels = slice(*self.place)
        patch = batch.images_BV1SS[:, self.view, 0, pixels, pixels]
        logits = torch.zeros(len(batch), batch.token_ids_BT.shape[1] - 1, 23, dtype=torch.float64)  # type: ignore[union-attr]
        logits[:, :, 5] = self.weight * patch.flatten(1).std(1, keepdim=True)
        return logits


def drafted(model: Any, batch: Batch, asserted: Sequence[Sequence[tuple[int, str]]]) -> Drafted:
    told = with_drafts(batch, [DRAFT] * len(batch), Ids())  # type: ignore[arg-type]
    return Drafted(model, told, [(A, B)] * len(batch), asserted, token_log_probs(model, told))


def measured(model: Any, batch: Batch, asserted: Sequence[Sequence[tuple[int, str]]]) -> list[list[float]]:
    return [[each[NAME] for each in row] for row in measure_features(drafted(model, batch, asserted), [NAME])]


@pytest.mark.parametrize("view", [0, 1])
def test_a_sentence_that_rests_on_one_window_has_that_window_s_fall(view: int) -> None:
    model, batch = ReadsOnePatch(view), toy_batch([0])
    said = drafted(model, batch, [[(0, "edema"), (0, "pneumonia"), (1, "edema")]])
    effects_NRJ = window_effects(model, said.batch, [A], OCCLUSION)  # type: ignore[arg-type]
    assert effects_NRJ.shape == (2, 16, 1)
    assert int(effects_NRJ.argmax()) == 16 * view + 5  # the second window of the second row hides the patch whole
    [[first, second, other]] = [[each[NAME] for each in row] for row in measure_features(said, [NAME])]
    assert first == second == pytest.approx(float(effects_NRJ.max()) / 2, abs=1e-6)
    assert first > 0.5
    # Token 6 is never less likely without a window: the windows that nothing is read from leave it as it is.
    assert other == 0
    # More cannot be lost than with the whole image in gray, for a network that reads a single patch.
    assert first <= measure_features(said, ["image_effect"])[0][0]["image_effect"] + 1e-6


def test_a_blind_network_has_none() -> None:
    assert measured(ReadsOnePatch(weight=0), toy_batch([0, 1]), [[(0, "edema")], [(1, "edema")]]) == [[0], [0]]


def test_only_drafts_that_assert_cost_anything() -> None:
    model = ReadsOnePatch()
    batch = toy_batch([0, 1, 2, 3])
    asserted = [[], [(1, "edema"), (0, "edema")], [], [(0, "edema")]]
    said = drafted(model, batch, asserted)
    model.num_passes = model.most_at_once = 0
    assert [len(row) for row in measure_features(said, [NAME])] == [0, 2, 0, 1]
    assert model.num_passes == 2 * (1 + 16)  # two studies of one view each, however many findings
    model.num_passes = 0
    assert measure_features(replace(said, asserted=[[]] * 4), [NAME]) == [[]] * 4
    assert model.num_passes == 0
    measured(model, toy_batch([0] * 3), [[(0, "edema")]] * 3)
    assert model.most_at_once <= 32


def test_other_studies_and_padding_change_nothing() -> None:
    model = tiny_vlci(23, seed=1).eval()
    asserted = [[(0, "edema")], [(0, "edema"), (1, "edema")], [(1, "edema")]]
    together = measured(model, toy_batch([0, 1, 2], num_views=3), asserted)
    alone = [measured(model, toy_batch([number]), [own])[0] for number, own in enumerate(asserted)]
    assert together == [pytest.approx(row, abs=2e-6) for row in alone]
    assert len({value for row in together for value in row}) == 4


def test_what_cannot_be_known_is_no_number() -> None:
    batch = toy_batch([0, 2])
    asserted = [[(0, "edema")], [(0, "edema")]]
    missing = replace(batch, view_mask_BV=torch.tensor([[False, False], [True, True]]))
    [[nothing], [something]] = measured(ReadsOnePatch(), missing, asserted)
    assert math.isnan(nothing)
    assert something > 0
    damaged = replace(batch, images_BV1SS=batch.images_BV1SS.clone())
    damaged.images_BV1SS[0, 0, 0, SIDE // 2, SIDE // 2] = math.nan
    [[nothing], [something]] = measured(ReadsOnePatch(place=(0, SIDE)), damaged, asserted)
    assert math.isnan(nothing)
    assert something > 0
