"""What the calibrated bar marks, in the reading room: beside its sentence, in no text that could be signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from reported_studies import reported

from radwright.evidence.asserting import Asserter, Filter
from radwright.runs.silence import SilencePlan
from radwright.serving.drafting import Drafter, Order
from radwright.serving.export import export_report
from radwright.serving.records import Draft, DraftSentence, Signature
from radwright.types import Skipped
from trained import known_studies, trained_checkpoint

NEVER_SURE = SimpleNamespace(
    members=(),
    num_studies=3,
    digest="00",
    confidence=SimpleNamespace(features=None, probabilities=lambda names, features: [0.2] * len(names)),
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_checkpoint(tmp_path_factory.mktemp("trained"))


def drafts(checkpoint: Path, uncertain: str) -> list[Draft]:
    """By a network that is sure of no finding."""
    plain = Drafter.open(checkpoint, device="cpu", threads=1, name="A name")
    silence: Any = NEVER_SURE
    asserter = Asserter(plain.explainer, Filter(silence, bar=0.5, marks=uncertain == "mark"))
    plan = SilencePlan(asserter, silence, SimpleNamespace(level=0.1, bar=0.5), uncertain)  # type: ignore[arg-type]
    drafter = Drafter(plain.explainer, plan, "A name")
    orders = []
    for study in known_studies():
        views = drafter.read(study)
        assert not isinstance(views, Skipped)
        orders.append(Order(views, {}))
    made = drafter.write(orders, lambda study_id, text: None)
    return [draft for draft in made.values() if isinstance(draft, Draft)]


def test_a_mark_stands_beside_its_sentence_and_not_in_the_text(checkpoint: Path) -> None:
    made = drafts(checkpoint, "mark")
    doubtful = [sentence for draft in made for sentence in draft.sentences if not sentence.kept]
    assert doubtful
    assert {sentence.kept for draft in made for sentence in draft.sentences if sentence.findings} == {False}
    for draft in made:
        assert draft.model.name == "A name"
        assert draft.text == " ".join(sentence.text for sentence in draft.sentences)
        assert "uncertain" not in draft.text


def test_left_out_sentences_are_in_no_text(checkpoint: Path) -> None:
    for marked, dropped in zip(drafts(checkpoint, "mark"), drafts(checkpoint, "drop"), strict=True):
        assert dropped.sentences == marked.sentences
        assert dropped.text == " ".join(sentence.text for sentence in marked.sentences if sentence.kept)


def texts_of(kinds: Sequence[bytes]) -> list[str]:
    return [" ".join(kind.decode(errors="ignore").split()) for kind in kinds]


def test_an_unsigned_export_says_what_is_uncertain_and_a_signed_one_does_not() -> None:
    text = "There is a mass. The heart is normal."
    sentences = (DraftSentence("There is a mass.", -1.0, ("mass",), kept=False), DraftSentence("The heart is normal."))
    whole = reported()
    assert whole.draft is not None
    unsigned = replace(whole, text=text, signature=None, draft=replace(whole.draft, text=text, sentences=sentences))
    for kind in ("text", "sr"):
        [told] = texts_of([export_report(unsigned, kind)])
        assert told.count("Uncertain, to be checked: There is a mass.") == 1, kind
        [gone] = texts_of([export_report(replace(unsigned, text="The heart is normal."), kind)])
        assert "Uncertain" not in gone, kind
    signature = Signature(1, text, "Hart^Ann", "", whole.written_at)
    for kind in ("text", "sr", "fhir"):
        [told] = texts_of([export_report(replace(unsigned, signature=signature), kind)])
        assert "Uncertain" not in told, kind
