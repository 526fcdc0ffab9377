"""The grammar is invertible: what a report says is exactly what was put in, also after cleaning."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.data.phantom import DISEASES, KINDS, Finding, PhantomConfig, draw_elements, finding_labels, findings_of
from radwright.data.phantom.finding import draw_finding
from radwright.data.phantom.grammar import write_sections
from radwright.data.phantom.lexicon import ABSENCES, MEDIASTINUM, NO_DISEASE, PHRASE_WORDS, STATEMENTS, SUMMARIES
from radwright.data.phantom.settings import PHRASES
from radwright.data.phantom.streams import Stream
from radwright.text.cleaning import clean_r2gen_iu, clean_r2gen_mimic, clean_report, readable

CROWDED = PhantomConfig(prevalence=dict.fromkeys(KINDS, 0.4), phrases=dict.fromkeys(PHRASES, 0.3))


def written(
    index: int, config: PhantomConfig = CROWDED, without: str = "", variety: float = 1.0
) -> tuple[tuple[Finding, ...], dict[str, str]]:
    """The findings of a study and its report, without its images."""

    def stream_of(name: str) -> Stream:
        return Stream(config.seed, "train", index, name)

    elements = draw_elements(config, "train", index)
    kinds = [kind for kind in KINDS if elements[kind] and kind != without]
    findings = tuple(draw_finding(kind, stream_of(f"{kind} described")) for kind in kinds)
    phrases = [name for name in PHRASES if elements[f"phrase:{name}"]]
    sections = write_sections(findings, phrases, age=60, female=False, variety=variety, stream_of=stream_of)
    return findings, sections


@pytest.mark.parametrize("config", [CROWDED, PhantomConfig()], ids=["crowded", "default"])
def test_every_report_gives_back_its_exact_findings(config: PhantomConfig) -> None:
    for index in range(700):
        findings, sections = written(index, config)
        text = sections["findings"]
        whole = f"INDICATION: {sections['indication']}\nFINDINGS: {text}\nIMPRESSION: {sections['impression']}"
        for form in (text, whole, clean_report(text), clean_r2gen_iu(text), readable(clean_report(whole))):
            assert findings_of(form) == findings, form
        assert clean_r2gen_mimic(whole)
        present = {finding.kind for finding in findings}
        assert finding_labels(text) == {kind: kind in present for kind in KINDS}
        summary = finding_labels(sections["impression"])
        assert {kind for kind in DISEASES if summary[kind]} == present & set(DISEASES)
        assert findings_of(sections["indication"]) == ()


def test_every_wording_is_used_and_read() -> None:
    """Every template turns up among a few thousand reports, so the test above has seen each of them."""
    seen = " ".join(
        sentence
        for index in range(2000)
        for _, sections in [written(index, PhantomConfig(phrases=dict.fromkeys(PHRASES, 0.5)))]
        for sentence in sections.values()
    ).lower()
    for table in (STATEMENTS, SUMMARIES, ABSENCES):
        for wordings in table.values():
            for wording in wordings:
                pieces = [piece for part in wording.lower().split("{") for piece in [part.partition("}")[2] or part]]
                longest = max(pieces, key=len).strip(" a")
                assert longest in seen, wording
    for wording in (*MEDIASTINUM, *NO_DISEASE, *(w for _, words in PHRASE_WORDS.values() for w in words)):
        assert wording.lower() in seen, wording


def test_variety() -> None:
    plain = [written(index, PhantomConfig(), variety=0.0)[1]["findings"] for index in range(300)]
    free = [written(index, PhantomConfig())[1]["findings"] for index in range(300)]
    assert len(set(free)) > 290
    assert len({sentence for text in free for sentence in text.split(". ")}) > 2.5 * len(
        {sentence for text in plain for sentence in text.split(". ")}
    )
    findings, sections = written(5, variety=0.0)
    assert findings_of(sections["findings"]) == findings


def test_leaving_a_finding_out_rewords_only_what_speaks_of_it() -> None:
    for index in range(100):
        findings, full = written(index)
        if not any(finding.kind == "pacemaker" for finding in findings):
            continue
        _, less = written(index, without="pacemaker")
        gone = set(full["findings"].split(". ")) ^ set(less["findings"].split(". "))
        assert len(gone) <= 3
        assert any("pacemaker" in sentence.lower() for sentence in gone)


@pytest.mark.parametrize(
    ("draft", "expected"),
    [
        ("", ()),
        ("The quick brown fox.", ()),
        ("no pleural effusion or pneumothorax .", ()),
        ("heart size normal . lungs clear .", ()),
        ("the heart is not enlarged .", ()),
        ("the liver is enlarged .", ()),
        ("small pericardial effusion .", ()),
        ("Pleural effusion is not seen.", ()),
        ("the left effusion has resolved .", ()),
        ("neither consolidation nor edema", ()),
        ("effusion", (Finding("effusion"),)),
        ("no effusion . small left effusion .", (Finding("effusion", "left", "", "small"),)),
        ("small left effusion . small right effusion .", (Finding("effusion", "both", "", "small"),)),
        ("No change in the large right pleural effusion.", (Finding("effusion", "right", "", "large"),)),
        ("Small left effusion without pneumothorax.", (Finding("effusion", "left", "", "small"),)),
        (
            "no effusion but there is a large left pneumothorax",
            (Finding("pneumothorax", "left", "", "large"),),
        ),
        (
            "mild cardiomegaly with moderate pulmonary edema",
            (Finding("cardiomegaly", size="mild"), Finding("edema", size="moderate")),
        ),
        (
            "right chest tube and small left pneumothorax",
            (Finding("pneumothorax", "left", "", "small"), Finding("chest_tube", "right")),
        ),
        (
            "large right effusion and patchy consolidation in the left lower lobe",
            (Finding("effusion", "right", "", "large"), Finding("consolidation", "left", "lower lobe", "patchy")),
        ),
        ("left pacemaker with leads in the right atrium and right ventricle", (Finding("pacemaker", "left"),)),
        ("dense dense consolidation in the in the lingula .", (Finding("consolidation", "left", "lingula", "dense"),)),
        ("8mm nodule , right upper lung", (Finding("nodule", "right", "upper zone", "8 mm"),)),
        (
            "non-displaced fracture of the left lateral seventh rib",
            (Finding("fracture", "left", "lateral 7th rib", "nondisplaced"),),
        ),
        ("Pneumonia.", (Finding("consolidation"),)),
        ("No longer any pneumothorax is seen; ET tube 3 cm above the carina", None),
    ],
)
def test_drafts_that_no_grammar_wrote(draft: str, expected: tuple[Finding, ...] | None) -> None:
    if expected is None:
        expected = (Finding("endotracheal_tube", place="above the carina", size="3 cm"),)
        draft = draft.partition("; ")[2]
    assert findings_of(draft) == expected
    assert findings_of(clean_report(draft)) == expected


def test_sentences_may_be_shuffled_and_strange_ones_put_between() -> None:
    order = random.Random(1)
    for index in range(300):
        findings, sections = written(index)
        sentences = sections["findings"].rstrip(".").split(". ")
        sentences += ["Images were reviewed on a workstation", "Dr Smith was told at 4 pm"]
        order.shuffle(sentences)
        assert findings_of(". ".join(sentences) + ".") == findings


@given(st.text(max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    found = findings_of(text)
    assert {finding.kind for finding in found} == {kind for kind, there in finding_labels(text).items() if there}


WORDS = "no not seen left right effusion small pneumothorax and with but heart enlarged both lower lobe . 5 mm nodule"


@given(st.lists(st.sampled_from(WORDS.split()), max_size=40))
def test_word_salad_is_read_the_same_readable_and_cleaned(words: list[str]) -> None:
    text = " ".join(words)
    assert findings_of(clean_report(text)) == findings_of(text)
