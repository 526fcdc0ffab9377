"""What a DICOM header says: what is refused, which view it is, what a person is told."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from radwright.errors import ImageError
from radwright.imaging.config import ImageConfig
from radwright.imaging.decode import probe
from radwright.imaging.dicom import read_dicom_header
from radwright.imaging.dicom_tags import DicomHeader
from radwright.imaging.pixels import image_pixels
from radwright.imaging.tensor import image_tensor
from tiny_dicom import dicom

pydicom = pytest.importorskip("pydicom")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

STORAGE = "1.2.840.10008.5.1.4.1.1."


def header(**tags: Any) -> DicomHeader:
    return read_dicom_header(io.BytesIO(dicom(**tags)), name="x")


def code(meaning: str) -> Any:
    item = pydicom.Dataset()
    item.CodeMeaning = meaning
    return pydicom.Sequence([item])


REFUSED: list[tuple[dict[str, Any], str]] = [
    *(({"Modality": modality}, f"Modality is '{modality}'") for modality in ("CT", "MR", "MG", "US", "XA", "PT", "ZZ")),
    ({"Modality": "OT", "SOPClassUID": STORAGE + "2"}, "SOP class is CT Image Storage"),
    *(
        ({"BodyPartExamined": part}, f"BodyPartExamined is '{part}'")
        for part in ("HAND", "ABDOMEN", "SKULL", "CSPINE", "TSPINE", "LSPINE", "KNEE", "PELVIS", "HEAD", "UP_EXTREMITY")
    ),
    ({"SeriesDescription": "Hand PA"}, "SeriesDescription is 'Hand PA'"),
    ({"BodyPartExamined": "CHEST", "SeriesDescription": "KUB"}, "SeriesDescription is 'KUB'"),
    ({"SeriesDescription": "Thoracic spine LAT"}, "Thoracic spine"),
    ({"StudyDescription": "XR ABDOMEN 1 VIEW"}, "StudyDescription is 'XR ABDOMEN 1 VIEW'"),
    ({"AnatomicRegionSequence": code("Knee")}, "AnatomicRegionSequence is 'Knee'"),
    ({"SOPClassUID": "1.2.840.10008.1.3.10"}, "DICOMDIR.*give that folder"),
    ({"SOPClassUID": STORAGE + "88.33", "Modality": "SR"}, "structured report"),
    ({"SOPClassUID": STORAGE + "104.1", "Modality": "DOC"}, "encapsulated document"),
    ({"SOPClassUID": STORAGE + "11.1", "Modality": "PR"}, "presentation state"),
    ({"Modality": "KO"}, "key object"),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour.*PALETTE COLOR"),
    ({"NumberOfFrames": 5}, "5 frames"),
]


@pytest.mark.parametrize(("tags", "told"), REFUSED, ids=[told for _, told in REFUSED])
def test_what_is_no_chest_radiograph_is_refused_by_file_tag_value_and_cure(tags: dict[str, Any], told: str) -> None:
    with pytest.raises(ImageError, match=rf"^here/x\.dcm: .*{told}") as raised:
        image_tensor(dicom(**tags), ImageConfig(size_px=16), name="here/x.dcm")
    assert "\n" not in str(raised.value)
    assert any(cure in str(raised.value) for cure in ("leave it out", "no image"))


@pytest.mark.parametrize(
    "tags",
    [
        {},
        *({"Modality": modality} for modality in ("", "CR", "DX", "RG", "OT", "SC")),
        {"BodyPartExamined": ""},
        {"BodyPartExamined": "UNDEFINED"},
        *({"BodyPartExamined": part} for part in ("CHEST", "THORAX", "PORT CHEST", "CHEST_TO_ABDOMEN", "RIB", "LUNG")),
        {"BodyPartExamined": "CHEST", "StudyDescription": "ACUTE ABDOMEN SERIES"},
        {"SeriesDescription": "Chest PA", "StudyDescription": "XR HAND AND CHEST"},
        {"SeriesDescription": "AP supine head up, arms down"},
        {"StudyDescription": "Thorax p.a."},
        {"Modality": "OT", "SOPClassUID": STORAGE + "7"},
    ],
    ids=str,
)
def test_chest_radiographs_are_not_refused(tags: dict[str, Any]) -> None:
    assert header(**tags).refusal == ""
    image_tensor(dicom(**tags), ImageConfig(size_px=16), name="x")


@pytest.mark.parametrize(
    ("tags", "position"),
    [
        ({"ViewPosition": "PA", "SeriesDescription": "LAT"}, "frontal"),
        ({"ViewPosition": "RL"}, "lateral"),
        ({"ViewCodeSequence": "postero-anterior"}, "frontal"),
        ({"ViewCodeSequence": "left lateral"}, "lateral"),
        ({"SeriesDescription": "W Chest Lat."}, "lateral"),
        ({"SeriesDescription": "CHEST PA AND LATERAL"}, "unknown"),
        ({"SeriesDescription": "CHEST L"}, "unknown"),
        ({"StudyDescription": "CHEST PA"}, "unknown"),
        ({"AcquisitionDeviceProcessingDescription": "CHEST,AP"}, "frontal"),
        ({"PatientOrientation": ["L", "F"]}, "frontal"),
        ({"PatientOrientation": ["P", "F"]}, "lateral"),
        ({"PatientOrientation": ["LA", "F"]}, "unknown"),
        ({}, "unknown"),
    ],
    ids=str,
)
def test_the_view_by_the_tags(tags: dict[str, Any], position: str) -> None:
    if "ViewCodeSequence" in tags:
        tags = {"ViewCodeSequence": code(tags["ViewCodeSequence"])}
    assert header(**tags).position == position


def test_burned_in_text_is_a_fact() -> None:
    assert header(BurnedInAnnotation="YES").is_burned_in
    assert not header(BurnedInAnnotation="NO").is_burned_in
    assert not header().is_burned_in


def test_colour_is_refused_even_where_it_says_that_it_is_gray() -> None:
    three = np.zeros((8, 8, 3), np.uint8)
    data = dicom(three[:, :, 0].repeat(3, axis=1), stored=8, Columns=8, SamplesPerPixel=3, PlanarConfiguration=0)
    with pytest.raises(ImageError, match="colour"):
        image_tensor(data, ImageConfig(size_px=16), name="x")


def test_raw_detector_values_are_refused() -> None:
    data = dicom(Modality="DX", PresentationIntentType="FOR PROCESSING")
    with pytest.raises(ImageError, match="PresentationIntentType is FOR PROCESSING"):
        probe(data, name="x", max_pixels=10**6)
    assert probe(dicom(PresentationIntentType="FOR PRESENTATION"), name="x", max_pixels=10**6).width == 32


@pytest.mark.parametrize(
    ("tags", "height"),
    [
        ({"PixelAspectRatio": [2, 1]}, 64),
        ({"PixelAspectRatio": [1, 2]}, 16),
        ({"PixelAspectRatio": [1, 0]}, 32),
        ({"PixelAspectRatio": [1000, 1]}, 32),
        ({"ImagerPixelSpacing": [0.3, 0.2]}, 48),
        ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.4, 0.2]}, 32),
        ({"PixelAspectRatio": [1, 1], "PixelSpacing": [0.4, 0.2]}, 32),
        ({}, 32),
    ],
)
def test_pixels_that_are_no_squares_keep_the_shape_of_the_chest(tags: dict[str, Any], height: int) -> None:
    data = dicom(**tags)
    encoded = probe(data, name="x", max_pixels=10**6)
    assert (encoded.width, encoded.height) == (32, height)
    square = image_pixels(data, ImageConfig(size_px=32), name="x")
    shown = np.flatnonzero(square.any(axis=0)), np.flatnonzero(square.any(axis=1))
    assert len(shown[1]) / len(shown[0]) == pytest.approx(height / 32, rel=0.1)
