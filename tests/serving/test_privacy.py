"""The de-identification check: every tag of the profile that holds something, and never what it holds."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from radwright.cli.main import main
from radwright.errors import SourceError, StudyError
from radwright.imaging.dicom import read_dicom_tags
from radwright.serving.privacy import burned_in, identifying_tags, profile
from radwright.serving.privacy_files import check_files
from tiny_dicom import dicom

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")

IDENTITY = {
    "PatientName": "Hart^Clara",
    "PatientID": "PAT-4711",
    "PatientBirthDate": "19500203",
    "ReferringPhysicianName": "Bone^Henry",
    "AccessionNumber": "ACC-0815",
    "InstitutionName": "St. Elsewhere",
    "StudyDate": "20260301",
    "StudyInstanceUID": "1.2.3.4",
}


def tags_of(data: bytes) -> Any:
    return identifying_tags(read_dicom_tags(io.BytesIO(data), name="x.dcm"))


def test_profile_is_whole_and_names_what_dicom_names() -> None:
    known = profile()
    assert len(known) > 640
    assert {each.action for each in known.values()} == {"X", "Z", "D", "U", "Z/D", "X/Z", "X/D", "X/Z/D", "X/Z/U*"}
    unlike = {
        (tag, each.keyword)
        for tag, each in known.items()
        if (keyword := pydicom.datadict.keyword_for_tag(tag)) and keyword != each.keyword
    }
    assert unlike == set()
    assert known[0x00100010].action == "Z"
    assert known[0x00081030].action == "X"
    assert known[0x0020000D].action == "U"
    people = {tag for tag in known if pydicom.datadict.dictionary_has_tag(tag) and _vr(tag) == "PN"}
    assert all(known[tag].names for tag in people)


def _vr(tag: int) -> str:
    return str(pydicom.datadict.dictionary_VR(tag))


def test_every_value_is_found_and_none_is_shown() -> None:
    found = tags_of(dicom(**IDENTITY))
    assert {tag.keyword for tag in found} == set(IDENTITY) - {"StudyInstanceUID"}
    assert [tag.names for tag in found] == sorted((tag.names for tag in found), reverse=True)
    for tag in found:
        assert len(tag.value.partition("…")[0]) <= 1 or tag.value.startswith("("), tag
        assert IDENTITY[tag.keyword] not in tag.value
    shown = {tag.keyword: tag.value for tag in found}
    assert shown["PatientName"] == "H… (10 characters)"


@pytest.mark.parametrize("value", ["", "ANONYMOUS", "Anonymous^", "000000", "XXXX", "removed", "^^^^"])
def test_what_stands_for_a_value_taken_out_identifies_nobody(value: str) -> None:
    assert tags_of(dicom(PatientName=value)) == []


def test_a_cleaned_file_is_clean() -> None:
    cleaned = dicom(
        PatientName="", PatientID="", StudyDate="", StudyInstanceUID="2.25.1", Modality="CR", BodyPartExamined="CHEST"
    )
    assert tags_of(cleaned) == []


def test_sequences_are_searched() -> None:
    inner = pydicom.Dataset()
    inner.PerformingPhysicianName = "Bone^Henry"
    outer = pydicom.Dataset()
    outer.ReferencedSOPSequence = [inner]
    (found,) = tags_of(dicom(AnatomicRegionSequence=[outer]))
    assert (found.keyword, found.place) == (
        "PerformingPhysicianName",
        ("AnatomicRegionSequence", "ReferencedSOPSequence"),
    )
    (whole,) = tags_of(dicom(OtherPatientIDsSequence=[inner]))
    assert (whole.keyword, whole.value) == ("OtherPatientIDsSequence", "1 items")


def test_private_tags_curves_and_overlays() -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom()))
    block = dataset.private_block(0x0009, "A MAKER", create=True)
    block.add_new(1, "LO", "Hart")
    dataset.add_new(0x60003000, "OW", b"\1\2")
    dataset.add_new(0x50000010, "US", 1)
    found = {tag.keyword: tag.value for tag in identifying_tags(dataset)}
    assert found == {"PrivateAttributes": "2 tags", "OverlayData": "2 bytes", "CurveData": "(1 characters)"}


def test_malformed_values_are_found_rather_than_passed_over() -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom()))
    dataset._dict[pydicom.tag.Tag(0x00101010)] = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(0x00101010), "ZZ", 4, b"049Y", 0, False, True
    )
    assert [tag.keyword for tag in identifying_tags(dataset)] == ["PatientAge"]


@pytest.mark.parametrize(("value", "said"), [("YES", "yes"), ("NO", "no"), ("", "not stated"), ("MAYBE", "not stated")])
def test_burned_in(value: str, said: str) -> None:
    dataset = pydicom.Dataset()
    dataset.BurnedInAnnotation = value
    assert burned_in(dataset) == said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "export"
    (root / "HART_CLARA").mkdir(parents=True)
    (root / "HART_CLARA" / "1").write_bytes(dicom(**IDENTITY))
    (root / "HART_CLARA" / "2").write_bytes(dicom(**IDENTITY | {"StudyDate": "20260302"}))
    (root / "other.dcm").write_bytes(dicom(StudyInstanceUID="2.25.7", BurnedInAnnotation="YES"))
    (root / "clean.dcm").write_bytes(dicom(StudyInstanceUID="2.25.8", BurnedInAnnotation="NO"))
    (root / "notes.txt").write_text("no DICOM")
    (root / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    return root


def test_files_of_a_folder_and_of_a_zip(folder: Path, tmp_path: Path) -> None:
    found = {Path(file.file).relative_to(folder).as_posix(): file for file in check_files([folder])}
    assert found.keys() == {"HART_CLARA/1", "HART_CLARA/2", "other.dcm", "clean.dcm", "broken.dcm"}
    assert found["HART_CLARA/1"].study == found["HART_CLARA/2"].study != found["other.dcm"].study
    assert found["HART_CLARA/1"].named_by_path
    assert not found["other.dcm"].named_by_path
    assert [name for name, file in found.items() if file.is_clean] == ["clean.dcm"]
    assert found["broken.dcm"].error
    archive = tmp_path / "export.zip"
    with zipfile.ZipFile(archive, "w") as writer:
        writer.write(folder / "other.dcm", "a/other.dcm")
    (zipped,) = check_files([archive])
    assert zipped.burned_in == "yes"


def test_what_cannot_be_read_is_no_clean_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: Any, **__: Any) -> bytes:
        raise StudyError("larger than allowed")

    monkeypatch.setattr("radwright.data.sources.tree.FolderTree.read", too_large)
    found = list(check_files([folder]))
    assert {file.error for file in found} == {"larger than allowed"}
    assert not any(file.is_clean for file in found)


def test_command_says_what_it_found_and_nothing_of_the_values(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["check-privacy", str(folder / "HART_CLARA"), str(folder / "other.dcm"), str(folder / "clean.dcm")])
    said = capsys.readouterr().out
    assert "PatientName" in said
    assert "2 different" not in said.partition("StudyDate")[0]
    assert "BurnedInAnnotation: YES" in said
    assert "3 of 4 files" in said
    assert "names of files or folders" in said
    for value in ("Clara", "4711", "0815", "Elsewhere", "19500203"):
        assert value not in said


def test_command_is_content_with_clean_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["check-privacy", str(folder / "clean.dcm")])
    assert not stop.value.code
    assert "1 file: no tag that identifies the patient" in capsys.readouterr().out


def test_command_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["check-privacy", "--json", str(folder)])
    whole = json.loads(capsys.readouterr().out)
    assert whole["clean"] is False
    assert len(whole["files"]) == 5
    first = next(file for file in whole["files"] if file["file"].endswith("HART_CLARA/1"))
    assert {"tag": "(0010,0010)", "keyword": "PatientName", "action": "Z", "names": True} | {
        "value": "H… (10 characters)",
        "place": [],
    } in first["tags"]


def test_what_is_no_dicom_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        list(check_files([folder / "nothing"]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no DICOM file"):
        list(check_files([tmp_path / "empty"]))
    (text,) = check_files([folder / "notes.txt"])
    assert text.error
    assert not text.is_clean


@pytest.mark.parametrize("data", [b"", b"Patient: John Doe, born 1950", b"\x89PNG\r\n\x1a\n" + bytes(300)])
def test_what_is_no_dicom_file_is_not_called_clean(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    [found] = check_files([tmp_path / "file"])
    assert not found.is_clean
    assert "is no DICOM file" in found.error
