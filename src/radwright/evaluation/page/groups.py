"""Scores of groups of studies beside the scores of all: by view, sex, age, scanner or any fact of the studies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radwright.evaluation.page.charts import Lane, dot_plot
from radwright.evaluation.page.content import Estimate, Page
from radwright.evaluation.page.html import Html, tag
from radwright.evaluation.page.names import estimates, readable_name
from radwright.evaluation.page.sections import cell, directed_name, numbers_table

_MAIN = ("finding_score", "f1_14_micro", "fabricated", "missed", "bleu_4", "cider")
"""Scores that the groups are shown by, as many of these as there are; all, where there is none of them."""
_NUM_PLOTTED = 4


def groups_section(page: Page) -> Html | None:
    """A table and plots per fact; groups that are too small are shown as such."""
    scores = page.scores or {}
    groups = scores.get("groups") or {}
    whole = estimates(scores.get("metrics"))
    if not groups or not whole:
        return None
    shown = [name for name in _MAIN if name in whole] or list(whole)
    lead = (
        "The same scores within groups of studies, each with its own 95 % interval. Groups differ in their cases, so a "
        "lower score need not be the model's doing, and a difference as small as the intervals can be chance. "
        f"Groups of fewer than {page.min_group} studies are too small to say anything."
    )
    parts = [_fact(page, str(fact), found, whole, shown) for fact, found in groups.items()]
    return tag("section", tag("h2", "Groups of studies"), tag("p", lead, class_="lead"), *parts, id="groups")


def _fact(page: Page, fact: str, groups: Mapping[str, Any], whole: Mapping[str, Estimate], shown: list[str]) -> Html:
    values = {str(name): estimates(group.get("metrics")) for name, group in groups.items()}
    counts = {str(name): int(group.get("n", 0)) for name, group in groups.items()}
    small = {name for name, count in counts.items() if count < page.min_group}
    plots = [
        dot_plot(
            directed_name(metric, page.scores or {}),
            [
                Lane(f"all ({(page.scores or {}).get('n', '')})", *whole[metric], ours=True),
                *(
                    Lane(f"{name} ({counts[name]})", *values[name][metric])
                    for name in values
                    if name not in small and metric in values[name]
                ),
            ],
        )
        for metric in shown[:_NUM_PLOTTED]
        if len(groups) - len(small) > 1
    ]
    rows = [
        (
            f"{name}, too few" if name in small else name,
            [
                tag("td", str(counts[name])),
                *(
                    tag("td", *cell(values[name].get(metric)), class_="few" if name in small else None)
                    for metric in shown
                ),
            ],
        )
        for name in values
    ]
    head = ("Group", "Studies", *(directed_name(metric, page.scores or {}) for metric in shown))
    return tag(
        "div",
        tag("h3", f"By {readable_name(fact)}"),
        tag("div", *plots, class_="plots") if plots else None,
        numbers_table(head, rows, label=f"Scores by {readable_name(fact)}"),
        class_="fact",
    )
