"""Which report is best, how good a live beam can still become, and the n-best list of complete reports.

Shape legend: C studies still decoded, W beams, N length of the n-best list, T most tokens of a report.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Ranking:
    """Reports are ranked by sum / length**alpha.

    Attributes:
        length_penalty: alpha; any sign.
        num_reports: N, how many best reports must be certain before a study stops.
        early_stop: whether a study stops then, or only when no beam is live.
    """

    length_penalty: float = 0.0
    num_reports: int = 1
    early_stop: bool = True

    def score(self, sums: Tensor, length: int) -> Tensor:
        """Rank of reports of ``length`` tokens (EOS included) with these summed log-probabilities (at most 0)."""
        divisor: float = float(length) ** self.length_penalty
        return sums / divisor

    def bound(self, sums: Tensor, num_tokens: int, longest: int) -> Tensor:
        """The best rank that a live beam of ``num_tokens`` tokens (below ``longest``) can still reach.

        A log-probability is at most 0, so a beam's final sum is at most its sum s now, and its final length L lies
        between num_tokens + 1 and ``longest``. Its rank is therefore at most the maximum of s / L**alpha over these L.
        As s <= 0 that maximum lies at the longest L for alpha > 0 (more tokens divide the loss), at the shortest for
        alpha < 0, and is s for alpha = 0. It is reached when every further token has probability 1, so without looking
        ahead nothing tighter holds. A live beam of minus infinity (no beam) stays at minus infinity.
        """
        return self.score(sums, longest if self.length_penalty > 0 else num_tokens + 1)


@dataclass(frozen=True, slots=True)
class NBest:
    """The best complete reports per study, best first.

    Among equals the one that was complete earlier comes first, then the lower beam.

    Attributes:
        ranks_CN: floating point, minus infinity where there is none yet.
        sums_CN: summed log-probabilities, EOS included.
        lengths_CN: int64, tokens including EOS.
        ended_CN: bool, True where the report ended by EOS.
        tokens_CNT: int64; the first ``lengths`` count.
    """

    ranks_CN: Tensor
    sums_CN: Tensor
    lengths_CN: Tensor
    ended_CN: Tensor
    tokens_CNT: Tensor

    @classmethod
    def empty(cls, num_studies: int, size: int, sums: Tensor, tokens: Tensor, longest: int) -> NBest:
        """No report yet; dtypes and device are those of ``sums`` and ``tokens``."""
        return cls(
            sums.new_full((num_studies, size), -torch.inf),
            sums.new_full((num_studies, size), -torch.inf),
            tokens.new_zeros((num_studies, size)),
            torch.zeros((num_studies, size), dtype=torch.bool, device=tokens.device),
            tokens.new_zeros((num_studies, size, longest)),
        )

    def add(self, other: NBest) -> NBest:
        """Merge reports that were completed later; keeps this list's size."""
        size = self.ranks_CN.shape[1]
        ranks, order = torch.sort(torch.cat([self.ranks_CN, other.ranks_CN], 1), dim=1, descending=True, stable=True)
        order = order[:, :size]

        def merge(mine: Tensor, theirs: Tensor) -> Tensor:
            return torch.cat([mine, theirs], 1).gather(1, order)

        tokens = torch.cat([self.tokens_CNT, other.tokens_CNT], 1)
        return NBest(
            ranks[:, :size],
            merge(self.sums_CN, other.sums_CN),
            merge(self.lengths_CN, other.lengths_CN),
            merge(self.ended_CN, other.ended_CN),
            tokens.gather(1, order[..., None].expand(-1, -1, tokens.shape[-1])),
        )

    def select(self, rows: Tensor) -> NBest:
        """The lists of some studies."""
        return NBest(
            self.ranks_CN[rows],
            self.sums_CN[rows],
            self.lengths_CN[rows],
            self.ended_CN[rows],
            self.tokens_CNT[rows],
        )
