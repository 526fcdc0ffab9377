"""The page's parts above the studies: heading, alarm, figures at a glance, scores, findings, training, and the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from radwright.evaluation.marks import Kind, Reading
from radwright.evaluation.page.charts import Lane, bar, dot_plot, line_plot
from radwright.evaluation.page.content import Curve, Estimate, FindingScore, FindingTable, Page
from radwright.evaluation.page.html import Html, number, tag
from radwright.evaluation.page.names import (
    baseline_name,
    baselines,
    estimate,
    estimates,
    is_plotted,
    lower_is_better,
    metric_groups,
    metric_name,
    readable_name,
)
from radwright.evaluation.page.variety import Variety

WARNING = "Research only. Not a medical device. A radiologist must check every draft."

_PARTS = {
    "scores": "Scores",
    "findings": "Findings one by one",
    "clues": "Clues and drafts",
    "groups": "Groups of studies",
    "training": "Training",
    "run": "How this was made",
    "studies": "Drafts, study by study",
}
_HEADLINES = ("finding_score", "f1_14_micro", "bleu_4", "cider")


def heading(page: Page, parts: Mapping[str, Html | None]) -> Html:
    """Title, warning, statement, and links to the parts (id -> section) that the page has."""
    links = [tag("a", _PARTS[name], href=f"#{name}") for name, part in parts.items() if part is not None]
    return tag(
        "header",
        tag("h1", page.title),
        tag("p", WARNING, class_="warning"),
        tag("p", page.statement, class_="statement") if page.statement else None,
        tag("nav", *links, aria_label="Parts of this page") if len(links) > 1 else None,
        class_="top",
    )


def silence_alarm(scores: Mapping[str, Any] | None) -> Html | None:
    """The alarm of drafts that hardly assert anything, where there is cause."""
    asserting = (scores or {}).get("asserting")
    if not isinstance(asserting, Mapping) or not asserting.get("silent"):
        return None
    return tag(
        "p",
        tag("strong", "Silence alarm. "),
        f"The drafts assert a finding in {asserting['drafts']} of {asserting['num_studies']} studies, the references ",
        f"in {asserting['references']}. A model that calls nearly everyone normal is of no use to a reader, ",
        "whatever its scores are.",
        class_="alarm",
        role="note",
    )


def alarm(variety: Variety | None) -> Html | None:
    """The collapse alarm, where there is cause."""
    if variety is None or not variety.collapsed:
        return None
    beside = "" if variety.num_distinct_references is None else f"; the references: {variety.num_distinct_references}"
    return tag(
        "p",
        tag("strong", "Collapse alarm. "),
        f"{variety.num_drafts} studies got {counted(variety.num_distinct, 'distinct draft', 'distinct drafts')}",
        f"{beside}. The most frequent draft went to {variety.most_common_share:.0%} of the studies. A model that "
        "writes the same text for every patient does not look at the images, whatever its scores are.",
        class_="alarm",
        role="note",
    )


def counted(count: int, one: str, many: str) -> str:
    """A number with its noun."""
    return f"{count} {one if count == 1 else many}"


def at_a_glance(page: Page, variety: Variety | None) -> Html | None:
    """The figures to read first, each beside the best of what writes no report of its own."""
    figures = []
    if page.findings is not None:
        figures.append(_micro_f1_figure(page.findings))
    scores = page.scores or {}
    metrics, others = estimates(scores.get("metrics")), baselines(scores)
    for metric in _HEADLINES:
        if metric in metrics:
            values = {name: found[metric].value for name, found in others.items() if metric in found}
            best = max(values, key=values.__getitem__, default=None)
            beside = () if best is None else ("best baseline ", number(values[best]), f" ({baseline_name(best)})")
            figures.append(figure(metric_name(metric), number(metrics[metric].value), *beside))
    readings = [study.reading for study in page.studies if study.reading is not None]
    if readings:
        figures.append(_exact_figure(readings, whole=len(readings) >= scores.get("n", 0)))
    if variety is not None:
        references = variety.num_distinct_references
        told = () if references is None else (f"references: {references}",)
        figures.append(figure("Distinct drafts", f"{variety.num_distinct} of {variety.num_drafts}", *told))
    return tag("dl", *figures, class_="glance") if figures else None


def _micro_f1_figure(table: FindingTable) -> Html:
    value = number(table.micro_f1.value)
    if not table.constants:
        return figure("Findings, micro-F1", value)
    name, best = max(table.constants.items(), key=lambda entry: entry[1].value)
    return figure("Findings, micro-F1", value, "best constant ", number(best.value), f" ({readable_name(name)})")


def _exact_figure(readings: Sequence[Reading], *, whole: bool) -> Html:
    wrong = {
        "fabricated": sum(bool(reading.fabricated) for reading in readings),
        "missed": sum(bool(reading.missed) for reading in readings),
        "other side": sum(bool(reading.of(Kind.SIDE)) for reading in readings),
    }
    exact = sum(reading.exact for reading in readings)
    beside = ", ".join(f"{word} in {count}" for word, count in wrong.items())
    name = "Exact findings" if whole else "Exact findings, of those shown"
    return figure(name, f"{exact} of {len(readings)}", beside)


def figure(name: str, value: str, *beside: str) -> Html:
    """One figure at a glance: its name, its value, and what stands below it."""
    note = tag("dd", *beside, class_="beside") if beside else None
    return tag("div", tag("dt", name), tag("dd", value, class_="figure"), note)


def scores_section(page: Page) -> Html | None:
    """Every metric with its interval beside the trivial baselines, as plots and as a table."""
    scores = page.scores
    metrics = estimates((scores or {}).get("metrics"))
    if scores is None or not metrics:
        return None
    others = baselines(scores)
    groups = metric_groups(metrics, lower_is_better(scores))
    count = scores.get("n")
    lead = "Dots with 95 % intervals (studies drawn again with replacement). " if _has_intervals(metrics) else ""
    if others:
        lead += "Gray: reports that nobody wrote for the image, such as one text for all. "
    if "In words" in groups:
        lead += "Scores of words say how alike two texts are, not whether a draft is right. "
    if "In findings" in groups:
        lead += "Findings are read out of both texts by rules."
    return tag(
        "section",
        tag("h2", "Scores of the drafts" + (f" ({counted(count, 'study', 'studies')})" if count else "")),
        tag("p", lead, class_="lead"),
        *(part for heading, names in groups.items() for part in _plots(heading, names, metrics, others)),
        _notes(scores),
        tag(
            "details",
            tag("summary", "All numbers, and how they were made"),
            _scores_table(metrics, others, [name for names in groups.values() for name in names], scores),
            _score_facts(scores),
        ),
        id="scores",
    )


def _plots(
    heading: str, names: Iterable[str], metrics: Mapping[str, Estimate], others: Mapping[str, Mapping[str, Estimate]]
) -> Iterator[Html]:
    """The plots of one group of scores, below its heading."""
    yield tag("h3", heading, class_="plots-title")
    plots = [
        dot_plot(
            metric_name(name),
            [
                Lane("drafts", *metrics[name], ours=True),
                *(Lane(baseline_name(other), *values[name]) for other, values in others.items() if name in values),
            ],
        )
        for name in names
        if is_plotted(name)
    ]
    yield tag("div", *plots, class_="plots")


def _has_intervals(metrics: Mapping[str, Estimate]) -> bool:
    return any(value.low is not None for value in metrics.values())


def _notes(scores: Mapping[str, Any]) -> Html | None:
    notes = [f"{metric_name(name)} is missing: {reason}" for name, reason in (scores.get("unavailable") or {}).items()]
    notes += [str(note) for note in scores.get("notes") or ()]
    for key, meaning in (("without_draft", "without a draft"), ("without_reference", "without a usable reference")):
        if scores.get(key):
            notes.append(f"Left out: {len(scores[key])} {meaning}.")
    return tag("ul", *(tag("li", note) for note in notes), class_="notes") if notes else None


def _scores_table(
    metrics: Mapping[str, Estimate],
    others: Mapping[str, Mapping[str, Estimate]],
    names: Iterable[str],
    scores: Mapping[str, Any],
) -> Html:
    columns = {"drafts": metrics, **{baseline_name(name): values for name, values in others.items()}}
    rows = [
        (directed_name(name, scores), [tag("td", *cell(values.get(name))) for values in columns.values()])
        for name in names
    ]
    return numbers_table(("Score", *columns), rows, label="All scores")


def directed_name(name: str, scores: Mapping[str, Any]) -> str:
    """A score's name, and which way is better where that is down."""
    return metric_name(name) + (", lower is better" if name in lower_is_better(scores) else "")


def numbers_table(head: Sequence[str], rows: Iterable[tuple[str, Sequence[Html]]], *, label: str) -> Html:
    """A table in a box of its own, which scrolls where the screen is narrower than the numbers."""
    body = [tag("tr", tag("th", name, scope="row"), *cells) for name, cells in rows]
    top = tag("tr", *(tag("th", name, scope="col") for name in head))
    table = tag("table", tag("thead", top), tag("tbody", *body), class_="numbers")
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=label)


def cell(value: Estimate | None) -> tuple[str, ...]:
    """A number with its interval, for a table."""
    if value is None:
        return ("–",)
    digits = 1 if abs(value.value) >= 10 else 3
    if value.low is None or value.high is None:
        return (number(value.value, digits),)
    return number(value.value, digits), tag("small", number(value.low, digits), "–", number(value.high, digits))


def _score_facts(scores: Mapping[str, Any]) -> Html:
    rows = [
        (baseline_name(str(name)), entry["report"])
        for name, entry in (scores.get("baselines") or {}).items()
        if isinstance(entry.get("report"), str)
    ]
    if scores.get("signature"):
        rows.append(("signature", str(scores["signature"])))
    return definitions(rows)


def definitions(rows: Iterable[tuple[str, str]]) -> Html:
    """Names and what they are, a line each."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", text)) for name, text in rows), class_="facts-list")


def findings_section(page: Page) -> Html | None:
    """Micro-F1 beside baselines, and a row per finding: those given, or else the classes in the scores."""
    table = page.findings or _classes_table(page.scores)
    if table is None:
        return None
    lanes = [Lane("drafts", *table.micro_f1, ours=True)]
    lanes += [Lane(readable_name(name), *value) for name, value in table.constants.items()]
    plot = dot_plot("Micro-F1 over all findings", lanes)
    rows = [
        (
            readable_name(row.name),
            [
                tag("td", number(row.support, 0)),
                *(tag("td", *_share(share)) for share in (row.precision, row.recall, row.f1)),
            ],
        )
        for row in table.findings
    ]
    head = ("Finding", "In references", "Precision", "Recall", "F1")
    beside = numbers_table(head, rows, label="Scores per finding") if rows else None
    return tag(
        "section",
        tag("h2", _PARTS["findings"]),
        tag("p", table.lead, class_="lead"),
        tag("div", tag("div", plot), beside, class_="findings-grid"),
        id="findings",
    )


def _classes_table(scores: Mapping[str, Any] | None) -> FindingTable | None:
    """CheXpert's observations as the scores have them; None where they have none."""
    classes = (scores or {}).get("classes") or {}
    micro = estimates((scores or {}).get("metrics")).get("f1_14_micro")
    if not classes or micro is None:
        return None
    rows = []
    for name, policies in classes.items():
        found = policies["open_negative"]
        asserted, support = bool(found["asserted"]), bool(found["support"])
        rows.append(
            FindingScore(
                str(name),
                estimate(found["precision"]) if asserted else None,
                estimate(found["recall"]) if support else None,
                estimate(found["f1"]) if asserted or support else None,
                int(found["support"]),
            )
        )
    others = {
        baseline_name(name): values["f1_14_micro"]
        for name, values in baselines(scores or {}).items()
        if "f1_14_micro" in values
    }
    lead = (
        "The 14 observations of CheXpert, read by rules out of drafts and references; what a report leaves open counts "
        "as not asserted. A dash: nothing to count. Where a finding is in few references, the line on its bar is long: "
        "little is known."
    )
    return FindingTable(tuple(rows), micro, others, lead)


def _share(value: Estimate | None) -> tuple[Html, ...]:
    """A bar, its number, and the interval below them."""
    if value is None:
        return (tag("span", bar(None), number(None), class_="share"),)
    shown = tag("span", bar(*value), number(value.value, 2), class_="share")
    if value.low is None or value.high is None:
        return (shown,)
    return shown, tag("small", number(value.low, 2), "–", number(value.high, 2))


def curve_section(curve: Curve | None) -> Html | None:
    """Training loss and validation scores over optimiser steps."""
    if curve is None:
        return None
    plots = [line_plot("Training loss", curve.losses, kept_step=curve.best_step)] if curve.losses else []
    plots += [
        line_plot(f"Validation: {metric_name(name)}", points, kept_step=curve.best_step, dots=True)
        for name, points in curve.validations.items()
        if points
    ]
    if not plots:
        return None
    lead = "Over optimiser steps."
    if curve.best_step is not None:
        lead += f" Dashed: step {curve.best_step}, whose weights were kept."
    return tag(
        "section",
        tag("h2", "Training"),
        tag("p", lead, class_="lead"),
        tag("div", *plots, class_="plots curves"),
        id="training",
    )


def run_section(page: Page) -> Html | None:
    """Command, machine, commit, seeds, and the seconds that each phase took."""
    rows = [(name, text) for name, text in page.facts.items() if text]
    if page.seconds:
        phases = [f"{name} {_clock(seconds)}" for name, seconds in page.seconds.items()]
        if len(phases) > 1:
            phases.append(f"together {_clock(sum(page.seconds.values()))}")
        rows.append(("time", " · ".join(phases)))
    return tag("section", tag("h2", "How this was made"), definitions(rows), id="run") if rows else None


def _clock(seconds: float) -> str:
    if seconds < 60:
        text = f"{seconds:.1f} s"
    else:
        minutes, rest = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        text = f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
    return text.replace(" ", "\u00a0")
