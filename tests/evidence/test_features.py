"""What speaks for a finding: planted networks give the values that can be worked out, other studies take no part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from radwright.evidence.features import FEATURES, Drafted, measure_features
from radwright.evidence.occlusion import OcclusionConfig, occlusion_maps
from radwright.evidence.sentences import token_log_probs, with_drafts
from radwright.text.sentences import TokenSentence
from radwright.types import Batch
from tiny import Ids, tiny_vlci
from trrg_toy import SIDE, toy_batch

A, B = TokenSentence("a", 0, 2), TokenSentence("b", 2, 4)
DRAFT = [5, 5, 6, 5]
EFFECT = ["image_effect"]


@dataclass
class ReadsOnePatch:
    """Token 5 is as likely as one patch of the first view varies; with a weight of 0 the network is blind."""

    weight: float = 30.0
    num_passes: int = 0

    def logits(self, batch: Batch) -> Tensor:
        self.num_passes += len(batch)
        logits = torch.zeros(len(batch), batch.token_ids_BT.shape[1] - 1, 23, dtype=torch.float64)  # type: ignore[union-attr]
        logits[:, :, 5] = self.weight * batch.images_BV1SS[:, 0, 0, 8:16, 8:16].flatten(1).std(1, keepdim=True)
        return logits


def drafted(model: Any, batch: Batch, asserted: Sequence[Sequence[tuple[int, str]]]) -> Drafted:
    told = with_drafts(batch, [DRAFT] * len(batch), Ids())  # type: ignore[arg-type]
    return Drafted(model, told, [(A, B)] * len(batch), asserted, token_log_probs(model, told))


def test_a_network_that_reads_one_patch_has_the_values_that_can_be_worked_out() -> None:
    batch = toy_batch([0])
    said = drafted(ReadsOnePatch(), batch, [[(0, "edema"), (0, "pneumonia"), (1, "edema")]])
    [[first, second, other]] = measure_features(said)
    assert first == pytest.approx(second, nan_ok=True)  # two findings of one sentence
    logit = 30 * float(batch.images_BV1SS[0, 0, 0, 8:16, 8:16].std())
    sum_of_all = math.log(math.exp(logit) + 22)
    assert first["mean_log_prob"] == first["min_log_prob"] == pytest.approx(logit - sum_of_all, abs=1e-6)
    assert other["min_log_prob"] == pytest.approx(-sum_of_all, abs=1e-6)  # of tokens 6 and 5
    assert other["mean_log_prob"] == pytest.approx(logit / 2 - sum_of_all, abs=1e-6)
    # In gray the patch does not vary, and each of the 23 tokens is as likely as the others.
    assert first["image_effect"] == pytest.approx(logit - sum_of_all + math.log(23), abs=1e-6)
    assert other["image_effect"] == pytest.approx(logit / 2 - sum_of_all + math.log(23), abs=1e-6)
    assert first["image_effect"] > 0.5 > 0 > other["image_effect"]
    assert math.isnan(first["clue"])  # it perceives nothing


def test_a_blind_network_owes_nothing_to_the_images() -> None:
    said = drafted(ReadsOnePatch(weight=0), toy_batch([0, 1]), [[(0, "edema")], [(1, "edema")]])
    assert measure_features(said, EFFECT) == [[{"image_effect": 0.0}]] * 2
    one = said.batch.rows(torch.tensor([0]))
    assert not occlusion_maps(said.model, one, (A, B), OcclusionConfig(windows_per_side=4)).any()


def test_drafts_that_assert_nothing_have_no_values_and_cost_nothing() -> None:
    model = ReadsOnePatch()
    said = drafted(model, toy_batch([0, 1, 2]), [[], [(1, "edema"), (0, "edema")], []])
    rows = measure_features(said)
    assert [[list(each) for each in row] for row in rows] == [[], [list(FEATURES)] * 2, []]
    assert rows[1][0]["image_effect"] < 0 < rows[1][1]["image_effect"]
    model.num_passes = 0
    assert measure_features(replace(said, asserted=[[]] * 3)) == [[]] * 3
    assert model.num_passes == 0


def test_other_studies_and_padding_change_nothing() -> None:
    model = tiny_vlci(23, seed=1).eval()
    asserted = [[(0, "edema")], [(0, "edema"), (1, "edema")], [(1, "edema")]]
    names = [name for name in FEATURES if name != "clue"]
    together = measure_features(drafted(model, toy_batch([0, 1, 2], num_views=3), asserted), names)
    for number, own in enumerate(asserted):
        [alone] = measure_features(drafted(model, toy_batch([number]), [own]), names)
        assert together[number] == [pytest.approx(each, abs=2e-6) for each in alone]
    assert len({each["image_effect"] for row in together for each in row}) == 4


def test_a_damaged_image_is_no_number_in_its_own_study_only() -> None:
    batch = toy_batch([0, 2])
    batch.images_BV1SS[0, 0, 0, SIDE // 3, SIDE // 3] = math.nan
    [[broken], [whole]] = measure_features(drafted(ReadsOnePatch(), batch, [[(0, "edema")]] * 2), EFFECT)
    assert math.isnan(broken["image_effect"])
    assert whole["image_effect"] > 0
