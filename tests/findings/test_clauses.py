"""Two statements in one sentence: neither cue reaches into the other's clause, whichever stands first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from radwright.findings import read_report
from radwright.findings.labels import chexpert_labels

FINDINGS = {
    "pneumothorax": "Pneumothorax",
    "pleural effusion": "Pleural Effusion",
    "consolidation": "Consolidation",
    "edema": "Edema",
    "cardiomegaly": "Cardiomegaly",
    "nodule": "Lung Lesion",
    "opacity": "Lung Opacity",
}
TWO = st.lists(st.sampled_from(sorted(FINDINGS)), min_size=2, max_size=2, unique=True)
ASSERTED = st.sampled_from(
    [
        *("is unchanged", "has increased", "persists", "is noted", "is larger", "is seen", "remains", "is again seen"),
        *("is present", "is mildly increased", "has worsened slightly", "continues to be seen", "is moderate"),
    ]
)
SUBJECTS_OWN = st.sampled_from(
    ["is present", "has increased", "persists", "is noted", "is stable", "remains", "is larger"]
)
CUES = st.sampled_from(
    [
        *[("has resolved", 0), ("is no longer seen", 0), ("is not seen", 0), ("is absent", 0), ("has cleared", 0)],
        *[("was not identified", 0), ("has been excluded", 0), ("cannot be excluded", -1), ("is possible", -1)],
        *[("is suspected", -1), ("is questionable", -1)],
    ]
)
LINKS = st.sampled_from([" and ", ", and ", "; ", ", while ", " and the ", ", and the right ", ", but "])
NEGATIONS = st.sampled_from(["No", "There is no", "Without", "No evidence of", "No definite"])
TURNS = st.sampled_from([", and the ", "; the ", ", while the ", ", but the ", ". The ", ", however the ", " and the "])


def labels_of(text: str, *findings: str) -> tuple[int | None, ...]:
    found = chexpert_labels(read_report(text))
    return tuple(found[FINDINGS[name]] for name in findings)


@given(TWO, ASSERTED, LINKS, CUES)
def test_a_cue_at_the_end_does_not_reach_the_first_clause(
    findings: list[str], predicate: str, link: str, cue: tuple[str, int]
) -> None:
    first, second = findings
    assert labels_of(f"The {first} {predicate}{link}{second} {cue[0]}.", first, second) == (1, cue[1])


@given(TWO, CUES, st.sampled_from([", and ", "; ", ", while ", ", but ", ". "]), SUBJECTS_OWN)
def test_a_cue_in_the_first_clause_does_not_reach_the_second(
    findings: list[str], cue: tuple[str, int], link: str, predicate: str
) -> None:
    first, second = findings
    assert labels_of(f"The {first} {cue[0]}{link}the {second} {predicate}.", first, second) == (cue[1], 1)


@given(NEGATIONS, TWO, TURNS, SUBJECTS_OWN)
def test_a_negation_does_not_reach_a_subject_of_its_own(
    negation: str, findings: list[str], turn: str, predicate: str
) -> None:
    first, second = findings
    assert labels_of(f"{negation} {first}{turn}{second} {predicate}.", first, second) == (0, 1)


ORGANS = {
    "the heart is enlarged": ("Cardiomegaly", 1),
    "heart size is normal": ("Cardiomegaly", 0),
    "the heart is not enlarged": ("Cardiomegaly", 0),
    "the lungs are clear": ("Lung Opacity", 0),
    "the mediastinum is widened": ("Enlarged Cardiomediastinum", 1),
}
STATEMENTS = {
    "there is a small effusion": ("Pleural Effusion", 1),
    "no pleural effusion": ("Pleural Effusion", 0),
    "the effusion has resolved": ("Pleural Effusion", 0),
    "possible consolidation": ("Consolidation", -1),
    "pneumonia cannot be excluded": ("Pneumonia", -1),
    "a nodule is present in the right apex": ("Lung Lesion", 1),
    "no evidence of edema": ("Edema", 0),
    "there may be a fracture": ("Fracture", -1),
}
ALL = ORGANS | STATEMENTS


@given(
    st.lists(st.sampled_from(sorted(ALL)), min_size=2, max_size=2, unique_by=lambda text: ALL[text][0]),
    st.sampled_from([" and ", ", ", ", and ", "; ", ". ", " but ", ", while "]),
)
def test_any_two_statements_in_one_sentence_say_what_each_says_alone(texts: list[str], link: str) -> None:
    first, second = texts
    found = chexpert_labels(read_report(f"{first.capitalize()}{link}{second}."))
    assert [found[ALL[text][0]] for text in texts] == [ALL[text][1] for text in texts]
