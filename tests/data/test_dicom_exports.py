"""What a person drags in from an archive: nested DICOM files of any name, several studies, other objects among them."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from radwright.data.images import NOTES, LooseStudies, find_studies
from radwright.errors import SourceError
from tiny_dicom import RAMP, dicom

pytest.importorskip("pydicom")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

STORAGE = "1.2.840.10008.5.1.4.1.1."
FIRST, SECOND = {"StudyInstanceUID": "1.2.840.1"}, {"StudyInstanceUID": "1.2.840.2"}
DIRECTORY = {"SOPClassUID": "1.2.840.10008.1.3.10"}
DOSE = {"SOPClassUID": STORAGE + "88.67", "Modality": "SR"}


def write(folder: Path, files: dict[str, dict[str, Any] | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        own = {"SOPInstanceUID": f"1.2.3.{zlib.crc32(name.encode())}"}
        path.write_bytes(content if isinstance(content, bytes) else dicom(**{**own, **content}))
    return folder


def views_of(studies: LooseStudies) -> dict[str, list[tuple[str, str]]]:
    return {
        study.study_id: [(view.image.name.replace("::", "/").rsplit("/", 1)[-1], view.position) for view in study.views]
        for study in studies
    }


def zipped(folder: Path) -> Path:
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as stream:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                stream.write(path, path.relative_to(folder.parent))
    return archive


EXPORTS: list[tuple[str, dict[str, dict[str, Any] | bytes], dict[str, list[tuple[str, str]]]]] = [
    (
        "series in folders of their own, no suffix",
        {
            "DICOMDIR": DIRECTORY,
            "DICOM/PA1/ST1/SE1/IM1": {**FIRST, "ViewPosition": "PA"},
            "DICOM/PA1/ST1/SE2/IM1": {**FIRST, "ViewPosition": "LL"},
            "DICOM/PA1/ST1/SE3/IM1": {**FIRST, **DOSE},
            "DICOM/PA1/ST2/SE1/IM1": {**SECOND, "ViewPosition": "AP"},
            "README.TXT": b"text" * 50,
            "viewer/run.exe": b"MZ" + bytes(300),
        },
        {"ST1": [("IM1", "frontal"), ("IM1", "lateral")], "ST2/SE1": [("IM1", "frontal")]},
    ),
    (
        "several studies in one folder",
        {
            "all/IM1": {**FIRST, "ViewPosition": "PA"},
            "all/IM2": {**SECOND, "ViewPosition": "PA"},
            "all/IM3": {**FIRST, "ViewPosition": "LL"},
            "other/1.2.3.4": {"StudyInstanceUID": "1.2.840.3", "ViewPosition": "PA"},
        },
        {
            "1.2.840.1": [("IM1", "frontal"), ("IM3", "lateral")],
            "1.2.840.2": [("IM2", "frontal")],
            "other": [("1.2.3.4", "frontal")],
        },
    ),
    (
        "one study at the top",
        {"a.dcm": {**FIRST, "ViewPosition": "PA"}, "b.dcm": {**FIRST, "ViewPosition": "LL"}},
        {"1.2.840.1": [("a.dcm", "frontal"), ("b.dcm", "lateral")]},
    ),
    (
        "studies at the top, called by UIDs without a suffix",
        {"1.2.840.7": {**FIRST, "ViewPosition": "PA"}, "1.2.840.8": {**SECOND, "ViewPosition": "PA"}},
        {"1.2.840.7": [("1.2.840.7", "frontal")], "1.2.840.8": [("1.2.840.8", "frontal")]},
    ),
    (
        "without StudyInstanceUID, folders group",
        {"p1/a": {"ViewPosition": "PA"}, "p1/b": {"ViewPosition": "LL"}, "p2/a": {"ViewPosition": "PA"}},
        {"p1": [("a", "frontal"), ("b", "lateral")], "p2": [("a", "frontal")]},
    ),
]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("name", "files", "expected"), EXPORTS, ids=[name for name, _, _ in EXPORTS])
def test_studies_of_an_export(
    name: str, files: dict[str, Any], expected: dict[str, Any], packed: bool, tmp_path: Path
) -> None:
    folder = write(tmp_path / "export", files)
    found = find_studies([zipped(folder) if packed else folder])
    assert views_of(found) == expected
    assert found.notes == ()


def test_what_is_no_chest_radiograph_is_left_out_of_its_study_with_a_note(tmp_path: Path) -> None:
    abdomen = {**FIRST, "BodyPartExamined": "ABDOMEN"}
    folder = write(
        tmp_path / "e",
        {
            "s/1": {**FIRST, "BodyPartExamined": "CHEST", "ViewPosition": "PA"},
            "s/2": abdomen,
            "s/3": abdomen,
            "ct/1": {**SECOND, "Modality": "CT"},
            "ct/2": {**SECOND, "Modality": "CT"},
        },
    )
    found = find_studies([folder])
    assert {study.study_id: len(study.views) for study in found} == {"ct": 2, "s": 1}
    (note,) = found.notes
    assert note.startswith(f"left out of its study: {folder}/s/2 and 1 more like it: does not show the chest")
    assert "BodyPartExamined is 'ABDOMEN'" in note


def test_text_in_the_pixels_is_told_of_files_and_folders(tmp_path: Path) -> None:
    folder = write(tmp_path / "e", {"s/1": {"BurnedInAnnotation": "YES"}, "s/2": {"BurnedInAnnotation": "NO"}})
    for inputs in ([folder], [folder / "s" / "1", folder / "s" / "2"]):
        (note,) = find_studies(inputs).notes
        assert f"{folder}/s/1: BurnedInAnnotation is YES" in note
    (joined,) = find_studies([folder / "s" / "1", folder / "s" / "2"], together=True)
    assert len(joined.extra[NOTES]) == 1
    many = write(tmp_path / "many", {f"{number}.dcm": {"BurnedInAnnotation": "YES"} for number in range(13)})
    assert find_studies([many]).notes[10:] == ("3 more such notes",)


def test_an_export_without_an_image_says_what_it_holds(tmp_path: Path) -> None:
    folder = write(tmp_path / "e", {"DICOMDIR": DIRECTORY, "a": DOSE, "b": DOSE})
    with pytest.raises(SourceError, match=r"holds no image.*1 x a DICOMDIR.*2 x a structured report"):
        find_studies([folder])


def test_a_damaged_file_is_kept_for_whoever_loads_it(tmp_path: Path) -> None:
    data = dicom(**FIRST)
    folder = write(tmp_path / "e", {"s/cut": data[:180], "s/whole": data, "s/no.dcm": b"text", "s/none": b""})
    (folder / "t.dcm").write_bytes(dicom(**FIRST, SOPInstanceUID="1.2.4"))
    assert {study.study_id: len(study.views) for study in find_studies([folder])} == {"s": 2, "1.2.840.1": 2}


def test_a_view_that_no_tag_states_is_looked_at(tmp_path: Path) -> None:
    from radwright.data.phantom import PhantomConfig, generate_study
    from radwright.imaging.decode import png_bytes
    from radwright.imaging.positions import seen_position

    config = PhantomConfig(size_px=128, num_studies={"test": 9})
    images = [generate_study(config, "test", index).images["frontal"] for index in range(9)]
    plain = next(image for image in images if seen_position(image) == "frontal")
    files = {
        "a.png": png_bytes(plain),
        "b.dcm": dicom(plain, stored=8),
        "c.dcm": dicom(plain, stored=8, ViewPosition="LL"),
    }
    found = find_studies([write(tmp_path / "e", {**files, "d.dcm": dicom(RAMP)})])
    assert [study.views[0].position for study in found] == ["frontal", "frontal", "lateral", "unknown"]


def test_an_image_exported_twice_is_read_once(tmp_path: Path) -> None:
    twice = FIRST | {"SOPInstanceUID": "1.2.9"}
    folder = write(tmp_path / "export", {"a": twice, "copy/of/a": twice, "b": FIRST})
    studies = find_studies([folder])
    assert [len(study.views) for study in studies] == [2]
    [note] = studies[0].extra[NOTES]
    assert "is the same image as" in note
