"""Plots as inline SVG: values with intervals beside one another, and curves over training steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from radwright.evaluation.page.html import Html, join, number, tag

Point = tuple[int, float]

_WIDTH, _HEIGHT = 360, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 352, 10, 162
_MAX_POINTS = 400


@dataclass(frozen=True, slots=True)
class Lane:
    """One value of a dot-and-interval plot.

    Attributes:
        label: what has the value.
        value: the dot.
        low: lower end of the interval, or None.
        high: upper end, or None.
        ours: whether it is the run's own value rather than a baseline's.
        open: whether the dot is drawn as a ring.
    """

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    ours: bool = False
    open: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """One curve of a plot of several.

    Attributes:
        label: what has the values.
        points: (x, value, lower end, upper end) by x; the ends are None where there is no interval.
        hollow: x of the points that count for less: their dots are hollow, their whiskers dashed.
    """

    label: str
    points: Sequence[tuple[float, float, float | None, float | None]]
    hollow: Collection[float] = ()


def dot_plot(
    title: str,
    lanes: Sequence[Lane],
    *,
    chance: float | None = None,
    limits: tuple[float, float] | None = None,
    note: str = "",
) -> Html:
    """A figure with a row per lane on a common axis from 0, or across it; the numbers stand beside the dots.

    Args:
        title: what the values are.
        lanes: one at least.
        chance: what guessing gives: the axis starts from it instead of from 0, and it is marked.
        limits: what the axis spans, whatever the values are; intervals are cut at its ends.
        note: stands below the axis.
    """
    ends = [
        end for lane in lanes for end in (lane.value, lane.low, lane.high) if end is not None and math.isfinite(end)
    ]
    base = 0.0 if chance is None else chance
    bottom, top = limits or (min([base, *ends]), max([base, *ends]))
    ticks = nice_ticks(bottom, top if top > bottom else 1.0, 4)
    low, high = ticks[0], ticks[-1]
    are_counts = all(lane.low is None and float(lane.value).is_integer() for lane in lanes)
    digits = 0 if are_counts else 1 if top >= 10 else 3
    rows = [
        tag(
            "div",
            tag("span", lane.label, class_="label"),
            _strip(lane, low, high, base if low < base or chance is not None else None),
            tag("span", number(lane.value, digits), class_="value"),
            class_="lane ours" if lane.ours else "lane",
            title=_interval_text(lane, digits),
        )
        for lane in lanes
    ]
    return tag("figure", tag("figcaption", title), *rows, _axis(ticks), _note(note), class_="dots")


def _note(text: str) -> Html | None:
    return tag("p", tag("small", text)) if text else None


def _interval_text(lane: Lane, digits: int) -> str | None:
    if lane.low is None or lane.high is None:
        return None
    return f"{lane.label}: {lane.value:.{digits}f} ({lane.low:.{digits}f} to {lane.high:.{digits}f})"


def _strip(lane: Lane, low: float, high: float, marked: float | None) -> Html:
    def at(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.2f}%"

    shapes = [tag("line", x1="0", x2="100%", y1="9", y2="9", class_="rail")]
    if marked is not None:
        shapes.append(tag("line", x1=at(marked), x2=at(marked), y1="-2", y2="20", class_="zero"))
    if lane.low is not None and lane.high is not None and math.isfinite(lane.low + lane.high):
        ends = (at(min(max(end, low), high)) for end in (lane.low, lane.high))
        shapes.append(tag("line", **dict(zip(("x1", "x2"), ends, strict=True)), y1="9", y2="9", class_="interval"))
    if math.isfinite(lane.value):
        shapes.append(tag("circle", cx=at(lane.value), cy="9", r="3.5", class_="dot open" if lane.open else "dot"))
    return tag("svg", *shapes, class_="strip", height="18", aria_hidden="true")


def _axis(ticks: Sequence[float]) -> Html:
    shapes = []
    for place, tick in enumerate(ticks):
        share = f"{100 * place / (len(ticks) - 1):.2f}%"
        anchor = "start" if place == 0 else "end" if place == len(ticks) - 1 else "middle"
        shapes.append(tag("line", x1=share, x2=share, y1="0", y2="4", class_="tick"))
        shapes.append(tag("text", f"{tick:g}", x=share, y="15", text_anchor=anchor))
    svg = tag("svg", *shapes, class_="strip", height="18", aria_hidden="true")
    return tag("div", tag("span", class_="label"), svg, tag("span", class_="value"), class_="lane axis")


def bar(share: float | None, low: float | None = None, high: float | None = None) -> Html:
    """A share in [0, 1] as a horizontal bar, its interval as a line on it; an empty one where it is not defined."""

    def percent(value: float) -> str:
        return f"{100 * min(max(value, 0.0), 1.0):.2f}%"

    length = 0.0 if share is None or not math.isfinite(share) else share
    shapes = [
        tag("rect", x="0", y="3", width="100%", height="8", class_="trough"),
        tag("rect", x="0", y="3", width=percent(length), height="8", class_="fill"),
    ]
    if low is not None and high is not None and math.isfinite(low + high):
        shapes.append(tag("line", x1=percent(low), x2=percent(high), y1="7", y2="7", class_="whisker"))
    return tag("svg", *shapes, class_="bar", height="14", aria_hidden="true")


def line_plot(title: str, points: Sequence[Point], *, kept_step: int | None = None, dots: bool = False) -> Html:
    """A figure with one curve over optimiser steps.

    Args:
        title: what is on the vertical axis.
        points: (step, value), at least one, all finite; thinned out to 400.
        kept_step: the step whose weights were kept, as a dashed line.
        dots: mark every point.
    """
    shown = _thinned(points)
    last_step = max(max(step for step, _ in shown), kept_step or 0, 1)
    values = [value for _, value in shown]
    y_ticks = nice_ticks(min(values), max(values), 4)
    x_ticks = [tick for tick in nice_ticks(0, last_step, 4) if tick <= last_step]

    def x(step: float) -> str:
        return f"{_LEFT + (_RIGHT - _LEFT) * step / last_step:.1f}"

    def y(value: float) -> str:
        return f"{_BOTTOM - (_BOTTOM - _TOP) * (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]):.1f}"

    shapes = []
    for tick in y_ticks:
        shapes.append(tag("line", x1=f"{_LEFT}", x2=f"{_RIGHT}", y1=y(tick), y2=y(tick), class_="rail"))
        shapes.append(tag("text", f"{tick:g}", x=f"{_LEFT - 6}", y=f"{float(y(tick)) + 4:.1f}", text_anchor="end"))
    shapes += [tag("text", f"{tick:g}", x=x(tick), y=f"{_BOTTOM + 17}", text_anchor="middle") for tick in x_ticks]
    if kept_step is not None:
        shapes.append(tag("line", x1=x(kept_step), x2=x(kept_step), y1=f"{_TOP}", y2=f"{_BOTTOM}", class_="kept"))
    shapes.append(tag("polyline", points=" ".join(f"{x(step)},{y(value)}" for step, value in shown), class_="curve"))
    if dots or len(shown) == 1:
        shapes += [tag("circle", cx=x(step), cy=y(value), r="3", class_="dot") for step, value in shown]
    summary = (
        f"{title}: {shown[0][1]:.4g} at step {shown[0][0]}, {shown[-1][1]:.4g} at step {shown[-1][0]}; "
        f"lowest {min(values):.4g}, highest {max(values):.4g}"
    )
    svg = tag("svg", join(shapes), viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=summary)
    return tag("figure", tag("figcaption", title), svg, class_="curve-plot")


def series_plot(
    title: str,
    series: Sequence[Series],
    *,
    x_title: str,
    limits: tuple[float, float] | None = None,
    note: str = "",
) -> Html:
    """A figure with a curve per series over a few common x, intervals as whiskers, 0 marked, a legend below.

    Series stand a little apart at each x, so that none hides another.

    Args:
        title: what the values are.
        series: one at least, each with a point.
        x_title: what stands below the axis.
        limits: what the vertical axis spans, whatever the values are; whiskers are cut at its ends.
        note: stands below the legend.
    """
    xs = sorted({x for one in series for x, *_ in one.points})
    ends = [end for one in series for _, *ends in one.points for end in ends if end is not None and math.isfinite(end)]
    y_ticks = nice_ticks(*(limits or (min([0.0, *ends]), max([0.0, *ends]))), 5)
    span = (xs[-1] - xs[0]) or 1.0
    # At most a fifth of the way to the next x is taken by all series side by side.
    gap = min((b - a for a, b in itertools.pairwise(xs)), default=span) / span * 0.2 / max(1, len(series))

    def x(value: float, number: int) -> str:
        share = (value - xs[0]) / span if len(xs) > 1 else 0.5
        share += gap * (number - (len(series) - 1) / 2)
        return f"{_LEFT + 24 + (_RIGHT - 24 - _LEFT - 24) * share:.1f}"

    def y(value: float) -> str:
        share = (min(max(value, y_ticks[0]), y_ticks[-1]) - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return f"{_BOTTOM - (_BOTTOM - _TOP) * share:.1f}"

    shapes = []
    for tick in y_ticks:
        kind = "zero" if tick == 0 else "rail"
        shapes.append(tag("line", x1=f"{_LEFT}", x2=f"{_RIGHT}", y1=y(tick), y2=y(tick), class_=kind))
        shapes.append(tag("text", f"{tick:g}", x=f"{_LEFT - 6}", y=f"{float(y(tick)) + 4:.1f}", text_anchor="end"))
    middle = (len(series) - 1) / 2
    for value in xs:
        place = f"{(float(x(value, 0)) + float(x(value, len(series) - 1))) / 2:.1f}" if middle else x(value, 0)
        shapes.append(tag("text", f"{value:g}", x=place, y=f"{_BOTTOM + 17}", text_anchor="middle"))
    shapes.append(tag("text", x_title, x=f"{(_LEFT + _RIGHT) / 2}", y=f"{_BOTTOM + 33}", text_anchor="middle"))
    shapes += [tag("g", join(_series(one, number, x, y)), class_=_style(number)) for number, one in enumerate(series)]
    summary = "; ".join(
        f"{one.label}: " + ", ".join(f"{value:.3f} at {at:g}" for at, value, *_ in one.points) for one in series
    )
    svg = tag("svg", join(shapes), viewBox=f"0 0 {_WIDTH} {_HEIGHT + 12}", role="img", aria_label=f"{title}. {summary}")
    legend = [
        tag("span", tag("span", class_=f"swatch {_style(number)}", aria_hidden="true"), one.label)
        for number, one in enumerate(series)
    ]
    below = tag("div", *legend, class_="legend")
    return tag("figure", tag("figcaption", title), svg, below, _note(note), class_="curve-plot series")


def _style(number: int) -> str:
    """Eight colours; dashed, with square dots, from the ninth series on."""
    return f"s{number % 8}" + (" dashed" if number >= 8 else "")


def _series(one: Series, number: int, x: Callable[[float, int], str], y: Callable[[float], str]) -> Iterator[Html]:
    points = [point for point in one.points if math.isfinite(point[1])]
    yield tag("polyline", points=" ".join(f"{x(at, number)},{y(value)}" for at, value, *_ in points), class_="curve")
    for at, value, low, high in points:
        text, open_ = f"{one.label} at {at:g}: {value:.3f}", " open" if at in one.hollow else ""
        if low is not None and high is not None and math.isfinite(low + high):
            yield tag("line", x1=x(at, number), x2=x(at, number), y1=y(low), y2=y(high), class_=f"whisker{open_}")
            text += f" ({low:.3f} to {high:.3f})"
        place: dict[str, str] = {"cx": x(at, number), "cy": y(value), "r": "3.2"}
        if number >= 8:
            left, top = (f"{float(place[key]) - 3:.1f}" for key in ("cx", "cy"))
            place = {"x": left, "y": top, "width": "6", "height": "6"}
        yield tag("rect" if number >= 8 else "circle", tag("title", text), **place, class_=f"dot{open_}")


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most 400 points, evenly over the sequence, the first and the last among them."""
    ordered = sorted(points)
    if len(ordered) <= _MAX_POINTS:
        return ordered
    last = len(ordered) - 1
    return [ordered[round(place * last / (_MAX_POINTS - 1))] for place in range(_MAX_POINTS)]


def nice_ticks(low: float, high: float, num_steps: int) -> list[float]:
    """Round numbers, evenly spaced, from at or below ``low`` to at or above ``high``: two at least.

    The spacing is 1, 2, 2.5 or 5 times a power of ten, about ``num_steps`` of them over the range.
    """
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-3):
        high = low + (abs(low) if abs(low) > 1e-9 else 1.0)
    rough = (high - low) / num_steps
    power = 10.0 ** math.floor(math.log10(rough))
    spacing = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / spacing + 1e-9), math.ceil(high / spacing - 1e-9)
    return [round(place * spacing, 15) for place in range(first, max(last, first + 1) + 1)]
