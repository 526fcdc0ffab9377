"""METEOR's words and alignment written plainly, text by text and path by path: what the fast forms must equal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from radwright.metrics import meteor

BEAM = 40
_RANK = itemgetter(0)
EXACT, STEM = 0, 1


class Match(NamedTuple):
    """Word ``draft`` of the draft matches word ``reference`` of the reference; ``module`` is EXACT or STEM."""

    draft: int
    reference: int
    module: int


_Link = tuple[Match, Any] | None
_Path = tuple[int, int, int, _Link]
"""A partial alignment, reference words read from left to right; a plain tuple because thousands are made per pair.

0 rank: what paths are sorted by, fewer is better: matches first, then chunks, then distance.
1 used: bit set of draft words already matched.
2 end: draft index after the last match, or -1 when the last reference word was skipped.
3 last: the matches as a linked list, latest first.
"""

# A rank packs three numbers into one integer, distance lowest, so that sorting compares once.
_CHUNK = 1 << 40
_EXACT_MATCH = -(1 << 80)


def align(draft: Sequence[str], reference: Sequence[str], stems: dict[str, str]) -> list[Match]:
    """The alignment with the most exact matches, then the fewest chunks, then the least distance that the beam finds.

    As released, a stem match counts for nothing while paths are compared (0.5 is added to a whole number), and the
    distance of a match is charged to the paths that leave it out.

    Args:
        draft: words.
        reference: words.
        stems: word -> stem for every word of both.

    Returns:
        One-to-one matches in the order of the reference's words.
    """
    candidates = _candidates(draft, reference, stems)
    fixed = _fixed(candidates)
    used = 0
    for match in fixed.values():
        used |= 1 << match.draft
    paths: list[_Path] = [(0, used, -1, None)]
    for position, matches in enumerate(candidates):
        if position in fixed:
            paths = [_take(path, fixed[position]) for path in paths]
        elif matches:
            paths = _branch(paths, matches)
        else:
            paths = [_skip(path) for path in paths]
        if len(paths) > 1:
            paths.sort(key=_RANK)
            del paths[BEAM:]
    # The last open chunk is closed before the final comparison.
    best = min((_skip(path) for path in paths), key=_RANK)
    return _unroll(best)


def count_chunks(matches: Sequence[Match]) -> int:
    """Runs of matches that are adjacent and in the same order on both sides."""
    chunks = 0
    previous: Match | None = None
    for match in matches:
        if previous is None or (match.draft, match.reference) != (previous.draft + 1, previous.reference + 1):
            chunks += 1
        previous = match
    return chunks


def _candidates(draft: Sequence[str], reference: Sequence[str], stems: dict[str, str]) -> list[list[Match]]:
    """Per reference word its possible matches: exact ones first, then stems of different words, unless all is equal."""
    places: dict[str, list[int]] = {}
    stem_places: dict[str, list[int]] = {}
    for index, word in enumerate(draft):
        places.setdefault(word, []).append(index)
        stem_places.setdefault(stems[word], []).append(index)
    identical = list(draft) == list(reference)
    candidates = []
    for position, word in enumerate(reference):
        matches = [Match(index, position, EXACT) for index in places.get(word, ())]
        if not identical:
            matches += [
                Match(index, position, STEM) for index in stem_places.get(stems[word], ()) if draft[index] != word
            ]
        candidates.append(matches)
    return candidates


def _fixed(candidates: list[list[Match]]) -> dict[int, Match]:
    """Matches that compete with no other on either side; every path has them."""
    coverage: dict[int, int] = {}
    for matches in candidates:
        for match in matches:
            coverage[match.draft] = coverage.get(match.draft, 0) + 1
    return {
        position: matches[0]
        for position, matches in enumerate(candidates)
        if len(matches) == 1 and coverage[matches[0].draft] == 1
    }


def _branch(paths: list[_Path], matches: list[Match]) -> list[_Path]:
    """Every path with each of the matches that it can still take, and without any."""
    options = [
        (match, 1 << match.draft, 0 if match.module == STEM else _EXACT_MATCH, abs(match.reference - match.draft))
        for match in matches
    ]
    following: list[_Path] = []
    for rank, used, end, last in paths:
        charged = rank
        for match, bit, gain, distance in options:
            if not used & bit:
                draft = match.draft
                chunk = 0 if end in (-1, draft) else _CHUNK
                following.append((charged + gain + chunk, used | bit, draft + 1, (match, last)))
                charged += distance
        following.append((charged if end == -1 else charged + _CHUNK, used, -1, last))
    return following


def _take(path: _Path, match: Match) -> _Path:
    rank, used, end, last = path
    rank += abs(match.reference - match.draft) + (0 if match.module == STEM else _EXACT_MATCH)
    return (rank if end in (-1, match.draft) else rank + _CHUNK, used, match.draft + 1, (match, last))


def _skip(path: _Path) -> _Path:
    rank, used, end, last = path
    return (rank if end == -1 else rank + _CHUNK, used, -1, last)


def _unroll(path: _Path) -> list[Match]:
    matches: list[Match] = []
    link = path[3]
    while link is not None:
        matches.append(link[0])
        link = link[1]
    return matches[::-1]


def plain_normalise(text: str) -> list[str]:
    """``normalise`` with every rule applied to the whole text."""
    text = meteor._DOTS.sub(r" \1 ", meteor._SYMBOL.sub(r" \1 ", f" {text} "))
    text = re.sub("[`‘’]", "'", meteor._COMMA.sub(" , ", text)).replace("''", ' " ')
    text = meteor._DASH.sub(r"\1 \2", text.replace("–", "-").replace("--", "-"))
    text = meteor._CONTRACTION.sub(" '", meteor._LONE_QUOTE.sub(" ' ", text))
    raw = text.split()
    words: list[str] = []
    for index, word in enumerate(raw):
        stem = word[:-1]
        if not word.endswith(".") or not stem.strip("."):
            words.append(word)
        elif "." in stem and any(character.isalpha() for character in stem):
            words.append(word.replace(".", ""))
        elif stem in meteor._KEEP_DOT or (index + 1 < len(raw) and raw[index + 1][0].islower()):
            words.append(word)
        else:
            words += [stem, "."]
    return [word.lower() for word in words]
