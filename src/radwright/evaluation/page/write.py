"""Puts the page together and writes it; its policy lets in only its own style and script, by their hashes."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from importlib.resources import files
from pathlib import Path

from radwright.data.files import write_text
from radwright.errors import ScoringError
from radwright.evaluation.page.content import Page
from radwright.evaluation.page.faithfulness import clues_section, oracle_alarm
from radwright.evaluation.page.groups import groups_section
from radwright.evaluation.page.html import Html, join, tag
from radwright.evaluation.page.sections import (
    WARNING,
    alarm,
    at_a_glance,
    curve_section,
    findings_section,
    heading,
    run_section,
    scores_section,
    silence_alarm,
)
from radwright.evaluation.page.studies import studies_section
from radwright.evaluation.page.variety import Variety
from radwright.evaluation.reports import name_some


def write_page(path: Path, page: Page) -> None:
    """Write the page as one HTML file; folders above it are made, and a kill leaves no half page.

    Raises:
        ScoringError: a study is given twice.
        OutputError: the file cannot be written.
    """
    write_text(path, render_page(page))


def render_page(page: Page) -> str:
    """The page's HTML; the same page gives the same text.

    Raises:
        ScoringError: a study is given twice.
    """
    _check(page)
    variety = Variety.scored(page.scores) or (Variety.of(page.studies) if page.studies else None)
    parts = {
        "scores": scores_section(page),
        "findings": findings_section(page),
        "clues": clues_section(page.scores),
        "groups": groups_section(page),
        "training": curve_section(page.curve),
        "run": run_section(page),
        "studies": studies_section(page),
    }
    has_studies = parts["studies"] is not None
    body = [
        tag("a", "Skip to the studies", href="#studies", class_="skip") if has_studies else None,
        heading(page, parts),
        tag(
            "main",
            oracle_alarm(page.scores),
            alarm(variety),
            silence_alarm(page.scores),
            at_a_glance(page, variety),
            *parts.values(),
        ),
        tag("footer", WARNING),
        tag("dialog", id="viewer", aria_label="Enlarged image") if has_studies else None,
    ]
    return document(page.title, join(body), script=own_file("page.js"))


def document(title: str, body: Html, *, script: Html | None = None) -> str:
    """A whole HTML file with the pages' style, whose policy lets in nothing but that style and ``script``."""
    style = own_file("page.css")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script or Html())),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        tag("style", style),
    )
    whole = tag("body", body, None if script is None else tag("script", script))
    return f"<!doctype html>\n{tag('html', head, whole, lang='en')}\n"


def _check(page: Page) -> None:
    twice = [study_id for study_id, count in Counter(study.study_id for study in page.studies).items() if count > 1]
    if twice:
        raise ScoringError(f"the page: {name_some(twice, 'study')} given more than once; leave the copies out")


def own_file(name: str) -> Html:
    """The page's own style or script; both are read as raw text by browsers, so neither may end its element."""
    text = files("radwright.evaluation.page").joinpath(name).read_text(encoding="utf-8")
    assert "</" not in text, name
    return Html(f"\n{text}")


def _policy(style: Html, script: Html) -> str:
    def source(text: Html) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; img-src data:; style-src {source(style)}; script-src {source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
