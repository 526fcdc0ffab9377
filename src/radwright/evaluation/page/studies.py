"""A row per study: its images, the reference and the draft with their findings marked, and the tools to browse them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from radwright.errors import RadwrightError
from radwright.evaluation.marks import Fact, Kind, Mark, Reading
from radwright.evaluation.page.content import DraftedStudy, Page, PageView
from radwright.evaluation.page.html import Html, join, number, plain, tag
from radwright.evaluation.page.images import data_uri
from radwright.evaluation.page.names import lower_is_better, metric_name
from radwright.findings.ontology import concept

_ERRORS, _SCORE = "errors", "score"
_NUM_IN_HEAD = 4
_FILTERS = {
    "fabricated": "Fabricated",
    "missed": "Missed",
    "side": "Side error",
    "described": "Described otherwise",
    "exact": "Exact",
}
_SIGNS: Mapping[Kind, tuple[str, str]] = {
    Kind.FLIPPED: ("⇄", "contradicted"),
    Kind.FABRICATED: ("✕", "fabricated"),
    Kind.MISSED: ("○", "missed"),
    Kind.SIDE: ("↔", "other side"),
    Kind.DESCRIBED: ("≠", "described otherwise"),
    Kind.IMPRECISE: ("≈", "imprecise"),
    Kind.COMPARISON: ("↺", "comparison without a prior"),
    Kind.OPEN: ("?", "left open"),
    Kind.SUPPORTED: ("✓", "supported"),
    Kind.DENIED: ("−", "denied by both"),
}
_LEGEND: Mapping[Kind, str] = {
    Kind.SUPPORTED: "in both reports",
    Kind.FABRICATED: "only in the draft",
    Kind.MISSED: "only in the reference",
    Kind.FLIPPED: "one asserts, the other denies it",
    Kind.SIDE: "on another side",
    Kind.DESCRIBED: "another zone, size or change",
    Kind.IMPRECISE: "by a broader or kindred name",
    Kind.COMPARISON: "with an earlier examination that there is not",
    Kind.OPEN: "left open by one of them",
    Kind.DENIED: "denied by both",
}


def studies_section(page: Page) -> Html | None:
    """All rows, with the tools to filter, search and sort them (they show where scripts run)."""
    studies = page.studies
    if not studies:
        return None
    keys = _sort_keys(studies)
    classes = sorted(
        {name for study in studies if study.reading for fact in study.reading.facts for name in fact.classes}
    )
    places = {name: place for place, name in enumerate(classes)}
    return tag(
        "section",
        tag("h2", "Drafts, study by study"),
        tag("p", page.shown, class_="lead") if page.shown else None,
        _legend(studies),
        _tools(page, keys, classes),
        tag("div", *(_row(place, study, keys, places) for place, study in enumerate(studies, start=1)), id="rows"),
        tag("p", "No study fits the filter.", id="none", hidden=True),
        id="studies",
    )


def _sort_keys(studies: Iterable[DraftedStudy]) -> dict[str, str]:
    """Key -> name of everything that rows can be sorted by."""
    keys = {}
    if any(study.reading is not None for study in studies):
        keys[_ERRORS] = "wrong findings"
    if any(study.score is not None for study in studies):
        keys[_SCORE] = "log-probability"
    names = dict.fromkeys(name for study in studies for name in study.metrics)
    return keys | {f"metric:{name}": metric_name(name) for name in names}


def _values(study: DraftedStudy) -> dict[str, float]:
    values = {f"metric:{name}": value for name, value in study.metrics.items()}
    if study.reading is not None:
        values[_ERRORS] = study.reading.num_errors
    if study.score is not None:
        values[_SCORE] = study.score
    return values


def _legend(studies: Iterable[DraftedStudy]) -> Html | None:
    shown = {mark.kind for study in studies if (read := study.reading) for mark in (*read.reference, *read.draft)}
    if not shown:
        return None
    entries = [
        tag("span", _marked("comparison" if kind is Kind.COMPARISON else "finding", kind), f" {meaning}")
        for kind, meaning in _LEGEND.items()
        if kind in shown
    ]
    note = (
        "Findings are read by rules out of both reports, and the reference is not all that is in the image: a finding "
        "marked as fabricated can be there. What is left open counts as neither right nor wrong."
    )
    return join([tag("p", *entries, class_="legend"), tag("p", note, class_="legend")])


def _tools(page: Page, keys: Mapping[str, str], classes: Sequence[str]) -> Html:
    studies = page.studies
    total = len(studies)
    flags = [_flags(study.reading) for study in studies]
    filters = [("all", "All", total)]
    if any(study.reading is not None for study in studies):
        filters += [(flag, name, sum(flag in found for found in flags)) for flag, name in _FILTERS.items()]
    choices = [
        tag(
            "label",
            tag("input", type="radio", name="filter", value=value, checked=value == "all"),
            tag("span", f"{name} ", tag("small", str(count))),
        )
        for value, name, count in filters
    ]
    return tag(
        "div",
        tag("fieldset", tag("legend", "Show"), *choices) if len(choices) > 1 else None,
        _class_choice(classes) if classes else None,
        tag("label", tag("span", "Sort by "), _order_choice(page, keys)),
        tag(
            "label",
            tag("span", "Search "),
            tag("input", type="search", id="search", autocomplete="off", placeholder="words or id"),
        ),
        tag("output", f"{total} of {total}", id="count", aria_live="polite"),
        tag(
            "span",
            tag("kbd", "j"),
            tag("kbd", "k"),
            " next, previous · ",
            tag("kbd", "/"),
            " search",
            class_="keys",
        ),
        id="tools",
        role="search",
        aria_label="Filter, search and sort the studies",
        hidden=True,
    )


def _class_choice(classes: Sequence[str]) -> Html:
    options = [tag("option", "any", value="")]
    options += [tag("option", name, value=str(place)) for place, name in enumerate(classes)]
    return tag("label", tag("span", "Finding "), tag("select", *options, id="class"))


def _order_choice(page: Page, keys: Mapping[str, str]) -> Html:
    first = None
    if page.worst_first is not None and f"metric:{page.worst_first}" in keys:
        first = f"metric:{page.worst_first} {'down' if page.worst_first in lower_is_better(page.scores) else 'up'}"
    orders = [tag("option", "order of the run", value="", selected=first is None)]
    for key, name in keys.items():
        for direction, words in (("up", "lowest first"), ("down", "highest first")):
            value = f"{key} {direction}"
            orders.append(tag("option", f"{name}, {words}", value=value, selected=value == first))
    return tag("select", *orders, id="sort")


def _flags(reading: Reading | None) -> list[str]:
    """The filters that a study fits."""
    if reading is None:
        return []
    fits = {
        "fabricated": reading.fabricated,
        "missed": reading.missed,
        "side": reading.of(Kind.SIDE),
        "described": reading.of(Kind.DESCRIBED),
        "exact": reading.exact,
    }
    return [flag for flag in _FILTERS if fits[flag]]


def _class_flags(reading: Reading | None, places: Mapping[str, int]) -> list[str]:
    """``all:3``, ``missed:3``: the filters that a study fits by a finding of class number 3."""
    if reading is None:
        return []
    facts: dict[str, Sequence[Fact]] = {
        "all": reading.facts,
        "fabricated": reading.fabricated,
        "missed": reading.missed,
        "side": reading.of(Kind.SIDE),
        "described": reading.of(Kind.DESCRIBED),
        "exact": reading.facts if reading.exact else (),
    }
    return list(
        dict.fromkeys(
            f"{flag}:{places[name]}" for flag, found in facts.items() for fact in found for name in fact.classes
        )
    )


def _row(place: int, study: DraftedStudy, keys: Mapping[str, str], classes: Mapping[str, int]) -> Html:
    name = f"study-{place}"
    values = _values(study)
    reading = study.reading
    sides = [_report("Draft", study.draft, reading.draft if reading else ())]
    if study.reference is not None:
        sides.insert(0, _report("Reference", study.reference, reading.reference if reading else ()))
    return tag(
        "article",
        tag(
            "header",
            tag("h3", tag("bdi", study.study_id), id=f"{name}-name"),
            _verdict(reading),
            _own_scores(values, keys),
        ),
        tag("div", *(_view(view, study.study_id) for view in study.views), class_="views") if study.views else None,
        tag("div", *sides, _told(study.clues), class_="reports"),
        _facts(reading),
        id=name,
        class_="study" if study.views else "study without-views",
        tabindex="0",
        aria_labelledby=f"{name}-name",
        data_flags=" ".join([*_flags(reading), *_class_flags(reading, classes)]),
        data_values=" ".join(plain(values[key]) if key in values else "-" for key in keys),
    )


def _verdict(reading: Reading | None) -> Html | None:
    if reading is None:
        return None
    if reading.exact:
        text = "exact findings" if reading.facts else "exact: no finding in either report"
        return tag("p", tag("span", f"✓ {text}", class_="tag supported"), class_="verdict")
    counts = [(kind, len(reading.of(kind))) for kind in _SIGNS if kind not in {Kind.SUPPORTED, Kind.DENIED}]
    counts.append((Kind.COMPARISON, reading.num_comparisons))
    tags = [
        tag("span", f"{sign} {count} {word}", class_=f"tag {kind}")
        for kind, count in counts
        if count
        for sign, word in [_SIGNS[kind]]
    ]
    return tag("p", *tags, class_="verdict")


def _own_scores(values: Mapping[str, float], keys: Mapping[str, str]) -> Html | None:
    shown = [
        tag("span", f"{name} ", number(values[key], 1 if key == _SCORE or abs(values[key]) >= 10 else 2))
        for key, name in keys.items()
        if key in values and key != _ERRORS
    ][:_NUM_IN_HEAD]
    return tag("p", *shown, class_="own-scores") if shown else None


def _view(view: PageView, study_id: str) -> Html:
    try:
        uri, width, height = data_uri(view)
    except (RadwrightError, OSError, ValueError) as error:
        picture = tag("span", f"The image cannot be shown: {error}", class_="no-image")
    else:
        picture = tag(
            "img",
            src=uri,
            width=str(width),
            height=str(height),
            alt=f"{view.position} radiograph of {study_id}",
            decoding="async",
            loading="lazy",
        )
    return tag("figure", picture, tag("figcaption", view.position))


def _report(title: str, text: str, marks: Sequence[Mark]) -> Html:
    if not text.strip():
        body = tag("p", "The text is empty.", class_="empty")
    else:
        body = tag("p", *_pieces(text, marks), dir="auto", class_="text")
    return tag("div", tag("h4", title), body, class_=f"report {title.lower()}")


def _pieces(text: str, marks: Iterable[Mark]) -> Iterator[str]:
    """The text, its marked words as elements; nothing of it is lost or moved."""
    end = 0
    for mark in marks:
        yield text[end : mark.start]
        yield _marked(text[mark.start : mark.end], mark.kind, mark.notes)
        end = mark.end
    yield text[end:]


def _marked(words: str, kind: Kind, notes: Sequence[str] = ()) -> Html:
    """Marked words: a sign and a line drawn by the style, and the judgement for those who do not see them."""
    spoken = f"[{_SIGNS[kind][1]}] "
    return tag("mark", tag("span", spoken, class_="spoken"), words, class_=kind.value, title="\n".join(notes) or None)


def _told(clues: Mapping[str, float] | None) -> Html | None:
    """The clues that the draft was written from, the surest first."""
    if clues is None:
        return None
    surest = sorted(clues.items(), key=lambda clue: (-clue[1], clue[0]))
    said = [tag("span", f"{name} ", number(probability, 2)) for name, probability in surest]
    return tag("p", "Clues told: ", *(said or [tag("span", "none")]), class_="told")


def _facts(reading: Reading | None) -> Html | None:
    """The findings by name, the gravest first."""
    if reading is None or not reading.facts:
        return None
    groups = []
    for kind, (sign, word) in _SIGNS.items():
        if found := reading.of(kind):
            title = tag("dt", f"{sign} {word.capitalize()}")
            groups.append(tag("div", title, *(tag("dd", _said(fact)) for fact in found), class_=kind.value))
    return tag("dl", *groups, class_="facts")


def _said(fact: Fact) -> Html:
    """``effusion`` with what the reports say of it: one text, or the reference's → the draft's."""
    if fact.kind is Kind.IMPRECISE:
        details = " in the draft" if fact.asserted else " in the reference"
    elif fact.kind in {Kind.FLIPPED, Kind.SIDE, Kind.DESCRIBED, Kind.OPEN}:
        details = f" {fact.reference or 'asserted'} → {fact.draft or 'asserted'}"
    else:
        details = f" {fact.draft if fact.asserted else fact.reference}".rstrip()
    return join([concept(fact.concept).name, tag("small", details) if details else None])
