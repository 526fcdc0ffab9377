"""A row per study: its images, the reference and the draft side by side, and what the draft got right and wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from radwright.errors import RadwrightError
from radwright.evaluation.page.compare import FindingFacts, Sentence, compare_sentences
from radwright.evaluation.page.content import DraftedStudy, PageView
from radwright.evaluation.page.html import Html, join, number, plain, tag
from radwright.evaluation.page.images import data_uri
from radwright.evaluation.page.sections import metric_name, readable_name

_F1, _SCORE = "f1", "score"
_FILTERS = {"fabricated": "Fabricated", "missed": "Missed", "described": "Described otherwise", "exact": "Exact"}
"""Attribute of FindingFacts -> the name of its filter."""


def studies_section(studies: Sequence[DraftedStudy], facts: Sequence[FindingFacts | None]) -> Html | None:
    """All rows, with the tools to filter, search and sort them (they show where scripts run)."""
    if not studies:
        return None
    keys = _sort_keys(studies, facts)
    rows = [
        _row(place, study, found, keys)
        for place, (study, found) in enumerate(zip(studies, facts, strict=True), start=1)
    ]
    return tag(
        "section",
        tag("h2", "Drafts, study by study"),
        _legend(studies, facts),
        _tools(len(studies), keys, facts),
        tag("div", *rows, id="rows"),
        tag("p", "No study fits the filter.", id="none", hidden=True),
        id="studies",
    )


def _sort_keys(studies: Iterable[DraftedStudy], facts: Iterable[FindingFacts | None]) -> dict[str, str]:
    """Key -> name of everything that rows can be sorted by."""
    keys = {}
    if any(found is not None for found in facts):
        keys[_F1] = "findings F1"
    if any(study.score is not None for study in studies):
        keys[_SCORE] = "log-probability"
    names = dict.fromkeys(name for study in studies for name in study.metrics)
    return keys | {f"metric:{name}": metric_name(name) for name in names}


def _values(study: DraftedStudy, found: FindingFacts | None) -> dict[str, float]:
    values = {f"metric:{name}": value for name, value in study.metrics.items()}
    if found is not None:
        values[_F1] = found.f1
    if study.score is not None:
        values[_SCORE] = study.score
    return values


def _legend(studies: Iterable[DraftedStudy], facts: Iterable[FindingFacts | None]) -> Html | None:
    entries = []
    if any(study.reference is not None for study in studies):
        entries += [
            tag("span", tag("span", "Sentence", class_="same"), " of the draft that is also in the reference"),
            tag("span", tag("mark", "Sentence", class_="new"), " of the draft that is not in the reference"),
            tag("span", tag("mark", "Sentence", class_="absent"), " of the reference that is not in the draft"),
            tag("span", tag("mark", tag("b", "words"), class_="new"), " that differ from the nearest sentence"),
        ]
    if any(found is not None for found in facts):
        entries.append(
            tag("span", "Findings are compared by meaning, sentences word for word: other words can be right.")
        )
    return tag("p", *entries, class_="legend") if entries else None


def _tools(total: int, keys: Mapping[str, str], facts: Sequence[FindingFacts | None]) -> Html:
    filters = [("all", "All", total)]
    known = [found for found in facts if found is not None]
    if known:
        filters += [(flag, name, sum(flag in _flags(found) for found in known)) for flag, name in _FILTERS.items()]
    choices = [
        tag(
            "label",
            tag("input", type="radio", name="filter", value=value, checked=value == "all"),
            tag("span", f"{name} ", tag("small", str(count))),
        )
        for value, name, count in filters
    ]
    orders = [tag("option", "order of the run", value="")]
    for key, name in keys.items():
        orders.append(tag("option", f"{name}, lowest first", value=f"{key} up"))
        orders.append(tag("option", f"{name}, highest first", value=f"{key} down"))
    return tag(
        "div",
        tag("fieldset", tag("legend", "Show"), *choices) if len(choices) > 1 else None,
        tag(
            "label",
            tag("span", "Search "),
            tag("input", type="search", id="search", autocomplete="off", placeholder="words or id"),
        ),
        tag("label", tag("span", "Sort by "), tag("select", *orders, id="sort")),
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


def _flags(found: FindingFacts | None) -> list[str]:
    return [flag for flag in _FILTERS if found is not None and getattr(found, flag)]


def _row(place: int, study: DraftedStudy, found: FindingFacts | None, keys: Mapping[str, str]) -> Html:
    name = f"study-{place}"
    values = _values(study, found)
    draft = compare_sentences(study.draft, study.reference)
    sides = [_report("Draft", study.draft, draft, "new")]
    if study.reference is not None:
        sides.insert(
            0, _report("Reference", study.reference, compare_sentences(study.reference, study.draft), "absent")
        )
    return tag(
        "article",
        tag(
            "header",
            tag("h3", tag("bdi", study.study_id), id=f"{name}-name"),
            _verdict(found),
            _own_scores(values, keys),
        ),
        tag("div", *(_view(view, study.study_id) for view in study.views), class_="views") if study.views else None,
        tag("div", *sides, class_="reports"),
        _facts(found),
        id=name,
        class_="study" if study.views else "study without-views",
        tabindex="0",
        aria_labelledby=f"{name}-name",
        data_flags=" ".join(_flags(found)),
        data_values=" ".join(plain(values[key]) if key in values else "-" for key in keys),
    )


def _verdict(found: FindingFacts | None) -> Html | None:
    if found is None:
        return None
    if found.exact:
        text = "exact findings" if found.right else "exact: no finding in either report"
        return tag("p", tag("span", f"✓ {text}", class_="tag right"), class_="verdict")
    counts = (
        ("right", "✓", "right", len(found.right)),
        ("described", "≠", "described otherwise", len(found.described)),
        ("missed", "○", "missed", len(found.missed)),
        ("fabricated", "✕", "fabricated", len(found.fabricated)),
    )
    tags = [tag("span", f"{sign} {count} {word}", class_=f"tag {kind}") for kind, sign, word, count in counts if count]
    return tag("p", *tags, class_="verdict")


def _own_scores(values: Mapping[str, float], keys: Mapping[str, str]) -> Html | None:
    shown = [
        tag("span", f"{name} ", number(values[key], 1 if key == _SCORE or abs(values[key]) >= 10 else 2))
        for key, name in keys.items()
        if key in values
    ]
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
        )
    return tag("figure", picture, tag("figcaption", view.position))


def _report(title: str, text: str, sentences: Sequence[Sentence], mark: str) -> Html:
    compared = [sentence for sentence in sentences if sentence.shared is not None]
    shared = sum(bool(sentence.shared) for sentence in compared)
    other = "draft" if title == "Reference" else "reference"
    note = f"{shared} of {len(compared)} sentences also in the {other}" if compared else None
    lines: list[list[Html]] = []
    for sentence in sentences:
        if sentence.starts_line or not lines:
            lines.append([])
        lines[-1].append(_sentence(sentence, mark))
    body = [tag("p", join(_spaced(line)), dir="auto") for line in lines]
    if not text.strip():
        body = [tag("p", "The text is empty.", class_="empty")]
    return tag("div", tag("h4", title, tag("small", note) if note else None), *body, class_=f"report {title.lower()}")


def _spaced(parts: Sequence[Html]) -> Iterable[str]:
    for place, part in enumerate(parts):
        if place:
            yield " "
        yield part


def _sentence(sentence: Sentence, mark: str) -> Html:
    pieces = [tag("b", text) if differs else tag("span", text) for text, differs in sentence.pieces]
    inner = join(_spaced(pieces)) if len(pieces) > 1 else join(text for text, _ in sentence.pieces)
    if sentence.shared is None:
        return inner
    return tag("span", inner, class_="same") if sentence.shared else tag("mark", inner, class_=mark)


def _facts(found: FindingFacts | None) -> Html | None:
    """The findings by name: what was right, described otherwise, missed, fabricated."""
    if found is None:
        return None
    groups = (
        ("fabricated", "✕ Fabricated", [_said(name, said) for name, said in found.fabricated]),
        ("missed", "○ Missed", [_said(name, said) for name, said in found.missed]),
        ("described", "≠ Described otherwise", [_otherwise(*entry) for entry in found.described]),
        ("right", "✓ Right", [_said(name, said) for name, said in found.right]),
    )
    shown = [
        tag("div", tag("dt", title), *(tag("dd", finding) for finding in findings), class_=kind)
        for kind, title, findings in groups
        if findings
    ]
    return tag("dl", *shown, class_="facts") if shown else None


def _said(name: str, said: str) -> Html:
    return join([readable_name(name), tag("small", f" {said}") if said else None])


def _otherwise(name: str, reference: str, draft: str) -> Html:
    said = f" {reference or 'no details'} → {draft or 'no details'}"
    return join([readable_name(name), tag("small", said)])
