"""Cleaning: worked examples, idempotence under any text, and the released cleaners against their traps."""

from __future__ import annotations

import itertools
import json
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.errors import ConfigError
from radwright.text.cleaning import (
    CLEANERS,
    clean_r2gen_iu,
    clean_r2gen_mimic,
    clean_report,
    cleaner,
    is_empty_report,
    readable,
)

PIECES = [
    *(
        "heart",
        "Lungs",
        "XXXX",
        "xxx",
        "___",
        "__",
        "_",
        "[**1-2**]",
        "1.",
        "2.",
        "(3)",
        "4)",
        "12",
        "3.5",
        ".5",
        "1,000",
    ),
    *(
        "Dr.",
        "dr",
        "vs.",
        "p.m.",
        "a.m",
        "e.g.",
        "U.S.",
        "s/p",
        "a/b",
        "<5",
        "> 6",
        "50%",
        "50 %",
        "&",
        "?",
        "!",
        "x-ray",
    ),
    *(
        ".",
        "..",
        " . ",
        "-",
        "--",
        "–",
        "'",
        "’",
        ",",
        ":",
        ";",
        "\n",
        "\n\n",
        " ",
        "",
        "É",
        "ß",
        "İ",
        "ı",
        "Σ",
        "²",
        "%",
    ),
]
TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="aAxX1_.-%' /\n()<,?ßİΣ́", max_size=30),
    st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join),
    st.lists(st.sampled_from(PIECES), max_size=14).map("".join),
)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Heart normal.. Lungs clear", "heart normal . lungs clear ."),
        ("A 3.5 cm mass, and one of .5cm.", "a 3.5 cm mass and one of 0.5cm ."),
        ("1. Heart normal. 2. Lungs clear. 10.No fracture.", "heart normal . lungs clear . no fracture ."),
        ("(1) Heart normal. 2) Lungs clear.", "heart normal . lungs clear ."),
        ("Dr. Roe's CT vs. the film", "dr roes ct vs the film ."),
        ("Done at 5 p.m. The tube is high.", "done at 5 pm . the tube is high ."),
        ("Done at 5 p.m. by phone, e.g. Lines.", "done at 5 pm by phone eg lines ."),
        ("Seen by XXXX. ___-year-old. [**2101-1-1**] film", "seen by xxxx . xxxx-year-old . xxxx film ."),
        ("XXXX. XXXX XXXX. Clear.", "clear ."),
        ("Findings\n\nHeart\nnormal\n\nClear", "findings . heart normal . clear ."),
        ("Effusion?\nPTX! ?mass", "effusion . ptx . mass ."),
        ("<1 cm, >2 cm, 50 % of 1,200 mL", "less than 1 cm greater than 2 cm 50% of 1200 ml ."),
        ("heart.Lungs -- s/p repair; AP/PA", "heart . lungs sp repair ap pa ."),
        ("", ""),
        (" .\n. ", ""),
    ],
)
def test_our_cleaning(text: str, cleaned: str) -> None:
    assert clean_report(text) == cleaned


@given(TEXTS)
def test_cleaned_and_readable_text_clean_to_themselves(text: str) -> None:
    cleaned = clean_report(text)
    assert clean_report(cleaned) == cleaned
    assert clean_report(readable(cleaned)) == cleaned
    assert readable(cleaned) == readable(clean_report(readable(cleaned)))


@given(TEXTS)
def test_cleaned_text_is_words_and_closed_sentences(text: str) -> None:
    words = clean_report(text).split(" ")
    if words == [""]:
        return
    assert words[0] != "."
    assert words[-1] == "."
    assert all(word for word in words)
    assert not any(first == second == "." for first, second in itertools.pairwise(words))
    assert not any(character.isupper() for word in words for character in word)


@given(TEXTS, st.sampled_from(sorted(CLEANERS)))
def test_no_cleaner_crashes(text: str, name: str) -> None:
    readable(cleaner(name)(text))


@pytest.mark.parametrize(
    "text", ["", "XXXX", "XXXX. XXXX XXXX.", "1. XXXX", "___", " . ", "[** name **]", "xxxx-xxxx", "2."]
)
def test_a_report_of_nothing_but_gaps_is_empty(text: str) -> None:
    assert is_empty_report(text)


def test_a_report_with_one_word_is_not_empty() -> None:
    assert not is_empty_report("XXXX clear")


def test_readable() -> None:
    assert readable("heart size normal . lungs clear .") == "Heart size normal. Lungs clear."
    assert readable("no xxxx seen") == "No XXXX seen."
    assert readable(". . clear . .") == "Clear."
    assert readable("") == ""


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        # The traps are the point: joined decimals, lost numbers, "and/or" in one word, empty sentences kept.
        ("Heart normal... A 3.5 cm and/or x-ray.", "heart normal . a 35 cm andor x-ray ."),
        ("1. Heart's big. 2. Clear at T12 6. Done: yes", "hearts big . clear at t12 6 . done yes ."),
        ("Ribs 3. and 4. end", "ribs . and . end ."),
        ("A . . b", "a .  . b ."),
        ("One. [Two] = {3} @ x;y<z>", "one . two  3  xyz ."),
        ("", " ."),
        ("No comma, no stop", "no comma no stop ."),
    ],
)
def test_released_iu_cleaning(text: str, cleaned: str) -> None:
    assert clean_r2gen_iu(text) == cleaned


def test_released_mimic_cleaning_does_white_space_first() -> None:
    assert clean_r2gen_mimic("Seen ____ by\n   Dr.  Roe....... Clear") == "seen  by dr . roe . clear ."
    assert clean_r2gen_mimic("A.\nB.") == "a . b ."


def test_released_cleaning_of_cleaned_text_changes_white_space_only() -> None:
    once = clean_r2gen_iu("Heart normal. Lungs clear.")
    assert clean_r2gen_iu(once).split() == once.split()


def test_unknown_cleaning_names_the_near_one() -> None:
    with pytest.raises(ConfigError, match="r2gen-iu"):
        cleaner("r2gen_iu")


def test_real_reports_clean_to_themselves(shared: Path) -> None:
    with zipfile.ZipFile(shared / "data" / "iu_xray.zip") as archive:
        studies = json.loads(archive.read("iu_xray/annotation.json"))["val"]
    for study in studies:
        cleaned = clean_report(study["report"])
        assert cleaned.endswith(" .")
        assert clean_report(cleaned) == cleaned == clean_report(readable(cleaned))


@pytest.mark.parametrize(
    "piece", ["_", "[**", "\n", " ", ".", "a.", "1,000,", "x", "!", "< ", "1. ", "-", "(1) ", "5 "]
)
@pytest.mark.parametrize("name", sorted(CLEANERS))
def test_long_runs_take_no_more_than_linear_time(piece: str, name: str) -> None:
    start = time.perf_counter()
    readable(cleaner(name)(piece * 50_000))
    assert time.perf_counter() - start < 3
