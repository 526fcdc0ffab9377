"""Every encoding of DICOM pixels that is read, held against the numbers that went in."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from radwright.errors import ImageError
from radwright.imaging.config import ImageConfig
from radwright.imaging.dicom import decode_dicom
from radwright.imaging.tensor import image_tensor
from tiny_dicom import BIG_ENDIAN, EXPLICIT, IMPLICIT, RAMP, compressed, dicom

pydicom = pytest.importorskip("pydicom")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

Y, X = np.mgrid[0:96, 0:80]
LOSSLESS = ("JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless")


def noisy(bits: int) -> npt.NDArray[Any]:
    """A picture that uses all of so many bits."""
    values = (X + Y) / (X + Y).max() * (2**bits - 1) + np.random.default_rng(0).normal(0, 2 ** (bits - 5), X.shape)
    values[0, :2] = 0, 2**bits - 1
    return np.rint(values.clip(0, 2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def stretched(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    floats = values.astype(np.float64)
    return np.rint((floats - floats.min()) / (floats.max() - floats.min()) * 65535)


def with_frame(data: bytes, syntax: str, frame: bytes) -> bytes:
    """The file with its pixels replaced by one encoded frame."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = pydicom.encaps.encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def frame_of(data: bytes) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    frame: bytes = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    return frame


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 15, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_uncompressed(syntax: str, bits: int, photometric: str) -> None:
    values = noisy(bits)
    shown = decode_dicom(
        dicom(values, stored=bits, syntax=syntax, PhotometricInterpretation=photometric), name="x"
    ).astype(np.float64)
    expected = values.astype(np.float64) if bits == 8 else stretched(values)
    white = 255 if bits == 8 else 65535
    assert np.array_equal(shown, white - expected if photometric == "MONOCHROME1" else expected)


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_compression_gives_the_very_values(syntax: str, bits: int, tmp_path: Path) -> None:
    data = compressed(dicom(noisy(bits), stored=bits), syntax, tmp_path)
    assert pydicom.dcmread(io.BytesIO(data)).file_meta.TransferSyntaxUID.is_compressed
    assert np.array_equal(decode_dicom(data, name="x"), decode_dicom(dicom(noisy(bits), stored=bits), name="x"))


@pytest.mark.parametrize("syntax", ["JPEGLSNearLossless", "JPEG2000"])
def test_lossy_compression_is_near(syntax: str, tmp_path: Path) -> None:
    data = compressed(dicom(noisy(12)), syntax, tmp_path)
    difference = decode_dicom(data, name="x").astype(int) - decode_dicom(dicom(noisy(12)), name="x")
    assert np.abs(difference).mean() < 0.01 * 65535


def test_jpeg_baseline_is_the_jpeg_in_it() -> None:
    stream = io.BytesIO()
    Image.fromarray(noisy(8)).save(stream, "JPEG", quality=90)
    data = with_frame(dicom(noisy(8), stored=8), "1.2.840.10008.1.2.4.50", stream.getvalue())
    shown = decode_dicom(data, name="x")
    assert shown.dtype == np.uint8
    assert np.abs(shown.astype(int) - np.asarray(Image.open(stream))).max() <= 1


@pytest.mark.parametrize("syntax", [*LOSSLESS, "baseline"])
@pytest.mark.parametrize("damage", ["cut", "zeros", "noise"])
def test_a_damaged_stream_is_never_taken_for_an_image(syntax: str, damage: str, tmp_path: Path) -> None:
    if syntax == "baseline":
        stream = io.BytesIO()
        Image.fromarray(noisy(8)).save(stream, "JPEG")
        whole = with_frame(dicom(noisy(8), stored=8), "1.2.840.10008.1.2.4.50", stream.getvalue())
    else:
        whole = compressed(dicom(noisy(12)), syntax, tmp_path)
    frame = frame_of(whole)
    half = frame[: len(frame) // 4 * 2]
    broken = {"cut": half, "zeros": half + bytes(len(frame) - len(half)), "noise": b"\x12\x34" * 100}[damage]
    data = with_frame(whole, pydicom.dcmread(io.BytesIO(whole)).file_meta.TransferSyntaxUID, broken)
    with pytest.raises(ImageError, match=r"here\.dcm.*truncated or damaged"):
        image_tensor(data, ImageConfig(size_px=16), name="here.dcm")


def test_an_encoding_that_is_not_read_is_named_with_the_cure() -> None:
    data = with_frame(dicom(), "1.2.840.10008.1.2.4.201", b"\xff\x4f\xff\x51" + bytes(60))
    with pytest.raises(ImageError, match=r"High-Throughput JPEG 2000.*rewrite it uncompressed"):
        image_tensor(data, ImageConfig(size_px=16), name="x")


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_old_files_without_preamble_or_file_meta(syntax: str) -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom(syntax=syntax)))
    stream = io.BytesIO()
    del dataset.file_meta
    dataset.preamble = None
    dataset.save_as(stream, implicit_vr=syntax == IMPLICIT, little_endian=True)
    bare = stream.getvalue()
    assert bare[128:132] != b"DICM"
    config = ImageConfig(size_px=32)
    assert np.array_equal(image_tensor(bare, config, name="x"), image_tensor(dicom(), config, name="x"))


@pytest.mark.parametrize(
    "missing",
    ["PhotometricInterpretation", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"],
)
@pytest.mark.parametrize("bits", [8, 16])
def test_a_tag_that_is_missing_is_filled_in(missing: str, bits: int) -> None:
    values = noisy(bits)
    whole, lacking = (dicom(values, stored=bits, without=without) for without in ((), (missing,)))
    assert np.array_equal(decode_dicom(lacking, name="x"), decode_dicom(whole, name="x"))


def test_bits_beside_the_values_do_not_count() -> None:
    plain = decode_dicom(dicom(), name="x")
    assert np.array_equal(decode_dicom(dicom(RAMP | 0xF000), name="x"), plain)  # overlays lie there in old files
    assert np.array_equal(decode_dicom(dicom(RAMP << 4, HighBit=15), name="x"), plain)
    assert np.array_equal(decode_dicom(dicom(RAMP << 4, HighBit=15, syntax=BIG_ENDIAN), name="x"), plain)


def test_signed_values_of_fewer_bits_than_allocated() -> None:
    signed = (RAMP.astype(np.int32) - 1500) & 0xFFF
    shown = decode_dicom(dicom(signed.astype(np.uint16), PixelRepresentation=1), name="x")
    assert np.array_equal(shown, decode_dicom(dicom(), name="x"))
