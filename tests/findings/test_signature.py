"""What a text says of a chosen list of findings."""

from __future__ import annotations

import pytest

from radwright.errors import ConfigError
from radwright.findings import read_report
from radwright.findings.signature import check_finding, signature


@pytest.mark.parametrize(
    ("text", "finding", "status"),
    [
        ("Large hiatal hernia.", "hiatal_hernia", 1),
        ("No hiatal hernia.", "hiatal_hernia", 0),
        ("The lungs are clear.", "hiatal_hernia", None),
        ("Pneumonia is seen.", "airspace_disease", 1),  # a narrower concept
        ("No lung opacity.", "consolidation", 0),  # a broader one denied
        ("There is a lung opacity.", "consolidation", None),  # a broader one asserted says nothing
        ("Possible consolidation.", "consolidation", -1),
        ("No consolidation on the left. Right consolidation.", "consolidation", 1),
        ("The heart is enlarged.", "Cardiomegaly", 1),
        ("", "Cardiomegaly", None),
    ],
)
def test_status_of_one_finding(text: str, finding: str, status: int | None) -> None:
    assert signature(read_report(text), [check_finding(finding)]) == (status,)


def test_the_order_is_that_of_the_list() -> None:
    read = read_report("The heart is enlarged. No pneumothorax. Hiatal hernia.")
    names = ["hiatal_hernia", "Pneumothorax", "Cardiomegaly", "Edema"]
    assert signature(read, names) == (1, 0, 1, None)
    assert signature(read, names[::-1]) == (None, 1, 0, 1)


def test_an_unknown_finding_is_refused_with_the_near_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'hiatal_hernia'"):
        check_finding("hiatal_hernya")
