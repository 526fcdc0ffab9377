"""Bytes -> pixels -> tensor for PNG and JPEG: what is shown, what is refused."""

from __future__ import annotations

import io
import struct
import time
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from radwright.data.phantom import PhantomConfig, generate_study
from radwright.errors import ConfigError, ImageError
from radwright.imaging.config import ImageConfig
from radwright.imaging.decode import decode, png_bytes, probe
from radwright.imaging.pixels import DRAFT_MARGIN, fit, image_pixels, resize
from radwright.imaging.positions import view_position
from radwright.imaging.tensor import image_tensor

CONFIG = ImageConfig(size_px=64)


def test_tensor_is_the_whole_image_letterboxed(picture: Any, encode: Any) -> None:
    tensor = image_tensor(encode(picture), CONFIG, name="x")
    assert tensor.shape == (1, 64, 64)
    assert tensor.dtype == torch.float32
    assert tensor.min() >= 0
    assert tensor.max() <= 1
    # 200 x 300 fits as 43 x 64: ten columns of padding on one side, eleven on the other, none above or below.
    assert not tensor[0, :, :10].any()
    assert not tensor[0, :, 53:].any()
    assert tensor[0, 60, 50] > 0.9
    lit = ImageConfig(size_px=64, padding=0.5)
    assert image_tensor(encode(picture), lit, name="x")[0, 30, 0].item() == pytest.approx(0.5, abs=1 / 255)


def test_released_fit_squashes(picture: Any, encode: Any) -> None:
    squashed = image_pixels(encode(picture), ImageConfig(size_px=64, keep_aspect=False), name="x")
    expected = np.asarray(Image.fromarray(picture).resize((64, 64), Image.Resampling.BILINEAR))
    assert np.array_equal(squashed, expected)


@given(width=st.integers(1, 6000), height=st.integers(1, 6000), side=st.integers(8, 512))
def test_fit_keeps_the_aspect_and_stays_inside(width: int, height: int, side: int) -> None:
    w, h = fit(width, height, side)
    assert max(w, h) == side
    assert min(w, h) >= 1
    exact = min(width, height) * side / max(width, height)
    assert abs(min(w, h) - exact) <= max(0.5, 1 - exact)
    assert fit(height, width, side) == (h, w)


def test_original_size_makes_a_squashed_disc_round_again(encode: Any) -> None:
    y, x = np.mgrid[0:200, 0:400]
    disc = (((x - 200) ** 2 + (y - 100) ** 2) < 80**2).astype(np.uint8) * 255
    stored = Image.fromarray(disc).resize((256, 256), Image.Resampling.BILINEAR)
    shown = image_pixels(encode(stored), ImageConfig(size_px=200), name="x", original_size=(400, 200)) > 127
    assert abs(int(shown.any(axis=0).sum()) - int(shown.any(axis=1).sum())) <= 1
    assert int(shown.any(axis=0).sum()) == pytest.approx(80, abs=1)


def test_more_than_eight_bits_stay_more(encode: Any) -> None:
    ramp = np.linspace(20000, 21000, 64 * 64).reshape(64, 64).astype(np.uint16)
    pixels = image_pixels(encode(ramp), CONFIG, name="x")
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels, ramp)
    assert len(image_tensor(encode(ramp), CONFIG, name="x").unique()) > 900
    large = np.kron(ramp, np.ones((4, 4), np.uint16))
    # Two of 65535 at the edges, where the filter is cut off; eight bits would be off by 128.
    assert np.abs(image_pixels(encode(large), CONFIG, name="x").astype(int) - ramp).max() <= 2


def test_sixteen_bits_are_resized_as_floats_to_the_bit() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (301, 257), dtype=np.uint16)
    deep[0, :2] = 0, 65535
    floats = Image.fromarray(deep.astype(np.float32)).resize((64, 80), Image.Resampling.BILINEAR)
    assert np.array_equal(resize(deep, (64, 80)), np.rint(np.asarray(floats)).astype(np.uint16))


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_png_bytes_loses_nothing(depth: type, encode: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(depth).max, (50, 40), dtype=depth)
    back = decode(probe(png_bytes(pixels), name="x", max_pixels=10**6))
    assert back.dtype == depth
    assert np.array_equal(back, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_applied(orientation: int, kind: str, picture: Any, encode: Any) -> None:
    # How a viewer undoes each orientation is EXIF's definition; the stored image is therefore its inverse.
    inverse = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).T,
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = encode(np.ascontiguousarray(inverse(picture)), kind, exif=exif)
    upright = encode(picture, kind)
    shown = image_pixels(stored, CONFIG, name="x").astype(int)
    assert np.abs(shown - image_pixels(upright, CONFIG, name="x")).max() <= (3 if kind == "JPEG" else 1)


def test_colour_becomes_luma_and_transparency_lies_on_black(encode: Any) -> None:
    config = ImageConfig(size_px=8)

    def value(image: Image.Image, kind: str = "PNG") -> int:
        return int(image_pixels(encode(image, kind), config, name="x")[4, 4])

    assert value(Image.new("RGB", (8, 8), (255, 0, 0))) == 76
    assert value(Image.new("RGB", (8, 8), (0, 255, 0))) == 150
    assert value(Image.new("RGB", (8, 8), (0, 0, 255))) == 29
    assert value(Image.new("RGB", (16, 16), (0, 255, 0)), "JPEG") == pytest.approx(150, abs=2)
    assert value(Image.new("RGBA", (8, 8), (255, 255, 255, 0))) == 0
    assert value(Image.new("LA", (8, 8), (200, 255))) == 200
    assert value(Image.new("L", (8, 8), 200).convert("P")) == 200
    assert value(Image.new("1", (8, 8), 1)) == 255
    assert value(Image.new("L", (8, 8), 90).convert("CMYK"), "JPEG") == pytest.approx(90, abs=3)


def test_jpeg_shortcut_shows_what_a_full_decode_shows(encode: Any) -> None:
    y, x = np.mgrid[0:1600, 0:1200]
    picture = ((np.sin(x / 40) * np.cos(y / 55) + 1) * 120).astype(np.uint8)
    data = encode(picture, "JPEG", quality=95)
    whole = decode(probe(data, name="x", max_pixels=10**8))
    fitted = np.asarray(Image.fromarray(whole).resize((48, 64), Image.Resampling.BILINEAR)).astype(int)
    short = decode(probe(data, name="x", max_pixels=10**8), at_least=(96, 128))
    assert short.shape[0] < 1600
    assert short.shape[0] >= 128
    assert np.abs(image_pixels(data, CONFIG, name="x")[:, 8:56] - fitted).max() <= 3


@pytest.fixture(scope="module")
def radiograph() -> Any:
    """A phantom's frontal view at 1024 pixels, with the fine noise of a detector."""
    view = generate_study(PhantomConfig(size_px=1024), "val", 3).images["frontal"]
    noise = np.random.default_rng(0).normal(0, 2, view.shape)
    return np.rint((view + noise).clip(0, 255)).astype(np.uint8)


@pytest.mark.parametrize(("size_px", "scale"), [(64, 8), (112, 4), (128, 4), (200, 2), (256, 2), (400, 1)])
@pytest.mark.parametrize("quality", [75, 95])
def test_a_radiograph_decoded_small_is_the_whole_one_made_small(
    size_px: int, scale: int, quality: int, radiograph: Any, encode: Any
) -> None:
    """Gray levels of 8 bits against a full decode and the same resize; equal where nothing is decoded small."""
    data = encode(radiograph, "JPEG", quality=quality)
    known = probe(data, name="x", max_pixels=10**8)
    small = decode(known, at_least=(DRAFT_MARGIN * size_px, DRAFT_MARGIN * size_px))
    assert small.shape == (1024 // scale, 1024 // scale)
    ours = image_pixels(data, ImageConfig(size_px=size_px), name="x")
    apart = np.abs(ours.astype(int) - resize(decode(known), (size_px, size_px)))
    assert np.array_equal(ours, image_pixels(data, ImageConfig(size_px=size_px), name="x"))
    assert apart.mean() < 0.6
    assert np.percentile(apart, 99.9) <= 6
    assert apart.max() <= 12
    if scale == 1:
        assert not apart.any()


def test_a_large_jpeg_takes_less_than_its_full_decode(encode: Any) -> None:
    noise = np.random.default_rng(0).integers(60, 180, (2048, 2048)).astype(np.uint8)
    data = encode(noise, "JPEG", quality=80)

    def cpu_s(action: Any) -> float:
        start = time.process_time()
        action()
        return time.process_time() - start

    # CPU-seconds, the two in turn: other processes slow both alike.
    pairs = [
        (cpu_s(lambda: image_pixels(data, CONFIG, name="x")), cpu_s(lambda: np.asarray(Image.open(io.BytesIO(data)))))
        for _ in range(5)
    ]
    ours, full = (min(times) for times in zip(*pairs, strict=True))
    assert ours < 1.2 * full


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_truncated_images_are_errors_never_gray(kind: str, picture: Any, encode: Any) -> None:
    data = encode(picture, kind)
    for length in [*range(0, len(data) - 2, max(1, len(data) // 60)), len(data) - 3, len(data) - 2]:
        with pytest.raises(ImageError, match=r"^here"):
            image_pixels(data[:length], CONFIG, name="here")
    half = data[: len(data) // 2]
    with pytest.raises(ImageError):
        image_pixels(half + bytes(len(data) - len(half)), CONFIG, name="x")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("side", [8, 64, 300])
def test_a_jpeg_cut_short_before_its_end_marker(side: int, progressive: bool, picture: Any, encode: Any) -> None:
    config = ImageConfig(size_px=side)
    data = encode(picture, "JPEG", quality=90, progressive=progressive)
    start = data.rfind(b"\xff\xda") + 20
    if not progressive:
        for share in (0.1, 0.5, 0.9):
            cut = data[: start + int((len(data) - start) * share)].rstrip(b"\xff")
            with pytest.raises(ImageError, match="truncated"):
                image_pixels(cut + b"\xff\xd9", config, name="x")
    # One shade at the bottom is no truncation.
    for shade in (0, 117, 255):
        framed = picture.copy()
        framed[200:] = shade
        assert image_pixels(encode(framed, "JPEG", progressive=progressive), config, name="x").any()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int, depth: int, colour: int, pixels: bytes, *, before: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_hostile_files_are_refused_with_their_name(picture: Any, encode: Any) -> None:
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 200)]
    flipped = bytearray(encode(picture))
    flipped[len(flipped) // 2] ^= 0xFF
    cases = {
        "is empty": b"",
        "no PNG, JPEG or DICOM": b"<html>not an image</html>",
        "but a GIF": encode(picture, "GIF"),
        "more than max_pixels": png_of(30000, 30000, 8, 0, bytes(10)),
        "says that it has": png_of(0, 10, 8, 0, b""),
        "3 channels": png_of(1, 1, 16, 2, bytes(7)),
        "animated": encode(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "checksum": bytes(flipped),
        "fewer rows": png_of(40, 40, 8, 0, bytes(41)),
        "segment": b"\xff\xd8\xff" + bytes(100),
    }
    for message, data in cases.items():
        with pytest.raises(ImageError, match=message) as caught:
            image_pixels(data, CONFIG, name="folder/image.png")
        assert str(caught.value).startswith("folder/image.png: ")
    with pytest.raises(ImageError, match="max_bytes"):
        image_pixels(encode(picture), ImageConfig(max_bytes=100), name="x")
    with pytest.raises(ImageError, match="no size"):
        image_pixels(encode(picture), CONFIG, name="x", original_size=(0, 10))


@pytest.mark.parametrize(("depth", "colour", "row_bytes"), [(8, 0, 40), (16, 0, 80), (8, 2, 120), (1, 0, 5)])
def test_a_png_that_ends_after_a_whole_row_is_truncated_too(depth: int, colour: int, row_bytes: int) -> None:
    config = ImageConfig(size_px=40)
    rows = bytes([0, *[200] * row_bytes])
    for num_rows in (1, 20, 39):
        with pytest.raises(ImageError, match="rows"):
            image_pixels(png_of(40, 40, depth, colour, rows * num_rows), config, name="x")
    assert image_pixels(png_of(40, 40, depth, colour, rows * 40), config, name="x").any()
    # Black at the bottom is no truncation.
    black = bytes(1 + row_bytes)
    assert image_pixels(png_of(40, 40, depth, colour, rows * 20 + black * 20), config, name="x").any()


def test_a_text_bomb_in_a_png_is_refused_or_harmless(encode: Any) -> None:
    bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(80 * 2**20)))
    data = png_of(8, 8, 8, 0, bytes(8 * 9), before=bomb)
    with pytest.raises(ImageError):
        image_pixels(data, CONFIG, name="x")


def test_config_names_the_near_field() -> None:
    with pytest.raises(ConfigError, match="did you mean 'size_px'"):
        ImageConfig.parse({"size_pix": 3}, where="recipe.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PA", "frontal"),
        ("AP Supine", "frontal"),
        ("Frontal", "frontal"),
        ("postero-anterior", "frontal"),
        ("Thorax p.a.", "frontal"),
        ("AP LLD", "frontal"),
        ("Left Lateral Decubitus", "frontal"),
        ("PA and lateral", "unknown"),
        ("LATERAL", "lateral"),
        ("LL", "lateral"),
        ("L", "lateral"),
        ("Xray Chest LAT", "lateral"),
        ("", "unknown"),
        (None, "unknown"),
        ("SWIMMERS", "unknown"),
    ],
)
def test_positions(text: str | None, expected: str) -> None:
    assert view_position(text) == expected
