"""Loose images become studies: files, folders, archives; ambiguity is an error that names the files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from radwright.data.images import find_studies
from radwright.errors import SourceError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"image")
    return path


def test_files_are_studies_of_one_view_and_a_folder_groups_its_subfolders(tmp_path: Path) -> None:
    alone = touch(tmp_path / "alone.jpeg")
    folder = tmp_path / "folder"
    for name in ("loose.png", "p1/s1/b.dcm", "p1/s1/a.dcm", "p1/s2/a.JPG", "p1/s2/notes.txt", ".hidden.png"):
        touch(folder / name)
    studies = find_studies([alone, folder])
    assert [(study.study_id, len(study.views)) for study in studies] == [
        ("alone", 1),
        ("loose", 1),
        ("p1/s1", 2),
        ("p1/s2", 1),
    ]
    assert [Path(view.image.name).name for view in studies[2].views] == ["a.dcm", "b.dcm"]
    [joined] = find_studies([alone, folder], together=True)
    assert (joined.study_id, len(joined.views)) == ("alone", 5)


def test_an_archive_reads_as_the_folder_it_holds(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("set/images/x.png", "set/images/y.png", "__MACOSX/set/images/._x.png", "set/readme.csv"):
            archive.writestr(name, b"image")
    studies = find_studies([tmp_path / "set.zip"])
    assert [study.study_id for study in studies] == ["x", "y"]
    assert studies[0].views[0].image.read() == b"image"


def test_what_cannot_be_told_apart_or_found_is_an_error(tmp_path: Path) -> None:
    one, two = touch(tmp_path / "a" / "chest.png"), touch(tmp_path / "b" / "chest.png")
    with pytest.raises(SourceError, match=r"a/chest\.png.*b/chest\.png"):
        find_studies([one, two])
    with pytest.raises(SourceError, match="no such image"):
        find_studies([tmp_path / "absent.png"])
    (tmp_path / "void").mkdir()
    with pytest.raises(SourceError, match="holds no image"):
        find_studies([tmp_path / "void"])
    (tmp_path / "no.zip").write_bytes(b"text")
    with pytest.raises(SourceError, match="no readable zip"):
        find_studies([tmp_path / "no.zip"])
