"""What is told of a received image: its facts from the tags, cleaned; and what is refused, with a kind that is safe."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from radwright.errors import StudyError
from radwright.serving import intake
from radwright.serving.intake import Limits, RefusedImageError, clean_name, clean_text, describe_image, one_study
from tiny_dicom import RAMP, dicom

UIDS = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.1", "SOPInstanceUID": "1.2.1.1"}


def png(pixels: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_a_dicom_image_says_of_whom_and_of_which_study_it_is() -> None:
    data = dicom(
        **UIDS,
        SpecificCharacterSet="ISO_IR 192",
        PatientName="Yamada^Tarou=山田^太郎",
        PatientID="P@1",
        PatientSex="F",
        PatientBirthDate="19500203",
        AccessionNumber="A1",
        StudyDate="20260301",
        StudyTime="101112",
        StudyDescription="Chest@@2 views",
        ReasonForTheRequestedProcedure="cough\u202e",
        ReferringPhysicianName="Roe^Richard",
        ViewPosition="LL",
        BurnedInAnnotation="YES",
    )
    # pydicom writes no such values; others' files have them.
    for written, met in ((b"P@1", b"P\x071"), (b"19500203", b"1950.2.3"), (b"101112", b"noon  "), (b"@@", b"\r\n")):
        assert written in data
        data = data.replace(written, met)
    told = describe_image(data, "C:\\export\\im\x001.dcm")
    study, image = told.study, told.image
    assert (study.patient_name, study.patient_id, study.sex) == ("Yamada^Tarou=山田^太郎", "P 1", "F")
    assert (study.birth_date, study.study_date, study.study_time) == ("", "20260301", "")
    assert (study.study_uid, study.accession, study.indication) == ("1.2", "A1", "cough")
    assert (study.description, study.referring_physician) == ("Chest 2 views", "Roe^Richard")
    assert (image.kind, image.position, image.width, image.height) == ("DICOM", "lateral", 32, 32)
    assert (image.sop_instance_uid, image.series_uid) == ("1.2.1.1", "1.2.1")
    assert image.name == "im 1.dcm"
    assert image.burned_in
    assert "may name the patient" in told.notes[0]


def test_a_picture_says_nothing_of_a_study() -> None:
    told = describe_image(png(np.arange(1200, dtype=np.uint16).reshape(40, 30)), "view.png")
    assert (told.image.kind, told.image.width, told.image.height) == ("PNG", 30, 40)
    assert told.image.sop_instance_uid == told.study.study_uid == told.study.patient_name == ""


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "unreadable"),
        (png(np.full((40, 30), 7, np.uint8)), "unfit"),
        (dicom(np.zeros((32, 32), np.uint16)), "unfit"),
        (b"%PDF-1.7", "unreadable"),
        (b"\0" * 128 + b"DICM" + b"\xff" * 40, "unreadable"),
        (dicom(Modality="CT"), "no chest radiograph"),
        (dicom(Modality="DX", SeriesDescription="Doe Jane left knee"), "no chest radiograph"),
        (dicom(NumberOfFrames=2), "unfit"),
        (dicom(PhotometricInterpretation="RGB", SamplesPerPixel=3), "unfit"),
        (dicom(Rows=60000, Columns=60000), "unfit"),
        (dicom(without=("PixelData",)), "damaged"),
        (dicom()[:-900], "damaged"),
        (png(np.full((40, 30), 200, np.uint8))[:-20], "damaged"),
        (b"x" * 10_000, "too large"),
    ],
    ids=range(14),
)
def test_what_is_no_chest_radiograph_is_refused(data: bytes, kind: str) -> None:
    with pytest.raises(RefusedImageError) as caught:
        describe_image(data, "sent", Limits(max_bytes=9000))
    assert caught.value.kind == kind
    assert "Doe" not in caught.value.kind


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_headers_are_refused_never_a_crash() -> None:
    whole = dicom(**UIDS, Modality="CR", PatientName="Doe^Jane")
    taken = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        damaged = bytearray(whole)
        for place in rng.integers(150, 700, size=int(rng.integers(1, 20))):
            damaged[place] = rng.integers(256)
        try:
            describe_image(bytes(damaged), "sent")
        except RefusedImageError:
            continue
        taken += 1
    assert 0 < taken < 300


def test_uids_that_are_none_are_left_out() -> None:
    data = dicom(StudyInstanceUID="1.2.345678901", SeriesInstanceUID="1.2.34567890")
    told = describe_image(data.replace(b"1.2.345678901\0", b"../../etc/xyz\0").replace(b"34567890", b"3456\n890"), "x")
    assert (told.study.study_uid, told.image.series_uid) == ("", "")


def test_names_and_texts_are_cleaned() -> None:
    assert clean_name("../../../etc/passwd") == "passwd"
    assert clean_name("a/b/") == "image"
    assert len(clean_name("x" * 5000)) == 200
    assert clean_text("a\x1b[31mb\u2028c\ud800d") == "a [31mb c d"
    assert clean_text("می‌خواهم") == "می‌خواهم"


def test_images_of_different_patients_are_not_one_study() -> None:
    first = describe_image(dicom(**UIDS, PatientID="P1"), "1")
    second = describe_image(dicom(**{**UIDS, "SOPInstanceUID": "1.2.1.2"}, PatientID="", StudyID="S"), "2")
    study, images = one_study([first, second], origin="upload")
    assert (study.patient_id, study.study_id, [image.place for image in images]) == ("P1", "S", [0, 1])
    for other in ({"PatientID": "P2"}, {"StudyInstanceUID": "1.3"}):
        with pytest.raises(StudyError, match="are of different"):
            one_study([first, describe_image(dicom(**{**UIDS, **other}), "3")], origin="upload")


def test_real_radiographs_are_described(shared: Path) -> None:
    files = sorted((shared / "data").rglob("*.dcm"))[:3]
    if not files:
        pytest.skip("no DICOM file among the real development data")
    for path in files:
        told = describe_image(path.read_bytes(), path.name)
        assert told.image.width > 100


def test_many_pixels_in_few_bytes_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*given: Any, **named: Any) -> Any:
        raise AssertionError("decoded")

    pixels = np.zeros((2000, 2000), np.uint8)
    pixels[500:1500, 500:1500] = 200
    monkeypatch.setattr(intake, "decode", never)
    with pytest.raises(RefusedImageError, match="so few hold no radiograph") as refused:
        describe_image(png(pixels), "view.png")
    assert refused.value.kind == "unfit"


def test_an_image_sent_twice_counts_once() -> None:
    first, second = (dicom(StudyInstanceUID="1.2", SOPInstanceUID=f"1.2.{place}") for place in (1, 2))
    images = one_study([describe_image(data, "sent") for data in (first, second, first)], origin="upload")[1]
    assert [(each.place, each.sop_instance_uid) for each in images] == [(0, "1.2.1"), (1, "1.2.2")]


def test_two_images_of_one_uid_are_refused() -> None:
    sent = [describe_image(dicom(RAMP + bump, SOPInstanceUID="1.2.1"), f"{bump}.dcm") for bump in (0, 1)]
    with pytest.raises(StudyError, match=r"0\.dcm and 1\.dcm are different images of one SOPInstanceUID"):
        one_study(sent, origin="upload")
