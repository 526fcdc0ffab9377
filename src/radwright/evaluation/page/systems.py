"""A page that compares systems: groups of dot-and-interval plots, and how they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from radwright.evaluation.page.charts import Lane, Series, dot_plot, series_plot
from radwright.evaluation.page.html import Html, join, tag
from radwright.evaluation.page.sections import WARNING
from radwright.evaluation.page.write import document


@dataclass(frozen=True, slots=True)
class Group:
    """Plots that belong together.

    Attributes:
        title: the section's heading.
        lead: a sentence below it; may be empty.
        plots: (title, lanes) of each.
        curves: (title, what the horizontal axis is, series) of each plot of curves; they come first.
    """

    title: str
    lead: str
    plots: Sequence[tuple[str, Sequence[Lane]]] = ()
    curves: Sequence[tuple[str, str, Sequence[Series]]] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the page shows.

    Attributes:
        title: of the page.
        statement: what was compared, and how far it can be trusted.
        groups: of plots.
        facts: name -> value: command, version, machine.
    """

    title: str
    statement: str
    groups: Sequence[Group]
    facts: Mapping[str, str]


def render_comparison(comparison: Comparison) -> str:
    """The page's HTML: one file, nothing fetched, no script."""
    heading = tag(
        "header",
        tag("h1", comparison.title),
        tag("p", comparison.statement, class_="statement"),
        tag("p", WARNING, class_="warning"),
        class_="top",
    )
    facts = tag(
        "section",
        tag("h2", "How this was made"),
        tag(
            "dl",
            *(tag("div", tag("dt", name), tag("dd", value)) for name, value in comparison.facts.items()),
            class_="facts-list",
        ),
    )
    groups = [_group(group) for group in comparison.groups if group.plots or group.curves]
    return document(comparison.title, join([heading, tag("main", *groups, facts), tag("footer", WARNING)]))


def _group(group: Group) -> Html:
    return tag(
        "section",
        tag("h2", group.title),
        tag("p", group.lead, class_="lead") if group.lead else None,
        tag(
            "div",
            *(series_plot(title, series, x_title=x_title) for title, x_title, series in group.curves),
            *(dot_plot(title, lanes) for title, lanes in group.plots),
            class_="plots wide",
        ),
    )
