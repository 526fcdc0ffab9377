"""What a viewer gets behind its window: every value of the file, and the window that leads to the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from radwright.imaging.decode import decode, png_bytes, probe
from radwright.imaging.dicom import decode_dicom
from radwright.imaging.dicom import modality_values as dicom_values
from radwright.imaging.modality import ModalityValues, modality_values
from tiny_dicom import RAMP, dicom

pydicom = pytest.importorskip("pydicom")


def shown(values: ModalityValues) -> npt.NDArray[np.float64]:
    """The picture a viewer makes, of 0 to 65535: linear, and turned over where the slope is negative."""
    assert values.window is not None
    low, high = values.window.ends
    unit = (in_units(values) - low) / max(high - low, 1e-12)
    if values.slope < 0:
        unit = 1 - unit
    return np.asarray(unit.clip(0, 1) * 65535)


def in_units(values: ModalityValues) -> npt.NDArray[np.float64]:
    return np.asarray(values.pixels.astype(np.float64) * values.slope + values.intercept)


NARROW = {"WindowCenter": 1500, "WindowWidth": 40}
TURNED = {"PhotometricInterpretation": "MONOCHROME1"}


@pytest.mark.parametrize("photometric", [{}, TURNED])
@pytest.mark.parametrize(
    "tags",
    [
        {},
        NARROW,
        NARROW | {"VOILUTFunction": "LINEAR_EXACT"},
        NARROW | {"WindowWidth": 1},
        {"WindowCenter": 50, "WindowWidth": 10_000},
        {"WindowCenter": 50_000, "WindowWidth": 10},
        {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": [2000, 5], "WindowWidth": [80, 1]},
        {"RescaleSlope": -0.001, "RescaleIntercept": 4, "WindowCenter": 2.5, "WindowWidth": 0.3},
    ],
)
def test_all_values_are_there_and_the_window_leads_to_the_picture(
    tags: dict[str, Any], photometric: dict[str, Any]
) -> None:
    data = dicom(**tags, **photometric)
    values = dicom_values(data, name="x")
    picture = decode_dicom(data, name="x")
    assert np.abs(shown(values) - picture).max() <= 0.51
    assert len(np.unique(values.pixels)) == RAMP.size
    wanted = RAMP.astype(float) * tags.get("RescaleSlope", 1.0) + tags.get("RescaleIntercept", 0.0)
    assert np.allclose(in_units(values), wanted, rtol=0, atol=1e-6)
    assert (values.slope < 0) == bool(photometric)
    bright = np.corrcoef(values.pixels.ravel(), picture.ravel())[0, 1]
    assert bright > 0


def test_a_narrow_window_is_named_as_the_header_names_it() -> None:
    window = dicom_values(dicom(**NARROW), name="x").window
    assert window is not None
    assert (window.center, window.width, window.function) == (1500, 40, "LINEAR")
    assert len(np.unique(decode_dicom(dicom(**NARROW), name="x"))) <= 41


def test_a_sigmoid_starts_with_what_it_tells_apart() -> None:
    data = dicom(WindowCenter=1500, WindowWidth=200, VOILUTFunction="SIGMOID")
    values = dicom_values(data, name="x")
    assert values.window is not None
    low, high = (round(end) for end in values.window.ends)
    picture = decode_dicom(data, name="x") / 65535
    assert picture[low == RAMP] == pytest.approx(0.01, abs=1e-3)
    assert picture[high == RAMP] == pytest.approx(0.99, abs=1e-3)


@pytest.mark.parametrize("photometric", [{}, TURNED])
@pytest.mark.parametrize("falls", [False, True])
def test_a_table_starts_with_what_it_tells_apart_either_way_up(falls: bool, photometric: dict[str, Any]) -> None:
    entries = (np.arange(1024).clip(300, 700) - 300) * 4095 // 400
    table = pydicom.Dataset()
    table.LUTDescriptor = [1024, 1000, 12]
    table.LUTData = (4095 - entries if falls else entries).astype("<u2").tobytes()
    table["LUTData"].VR = "OW"
    data = dicom(VOILUTSequence=pydicom.Sequence([table]), **photometric)
    values = dicom_values(data, name="x")
    assert np.abs(shown(values) - decode_dicom(data, name="x")).max() <= 0.02 * 65535
    assert len(np.unique(values.pixels)) == RAMP.size
    assert np.array_equal(in_units(values), RAMP)


@pytest.mark.parametrize("photometric", [{}, TURNED])
@pytest.mark.parametrize("window", [{}, NARROW, {"WindowCenter": 1500, "WindowWidth": 4000}])
def test_padding_is_black_at_first_and_costs_no_value(window: dict[str, Any], photometric: dict[str, Any]) -> None:
    padded = RAMP.copy()
    padded[:, :4] = 0
    data = dicom(padded, PixelPaddingValue=0, **window, **photometric)
    values = dicom_values(data, name="x")
    assert (shown(values)[:, :4] == 0).all()
    assert np.abs(shown(values) - decode_dicom(data, name="x")).max() <= 0.51
    assert np.array_equal(in_units(values)[:, 4:], RAMP[:, 4:])


def test_eight_bits_stay_eight_and_signed_values_keep_their_sign() -> None:
    values = dicom_values(dicom(RAMP.astype(np.uint8), stored=8), name="x")
    assert values.pixels.dtype == np.uint8
    assert values.window is not None
    assert values.window.ends == (0, 255)
    signed = dicom_values(dicom(RAMP.astype(np.int16) - 1500, stored=16), name="x")
    assert np.array_equal(in_units(signed), RAMP.astype(float) - 1500)


def test_other_files_are_what_they_always_were() -> None:
    encoded = probe(png_bytes(RAMP), name="x", max_pixels=10_000)
    values = modality_values(encoded)
    assert np.array_equal(values.pixels, decode(encoded))
    assert (values.slope, values.intercept, values.window) == (1, 0, None)
