"""The page of how well evidence maps point: scores with intervals, deletion curves, and a few maps with their masks.

Shape legend: V views, S side of the maps.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from radwright.data.files import write_text
from radwright.evaluation.bootstrap import Interval
from radwright.evaluation.evidence import CONTROLS, MAP_NAMES, MEASURE_NAMES, EvidenceEvaluation
from radwright.evaluation.page.charts import Lane, Series, dot_plot, series_plot
from radwright.evaluation.page.content import PageView
from radwright.evaluation.page.evidence import SHOWN_SIDE_PX, Scale, overlay_uri
from radwright.evaluation.page.html import Html, join, number, tag
from radwright.evaluation.page.images import data_uri
from radwright.evaluation.page.sections import definitions, figure, numbers_table
from radwright.evaluation.page.write import document

WARNING = "Research only, synthetic images. Not a medical device."
_OUTLINE = (60, 220, 110)
_OUTLINE_PX = 2
_PLOTTED = ("points", "strongest", "deletion")

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PointingExample:
    """One sentence that was judged.

    Attributes:
        study_id: whose draft it is of.
        text: the sentence.
        views: V square images as the network sees them.
        occlusion_VSS: its occlusion map, nats.
        mask_VSS: where what it speaks of is.
    """

    study_id: str
    text: str
    views: tuple[PageView, ...]
    occlusion_VSS: FloatArray = field(repr=False)
    mask_VSS: BoolArray = field(repr=False)


@dataclass(frozen=True, slots=True)
class EvidenceScoresPage:
    """What stands on the page.

    Attributes:
        title: its heading.
        evaluation: the scores.
        examples: a few sentences with their maps and masks.
        notes: what a reader of the numbers should know.
        facts: name -> text of where they come from.
    """

    title: str
    evaluation: EvidenceEvaluation
    examples: Sequence[PointingExample] = ()
    notes: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def write_evidence_scores_page(path: Path, page: EvidenceScoresPage) -> None:
    """Write the page as one HTML file; folders above it are made, and a kill leaves no half page.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, render_evidence_scores_page(page))


def render_evidence_scores_page(page: EvidenceScoresPage) -> str:
    """The page's HTML; the same page gives the same text."""
    parts = {
        "Maps": ("maps", _maps(page.evaluation)),
        "Finding by finding": ("kinds", _kinds(page.evaluation)),
        "Examples": ("examples", _examples(page.examples) if page.examples else None),
        "How this was made": ("run", tag("section", tag("h2", "How this was made"), definitions(page.facts.items()))),
    }
    shown = {name: part for name, part in parts.items() if part[1] is not None}
    body = [
        tag(
            "header",
            tag("h1", page.title),
            tag("p", WARNING, class_="warning"),
            tag(
                "p",
                "Maps of what the sentences of drafts rest on, held against where the phantom drew what they speak of.",
                class_="statement",
            ),
            tag("nav", *(tag("a", name, href=f"#{id_}") for name, (id_, _) in shown.items()), aria_label="Parts"),
            class_="top",
        ),
        tag(
            "main",
            _at_a_glance(page.evaluation),
            tag("ul", *(tag("li", note) for note in page.notes), class_="notes") if page.notes else None,
            *(tag("div", part, id=id_) for id_, part in shown.values()),
        ),
        tag("footer", WARNING),
    ]
    return document(page.title, join(body))


def _at_a_glance(found: EvidenceEvaluation) -> Html:
    figures = [figure("Studies", f"{found.num_studies}", f"{found.num_sentences} sentences")]
    told = f"in {found.num_places} views; {found.num_fabricated} more assert what is not there"
    figures.append(figure("Sentences judged", f"{found.num_judged}", told))
    for scores in found.maps:
        if scores.name in {*CONTROLS, "perfect"}:
            continue
        points = scores.scores["points"]
        beside = (number(points.low), " to ", number(points.high), "; chance ", number(found.chance["points"]))
        figures.append(figure(f"Pointing, {scores.name}", number(points.value), *beside))
    return tag("dl", *figures, class_="glance")


def _maps(found: EvidenceEvaluation) -> Html:
    lead = (
        "Pointing: how often a map's maximum lies on the finding, in each view in which it can be seen; strongest: the "
        "same of the one maximum over all views; deletion: the mean log-probability that the sentence loses as the "
        "map's highest pixels go first, in nats. The higher, the better. Gray, with a star: maps that have seen no "
        "image of the study, and the mask itself. Small: 95 % intervals (studies drawn again with replacement)."
    )
    plots = []
    for measure in _PLOTTED:
        values = {scores.name: scores.scores[measure] for scores in found.maps}
        lanes = [_lane(name, value) for name, value in values.items()]
        if measure in found.chance:
            lanes.append(Lane("chance", found.chance[measure]))
        plots.append(dot_plot(MEASURE_NAMES[measure], lanes))
    curves = [
        Series(_name(name), [(place / (len(curve) - 1), value, None, None) for place, value in enumerate(curve)])
        for name, curve in found.curves.items()
    ]
    plots.append(series_plot("Nats lost, by share of the pixels deleted", curves, x_title="share of the pixels"))
    rows = [
        (_name(scores.name), [_scored(scores.scores[measure]) for measure in MEASURE_NAMES]) for scores in found.maps
    ]
    chance = [tag("td", number(found.chance.get(measure))) for measure in MEASURE_NAMES]
    return tag(
        "section",
        tag("h2", "Maps"),
        tag("p", lead, class_="lead"),
        tag("div", *plots, class_="plots"),
        tag(
            "div",
            numbers_table(("Map", *MEASURE_NAMES.values()), [*rows, ("chance", chance)], label="A row per map"),
            class_="fact",
        ),
    )


def _name(name: str) -> str:
    return MAP_NAMES.get(name, name)


def _lane(name: str, value: Interval) -> Lane:
    return Lane(_name(name), value.value, value.low, value.high, ours=name not in MAP_NAMES)


def _scored(value: Interval) -> Html:
    return tag("td", number(value.value), " ", tag("small", number(value.low), "–", number(value.high)))


def _kinds(found: EvidenceEvaluation) -> Html:
    names = [scores.name for scores in found.maps if scores.name not in {"perfect", "random"}]
    rows = [
        (
            kind.replace("_", " "),
            [tag("td", str(int(values["num_places"]))), *(tag("td", number(values[n], 2)) for n in ("chance", *names))],
        )
        for kind, values in found.kinds.items()
    ]
    head = ("Finding", "Views", "Chance", *map(_name, names))
    return tag(
        "section",
        tag("h2", "Finding by finding"),
        tag("p", "Pointing, by what the sentence asserts.", class_="lead"),
        tag("div", numbers_table(head, rows, label="Pointing by finding"), class_="fact"),
    )


def _examples(examples: Sequence[PointingExample]) -> Html:
    most = max(float(np.abs(example.occlusion_VSS).max()) for example in examples)
    scale = Scale(-most, most, True)
    lead = (
        "The first judged sentence of each kind, with its occlusion map: orange supports it, blue speaks against it, "
        f"on one scale for all of them up to {most:.2g} nats. Outlined in green: the mask of what it speaks of."
    )
    return tag(
        "section",
        tag("h2", "Examples"),
        tag("p", lead, class_="lead"),
        tag("div", *(_example(example, scale) for example in examples), class_="plots"),
    )


def _example(example: PointingExample, scale: Scale) -> Html:
    most = float(np.abs(example.occlusion_VSS).max())
    figures = []
    for place, view in enumerate(example.views):
        uri, width, height = data_uri(view, max_side_px=SHOWN_SIDE_PX)
        size = {"width": str(width), "height": str(height)}
        layers = (
            tag("img", src=uri, alt=f"{view.position} radiograph", **size),
            tag("img", src=overlay_uri(example.occlusion_VSS[place], scale), alt="", class_="overlay", **size),
            tag("img", src=outline_uri(example.mask_VSS[place], width), alt="", class_="overlay", **size),
        )
        figures.append(tag("figure", tag("div", *layers, class_="frame"), tag("figcaption", view.position)))
    return tag(
        "figure",
        tag("figcaption", f"{example.study_id}, largest effect {most:.2g} nats"),
        tag("div", *figures, class_="views"),
        tag("p", example.text, class_="text"),
        class_="example",
    )


def outline_uri(mask_SS: BoolArray, side_px: int) -> str:
    """The edge of a mask as a transparent image of a side in pixels; empty where the mask is."""
    mask = np.asarray(Image.fromarray(mask_SS).resize((side_px, side_px), Image.Resampling.NEAREST), dtype=bool)
    inside = mask.copy()
    padded = np.pad(mask, _OUTLINE_PX)
    for down in range(2 * _OUTLINE_PX + 1):
        for right in range(2 * _OUTLINE_PX + 1):
            inside &= padded[down : down + side_px, right : right + side_px]
    pixels = np.zeros((side_px, side_px, 4), dtype=np.uint8)
    pixels[mask & ~inside] = (*_OUTLINE, 255)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=9)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
