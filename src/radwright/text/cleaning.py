"""Report text -> cleaned text: lower-case words with a sentence's end as the word ``.``, and back to readable prose.

``clean_report`` is ours and the default; ``clean_r2gen_iu`` and ``clean_r2gen_mimic`` are the R2Gen family's, as
released, needed to stand beside published tables.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping

from radwright.errors import ConfigError, near

GAP_WORD = "xxxx"
"""What a de-identification gap (``XXXX``, ``___``, ``[**...**]``) becomes, one for each gap."""

_HYPHENS = re.compile("[\u2010-\u2013\u2212]")
_DELETED = re.compile("['`\u2018\u2019\u00ad\u200b]")
_PARAGRAPH = re.compile(r"\n\s*\n")
_BRACKETED_GAP = re.compile(r"\[\*\*[^\[\]]{0,200}\*\*\]")
# "p.m." -> "pm"; whether its last dot also ends the sentence shows in the case of what follows.
_INITIALS = re.compile(r"(?<![^\W_.])((?:[^\W\d_]\.)+[^\W\d_])(?![^\W_])(\.?)(?=\s*(\S?))")
_NEVER_LAST = {"eg", "ie"}
_ITEM_NUMBER = re.compile(r"(^|[.?!;:\n])\s*\(?\d{1,2}\)(?=\s)")
_LEADING_POINT = re.compile(r"(?:(?<=\s)|^)\.(?=\d)")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_SINGLE_SLASH = re.compile(r"(?<![^\W_])([^\W\d_])/([^\W\d_])(?![^\W_])")
_EXCLAIMED = re.compile(r"(?<=\w)[?!]+(?=\s|$)")
_LOOSE_PERCENT = re.compile(r"(?<=\d)[ \t]+%")
_BELOW = re.compile(r"<\s*(?=\d)")
_ABOVE = re.compile(r">\s*(?=\d)")
_UNDERSCORES = (
    (re.compile(r"(?<=[^\W_])_{2,}"), f" {GAP_WORD}"),
    (re.compile(r"(?<!_)_{2,}(?=[^\W_])"), f"{GAP_WORD} "),
    (re.compile(r"_{2,}"), GAP_WORD),
)
_CROSSES = re.compile(r"(?<![^\W_])x{3,}(?![^\W_])")
_TOKEN = re.compile(r"[^\W_]+(?:(?:-|(?<=\d)\.(?=\d))[^\W_]+)*(?:(?<=\d)%)?|\.")
ABBREVIATIONS = {"dr", "drs", "mr", "mrs", "ms", "prof", "vs", "approx", "cf", "incl"}
_NUMBERING = re.compile(r"\d{1,2}")


def clean_report(text: str) -> str:
    """Our cleaning: lower-case words separated by one space, each sentence closed by the word ``.``.

    - A decimal (``3.5``), a hyphenated word and a percentage stay one word; other punctuation is dropped.
    - ``1.`` or ``(1)`` at the start of a sentence is numbering and goes; ``dr.``, ``vs.``, ``p.m.`` end no sentence.
    - Every de-identification gap is the one word ``xxxx``; a sentence of nothing but gaps goes, so that a report of
      nothing but gaps is the empty text.

    Cleaned text, and ``readable`` of it, clean to themselves (tested).
    """
    words: list[str] = []
    for sentence in _sentences(_TOKEN.findall(_prepare(text))):
        if not _says_nothing(sentence):
            words += [*sentence, "."]
    return " ".join(words)


def is_empty_report(text: str) -> bool:
    """Whether nothing is left of a report but gaps, numbering and punctuation."""
    return not clean_report(text)


def clean_r2gen_iu(text: str) -> str:
    """R2Gen's cleaning of IU X-Ray reports, as released (its traps too: it is not idempotent, ``3.5`` becomes ``35``,
    and empty sentences stay).
    """
    for _ in range(3):
        text = text.replace("..", ".")
    text = text.replace("1. ", "")
    for before in (". ", " "):
        for number in "2345":
            text = text.replace(f"{before}{number}. ", ". ")
    sentences = text.strip().lower().split(". ")
    return " . ".join(map(_clean_r2gen_sentence, sentences)) + " ."


def clean_r2gen_mimic(text: str) -> str:
    """R2Gen's cleaning of MIMIC-CXR reports, as released: white space, underscores and dots first, then as for IU."""
    text = text.replace("\n", " ")
    for doubled, times in (("__", 7), ("  ", 6), ("..", 8)):
        for _ in range(times):
            text = text.replace(doubled, doubled[0])
    return clean_r2gen_iu(text)


def clean_raw(text: str) -> str:
    """White-space split, nothing else: the text as given."""
    return text


CLEANERS: Mapping[str, Callable[[str], str]] = {
    "report": clean_report,
    "r2gen-iu": clean_r2gen_iu,
    "r2gen-mimic": clean_r2gen_mimic,
    "raw": clean_raw,
}
"""Cleaning name -> function; a tokenizer and a scoring convention store the name."""


def cleaner(name: str) -> Callable[[str], str]:
    """The cleaning function called ``name``.

    Raises:
        ConfigError: there is no such cleaning; the message lists the known ones.
    """
    try:
        return CLEANERS[name]
    except KeyError:
        raise ConfigError(f"unknown cleaning {name!r}{near(name, CLEANERS)}; known: {', '.join(CLEANERS)}") from None


def readable(tokens_text: str) -> str:
    """Cleaned text as prose: ``heart size normal . lungs clear .`` -> ``Heart size normal. Lungs clear.``

    Gaps show as ``XXXX``. Doubled or leading ``.`` words are dropped.
    """
    sentences = _sentences(tokens_text.split(), abbreviations=False)
    return " ".join(_capitalised(" ".join(_CROSSES.sub(_shouted, word) for word in words)) + "." for words in sentences)


def _prepare(text: str) -> str:
    """Unify characters, and settle every mark whose reading needs its neighbours, before the text is cut into words."""
    text = _PARAGRAPH.sub(" . ", _BRACKETED_GAP.sub(f" {GAP_WORD} ", _unify(text)))
    text = _INITIALS.sub(_join_initials, _ITEM_NUMBER.sub(r"\1 ", text))
    text = _LEADING_POINT.sub("0.", _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)).lower()
    if not text.isascii():
        text = _unify(text)
    text = _EXCLAIMED.sub(" . ", _SINGLE_SLASH.sub(r"\1\2", text)).replace("&", " and ")
    text = _LOOSE_PERCENT.sub("%", _ABOVE.sub(" greater than ", _BELOW.sub(" less than ", text)))
    if "__" in text:
        for pattern, replacement in _UNDERSCORES:
            text = pattern.sub(replacement, text)
    return _CROSSES.sub(GAP_WORD, text)


def _unify(text: str) -> str:
    """One code point for what looks alike (NFKC, plain hyphens), apostrophes deleted; stable under itself."""
    if text.isascii():
        return _DELETED.sub("", text)
    previous = None
    while text != previous:  # deleting a character can bring two together that compose, so once is not enough
        previous = text
        text = _DELETED.sub("", _HYPHENS.sub("-", unicodedata.normalize("NFKC", text)))
    return text


def _join_initials(match: re.Match[str]) -> str:
    joined = match[1].replace(".", "")
    ends = match[2] and match[3].isupper() and joined.lower() not in _NEVER_LAST
    return f"{joined} . " if ends else f"{joined} "


def _sentences(words: list[str], *, abbreviations: bool = True) -> Iterator[list[str]]:
    """Cut at ``.``, but not after an abbreviation; empty sentences are left out."""
    sentence: list[str] = []
    for word in words:
        if word != ".":
            sentence.append(word)
        elif sentence and not (abbreviations and sentence[-1] in ABBREVIATIONS):
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def _says_nothing(sentence: list[str]) -> bool:
    if len(sentence) == 1 and _NUMBERING.fullmatch(sentence[0]):
        return True
    return all(part == GAP_WORD for word in sentence for part in word.split("-"))


# The released pattern's "+():-\[" is a range from ":" to "[", so upper-case letters and "@" go too; "-" stays.
_R2GEN_DELETED = {ord(character): None for character in "\"/\\'"}
_R2GEN_SENTENCE = {ord(character): None for character in ".,?;*!%^&_+(){}]"} | dict.fromkeys(
    range(ord(":"), ord("[") + 1)
)


def _clean_r2gen_sentence(sentence: str) -> str:
    return sentence.translate(_R2GEN_DELETED).strip().lower().translate(_R2GEN_SENTENCE)


def _shouted(match: re.Match[str]) -> str:
    return match[0].upper()


def _capitalised(sentence: str) -> str:
    """First letter in upper case where that can be undone (``ß`` becomes two letters, so it stays)."""
    first = sentence[0].upper()
    return first + sentence[1:] if first.lower() == sentence[0] else sentence
