"""HTML that cannot be injected into: every text is escaped on its way into an element, by construction."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable

# Control characters and lone surrogates have no place in a page; bidirectional overrides could reorder its text.
_NOT_SHOWN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_VOID = frozenset({"br", "img", "input", "link", "meta"})

Value = str | float | bool | None


class Html(str):
    """Markup made by this module; anything else is text and gets escaped."""

    __slots__ = ()


def escape(text: str) -> Html:
    """Text as markup: ``<script>`` shows as ``<script>``, characters that cannot be shown become U+FFFD."""
    return Html(html.escape(_NOT_SHOWN.sub("\ufffd", text), quote=True))


def tag(name: str, /, *children: str | None, **attributes: Value) -> Html:
    """An element.

    Args:
        name: element name.
        children: markup, or texts to escape; None is left out.
        attributes: ``class_`` is ``class``, other underscores are hyphens. None and False leave the attribute out,
            True gives it no value.
    """
    pieces = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.removesuffix("_").replace("_", "-")
        pieces.append(key if value is True else f'{key}="{escape(value if isinstance(value, str) else plain(value))}"')
    opening = "<" + " ".join(pieces) + ">"
    return Html(opening if name in _VOID else f"{opening}{join(children)}</{name}>")


def join(children: Iterable[str | None]) -> Html:
    """Children after one another."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children if child is not None))


def plain(value: float) -> str:
    """A number in full: reading it back gives the same number."""
    return repr(value) if isinstance(value, int) else repr(float(value))


def number(value: float | None, digits: int = 3) -> Html:
    """A rounded number that carries its full value in ``data[value]``; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return Html("–")
    text = f"{value:.{digits}f}"
    if not text.strip("-0."):
        text = text.lstrip("-")
    return tag("data", text.replace("-", "\u2212"), value=plain(value))
