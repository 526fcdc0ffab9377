"""A tokenizer of pieces of words: trained here on reports (byte-level BPE), or a pretrained language model's own.

The one entrance of the ``tokenizers`` library, which is imported when a tokenizer is made.
"""

from __future__ import annotations

import bisect
import codecs
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from radwright.errors import ConfigError, require
from radwright.text.cleaning import CLEANERS, cleaner, readable
from radwright.text.sentences import sentence_ends
from radwright.text.words import FILE_NAME, FORMAT_VERSION

KIND = "subwords"
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>")
"""PAD, BOS and EOS of a tokenizer trained here: ids 0, 1, 2."""
NUM_BYTES = 256
SMALLEST = NUM_BYTES + len(SPECIAL_TOKENS) + 1
"""Least size of a trained tokenizer: the bytes, the special tokens and one piece."""
MIN_COUNT = 2
"""A piece must occur so often in the train reports to be joined."""
_NUMBER = r" ?\p{N}"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class SubwordTokenizer:
    """Pieces of words <-> ids; fulfils ``radwright.types.Tokenizer`` and ``CutsAtSentences``. No text is unknown to it.

    Args:
        tokenizer_json: what a ``tokenizer.json`` of the tokenizers library holds.
        bos_id: begins every report; None: the tokenizer has none.
        eos_id: ends every report.
        pad_id: fills a batch; None: the tokenizer has none.
        cleaning: name in ``radwright.text.cleaning.CLEANERS``; every text passes through it before it is cut, and comes
            back as readable prose. None: text as written, runs of white space as one blank.

    Attributes:
        begins_with_bos: whether a text begins with ``bos_id``. False: that is a mere placeholder (PAD or EOS).

    Raises:
        ConfigError: no such tokenizer, an id that it lacks, or an unknown cleaning.
        MissingExtraError: the tokenizers library is not installed.
    """

    def __init__(
        self,
        tokenizer_json: str,
        *,
        bos_id: int | None,
        eos_id: int,
        pad_id: int | None,
        cleaning: str | None = None,
    ) -> None:
        self.cleaning = cleaning
        self._clean = None if cleaning is None else cleaner(cleaning)
        self._tokenizer = _read(tokenizer_json)
        vocabulary: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        self._piece_of = {number: piece for piece, number in vocabulary.items()}
        self._size = 1 + max(self._piece_of, default=-1)
        self._given = (bos_id, eos_id, pad_id)
        for name, number in zip(("bos", "eos", "pad"), self._given, strict=True):
            if number is not None and number not in self._piece_of:
                raise ConfigError(f"special id {name}={number} is no id of this tokenizer of {self._size} tokens")
        self.eos_id = eos_id
        self.pad_id = eos_id if pad_id is None else pad_id
        self.bos_id = self.pad_id if bos_id is None else bos_id
        self.begins_with_bos = bos_id is not None
        self._special = frozenset({self.pad_id, self.bos_id, self.eos_id})
        added: dict[int, Any] = self._tokenizer.get_added_tokens_decoder()
        self._silent = self._special | {number for number, token in added.items() if token.special}
        self._json: str = self._tokenizer.to_str()
        self._byte_of = _bytes_of_characters() if _is_byte_level(self._json) else None

    @classmethod
    def of(
        cls, json_text: str, *, bos_id: int | None, eos_id: int, pad_id: int | None, cleaning: str | None = None
    ) -> SubwordTokenizer:
        """A pretrained language model's tokenizer (see ``radwright.nn.huggingface.subword_parts``)."""
        return cls(json_text, bos_id=bos_id, eos_id=eos_id, pad_id=pad_id, cleaning=cleaning)

    @classmethod
    def train(cls, texts: Iterable[str], *, size: int, cleaning: str | None = None) -> SubwordTokenizer:
        """Byte-level BPE (Sennrich et al. 2016 on bytes): the 256 bytes, then the most frequent pairs joined.

        Numbers are cut digit by digit, so that a measurement never seen is not read as another one. The order of texts
        does not matter.

        Args:
            texts: the train reports.
            size: most tokens there may be; fewer where no pair occurs twice any more.
            cleaning: see the class.

        Raises:
            ConfigError: the size leaves no room for bytes and special tokens, or there is no text.
        """
        if size < SMALLEST:
            raise ConfigError(
                f"size = {size}: {NUM_BYTES} bytes and {len(SPECIAL_TOKENS)} special tokens come before the first "
                "piece of a word; give 1000 or more"
            )
        library = require("tokenizers", extra="learned")
        clean = None if cleaning is None else cleaner(cleaning)
        prepared = [joined for text in texts if (joined := _prepare(text, clean))]
        if not prepared:
            raise ConfigError("there is no text to train a tokenizer on: the train reports are empty")
        made = library.Tokenizer(library.models.BPE())
        # A text's first word is then the same piece as further on.
        made.normalizer = library.normalizers.Prepend(" ")
        byte_level = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        digits = library.pre_tokenizers.Split(library.Regex(_NUMBER), "isolated")
        made.pre_tokenizer = library.pre_tokenizers.Sequence([digits, byte_level])
        made.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=MIN_COUNT,
            show_progress=False,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=sorted(byte_level.alphabet()),
        )
        made.train_from_iterator(prepared, trainer)
        return cls(made.to_str(), pad_id=0, bos_id=1, eos_id=2, cleaning=cleaning)

    @property
    def vocab_size(self) -> int:
        """Number of ids, special ones included (U)."""
        return self._size

    def encode(self, text: str) -> list[int]:
        """Ids of a report, without BOS and EOS. A special token's spelling in a text is plain text."""
        return self._ids(_prepare(text, self._clean))

    def encode_as_written(self, text: str) -> list[int]:
        """As ``encode``, without the cleaning: for prompts, whose white space and punctuation count."""
        return self._ids(text)

    def encode_sentences(self, text: str, max_ids: int) -> list[int]:
        """Ids of as many whole sentences from the beginning as fit; see ``radwright.types.CutsAtSentences``."""
        prepared = _prepare(text, self._clean)
        ends = sentence_ends(prepared)
        num_fit = bisect.bisect_right(ends, max_ids, key=lambda end: len(self._ids(prepared[:end])))
        return self._ids(prepared[: ends[num_fit - 1]]) if num_fit else []

    def decode(self, ids: list[int]) -> str:
        """The readable report of ``ids``; special tokens are dropped.

        Bytes at the end that make no character yet are left out, so that a report that is being written only grows.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        for number in ids:
            if not 0 <= number < self._size:
                raise ValueError(f"token id {number} is outside the vocabulary of {self._size}")
        kept = [number for number in ids if number not in self._silent and number in self._piece_of]
        pieces = [self._piece_of[number] for number in kept]
        if self._byte_of is not None:
            text = _text_of_bytes(b"".join(_bytes_of(piece, self._byte_of) for piece in pieces))
        else:
            whole = _without_torn_characters(pieces)
            text = self._tokenizer.decode([kept[place] for place in whole], skip_special_tokens=False)
        return text.strip() if self._clean is None else readable(text)

    def save(self, directory: Path) -> None:
        """Write ``tokenizer.json`` into an existing directory."""
        bos_id, eos_id, pad_id = self._given
        values = {
            "kind": KIND,
            "version": FORMAT_VERSION,
            "cleaning": self.cleaning,
            "special_ids": {"pad": pad_id, "bos": bos_id, "eos": eos_id},
            "tokenizer": json.loads(self._json),
        }
        text = json.dumps(values, ensure_ascii=False, indent=1) + "\n"
        (directory / FILE_NAME).write_text(text, encoding="utf-8")

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> SubwordTokenizer:
        """What ``save`` wrote, as read from JSON; ``kind`` and ``version`` are right already.

        Raises:
            ConfigError: a key or value that ``save`` does not write.
        """
        keys = {"kind", "version", "cleaning", "special_ids", "tokenizer"}
        if values.keys() != keys:
            raise ConfigError(f"has missing or unknown keys: {', '.join(sorted(values.keys() ^ keys))}")
        numbers, cleaning = values["special_ids"], values["cleaning"]
        if not isinstance(numbers, dict) or numbers.keys() != {"pad", "bos", "eos"}:
            raise ConfigError("special_ids must give a number or null for each of bos, eos, pad")
        if type(numbers["eos"]) is not int or any(type(n) not in (int, type(None)) for n in numbers.values()):
            raise ConfigError("special_ids must give a whole number for eos, and one or null for bos and pad")
        if cleaning is not None and not (isinstance(cleaning, str) and cleaning in CLEANERS):
            raise ConfigError(f"unknown cleaning {cleaning!r}; known: null, {', '.join(CLEANERS)}")
        text = json.dumps(values["tokenizer"], ensure_ascii=False)
        return cls(text, bos_id=numbers["bos"], eos_id=numbers["eos"], pad_id=numbers["pad"], cleaning=cleaning)

    def _ids(self, prepared: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(prepared, add_special_tokens=False).ids
        # A few pretrained vocabularies hold the spelling as a word: then it is lost rather than the report's end.
        return ids if self._special.isdisjoint(ids) else [number for number in ids if number not in self._special]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SubwordTokenizer):
            return NotImplemented
        return (self._json, self._given, self.cleaning) == (other._json, other._given, other.cleaning)

    def __hash__(self) -> int:
        return hash((self._json, self._given, self.cleaning))

    def __repr__(self) -> str:
        special = f"pad={self.pad_id}, bos={self.bos_id}, eos={self.eos_id}"
        return f"SubwordTokenizer({self._size} tokens, {special}, cleaning={self.cleaning!r})"


def _prepare(text: str, clean: Any) -> str:
    """What is cut into pieces: cleaned, white space joined; half a surrogate pair, which has no bytes, is ``?``."""
    joined = " ".join((text if clean is None else clean(text)).split())
    return joined if joined.isascii() else joined.encode("utf-8", "replace").decode("utf-8")


def _read(tokenizer_json: str) -> Any:
    """The library's tokenizer: whole texts, nothing filled up, special tokens' spelling not read as special."""
    library = require("tokenizers", extra="learned")
    try:
        made = library.Tokenizer.from_str(tokenizer_json)
    except Exception as error:  # the library raises bare exceptions
        raise ConfigError(f"is no tokenizer of the tokenizers library: {error}") from error
    made.no_truncation()
    made.no_padding()
    made.encode_special_tokens = True
    return made


def _is_byte_level(tokenizer_json: str) -> bool:
    values = json.loads(tokenizer_json)
    # A tokenizer that never learnt to put pieces together still says how it takes texts apart.
    way = values["decoder"] or values["pre_tokenizer"] or {}
    steps = [way, *way.get("decoders", ()), *way.get("pretokenizers", ())]
    return any(step.get("type") == "ByteLevel" for step in steps)


def _bytes_of_characters() -> dict[str, int]:
    """Byte-level vocabularies spell each byte as one visible character: itself, or the next one from U+0100 on."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(NUM_BYTES) if byte not in set(visible)]
    return {chr(byte): byte for byte in visible} | {chr(NUM_BYTES + place): byte for place, byte in enumerate(others)}


def _bytes_of(piece: str, byte_of: dict[str, int]) -> bytes:
    try:
        return bytes([byte_of[character] for character in piece])
    except KeyError:  # a token added by its makers is spelt as it is
        return piece.encode("utf-8")


def _text_of_bytes(data: bytes) -> str:
    """UTF-8, without the beginning of a character at the end; what is wrong further in shows as U+FFFD."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode(data)


def _without_torn_characters(pieces: Sequence[str]) -> list[int]:
    """Places of the pieces, without those ``<0x..>`` that make no character with their neighbours."""
    kept: list[int] = []
    run: list[int] = []
    data = b""
    for place, piece in enumerate(pieces):
        match = _BYTE_TOKEN.fullmatch(piece)
        if match is None:
            kept.append(place)
            run, data = [], b""
            continue
        byte = bytes.fromhex(match[1])
        run, data = [*run, place], data + byte
        is_whole = _is_character(data)
        if is_whole is None:  # what went before cannot become one; this byte may begin another
            run, data = [place], byte
            is_whole = _is_character(data)
        if is_whole is not False:
            kept += run if is_whole else []
            run, data = [], b""
    return kept


def _is_character(data: bytes) -> bool | None:
    """True: a character in UTF-8; False: the beginning of one; None: neither."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return False if error.reason == "unexpected end of data" else None
    return True
