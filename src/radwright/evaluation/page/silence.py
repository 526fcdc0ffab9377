"""The page of a calibrated silence: what each level costs, whether it holds, and how far probabilities can be believed.

What stands on it is handed in as plain values: this module computes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radwright.data.files import write_text
from radwright.evaluation.page.charts import nice_ticks
from radwright.evaluation.page.html import Html, join, number, tag
from radwright.evaluation.page.sections import definitions, figure, numbers_table
from radwright.evaluation.page.write import document

WARNING = "Research only. Not a medical device. A radiologist must check every draft, also what is not marked."
_WIDTH, _HEIGHT = 380, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 366, 12, 206
_LARGEST_PX = 6.0
_CURVES = {"at the bar": "curve", "halvings": "curve dashed", "by name": "other-curve", "random": "other-curve dashed"}
_HALVED = ("kept", "by name", "random")
"""What halvings say of the share of the true findings that stands: under this filter, and under two others."""


@dataclass(frozen=True, slots=True)
class LevelRow:
    """What one level means.

    Attributes:
        level: share of studies whose filtered draft may fabricate.
        bar: a sentence stands where its probability is above it.
        reachable: False where only silence keeps the level.
        kept: share of these studies' true findings that stands at this bar.
        risk: share whose filtered draft does fabricate: at this bar in a check; else the mean over random halvings,
            bars from one half and losses of the other; NaN where half of the studies is too few for the level.
        low, high: of that share: two standard errors over the halvings, or the 95 % interval over studies.
        halved_kept: share of the true findings that stands, mean over the halvings, so at other bars than this one; NaN
            in a check, and where the risk is.
        by_name_kept: the same of a filter that knows of a finding its name only.
        random_kept: the same of a filter in a random order; in a check, of one that is cut at the same risk.
        chance: of as many losses, were these studies like those that set the bar; NaN where that was not asked.
    """

    level: float
    bar: float
    reachable: bool
    kept: float
    risk: float
    low: float
    high: float
    halved_kept: float
    by_name_kept: float
    random_kept: float
    chance: float = math.nan

    def plain(self) -> dict[str, Any]:
        """As JSON-able values; None for what was not measured."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: value if math.isfinite(value) else None for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class SilencePage:
    """What stands on the page.

    Attributes:
        title: its heading.
        check: whether bars found before were held against these studies, or found on them.
        rows: a row per level, one at least.
        unfiltered: ``risk``, ``asserting`` (drafts), ``asserted``, ``right``, ``true_findings``.
        calibration: ``auc``, ``brier``, ``brier_of_share``, ``error`` and ``reliability`` of the probabilities.
        studies: name -> number.
        notes: what a reader of the numbers should know.
        alarm: why the bars cannot be trusted on these studies; empty where nothing speaks against it.
        facts: name -> text of where they come from.
    """

    title: str
    check: bool
    rows: tuple[LevelRow, ...]
    unfiltered: Mapping[str, Any]
    calibration: Mapping[str, Any]
    studies: Mapping[str, int]
    notes: tuple[str, ...] = ()
    alarm: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


def write_silence_page(path: Path, page: SilencePage) -> None:
    """Write the page as one HTML file; folders above it are made, and a kill leaves no half page.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, render_silence_page(page))


def render_silence_page(page: SilencePage) -> str:
    """The page's HTML; the same page gives the same text."""
    parts = {
        "Levels": ("levels", _levels(page)),
        "Probabilities": ("probabilities", _probabilities(page)),
        "How this was made": ("run", tag("section", tag("h2", "How this was made"), definitions(page.facts.items()))),
    }
    body = [
        tag(
            "header",
            tag("h1", page.title),
            tag("p", WARNING, class_="warning"),
            tag(
                "p",
                "A sentence of a draft stands where each finding it asserts is likely enough to be right. A level is "
                "the share of studies whose standing sentences may assert a finding that the study's own report does "
                "not.",
                class_="statement",
            ),
            tag("nav", *(tag("a", name, href=f"#{id_}") for name, (id_, _) in parts.items()), aria_label="Parts"),
            class_="top",
        ),
        tag(
            "main",
            tag("p", tag("strong", "Alarm. "), page.alarm, class_="alarm", role="note") if page.alarm else None,
            _at_a_glance(page),
            tag("ul", *(tag("li", note) for note in page.notes), class_="notes") if page.notes else None,
            *(tag("div", part, id=id_) for id_, part in parts.values()),
        ),
        tag("footer", WARNING),
    ]
    return document(page.title, join(body))


def _at_a_glance(page: SilencePage) -> Html:
    counts, found = page.unfiltered, page.calibration
    studies = page.studies["studies"]
    cut = (
        f"not among the {page.studies['calibrated_on']} that set the bars"
        if page.check
        else f"{page.studies['fit']} fitted the probabilities, {page.studies['bars']} set the bars"
    )
    asserted = f"{counts['right']} of {counts['asserted']}"
    return tag(
        "dl",
        figure("Studies", f"{studies}", cut),
        figure("Drafts that fabricate, unfiltered", _share(counts["risk"]), f"{counts['asserting']} assert anything"),
        figure("Asserted findings that are right", asserted, f"{counts['true_findings']} true ones, each once a study"),
        figure("AUC, right from wrong", number(found["auc"]), "0.5 by guessing"),
        class_="glance",
    )


def _share(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def _levels(page: SilencePage) -> Html:
    how = (
        "Risk: the share of these studies whose filtered draft fabricates, with its 95 % interval (Wilson). "
        "Random: an order drawn at random, cut at the same risk on these studies. Chance: how likely so many losses or "
        "more are where studies are like those that set the bars; a level bounds the mean over calibrations, so the "
        "risk at one calibration's bar may be a little above it."
        if page.check
        else "True findings kept: of the studies that set the bars, at this very bar, the one that drafts meet. "
        "What stands under Halvings is no property of that bar: it is the mean over 200 random halvings of these "
        "studies, bars from one half, risk and shares of the other; small: two standard errors of the risk. It says "
        "what to expect of studies that set no bar, and compares filters that all get their bars in this way. By name: "
        "one that knows of a finding its name only. Random: an order drawn at random. –: half of the studies is too "
        "few for the level."
    )
    head = ["Level", "Bar", "True findings kept"]
    head += ["Risk", "Random", "Chance"] if page.check else [f"Halvings: {name}" for name in ("risk", *_HALVED)]
    rows = [(_share(row.level), _cells(row, page.check)) for row in page.rows]
    kept = {"at the bar": [row.kept for row in page.rows]}
    if not page.check:
        kept |= {"halvings": [row.halved_kept for row in page.rows], "by name": [row.by_name_kept for row in page.rows]}
    kept["random"] = [row.random_kept for row in page.rows]
    return tag(
        "section",
        tag("h2", "Levels"),
        tag("p", how, class_="lead"),
        tag(
            "div",
            _curves("True findings kept, by level", [row.level for row in page.rows], kept),
            _risks("Risk, by level; dashed: the level itself", page.rows),
            class_="plots",
        ),
        tag("div", numbers_table(head, rows, label="A row per level"), class_="fact"),
    )


def _cells(row: LevelRow, check: bool) -> list[Html]:
    bar = number(row.bar) if row.reachable else tag("span", "silence")
    spread = tag("small", _share(row.low), "–", _share(row.high)) if math.isfinite(row.low + row.high) else None
    shares = [row.random_kept] if check else [row.halved_kept, row.by_name_kept, row.random_kept]
    chance = [tag("td", _chance(row.chance))] if check else []
    told = [tag("td", _share(share)) for share in shares]
    return [tag("td", bar), tag("td", _share(row.kept)), tag("td", _share(row.risk), spread), *told, *chance]


def _chance(value: float) -> str:
    return "<.001" if value < 0.001 else f"{value:.3f}".lstrip("0") if value < 1 else "1"


class _Axes:
    """Places of values in a plot whose both axes start at 0."""

    def __init__(self, right: float, top: float) -> None:
        self.x_ticks, self.y_ticks = nice_ticks(0.0, right, 4), nice_ticks(0.0, top, 4)

    def x(self, value: float) -> str:
        return f"{_LEFT + (_RIGHT - _LEFT) * value / self.x_ticks[-1]:.1f}"

    def y(self, value: float) -> str:
        return f"{_BOTTOM - (_BOTTOM - _TOP) * value / self.y_ticks[-1]:.1f}"

    def shapes(self) -> list[Html]:
        shapes = []
        for tick in self.y_ticks:
            shapes.append(tag("line", x1=f"{_LEFT}", x2=f"{_RIGHT}", y1=self.y(tick), y2=self.y(tick), class_="rail"))
            at = f"{float(self.y(tick)) + 4:.1f}"
            shapes.append(tag("text", f"{tick:g}", x=f"{_LEFT - 6}", y=at, text_anchor="end"))
        shapes += [
            tag("text", f"{tick:g}", x=self.x(tick), y=f"{_BOTTOM + 18}", text_anchor="middle") for tick in self.x_ticks
        ]
        return shapes


def _plot(title: str, shapes: Sequence[Html], summary: str) -> Html:
    svg = tag("svg", join(shapes), viewBox=f"0 0 {_WIDTH} {_HEIGHT - 20}", role="img", aria_label=summary)
    return tag("figure", tag("figcaption", title), svg, class_="curve-plot")


def _curves(title: str, levels: Sequence[float], kept: Mapping[str, Sequence[float]]) -> Html:
    axes = _Axes(max(levels), 1.0)
    shapes = axes.shapes()
    for place, (name, values) in enumerate(kept.items()):
        kind = _CURVES[name]
        height = _BOTTOM - 14 * (len(kept) - place)
        shapes.append(tag("line", x1="266", x2="290", y1=f"{height}", y2=f"{height}", class_=kind))
        shapes.append(tag("text", name, x="297", y=f"{height + 4}"))
        points = [(level, value) for level, value in zip(levels, values, strict=True) if math.isfinite(value)]
        places = " ".join(f"{axes.x(level)},{axes.y(value)}" for level, value in points)
        shapes.append(tag("polyline", points=places, class_=kind))
        for level, value in points:
            shapes.append(tag("circle", cx=axes.x(level), cy=axes.y(value), r="2.5", class_=f"{kind.split()[0]}-dot"))
    told = "; ".join(f"{name} {', '.join(_share(value) for value in values)}" for name, values in kept.items())
    return _plot(title, shapes, f"{title}, at {', '.join(_share(level) for level in levels)}: {told}")


def _risks(title: str, rows: Sequence[LevelRow]) -> Html:
    known = [row for row in rows if math.isfinite(row.risk)]
    top = max(value for row in rows for value in (row.level, row.risk, row.high) if math.isfinite(value))
    axes = _Axes(max(row.level for row in rows), top)
    shapes = axes.shapes()
    end = max(row.level for row in rows)
    shapes.append(tag("line", x1=axes.x(0), y1=axes.y(0), x2=axes.x(end), y2=axes.y(end), class_="kept"))
    for row in known:
        if math.isfinite(row.low + row.high):
            ends = {"y1": axes.y(max(0.0, row.low)), "y2": axes.y(row.high)}
            shapes.append(tag("line", x1=axes.x(row.level), x2=axes.x(row.level), **ends, class_="interval"))
        shapes.append(tag("circle", cx=axes.x(row.level), cy=axes.y(row.risk), r="3", class_="dot"))
    told = "; ".join(f"{_share(row.level)}: {_share(row.risk)}" for row in known)
    return _plot(title, shapes, f"{title}: {told}")


def _probabilities(page: SilencePage) -> Html:
    found = page.calibration
    lead = (
        "How often an asserted finding is right (upwards) where it was given a probability (to the right); on the "
        "dashed diagonal a probability can be taken at its word. Each dot holds about a tenth of the asserted "
        "findings. The bars hold whether or not this is good: it only decides how much they cost."
    )
    axes = _Axes(1.0, 1.0)
    shapes = axes.shapes()
    shapes.append(tag("line", x1=axes.x(0), y1=axes.y(0), x2=axes.x(1), y2=axes.y(1), class_="kept"))
    bins = [tuple(row) for row in found["reliability"]]
    most = max([1.0, *(count for _, _, count in bins)])
    for mean, share, count in bins:
        told = tag("title", f"{count:.0f} findings: probability {mean:.2f} on average, {share:.0%} right")
        radius = f"{_LARGEST_PX * math.sqrt(count / most):.1f}"
        shapes.append(tag("circle", told, cx=axes.x(mean), cy=axes.y(share), r=radius, class_="bin"))
    facts = [
        ("expected calibration error", number(found["error"])),
        ("Brier score", Html(f"{number(found['brier'])}, of the mean alone {number(found['brier_of_share'])}")),
    ]
    rows = [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts]
    return tag(
        "section",
        tag("h2", "Probabilities"),
        tag("p", lead, class_="lead"),
        tag("div", _plot("Right, by probability", shapes, "reliability of the probabilities"), class_="plots"),
        tag("dl", *rows, class_="facts-list"),
    )
