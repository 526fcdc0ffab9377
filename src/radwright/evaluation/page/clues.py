"""The page of a checkpoint's clues: a row per disease, its AUC drawn, and how far its probabilities can be believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from radwright.data.files import write_text
from radwright.evaluation.bootstrap import Interval
from radwright.evaluation.clues import ClueEvaluation, DiseaseScores
from radwright.evaluation.page.charts import Lane, dot_plot, nice_ticks
from radwright.evaluation.page.content import Estimate
from radwright.evaluation.page.html import Html, join, number, tag
from radwright.evaluation.page.sections import cell, definitions, figure, numbers_table
from radwright.evaluation.page.write import document

WARNING = "Research only. Not a medical device. A clue is a guess that helps to write a draft, not a diagnosis."
_CHANCE = 0.5
_SIDE, _LEFT, _RIGHT, _TOP, _BOTTOM = 220, 40, 212, 8, 180
_LARGEST_PX = 6.0
_HEAD = ("Disease", "Known", "Present", "AUC", "F1", "Precision", "Recall", "Threshold", "Calibration error")


@dataclass(frozen=True, slots=True)
class CluePage:
    """What stands on the page.

    Attributes:
        title: its heading.
        evaluation: the scores.
        labels: what they were held against, in a sentence.
        notes: what a reader of the numbers should know.
        facts: name -> text of where they come from.
    """

    title: str
    evaluation: ClueEvaluation
    labels: str
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def write_clue_page(path: Path, page: CluePage) -> None:
    """Write the page as one HTML file; folders above it are made, and a kill leaves no half page.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, render_clue_page(page))


def render_clue_page(page: CluePage) -> str:
    """The page's HTML; the same page gives the same text."""
    parts = {
        "Diseases one by one": ("diseases", _diseases(page.evaluation)),
        "Calibration": ("calibration", _calibration(page.evaluation)),
        "How this was made": ("run", tag("section", tag("h2", "How this was made"), definitions(page.facts.items()))),
    }
    body = [
        tag(
            "header",
            tag("h1", page.title),
            tag("p", WARNING, class_="warning"),
            tag(
                "p",
                "Diseases perceived in the images, without a look at the reports, held against ",
                page.labels,
                ".",
                class_="statement",
            ),
            tag("nav", *(tag("a", name, href=f"#{id_}") for name, (id_, _) in parts.items()), aria_label="Parts"),
            class_="top",
        ),
        tag(
            "main",
            _at_a_glance(page.evaluation),
            tag("ul", *(tag("li", note) for note in page.notes), class_="notes") if page.notes else None,
            *(tag("div", part, id=id_) for id_, part in parts.values()),
        ),
        tag("footer", WARNING),
    ]
    return document(page.title, join(body))


def _at_a_glance(evaluation: ClueEvaluation) -> Html:
    checked = len(evaluation.in_macro)
    need = f"with at least {evaluation.min_positives} positives and as many negatives"
    return tag(
        "dl",
        figure("AUC, macro", number(evaluation.auc.value), *_beside(evaluation.auc), "; chance 0.5"),
        figure("F1, macro", number(evaluation.f1.value), *_beside(evaluation.f1)),
        figure("Studies", f"{evaluation.num_studies}", "with probabilities and labels"),
        figure("Diseases in the macro", f"{checked} of {_whole(evaluation)}", need),
        class_="glance",
    )


def _whole(evaluation: ClueEvaluation) -> int:
    return len(evaluation.diseases) + len(evaluation.not_checkable)


def _beside(interval: Interval) -> tuple[str, ...]:
    if not math.isfinite(interval.low + interval.high):
        return ("no interval",)
    return number(interval.low), " to ", number(interval.high)


def _diseases(evaluation: ClueEvaluation) -> Html:
    lead = (
        f"Grey: fewer than {evaluation.min_positives} positives or negatives, too few to count in the macro. AUC: the "
        "chance that a study with the disease gets a higher probability than one without it, 0.5 by guessing. F1, "
        "precision and recall: at the threshold above which a disease is told as a clue. Small: 95 % intervals "
        "(studies drawn again with replacement), and the studies whose label is left open, which do not count."
    )
    rows = [(_name(disease), _row(disease)) for disease in evaluation.diseases]
    macro = [tag("td", "")] * 2 + [tag("td", *_scored(interval)) for interval in (evaluation.auc, evaluation.f1)]
    rows.append((f"Macro over {len(evaluation.in_macro)}", macro + [tag("td", "")] * 4))
    unknown = [(name, f"not checkable: {reason}") for name, reason in evaluation.not_checkable.items()]
    return tag(
        "section",
        tag("h2", "Diseases one by one"),
        tag("p", lead, class_="lead"),
        _auc_plot(evaluation),
        tag("div", numbers_table(_HEAD, rows, label="Scores by disease"), class_="fact"),
        definitions(unknown) if unknown else None,
    )


def _name(disease: DiseaseScores) -> str:
    return disease.name if disease.in_macro else f"{disease.name}, too few"


def _row(disease: DiseaseScores) -> list[Html]:
    uncalibrated = () if disease.calibrated else (tag("small", "not calibrated"),)
    left_open = (tag("small", f"{disease.num_open} open"),) if disease.num_open else ()
    cells: list[tuple[str, ...]] = [
        (str(disease.num_studies), *left_open),
        (str(disease.num_positives),),
        _scored(disease.auc),
        _scored(disease.f1),
        (number(disease.precision, 2),),
        (number(disease.recall, 2),),
        (number(disease.threshold, 2), *uncalibrated),
        (number(disease.calibration_error, 2),),
    ]
    return [tag("td", *content, class_=None if disease.in_macro else "few") for content in cells]


def _scored(interval: Interval) -> tuple[str, ...]:
    if math.isnan(interval.value):
        return cell(None)
    if math.isnan(interval.low):
        return cell(Estimate(interval.value))
    return cell(Estimate(interval.value, interval.low, interval.high))


def _auc_plot(evaluation: ClueEvaluation) -> Html | None:
    lanes = [
        Lane(f"{disease.name} ({disease.num_positives})", disease.auc.value, *_ends(disease.auc), disease.in_macro)
        for disease in evaluation.diseases
        if math.isfinite(disease.auc.value)
    ]
    if evaluation.in_macro:
        lanes.append(Lane("Macro", evaluation.auc.value, *_ends(evaluation.auc), True))
    if not lanes:
        return None
    plot = dot_plot("AUC (in brackets: studies with the disease); the line at 0.5 is chance", lanes, chance=_CHANCE)
    return tag("div", plot, class_="plots single")


def _ends(interval: Interval) -> tuple[float | None, float | None]:
    if math.isnan(interval.low):
        return None, None
    return interval.low, interval.high


def _calibration(evaluation: ClueEvaluation) -> Html:
    lead = (
        "How often a disease is there (upwards) where it was given a probability (to the right). Each dot holds about "
        "a tenth of the studies, by probability, and is as large as their number. On the diagonal a probability can be "
        "taken at its word; below the diagonal it is too high. Dashed: the threshold."
    )
    plots = [_calibration_plot(disease) for disease in evaluation.diseases if disease.reliability]
    return tag(
        "section",
        tag("h2", "Calibration"),
        tag("p", lead, class_="lead"),
        tag("div", *plots, class_="plots squares"),
    )


def _calibration_plot(disease: DiseaseScores) -> Html:
    largest = max(max(mean, share) for mean, share, _ in disease.reliability)
    top = min(1.0, nice_ticks(0.0, max(largest, disease.threshold, 0.1), 4)[-1])
    ticks = [tick for tick in nice_ticks(0.0, top, 4) if tick <= top]

    def x(value: float) -> str:
        return f"{_LEFT + (_RIGHT - _LEFT) * value / top:.1f}"

    def y(value: float) -> str:
        return f"{_BOTTOM - (_BOTTOM - _TOP) * value / top:.1f}"

    shapes = []
    for tick in ticks:
        shapes.append(tag("line", x1=x(0), x2=x(top), y1=y(tick), y2=y(tick), class_="rail"))
        if tick:  # the 0 of the other axis stands for both
            shapes.append(tag("text", f"{tick:g}", x=f"{_LEFT - 5}", y=f"{float(y(tick)) + 4:.1f}", text_anchor="end"))
        shapes.append(tag("text", f"{tick:g}", x=x(tick), y=f"{_BOTTOM + 20}", text_anchor="middle"))
    shapes.append(tag("line", x1=x(0), y1=y(0), x2=x(top), y2=y(top), class_="diagonal"))
    at = x(disease.threshold)
    shapes.append(tag("line", x1=at, x2=at, y1=f"{_TOP}", y2=f"{_BOTTOM}", class_="kept"))
    most = max(studies for _, _, studies in disease.reliability)
    for mean, share, studies in disease.reliability:
        radius = f"{_LARGEST_PX * math.sqrt(studies / most):.1f}"
        told = tag("title", f"{studies} studies: probability {mean:.2f} on average, {share:.0%} have it")
        shapes.append(tag("circle", told, cx=x(mean), cy=y(share), r=radius, class_="bin"))
    summary = f"{disease.name}: calibration error {disease.calibration_error:.2f}, threshold {disease.threshold:.2f}"
    return tag(
        "figure",
        tag("figcaption", _name(disease)),
        tag("svg", *shapes, viewBox=f"0 0 {_SIDE} {_SIDE - 8}", role="img", aria_label=summary),
        class_="curve-plot" if disease.in_macro else "curve-plot too-few",
    )
