"""What the metrics of this package share: pairs of texts, batches of like length, means over the scored studies.

Shape legend: B texts, T tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from radwright.metrics.base import FloatArray, check_pairs

Pair = tuple[str, str]
"""A draft and a reference, white space unified."""
MAX_BATCH_TOKENS = 8192
MAX_BATCH_TEXTS = 64


def unify(text: str) -> str:
    """The text in one line, words apart by one space."""
    return " ".join(text.split())


def rows_of_pairs(
    compare: Callable[[Sequence[Pair]], FloatArray],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
) -> FloatArray:
    """Statistics (n, S) from those of single pairs (p, S); several references of a study are averaged."""
    check_pairs(hypotheses, references)
    pairs = [(unify(draft), unify(text)) for draft, texts in zip(hypotheses, references, strict=True) for text in texts]
    statistics = compare(pairs)
    ends = list(itertools.accumulate(map(len, references)))
    means = [statistics[end - len(texts) : end].mean(axis=0) for end, texts in zip(ends, references, strict=True)]
    return np.array(means, dtype=np.float64).reshape(len(hypotheses), statistics.shape[-1])


def mean_scores(sums: FloatArray) -> FloatArray:
    """Means (..., S - 1) of summed rows [score, ..., 1 if scored]; not a number where no study was scored."""
    counted = sums[..., -1:]
    nothing = np.full_like(sums[..., :-1], np.nan)
    means: FloatArray = np.divide(sums[..., :-1], counted, out=nothing, where=counted > 0)
    return means


def distinct(pairs: Sequence[Pair]) -> list[str]:
    """Every text of the pairs once, empty ones left out."""
    return [text for text in dict.fromkeys(itertools.chain.from_iterable(pairs)) if text]


def choose_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def batches_by_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices in batches of like length, the longest first (what does not fit into memory shows at once)."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    while order:
        size = max(1, min(MAX_BATCH_TEXTS, MAX_BATCH_TOKENS // max(1, lengths[order[0]])))
        yield order[:size]
        order = order[size:]


def pad(ids: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids (B, T) filled up on the right, and the mask (B, T) that is 1 on tokens."""
    longest = max(map(len, ids))
    ids_BT = torch.full((len(ids), longest), pad_id, dtype=torch.long)
    mask_BT = torch.zeros((len(ids), longest), dtype=torch.long)
    for row, (tokens, mask) in zip(ids, zip(ids_BT, mask_BT, strict=True), strict=True):
        tokens[: len(row)] = torch.tensor(row, dtype=torch.long)
        mask[: len(row)] = 1
    return ids_BT.to(device), mask_BT.to(device)


@torch.inference_mode()
def run_in_batches(model: nn.Module, ids: Sequence[Sequence[int]], pad_id: int) -> Iterator[tuple[int, Tensor]]:
    """A network's first output over texts of tokens: (index, (T, ...) of its own length), batched by length.

    Args:
        model: takes ``input_ids`` and ``attention_mask``.
        ids: token ids of each text, special tokens included.
        pad_id: fills up shorter texts.
    """
    device = next(model.parameters()).device
    for batch in batches_by_length([len(row) for row in ids]):
        ids_BT, mask_BT = pad([ids[index] for index in batch], pad_id, device)
        output_BT = model(input_ids=ids_BT, attention_mask=mask_BT)[0].float().cpu()
        for index, output_T in zip(batch, output_BT, strict=True):
            yield index, output_T[: len(ids[index])]
