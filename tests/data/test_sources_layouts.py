"""What each source makes of its own layout, good and bad."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from radwright.data.sources import tree
from radwright.data.sources.covid_chestxray import CovidChestXraySource
from radwright.data.sources.mimic_cxr import MimicCxrSource
from radwright.data.sources.openi import OpenISource
from radwright.data.sources.r2gen import R2GenSource
from radwright.data.sources.table import TableSource
from radwright.data.sources.tree import locate, open_tree, read_zipped, safe_name
from radwright.errors import ConfigError, ImageError, SourceError, StudyError


def annotate(folder: Path, **record: Any) -> R2GenSource:
    base = {"id": "a", "report": "Clear.", "image_path": ["a/0.png"], "split": "train"}
    (folder / "annotation.json").write_text(json.dumps({"train": [{**base, **record}]}))
    return R2GenSource(folder, {})


# --- r2gen ---


def test_r2gen_is_read_in_place_from_a_zip(miniature: Any, tmp_path: Path) -> None:
    folder = miniature("r2gen").path
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, Path("iu") / path.relative_to(folder))
    direct, zipped = R2GenSource(folder, {}), R2GenSource(tmp_path / "set.zip", {})
    assert zipped.references() == direct.references()
    for reference in direct.references():
        before, after = direct.load(reference), zipped.load(reference)
        assert [view.image.read() for view in before.views] == [view.image.read() for view in after.views]
    by_file = R2GenSource(folder / "annotation.json", {})
    assert by_file.references() == direct.references()


def test_r2gen_manifest_restores_aspect_positions_and_leaves_bad_images_out(
    tmp_path: Path, picture_bytes: Any, write_file: Any, as_csv: Any
) -> None:
    for view in (0, 1, 2):
        write_file(tmp_path / "images" / "a" / f"{view}.png", picture_bytes(view))
    size = {"dicom_rows": 2000, "dicom_cols": 2500}
    manifest = [
        {"image": "a/0.png", "projection": "Lateral", **size, "known_bad": 0},
        {"image": "a/1.png", "projection": "Frontal", **size, "known_bad": 1},
        {"image": "a/2.png", "projection": "Frontal", "dicom_rows": "", "dicom_cols": "", "known_bad": 0},
    ]
    write_file(tmp_path / "manifest.csv", as_csv(manifest))
    source = annotate(tmp_path, image_path=["a/0.png", "a/1.png", "a/2.png"], uid=77, impression="Fine.")
    (reference,) = source.references()
    study = source.load(reference)
    assert study.patient_id == "77"
    assert [view.position for view in study.views] == ["lateral", "frontal"]
    assert [view.original_size for view in study.views] == [(2500, 2000), None]
    assert study.extra == {"views_left_out": ["a/1.png"]}
    assert study.sections == {"findings": "Clear.", "impression": "Fine."}
    assert len(R2GenSource(tmp_path, {"keep_known_bad": True}).load(reference).views) == 3


@pytest.mark.parametrize(
    ("record", "patient"), [({"uid": 5}, "5"), ({"subject_id": 9}, "9"), ({"id": "CXR12_IM-3"}, "12"), ({}, "")]
)
def test_r2gen_patient(record: dict[str, Any], patient: str, tmp_path: Path) -> None:
    assert annotate(tmp_path, **record).references()[0].patient_id == patient


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "train, val and test"),
        ('{"trian": []}', "train, val and test"),
        ('{"train": [3]}', "no list of records"),
        ('{"train": [{"report": "x"}]}', "without id"),
    ],
)
def test_r2gen_bad_annotation(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "annotation.json").write_text(content)
    with pytest.raises(SourceError, match=message):
        R2GenSource(tmp_path, {}).references()


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../../b.png", "C:\\x.png"])
def test_image_paths_never_lead_out_of_the_dataset(path: str, tmp_path: Path) -> None:
    source = annotate(tmp_path, image_path=[path])
    if path.startswith(("..", "a")):
        with pytest.raises(StudyError, match="leads out"):
            source.load(source.references()[0])
    else:
        view = source.load(source.references()[0]).views[0]
        assert str(tmp_path / "images") in view.image.name
    with pytest.raises(StudyError, match="leads out"):
        safe_name(path)


def test_r2gen_without_annotation_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "anotation.json").write_text("{}")
    with pytest.raises(SourceError, match=r"has no annotation.json \(did you mean 'anotation.json'"):
        R2GenSource(tmp_path, {})
    with pytest.raises(SourceError, match="does not exist"):
        R2GenSource(tmp_path / "nowhere", {})
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(SourceError, match="no folder and no zip"):
        R2GenSource(tmp_path / "note.txt", {})


# --- archives ---


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_FILE_BYTES", 8 * 2**20)
    with (
        zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.png", "w") as member,
    ):
        for _ in range(9):
            member.write(bytes(2**20))
    assert (tmp_path / "b.zip").stat().st_size < 2**20
    with pytest.raises(ImageError, match="unpacks to"):
        open_tree(tmp_path / "b.zip").image("x.png").read()


def test_damaged_archives(tmp_path: Path, picture_bytes: Any) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.png", picture_bytes(0))
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[60] ^= 0xFF
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises(ImageError, match="damaged"):
        read_zipped(tmp_path / "b.zip", "x.png", 10**6)
    (tmp_path / "cut.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:-60])
    with pytest.raises(SourceError, match=r"cut.zip: is a zip that was cut off"):
        open_tree(tmp_path / "cut.zip")
    (tmp_path / "c.tgz").write_bytes(b"\x1f\x8b\x08" + bytes(50))
    with pytest.raises(SourceError, match="damaged"):
        open_tree(tmp_path / "c.tgz")
    with pytest.raises(ImageError, match="missing in the archive"):
        open_tree(tmp_path / "a.zip").image("y.png").read()


def test_locate_takes_the_least_deep_and_refuses_a_tie() -> None:
    assert locate(["b/c/t.csv", "t.csv"], "t.csv", where=Path("x")) == "t.csv"
    with pytest.raises(SourceError, match="two files"):
        locate(["a/t.csv", "b/t.csv"], "t.csv", where=Path("x"))


# --- openi ---


def test_openi_as_downloaded_equals_openi_unpacked(miniature: Any, tmp_path: Path) -> None:
    folder = miniature("openi").path
    packed = tmp_path / "packed"
    packed.mkdir()
    for name, inner in (("NLMCXR_reports.tgz", "ecgen-radiology"), ("NLMCXR_png.tgz", "NLMCXR_png")):
        with tarfile.open(packed / name, "w:gz") as archive:
            archive.add(folder / inner, inner if "reports" in name else ".")
    plain, tarred = OpenISource(folder, {}), OpenISource(packed, {})
    studies = {reference.study_id: plain.load(reference) for reference in plain.references()}
    assert len(studies) == 6
    for reference in tarred.references():
        study = tarred.load(reference)
        assert study.sections == studies[reference.study_id].sections
        assert [v.image.read() for v in study.views] == [v.image.read() for v in studies[reference.study_id].views]
    assert studies["CXR1"].section("indication") == "Cough & fever"


def test_openi_projections_and_bad_reports(miniature: Any) -> None:
    folder = miniature("openi").path
    (folder / "indiana_projections.csv").write_text(
        "uid,filename,projection\n2,2_1_IM-0001-1001.dcm.png,Frontal\n2,2_1_IM-0001-2001.dcm.png,Lateral\n"
    )
    (folder / "ecgen-radiology" / "1.xml").write_text("<eCitation><uId")
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><eCitation><uId id="CXR3"/>&b;</eCitation>'
    (folder / "ecgen-radiology" / "3.xml").write_text(bomb)
    (folder / "NLMCXR_png" / "CXR5_1_IM-0004-1001.png").unlink()
    source = OpenISource(folder, {})
    references = {reference.study_id: reference for reference in source.references()}
    assert [view.position for view in source.load(references["CXR2"]).views] == ["frontal", "lateral"]
    for study_id, message in (("CXR1", "not valid XML"), ("CXR3", "entities"), ("CXR5", "is missing")):
        with pytest.raises(StudyError, match=message):
            source.load(references[study_id])


def test_openi_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no XML reports"):
        OpenISource(tmp_path, {}).references()
    (tmp_path / "1.xml").write_text("<a/>")
    with pytest.raises(SourceError, match="no images"):
        OpenISource(tmp_path, {}).references()


# --- mimic-cxr ---


def test_mimic_sections_positions_and_split(miniature: Any) -> None:
    source = MimicCxrSource(miniature("mimic-cxr").path, {})
    studies = [source.load(reference) for reference in source.references()]
    assert [study.split for study in studies] == ["train"] * 4 + ["val", "test"]
    assert [view.position for view in studies[2].views] == ["frontal", "lateral", "unknown"]
    assert studies[0].patient_id == studies[1].patient_id == "p10000032"
    assert studies[0].sections["indication"] == "Cough."
    assert studies[0].sections["impression"] == "Ok."
    assert [study.extra for study in studies[:2]] == [{"projection": "PA"}, {"projection": "LATERAL / PA"}]


def test_mimic_sections_csv_and_reports_zip_give_the_same(miniature: Any, as_csv: Any, tmp_path: Path) -> None:
    folder = miniature("mimic-cxr").path
    source = MimicCxrSource(folder, {})
    expected = {reference.study_id: source.load(reference).sections for reference in source.references()}
    with zipfile.ZipFile(tmp_path / "mimic-cxr-reports.zip", "w") as archive:
        for path in sorted(folder.rglob("*.txt")):
            archive.write(path, path.relative_to(folder))
            path.unlink()
    zipped = MimicCxrSource(folder, {"reports": str(tmp_path)})
    assert {r.study_id: zipped.load(r).sections for r in zipped.references()} == expected
    rows = [{"study": study, "last_paragraph": "", **sections} for study, sections in expected.items()]
    (folder / "mimic_cxr_sectioned.csv").write_text(as_csv(rows[:-1]))
    sectioned = MimicCxrSource(folder, {})
    references = sectioned.references()
    assert sectioned.load(references[0]).sections == expected[references[0].study_id]
    with pytest.raises(StudyError, match="no row"):
        sectioned.load(references[-1])


def test_mimic_missing_parts(miniature: Any) -> None:
    folder = miniature("mimic-cxr").path
    source = MimicCxrSource(folder, {})
    next(folder.rglob("*.jpg")).unlink()
    with pytest.raises(StudyError, match=r"\.jpg \(or \.dcm\): is missing"):
        [source.load(reference) for reference in source.references()]
    (folder / "mimic-cxr-2.0.0-metadata.csv").write_text("dicom_id,view_position\nx,PA\n")
    with pytest.raises(SourceError, match="no column 'ViewPosition'"):
        source.references()
    (folder / "mimic-cxr-2.0.0-metadata.csv").unlink()
    assert len(source.references()) == 6
    (folder / "mimic-cxr-2.0.0-split.csv.gz").write_bytes(b"\x1f\x8bnothing")
    with pytest.raises(SourceError, match="cannot be read"):
        source.references()
    (folder / "mimic-cxr-2.0.0-split.csv.gz").unlink()
    with pytest.raises(SourceError, match=r"no mimic-cxr-2.0.0-split.csv"):
        source.references()


# --- table ---


def test_table_wrong_column_names_the_near_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("filename,finding\na.png,x\n")
    with pytest.raises(SourceError, match=r"no column 'file_name' \(did you mean 'filename'\?\)"):
        TableSource(tmp_path / "t.csv", {"columns": {"image": "file_name"}})
    blind = TableSource(tmp_path / "t.csv", {})
    assert not blind.has_images
    assert "--column image=NAME; it has: filename, finding" in blind.no_images
    with pytest.raises(ConfigError, match="imagee"):
        TableSource(tmp_path / "t.csv", {"columns": {"imagee": "filename"}})


def test_table_jsonl_lists_and_whole_reports(tmp_path: Path) -> None:
    rows = [
        {"image": ["a.png", "b.png"], "study_id": 1, "view": ["AP", "LL"], "original_width": 9},
        {"image": "c.png", "study_id": 2, "report": "FINDINGS: Clear.\nIMPRESSION: Normal."},
        {"image": "d.png", "report": "No headings here."},
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    source = TableSource(tmp_path, {})
    first, second, third = [source.load(reference) for reference in source.references()]
    assert [view.position for view in first.views] == ["frontal", "lateral"]
    assert second.sections == {"findings": "Clear.", "impression": "Normal."}
    assert (third.study_id, third.sections) == ("d", {"findings": "No headings here."})
    assert source.has_reports


def test_table_facts_go_with_the_study(tmp_path: Path) -> None:
    rows = "image,uid,findings,gender,machine\na.png,1,Clear.,F,Alpha\nb.png,1,Clear.,F,Beta\nc.png,2,Clear.,,\n"
    (tmp_path / "t.csv").write_text(rows)
    facts = {"sex": "gender", "scanner": "machine"}
    source = TableSource(tmp_path / "t.csv", {"columns": {"study_id": "uid"}, "facts": facts})
    studies = [source.load(reference) for reference in source.references()]
    assert [dict(study.extra) for study in studies] == [{"sex": "F", "scanner": "Alpha / Beta"}, {}]
    with pytest.raises(SourceError, match=r"fact 'sex': the table has no column 'gendr' \(did you mean 'gender'\?\)"):
        TableSource(tmp_path / "t.csv", {"facts": {"sex": "gendr"}})


def test_table_separator_size_and_five_views(tmp_path: Path) -> None:
    rows = "image,view,original_width,original_height\na.png;b.png;c.png;d.png;e.png,PA,,\nf.png,L,300,200.0\n"
    (tmp_path / "t.csv").write_text(rows)
    source = TableSource(tmp_path / "t.csv", {"separator": ";"})
    five, one = [source.load(reference) for reference in source.references()]
    assert [view.position for view in five.views] == ["frontal"] * 5
    assert one.views[0].original_size == (300, 200)
    assert not source.has_reports


def test_table_contradicting_rows_are_study_errors(tmp_path: Path) -> None:
    rows = ["a.png,1,Clear.,train", "b.png,1,Hazy.,train", "c.png,2,X,val", "d.png,2,X,test", ",3,Y,val"]
    (tmp_path / "t.csv").write_text("\n".join(["image,study_id,findings,split", *rows]))
    source = TableSource(tmp_path / "t.csv", {})
    *contradictory, blind = source.references()
    for reference, message in zip(contradictory, ("different texts", "two splits"), strict=True):
        with pytest.raises(StudyError, match=message):
            source.load(reference)
    assert source.load(blind).views == ()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "image\n", "has no rows"),
        ("t.csv", "image\na.png,b\n", "line 2: has more cells"),
        ("t.csv", b"image\n\xff\xfe\n", "not UTF-8"),
        ("t.csv", 'image\n"' + "a" * 200000 + '"\n', "no valid CSV"),
        ("t.jsonl", '{"image": "a"}\n[1]\n', "line 2: an object"),
        ("t.jsonl", '{"image": "a"}\n{\n', "line 2: is no valid JSON"),
        ("t.csv", "image,split\na.png,trainn\n", "unknown split 'trainn'"),
        ("t.csv", "image,study_id\n,\n", "neither a study_id nor an image"),
    ],
)
def test_table_bad_tables(name: str, content: str | bytes, message: str, tmp_path: Path, write_file: Any) -> None:
    write_file(tmp_path / name, content)
    with pytest.raises((SourceError, ConfigError), match=message):
        TableSource(tmp_path / name, {}).references()


def test_table_choice_among_several(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"has no CSV, TSV or JSONL table$"):
        TableSource(tmp_path, {})
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(f"image\n{name}.png\n")
    with pytest.raises(SourceError, match=r"found: a.csv, b.csv; choose one, e.g. --option table=a.csv"):
        TableSource(tmp_path, {})
    assert TableSource(tmp_path, {"table": "b.csv"}).references()[0].study_id == "b.csv"
    with pytest.raises(SourceError, match=r"no one table 'c.csv'"):
        TableSource(tmp_path, {"table": "c.csv"})


# --- the COVID-19 image data collection ---


def covid(folder: Path, *rows: str, head: str = "patientid,offset,finding,view,date,filename") -> CovidChestXraySource:
    (folder / "metadata.csv").write_text("\n".join([head, *rows]))
    return CovidChestXraySource(folder, {})


def test_covid_joins_a_frontal_and_a_lateral_image_of_one_visit_only(tmp_path: Path) -> None:
    source = covid(
        tmp_path,
        "1,3,COVID-19,PA,2020,a.png",
        "1,3,COVID-19,L,2020,b.png",
        "1,4,COVID-19,L,2020,c.png",  # another day
        "2,,SARS,PA,2004,d.png",
        "2,,SARS,AP,2004,e.png",  # two frontal ones: perhaps two days
        "3,,SARS,Axial,2004,f.png",  # tomography
        "4,0,SARS,PA,2004,g.png",
        "4,0,No Finding,L,2004,h.png",  # another diagnosis
        "5,0,SARS,PA,2004,",  # no image
    )
    names = {reference.study_id: reference.patient_id for reference in source.references()}
    assert names == {"a": "1", "c": "1", "d": "2", "e": "2", "g": "4", "h": "4"}
    assert len(source.references()[0].content) == 2


def test_covid_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"has no metadata\.csv"):
        CovidChestXraySource(tmp_path, {})
    with pytest.raises(SourceError, match="has no column 'finding' \\(did you mean 'findings'"):
        covid(tmp_path, "1,x,PA,a.png", head="patientid,findings,view,image").references()
    source = covid(tmp_path, "1,,X,PA,2020,gone.png", "1,,X,PA,2021,../../etc/passwd")
    for reference in source.references():
        with pytest.raises(StudyError, match=r"has no image|leads out"):
            source.load(reference)


# --- the real ones ---


def test_real_archives(shared: Path) -> None:
    source = R2GenSource(shared / "data" / "iu_xray.zip", {})
    references = source.references()
    splits = [reference.split for reference in references]
    assert (splits.count("train"), splits.count("val"), splits.count("test")) == (2068, 295, 0)
    study = source.load(references[0])
    assert study.views[0].original_size is not None
    columns = {"study_id": "uid", "patient_id": "uid", "view": "projection"}
    extra = TableSource(shared / "data" / "iu_xray_extra.zip", {"columns": columns})
    assert len(extra.references()) == 873
    covid = TableSource(shared / "data" / "covid_chestxray.zip", {"columns": {"patient_id": "patientid"}})
    assert len(covid.references()) == 219
    assert covid.load(covid.references()[0]).views[0].image.read()[:2] == b"\xff\xd8"


def test_real_covid_collection(shared: Path) -> None:
    source = CovidChestXraySource(shared / "data" / "covid_chestxray.zip", {})
    references = source.references()
    studies = [source.load(reference) for reference in references]
    assert sum(len(study.views) for study in studies) == 219
    pairs = [study for study in studies if len(study.views) == 2]
    assert len(pairs) > 20
    assert all({view.position for view in study.views} == {"frontal", "lateral"} for study in pairs)
    assert sum(study.extra["finding"] == "No Finding" for study in studies) == 4
    assert not any(study.sections for study in studies)
