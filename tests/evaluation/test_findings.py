"""Finding-level scores, and the bound that no constant report passes."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from radwright.evaluation.findings import finding_table

KINDS = ("effusion", "nodule", "edema", "fracture")
studies = st.lists(
    st.tuples(*(st.booleans() for _ in KINDS)).map(lambda row: dict(zip(KINDS, row, strict=True))),
    min_size=1,
    max_size=12,
)


@given(studies)
def test_no_constant_set_of_findings_beats_the_best_constant(present: list[dict[str, bool]]) -> None:
    best = finding_table(present, present, KINDS)
    reached = 0.0
    for size in range(1, len(KINDS) + 1):
        for chosen in itertools.combinations(KINDS, size):
            constant = [{kind: kind in chosen for kind in KINDS}] * len(present)
            reached = max(reached, finding_table(constant, present, KINDS).micro.f1)
    assert abs(best.best_constant_f1 - reached) < 1e-12
    constant = [{kind: kind in best.best_constant for kind in KINDS}] * len(present)
    assert abs(finding_table(constant, present, KINDS).micro.f1 - reached) < 1e-12


def test_counts_by_hand() -> None:
    present = [
        {"effusion": True, "nodule": False},
        {"effusion": True, "nodule": True},
        {"effusion": False, "nodule": False},
    ]
    asserted = [
        {"effusion": True, "nodule": True},
        {"effusion": False, "nodule": True},
        {"effusion": False, "nodule": False},
    ]
    table = finding_table(asserted, present, ("effusion", "nodule"))
    assert (table.micro.right, table.micro.fabricated, table.micro.missed) == (2, 1, 1)
    assert table.kinds["effusion"].f1 == 2 / 3
    assert table.kinds["nodule"].precision == 0.5
    assert table.plain()["kinds"]["effusion"]["support"] == 2
