"""What a sentence rests on in the images: how much less likely it is once a window is hidden (Zeiler and Fergus 2014).

Shape legend: J sentences, V views, R windows over all views, S image side in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from pydantic import Field
from torch import Tensor

from radwright.config import Config
from radwright.evidence.changed_images import local_mean, score_changed
from radwright.text.sentences import TokenSentence
from radwright.types import Batch, ReportModel

Window = tuple[slice, slice]
"""Rows and columns of pixels."""


class OcclusionConfig(Config):
    """Which windows are hidden; the cost is one pass of the network per window and view."""

    windows_per_side: int = Field(default=8, ge=1, le=64)
    """The image is cut into so many windows per side."""
    overlap: float = Field(default=0.5, ge=0, le=2)
    """How far a window reaches into its neighbours on each side, in windows: a finding on an edge is hidden whole by
    one of them, and a pixel has the mean effect of all windows over it."""
    mean_width: float = Field(default=3.0, ge=1)
    """Side of the square that the local mean is taken over, in windows."""


def windows(size_px: int, config: OcclusionConfig) -> list[Window]:
    """All windows of an image, row by row.

    Args:
        size_px: its side S; with fewer pixels than windows per side, each pixel is a window.
        config: their number and overlap.
    """
    count = min(config.windows_per_side, size_px)
    edges = [round(place * size_px / count) for place in range(count + 1)]
    reach = round(config.overlap * size_px / count)
    spans = [slice(max(0, edges[place] - reach), min(size_px, edges[place + 1] + reach)) for place in range(count)]
    return [(rows, columns) for rows in spans for columns in spans]


def occlusion_maps(
    model: ReportModel,
    batch: Batch,
    sentences: Sequence[TokenSentence],
    config: OcclusionConfig | None = None,
    *,
    batch_size: int = 32,
    on_images: Callable[[int], None] | None = None,
) -> Tensor:
    """Effect of what stands at a pixel on the log-probability of each sentence, (J, V, S, S) float64 on the CPU.

    log p(sentence | images) - log p(sentence | images with a window hidden), in nats, the words before it as drafted:
    above 0 where the sentence becomes less likely without the window. A pixel has the mean over the windows that cover
    it; 0 in views that the study lacks. A window is hidden by the local mean: brightness stays as it is around, detail
    goes. A black or gray patch would itself look like a finding, or like a device.

    Args:
        model: in evaluation mode.
        batch: one study with its draft's tokens (``with_drafts``), on the model's device.
        sentences: of the draft; all come from the same passes.
        config: the windows.
        batch_size: images that go through the network at once.
        on_images: told how many went through, after each batch; 1 + windows x views in all.

    Raises:
        StudyError: the batch does not hold exactly one study.
    """
    config = config or OcclusionConfig()
    images_V1SS = batch.images_BV1SS[0]
    num_views, _, size_px, _ = images_V1SS.shape
    cut = windows(size_px, config)
    width_px = round(config.mean_width * size_px / min(config.windows_per_side, size_px))
    plain_V1SS = local_mean(images_V1SS, width_px)
    views = batch.view_mask_BV[0].nonzero().flatten().tolist()

    def changed() -> Iterator[Tensor]:
        yield images_V1SS
        for view in views:
            for rows, columns in cut:
                hidden = images_V1SS.clone()
                hidden[view, :, rows, columns] = plain_V1SS[view, :, rows, columns]
                yield hidden

    scores_RJ = score_changed(model, batch, sentences, changed(), batch_size=batch_size, on_images=on_images)
    effects_RJ = scores_RJ[:1] - scores_RJ[1:]
    sums_JVSS = torch.zeros(len(sentences), num_views, size_px, size_px, dtype=torch.float64)
    covered_SS = torch.zeros(size_px, size_px, dtype=torch.float64)
    for rows, columns in cut:
        covered_SS[rows, columns] += 1
    for number, effects_J in enumerate(effects_RJ):
        rows, columns = cut[number % len(cut)]
        sums_JVSS[:, views[number // len(cut)], rows, columns] += effects_J[:, None, None]
    return sums_JVSS / covered_SS
