"""A tokenizer whose tokens are the words of cleaned reports, built from train reports and saved with the checkpoint."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radwright.errors import ConfigError
from radwright.text.cleaning import CLEANERS, GAP_WORD, cleaner, readable

KIND = "words"
FILE_NAME = "tokenizer.json"
FORMAT_VERSION = 1
UNKNOWN = "<unk>"


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """Ids that stand for no word; words have the ids from ``first_word`` on.

    Attributes:
        pad: fills a batch.
        bos: begins every report.
        eos: ends every report.
        unk: stands for a word outside the vocabulary; an id of its own, or that of the word ``<unk>``.
        first_word: id of the first word.
    """

    pad: int
    bos: int
    eos: int
    unk: int
    first_word: int


DISTINCT_IDS = SpecialIds(pad=0, bos=1, eos=2, unk=3, first_word=4)


class WordTokenizer:
    """Words <-> ids; fulfils ``radwright.types.Tokenizer``.

    Args:
        words: the vocabulary in the order of ids, unique.
        special_ids: where the special ids are; ``DISTINCT_IDS`` unless an authors' checkpoint needs another layout.
        cleaning: name in ``radwright.text.cleaning.CLEANERS``; every text passes through it before it is cut.

    Raises:
        ConfigError: repeated words, words that hold white space, or special ids that collide with words.
    """

    def __init__(
        self, words: Iterable[str], *, special_ids: SpecialIds = DISTINCT_IDS, cleaning: str = "report"
    ) -> None:
        self.words = tuple(words)
        self.special_ids = special_ids
        self.cleaning = cleaning
        self._clean = cleaner(cleaning)
        first = special_ids.first_word
        self._id_of = {word: first + index for index, word in enumerate(self.words)}
        _check(self.words, self._id_of, special_ids)
        self.pad_id, self.bos_id, self.eos_id = special_ids.pad, special_ids.bos, special_ids.eos
        self.unk_id = special_ids.unk

    @classmethod
    def build(cls, reports: Iterable[str], *, min_count: int, cleaning: str = "report") -> WordTokenizer:
        """The words that train reports use at least ``min_count`` times, sorted; PAD, BOS, EOS and UNK are 0 to 3.

        Raises:
            ConfigError: no word is frequent enough, or the cleaning is unknown.
        """
        words = frequent_words(reports, min_count=min_count, cleaning=cleaning) - {UNKNOWN}
        if not words:
            raise ConfigError(f"no word occurs {min_count} times in the train reports: lower min_count or add reports")
        return cls(sorted(words), cleaning=cleaning)

    @classmethod
    def released(cls, words: Iterable[str], *, cleaning: str = "r2gen-iu") -> WordTokenizer:
        """The R2Gen family's layout: 0 is BOS, EOS and PAD; ``words`` and ``<unk>``, sorted, have the ids from 1.

        Raises:
            ConfigError: there is no word but ``<unk>``, or one that holds white space.
        """
        ordered = sorted({*words, UNKNOWN})
        if len(ordered) == 1:
            raise ConfigError(f"the vocabulary has no word but {UNKNOWN}: lower min_count, or give a list of words")
        special_ids = SpecialIds(pad=0, bos=0, eos=0, unk=1 + ordered.index(UNKNOWN), first_word=1)
        return cls(ordered, special_ids=special_ids, cleaning=cleaning)

    @property
    def vocab_size(self) -> int:
        """Number of ids, special ones included (U)."""
        return self.special_ids.first_word + len(self.words)

    def encode(self, text: str) -> list[int]:
        """Ids of a report, without BOS and EOS; a word outside the vocabulary is ``unk_id``."""
        id_of, unk = self._id_of, self.unk_id
        return [id_of.get(word, unk) for word in self._clean(text).split()]

    def decode(self, ids: list[int]) -> str:
        """The readable report of ``ids``.

        BOS, EOS and PAD are dropped. An unknown word shows as a gap (``XXXX``): a reader must see that a word is
        missing rather than read on over it.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        return readable(" ".join(self.to_words(ids, unknown=GAP_WORD)))

    def to_words(self, ids: Iterable[int], *, unknown: str = UNKNOWN) -> list[str]:
        """The words of ``ids`` as they are, special ids dropped, unknown ones as ``unknown``.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        silent = {self.pad_id, self.bos_id, self.eos_id}
        first = self.special_ids.first_word
        words = []
        for number in ids:
            if not 0 <= number < self.vocab_size:
                raise ValueError(f"token id {number} is outside the vocabulary of {self.vocab_size}")
            if number == self.unk_id:
                words.append(unknown)
            elif number not in silent:
                words.append(self.words[number - first])
        return words

    def save(self, directory: Path) -> None:
        """Write ``tokenizer.json`` into an existing directory."""
        values = {
            "kind": KIND,
            "version": FORMAT_VERSION,
            "cleaning": self.cleaning,
            "special_ids": asdict(self.special_ids),
            "words": list(self.words),
        }
        text = json.dumps(values, ensure_ascii=False, indent=1) + "\n"
        (directory / FILE_NAME).write_text(text, encoding="utf-8")

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> WordTokenizer:
        """What ``save`` wrote, as read from JSON; ``kind`` and ``version`` are right already.

        Raises:
            ConfigError: a key or value that ``save`` does not write.
        """
        keys = {"kind", "version", "cleaning", "special_ids", "words"}
        if values.keys() != keys:
            raise ConfigError(f"has missing or unknown keys: {', '.join(sorted(values.keys() ^ keys))}")
        numbers = values["special_ids"]
        names = set(SpecialIds.__dataclass_fields__)
        if (
            not isinstance(numbers, dict)
            or numbers.keys() != names
            or any(type(n) is not int for n in numbers.values())
        ):
            raise ConfigError(f"special_ids must give a whole number for each of {', '.join(sorted(names))}")
        words = values["words"]
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ConfigError("words must be a list of texts")
        if not isinstance(values["cleaning"], str) or values["cleaning"] not in CLEANERS:
            raise ConfigError(f"unknown cleaning {values['cleaning']!r}; known: {', '.join(CLEANERS)}")
        return cls(words, special_ids=SpecialIds(**numbers), cleaning=values["cleaning"])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WordTokenizer):
            return NotImplemented
        return (self.words, self.special_ids, self.cleaning) == (other.words, other.special_ids, other.cleaning)

    def __hash__(self) -> int:
        return hash((self.words, self.special_ids, self.cleaning))

    def __repr__(self) -> str:
        return f"WordTokenizer({len(self.words)} words, {self.special_ids}, cleaning={self.cleaning!r})"


def frequent_words(reports: Iterable[str], *, min_count: int, cleaning: str) -> set[str]:
    """The words that occur at least ``min_count`` times in the cleaned reports."""
    clean = cleaner(cleaning)
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(clean(report).split())
    return {word for word, count in counts.items() if count >= min_count}


def _check(words: tuple[str, ...], id_of: dict[str, int], ids: SpecialIds) -> None:
    if not words:
        raise ConfigError("the vocabulary is empty")
    if len(id_of) != len(words):
        twice = next(word for word, count in Counter(words).items() if count > 1)
        raise ConfigError(f"the word {twice!r} is in the vocabulary twice")
    spoilt = next((word for word in words if word.split() != [word]), None)
    if spoilt is not None:
        raise ConfigError(f"{spoilt!r} is no single word")
    for name in ("pad", "bos", "eos"):
        if not 0 <= getattr(ids, name) < ids.first_word:
            raise ConfigError(
                f"special id {name}={getattr(ids, name)} collides with the words from {ids.first_word} on"
            )
    unknown_is_word = id_of.get(UNKNOWN) == ids.unk
    unknown_is_apart = 0 <= ids.unk < ids.first_word and ids.unk not in {ids.pad, ids.bos, ids.eos}
    if not (unknown_is_word or (unknown_is_apart and UNKNOWN not in id_of)):
        raise ConfigError(f"special id unk={ids.unk} is neither an id of its own nor that of the word {UNKNOWN!r}")
