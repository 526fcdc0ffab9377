"""A page that compares systems: groups of tables, curves and dot-and-interval plots, and how they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from radwright.evaluation.page.charts import Lane, Series, dot_plot, series_plot
from radwright.evaluation.page.html import Html, join, tag
from radwright.evaluation.page.sections import WARNING, numbers_table
from radwright.evaluation.page.write import document


@dataclass(frozen=True, slots=True)
class Group:
    """Plots that belong together.

    Attributes:
        title: the section's heading.
        lead: a sentence below it; may be empty.
        plots: (title, lanes) of each.
        curves: (title, what the horizontal axis is, series) of each plot of curves; they come first.
        limits: what the axes of ``plots`` span, all the same; None: each what its values need.
        curve_limits: the same of the vertical axes of ``curves``.
        note: stands in every plot: what its bars are.
        table: a header and the lines below it, the first cell of each a name; may be empty. It stands above the plots.
    """

    title: str
    lead: str
    plots: Sequence[tuple[str, Sequence[Lane]]] = ()
    curves: Sequence[tuple[str, str, Sequence[Series]]] = ()
    limits: tuple[float, float] | None = None
    curve_limits: tuple[float, float] | None = None
    note: str = ""
    table: Sequence[Sequence[str]] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the page shows.

    Attributes:
        title: of the page.
        statement: what was compared, and how far it can be trusted.
        groups: of plots.
        facts: name -> value: command, version, machine.
        alarms: what a reader must know before any number; each stands at the top.
        reading: how to read the groups; stands before them.
    """

    title: str
    statement: str
    groups: Sequence[Group]
    facts: Mapping[str, str]
    alarms: Sequence[str] = ()
    reading: str = ""


def render_comparison(comparison: Comparison) -> str:
    """The page's HTML: one file, nothing fetched, no script."""
    heading = tag(
        "header",
        tag("h1", comparison.title),
        tag("p", comparison.statement, class_="statement"),
        tag("p", WARNING, class_="warning"),
        *(tag("p", alarm, class_="alarm", role="note") for alarm in comparison.alarms),
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
    parts = [_group(group) for group in comparison.groups if group.plots or group.curves]
    if comparison.reading:
        parts.insert(0, tag("section", tag("h2", "How to read this"), tag("p", comparison.reading, class_="lead")))
    return document(comparison.title, join([heading, tag("main", *parts, facts), tag("footer", WARNING)]))


def _group(group: Group) -> Html:
    return tag(
        "section",
        tag("h2", group.title),
        tag("p", group.lead, class_="lead") if group.lead else None,
        _table(group) if group.table else None,
        tag(
            "div",
            *(
                series_plot(title, series, x_title=x_title, limits=group.curve_limits, note=group.note)
                for title, x_title, series in group.curves
            ),
            *(dot_plot(title, lanes, limits=group.limits, note=group.note) for title, lanes in group.plots),
            class_="plots wide",
        ),
    )


def _table(group: Group) -> Html:
    head, *lines = group.table
    rows = [(name, [tag("td", cell) for cell in cells]) for name, *cells in lines]
    return tag("div", numbers_table(head, rows, label=group.title), class_="fact systems")
