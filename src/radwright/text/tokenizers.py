"""Reading a saved tokenizer of either kind: words, or pieces of words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from radwright.errors import CheckpointError, ConfigError
from radwright.text import subwords, words
from radwright.types import Tokenizer

KINDS: Mapping[str, Callable[[dict[str, Any]], Tokenizer]] = {
    words.KIND: words.WordTokenizer.from_values,
    subwords.KIND: subwords.SubwordTokenizer.from_values,
}
"""``kind`` in the file -> what makes a tokenizer of its values."""


def load_tokenizer(directory: Path) -> Tokenizer:
    """Read the tokenizer that its ``save`` wrote into ``directory``.

    Raises:
        CheckpointError: the file is missing, is not JSON, is of another version, or does not hold a valid vocabulary.
        MissingExtraError: a subword tokenizer, and the tokenizers library is not installed.
    """
    path = directory / words.FILE_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: is not valid JSON: {error}") from error
    try:
        return _from_values(values)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _from_values(values: Any) -> Tokenizer:
    kind = values.get("kind") if isinstance(values, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(f'is no tokenizer of Radwright\'s: "kind" must be {" or ".join(KINDS)}, not {kind!r}')
    if values.get("version") != words.FORMAT_VERSION:
        raise ConfigError(f"has format version {values.get('version')!r}; this Radwright reads {words.FORMAT_VERSION}")
    return KINDS[kind](values)
