"""The view that is seen in a picture: as stated, or unknown, and the same however the picture is stored."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radwright.data.phantom import PhantomConfig, generate_study
from radwright.data.sources.r2gen import R2GenSource
from radwright.errors import StudyError
from radwright.imaging.decode import decode, probe
from radwright.imaging.positions import SEEN_AT, lung_fields, seen_position


def test_on_the_phantom_it_is_right_or_silent() -> None:
    config = PhantomConfig(size_px=64, num_studies={"test": 24})
    said = []
    for index in range(24):
        study = generate_study(config, "test", index)
        said += [(stated, seen_position(study.images[stated])) for stated in ("frontal", "lateral")]
    assert all(seen in {stated, "unknown"} for stated, seen in said)
    assert sum(seen == "frontal" for _, seen in said) >= 6


def test_depth_size_and_encoding_change_nothing_that_matters() -> None:
    image = generate_study(PhantomConfig(size_px=256, num_studies={"test": 1}), "test", 0).images["frontal"]
    plain = lung_fields(image)
    assert lung_fields(image.astype(np.uint16) * 257) == pytest.approx(plain, abs=1e-6)
    assert lung_fields(np.asarray(Image.fromarray(image).resize((900, 700)))) == pytest.approx(plain, abs=0.03)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=90)
    encoded = probe(stream.getvalue(), name="x", max_pixels=10**6)
    assert lung_fields(decode(encoded, at_least=SEEN_AT)) == pytest.approx(plain, abs=0.03)


@pytest.mark.parametrize("pixels", [np.zeros((40, 30)), np.full((9, 9), 200), np.mgrid[0:64, 0:64].sum(0)], ids=str)
def test_a_picture_of_nothing_is_unknown(pixels: np.ndarray) -> None:  # type: ignore[type-arg]
    assert seen_position(pixels.astype(np.uint8)) == "unknown"


def test_on_real_radiographs_it_is_right_when_it_speaks(shared: Path) -> None:
    source = R2GenSource(shared / "data" / "iu_xray.zip", {})
    said = []
    for reference in list(source.references())[::20]:
        for view in source.load(reference).views:
            try:
                encoded = probe(view.image.read(), name=view.image.name, max_pixels=10**8)
            except StudyError:
                continue
            said.append((view.position, seen_position(decode(encoded, at_least=SEEN_AT))))
    for position in ("frontal", "lateral"):
        stated = [name for name, seen in said if seen == position]
        assert stated.count(position) >= 0.98 * len(stated)
        assert stated.count(position) >= 0.5 * sum(name == position for name, _ in said)
