"""The page of a robustness card: what is lost by how far each thing went wrong, the table, and an example of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from radwright.data.files import write_text
from radwright.errors import ImageError
from radwright.evaluation.bootstrap import Interval
from radwright.evaluation.outside import OutsideScores, Share
from radwright.evaluation.page.charts import Lane, dot_plot, nice_ticks
from radwright.evaluation.page.content import Estimate, PageView
from radwright.evaluation.page.html import Html, join, number, tag
from radwright.evaluation.page.images import data_uri
from radwright.evaluation.page.sections import WARNING, cell, definitions, figure, numbers_table
from radwright.evaluation.page.write import document
from radwright.evaluation.robustness import LOWER_IS_BETTER, SHOWN, ConditionScores, RobustnessCard
from radwright.evaluation.robustness_text import score_name

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 300, 190, 40, 290, 12, 150


@dataclass(frozen=True, slots=True)
class Example:
    """One study under one condition.

    Attributes:
        key: of the condition.
        meaning: what went wrong, in words.
        views: its radiographs as the network got them.
        draft: what it wrote.
    """

    key: str
    meaning: str
    views: tuple[PageView, ...]
    draft: str


@dataclass(frozen=True, slots=True)
class RobustnessPage:
    """What stands on the page.

    Attributes:
        card: the scores.
        examples: one study under each condition; the first is the study as it is.
        facts: name -> text of where the numbers come from.
    """

    card: RobustnessCard
    examples: Sequence[Example] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def write_robustness_page(path: Path, page: RobustnessPage) -> None:
    """Write the page as one HTML file; folders above it are made, and a kill leaves no half page.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, render_robustness_page(page))


def render_robustness_page(page: RobustnessPage) -> str:
    """The page's HTML; the same page gives the same text."""
    card = page.card
    parts = {
        "Difference by level": ("levels", _levels(card)),
        "All scores": ("scores", _scores(card)),
        "Another source": ("outside", None if card.outside is None else _outside(card.outside)),
        "One study": ("examples", _examples(page.examples) if page.examples else None),
        "How this was made": ("run", tag("section", tag("h2", "How this was made"), definitions(page.facts.items()))),
    }
    shown = {name: part for name, part in parts.items() if part[1] is not None}
    body = [
        tag(
            "header",
            tag("h1", f"Robustness of {card.checkpoint}"),
            tag("p", WARNING, class_="warning"),
            tag(
                "p",
                f"Drafts of {card.data}, of the images as they are and of the same images with which something went "
                "wrong; each difference is between two drafts of the same studies.",
                class_="statement",
            ),
            tag("nav", *(tag("a", name, href=f"#{id_}") for name, (id_, _) in shown.items()), aria_label="Parts"),
            class_="top",
        ),
        tag(
            "main",
            _at_a_glance(card),
            tag("ul", *(tag("li", note) for note in card.notes), class_="notes") if card.notes else None,
            *(tag("div", part, id=id_) for id_, part in shown.values()),
        ),
        tag("footer", WARNING),
    ]
    return document(f"Robustness of {card.checkpoint}", join(body))


def _at_a_glance(card: RobustnessCard) -> Html:
    main, worst = SHOWN[0], card.worst
    clean = card.clean.scores[main]
    figures = [
        figure(f"{score_name(main)}, clean", number(clean.value), number(clean.low), " to ", number(clean.high)),
        figure("Studies", f"{card.clean.num_studies}", "drafted under every condition that is possible for them"),
    ]
    if worst is not None:
        lost = worst.differences[main]
        beside = (f"by {worst.key}; ", number(lost.low), " to ", number(lost.high))
        figures.append(figure("Largest loss", number(lost.value), *beside))
    tried = [each for each in card.conditions if each.why_not is None]
    worse = sum(each.is_worse(main) for each in tried)
    figures.append(figure("Conditions that cost score", f"{worse} of {len(tried)}", "interval wholly below 0"))
    return tag("dl", *figures, class_="glance")


def _levels(card: RobustnessCard) -> Html:
    main = SHOWN[0]
    groups: dict[str, list[ConditionScores]] = {}
    for each in card.conditions:
        if main in each.differences:
            groups.setdefault(each.name, []).append(each)
    found = [each.differences[main] for group in groups.values() for each in group]
    ends = [end for each in found for end in (each.low, each.high)]
    ticks = nice_ticks(min([0.0, *ends]), max([0.0, *ends]), 4)
    plots = [_level_plot(group, main, ticks) for group in groups.values() if group[0].unit]
    lanes = [_lane(each, main) for group in groups.values() if not group[0].unit for each in group]
    clean = card.clean.scores[main].value
    lead = (
        f"{score_name(main)} minus that of the same studies' clean drafts (upwards), against how far it went wrong (to "
        f"the right), with the paired 95 % interval of this difference. Dashed: no difference, the clean score of "
        f"{clean:.3f}. Filled: the interval drawn lies wholly below 0; a ring: it does not."
    )
    dots = dot_plot(f"{score_name(main)}, difference from clean: what has no amounts", lanes) if lanes else None
    return tag(
        "section",
        tag("h2", "Difference by level"),
        tag("p", lead, class_="lead"),
        tag("div", *plots, class_="plots curves"),
        tag("div", tag("div", dots, class_="plots single"), class_="fact") if dots else None,
    )


def _lane(each: ConditionScores, main: str) -> Lane:
    lost = each.differences[main]
    label = f"{each.key} ({each.num_studies})".replace("_", " ")
    return Lane(label, lost.value, lost.low, lost.high, ours=True, open=not each.is_worse(main))


def _level_plot(group: Sequence[ConditionScores], main: str, ticks: Sequence[float]) -> Html:
    """Levels are evenly spaced, whatever their amounts: the axis names them."""
    width = (_RIGHT - _LEFT) / (len(group) + 1)

    def x(place: int) -> str:
        return f"{_LEFT + width * (place + 0.5):.1f}"

    def y(value: float) -> str:
        return f"{_BOTTOM - (_BOTTOM - _TOP) * (value - ticks[0]) / (ticks[-1] - ticks[0]):.1f}"

    shapes = []
    for tick in ticks:
        shapes.append(tag("line", x1=f"{_LEFT}", x2=f"{_RIGHT}", y1=y(tick), y2=y(tick), class_="rail"))
        shapes.append(tag("text", f"{tick:g}", x=f"{_LEFT - 6}", y=f"{float(y(tick)) + 4:.1f}", text_anchor="end"))
    shapes.append(tag("line", x1=f"{_LEFT}", x2=f"{_RIGHT}", y1=y(0), y2=y(0), class_="kept"))
    points = [("0", Interval(0, 0, 0), False)]
    points += [(f"{each.amount:g}", each.differences[main], each.is_worse(main)) for each in group]
    for place, (label, lost, worse) in enumerate(points):
        told = tag("title", f"{label}: {lost.value:+.3f} ({lost.low:+.3f} to {lost.high:+.3f})")
        shapes.append(tag("line", x1=x(place), x2=x(place), y1=y(lost.low), y2=y(lost.high), class_="range"))
        dot = "dot" if worse else "dot open"
        shapes.append(tag("circle", told, cx=x(place), cy=y(lost.value), r="4", class_=dot))
        shapes.append(tag("text", label, x=x(place), y=f"{_BOTTOM + 18}", text_anchor="middle"))
    if group[0].unit:
        middle = f"{(_LEFT + _RIGHT) / 2:g}"
        shapes.append(tag("text", group[0].unit, x=middle, y=f"{_BOTTOM + 34}", text_anchor="middle"))
    line = " ".join(f"{x(place)},{y(lost.value)}" for place, (_, lost, _) in enumerate(points))
    name = group[0].name.replace("_", " ")
    summary = "; ".join(f"{label}: {lost.value:+.3f}" for label, lost, _ in points[1:])
    svg = tag(
        "svg",
        tag("polyline", points=line, class_="curve"),
        *shapes,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{name}: difference of {score_name(main)} from clean; {summary}",
    )
    return tag("figure", tag("figcaption", f"{name}: {group[0].meaning}"), svg, class_="curve-plot")


def _scores(card: RobustnessCard) -> Html:
    names = card.names
    lead = (
        "Each score, and small below it the difference from the clean drafts of the same studies with its paired 95 % "
        "interval; ▼ marks an interval that lies wholly on the bad side of 0. Drafts changed: share of the studies "
        "whose draft is another text."
    )
    head = ("Condition", "Studies", *(_directed(name) for name in names), "Drafts changed")
    rows = [(card.clean.key, _cells(card.clean, names))]
    rows += [(f"{each.key.replace('_', ' ')}", _cells(each, names)) for each in card.conditions]
    meanings = dict.fromkeys((each.name.replace("_", " "), each.told) for each in card.conditions)
    return tag(
        "section",
        tag("h2", "All scores"),
        tag("p", lead, class_="lead"),
        tag("div", numbers_table(head, rows, label="Scores by condition"), class_="fact"),
        definitions(meanings),
    )


def _directed(name: str) -> str:
    return score_name(name) + (", lower is better" if name in LOWER_IS_BETTER else "")


def _cells(each: ConditionScores, names: Sequence[str]) -> list[Html]:
    if each.why_not is not None:
        return [tag("td", each.why_not, colspan=len(names) + 2)]
    cells = [tag("td", str(each.num_studies))]
    for name in names:
        value = each.scores.get(name)
        if value is None:
            cells.append(tag("td", *cell(None)))
            continue
        difference = each.differences.get(name)
        worse = each.is_worse(name)
        small = _ends(value) if difference is None else _difference(difference, worse=worse)
        cells.append(tag("td", number(value.value), tag("br"), small))
    changed = None if math.isnan(each.changed) or not each.differences else each.changed
    return [*cells, tag("td", "–" if changed is None else f"{changed:.0%}")]


def _ends(value: Interval) -> Html:
    return tag("small", number(value.low), "–", number(value.high))


def _difference(value: Interval, *, worse: bool) -> Html:
    ends = tag("small", number(value.low), " to ", number(value.high))
    return join([tag("small", "▼ " if worse else "", number(value.value)), tag("br"), ends])


def _outside(outside: OutsideScores) -> Html:
    rows = []
    for name, found in outside.findings.items():
        home = outside.at_home[name]
        shares = (found.sensitivity, found.specificity, home.sensitivity, home.specificity)
        rows.append((name.replace("_", " "), [tag("td", *_share(share)) for share in shares]))
    head = ("Finding", "Sensitivity", "Specificity", "Sensitivity at home", "Specificity at home")
    names = list(outside.findings)
    by_label = [
        (
            label,
            [
                tag("td", str(next(iter(shares.values())).num_studies)),
                *(tag("td", number(shares[name].value.value, 2)) for name in names),
            ],
        )
        for label, shares in outside.labels.items()
    ]
    lead = (
        f"{outside.data}. Its studies have labels instead of reports. Sensitivity: of the studies with a label that "
        "means the finding, those whose draft asserts it; specificity: of those with a label that excludes it, those "
        "whose draft does not. At home: the clean drafts of the own split, by the labeler's reading of its reports. "
        "Intervals are Wilson's, of as many studies as there are patients."
    )
    return tag(
        "section",
        tag("h2", "Another source"),
        tag("p", lead, class_="lead"),
        tag("p", outside.about.strip(), class_="lead"),
        tag("div", numbers_table(head, rows, label="Findings of another source"), class_="fact"),
        tag(
            "div",
            tag("h3", "Share of the drafts that assert each finding, by label"),
            numbers_table(
                ("Label", "Studies", *(name.replace("_", " ") for name in names)), by_label, label="By label"
            ),
            class_="fact",
        ),
    )


def _share(share: Share) -> tuple[str, ...]:
    if math.isnan(share.value.value):
        return cell(None)
    return (
        *cell(Estimate(share.value.value, share.value.low, share.value.high)),
        tag("small", f"n {share.num_studies}, {share.num_patients} patients"),
    )


def _examples(examples: Sequence[Example]) -> Html:
    lead = "One study as the network got it under each condition, at the network's own resolution, and what it wrote."
    plain = examples[0].draft
    return tag(
        "section",
        tag("h2", "One study"),
        tag("p", lead, class_="lead"),
        tag(
            "div",
            *(
                tag(
                    "figure",
                    tag("figcaption", f"{each.key.replace('_', ' ')}: {each.meaning}"),
                    tag("div", *(_image(view, each.key) for view in each.views), class_="views"),
                    tag("p", "the same draft" if place and each.draft == plain else each.draft, class_="text"),
                    class_="example",
                )
                for place, each in enumerate(examples)
            ),
            class_="plots examples",
        ),
    )


def _image(view: PageView, key: str) -> Html:
    try:
        uri, width, height = data_uri(view)
    except ImageError as error:
        return tag("figure", tag("span", str(error), class_="no-image"))
    image = tag("img", src=uri, width=width, height=height, alt=f"{view.position} view, {key}", loading="lazy")
    return tag("figure", image, tag("figcaption", view.position))
