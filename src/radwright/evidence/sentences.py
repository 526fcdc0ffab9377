"""How likely the network finds each sentence of a draft.

Shape legend: B studies, T tokens with BOS and EOS, U vocabulary size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from radwright.errors import StudyError
from radwright.text.sentences import TokenSentence
from radwright.types import Batch, ReportModel, Tokenizer


def with_drafts(batch: Batch, token_ids: Sequence[Sequence[int]], tokenizer: Tokenizer) -> Batch:
    """The batch with these drafts (without BOS and EOS) in the place of its reports' tokens.

    Raises:
        StudyError: not one draft per study.
    """
    if len(token_ids) != len(batch):
        raise StudyError(f"{len(token_ids)} drafts for {len(batch)} studies; give one each")
    lengths = [len(ids) + 2 for ids in token_ids]
    rows = [
        [tokenizer.bos_id, *ids, tokenizer.eos_id, *[tokenizer.pad_id] * (max(lengths) - length)]
        for ids, length in zip(token_ids, lengths, strict=True)
    ]
    device = batch.images_BV1SS.device
    return replace(
        batch, token_ids_BT=torch.tensor(rows, device=device), lengths_B=torch.tensor(lengths, device=device)
    )


@torch.no_grad()
def token_log_probs(model: ReportModel, batch: Batch) -> list[Tensor]:
    """log p(token | study, tokens before) of each study's tokens behind BOS, EOS included: (length - 1,) float each.

    Args:
        model: in evaluation mode.
        batch: with token ids (``with_drafts``), on the model's device.

    Raises:
        StudyError: the batch has no token ids.
    """
    if batch.token_ids_BT is None or batch.lengths_B is None:
        raise StudyError("log-probabilities of drafts need their tokens; see with_drafts")
    logits_BTU = model.logits(batch)
    wide_BTU = logits_BTU if logits_BTU.dtype == torch.float64 else logits_BTU.float()
    told_BT = wide_BTU.log_softmax(-1).gather(-1, batch.token_ids_BT[:, 1:, None])[..., 0]
    return [row[: length - 1] for row, length in zip(told_BT, batch.lengths_B.tolist(), strict=True)]


def sentence_log_probs(told_T: Tensor, sentences: Sequence[TokenSentence]) -> list[float]:
    """Summed log-probability (natural log) of each sentence of one draft, from ``token_log_probs``' row of it."""
    return [float(told_T[sentence.start : sentence.stop].sum()) for sentence in sentences]
