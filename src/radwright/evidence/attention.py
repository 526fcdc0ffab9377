"""Where a network looks while it writes a sentence: its attention, rolled out to the image, as a map per view.

Shape legend: B studies, T report tokens, J sentences of a draft, V views, S image side in pixels, G patches per side.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from radwright.text.sentences import TokenSentence
from radwright.types import AttentionMaps, Batch


@torch.no_grad()
def attention_maps(model: AttentionMaps, batch: Batch, sentences: Sequence[Sequence[TokenSentence]]) -> list[Tensor]:
    """Per study the mean attention of each sentence's tokens, (J, V, S, S).

    A pixel has its patch's share of the attention, in [0, 1]: between patches nothing is made up.

    Args:
        model: in evaluation mode.
        batch: B studies with their drafts' tokens (``with_drafts``), on the model's device.
        sentences: of each draft.
    """
    patches_BTVGG = model.attention_maps(batch).patches_BTVGG
    side = batch.images_BV1SS.shape[-1]
    maps = []
    for patches_TVGG, own in zip(patches_BTVGG, sentences, strict=True):
        # Row t predicts token t + 1 of BOS ... EOS, which is token t of the draft.
        means = [patches_TVGG[sentence.start : sentence.stop].mean(0) for sentence in own]
        coarse_JVGG = torch.stack(means) if means else patches_TVGG[:0]
        maps.append(F.interpolate(coarse_JVGG, size=(side, side), mode="nearest"))
    return maps
