"""Fixed sine-cosine position tables for report tokens (1-D) and image patches (2-D)."""

from __future__ import annotations

import torch
from torch import Tensor


def sincos_1d(num_positions: int, dim: int, *, offset: int = 0) -> Tensor:
    """Interleaved table of Vaswani et al. 2017: even columns sine, odd columns cosine.

    Args:
        num_positions: rows T.
        dim: columns D, even.
        offset: position of the first row.

    Returns:
        (T, D) float64, so that the caller chooses the precision it adds in.
    """
    position_T1 = torch.arange(offset, offset + num_positions, dtype=torch.float64).unsqueeze(1)
    frequency_D2 = torch.exp(torch.arange(0, dim, 2, dtype=torch.float64) * (-torch.log(torch.tensor(10000.0)) / dim))
    table_TD = torch.empty(num_positions, dim, dtype=torch.float64)
    table_TD[:, 0::2] = torch.sin(position_T1 * frequency_D2)
    table_TD[:, 1::2] = torch.cos(position_T1 * frequency_D2)
    return table_TD


def sincos_2d(side: int, dim: int) -> Tensor:
    """MAE's table (He et al. 2022), row-major, without a CLS row (whose position is zero).

    The first half of the columns comes from the column index, the second from the row index; each half is
    [D/4 sines, D/4 cosines] with frequencies 10000^(-i / (D/4)).

    Args:
        side: patches per side n.
        dim: columns D, divisible by 4.

    Returns:
        (n * n, D) float64.
    """
    quarter = dim // 4
    frequency = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angle_nQ = torch.arange(side, dtype=torch.float64).unsqueeze(1) * frequency
    axis_nH = torch.cat([torch.sin(angle_nQ), torch.cos(angle_nQ)], dim=1)
    by_column = axis_nH.unsqueeze(0).expand(side, side, dim // 2)
    by_row = axis_nH.unsqueeze(1).expand(side, side, dim // 2)
    return torch.cat([by_column, by_row], dim=-1).reshape(side * side, dim)
