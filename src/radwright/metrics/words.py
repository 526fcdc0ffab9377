"""Texts as numbers of words, one text after the other: what metrics count with numpy instead of word by word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


class Numbering(dict[str, int]):
    """Word -> number, given in the order in which words are first asked for."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


@dataclass(frozen=True, slots=True)
class Words:
    """Texts as numbers of words, one after the other.

    Attributes:
        ids: (words of all texts,).
        offsets: (texts + 1,); text k is ``ids[offsets[k] : offsets[k + 1]]``.
    """

    ids: IntArray
    offsets: IntArray

    @classmethod
    def of(cls, texts: Sequence[Sequence[str]], numbering: Numbering) -> Words:
        """Put texts one after the other; words that ``numbering`` does not know get the next numbers."""
        lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
        ids = map(numbering.__getitem__, chain.from_iterable(texts))
        return cls(np.fromiter(ids, dtype=np.int64, count=int(offsets[-1])), offsets)

    @property
    def lengths(self) -> IntArray:
        """(texts,) words of each text."""
        return np.diff(self.offsets)

    @property
    def texts(self) -> IntArray:
        """(words,) the text that each word is in."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)

    @property
    def places(self) -> IntArray:
        """(words,) where in its text each word stands."""
        return np.arange(len(self.ids)) - np.repeat(self.offsets[:-1], self.lengths)
