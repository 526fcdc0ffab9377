"""PNG, JPEG and DICOM bytes -> upright gray pixels of 8 or 16 bits, after limits are held on the headers alone.

Rules for what is no plain gray image: colour becomes luma (0.299 R + 0.587 G + 0.114 B, ITU-R BT.601; a JPEG's own
luma channel), transparent pixels are laid on black, EXIF orientation is applied, several frames are refused.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from radwright.errors import DamagedImageError, ImageError, RadwrightError

Kind = Literal["PNG", "JPEG", "DICOM"]
Pixels = npt.NDArray[np.unsignedinteger[Any]]
"""Gray pixels of type uint8 or uint16; black is 0, white is the type's largest value."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Without preamble: group 0002 or 0008, then a value representation, or (implicit) a length below 256.
_BARE_DICOM = re.compile(rb"[\x02\x08]\0.\0(?:[A-Z]{2}|.\0\0\0)", re.DOTALL)
_OTHER_KINDS = {
    b"%PDF": "PDF document",
    b"GIF8": "GIF",
    b"BM": "Windows bitmap",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"RIFF": "WebP or another RIFF file",
    b"PK\3\4": "ZIP archive (or an Office document)",
    b"\x1f\x8b": "gzip archive",
    b"n+1\0": "NIfTI volume",
    b"\x93NUMPY": "NumPy array",
    b"{\\rtf": "RTF document",
    b"<": "HTML or XML text",
}
_ORIENTATION_TAG = 0x0112
_EXIF, _HEADERS_BYTES = b"Exif", 65536
"""Where there is EXIF this word is among the first bytes, or (PNG) there is a chunk of its own for it."""
# EXIF orientation -> (counter-clockwise quarter turns, then mirrored left to right).
_UPRIGHT = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}
_PNG_GRAY, _PNG_CHANNELS = 0, {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass(frozen=True, slots=True)
class Encoded:
    """An encoded image whose header was read and held against the limits.

    Attributes:
        kind: the file type, told from the bytes, never from a file name.
        width: pixels, upright.
        height: pixels, upright.
        orientation: EXIF orientation, 1 (upright) to 8.
        name: what to call the image in an error message.
        data: the bytes.
    """

    kind: Kind
    width: int
    height: int
    orientation: int
    name: str
    data: bytes = field(repr=False)


def probe(data: bytes, *, name: str, max_pixels: int) -> Encoded:
    """Tell what an image is and how large, without decoding it.

    A PNG's chunk checksums are verified and a JPEG must reach its end marker, since decoders fill what is missing with
    gray.

    Raises:
        ImageError: empty, truncated or damaged, of an unknown type, larger than ``max_pixels``, or several frames.
        MissingExtraError: DICOM without the ``dicom`` extra.
    """
    if not data:
        raise ImageError(f"{name}: is empty (0 bytes)")
    if data.startswith(PNG_SIGNATURE):
        size, may_be_turned = _probe_png(data, name)
        return _encoded("PNG", size, data, name, max_pixels, may_be_turned)
    if data.startswith(b"\xff\xd8\xff"):
        size = _probe_jpeg(data, name)
        return _encoded("JPEG", size, data, name, max_pixels, _EXIF in data[:_HEADERS_BYTES])
    if is_dicom(data):
        from radwright.imaging import dicom

        width, height = dicom.probe_dicom(data, name=name)
        _hold_limit(width, height, name, max_pixels)
        return Encoded("DICOM", width, height, 1, name, data)
    raise ImageError(f"{name}: is no PNG, JPEG or DICOM image, but {_kind_of(data)}; convert it to one of these")


def _kind_of(data: bytes) -> str:
    """What bytes that are no image of ours seem to be, in words."""
    known = next((words for beginning, words in _OTHER_KINDS.items() if data.startswith(beginning)), "")
    if known:
        return f"a {known} by its first bytes"
    beginning = data[:8]
    if beginning.isascii() and beginning.decode("ascii").isprintable():
        return f"begins with the text {beginning.decode('ascii')!r}"
    return f"begins with the bytes {beginning.hex(' ')}"


def is_dicom(beginning: bytes) -> bool:
    """Whether a file is DICOM by its first 136 bytes: the signature, or (old files) tags from the very start."""
    return beginning[128:132] == b"DICM" or _BARE_DICOM.match(beginning) is not None


def decode(encoded: Encoded, *, at_least: tuple[int, int] | None = None) -> Pixels:
    """Decode to upright gray pixels (height, width).

    Args:
        encoded: from ``probe``.
        at_least: (width, height) that suffice: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, never below this.

    Returns:
        uint8 for sources of 8 bits or fewer, uint16 (full range) for deeper ones.

    Raises:
        ImageError: the pixels are truncated or damaged, or of a kind that has no gray reading.
    """
    if encoded.kind == "DICOM":
        from radwright.imaging import dicom

        return dicom.decode_dicom(encoded.data, name=encoded.name)
    gray = _decoded(encoded, encoded.data, at_least)
    if encoded.kind == "JPEG" and (gray[-1] == gray[-1, 0]).all() and not _has_all_blocks(encoded, gray, at_least):
        raise DamagedImageError(f"{encoded.name}: is truncated (a JPEG whose pixels end before its end marker)")
    if encoded.kind == "PNG" and not gray[-1].any() and not _has_all_rows(encoded.data):
        raise DamagedImageError(f"{encoded.name}: is truncated (a PNG with fewer rows than its header says)")
    return _upright(gray, encoded.orientation)


def _decoded(encoded: Encoded, data: bytes, at_least: tuple[int, int] | None) -> Pixels:
    """A PNG's or JPEG's gray pixels as they are stored, not yet turned upright."""
    try:
        with Image.open(io.BytesIO(data), formats=[encoded.kind]) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise ImageError(f"{encoded.name}: holds several frames; one image per file is expected")
            if encoded.kind == "JPEG" and at_least is not None:
                turned = encoded.orientation >= 5
                image.draft("L", (at_least[1], at_least[0]) if turned else at_least)
            return _gray(image)
    except RadwrightError:
        raise
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        raise DamagedImageError(f"{encoded.name}: cannot be decoded, it is truncated or damaged: {error}") from error


def _has_all_blocks(encoded: Encoded, gray: Pixels, at_least: tuple[int, int] | None) -> bool:
    """Whether a JPEG's stream reaches its last block.

    The decoder fills the blocks after a premature end with one shade, silently. Bytes put before the end marker are
    ignored by a whole stream, and taken for the missing blocks by one that is cut.
    """
    end = encoded.data.rfind(b"\xff\xd9")
    longer = encoded.data[:end] + b"\x5a\xc3\x17\x8e" * 64 + encoded.data[end:]
    return bool(np.array_equal(gray, _decoded(encoded, longer, at_least)))


def png_bytes(pixels: Pixels) -> bytes:
    """Gray pixels (height, width) of uint8 or uint16 as a PNG of the same depth, losslessly."""
    stream = io.BytesIO()
    # Level 1: a 16-bit radiograph's low bits are noise, higher levels cost ten times the time for a few percent.
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _encoded(
    kind: Kind, size: tuple[int, int], data: bytes, name: str, max_pixels: int, may_be_turned: bool
) -> Encoded:
    _hold_limit(*size, name, max_pixels)
    orientation = _orientation(data, kind) if may_be_turned else 1
    width, height = (size[1], size[0]) if orientation >= 5 else size
    return Encoded(kind, width, height, orientation, name, data)


def _hold_limit(width: int, height: int, name: str, max_pixels: int) -> None:
    if width <= 0 or height <= 0:
        raise ImageError(f"{name}: says that it has {width} x {height} pixels")
    if width * height > max_pixels:
        raise ImageError(f"{name}: has {width} x {height} pixels, more than max_pixels = {max_pixels}")


def _orientation(data: bytes, kind: Kind) -> int:
    """The EXIF orientation; 1 where there is none or it makes no sense."""
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF says nothing about the pixels, which are decoded and checked later
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _probe_png(data: bytes, name: str) -> tuple[tuple[int, int], bool]:
    """Walk a PNG's chunks, verifying each checksum; (width, height), and whether it may hold EXIF."""
    size: tuple[int, int] | None = None
    may_be_turned = _EXIF in data[:_HEADERS_BYTES]
    view = memoryview(data)
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        if zlib.crc32(view[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise DamagedImageError(f"{name}: is damaged (a PNG checksum is wrong)")
        if kind == b"IHDR" and length == 13:
            width, height, depth, colour = struct.unpack_from(">IIBB", data, at + 8)
            if depth == 16 and colour != _PNG_GRAY:
                raise ImageError(
                    f"{name}: is a 16-bit PNG with {_PNG_CHANNELS.get(colour, '?')} channels; save it as 16-bit gray"
                )
            size = (width, height)
        elif kind == b"eXIf":
            may_be_turned = True
        elif kind == b"acTL":
            raise ImageError(f"{name}: is an animated PNG; one image per file is expected")
        elif kind == b"IEND" and size is not None:
            return size, may_be_turned
        at = end
    raise DamagedImageError(f"{name}: is truncated (a PNG that does not reach its end)")


def _has_all_rows(data: bytes) -> bool:
    """Whether a PNG's stream holds every row: Pillow fills rows that are missing at its end with black, silently.

    Interlaced files are taken as whole.
    """
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, len(PNG_SIGNATURE) + 8)
    if interlaced:
        return True
    wanted = height * (1 + (width * depth * _PNG_CHANNELS.get(colour, 1) + 7) // 8)
    inflate = zlib.decompressobj()
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data) and wanted > 0:
        length, kind = struct.unpack_from(">I4s", data, at)
        left = data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        while left and wanted > 0:
            wanted -= len(inflate.decompress(left, min(wanted, 2**20)))
            left = inflate.unconsumed_tail
        at += 12 + length
    return bool(wanted <= 0)


def _probe_jpeg(data: bytes, name: str) -> tuple[int, int]:
    """Walk a JPEG's segments up to its first scan; (width, height). The end marker must follow the last scan."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise DamagedImageError(f"{name}: is damaged (a JPEG segment does not start where it should)")
        marker = data[at + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8 or marker == 0x01:
            at += 1 if marker == 0xFF else 2
            continue
        length = struct.unpack_from(">H", data, at + 2)[0]
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            if at + 9 > len(data):
                break
            depth, height, width = struct.unpack_from(">BHH", data, at + 4)
            if depth != 8 or marker in {0xC3, 0xC7, 0xCB, 0xCF}:
                raise ImageError(f"{name}: is a lossless or {depth}-bit JPEG; save it as 16-bit PNG or as DICOM")
            # From the end backwards: a search for the last scan would go through the whole file.
            end_marker = data.rfind(b"\xff\xd9")
            if end_marker < 0 or data.find(b"\xff\xda", end_marker) >= 0:
                raise DamagedImageError(f"{name}: is truncated (a JPEG that does not reach its end)")
            return width, height
        at += 2 + length
    raise DamagedImageError(f"{name}: is truncated (a JPEG that ends in its header)")


def _gray(image: Image.Image) -> Pixels:
    """Load the pixels as gray uint8, or uint16 where the file is deeper."""
    if image.mode == "L" and "transparency" not in image.info:
        return np.asarray(image)
    if image.mode in {"I;16", "I;16B", "I;16L"}:
        return np.asarray(image, dtype=np.uint16)
    if image.mode == "I":
        return np.asarray(np.asarray(image).clip(0, 65535), dtype=np.uint16)
    if image.mode == "CMYK":
        return np.asarray(image.convert("RGB").convert("L"))
    if "A" in image.mode or "transparency" in image.info:
        colour = image.convert("RGBA")
        black = Image.new("RGBA", colour.size, (0, 0, 0, 255))
        return np.asarray(Image.alpha_composite(black, colour).convert("RGB").convert("L"))
    if image.mode not in {"L", "1", "P", "RGB", "YCbCr"}:
        raise ImageError(f"pixels of Pillow mode {image.mode!r} have no gray reading here; save the image as gray PNG")
    return np.asarray((image.convert("RGB") if image.mode == "P" else image).convert("L"))


def _upright(gray: Pixels, orientation: int) -> Pixels:
    if orientation not in _UPRIGHT:
        return gray
    quarter_turns, mirrored = _UPRIGHT[orientation]
    turned = np.rot90(gray, quarter_turns)
    return np.ascontiguousarray(np.fliplr(turned) if mirrored else turned)
