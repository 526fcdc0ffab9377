"""METEOR's word alignment: which words of a draft and a reference match, and in how many runs.

Follows METEOR 1.5's beam search so closely that its blind spots are kept, because the score depends on them. All pairs
are searched at once: a step takes every pair from one reference word that leaves a choice to the next, and between two
such words every path of a pair goes the same way. Equal to the plain search, pair by pair and path by path (tested).

Shapes: P pairs in a step, B paths (the beam), O options of a reference word, W 64-bit words of a set of draft words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radwright.metrics.words import IntArray, Words

BEAM = 40
MAX_CHOICES = 1 << 17
"""Choices (reference words of a pair with options) searched together; more only takes memory."""
STEP_KEYS = 1 << 15
"""Paths ranked at once: as many as a core's cache holds."""

AnyInts = NDArray[Any]
"""int64, or Python's own integers where a rank would not fit into 63 bits (texts of some thousand words)."""

_RANK_BITS = 62
_NO_PARTNER = -1
_CLOSED = -1
"""``ends`` of a path whose last reference word was skipped: no run of matches is open."""


def align_pairs(drafts: Words, references: Words, stems: IntArray) -> IntArray:
    """The alignment with the most exact matches, then the fewest chunks, then the least distance that the beam finds.

    As released, a stem match counts for nothing while paths are compared (0.5 is added to a whole number), and the
    distance of a match is charged to the paths that leave it out.

    Args:
        drafts: n drafts.
        references: n references, text k to be aligned with draft k.
        stems: word -> number of its stem.

    Returns:
        (words of the references,) the place of the matching word within its draft, or -1. One-to-one.
    """
    choices = _find_choices(drafts, references, stems)
    for begin, end in choices.blocks():
        _Search(choices, begin, end).run()
    return choices.partners


def count_chunks(references: Words, partners: IntArray) -> IntArray:
    """(n,) runs of matches that are adjacent and in the same order on both sides.

    Args:
        references: n references.
        partners: of ``align_pairs``.
    """
    matched = partners != _NO_PARTNER
    follows = np.zeros_like(matched)
    follows[1:] = matched[1:] & matched[:-1] & (partners[1:] == partners[:-1] + 1)
    starts = references.offsets[:-1]
    follows[starts[starts < len(partners)]] = False
    return np.bincount(references.texts[matched & ~follows], minlength=len(starts))


@dataclass(frozen=True, slots=True)
class _Choices:
    """Where the search has to choose: reference words whose match is not settled, in the order of the references.

    Attributes:
        partners: (reference words,) settled matches; the search writes its own into it.
        words: (choices,) index of the reference word.
        pairs: (choices,) its pair.
        ordinals: (choices,) how many choices its pair has before it.
        num_options: (choices,) draft words that it can match.
        gaps: (choices,) whether settled words lie between it and the choice before it.
        firsts: (choices,) partner of the first settled word after it; -1 where that has none, or no word follows.
        ends: (choices,) ``ends`` of every path after the settled words before it.
        first_options: (choices,) its first option in ``options``.
        options: draft words by class, as places within their draft.
        option_ids, slots: per option the word, and its number among its draft's words that are in a choice.
        places, ids: per reference word.
        offsets: (pairs + 1,) first choice of each pair.
    """

    partners: IntArray
    words: IntArray
    pairs: IntArray
    ordinals: IntArray
    num_options: IntArray
    gaps: NDArray[np.bool_]
    firsts: IntArray
    ends: IntArray
    first_options: IntArray
    options: IntArray
    option_ids: IntArray
    slots: IntArray
    places: IntArray
    ids: IntArray
    offsets: IntArray

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Ranges of pairs with about ``MAX_CHOICES`` choices each; none where nothing is left to choose."""
        begin, num_pairs = 0, len(self.offsets) - 1
        while begin < num_pairs and self.offsets[begin] < self.offsets[-1]:
            end = int(np.searchsorted(self.offsets, self.offsets[begin] + MAX_CHOICES, side="right")) - 1
            end = min(max(end, begin + 1), num_pairs)
            yield begin, end
            begin = end


def _find_choices(drafts: Words, references: Words, stems: IntArray) -> _Choices:
    """Classes of words that can match: those of one stem, or of one word where draft and reference are identical."""
    theirs, ours = references.texts, drafts.texts
    apart = _identical(drafts, references)
    num_classes = int(stems.max(initial=0)) + 1 + len(stems)

    def classes(words: Words, pairs: IntArray) -> IntArray:
        numbers = np.where(apart[pairs], num_classes - len(stems) + words.ids, stems[words.ids])
        return pairs * num_classes + numbers

    draft_classes, reference_classes = classes(drafts, ours), classes(references, theirs)
    options = np.argsort(draft_classes, kind="stable")
    sorted_drafts, sorted_references = draft_classes[options], np.sort(reference_classes)
    first_options = np.searchsorted(sorted_drafts, reference_classes)
    num_options = np.searchsorted(sorted_drafts, reference_classes, side="right") - first_options
    num_rivals = np.searchsorted(sorted_references, reference_classes, side="right") - np.searchsorted(
        sorted_references, reference_classes
    )
    settled = (num_options == 1) & (num_rivals == 1)
    draft_places, places = drafts.places, references.places
    partners = np.full(len(theirs), _NO_PARTNER)
    partners[settled] = draft_places[options[first_options[settled]]]

    open_ = (num_options > 0) & ~settled
    words = np.flatnonzero(open_)
    offsets = np.searchsorted(words, references.offsets)
    in_choice = np.zeros(len(ours) + 1, dtype=np.int64)
    np.add.at(in_choice, first_options[words], 1)
    np.add.at(in_choice, first_options[words] + num_options[words], -1)
    contested = np.empty(len(ours), dtype=np.int64)
    contested[options] = np.cumsum(in_choice[:-1]) > 0
    before = np.cumsum(contested) - contested
    slots = before - np.concatenate((before, [0]))[drafts.offsets[ours]]

    follows = np.concatenate((words[1:], [-1])) == words + 1
    last_of_text = words + 1 == references.offsets[theirs[words] + 1]
    following = np.concatenate((partners, [_NO_PARTNER]))[words + 1]
    before_word = partners[words - 1]
    return _Choices(
        partners=partners,
        words=words,
        pairs=theirs[words],
        ordinals=np.arange(len(words)) - offsets[theirs[words]],
        num_options=num_options[words],
        gaps=(places[words] > 0) & ~np.concatenate(([False], follows[:-1])) if len(words) else np.zeros(0, np.bool_),
        firsts=np.where(last_of_text, _NO_PARTNER, following),
        ends=np.where(before_word == _NO_PARTNER, _CLOSED, before_word + 1),
        first_options=first_options[words],
        options=draft_places[options],
        option_ids=drafts.ids[options],
        slots=slots[options],
        places=places,
        ids=references.ids,
        offsets=offsets,
    )


def _identical(drafts: Words, references: Words) -> NDArray[np.bool_]:
    lengths = drafts.lengths
    alike: NDArray[np.bool_] = lengths == references.lengths
    ours, theirs = np.repeat(alike, lengths), np.repeat(alike, references.lengths)
    differs = drafts.ids[ours] != references.ids[theirs]
    alike[drafts.texts[ours][differs]] = False
    return alike


class _Search:
    """The beam search over the pairs ``begin`` to ``end``, all their first choices, then all second ones, and so on.

    A rank is what paths are sorted by, fewer is better: matches first, then chunks, then distance, packed into one
    integer. Ties keep the order of the paths and of their options, which the lowest bits of a sorted key hold.
    """

    def __init__(self, choices: _Choices, begin: int, end: int) -> None:
        self._choices = choices
        self._first = begin
        self._chosen = slice(int(choices.offsets[begin]), int(choices.offsets[end]))
        lengths = choices.num_options[self._chosen]
        num_pairs = end - begin
        most = int(lengths.max(initial=0))
        steps = int(choices.ordinals[self._chosen].max(initial=-1)) + 1
        longest = int(max(choices.places.max(initial=0), choices.options.max(initial=0)))
        distance_bits = (longest * most * steps).bit_length()
        chunk_bits = (2 * steps + 2).bit_length()
        key_bits = (BEAM * (most + 1)).bit_length()
        self._chunk = 1 << distance_bits
        self._match = 1 << (distance_bits + chunk_bits)
        fits = distance_bits + chunk_bits + steps.bit_length() + 1 + key_bits <= _RANK_BITS
        self._dtype: Any = np.int64 if fits else object
        self._worst = self._match << steps.bit_length()
        num_words = int(choices.slots.max(initial=0)) // 64 + 1
        self._counts = np.ones(num_pairs, dtype=np.int64)
        self._ranks: AnyInts = np.zeros((num_pairs, BEAM), dtype=self._dtype)
        self._ends = np.full((num_pairs, BEAM), _CLOSED)
        self._used = np.zeros((num_pairs, BEAM, num_words), dtype=np.uint64)
        self._parents = np.zeros((steps, num_pairs, BEAM), dtype=np.uint8)
        self._taken = np.full((steps, num_pairs, BEAM), _NO_PARTNER, dtype=np.int32)

    def run(self) -> None:
        """Write the matches of the best path of every pair into ``choices.partners``."""
        ordinals = self._choices.ordinals[self._chosen]
        num_options = self._choices.num_options[self._chosen]
        order = np.lexsort((num_options, ordinals))
        bounds = np.flatnonzero((np.diff(ordinals[order]) != 0) | (np.diff(num_options[order]) != 0)) + 1
        for together in np.split(order, bounds):
            ordinal, options = int(ordinals[together[0]]), int(num_options[together[0]])
            size = max(1, STEP_KEYS // (BEAM * (options + 1)))
            for begin in range(0, len(together), size):
                self._step(together[begin : begin + size] + self._chosen.start, ordinal, options)
        self._trace_back()

    def _step(self, chosen: IntArray, ordinal: int, num_options: int) -> None:
        """Every path of these pairs with each of the options that it can still take, and without any."""
        choices = self._choices
        rows = choices.pairs[chosen] - self._first
        width = int(self._counts[rows].max())
        ranks_PB, ends_PB, used_PBW = self._ranks[rows, :width], self._ends[rows, :width], self._used[rows, :width]
        valid_PB = np.arange(width) < self._counts[rows, None]
        sources_PB: IntArray | None = None
        if ordinal and choices.gaps[chosen].any():
            # The choice before this one in ``chosen`` is the same pair's.
            ranks_PB, sources_PB = self._cross_gap(ranks_PB, ends_PB, valid_PB, chosen)
            used_PBW = np.take_along_axis(used_PBW, sources_PB[..., None], axis=1)
        gaps_P = choices.gaps[chosen]
        if gaps_P.any():
            ends_PB = np.where(gaps_P[:, None], choices.ends[chosen, None], ends_PB)

        places_PO, exact_PO, slots_PO = self._options(chosen, num_options)
        distances_PO = np.abs(places_PO - choices.places[choices.words[chosen], None]).astype(self._dtype)
        word_PO, bit_PO = slots_PO // 64, (slots_PO % 64).astype(np.uint64)
        if used_PBW.shape[2] == 1:
            sets = used_PBW
        else:
            sets = np.take_along_axis(used_PBW, np.broadcast_to(word_PO[:, None], (*ranks_PB.shape, num_options)), 2)
        free_PBO = ((sets >> bit_PO[:, None]) & np.uint64(1)) == 0
        free_PBO &= valid_PB[..., None]

        open_PB = ends_PB != _CLOSED
        gains_PO = np.where(exact_PO, -self._match, 0).astype(self._dtype)
        keys: AnyInts = np.empty((*ranks_PB.shape, num_options + 1), dtype=self._dtype)
        charged_PB = ranks_PB
        for option in range(num_options):
            free_PB = free_PBO[..., option]
            breaks_PB = (ends_PB != places_PO[:, option, None]) & open_PB
            keys[..., option] = np.where(
                free_PB, charged_PB + gains_PO[:, option, None] + breaks_PB * self._chunk, self._worst
            )
            charged_PB = charged_PB + free_PB * distances_PO[:, option, None]
        keys[..., -1] = np.where(valid_PB, charged_PB + open_PB * self._chunk, self._worst)
        shift = (keys[0].size).bit_length()
        keys <<= shift
        keys += np.arange(keys[0].size).reshape(keys[0].shape)
        keys = np.sort(keys.reshape(len(rows), -1), axis=1)[:, :BEAM]

        ranks_PB = keys >> shift
        num_kept = ranks_PB.shape[1]
        self._ranks[rows, :num_kept] = ranks_PB
        self._counts[rows] = (ranks_PB < self._worst).sum(axis=1)
        kept = np.arange(len(rows))[:, None]
        parents, taken = np.divmod((keys & ((1 << shift) - 1)).astype(np.int64), num_options + 1)
        skip = np.full((len(rows), 1), _NO_PARTNER)
        partners = np.concatenate((places_PO, skip), axis=1)[kept, taken]
        self._ends[rows, :num_kept] = np.where(partners == _NO_PARTNER, _CLOSED, partners + 1)
        nothing = np.zeros((len(rows), 1), dtype=np.uint64)
        bits = np.concatenate((np.uint64(1) << bit_PO, nothing), axis=1)[kept, taken]
        used_PBW = used_PBW[kept, parents]
        if used_PBW.shape[2] == 1:
            used_PBW[..., 0] |= bits
        else:
            words = np.concatenate((word_PO, np.zeros_like(skip)), axis=1)[kept, taken]
            used_PBW[kept, np.arange(num_kept), words] |= bits
        self._used[rows, :num_kept] = used_PBW
        self._parents[ordinal, rows, :num_kept] = parents if sources_PB is None else sources_PB[kept, parents]
        self._taken[ordinal, rows, :num_kept] = partners

    def _cross_gap(
        self, ranks_PB: AnyInts, ends_PB: IntArray, valid_PB: NDArray[np.bool_], chosen: IntArray
    ) -> tuple[AnyInts, IntArray]:
        """Ranks after the settled words before each choice, sorted anew, and where each stood before.

        What the settled words themselves cost is the same for every path and left out.
        """
        breaks_PB = self._breaks(ends_PB, self._choices.firsts[chosen - 1]) & self._choices.gaps[chosen, None]
        width = ranks_PB.shape[1]
        shift = width.bit_length()
        ranks_PB = np.where(valid_PB, ranks_PB + breaks_PB * self._chunk, self._worst)
        keys = np.sort((ranks_PB << shift) + np.arange(width), axis=1)
        return keys >> shift, (keys & ((1 << shift) - 1)).astype(np.int64)

    @staticmethod
    def _breaks(ends_PB: IntArray, firsts_P: IntArray) -> NDArray[np.bool_]:
        """Whether the settled word that follows ends the open run."""
        breaks_PB: NDArray[np.bool_] = (ends_PB != _CLOSED) & (ends_PB != firsts_P[:, None])
        return breaks_PB

    def _options(self, chosen: IntArray, num_options: int) -> tuple[IntArray, NDArray[np.bool_], IntArray]:
        """Places, whether exact, and slots of every choice's options: exact matches first, then stems."""
        choices = self._choices
        indices = choices.first_options[chosen, None] + np.arange(num_options)
        exact = choices.option_ids[indices] == choices.ids[choices.words[chosen], None]
        if num_options > 1 and not exact.all():
            order = np.argsort(~exact, axis=1, kind="stable")
            indices, exact = np.take_along_axis(indices, order, axis=1), np.take_along_axis(exact, order, axis=1)
        return choices.options[indices], exact, choices.slots[indices]

    def _trace_back(self) -> None:
        choices = self._choices
        num_choices = np.diff(choices.offsets[self._first : self._first + len(self._counts) + 1])
        rows = np.flatnonzero(num_choices)
        last = choices.offsets[self._first + rows] + num_choices[rows] - 1
        # The last open chunk is closed before the final comparison.
        ranks = self._ranks[rows] + self._breaks(self._ends[rows], choices.firsts[last]) * self._chunk
        ranks[np.arange(BEAM) >= self._counts[rows, None]] = self._worst
        paths = np.zeros(len(self._counts), dtype=np.int64)
        paths[rows] = np.argmin(ranks, axis=1)
        for ordinal in range(len(self._parents) - 1, -1, -1):
            rows = np.flatnonzero(num_choices > ordinal)
            words = choices.words[choices.offsets[self._first + rows] + ordinal]
            choices.partners[words] = self._taken[ordinal, rows, paths[rows]]
            paths[rows] = self._parents[ordinal, rows, paths[rows]]
