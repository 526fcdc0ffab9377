"""Windows, tables and padding as they are met, odd ones too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from radwright.imaging.dicom import decode_dicom
from tiny_dicom import EXPLICIT, IMPLICIT, RAMP, dicom

pydicom = pytest.importorskip("pydicom")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

BORDER = np.zeros(RAMP.shape, dtype=bool)
BORDER[:, :4] = BORDER[:, -4:] = True


def shown(data: bytes) -> Any:
    return decode_dicom(data, name="x").astype(np.float64)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 1500, "WindowWidth": 600}])
@pytest.mark.parametrize("value", [0, 4095])
def test_padding_is_black_and_changes_nothing_else(
    syntax: str, photometric: str, window: dict[str, Any], value: int
) -> None:
    padded = np.where(BORDER, np.uint16(value), RAMP)
    picture = shown(
        dicom(padded, syntax=syntax, PhotometricInterpretation=photometric, PixelPaddingValue=value, **window)
    )
    inside = RAMP[~BORDER].astype(float)
    low, high = (1500 - 0.5 - 599 / 2, 1500 - 0.5 + 599 / 2) if window else (inside.min(), inside.max())
    unit = ((inside - low) / (high - low)).clip(0, 1)
    expected = (1 - unit if photometric == "MONOCHROME1" else unit) * 65535
    assert np.abs(picture[~BORDER] - expected).max() <= 1
    assert not picture[BORDER].any()


def test_padding_as_a_range_and_with_the_wrong_sign() -> None:
    padded = np.where(BORDER, np.uint16(30) + (RAMP % 5), RAMP).astype(np.uint16)
    for value, limit in ((30, 34), (34, 30)):
        picture = shown(dicom(padded, PixelPaddingValue=value, PixelPaddingRangeLimit=limit))
        assert not picture[BORDER].any()
        assert picture[~BORDER].min() == 0
    signed = np.where(BORDER, -2000, RAMP.astype(int) - 1500).astype(np.int16)
    data = dicom(signed, stored=16, PixelPaddingValue=-2000)
    dataset_says_unsigned = data.replace(b"\x28\x00\x20\x01SS", b"\x28\x00\x20\x01US")
    assert dataset_says_unsigned != data
    assert np.array_equal(shown(dataset_says_unsigned), shown(data))
    assert not shown(data)[BORDER].any()


def test_an_image_that_is_all_padding_is_shown_as_it_is() -> None:
    assert shown(dicom(np.full((8, 8), 7, np.uint8), stored=8, PixelPaddingValue=7)).max() == 7


@pytest.mark.parametrize(
    ("tags", "low", "high"),
    [
        ({"WindowCenter": "1500.25", "WindowWidth": "400.5"}, 1500.25 - 0.5 - 199.75, 1500.25 - 0.5 + 199.75),
        ({"WindowCenter": 1500, "WindowWidth": 1}, 1499.5 - 1e-6, 1499.5 + 1e-6),
        ({"WindowCenter": 0.75, "WindowWidth": 0.5, "RescaleSlope": 0.0005}, 1000, 2000),
        ({"WindowCenter": -1500, "WindowWidth": 401, "RescaleSlope": -1}, 1700.5, 1300.5),
        ({"WindowCenter": [1500, 1], "WindowWidth": [401, 1]}, 1299.5, 1699.5),
    ],
)
def test_windows_of_fractions_one_and_negative_slopes(tags: dict[str, Any], low: float, high: float) -> None:
    expected = ((RAMP.astype(float) - low) / (high - low)).clip(0, 1) * 65535
    assert np.abs(shown(dicom(**tags)) - expected).max() <= 1


@pytest.mark.parametrize("value", ["abcde", "15,00", "nan  ", "     ", "1E999"])
def test_a_window_that_is_no_number_counts_as_missing(value: str) -> None:
    data = dicom(WindowCenter="77777", WindowWidth=400).replace(b"77777", value.encode())
    assert np.array_equal(shown(data), shown(dicom()))


def test_negative_and_zero_widths_count_as_missing() -> None:
    for width in (0, -400):
        assert np.array_equal(shown(dicom(WindowCenter=1500, WindowWidth=width)), shown(dicom()))


def test_the_modality_table_comes_before_the_window() -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4096, 0, 16], "US"
    table.LUTData = (np.arange(4096, dtype="<u2")[::-1] * 10).tobytes()
    table["LUTData"].VR = "OW"
    tags = {"ModalityLUTSequence": pydicom.Sequence([table]), "WindowCenter": 25000, "WindowWidth": 10001}
    values = (4095 - RAMP.astype(float)) * 10
    expected = ((values - 24999.5) / 10000 + 0.5).clip(0, 1) * 65535
    assert np.abs(shown(dicom(**tags)) - expected).max() <= 1


def test_seven_bits_fill_the_range() -> None:
    assert shown(dicom(np.arange(128, dtype=np.uint8).reshape(8, 16), stored=7)).max() == 255


def test_a_digitised_film_is_read_as_any_radiograph() -> None:
    film = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "ConversionType": "DF", "Modality": "OT"}
    assert np.array_equal(shown(dicom(**film)), shown(dicom()))
