"""Random streams keyed by what they are for, so that drawing one thing never shifts the draws of another.

A stream's numbers are bytes of SHAKE-128 over its key: the same in every process, on every platform, in any order.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
_CHUNK = 32
_UNPACK = struct.Struct(f"<{_CHUNK}Q").unpack


def unit_of(*key: str | int) -> float:
    """One number in [0, 1) of its own key, where a whole stream would be wasted."""
    digest = hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=8).digest()
    return float((int.from_bytes(digest, "little") >> 11) * 2.0**-53)


class Stream:
    """Uniform numbers, choices and Gaussian noise keyed by ``key``; two streams of one key give the same draws."""

    __slots__ = ("_key", "_numbers", "_served")

    def __init__(self, *key: str | int) -> None:
        self._key = "\x1f".join(map(str, key)).encode()
        self._numbers: list[int] = []
        self._served = 0

    def unit(self) -> float:
        """A number in [0, 1)."""
        place = self._served % _CHUNK
        if place == 0:
            counter = b"\x1e%d" % (self._served // _CHUNK)
            self._numbers = list(_UNPACK(hashlib.shake_128(self._key + counter).digest(8 * _CHUNK)))
        self._served += 1
        return (self._numbers[place] >> 11) * 2.0**-53

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.unit()

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high], both ends included."""
        return low + int(self.unit() * (high - low + 1))

    def bell(self, centre: float, spread: float) -> float:
        """A number at most ``spread`` from ``centre``: a mean of three uniforms, standard deviation a third of it."""
        return centre + spread * (2 * (self.unit() + self.unit() + self.unit()) / 3 - 1)

    def choice(self, options: Sequence[T]) -> T:
        """One of ``options``, each as likely."""
        return options[int(self.unit() * len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """``options`` in a random order."""
        return [options[i] for i in sorted(range(len(options)), key=[self.unit() for _ in options].__getitem__)]

    def units(self, count: int) -> npt.NDArray[np.float32]:
        """``count`` numbers in [0, 1), float32; independent of how many numbers were drawn before by ``unit``."""
        numbers = np.frombuffer(hashlib.shake_128(self._key + b"\x1c").digest(4 * count), "<u4")
        return (numbers >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)

    def generator(self) -> np.random.Generator:
        """A numpy generator of this key, for arrays; independent of how many numbers were drawn before."""
        key = int.from_bytes(hashlib.shake_128(self._key + b"\x1d").digest(16), "little")
        return np.random.Generator(np.random.Philox(key=key))

    def gaussian(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Standard normal noise, float32."""
        noise: npt.NDArray[Any] = self.generator().standard_normal(shape, dtype=np.float32)
        return noise
