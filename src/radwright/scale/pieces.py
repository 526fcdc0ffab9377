"""Work cut into pieces: runs of studies that one worker does at a time, and that are done wholly or not at all."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

SMALLEST, LARGEST = 64, 4096
_WANTED = 4096
"""Pieces that a job is cut into, unless they would be smaller or larger than that."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Studies ``first`` to ``end - 1`` of a job; ``number`` counts its pieces from 0."""

    number: int
    first: int
    end: int

    def __len__(self) -> int:
        return self.end - self.first


def piece_size(num_studies: int) -> int:
    """Studies per piece of a job: a power of 2, so that a kill costs little and the files stay few."""
    size = 2 ** math.ceil(math.log2(max(1, num_studies) / _WANTED)) if num_studies > _WANTED else 1
    return max(SMALLEST, min(LARGEST, size))


def cut(num_studies: int, size: int, ends: Sequence[int] = ()) -> list[Piece]:
    """Pieces of about ``size`` studies, that together are all studies and never overlap.

    Args:
        num_studies: of the job.
        size: at least 1.
        ends: numbers of studies, ascending, before which it is cheap to part (ends of row groups): a piece ends at the
            first of these that makes it full, unless it would have twice its size.
    """
    pieces: list[Piece] = []
    first = 0
    while first < num_studies:
        end = min(first + size, num_studies)
        place = bisect.bisect_left(ends, end)
        if place < len(ends) and ends[place] < first + 2 * size:
            end = min(ends[place], num_studies)
        pieces.append(Piece(len(pieces), first, end))
        first = end
    return pieces
