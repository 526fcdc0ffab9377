"""Occlusion: a network that reads one patch is seen to, one study's padding and batches change nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from radwright.errors import StudyError
from radwright.evidence.changed_images import local_mean
from radwright.evidence.occlusion import OcclusionConfig, occlusion_maps, windows
from radwright.evidence.sentences import with_drafts
from radwright.text.sentences import TokenSentence
from radwright.types import Batch
from tiny import Ids, tiny_vlci
from trrg_toy import Letters, tiny_trrg, toy_batch

SENTENCES = (TokenSentence("a", 0, 2), TokenSentence("b", 2, 3))
APART = OcclusionConfig(windows_per_side=4, overlap=0.0)


@dataclass
class ReadsOnePatch:
    """Token 5 is as likely as one patch of one view varies; nothing else of the images counts."""

    view: int
    rows: slice
    columns: slice
    num_passes: int = 0
    most_at_once: int = 0

    def logits(self, batch: Batch) -> Tensor:
        self.num_passes += len(batch)
        self.most_at_once = max(self.most_at_once, len(batch))
        patch = batch.images_BV1SS[:, self.view, 0, self.rows, self.columns]
        logits = torch.zeros(len(batch), batch.token_ids_BT.shape[1] - 1, 23, dtype=torch.float64)  # type: ignore[union-attr]
        logits[:, :, 5] = 30 * patch.flatten(1).std(1, keepdim=True)
        return logits


@pytest.mark.parametrize(("view", "row", "column"), [(0, 0, 0), (0, 3, 1), (1, 2, 3)])
def test_only_the_patch_that_counts_has_an_effect(view: int, row: int, column: int) -> None:
    spans = [slice(8 * place, 8 * place + 8) for place in range(4)]
    model = ReadsOnePatch(view, spans[row], spans[column])
    batch = with_drafts(toy_batch([0], num_views=2), [[5, 5, 6]], Ids())
    maps = occlusion_maps(model, batch, SENTENCES, APART, batch_size=7)  # type: ignore[arg-type]
    wanted = torch.zeros(2, 32, 32, dtype=torch.bool)
    wanted[view, spans[row], spans[column]] = True
    assert torch.equal(maps[0] > 1e-9, wanted)  # token 5 becomes less likely without it
    assert torch.equal(maps[1] < -1e-9, wanted)  # and token 6 likelier
    assert (maps[:, ~wanted].abs() < 1e-12).all()
    assert model.num_passes == 1 + 2 * 16
    assert model.most_at_once == 7
    overlapping = occlusion_maps(model, batch, SENTENCES, OcclusionConfig(windows_per_side=4))  # type: ignore[arg-type]
    # A window's neighbours reach half a window into it, and it into them.
    assert overlapping[0][wanted].mean() > 2 * overlapping[0][~wanted].mean()
    assert (overlapping[0] >= overlapping[0].max())[wanted].any()


@pytest.mark.parametrize("name", ["vlci", "trrg"])
def test_batches_and_padding_views_change_nothing(name: str) -> None:
    if name == "trrg":
        pytest.importorskip("transformers")
    model: Any = tiny_vlci(23, seed=1).eval() if name == "vlci" else tiny_trrg()
    tokenizer: Any = Ids() if name == "vlci" else Letters()
    draft = [[5, 6, 7]]
    maps = [
        occlusion_maps(model, with_drafts(toy_batch([1], num_views=views), draft, tokenizer), SENTENCES, APART,
                       batch_size=size)
        for views, size in ((1, 64), (3, 64), (1, 1), (3, 5))
    ]  # fmt: skip
    assert maps[0].abs().max() > 1e-6
    for other in maps[1:]:
        assert torch.allclose(other[:, :1], maps[0], atol=1e-12)
        assert (other[:, 1:] == 0).all()


@pytest.mark.parametrize(("size_px", "count", "overlap"), [(32, 8, 0.5), (30, 7, 0.0), (9, 64, 2.0), (64, 1, 0.5)])
def test_windows_cover_every_pixel(size_px: int, count: int, overlap: float) -> None:
    cut = windows(size_px, OcclusionConfig(windows_per_side=count, overlap=overlap))
    covered = torch.zeros(size_px, size_px)
    for rows, columns in cut:
        assert 0 <= rows.start < rows.stop <= size_px
        covered[rows, columns] += 1
    assert len(cut) == min(count, size_px) ** 2
    assert (covered == 1).all() if overlap == 0 else (covered >= 1).all()


def test_the_local_mean_keeps_an_even_image_and_its_edges() -> None:
    even = torch.full((2, 1, 16, 16), 0.3, dtype=torch.float64)
    assert torch.allclose(local_mean(even, 5), even)
    dot = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    dot[0, 0, 8, 8] = 25.0
    assert local_mean(dot, 5)[0, 0, 6:11, 6:11].tolist() == [[1.0] * 5] * 5


def test_more_than_one_study_is_refused_and_no_sentence_is_no_map() -> None:
    model = tiny_vlci(23, seed=1).eval()
    with pytest.raises(StudyError, match="one study at a time, got 2"):
        occlusion_maps(model, with_drafts(toy_batch([0, 2]), [[5], [6]], Ids()), SENTENCES, APART)
    maps = occlusion_maps(model, with_drafts(toy_batch([0]), [[]], Ids()), (), APART)
    assert maps.shape == (0, 2, 32, 32)
