"""METEOR's alignment of all pairs at once against the plain search, and what the search promises."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from plain_meteor import EXACT, Match, align, plain_normalise
from plain_meteor import count_chunks as count_chunks_plainly

from radwright.metrics import meteor_align
from radwright.metrics.meteor import normalise
from radwright.metrics.meteor_align import align_pairs, count_chunks
from radwright.metrics.words import Numbering, Words

WORDS = ["the", "heart", "is", "normal", "lungs", "clear", "no", "effusion", "nodules", "nodule", "."]


def without_s(word: str) -> str:
    return word.rstrip("s")


def align_at_once(
    drafts: Sequence[Sequence[str]], references: Sequence[Sequence[str]], stem: Callable[[str], str]
) -> tuple[list[list[Match]], list[int]]:
    """Matches in the plain search's form, and chunks."""
    numbering, stems = Numbering(), Numbering()
    ours, theirs = Words.of(drafts, numbering), Words.of(references, numbering)
    partners = align_pairs(ours, theirs, np.array([stems[stem(word)] for word in numbering], dtype=np.int64))
    matches = []
    for k, (draft, reference) in enumerate(zip(drafts, references, strict=True)):
        places = partners[theirs.offsets[k] : theirs.offsets[k + 1]].tolist()
        matches.append(
            [Match(place, j, int(draft[place] != reference[j])) for j, place in enumerate(places) if place >= 0]
        )
    return matches, count_chunks(theirs, partners).tolist()


def assert_equal_to_the_plain_search(
    drafts: Sequence[Sequence[str]], references: Sequence[Sequence[str]], stem: Callable[[str], str]
) -> None:
    found, chunks = align_at_once(drafts, references, stem)
    for draft, reference, matches, num_chunks in zip(drafts, references, found, chunks, strict=True):
        plain = align(draft, reference, {word: stem(word) for word in {*draft, *reference}})
        assert matches == plain
        assert num_chunks == count_chunks_plainly(plain)


def random_texts(count: int, num_words: int, longest: int, seed: int) -> list[list[str]]:
    draw = random.Random(seed)
    return [
        [f"w{draw.randrange(num_words)}{draw.choice(('', '', 's'))}" for _ in range(draw.randrange(longest + 1))]
        for _ in range(count)
    ]


# Few words, many times each: nearly every path of the beam is cut somewhere. Beyond 64 words in a choice, the sets of
# used words need a second integer.
@pytest.mark.parametrize(("num_words", "longest"), [(2, 7), (4, 25), (9, 60), (30, 60), (25, 160)])
def test_all_at_once_equals_the_plain_search(num_words: int, longest: int) -> None:
    count = 60 if longest < 100 else 8
    drafts, references = (random_texts(count, num_words, longest, seed) for seed in (1, 2))
    drafts[0] = list(references[0])  # identical: stems do not match then
    drafts[1], references[2] = [], []
    assert_equal_to_the_plain_search(drafts, references, without_s)
    assert_equal_to_the_plain_search(drafts, references, str)


@given(st.lists(st.tuples(*[st.lists(st.sampled_from(WORDS), max_size=16)] * 2), max_size=4))
def test_any_texts_equal_the_plain_search(pairs: list[tuple[list[str], list[str]]]) -> None:
    assert_equal_to_the_plain_search([draft for draft, _ in pairs], [text for _, text in pairs], without_s)


def test_ranks_of_any_size_small_blocks_and_small_steps_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    drafts, references = (random_texts(20, 6, 40, seed) for seed in (3, 4))
    expected = align_at_once(drafts, references, without_s)
    for name, value in (("_RANK_BITS", 10), ("MAX_CHOICES", 30), ("STEP_KEYS", 1)):
        monkeypatch.setattr(meteor_align, name, value)
        assert align_at_once(drafts, references, without_s) == expected


def test_a_pair_does_not_depend_on_the_others() -> None:
    drafts, references = (random_texts(12, 6, 40, seed) for seed in (5, 6))
    together, chunks = align_at_once(drafts, references, without_s)
    for k in range(len(drafts)):
        assert align_at_once(drafts[k : k + 1], references[k : k + 1], without_s) == ([together[k]], [chunks[k]])


# Short enough for the beam to hold every path; on longer texts METEOR's search may miss the best alignment.
SHORT = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5)


@given(SHORT, SHORT)
def test_alignment_is_one_to_one_and_finds_every_exact_match(draft: list[str], reference: list[str]) -> None:
    (matches,), (chunks,) = align_at_once([draft], [reference], without_s)
    assert len({match.draft for match in matches}) == len(matches) == len({match.reference for match in matches})
    exact = [match for match in matches if match.module == EXACT]
    assert all(draft[match.draft] == reference[match.reference] for match in exact)
    assert len(exact) == (Counter(draft) & Counter(reference)).total()
    assert 0 <= chunks <= len(matches)


def test_alignment_prefers_few_chunks() -> None:
    draft = ["no", "mass", ".", "no", "effusion", "."]
    assert align_at_once([draft], [["no", "effusion", ".", "no", "mass", "."]], str)[1] == [2]


@given(st.text(max_size=40))
def test_normalising_never_crashes_and_leaves_no_white_space(text: str) -> None:
    assert all(word and word.split() == [word] for word in normalise(text))


@given(st.text(alphabet="aB1é .,'`’-–_(\"\n\u2003Σİ", max_size=24) | st.text(max_size=24))
@example("3.5 cm. u.s. e.g. 'so' it's a-b-c a--b .. x.. vs. Old (high). 1,000,a")
def test_normalising_word_by_word_equals_the_whole_text(text: str) -> None:
    assert normalise(text) == plain_normalise(text)
