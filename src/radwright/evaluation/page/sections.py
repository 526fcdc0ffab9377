"""The page's parts above the studies: heading, alarm, figures at a glance, scores, findings, training, and the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from radwright.evaluation.page.charts import Lane, bar, dot_plot, line_plot
from radwright.evaluation.page.compare import FindingFacts, Variety
from radwright.evaluation.page.content import Curve, FindingTable, Page
from radwright.evaluation.page.html import Html, number, tag

WARNING = "Research only. Not a medical device. A radiologist must check every draft."

_PARTS = {
    "scores": "Scores",
    "findings": "Findings",
    "training": "Training",
    "run": "How this was made",
    "studies": "Drafts, study by study",
}
_HEADLINES = ("bleu_4", "cider")

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


def alarm(variety: Variety | None) -> Html | None:
    """The collapse alarm, where there is cause."""
    if variety is None or not variety.collapsed:
        return None
    beside = "" if variety.num_distinct_references is None else f"; the references: {variety.num_distinct_references}"
    return tag(
        "p",
        tag("strong", "Collapse alarm. "),
        f"{variety.num_drafts} studies got {_count(variety.num_distinct, 'distinct draft', 'distinct drafts')}",
        f"{beside}. The most frequent draft went to {variety.most_common_share:.0%} of the studies. A model that "
        "writes the same text for every patient does not look at the images, whatever its scores are.",
        class_="alarm",
        role="note",
    )


def _count(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def at_a_glance(page: Page, variety: Variety | None, facts: Iterable[FindingFacts | None]) -> Html | None:
    """The figures to read first, each beside what a text scores that needs no image."""
    figures = []
    if page.findings is not None:
        figures.append(_micro_f1_figure(page.findings))
    scores = page.scores or {}
    metrics, baselines = _intervals(scores.get("metrics")), _baselines(scores)
    for metric in _HEADLINES:
        if metric in metrics:
            others = [values[metric][0] for values in baselines.values() if metric in values]
            best = ("best without images ", number(max(others))) if others else ()
            figures.append(_figure(metric_name(metric), number(metrics[metric][0]), *best))
    known = [fact for fact in facts if fact is not None]
    if known:
        figures.append(_exact_figure(known))
    if variety is not None:
        references = variety.num_distinct_references
        beside = () if references is None else (f"references: {references}",)
        figures.append(_figure("Distinct drafts", f"{variety.num_distinct} of {variety.num_drafts}", *beside))
    return tag("dl", *figures, class_="glance") if figures else None


def _micro_f1_figure(table: FindingTable) -> Html:
    if not table.constants:
        return _figure("Findings, micro-F1", number(table.micro_f1))
    name, best = max(table.constants.items(), key=lambda entry: entry[1])
    return _figure(
        "Findings, micro-F1", number(table.micro_f1), "best constant ", number(best), f" ({readable_name(name)})"
    )


def _exact_figure(facts: Sequence[FindingFacts]) -> Html:
    wrong = {
        "fabricated": sum(bool(fact.fabricated) for fact in facts),
        "missed": sum(bool(fact.missed) for fact in facts),
        "described otherwise": sum(bool(fact.described) for fact in facts),
    }
    exact = sum(fact.exact for fact in facts)
    beside = ", ".join(f"{word} in {count}" for word, count in wrong.items())
    return _figure("Exact findings", f"{exact} of {len(facts)}", beside)


def _figure(name: str, value: str, *beside: str) -> Html:
    note = tag("dd", *beside, class_="beside") if beside else None
    return tag("div", tag("dt", name), tag("dd", value, class_="figure"), note)


def scores_section(scores: Mapping[str, Any] | None) -> Html | None:
    """Every metric with its interval beside the trivial baselines, as plots and as a table."""
    metrics = _intervals((scores or {}).get("metrics"))
    if scores is None or not metrics:
        return None
    baselines = _baselines(scores)
    plots = [
        dot_plot(
            metric_name(name),
            [
                Lane("drafts", *interval, ours=True),
                *(Lane(_baseline_name(other), *values[name]) for other, values in baselines.items() if name in values),
            ],
        )
        for name, interval in metrics.items()
    ]
    count = scores.get("n")
    lead = "Dots with 95 % intervals (studies drawn again with replacement). " if _has_intervals(metrics) else ""
    if baselines:
        lead += "Gray: texts chosen without looking at any image. "
    lead += "These scores say how alike two texts are, not whether a draft is right."
    return tag(
        "section",
        tag("h2", "Scores of the drafts" + (f" ({_count(count, 'study', 'studies')})" if count else "")),
        tag("p", lead, class_="lead"),
        tag("div", *plots, class_="plots"),
        _notes(scores),
        tag(
            "details",
            tag("summary", "All numbers, and how they were made"),
            _scores_table(metrics, baselines),
            _score_facts(scores),
        ),
        id="scores",
    )


def _has_intervals(metrics: Mapping[str, Interval]) -> bool:
    return any(low is not None for _, low, _ in metrics.values())


def _notes(scores: Mapping[str, Any]) -> Html | None:
    notes = [f"{metric_name(name)} is missing: {reason}" for name, reason in (scores.get("unavailable") or {}).items()]
    notes += [str(note) for note in scores.get("notes") or ()]
    for key, meaning in (("without_draft", "without a draft"), ("without_reference", "without a usable reference")):
        if scores.get(key):
            notes.append(f"Left out: {len(scores[key])} {meaning}.")
    return tag("ul", *(tag("li", note) for note in notes), class_="notes") if notes else None


def _scores_table(metrics: Mapping[str, Interval], baselines: Mapping[str, Mapping[str, Interval]]) -> Html:
    columns = {"drafts": metrics, **{_baseline_name(name): values for name, values in baselines.items()}}
    head = tag("tr", tag("th", "Score", scope="col"), *(tag("th", name, scope="col") for name in columns))
    rows = [
        tag(
            "tr",
            tag("th", metric_name(name), scope="row"),
            *(tag("td", *_cell(values.get(name))) for values in columns.values()),
        )
        for name in metrics
    ]
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_="numbers")
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="All scores")


def _cell(interval: Interval | None) -> tuple[str, ...]:
    if interval is None:
        return ("–",)
    value, low, high = interval
    digits = 1 if abs(value) >= 10 else 3
    if low is None or high is None:
        return (number(value, digits),)
    return number(value, digits), tag("small", number(low, digits), "–", number(high, digits))


def _score_facts(scores: Mapping[str, Any]) -> Html:
    rows = [
        (_baseline_name(str(name)), entry["report"])
        for name, entry in (scores.get("baselines") or {}).items()
        if isinstance(entry.get("report"), str)
    ]
    if scores.get("signature"):
        rows.append(("signature", str(scores["signature"])))
    return _definitions(rows)


def _definitions(rows: Iterable[tuple[str, str]]) -> Html:
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", text)) for name, text in rows), class_="facts-list")


def findings_section(table: FindingTable | None) -> Html | None:
    """Micro-F1 beside constants, and a row per finding."""
    if table is None:
        return None
    low, high = table.micro_f1_interval or (None, None)
    lanes = [Lane("drafts", table.micro_f1, low, high, ours=True)]
    lanes += [Lane(readable_name(name), value) for name, value in table.constants.items()]
    plot = dot_plot("Micro-F1 over all findings", lanes)
    head = tag(
        "tr", *(tag("th", name, scope="col") for name in ("Finding", "In references", "Precision", "Recall", "F1"))
    )
    rows = [
        tag(
            "tr",
            tag("th", readable_name(row.name), scope="row"),
            tag("td", number(row.support, 0)),
            *(tag("td", tag("span", bar(share), number(share, 2), class_="share")) for share in _shares(row)),
        )
        for row in table.findings
    ]
    numbers = tag("table", tag("thead", head), tag("tbody", *rows), class_="numbers findings") if rows else None
    lead = "Findings read out of drafts and of references. Gray: the same findings written for every study."
    beside = None
    if numbers is not None:
        beside = tag("div", numbers, class_="scroll", tabindex="0", role="region", aria_label="Scores per finding")
    return tag(
        "section",
        tag("h2", "Findings"),
        tag("div", tag("div", tag("p", lead, class_="lead"), plot), beside, class_="findings-grid"),
        id="findings",
    )


def _shares(row: Any) -> tuple[float | None, float | None, float | None]:
    return row.precision, row.recall, row.f1


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
    return tag("section", tag("h2", "How this was made"), _definitions(rows), id="run") if rows else None


def _clock(seconds: float) -> str:
    if seconds < 60:
        text = f"{seconds:.1f} s"
    else:
        minutes, rest = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        text = f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
    return text.replace(" ", "\u00a0")
