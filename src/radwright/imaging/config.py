"""How encoded images become the network's input: the one config that training, inference and serving share."""

from __future__ import annotations

from pydantic import Field

from radwright.config import Config


class ImageConfig(Config):
    """From encoded bytes to a square tensor.

    The default shows the network the whole radiograph: costophrenic angles and apices are often at the edge, and an
    effusion hides where a crop would cut. ``keep_aspect: false`` is the released VLCI evaluation transform.
    """

    size_px: int = Field(default=224, ge=8, le=4096)
    """Side S of the square tensor, in pixels."""

    keep_aspect: bool = True
    """True (ours): the whole image is fitted into the square and padded. False (as released): it is squashed to it."""

    padding: float = Field(default=0.0, ge=0.0, le=1.0)
    """Brightness of the padding, 0 (black, as the collimated edge of a radiograph) to 1."""

    max_pixels: int = Field(default=80_000_000, ge=1, le=89_000_000)
    """Larger images are refused before they are decoded (a small file can hold a huge image)."""

    max_bytes: int = Field(default=268_435_456, ge=1)
    """Larger files are refused before they are decoded."""
