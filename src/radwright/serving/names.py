"""Parts of a patient's identity in a text: names, ids, accession numbers, who referred. Drafts must have none.

Names are compared word by word, upper and lower case and accents aside. A name that is also a word of reports ("Bone",
"Clear", "Young") counts only where it is used as a name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

from radwright.findings.lexicon import SENSES, lexicon
from radwright.serving.records import ReadingStudy

_WORD = re.compile(r"(?:[^\W_]|[\u0300-\u036f])+")
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"})
_UMLAUTS = re.compile("[äöü]")
_TITLES = frozenset(
    {
        *("mr", "mrs", "ms", "miss", "mister", "dr", "doctor", "prof", "professor", "sir", "madam", "named", "name"),
        *("herr", "frau", "monsieur", "madame", "mme", "senor", "senora", "signor", "signora", "md", "phd"),
    }
)
_SENTENCE_ENDS = ".!?:;\n"
_MIN_NAME, _MIN_ID, _MIN_NUMBER = 3, 4, 5


@dataclass(frozen=True, slots=True)
class NamedPart:
    """Where a text holds a part of somebody's identity.

    Attributes:
        field: of the study.
        start, end: in the text.
    """

    field: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Word:
    folded: frozenset[str]
    start: int
    end: int


def names_in(text: str, study: ReadingStudy) -> list[NamedPart]:
    """The parts of the study's identity that stand in a text, in its order.

    Looked for: each word of patient_name and referring_physician (titles and suffixes aside), and patient_id and
    accession as wholes, with or without separators. Ids of fewer than 4 characters, or fewer than 5 digits, are too
    short to tell from measures and years.
    """
    words = [_Word(_folds(match[0]), match.start(), match.end()) for match in _WORD.finditer(text)]
    found: set[NamedPart] = set()
    for field, name in (("patient_name", study.patient_name), ("referring_physician", study.referring_physician)):
        found |= {NamedPart(field, start, end) for start, end in _names(text, words, name)}
    for field, number in (("patient_id", study.patient_id), ("accession", study.accession)):
        found |= {NamedPart(field, start, end) for start, end in _ids(text, number)}
    return sorted(found, key=lambda part: (part.start, part.end, part.field))


def _names(text: str, words: list[_Word], name: str) -> Iterator[tuple[int, int]]:
    parts: set[str] = set()
    for group in name.split("="):
        # The fourth and fifth component are prefix and suffix.
        for match in _WORD.finditer(" ".join(group.split("^")[:3])):
            parts |= _folds(match[0])
        yield from _unspaced(text, group)
    parts = {part for part in parts if part not in _TITLES and len(part) > 1 and not part.isdigit()}
    hits = [bool(word.folded & parts) for word in words]
    for place, word in enumerate(words):
        if not hits[place]:
            continue
        if _is_word(word.folded & parts) and not _is_used_as_name(text, words, hits, place):
            continue
        yield word.start, word.end


def _unspaced(text: str, group: str) -> Iterator[tuple[int, int]]:
    """A name in a script without spaces, family and given name together."""
    whole = "".join(_WORD.findall(" ".join(group.split("^")[:2])))
    if len(whole) < 2 or not all(_has_no_spaces(character) for character in whole):
        return
    for match in re.finditer(re.escape(whole), text):
        yield match.start(), match.end()


def _has_no_spaces(character: str) -> bool:
    return unicodedata.name(character, "").startswith(("CJK UNIFIED", "HIRAGANA", "KATAKANA", "HANGUL", "THAI"))


def _is_word(parts: frozenset[str]) -> bool:
    return all(len(part) < _MIN_NAME or part in _report_words() for part in parts)


def _is_used_as_name(text: str, words: list[_Word], hits: list[bool], place: int) -> bool:
    """Behind a title, beside another part of the name, or with a capital inside a sentence that is not all capitals."""
    word = words[place]
    if place and _is_beside(text, words[place - 1], word):
        if words[place - 1].folded & _TITLES:
            return True
        if hits[place - 1] and not words[place - 1].folded & word.folded:
            return True
    if place + 1 < len(words) and hits[place + 1] and _is_beside(text, word, words[place + 1]):
        return not words[place + 1].folded & word.folded
    before = text[: word.start].rstrip(" \t\"'([")
    written = text[word.start : word.end]
    if not before or before[-1] in _SENTENCE_ENDS or not (written[0].isupper() and written[1:].islower()):
        return False
    previous = text[words[place - 1].start : words[place - 1].end] if place else ""
    return previous.islower()


def _is_beside(text: str, first: _Word, second: _Word) -> bool:
    between = text[first.end : second.start]
    return len(between) <= 2 and not between.strip(" ,.^")


def _ids(text: str, number: str) -> Iterator[tuple[int, int]]:
    runs = re.findall(r"[^\W_]+", number)
    whole = "".join(runs)
    if len(whole) < (_MIN_NUMBER if whole.isdigit() else _MIN_ID) or not any(each.isdigit() for each in whole):
        return
    pattern = r"[-_/. ]?".join(re.escape(run) for run in runs)
    for match in re.finditer(rf"(?<![^\W_]){pattern}(?![^\W_])", text, re.IGNORECASE):
        yield match.start(), match.end()


@cache
def _report_words() -> frozenset[str]:
    """Words that reports use: the reader's lexicon, and those of ``ordinary_words.txt``."""
    text = resources.files("radwright.serving").joinpath("ordinary_words.txt").read_text(encoding="utf-8")
    words = {word for line in text.splitlines() if not line.startswith("#") for word in line.split()}
    nodes = [lexicon().root]
    while nodes:
        for word, node in nodes.pop().items():
            if word != SENSES:
                words.add(word)
                nodes.append(node)
    return frozenset(words)


def _folds(word: str) -> frozenset[str]:
    """The word without case and accents; of umlauts both ways of writing them without."""
    lowered = unicodedata.normalize("NFC", word).casefold()
    plain = lowered.translate(_LETTERS)
    spelt = _UMLAUTS.sub(lambda match: {"ä": "ae", "ö": "oe", "ü": "ue"}[match[0]], plain)
    return frozenset(
        "".join(each for each in unicodedata.normalize("NFKD", form) if not unicodedata.combining(each))
        for form in (plain, spelt)
    )
