"""Image files that somebody could send to break a server: damaged, bombs, other types, lies in headers."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tiny_dicom import EXPLICIT, IMPLICIT, dicom

Named = tuple[str, bytes]
"""What is wrong with a file, and its bytes."""
PNG = b"\x89PNG\r\n\x1a\n"
LIMIT = 40_000_000
"""Pixels that the server takes at most."""
_RNG = np.random.default_rng(7)
NOISE = _RNG.integers(0, 256, (96, 80), dtype=np.uint8)
UNDEFINED = 0xFFFFFFFF


def saved(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def good() -> list[Named]:
    """Files that are taken; what is wrong with the others is all that differs."""
    deep = (NOISE.astype(np.uint16) << 8) | 7
    return [
        ("png", saved(NOISE)),
        ("png16", saved(deep)),
        ("jpeg", saved(NOISE, "JPEG", quality=90)),
        ("progressive jpeg", saved(NOISE, "JPEG", quality=90, progressive=True)),
        ("dicom", dicom(deep, stored=16)),
        ("implicit dicom", dicom(deep, stored=16, syntax=IMPLICIT, SOPInstanceUID="1.2.4")),
    ]


def truncated() -> Iterator[Named]:
    """Every good file, cut at many places."""
    for name, data in good():
        for part in (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.999):
            yield f"{name} cut at {part:.1%}", data[: int(len(data) * part)]
        if "dicom" not in name:  # a DICOM file's last byte is one pixel's
            yield f"{name} without its last byte", data[:-1]


def flipped() -> Iterator[Named]:
    """Bits flipped where the format tells: in any byte of a PNG, in the frame of a JPEG, in a DICOM's lengths."""
    for name, data in good()[:2]:
        for at in sorted({*range(8), *_RNG.integers(8, len(data), 16).tolist()}):
            yield f"{name} flipped at {at}", _flip(data, at)
    for name, data in good()[2:4]:
        frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        for at in (0, 1, frame, frame + 3, frame + 4, frame + 9, len(data) - 1):
            yield f"{name} flipped at {at}", _flip(data, at)


def noisy() -> Iterator[Named]:
    """Bits flipped anywhere: what can still be decoded is an image like any other."""
    for name, data in good()[2:]:
        for at in _RNG.integers(0, len(data), 12).tolist():
            yield f"{name} flipped anywhere, {at}", _flip(data, at)


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]


def other_types() -> Iterator[Named]:
    """What is no image that the room takes."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../etc/cron.d/x", bytes(10_000_000))
    html, svg = b"<html><script>alert(1)</script></html>", b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>"
    yield from [
        ("0 bytes", b""),
        ("1 byte", b"\x89"),
        ("NUL bytes", bytes(4096)),
        ("0xff bytes", b"\xff" * 4096),
        ("text", b"no image at all"),
        ("pdf", b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF"),
        ("zip bomb", inner.getvalue()),
        ("gzip of a png", gzip.compress(saved(NOISE))),
        ("gzip bomb", gzip.compress(bytes(20_000_000))),
        ("executable", b"\x7fELF\x02\x01\x01" + bytes(200)),
        ("windows executable", b"MZ" + bytes(200)),
        ("html", html),
        ("svg", svg),
        ("svg bomb", b"<!DOCTYPE s [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]>" + svg),
        ("script", b"#!/bin/sh\nrm -rf /\n"),
        ("gif", saved(NOISE, "GIF")),
        ("bmp", saved(NOISE, "BMP")),
        ("tiff", saved(NOISE, "TIFF")),
        ("webp", saved(np.stack([NOISE] * 3, -1), "WEBP")),
        ("eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n"),
        ("postscript in a png's name", b"\x89PNG\r\n" + b"%!PS\n" * 20),
        ("pickle", b"\x80\x04cos\nsystem\n(S'true'\ntR."),
        ("html behind a png's signature", PNG + html),
        ("html behind a jpeg's marker", b"\xff\xd8\xff\xe0" + html),
        ("html behind DICM", bytes(128) + b"DICM" + html),
        ("zip behind DICM", bytes(128) + b"DICM" + inner.getvalue()[:2000]),
        ("DICM and no more", bytes(128) + b"DICM"),
    ]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 0, interlaced: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return PNG + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def zeros(num_bytes: int) -> bytes:
    """So many zero bytes, deflated, without ever holding them all."""
    deflate, parts, part = zlib.compressobj(9), [], bytes(2**20)
    while num_bytes > 0:
        parts.append(deflate.compress(part[:num_bytes]))
        num_bytes -= len(part)
    return b"".join([*parts, deflate.flush()])


def png_bombs() -> Iterator[Named]:
    """Small files that grow, or say that they would."""
    side = int(LIMIT**0.5)
    few, bomb = chunk(b"IDAT", zlib.compress(bytes(100))), zlib.compress(bytes(80_000_000), 9)
    row = side + 1
    yield "60000 x 60000", png(60_000, 60_000, few)
    yield "largest sizes", png(2**31 - 1, 2**31 - 1, few)
    yield "sizes beyond 31 bits", png(2**32 - 1, 1, few)
    yield "no width", png(0, 100, few)
    yield "60000 x 600 and hardly any data", png(60_000, 600, few)
    yield "40 megapixels and hardly any data", png(side, side, few)
    yield "40 megapixels interlaced and hardly any data", png(side, side, few, interlaced=1)
    yield "40 megapixels in colour and hardly any data", png(side, side, few, colour=6)
    yield "40 megapixels of zeros", png(side, side, chunk(b"IDAT", zeros(side * row)))
    yield "40 megapixels of zeros, 1 bit", png(side, side, chunk(b"IDAT", zeros(side * (side // 8 + 2))), depth=1)
    yield "40 megapixels of zeros, 16 bits", png(side, side, chunk(b"IDAT", zeros(side * (2 * side + 1))), depth=16)
    yield (
        "40 megapixels of zeros, colour and alpha",
        png(side, side, chunk(b"IDAT", zeros(side * (4 * side + 1))), colour=6),
    )
    yield (
        "40 megapixels of zeros, interlaced",
        png(side, side, chunk(b"IDAT", zeros(side * (side + 2))), interlaced=1),
    )
    yield "40 megapixels of zeros, half of them", png(side, side, chunk(b"IDAT", zeros(side * row // 2)))
    yield "400 megabytes behind 100 x 100", png(100, 100, chunk(b"IDAT", zeros(400_000_000)[:-9]))
    for kind, head in ((b"zTXt", b"Comment\0\0"), (b"iTXt", b"Comment\0\1\0\0\0"), (b"iCCP", b"icc\0\0")):
        idat = chunk(b"IDAT", zlib.compress(b"\0" + bytes(range(100)) * 1) * 1)
        yield f"{kind.decode()} bomb", png(100, 1, chunk(kind, head + bomb), idat)
    yield "many zTXt bombs", png(100, 1, *[chunk(b"zTXt", b"C%d\0\0" % n + zeros(900_000)) for n in range(200)], few)
    yield "no IDAT", png(100, 100)
    yield "no IHDR", PNG + few + chunk(b"IEND", b"")
    yield "depth 3", png(100, 100, few, depth=3)
    yield "colour type 9", png(100, 100, few, colour=9)
    yield "palette without colours", png(10, 9, chunk(b"IDAT", zlib.compress(bytes(99))), colour=3)
    yield "100,000 empty chunks", png(100, 100, *[chunk(b"IDAT", b"")] * 100_000)
    yield "chunk longer than the file", PNG + struct.pack(">I4s", 0x7FFFFFFF, b"IHDR") + bytes(100)
    yield "animated", png(10, 9, chunk(b"acTL", struct.pack(">II", 5, 0)), few)


def jpeg_bombs() -> Iterator[Named]:
    """JPEG frames that lie."""
    data = saved(NOISE, "JPEG", quality=90)
    progressive = saved(NOISE, "JPEG", quality=90, progressive=True)
    for name, whole in (("baseline", data), ("progressive", progressive)):
        frame = max(whole.find(b"\xff\xc0"), whole.find(b"\xff\xc2"))
        for height, width in ((60_000, 60_000), (65_535, 600), (6_300, 6_300), (0, 80), (96, 0)):
            sizes = struct.pack(">HH", height, width)
            yield f"{name}, {width} x {height}", whole[: frame + 5] + sizes + whole[frame + 9 :]
    scan = data.find(b"\xff\xda")
    yield "no tables", data[:2] + data[data.find(b"\xff\xc0") :]
    yield "no pixels", data[: scan + 14] + b"\xff\xd9"
    yield "a thousand scans", progressive[:-2] + (progressive[progressive.find(b"\xff\xda") : -2]) * 1000
    yield "lossless", data.replace(b"\xff\xc0", b"\xff\xc3", 1)
    yield "arithmetic", data.replace(b"\xff\xc0", b"\xff\xcc", 1)
    yield "12 bits", data.replace(b"\xff\xc0\x00\x0b\x08", b"\xff\xc0\x00\x0b\x0c", 1)
    yield "segment of length 0", data[:2] + b"\xff\xe1\x00\x00" + data[2:]
    yield "64 KB of 0xff", data[:2] + b"\xff" * 65_536
    yield "exif with a loop", data[:2] + _looping_exif() + data[2:]


def _looping_exif() -> bytes:
    """An EXIF directory that names itself as the next one; the image behind it is cut off by a second header."""
    tiff = b"MM\0*\0\0\0\x08" + struct.pack(">H", 1) + struct.pack(">HHII", 0x8769, 4, 1, 8) + struct.pack(">I", 8)
    body = b"Exif\0\0" + tiff
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + b"\xff\xd8\0\0"


def element(group: int, number: int, kind: bytes, value: bytes, *, length: int | None = None) -> bytes:
    """A DICOM data element in explicit little endian."""
    size = len(value) if length is None else length
    if kind in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return struct.pack("<HH2sHI", group, number, kind, 0, size) + value
    return struct.pack("<HH2sH", group, number, kind, size) + value


def _with(*elements: bytes, syntax: str = EXPLICIT, pixels: bytes | None = None, rows: int = 32) -> bytes:
    """A DICOM file with these elements between its image's tags and its pixels."""
    size = struct.pack("<H", rows)
    tags = [
        element(0x0028, number, b"US", value)
        for number, value in ((2, b"\1\0"), (0x10, size), (0x11, size), (0x100, b"\x10\0"), (0x101, b"\x10\0"))
    ]
    tags += [element(0x0028, number, b"US", value) for number, value in ((0x102, b"\x0f\0"), (0x103, b"\0\0"))]
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = element(0x0002, 0x0010, b"UI", uid)
    body = element(0x7FE0, 0x0010, b"OW", bytes(range(256)) * 8 if pixels is None else pixels)
    length = element(0x0002, 0x0000, b"UL", struct.pack("<I", len(meta)))
    return bytes(128) + b"DICM" + length + meta + b"".join(tags) + b"".join(elements) + body


def dicom_bombs() -> Iterator[Named]:
    """DICOM files that lie about lengths, nest without end, or grow."""
    item, end = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    sequence = element(0x0040, 0x0275, b"SQ", b"", length=UNDEFINED)
    at_end = {"pixels": b""}
    for depth in (100, 3_000, 100_000):
        yield f"sequences nested {depth} deep, never closed", _with((sequence + item) * depth, **at_end)
    closing = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + end
    yield "sequences nested 3,000 deep, closed", _with((sequence + item) * 3000, closing * 3000, pixels=b"")
    yield "a million empty items", _with(sequence, struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 1_000_000, pixels=b"")
    yield "a million elements", _with(element(0x0009, 0x1001, b"LO", b"") * 1_000_000, pixels=b"")
    nested = element(0x0009, 0x1001, b"LO", b"") * 100_000 + closing[:8] + end
    yield "100,000 elements in an item", _with(sequence, item, nested, pixels=b"")
    yield "a sequence that never ends", _with(sequence)
    yield "a value of undefined length", _with(element(0x0008, 0x1030, b"UN", b"", length=UNDEFINED))
    yield "pixels longer than the file", _with(pixels=b"")[:-4] + struct.pack("<I", 0x7FFFFFFF) + bytes(range(99))
    yield "native pixels of undefined length", _with(pixels=b"")[:-4] + struct.pack("<I", UNDEFINED) + bytes(2048)
    yield "wrong value representation", _with(element(0x0028, 0x0010, b"LO", b"many"), pixels=b"")
    yield "unknown value representation", _with(element(0x0028, 0x0012, b"ZZ", b"ab"), pixels=b"")
    yield "group length of 4 GB", _with(pixels=b"")[:140] + struct.pack("<I", 0xFFFFFFFE) + _with(pixels=b"")[144:]
    yield "rows as text", dicom(without=("Rows",)) + element(0x0028, 0x0010, b"LO", b"many")
    yield "no pixels", dicom(without=("PixelData",))
    yield "empty pixels", _with(pixels=b"")
    yield "half of the pixels", _with(pixels=bytes(1024))
    yield "60000 x 60000", _with(rows=60_000)
    yield "6300 x 6300 and hardly any data", _with(rows=6_300)
    yield "no rows", dicom(without=("Rows",))
    yield "three frames", dicom(np.zeros((3, 32, 32), np.uint16), NumberOfFrames=3)
    yield "2**31 frames", dicom(NumberOfFrames=2**31 - 1)
    yield "colour", dicom(SamplesPerPixel=3, PhotometricInterpretation="RGB")
    yield "palette", dicom(PhotometricInterpretation="PALETTE COLOR")
    yield "computed tomography", dicom(Modality="CT")
    yield "a hand", dicom(Modality="DX", BodyPartExamined="HAND")
    yield "a structured report", dicom(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR")
    yield "bits that cannot be", dicom(stored=12, BitsAllocated=13)
    yield "1 bit", dicom(BitsAllocated=1, BitsStored=1, HighBit=0)
    yield "unknown transfer syntax", _with(syntax="1.2.3.4.5")
    deflated = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflated.compress(bytes(100_000_000)) + deflated.flush()
    syntax = element(0x0002, 0x0010, b"UI", b"1.2.840.10008.1.2.1.99")
    far = element(0x0002, 0x0102, b"OB", bytes(100_000))
    yield "deflated bomb", bytes(128) + b"DICM" + syntax + bomb
    yield "deflated bomb, said late", bytes(128) + b"DICM" + far + syntax + bomb
    yield from _encapsulated(item)


def _encapsulated(item: bytes) -> Iterator[Named]:
    """Compressed pixels that are not what the tags say."""
    jpeg = saved(_RNG.integers(0, 256, (8, 8), dtype=np.uint8), "JPEG")
    j2k = saved(NOISE, "JPEG2000", no_jp2=True)
    size = j2k.find(b"\xff\x51") + 6
    huge = j2k[:size] + struct.pack(">II", 60_000, 60_000) + j2k[size + 8 :]
    rle = struct.pack("<16I", 2, 64, 64 + 2 * 20_000, *[0] * 13) + b"\x81\x00" * 40_000
    frames = {
        "JPEG of 8 x 8 as 32 x 32": ("1.2.840.10008.1.2.4.50", jpeg, 32),
        "JPEG 2000 of 60000 x 60000 as 32 x 32": ("1.2.840.10008.1.2.4.90", huge, 32),
        "JPEG 2000 cut in half": ("1.2.840.10008.1.2.4.90", j2k[: len(j2k) // 2], 96),
        "JPEG-LS that is none": ("1.2.840.10008.1.2.4.80", b"\xff\xd8\xff\xf7" + bytes(500), 32),
        "JPEG lossless that is none": ("1.2.840.10008.1.2.4.70", b"\xff\xd8" + bytes(500) + b"\xff\xd9", 32),
        "RLE of other sizes": ("1.2.840.10008.1.2.5", rle, 32),
        "RLE with offsets beyond its end": ("1.2.840.10008.1.2.5", struct.pack("<16I", 15, *[2**31] * 15), 32),
        "HEVC": ("1.2.840.10008.1.2.4.107", bytes(500), 32),
    }
    for name, (syntax, frame, rows) in frames.items():
        frame += b"\0" * (len(frame) % 2)
        pixels = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE000, len(frame)) + frame
        whole = _with(syntax=syntax, pixels=b"", rows=rows)[:-4] + struct.pack("<I", UNDEFINED) + pixels
        yield name, whole + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        yield f"{name}, never closed", whole
    yield "no fragments", _with(syntax="1.2.840.10008.1.2.4.50", pixels=item)
    offsets = struct.pack("<HHI", 0xFFFE, 0xE000, 4 * 100_000) + struct.pack("<I", 2**31) * 100_000
    yield (
        "100,000 offsets",
        _with(syntax="1.2.840.10008.1.2.4.50", pixels=b"")[:-4] + struct.pack("<I", UNDEFINED) + offsets,
    )
