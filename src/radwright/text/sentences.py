"""Where the sentences of a report end, as written or cleaned: what may be cut off behind a whole sentence."""

from __future__ import annotations

import re

from radwright.text.cleaning import ABBREVIATIONS

_WORD = re.compile(r"\S+")
_CLOSING, _OPENING, _MARKS = ")]\"'”’", "([\"'“‘", ".?!"
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")
_NUMBERING = re.compile(r"\d{1,2}")


def sentence_ends(text: str) -> list[int]:
    """Places just behind the text's sentences, ascending; a last one without a period has none.

    A period ends no sentence inside a number, after an abbreviation (``dr.``, ``vs.``), after a list's number at a
    sentence's beginning (``1.``), and after initials (``p.m.``) unless a capital follows.
    """
    words = list(_WORD.finditer(text))
    ends: list[int] = []
    is_first = True
    for place, match in enumerate(words):
        marked = match[0].rstrip(_CLOSING)
        bare = marked.rstrip(_MARKS)
        following = words[place + 1][0] if place + 1 < len(words) else ""
        if len(bare) == len(marked) or (marked[-1] == "." and _is_inner(bare.lstrip(_OPENING), following, is_first)):
            is_first = False
            continue
        ends.append(match.end())
        is_first = True
    return ends


def _is_inner(word: str, following: str, is_first: bool) -> bool:
    """Whether the period behind ``word`` belongs to it."""
    if is_first and _NUMBERING.fullmatch(word):
        return True
    if _INITIALS.fullmatch(word):
        return bool(following) and not following.lstrip(_OPENING)[:1].isupper()
    return word.lower() in ABBREVIATIONS
