"""METEOR 1.5 with the exact and stem modules ("meteor15_es"): no Java, no synonyms, no paraphrase table.

Denkowski and Lavie, WMT 2014. About 3 % below the full metric; NLTK's METEOR is another metric with about twice the
value. The one place where the Snowball stemmer enters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import resources
from itertools import chain

import numpy as np

from radwright.errors import require
from radwright.metrics.base import FloatArray, check_pairs, divide
from radwright.metrics.meteor_align import align_pairs, count_chunks
from radwright.metrics.words import Numbering, Words

ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
"""Weight of recall, exponent and weight of fragmentation, weight of a content word (English, ranking task)."""
MODULE_WEIGHTS = (1.0, 0.6)
"""Credit for an exact match and for a stem match."""

_SYMBOL = re.compile(r"([^\w\s.'`,\-‘’]|_)")
_DOTS = re.compile(r"(\.{2,})")
_COMMA = re.compile(r",(?!\d)|(?<!\d),")
_DASH = re.compile(r"([^\W_]|\.)-([^\W_])")  # consumes both sides, as released: "a-b-c" keeps its second dash
_LONE_QUOTE = re.compile(r"(?<![^\W_])'|(?<=[^\W\d_])'(?![^\W\d_])")
_CONTRACTION = re.compile(r"(?<=[^\W\d_])'(?=[^\W\d_])|(?<=\d)'(?=s)")
_WORD_DOT = re.compile(r"[^\s.]\.")
# Words whose dot belongs to them; only these can occur in lower-cased text.
_KEEP_DOT = {"v", "vs", "i.e", "e.g", "rev"}


class Meteor:
    """METEOR 1.5, exact + stem; statistics are added up over the corpus, not scores averaged.

    F = P R / (alpha P + (1 - alpha) R) over weighted matches, penalty = gamma (chunks / matches)^beta, score = F (1 -
    penalty). Of several references the one with the best score of its own counts. A row is [draft words, reference
    words, draft function words, reference function words, chunks, matches per (module, side, content / function)].

    Args:
        stemming: whether different words with one stem match.

    Raises:
        MissingExtraError: the Snowball stemmer is not installed.
    """

    names = ("meteor15_es",)
    higher_is_better = (True,)
    reads_as_written = False

    def __init__(self, *, stemming: bool = True) -> None:
        stemmer = require("snowballstemmer", extra="metrics").stemmer("english")
        self._stem = cache(stemmer.stemWord) if stemming else str
        self._function_words = function_words()
        modules = "exact+stem" if stemming else "exact"
        self.variant = f"1.5, {modules}, alpha {ALPHA} beta {BETA} gamma {GAMMA} delta {DELTA}, -norm"

    def rows(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> FloatArray:
        """Statistics (n, 13); see ``Metric``."""
        check_pairs(hypotheses, references)
        pairs: dict[tuple[str, str], int] = {}
        numbers = [
            [pairs.setdefault((draft, text), len(pairs)) for text in texts]
            for draft, texts in zip(hypotheses, references, strict=True)
        ]
        candidates = self._measure(list(pairs))
        scores = self.scores(candidates)[:, 0]
        best = [max(each, key=scores.__getitem__) for each in numbers]  # the first of equals
        return candidates[np.array(best, dtype=np.int64)]

    def scores(self, sums: FloatArray) -> FloatArray:
        """(..., 1) METEOR in [0, 1]."""
        lengths, functions, chunks = sums[..., 0:2], sums[..., 2:4], sums[..., 4]
        matches = sums[..., 5:13].reshape(*sums.shape[:-1], 2, 2, 2)  # module, side, content or function
        credit = np.einsum("...msc,m,c->...s", matches, np.array(MODULE_WEIGHTS), np.array([DELTA, 1 - DELTA]))
        weighted = DELTA * (lengths - functions) + (1 - DELTA) * functions
        precision, recall = np.moveaxis(divide(credit, weighted), -1, 0)
        mean = divide(precision * recall, ALPHA * precision + (1 - ALPHA) * recall)
        totals = matches.sum(axis=(-3, -1))
        penalty = GAMMA * divide(chunks, totals.mean(axis=-1)) ** BETA
        scores: FloatArray = (mean * (1 - penalty))[..., None]
        return scores

    def _measure(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        """Rows of pairs of a draft and a reference."""
        numbering, stem_numbering = Numbering(), Numbering()
        cut = {text: normalise(text) for text in dict.fromkeys(text for pair in pairs for text in pair)}
        drafts = Words.of([cut[draft] for draft, _ in pairs], numbering)
        references = Words.of([cut[reference] for _, reference in pairs], numbering)
        stems = np.array([stem_numbering[self._stem(word)] for word in numbering], dtype=np.int64)
        known = np.array([word in self._function_words for word in numbering], dtype=np.bool_)
        partners = align_pairs(drafts, references, stems)

        rows = np.zeros((len(pairs), 13))
        for side, words in enumerate((drafts, references)):
            rows[:, side] = words.lengths
            rows[:, 2 + side] = np.bincount(words.texts, known[words.ids], minlength=len(pairs))
        matched = np.flatnonzero(partners >= 0)
        texts = references.texts[matched]
        theirs, ours = references.ids[matched], drafts.ids[drafts.offsets[texts] + partners[matched]]
        modules = ours != theirs
        for side, words_matched in enumerate((ours, theirs)):
            kinds = 4 * modules + 2 * side + known[words_matched]
            rows[:, 5:] += np.bincount(8 * texts + kinds, minlength=8 * len(pairs)).reshape(-1, 8)
        chunks, num_matches = count_chunks(references, partners), np.bincount(texts, minlength=len(pairs))
        whole = (chunks == 1) & (num_matches == rows[:, 0]) & (num_matches == rows[:, 1])
        rows[:, 4] = np.where(whole, 0, chunks)  # as released: a perfect draft has no fragments, in the corpus sum too
        return rows


@cache
def function_words() -> frozenset[str]:
    """METEOR's English function words; source and licence are in the file."""
    text = resources.files("radwright.metrics").joinpath("function_words_en.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("# "))


def normalise(text: str) -> list[str]:
    """Words as METEOR's ``-norm`` cuts them: symbols apart, no dash within words, dots apart except within numbers and
    abbreviations, lower case.
    """
    raw = list(chain.from_iterable(map(_cut, text.split())))
    if not _WORD_DOT.search(text):
        return " ".join(raw).lower().split()
    words: list[str] = []
    for index, word in enumerate(raw):
        stem = word[:-1]
        if not word.endswith(".") or not stem.strip("."):
            words.append(word)
        elif "." in stem and any(character.isalpha() for character in stem):
            words.append(word.replace(".", ""))
        elif stem in _KEEP_DOT or (index + 1 < len(raw) and raw[index + 1][0].islower()):
            words.append(word)
        else:
            words += [stem, "."]
    return [word.lower() for word in words]


@lru_cache(maxsize=1 << 16)
def _cut(word: str) -> tuple[str, ...]:
    """The pieces of one word between spaces; no rule looks beyond a space, but for the dots that ``normalise`` sees."""
    word = _DOTS.sub(r" \1 ", _SYMBOL.sub(r" \1 ", f" {word} "))
    word = re.sub("[`‘’]", "'", _COMMA.sub(" , ", word)).replace("''", ' " ')
    word = _DASH.sub(r"\1 \2", word.replace("–", "-").replace("--", "-"))
    return tuple(_CONTRACTION.sub(" '", _LONE_QUOTE.sub(" ' ", word)).split())
