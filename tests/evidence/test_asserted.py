"""What drafts assert, what references bear out, and that a filtered draft asserts nothing under the bar."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.evidence.asserted import MARK, asserted_in, borne_out, marked, sentences_to_withhold, without

SENTENCES = (
    "The heart is enlarged.",
    "There is a large left pleural effusion and edema.",
    "It is large.",
    "No pneumothorax.",
    "Possible pneumonia.",
    "The right one is smaller.",
    "There is a pacemaker.",
    "Its leads end in the right atrium.",
    "Small on the left.",
    "Unchanged from before.",
    "And a nodule in the right upper lobe",
    "",
)


def test_what_sentences_assert() -> None:
    found = asserted_in(["The heart is enlarged.", "No effusion. Possible pneumonia.", "There is edema and effusion."])
    assert found == ((0, "cardiomegaly"), (2, "edema"), (2, "pleural_effusion"))
    assert asserted_in([]) == ()
    assert asserted_in(["", "  "]) == ()


def test_a_reference_bears_out_a_finding_and_every_broader_one() -> None:
    found = borne_out("Left lower lobe consolidation. No effusion. Possible edema.", ["lung_opacity", "consolidation"])
    assert found == {"consolidation": True, "lung_opacity": True}
    denied = borne_out(
        "There is an opacity. No effusion. Possible edema.", ["consolidation", "edema", "pleural_effusion"]
    )
    assert not any(denied.values())
    assert borne_out("", ["edema"]) == {"edema": False}
    assert borne_out("Edema.", []) == {}


@given(st.lists(st.sampled_from(SENTENCES), max_size=7), st.floats(0, 1), st.randoms(use_true_random=False))
def test_the_filtered_text_read_anew_asserts_nothing_under_the_bar(sentences: list[str], bar: float, random) -> None:  # type: ignore[no-untyped-def]
    asserted = asserted_in(sentences)
    probabilities = [random.choice([0.1, 0.5, 0.9, math.nan]) for _ in asserted]
    withheld = sentences_to_withhold(sentences, asserted, probabilities, bar)
    above = {place for place, p in zip(asserted, probabilities, strict=True) if p > bar}
    kept = [place for place in range(len(sentences)) if place not in withheld]
    read = asserted_in([sentences[place] for place in kept])
    assert {(kept[place], finding) for place, finding in read} <= above
    assert {finding for _, finding in asserted_in([without(sentences, withheld)])} <= {finding for _, finding in above}
    # Nothing is withheld that asserts only what is above the bar, but for what reads otherwise without the others.
    under = {place for place, _ in set(asserted) - above}
    assert under <= set(withheld)
    if not under:
        assert withheld == ()


@given(st.lists(st.sampled_from(SENTENCES), max_size=6), st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_at_silence_nothing_is_asserted(sentences: list[str], bars: tuple[float, float]) -> None:
    asserted = asserted_in(sentences)
    withheld = sentences_to_withhold(sentences, asserted, [0.999] * len(asserted), 1.0)
    assert asserted_in([text for place, text in enumerate(sentences) if place not in withheld]) == ()


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("There is edema.", f"There is edema ({MARK})."),
        ("There is edema", f"There is edema ({MARK})."),
        ("Edema...", f"Edema ({MARK})..."),
    ],
)
def test_marks(sentence: str, shown: str) -> None:
    assert marked([sentence, "The lungs are clear."], [0]) == f"{shown} The lungs are clear."
    assert asserted_in([shown, "The lungs are clear."]) == ((0, "edema"),)
    assert marked([sentence], []) == sentence
