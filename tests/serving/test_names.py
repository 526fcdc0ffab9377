"""Names in a text: found however they are written, and no alarm for a word of reports that is a name as well."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reported_studies import study

from radwright.serving.names import names_in
from radwright.serving.records import ReadingStudy

ORDINARY = Path(__file__).parents[1] / "findings" / "ordinary_reports.toml"


def named(text: str, **fields: str) -> list[str]:
    nobody = {"patient_name": "", "patient_id": "", "accession": "", "referring_physician": ""}
    return [text[part.start : part.end] for part in names_in(text, study(**(nobody | fields)))]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Kowalska^Anna", "Mrs. kowalska was told."),
        ("Kowalska^Anna", "COMPARISON WITH ANNA"),
        ("Müller^Jörg", "Mueller"),
        ("Müller^Jörg", "MÜLLER"),
        ("Mueller^Joerg", "müller"),
        ("Mu\u0308ller^J", "Müller's chest"),
        ("Łukasz^Øyvind", "lukasz"),
        ("O'Brien^Pat", "o'brien"),
        ("O'Brien^Pat", "O’Brien"),
        ("Smith-Jones^A", "seen by jones"),
        ("Yamada^Tarou=山田^太郎", "患者山田太郎です"),
        ("Петров^Иван", "у ПЕТРОВ"),
        ("Hart^Clara^Maria", "for Maria"),
    ],
)
def test_a_name_is_found_however_it_is_written(name: str, text: str) -> None:
    assert len(named(text, patient_name=name)) == 1
    assert len(named(text, referring_physician=name)) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Hart^Clara", "The heart is normal. Clear lungs."),
        ("Bone^Henry", "Bone is intact. The bones are normal."),
        ("Clear^Ann", "Lungs are clear. CLEAR LUNGS."),
        ("Young^Will", "The young patient will return."),
        ("Ng^Li", "NG tube in place. Ng tube in place."),
        ("May^June", "This may be atelectasis."),
        ("de la Cruz^Ana", "Cardiomegaly de novo."),
        ("Ray^X", "Chest X-ray, two views."),
        ("Smith^A^B^Dr.^MD", "Discussed with the MD, Dr. told."),
        ("Doe^J", "A dome, j-shaped."),
        ("", "Anything."),
        ("^^^^", "Anything."),
    ],
)
def test_no_alarm_for_words_of_reports(name: str, text: str) -> None:
    assert named(text, patient_name=name) == []


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("Bone^Henry", "Discussed with Dr. Bone.", ["Bone"]),
        ("Bone^Henry", "discussed with dr bone.", ["bone"]),
        ("Bone^Henry", "BONE, HENRY", ["BONE", "HENRY"]),
        ("Clear^Young", "clear, young", ["clear", "young"]),
        ("Bone^Henry", "As told by Bone this morning.", ["Bone"]),
        ("Ng^Li", "Ng Li was seen", ["Ng", "Li"]),
        ("Clear^Ann", "Lungs clear clear.", []),
    ],
)
def test_a_word_that_is_used_as_a_name_is_one(name: str, text: str, found: list[str]) -> None:
    assert named(text, patient_name=name) == found


@pytest.mark.parametrize(
    ("number", "text", "found"),
    [
        ("PAT-4711", "patient pat4711", ["pat4711"]),
        ("PAT-4711", "PAT/4711", ["PAT/4711"]),
        ("1234567", "No 1234567.", ["1234567"]),
        ("1234567", "No 12345678.", []),
        ("2019", "Since 2019.", []),
        ("12", "12 mm nodule", []),
        ("", "12", []),
        ("A1", "A1", []),
    ],
)
def test_ids(number: str, text: str, found: list[str]) -> None:
    assert named(text, patient_id=number) == found
    assert named(text, accession=number) == found


def test_ordinary_reports_raise_no_alarm() -> None:
    texts = [each["text"] for each in tomllib.loads(ORDINARY.read_text(encoding="utf-8"))["case"]]
    assert len(texts) > 10
    surnames = ("Hart", "Bone", "Clear", "Lung", "Young", "Smith", "Long", "Park", "Hill", "White", "Nguyen", "Left")
    for name in surnames:
        assert [each for each in texts if named(each, patient_name=f"{name}^Anna")] == []


def test_fields_and_order() -> None:
    whole = study(patient_name="Kowalska^Anna", referring_physician="Kowalska^Piotr", patient_id="", accession="")
    found = names_in("Piotr saw Anna Kowalska.", whole)
    assert [part.field for part in found] == [
        "referring_physician",
        "patient_name",
        "patient_name",
        "referring_physician",
    ]


@given(text=st.text(max_size=80), name=st.text(max_size=30), number=st.text(max_size=12))
def test_any_text_can_be_searched(text: str, name: str, number: str) -> None:
    nobody = ReadingStudy("0" * 16, "drafted", "", "", patient_name=name, patient_id=number, referring_physician=name)
    for part in names_in(text, nobody):
        assert 0 <= part.start < part.end <= len(text)


@given(before=st.sampled_from(["", "heart normal. ", "the lungs of "]), after=st.sampled_from(["", ". clear", " x"]))
def test_a_rare_name_is_always_found(before: str, after: str) -> None:
    assert named(f"{before}wojciechowska{after}", patient_name="Wojciechowska^Q") == ["wojciechowska"]
