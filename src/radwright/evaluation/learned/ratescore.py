"""RaTEScore: entities of a draft are matched with those of the reference by their meaning, weighted by their types.

Zhao et al., EMNLP 2024, as their repository MAGIC-AI4Med/RaTEScore computes it, with one difference: sentences are
split by a rule of ours, not by medspaCy. The weights of type pairs are read from a file of theirs.

Shape legend: E entities of the one text, F of the other, D width.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from radwright.errors import CheckpointError, ScoringError
from radwright.evaluation.learned.supply import Part
from radwright.evaluation.learned.texts import (
    Pair,
    choose_device,
    distinct,
    mean_scores,
    rows_of_pairs,
    run_in_batches,
)
from radwright.metrics.base import FloatArray
from radwright.nn.huggingface import load_encoder, load_token_classifier, load_tokenizer

TYPES = ("ABNORMALITY", "NON-ABNORMALITY", "DISEASE", "NON-DISEASE", "ANATOMY")
CONTRADICTED = 0.3612
"""Factor on the similarity of an entity that one text asserts and the other denies; the published value."""
NOTHING_FOUND = 0.5
"""The published score where either text has words but no entity."""
_MAX_SENTENCE_TOKENS = 512
_MAX_ENTITY_TOKENS = 30
_MIN_SENTENCE = 3
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class Entity(NamedTuple):
    """Words that name something, and the type of it (one of ``TYPES``)."""

    words: str
    type: str


class RateScore:
    """RaTEScore; a row is [score, 1].

    As released, a report with words but without entities scores .5 against anything. Ours: a draft without words
    scores 0 (the released code loses count there).

    Args:
        classifier: token classes ``B-TYPE``, ``I-TYPE``, ``O``, named by its ``config.id2label``.
        classifier_tokenizer: its tokenizer.
        encoder: whose first state stands for an entity's meaning.
        encoder_tokenizer: its tokenizer.
        affinity: weight of an entity of the first type whose nearest one is of the second.
    """

    names = ("ratescore",)
    higher_is_better = (True,)
    reads_as_written = True
    variant = "RaTEScore, affinity as supplied, sentences split at . ! ?"
    parts = (
        Part("classifier", "the folder of RaTE-NER-Deberta", "huggingface.co/Angelakeke/RaTE-NER-Deberta"),
        Part("encoder", "the folder of BioLORD-2023-C", "huggingface.co/FremyCompany/BioLORD-2023-C"),
        Part(
            "affinity",
            "the weights of type pairs, long_weight.json",
            "github.com/MAGIC-AI4Med/RaTEScore, affinity_matrix",
        ),
    )
    built_on: tuple[str, ...] = ()

    def __init__(
        self,
        classifier: nn.Module,
        classifier_tokenizer: Any,
        encoder: nn.Module,
        encoder_tokenizer: Any,
        affinity: Mapping[tuple[str, str], float],
    ) -> None:
        device = choose_device()
        self._classifier = classifier.to(device)
        self._classifier_tokenizer = classifier_tokenizer
        self._encoder = encoder.to(device)
        self._encoder_tokenizer = encoder_tokenizer
        self._affinity = affinity
        config: Any = classifier.config
        self._labels = {int(number): str(label).upper() for number, label in config.id2label.items()}
        self._found: dict[str, list[Entity]] = {}  # by text
        self._meant: dict[str, Tensor] = {}  # unit vector (D) by an entity's words

    @classmethod
    def load(cls, classifier: Path, encoder: Path, affinity: Path) -> RateScore:
        """From two models' folders and the file of weights.

        Raises:
            CheckpointError: a folder holds another kind of model.
            ScoringError: the file of weights cannot be used.
            MissingExtraError: transformers is not installed.
        """
        weights = read_affinity(affinity)
        tagger = load_token_classifier(classifier)
        config: Any = tagger.config
        strange = {str(label).upper().partition("-")[2] for label in config.id2label.values()} - {"", *TYPES}
        if strange:
            raise CheckpointError(
                f"{classifier}: labels {', '.join(sorted(strange))}, where RaTEScore's entities are {', '.join(TYPES)}"
            )
        return cls(tagger, load_tokenizer(classifier), load_encoder(encoder), load_tokenizer(encoder), weights)

    def rows(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> FloatArray:
        """Statistics (n, 2); see ``Metric``."""
        return rows_of_pairs(self._compare, hypotheses, references)

    def scores(self, sums: FloatArray) -> FloatArray:
        """(..., 1) mean over studies, at most 1."""
        return mean_scores(sums)

    def entities(self, texts: Sequence[str]) -> list[list[Entity]]:
        """The entities of each text, in its order."""
        self._find([text for text in dict.fromkeys(texts) if text not in self._found])
        return [self._found[text] for text in texts]

    def _compare(self, pairs: Sequence[Pair]) -> FloatArray:
        texts = distinct(pairs)
        self._understand([entity.words for found in self.entities(texts) for entity in found])
        values = [self._score(draft, text) if draft and text else 0.0 for draft, text in pairs]
        return np.stack([np.array(values, dtype=np.float64), np.ones(len(pairs))], axis=1)

    def _score(self, draft: str, text: str) -> float:
        ours, theirs = self._found[draft], self._found[text]
        if not ours or not theirs:
            return NOTHING_FOUND
        alike_EF = (
            torch.stack([self._meant[e.words] for e in ours]) @ torch.stack([self._meant[e.words] for e in theirs]).T
        )
        precision = self._covered(alike_EF, ours, theirs)
        recall = self._covered(alike_EF.T, theirs, ours)
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    def _covered(self, alike_EF: Tensor, ours: Sequence[Entity], theirs: Sequence[Entity]) -> float:
        """How well the other text holds our entities: weighted mean of each one's similarity to its nearest."""
        nearest = alike_EF.max(dim=1)
        total = weighted = 0.0
        for entity, value, index in zip(ours, nearest.values.tolist(), nearest.indices.tolist(), strict=True):
            other = theirs[index]
            weight = self._affinity[entity.type, other.type]
            total += weight
            weighted += weight * value * (CONTRADICTED if contradict(entity.type, other.type) else 1.0)
        return weighted / total if total else 0.0

    def _find(self, texts: Sequence[str]) -> None:
        self._found |= {text: [] for text in texts}
        places = [(text, sentence) for text in texts for sentence in split_sentences(text)]
        if not places:
            return
        tokenizer = self._classifier_tokenizer
        sentences = [sentence for _, sentence in places]
        encoded = tokenizer(sentences, truncation=True, max_length=_MAX_SENTENCE_TOKENS)["input_ids"]
        found: dict[int, list[Entity]] = {}
        for index, logits_TC in run_in_batches(self._classifier, encoded, tokenizer.pad_token_id):
            labels = [self._labels[number] for number in logits_TC.argmax(dim=-1).tolist()]
            found[index] = self._entities_of(encoded[index], labels)
        for index, (text, _) in enumerate(places):
            self._found[text] += found[index]

    def _entities_of(self, ids: Sequence[int], labels: Sequence[str]) -> list[Entity]:
        special = set(self._classifier_tokenizer.all_special_ids)
        spans: list[tuple[list[int], str]] = []
        is_open = False
        for token, label in zip(ids, labels, strict=True):
            if token in special:
                continue
            if label.startswith("B-"):
                spans.append(([token], label[2:]))
                is_open = True
            elif label.startswith("I-") and is_open:
                spans[-1][0].append(token)
            else:
                is_open = False
        tokenizer = self._classifier_tokenizer
        named = [
            (tokenizer.convert_tokens_to_string(tokenizer.convert_ids_to_tokens(tokens)).strip(), kind)
            for tokens, kind in spans
        ]
        return [Entity(words, kind) for words, kind in named if words]

    def _understand(self, entities: Sequence[str]) -> None:
        new = [words for words in dict.fromkeys(entities) if words not in self._meant]
        if not new:
            return
        encoded = self._encoder_tokenizer(new, truncation=True, max_length=_MAX_ENTITY_TOKENS)["input_ids"]
        for index, states_TD in run_in_batches(self._encoder, encoded, self._encoder_tokenizer.pad_token_id):
            self._meant[new[index]] = nn.functional.normalize(states_TD[0], dim=-1)


def contradict(first: str, second: str) -> bool:
    """Whether one type is asserted and the other denied; anatomy is neither."""
    return "ANATOMY" not in {first, second} and first.startswith("NON-") != second.startswith("NON-")


def split_sentences(text: str) -> list[str]:
    """Sentences of at least three characters."""
    return [sentence for sentence in _SENTENCE_END.split(text) if len(sentence) >= _MIN_SENTENCE]


def read_affinity(path: Path) -> dict[tuple[str, str], float]:
    """Weights of all pairs of types, from JSON ``{"abnormality_disease": weight, ...}``.

    Raises:
        ScoringError: it cannot be read, or a pair is missing.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        weights = {
            (first.upper(), second.upper()): float(weight)
            for (first, _, second), weight in ((name.partition("_"), weight) for name, weight in entries.items())
        }
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ScoringError(f"{path}: cannot be read as RaTEScore's weights of type pairs: {error}") from error
    missing = [f"{first}_{second}".lower() for first in TYPES for second in TYPES if (first, second) not in weights]
    if missing:
        raise ScoringError(f"{path}: has no weight for {missing[0]}; RaTEScore's long_weight.json has all 25")
    return weights
