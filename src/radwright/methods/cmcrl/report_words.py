"""Weak supervision of the stem, ours: which words a report asserts and which it denies, from the image alone.

A report is the only label that an X-ray of a public set has. Word by word it teaches language long before vision; as
two sets of words it teaches vision at once.

Shape legend: B studies, I used images, P patches, C stem channels, T report tokens, U vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from radwright.nn.attention import linear
from radwright.types import VIEW_POSITIONS, Tokenizer

DENYING = ("no", "not", "without", "free", "clear", "normal", "unremarkable", "negative", "intact", "stable", "limits")
"""A sentence with one of these denies: its words count apart from those that a report asserts."""
RARE = -4.0
"""Start of a word's logit where no report was read to learn how frequent it is."""


class ReportWords(nn.Module):
    """A linear map from the mean of each view's patch features to all words twice, added up over the views.

    Args:
        channels: C.
        tokenizer: knows the words.
        dropout: of the mean features.
    """

    def __init__(self, channels: int, tokenizer: Tokenizer, dropout: float = 0.3) -> None:
        super().__init__()
        self.vocab_size = tokenizer.vocab_size
        self.heads = nn.ModuleList(linear(channels, 2 * self.vocab_size) for _ in VIEW_POSITIONS)
        for head in self.heads:
            nn.init.zeros_(head.weight)  # type: ignore[arg-type]
        self.bias = nn.Parameter(torch.full((2 * self.vocab_size,), RARE))
        self.dropout = nn.Dropout(dropout)
        special = (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id)
        # A tokenizer closes a text with a period, and may not know a word.
        self.sentence_ends = tuple(tokenizer.encode("clear.")[-1:])
        known = {number for word in DENYING for number in tokenizer.encode(word)[:1]}
        self.denying = tuple(known - {getattr(tokenizer, "unk_id", None), *self.sentence_ends})
        counted = torch.ones(self.vocab_size, dtype=torch.bool)
        counted[list({*special, *self.sentence_ends})] = False
        self.register_buffer("counted_U", counted, persistent=False)

    @torch.no_grad()
    def read_reports(self, reports: Iterable[list[int]]) -> None:
        """Start from how frequent each word is in the train reports (token ids without BOS and EOS).

        Otherwise the bias would creep there at the learning rate, and the images' weights would make up for it.
        """
        found = torch.zeros(2, self.vocab_size)
        num_reports = 0
        for ids in reports:
            found += self.targets(torch.tensor([[*ids]]), torch.tensor([len(ids)]))[0]
            num_reports += 1
        if num_reports:
            share = (found + 0.5) / (num_reports + 1.0)
            self.bias.copy_(torch.logit(share).flatten())

    def forward(self, features_IPC: Tensor, positions_I: Tensor, study_I: Tensor, num_studies: int) -> Tensor:
        """Logits (B, 2, U): the word is asserted, the word is denied.

        Args:
            features_IPC: the stem's features.
            positions_I: int64 index into ``VIEW_POSITIONS``.
            study_I: int64, the study of each image.
            num_studies: B; a study without an image gets the words' prior.
        """
        pooled_IC = self.dropout(features_IPC.mean(1))
        logits_BX = self.bias.to(pooled_IC.dtype).expand(num_studies, -1)
        for position, head in enumerate(self.heads):
            chosen = positions_I == position
            logits_BX = logits_BX.index_add(0, study_I[chosen], head(pooled_IC[chosen]).to(logits_BX.dtype))
        return logits_BX.unflatten(1, (2, self.vocab_size))  # type: ignore[no-untyped-call,no-any-return]

    def targets(self, token_ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Bool (B, 2, U): words of sentences that assert, words of sentences that deny.

        Args:
            token_ids_BT: the report, with or without BOS and EOS, and padding.
            lengths_B: tokens of it without padding.
        """
        device = token_ids_BT.device
        num_tokens = token_ids_BT.shape[1]
        real_BT = torch.arange(num_tokens, device=device) < lengths_B.unsqueeze(1)
        ends_BT = torch.isin(token_ids_BT, torch.tensor(self.sentence_ends, device=device)) & real_BT
        sentence_BT = ends_BT.long().cumsum(1) - ends_BT.long()
        cue_BT = torch.isin(token_ids_BT, torch.tensor(self.denying, device=device)) & real_BT
        denies_BS = torch.zeros_like(token_ids_BT, dtype=torch.long).scatter_add(1, sentence_BT, cue_BT.long()) > 0
        denied_BT = denies_BS.gather(1, sentence_BT)
        found = torch.zeros(len(token_ids_BT), 2 * self.vocab_size, device=device)
        column_BT = token_ids_BT + denied_BT.long() * self.vocab_size
        found = found.scatter_add(1, column_BT, real_BT.to(found.dtype)) > 0
        both: Tensor = found.unflatten(1, (2, self.vocab_size)) & self.get_buffer("counted_U")  # type: ignore[no-untyped-call]
        return both
