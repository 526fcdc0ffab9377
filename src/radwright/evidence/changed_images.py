"""How likely a draft's sentences are once its images are changed: what occlusion and deletion both ask.

Shape legend: R changes, J sentences, V views, S image side in pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from radwright.errors import StudyError
from radwright.evidence.sentences import sentence_log_probs, token_log_probs
from radwright.text.sentences import TokenSentence
from radwright.types import Batch, ReportModel


@torch.no_grad()
def score_changed(
    model: ReportModel,
    batch: Batch,
    sentences: Sequence[TokenSentence],
    images: Iterable[Tensor],
    *,
    batch_size: int,
    on_images: Callable[[int], None] | None = None,
) -> Tensor:
    """Log-probability of every sentence behind the same words before it, (R, J) float64 on the CPU.

    Args:
        model: in evaluation mode.
        batch: one study with its draft's tokens (``with_drafts``), on the model's device.
        sentences: of the draft.
        images: R times the study's images, changed, (V, 1, S, S); asked for a batch at a time.
        batch_size: how many go through the network at once.
        on_images: told how many went through, after each batch.

    Raises:
        StudyError: the batch does not hold exactly one study.
    """
    if len(batch) != 1:
        raise StudyError(f"evidence is sought for one study at a time, got {len(batch)}")
    rows: list[list[float]] = []
    images = iter(images)
    while chunk := list(itertools.islice(images, batch_size)):
        same = batch.rows(torch.zeros(len(chunk), dtype=torch.int64))
        changed = replace(same, images_BV1SS=torch.stack(chunk).to(batch.images_BV1SS))
        rows += [sentence_log_probs(told_T, sentences) for told_T in token_log_probs(model, changed)]
        if on_images is not None:
            on_images(len(chunk))
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), len(sentences))


def local_mean(images_V1SS: Tensor, width_px: int) -> Tensor:
    """Every pixel's mean over the square of ``width_px`` around it (odd; the next odd number up), (V, 1, S, S)."""
    half = width_px // 2
    return F.avg_pool2d(images_V1SS, 2 * half + 1, stride=1, padding=half, count_include_pad=False)
