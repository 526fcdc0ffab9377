"""The reader: offsets, details, invariances, odd input, and agreement with those who coded the Open-i reports."""

from __future__ import annotations

import csv
import gzip
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.findings import VERSION, Mention, Status, read_report, version
from radwright.findings.labels import chexpert_evidence, chexpert_labels, nih_labels
from radwright.findings.lexicon import expand, lexicon
from radwright.findings.ontology import CHEXPERT, CHEXPERT_5, NIH, NIH_NORMAL, ancestors, concepts
from radwright.findings.tokens import MAX_WORDS
from radwright.text.cleaning import clean_report


def only(text: str, concept: str) -> Mention:
    [mention] = [mention for mention in read_report(text).mentions if mention.concept == concept]
    return mention


def words(text: str, place: tuple[int, int] | None) -> str:
    return "" if place is None else text[place[0] : place[1]]


@pytest.mark.parametrize(
    ("text", "concept", "status", "named", "cue"),
    [
        ("There is no LEFT-sided pneumothorax.", "pneumothorax", Status.ABSENT, "pneumothorax", "no"),
        ("Possible small effusion.", "pleural_effusion", Status.UNCERTAIN, "effusion", "Possible"),
        ("Pneumonia cannot be excluded.", "pneumonia", Status.UNCERTAIN, "Pneumonia", "cannot be excluded"),
        ("Effusion has resolved.", "pleural_effusion", Status.ABSENT, "Effusion", "has resolved"),
        ("Mild cardiomegaly.", "cardiomegaly", Status.PRESENT, "cardiomegaly", ""),
        ("The heart is not enlarged.", "cardiomegaly", Status.ABSENT, "heart is not enlarged", ""),
        ("Heart size, as before, is normal.", "cardiomegaly", Status.ABSENT, "Heart size, as before, is normal", ""),
        ("Blunted right costophrenic angle.", "blunted_costophrenic_angle", Status.PRESENT, "", ""),
    ],
)
def test_a_mention_points_at_its_words_and_at_its_cue(
    text: str, concept: str, status: Status, named: str, cue: str
) -> None:
    mention = only(text, concept)
    assert mention.status == status
    if named:
        assert text[mention.start : mention.end] == named
    assert words(text, mention.cue) == cue


@pytest.mark.parametrize(
    ("text", "concept", "sides", "severity", "change"),
    [
        ("Small left pleural effusion.", "pleural_effusion", {"left"}, 2, ""),
        ("Pleural effusion on the right, large.", "pleural_effusion", {"right"}, 4, ""),
        ("The right effusion is moderate.", "pleural_effusion", {"right"}, 3, ""),
        ("Bibasilar atelectasis, unchanged.", "atelectasis", {"left", "right"}, 0, "same"),
        ("Moderate to large right pneumothorax.", "pneumothorax", {"right"}, 4, ""),
        ("Trace effusion has increased.", "pleural_effusion", set(), 1, "worse"),
        ("New left lower lobe consolidation.", "consolidation", {"left"}, 0, "new"),
        ("Severely enlarged heart.", "cardiomegaly", set(), 4, ""),
        ("The heart is mildly enlarged.", "cardiomegaly", set(), 2, ""),
        ("Improving pulmonary edema.", "edema", set(), 0, "better"),
        ("Leads end in the right atrium.", "support_device", set(), 0, ""),
    ],
)
def test_sides_grades_and_changes(text: str, concept: str, sides: set[str], severity: int, change: str) -> None:
    mention = only(text, concept)
    assert (mention.sides, mention.severity, mention.change) == (sides, severity, change)


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        ("The heart is enlarged, and the effusion is no longer seen.", {"cardiomegaly": 1, "pleural_effusion": 0}),
        ("Cardiomegaly persists and edema has resolved.", {"cardiomegaly": 1, "edema": 0}),
        ("Small right pneumothorax, and pneumonia is excluded.", {"pneumothorax": 1, "pneumonia": 0}),
        ("The opacity has worsened, and the pneumothorax is not seen.", {"lung_opacity": 1, "pneumothorax": 0}),
        ("The right nodule is larger, and the left effusion is gone.", {"nodule": 1, "pleural_effusion": 0}),
        ("Effusion and pneumothorax are not seen.", {"pleural_effusion": 0, "pneumothorax": 0}),
        ("Effusion or pneumothorax is not seen.", {"pleural_effusion": 0, "pneumothorax": 0}),
        ("Opacity that could be seen with pneumonia.", {"lung_opacity": 1, "pneumonia": -1}),
        ("Known left lower lobe mass is not well seen.", {"mass": 1}),
        ("Tip of the PICC has been pulled back.", {"central_line": 1}),
    ],
)
def test_a_cue_behind_a_finding_stops_at_its_clause(text: str, statuses: dict[str, int]) -> None:
    assert {mention.concept: int(mention.status) for mention in read_report(text).mentions} == statuses


@pytest.mark.parametrize(
    "text", ["No effusion on the left; small one on the right.", "No left effusion; there is a small one on the right."]
)
def test_what_was_named_last_is_meant_once_more(text: str) -> None:
    found = [(int(mention.status), set(mention.sides)) for mention in read_report(text).mentions]
    assert found == [(0, {"left"}), (1, {"right"})]


@pytest.mark.parametrize(
    "text",
    [
        "In the left upper lobe, there is a 1 cm nodule.",
        "The left upper lobe contains a 1 cm nodule.",
        "Left upper lobe: new 1 cm nodule.",
        "Left upper lobe opacity, which may represent a nodule.",
    ],
)
def test_a_place_named_first_belongs_to_the_finding(text: str) -> None:
    nodule = only(text, "nodule")
    assert (nodule.sides, nodule.zones) == ({"left"}, {"upper"})


@pytest.mark.parametrize(
    ("text", "zones"),
    [
        ("Right upper lobe nodule.", {"upper"}),
        ("Nodule in the left base and right apex.", {"lower", "upper"}),
        ("Nodule in the right mid lung.", {"middle"}),
        ("Retrocardiac nodule.", {"lower"}),
        ("Nodule. Bibasilar atelectasis.", set()),
    ],
)
def test_zones_of_the_lung(text: str, zones: set[str]) -> None:
    assert only(text, "nodule").zones == zones


def test_sides_stay_with_their_own_finding() -> None:
    text = "Small right effusion and large left pneumothorax."
    effusion, pneumothorax = only(text, "pleural_effusion"), only(text, "pneumothorax")
    assert (effusion.sides, effusion.severity) == ({"right"}, 2)
    assert (pneumothorax.sides, pneumothorax.severity) == ({"left"}, 4)


@pytest.mark.parametrize(
    ("text", "likely"),
    [
        ("Opacity, probably atelectasis.", True),
        ("Atelectasis versus scarring.", True),
        ("Borderline cardiomegaly.", True),
        ("Possible atelectasis.", False),
        ("May represent atelectasis versus scarring.", False),
        ("Heart size at the upper limits of normal.", False),
        ("Atelectasis.", False),
    ],
)
def test_likely_is_told_from_possible(text: str, likely: bool) -> None:
    [mention] = [m for m in read_report(text).mentions if m.concept in {"atelectasis", "cardiomegaly"}]
    assert mention.likely == likely
    assert mention.status == (Status.PRESENT if text == "Atelectasis." else Status.UNCERTAIN)


@pytest.mark.parametrize(
    ("text", "compared"),
    [
        ("Unchanged cardiomegaly.", ["Unchanged"]),
        ("Compared to the prior film, edema has worsened.", ["Compared", "prior", "has worsened"]),
        ("No comparison.", []),
        ("Chronic granulomatous disease.", []),
    ],
)
def test_comparisons_with_an_earlier_examination(text: str, compared: list[str]) -> None:
    assert [text[start:end] for start, end in read_report(text).comparisons] == compared


def test_an_assertion_counts_before_an_open_mention_and_that_before_a_denial() -> None:
    labels = [
        chexpert_labels(read_report(text))["Pleural Effusion"]
        for text in ("No effusion. Possible effusion. Effusion.", "No effusion. Possible effusion.", "No effusion.", "")
    ]
    assert labels == [1, -1, 0, None]
    read = read_report("No effusion. Possible effusion. Small effusion.")
    assert read.text[chexpert_evidence(read)["Pleural Effusion"].start :] == "effusion."


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("No acute cardiopulmonary abnormality.", 1),
        ("PICC line in place.", 1),
        ("Possible pneumonia.", None),
        ("Cardiomegaly.", None),
        ("", None),
        ("...", None),
    ],
)
def test_no_finding(text: str, label: int | None) -> None:
    assert chexpert_labels(read_report(text))["No Finding"] == label


def test_nih_labels_count_what_is_likely_and_normal_is_nothing_at_all() -> None:
    assert nih_labels(read_report("Probable pneumonia."))["Pneumonia"] == 1
    assert nih_labels(read_report("Possible pneumonia."))["Pneumonia"] == 0
    assert nih_labels(read_report("Lungs are clear."))[NIH_NORMAL] == 1
    assert nih_labels(read_report("Lungs are clear. Scoliosis."))[NIH_NORMAL] == 0
    assert nih_labels(read_report(""))[NIH_NORMAL] == 0
    assert [*nih_labels(read_report("x"))] == [*NIH, NIH_NORMAL]


def test_sections_without_findings_are_left_out_where_the_report_has_headings() -> None:
    text = (
        "INDICATION: rule out pneumonia. Pneumothorax?\nCOMPARISON: none.\nFINDINGS: Lungs clear. IMPRESSION: Effusion."
    )
    labels = chexpert_labels(read_report(text))
    assert labels["Pneumonia"] is labels["Pneumothorax"] is None
    assert labels["Pleural Effusion"] == 1


def test_every_concept_can_be_said_and_every_class_is_reached() -> None:
    said = {composed.concept for outcome in lexicon().compositions.values() for composed in outcome}
    pending = [lexicon().root]
    while pending:
        node = pending.pop()
        for key, value in node.items():
            if key:
                pending.append(value)
            else:
                said |= {sense.value for sense in value}
    assert concepts().keys() <= said
    assert {c.chexpert for c in concepts().values()} == {*CHEXPERT, ""} - {"No Finding"}
    assert {c.nih for c in concepts().values()} == {*NIH, ""}
    assert set(CHEXPERT_5) < set(CHEXPERT)
    for concept in concepts().values():
        assert concept.id not in ancestors(concept.id)
        assert 1 <= concept.importance <= 4


def test_patterns_expand() -> None:
    assert set(expand("left|right? upper lobe?")) == {
        ("left", "upper", "lobe"),
        ("right", "upper", "lobe"),
        ("upper", "lobe"),
        ("left", "upper"),
        ("right", "upper"),
        ("upper",),
    }


PIECES = st.sampled_from(
    [
        *("no", "without", "possible", "cannot be excluded", "versus", "may", "history of", "resolved", "not", "seen"),
        *("effusion", "pneumothorax", "heart", "lungs", "is", "are", "enlarged", "clear", "normal", "there is"),
        *(",", ".", ";", "?", ":", "/", "\n", "and", "or", "but", "with", "of", "right", "left", "small", "stable"),
        *("xxxx", "___", "3", "1.2"),
    ]
)


@given(st.lists(PIECES, max_size=25).map(" ".join))
def test_any_words_in_any_order_are_read_and_offsets_hold(text: str) -> None:
    read = read_report(text)
    for start, end in read.sentences:
        assert 0 <= start < end <= len(text)
    for mention in read.mentions:
        first, last = read.sentences[mention.sentence]
        assert first <= mention.start < mention.end <= last
        if mention.cue is not None:
            assert first <= mention.cue[0] < mention.cue[1] <= last
        assert mention.likely <= (mention.status == Status.UNCERTAIN)
        assert mention.severity in range(5)
    assert read.mentions == read_report(text.upper()).mentions


@given(st.text(max_size=60))
def test_no_text_is_an_error(text: str) -> None:
    read_report(text)


def test_letters_that_grow_in_lower_case_do_not_move_offsets() -> None:
    text = "İİİ No effusion. Cardiomegaly."
    assert words(text, (only(text, "cardiomegaly").start, only(text, "cardiomegaly").end)) == "Cardiomegaly"


def test_a_text_without_periods_is_cut_so_that_its_cost_grows_with_its_length() -> None:
    read = read_report("no effusion and " * 2000)
    assert len(read.mentions) == 2000
    assert max(end - start for start, end in read.sentences) < MAX_WORDS * 12


@pytest.fixture(scope="module")
def reports(shared: Path) -> dict[str, str]:
    with gzip.open(shared / "data" / "labels" / "openi_reports.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return {row["openi_id"]: f"{row['findings']} {row['impression']}" for row in rows}


def test_agreement_with_the_coded_open_i_reports(shared: Path, reports: dict[str, str]) -> None:
    with (shared / "data" / "labels" / "openi_reference_14.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    right = asserted = there = 0
    for row in rows:
        labels = nih_labels(read_report(reports[row["filename"]]))
        for name in NIH:
            if name == "Hernia":  # the reference has none, although reports name them
                continue
            truth = row[name] == "1"
            right += truth and labels[name] == 1
            asserted += labels[name] == 1
            there += truth
    assert there > 900
    assert 2 * right / (asserted + there) >= 0.93


def test_cleaning_changes_the_labels_of_next_to_no_report(reports: dict[str, str]) -> None:
    texts = [text for text in reports.values() if text.strip()]
    changed = sum(chexpert_labels(read_report(t)) != chexpert_labels(read_report(clean_report(t))) for t in texts)
    assert changed <= 0.002 * len(texts)


def test_the_order_of_sentences_changes_no_label(reports: dict[str, str]) -> None:
    draw = random.Random(0)
    for text in draw.sample(sorted(reports.values()), 200):
        read = read_report(text)
        sentences = [text[start:end] for start, end in read.sentences]
        draw.shuffle(sentences)
        assert chexpert_labels(read_report(". ".join(sentences) + ".")) == chexpert_labels(read), text


def test_the_version_stands_for_every_file_that_a_label_depends_on() -> None:
    folder = Path(version.__file__).parent
    apart = {"__init__.py", "version.py", "mention.py"}  # names and types only
    assert {path.name for path in folder.iterdir() if path.is_file()} - apart == set(version._FILES)
    assert len(VERSION) == 12
