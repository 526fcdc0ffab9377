"""Report text -> sentences of words with offsets, and the lexicon's phrases in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from radwright.findings.lexicon import SENSES, Kind, Node, Sense

# A blank line, or a line that starts with a bullet or a number, ends a sentence; other line breaks only wrap it.
_TOKEN = re.compile(r"[a-z]+\d*|\d+(?:[.,]\d+)*|_{2,}|[.,;:?!()/]|\n[ \t]*(?:\n|(?=[-*•]\s)|(?=\d{1,2}[.)]\s))")
_GAP = re.compile(r"x{3,}|_{2,}")
GAP = "xxxx"
_ABBREVIATIONS = frozenset({"dr", "drs", "mr", "mrs", "ms", "vs", "approx", "cf"})
MAX_WORDS = 160
"""A sentence is cut here, so that a text without periods costs no more than others."""
_ENDS = frozenset({"!", ";"})


# Headings of sections that say something of the images, and of those that do not.
_HEADINGS = frozenset(
    {"findings", "finding", "impression", "impressions", "conclusion", "conclusions", "report", "opinion"}
)
_BACKGROUND = frozenset({"history", "indication", "indications", "technique", "comparison", "comparisons", "procedure"})


class Word(NamedTuple):
    """A word, number or mark of a sentence, in lower case, and where it stands in the text."""

    text: str
    start: int
    end: int


class Phrase(NamedTuple):
    """A phrase of the lexicon in a sentence: one of its senses, and its words ``first`` .. ``last`` (inclusive)."""

    kind: Kind
    value: str
    first: int
    last: int


_COMMA = Sense(Kind.COMMA, "")
_MARKS = {",": _COMMA, "(": _COMMA, ")": _COMMA, "/": Sense(Kind.OR, "or"), "?": Sense(Kind.QUESTION, "")}


def split_words(text: str) -> list[list[Word]]:
    """The words of every sentence; sentences without a letter are joined to the next one.

    Sections on history, indication, technique and comparison are left out where the report has headings for others too.
    A period ends a sentence unless it belongs to a number, an abbreviation or initials, or follows a list's number.
    """
    lowered = text.lower()
    if len(lowered) != len(text):
        lowered = "".join(small if len(small := character.lower()) == 1 else character for character in text)
    sentences: list[list[Word]] = []
    words: list[Word] = []
    lettered = background = False
    for match in _TOKEN.finditer(lowered):
        token, start = match[0], match.start()
        first = token[0]
        if first in ".\n" or token in _ENDS:
            if lettered and (first != "." or _ends_sentence(words, lowered, start)):
                if not background:
                    sentences.append(words)
                words, lettered = [], False
            continue
        if first == ":" and lettered and (words[-1].text in _HEADINGS or words[-1].text in _BACKGROUND):
            heading = words.pop()
            if not background and any(word.text[0].isalpha() for word in words):
                sentences.append(words)
            words, lettered = [], False
            background = heading.text in _BACKGROUND and any(f"{name}:" in lowered for name in _HEADINGS)
            continue
        if len(words) >= MAX_WORDS:
            if not background:
                sentences.append(words)
            words, lettered = [], False
        if first == "x" or first == "_":
            token = GAP if _GAP.fullmatch(token) else token
        lettered = lettered or first.isalpha()
        words.append(Word(token, start, match.end()))
        if first == "?" and lettered and start and lowered[start - 1].isalnum():
            if not background:
                sentences.append(words)
            words, lettered = [], False
    if lettered and not background:
        sentences.append(words)
    return sentences


def _ends_sentence(words: list[Word], text: str, place: int) -> bool:
    last = words[-1]
    if last.end != place:
        return True
    if last.text in _ABBREVIATIONS:
        return False
    following = text[place + 1 : place + 2]
    return not (len(last.text) == 1 and last.text.isalpha() and following.isalpha())


def find_phrases(words: list[Word], root: Node) -> Iterator[Phrase]:
    """The longest phrases from left to right, each with all its senses; marks that structure a sentence as well."""
    index, count = 0, len(words)
    while index < count:
        text = words[index].text
        node = root.get(text)
        if node is None:
            if text in _MARKS:
                yield Phrase(*_MARKS[text], index, index)
            index += 1
            continue
        senses, last = node.get(SENSES), index
        place = index + 1
        while place < count and (node := node.get(words[place].text)) is not None:
            if SENSES in node:
                senses, last = node[SENSES], place
            place += 1
        if senses:
            for kind, value in senses:
                yield Phrase(kind, value, index, last)
        index = last + 1
