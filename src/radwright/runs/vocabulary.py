"""A run's tokenizer as its recipe wants it: words or pieces of words; of the train reports, or taken over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from radwright.data.reports import Target, report_text
from radwright.data.studies import Studies
from radwright.nn.huggingface import subword_parts
from radwright.runs.recipe import VocabularyConfig
from radwright.text.subwords import SMALLEST, SubwordTokenizer
from radwright.text.tokenizers import load_tokenizer
from radwright.text.words import WordTokenizer, frequent_words
from radwright.types import Tokenizer


def make_tokenizer(config: VocabularyConfig, studies: Studies, target: Target) -> Tokenizer:
    """The tokenizer of a run.

    Args:
        config: which.
        studies: whose train reports it is made from (``tune`` left out: it stands for unseen studies).
        target: the part of the report.

    Raises:
        ConfigError: the reports give no vocabulary of that kind.
        CheckpointError: the checkpoint or the language model's folder has no usable tokenizer.
        MissingExtraError: pieces of words, and their library is not installed.
    """
    taken = _taken_over(config)
    if taken is not None:
        return taken
    reports = _train_reports(studies, target)
    if config.kind == "subwords":
        return SubwordTokenizer.train(reports, size=config.size, cleaning=config.cleaning)
    assert config.cleaning is not None
    if config.released:
        words = frequent_words(reports, min_count=config.min_count, cleaning=config.cleaning)
        return WordTokenizer.released(words, cleaning=config.cleaning)
    return WordTokenizer.build(reports, min_count=config.min_count, cleaning=config.cleaning)


def stand_in(config: VocabularyConfig) -> Tokenizer:
    """A tokenizer of the same kind without reading a report: for checks that its size does not matter to.

    One that is taken over is the real one, since a language model fits no other.

    Raises:
        CheckpointError, MissingExtraError: as ``make_tokenizer``.
    """
    taken = _taken_over(config)
    if taken is not None:
        return taken
    if config.kind == "subwords":
        return SubwordTokenizer.train(["word"], size=SMALLEST, cleaning=config.cleaning)
    return WordTokenizer.build(["word"], min_count=1)


def _taken_over(config: VocabularyConfig) -> Tokenizer | None:
    if config.checkpoint is not None:
        return load_tokenizer(config.checkpoint / "tokenizer")
    return None if config.directory is None else _of_language_model(config.directory, config.cleaning)


def _of_language_model(directory: Path, cleaning: str | None) -> SubwordTokenizer:
    json_text, bos_id, eos_id, pad_id = subword_parts(directory)
    return SubwordTokenizer.of(json_text, bos_id=bos_id, eos_id=eos_id, pad_id=pad_id, cleaning=cleaning)


def _train_reports(studies: Studies, target: Target) -> Iterator[str]:
    return (report_text(studies.study(index, images=False), target) for index in studies.indices("train"))
