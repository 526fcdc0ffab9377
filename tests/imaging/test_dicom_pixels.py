"""DICOM -> display pixels, on files made here and on the public ones."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from radwright.data.prepare import PrepareConfig
from radwright.data.sources.base import StudyReference
from radwright.data.workers import Task, Worker
from radwright.errors import ImageError
from radwright.imaging.config import ImageConfig
from radwright.imaging.decode import decode, png_bytes, probe
from radwright.imaging.dicom import decode_dicom, probe_dicom, read_dicom_header
from radwright.imaging.dicom_tags import DicomHeader
from radwright.imaging.tensor import image_tensor
from radwright.types import ImageInMemory, Study, View
from tiny_dicom import RAMP, dicom

pydicom = pytest.importorskip("pydicom")


def header(data: bytes) -> DicomHeader:
    return read_dicom_header(io.BytesIO(data), name="x")


def test_facts_of_patient_and_scanner() -> None:
    tags = {"PatientSex": "F", "PatientAge": "045Y", "Manufacturer": "Maker", "ManufacturerModelName": "One"}
    assert header(dicom(**tags)).facts == {"sex": "F", "age": "045Y", "scanner": "Maker One"}
    tags = {"PatientSex": "", "Manufacturer": "Maker", "ManufacturerModelName": "Maker One"}
    assert header(dicom(**tags)).facts == {"scanner": "Maker One"}
    assert header(dicom()).facts == {}


def test_facts_of_files_go_with_the_study_and_the_datasets_own_come_first() -> None:
    files = [dicom(PatientSex="F", Manufacturer=maker) for maker in ("A", "B")]
    views = tuple(View(ImageInMemory(f"{number}.dcm", data)) for number, data in enumerate(files))

    class Source:
        def load(self, reference: StudyReference) -> Study:
            return Study("s", views, sections={"findings": "Clear."}, extra=reference.content)

    for own, sex in (({}, "F"), ({"sex": "M"}, "M")):
        task = Task(StudyReference("s", content=own), "test")
        outcome = Worker(Source(), PrepareConfig(format="x")).outcome(task)  # type: ignore[arg-type]
        assert outcome.row is not None
        assert json.loads(outcome.row["extra"]) == {"sex": sex, "scanner": "A / B"}


def test_without_a_window_the_values_fill_the_range() -> None:
    shown = decode_dicom(dicom(), name="x")
    assert shown.dtype == np.uint16
    assert (shown.min(), shown.max()) == (0, 65535)
    assert len(np.unique(shown)) == 1024


def test_monochrome1_is_the_negative() -> None:
    plain = decode_dicom(dicom(), name="x")
    inverted = decode_dicom(dicom(PhotometricInterpretation="MONOCHROME1"), name="x")
    assert np.array_equal(inverted, 65535 - plain)


@pytest.mark.parametrize(
    ("function", "equation"),
    [
        ("LINEAR", lambda x, c, w: (x - (c - 0.5)) / (w - 1) + 0.5),
        ("LINEAR_EXACT", lambda x, c, w: (x - c) / w + 0.5),
        ("SIGMOID", lambda x, c, w: 1 / (1 + np.exp(-4 * (x - c) / w))),
    ],
)
def test_windows_follow_the_standards_equations(function: str, equation: Any) -> None:
    shown = decode_dicom(dicom(WindowCenter=1500, WindowWidth=400, VOILUTFunction=function), name="x")
    expected = np.clip(equation(RAMP.astype(float), 1500, 400), 0, 1) * 65535
    assert np.abs(shown - expected).max() <= 0.5


def test_the_window_applies_to_rescaled_values_and_the_first_of_several_counts() -> None:
    plain = decode_dicom(dicom(WindowCenter=1500, WindowWidth=400), name="x")
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": [2000, 5], "WindowWidth": [799, 1]}
    rescaled = decode_dicom(dicom(**tags), name="x")
    assert np.abs(rescaled.astype(int) - plain).max() <= 90


def test_a_window_beside_the_values_is_not_used() -> None:
    assert np.array_equal(
        decode_dicom(dicom(WindowCenter=50000, WindowWidth=10), name="x"), decode_dicom(dicom(), name="x")
    )
    assert np.array_equal(
        decode_dicom(dicom(WindowCenter=1500, WindowWidth=0), name="x"), decode_dicom(dicom(), name="x")
    )


@pytest.mark.parametrize(("bits", "depth"), [(8, "u1"), (8, "<u2"), (12, "<u2")])
def test_lookup_table(bits: int, depth: str) -> None:
    largest = 2**bits - 1
    table = pydicom.Dataset()
    table.LUTDescriptor = [1024, 1000, bits]
    table.LUTData = np.array([largest - (entry * largest) // 1023 for entry in range(1024)], depth).tobytes()
    table["LUTData"].VR = "OW"
    shown = decode_dicom(dicom(VOILUTSequence=pydicom.Sequence([table]), WindowCenter=1, WindowWidth=1), name="x")
    assert shown[0, 0] == 65535
    assert shown[-1, -1] == 0
    assert len(np.unique(shown)) == min(1024, largest + 1)


def test_signed_values() -> None:
    signed = RAMP.astype(np.int16) - 1500
    assert np.array_equal(decode_dicom(dicom(signed), name="x"), decode_dicom(dicom(), name="x"))


def test_eight_bits_stay_as_they_are() -> None:
    pixels = np.arange(64, 192, dtype=np.uint8).reshape(8, 16)
    shown = decode_dicom(dicom(pixels, stored=8), name="x")
    assert shown.dtype == np.uint8
    assert np.array_equal(shown, pixels)


def test_padding_value_does_not_spoil_the_range() -> None:
    padded = RAMP.copy()
    padded[0] = 0
    shown = decode_dicom(dicom(padded, PixelPaddingValue=0), name="x")
    assert shown[1, 0] == 0
    assert len(np.unique(shown[1:])) == 31 * 32


def test_missing_optional_tags_are_no_error() -> None:
    bare = dicom(without=("PhotometricInterpretation",))
    assert np.array_equal(decode_dicom(bare, name="x"), decode_dicom(dicom(), name="x"))
    assert header(bare).position == "unknown"


def test_position() -> None:
    assert header(dicom(ViewPosition="LL")).position == "lateral"
    assert header(dicom(SeriesDescription="CHEST PA")).position == "frontal"


def test_what_is_no_single_gray_image_is_refused() -> None:
    three = np.zeros((3, 8, 8), np.uint8)
    cases = {
        "3 frames": dicom(three, stored=8, NumberOfFrames=3),
        "colour": dicom(three, stored=8, SamplesPerPixel=3, PlanarConfiguration=1, PhotometricInterpretation="RGB"),
        "no image": dicom(without=("Rows", "Columns")),
        "no PixelData": dicom(without=("PixelData",)),
        "cannot be decoded": dicom()[:-200],
        "deflated": dicom().replace(b"\x14\x001.2.840.10008.1.2.1\0", b"\x16\x001.2.840.10008.1.2.1.99"),
        "max_pixels": dicom(Rows=60000, Columns=60000),
    }
    for message, data in cases.items():
        with pytest.raises(ImageError, match=message):
            image_tensor(data, ImageConfig(size_px=16), name="x")


def test_truncated_at_any_place_is_an_image_error() -> None:
    data = dicom(WindowCenter=1500, WindowWidth=400)
    for length in range(132, len(data) - 1, 37):
        with pytest.raises(ImageError):
            image_tensor(data[:length], ImageConfig(size_px=16), name="x")


def test_public_files_decode_to_their_recorded_statistics(shared: Path) -> None:
    folder = shared / "data" / "dicom"
    lossless: dict[str, npt.NDArray[Any]] = {}
    for row in csv.DictReader((folder / "index.csv").read_text().splitlines()):
        data = (folder / row["file"]).read_bytes()
        dataset = pydicom.dcmread(io.BytesIO(data))
        values = dataset.pixel_array
        assert (values.min(), values.max()) == (int(row["pixel_min"]), int(row["pixel_max"]))
        assert values.mean() == pytest.approx(float(row["pixel_mean"]), abs=0.01)
        encoded = probe(data, name=row["file"], max_pixels=10**8)
        assert (encoded.width, encoded.height) == (int(row["cols"]), int(row["rows"]))
        shown = decode(encoded)
        assert shown.dtype == (np.uint8 if int(row["bits_stored"]) <= 8 else np.uint16)
        config = ImageConfig(size_px=96)
        direct = image_tensor(data, config, name="x")
        assert torch.equal(direct, image_tensor(png_bytes(shown), config, name="y"))
        # The lungs are darker than the mediastinum, whatever the photometric interpretation.
        assert direct[0, 38:58, 22:32].mean() < direct[0, 38:58, 44:52].mean()
        assert header(data).position == "frontal"
        if row["file"].startswith("gdcm"):
            lossless[row["file"]] = shown
    first = next(iter(lossless.values()))
    assert len(lossless) == 5
    assert all(np.array_equal(shown, first) for shown in lossless.values())


def test_a_file_is_read_in_bounded_steps_however_it_nests() -> None:
    item = b"\xfe\xff\x00\xe0" + bytes(4)
    sequence = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff"
    empty = b"\x09\x00\x01\x10LO\0\0"
    whole = dicom()
    at = whole.index(b"\xe0\x7f\x10\x00")
    for name, many in (("elements", empty * 40_000), ("items", sequence + item * 40_000)):
        with pytest.raises(ImageError, match="far more data elements"):
            probe_dicom(whole[:at] + many + whole[at:], name=name)
    assert probe_dicom(whole[:at] + empty * 1000 + whole[at:], name="x") == (32, 32)


def test_a_deflated_file_is_told_before_it_is_inflated_however_late_it_says_so() -> None:
    whole = dicom()
    meta = whole.index(b"\x02\x00\x10\x00UI")
    late = b"\x02\x00\x02\x01OB\0\0" + (70_000).to_bytes(4, "little") + bytes(70_000)
    deflated = b"\x02\x00\x10\x00UI\x16\x001.2.840.10008.1.2.1.99"
    with pytest.raises(ImageError, match="deflated"):
        probe_dicom(whole[:132] + late + deflated + whole[meta + 28 :], name="x")
