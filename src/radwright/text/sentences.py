"""Where the sentences of a report end, as written or cleaned, and which of its tokens are theirs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from radwright.text.cleaning import ABBREVIATIONS
from radwright.types import Tokenizer

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


@dataclass(frozen=True, slots=True)
class TokenSentence:
    """One sentence of a text, as a place among its tokens.

    Attributes:
        text: as it stands in the text, without the white space around it.
        start, stop: its tokens, ``token_ids[start:stop]`` of the ids without BOS and EOS.
    """

    text: str
    start: int
    stop: int


def cut_tokens(token_ids: Sequence[int], tokenizer: Tokenizer) -> tuple[TokenSentence, ...]:
    """The sentences of a text, in order; together they hold every token once.

    Args:
        token_ids: without BOS and EOS.
        tokenizer: that made them.
    """
    ids = list(token_ids)
    text = tokenizer.decode(ids)
    ends = sentence_ends(text)
    if not ends or text[ends[-1] :].strip():
        ends.append(len(text))
    # A token belongs to the sentence in which the text stands once it is written.
    reached = [len(tokenizer.decode(ids[: count + 1])) for count in range(len(ids))]
    sentences: list[TokenSentence] = []
    begin = start = 0
    for number, end in enumerate(ends):
        is_last = number == len(ends) - 1
        stop = len(ids) if is_last else next((at for at, length in enumerate(reached) if length > end), len(ids))
        if stop > start:
            sentences.append(TokenSentence(text[begin:end].strip(), start, stop))
            begin, start = end, stop
    return tuple(sentences)
