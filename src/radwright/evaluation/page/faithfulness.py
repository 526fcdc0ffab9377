"""What the drafts do with the clues that the model was told, and how true these are; the mark of oracle clues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radwright.evaluation.page.charts import Lane, dot_plot
from radwright.evaluation.page.content import Estimate
from radwright.evaluation.page.html import Html, number, tag
from radwright.evaluation.page.names import estimates, readable_name
from radwright.evaluation.page.sections import cell, counted, numbers_table

_IN_DRAFTS = {
    "clues_asserted": "clues asserted",
    "negation_flips": "clues denied",
    "unclued_assertions": "assertions not told",
}
_IN_REFERENCES = {"precision": "clues that are true", "recall": "true diseases told"}
_COUNTS = {"told": "Told", "asserted": "In drafts", "true": "In references"}


def oracle_alarm(scores: Mapping[str, Any] | None) -> Html | None:
    """The mark of scores that are no result, where the clues were read from the references."""
    clues = (scores or {}).get("clues")
    if not isinstance(clues, Mapping) or clues.get("policy") != "oracle":
        return None
    return tag(
        "p",
        tag("strong", "Oracle clues: an upper bound, not a result. "),
        "What the model was told was read from the very reports that its drafts are held against.",
        class_="alarm",
        role="note",
    )


def clues_section(scores: Mapping[str, Any] | None) -> Html | None:
    """Shares over all diseases as plots, and a row per disease; None for a model without clues."""
    found = (scores or {}).get("faithfulness")
    if not isinstance(found, Mapping):
        return None
    policy = ((scores or {}).get("clues") or {}).get("policy")
    counts, unchecked = found["counts"], found.get("unchecked") or ()
    lead = (
        f"Before it wrote, the model was told {counted(counts['told'], 'clue', 'clues')} in "
        f"{counted(found['n'], 'study', 'studies')}{f' (policy {policy})' if policy else ''}. Asserted and denied are "
        "read out of the drafts by rules, true is what the references assert; what a text leaves open or does not "
        "mention is neither."
    )
    if unchecked:
        lead += f" Nothing can check {', '.join(map(str, unchecked))}: left out."
    shares = estimates(found["shares"])
    plots = [
        _plot("Clues in the drafts", _IN_DRAFTS, shares),
        _plot("Clues against the references", _IN_REFERENCES, shares),
    ]
    head = ("Disease", *_COUNTS.values(), *(name.capitalize() for name in (_IN_DRAFTS | _IN_REFERENCES).values()))
    rows = [(readable_name(str(name)), _cells(disease)) for name, disease in (found.get("diseases") or {}).items()]
    return tag(
        "section",
        tag("h2", "Clues and drafts"),
        tag("p", lead, class_="lead"),
        tag("div", *filter(None, plots), class_="plots"),
        tag("div", numbers_table(head, rows, label="Clues by disease"), class_="fact") if rows else None,
        id="clues",
    )


def _plot(title: str, names: Mapping[str, str], shares: Mapping[str, Estimate]) -> Html | None:
    lanes = [Lane(label, *shares[name], ours=True) for name, label in names.items() if name in shares]
    return dot_plot(title, lanes) if lanes else None


def _cells(disease: Mapping[str, Any]) -> list[Html]:
    shares = estimates(disease["shares"])
    return [
        *(tag("td", number(disease["counts"][name], 0)) for name in _COUNTS),
        *(tag("td", *cell(shares.get(name))) for name in (*_IN_DRAFTS, *_IN_REFERENCES)),
    ]
