"""Images for the page: the gray values behind the window for the viewer, small PNGs for the worklist."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from PIL import Image

from radwright.imaging.config import ImageConfig
from radwright.imaging.decode import Encoded, decode, probe
from radwright.imaging.modality import Window, modality_values
from radwright.imaging.pixels import fit, resize
from radwright.serving.records import ReadingImage
from radwright.serving.room import ReadingRoom

LARGEST_SIDE_PX = 4096
THUMBNAIL_PX = 256
_NUM_THUMBNAILS = 2000
NUM_DECODING = 2
"""Images decoded at once: each needs its pixels several times over in memory."""


@dataclass(frozen=True, slots=True)
class RawPixels:
    """Gray pixels, bright is dense.

    Attributes:
        data: row-major, little-endian where they have 16 bits.
        width, height: of these pixels.
        bits: 8 or 16.
        slope, intercept, window: see ``ModalityValues``.
    """

    data: bytes
    width: int
    height: int
    bits: int
    slope: float
    intercept: float
    window: Window | None


class Pictures:
    """Decodes kept images, by the very steps through which the network reads them; for the viewer before the window."""

    def __init__(self, room: ReadingRoom) -> None:
        self._room = room
        self._places = threading.BoundedSemaphore(NUM_DECODING)
        self._lock = threading.Lock()
        self._thumbnails: OrderedDict[str, bytes] = OrderedDict()

    def pixels(self, image: ReadingImage) -> RawPixels:
        """At full size, or reduced to ``LARGEST_SIDE_PX``.

        Raises:
            StoreError: its bytes are missing or were changed.
        """
        size = fit(image.width, image.height, min(LARGEST_SIDE_PX, max(image.width, image.height)))
        with self._places:
            values = modality_values(self._encoded(image), at_least=size)
            gray = resize(values.pixels, size)
        data = gray.astype("<u2").tobytes() if gray.dtype == np.uint16 else gray.tobytes()
        bits = 8 * gray.dtype.itemsize
        return RawPixels(data, size[0], size[1], bits, values.slope, values.intercept, values.window)

    def thumbnail(self, image: ReadingImage) -> bytes:
        """A PNG of at most ``THUMBNAIL_PX`` a side.

        Raises:
            StoreError: its bytes are missing or were changed.
        """
        if (known := self.known_thumbnail(image)) is not None:
            return known
        size = fit(image.width, image.height, min(THUMBNAIL_PX, max(image.width, image.height)))
        with self._places:
            gray = resize(decode(self._encoded(image), at_least=size), size)
        shown = gray if gray.dtype == np.uint8 else (gray >> 8).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(shown).save(stream, "PNG")
        with self._lock:
            self._thumbnails[image.digest] = stream.getvalue()
            while len(self._thumbnails) > _NUM_THUMBNAILS:
                self._thumbnails.popitem(last=False)
        return stream.getvalue()

    def known_thumbnail(self, image: ReadingImage) -> bytes | None:
        """Its thumbnail, where one is at hand."""
        with self._lock:
            return self._thumbnails.get(image.digest)

    def _encoded(self, image: ReadingImage) -> Encoded:
        data = self._room.blobs.get(image.digest)
        return probe(data, name=f"image {image.place + 1}", max_pixels=ImageConfig().max_pixels)
