"""Clue injection: a disease's words and how sure it is, as one embedding; that there is such a module is the paper's.

Shape legend: B studies, M diseases, C width of the text encoder, D interaction width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from radwright.methods.trrg.perception import Clues
from radwright.nn.attention import linear

MAX_LOGIT = 8.0


class ClueInjection(nn.Module):
    """c_k = W_2 GELU(W_1 h(clue_k)) + E_conf(logit p_k), behind a learnt null clue (formula ours).

    The null clue is always there: over an empty set attention would be NaN, and poison the other rows' gradients.
    """

    def __init__(self, text_dim: int, dim: int) -> None:
        super().__init__()
        self.up = linear(text_dim, dim)
        self.down = linear(dim, dim)
        self.confidence = linear(1, dim)
        self.null_clue = nn.Parameter(torch.randn(dim) * 0.02)

    def forward(self, words_MC: Tensor, clues: Clues) -> tuple[Tensor, Tensor]:
        """Clue embeddings (B, 1 + M, D), null clue first, and which of them are told, bool (B, 1 + M)."""
        named_MD = self.down(F.gelu(self.up(words_MC)))
        logit_BM = clues.probability_BM.to(named_MD.dtype).logit(eps=1e-6).clamp(-MAX_LOGIT, MAX_LOGIT)
        clues_BMD = named_MD + self.confidence(logit_BM.unsqueeze(-1))
        null_B1D = self.null_clue.to(named_MD.dtype).expand(len(logit_BM), 1, -1)
        always_B1 = clues.keep_BM.new_ones(len(logit_BM), 1)
        return torch.cat([null_B1D, clues_BMD], dim=1), torch.cat([always_B1, clues.keep_BM], dim=1)
