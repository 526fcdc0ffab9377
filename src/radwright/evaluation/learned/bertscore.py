"""BERTScore: every token of one text is matched with the most similar token of the other, by an encoder on disk.

Zhang et al., ICLR 2020, as their package ``bert_score`` computes it: states of one layer, special tokens weigh nothing
but may be matched with, optional weights by inverse document frequency in the references.

Shape legend: P pairs, T tokens, D width.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from radwright.errors import CheckpointError, ScoringError
from radwright.evaluation.learned.supply import Part, read_count, read_switch
from radwright.evaluation.learned.texts import (
    Pair,
    choose_device,
    distinct,
    mean_scores,
    rows_of_pairs,
    run_in_batches,
)
from radwright.metrics.base import FloatArray
from radwright.nn.huggingface import load_encoder, load_tokenizer

_MAX_TOKENS = 512


class BertScore:
    """BERTScore's F1; a row is [F1, 1]. With several references of a study the mean counts, where the package's is the
    best.

    Args:
        encoder: a network of layers at ``encoder.layer``, as BERT's and RoBERTa's.
        tokenizer: its tokenizer.
        layer: the layer whose states are compared, from 1; the last one when absent.
        idf: weigh tokens by -log of the share of references that hold them.
        baseline: F1 of random pairs at that layer, so that 0 stands for chance and 1 stays 1; absent: not rescaled.
    """

    names = ("bertscore",)
    higher_is_better = (True,)
    reads_as_written = True
    parts = (
        Part("encoder", "the folder of an encoder, such as distilroberta-base", "huggingface.co"),
        Part(
            "layer", "number of the layer (5 for distilroberta-base; the last one when left out)", "", read_count, False
        ),
        Part("idf", "yes: tokens weigh by their rarity in the references", "", read_switch, required=False),
        Part(
            "baseline",
            "the encoder's rescaling file, such as distilroberta-base.tsv",
            "github.com/Tiiiger/bert_score, bert_score/rescale_baseline/en",
            required=False,
        ),
    )
    built_on: tuple[str, ...] = ()

    def __init__(
        self,
        encoder: nn.Module,
        tokenizer: Any,
        *,
        layer: int | None = None,
        idf: bool = False,
        baseline: float | None = None,
        name: str = "encoder",
    ) -> None:
        layers = encoder.get_submodule("encoder.layer")
        assert isinstance(layers, nn.ModuleList)
        self.num_layers = len(layers)
        self.layer = self.num_layers if layer is None else layer
        encoder.get_submodule("encoder").layer = layers[: self.layer]  # layers above are not computed
        self._encoder = encoder.to(choose_device())
        self._tokenizer = tokenizer
        self.idf = idf
        self.baseline = baseline
        scale = "not rescaled" if baseline is None else f"rescaled by {baseline:.4f}"
        self.variant = (
            f"BERTScore F1, {name}, layer {self.layer} of {self.num_layers}, idf {'of refs' if idf else 'off'}, {scale}"
        )
        # Byte-level vocabularies tell a word at the start from one after a space; the package puts a space there.
        backend = json.loads(tokenizer.backend_tokenizer.to_str())
        self._opening = " " if "ByteLevel" in json.dumps(backend.get("pre_tokenizer")) else ""
        self._scored: dict[Pair, float] = {}

    @classmethod
    def load(
        cls, encoder: Path, layer: int | None = None, idf: bool = False, baseline: Path | None = None
    ) -> BertScore:
        """From the encoder's folder.

        Raises:
            CheckpointError: no such encoder, one of another architecture, or it has no such layer.
            ScoringError: the rescaling file cannot be used.
            MissingExtraError: transformers is not installed.
        """
        network = load_encoder(encoder)
        layers = getattr(getattr(network, "encoder", None), "layer", None)
        if not isinstance(layers, nn.ModuleList):
            raise CheckpointError(f"{encoder}: BERTScore needs an encoder built like BERT or RoBERTa, not this one")
        if layer is not None and layer > len(layers):
            raise CheckpointError(f"{encoder}: has {len(layers)} layers, there is no layer {layer}")
        level = None if baseline is None else read_baseline(baseline, layer or len(layers))
        return cls(network, load_tokenizer(encoder), layer=layer, idf=idf, baseline=level, name=encoder.resolve().name)

    def rows(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> FloatArray:
        """Statistics (n, 2); see ``Metric``."""
        return rows_of_pairs(self._compare, hypotheses, references)

    def scores(self, sums: FloatArray) -> FloatArray:
        """(..., 1) mean F1, at most 1; below 0 where rescaled and worse than chance."""
        return mean_scores(sums)

    def similarities(self, pairs: Sequence[Pair]) -> FloatArray:
        """F1 (P) of each pair."""
        ids = self._encode(distinct(pairs))
        weights = self._weigh([text for _, text in pairs], ids)
        # Weights by document frequency depend on all the references; without them a pair scores the same everywhere.
        known = {} if self.idf else self._scored
        new = [pair for pair in dict.fromkeys(pairs) if pair not in known]
        states = self._states({text: ids[text] for text in distinct(new)})
        for draft, text in new:
            f1 = self._match(states, weights, draft, text) if draft and text else 0.0
            known[draft, text] = f1 if self.baseline is None else (f1 - self.baseline) / (1 - self.baseline)
        return np.array([known[pair] for pair in pairs], dtype=np.float64)

    def _compare(self, pairs: Sequence[Pair]) -> FloatArray:
        scores_P = self.similarities(pairs)
        return np.stack([scores_P, np.ones_like(scores_P)], axis=1)

    def _encode(self, texts: Sequence[str]) -> dict[str, list[int]]:
        if not texts:
            return {}
        limit = min(_MAX_TOKENS, self._tokenizer.model_max_length)
        opened = [self._opening + text for text in texts]
        encoded = self._tokenizer(opened, truncation=True, max_length=limit)["input_ids"]
        return dict(zip(texts, encoded, strict=True))

    def _weigh(self, references: Sequence[str], ids: Mapping[str, list[int]]) -> dict[str, Tensor]:
        """Weights (T) of the tokens of every text, which add up to 1."""
        special = {self._tokenizer.cls_token_id, self._tokenizer.sep_token_id}
        holding: Counter[int] = Counter()
        if self.idf:
            holding.update(token for text in references if text for token in set(ids[text]))
        total = len(references)
        weights = {}
        for text, tokens in ids.items():
            plain = [0.0 if token in special else 1.0 for token in tokens]
            if self.idf:
                plain = [
                    weight * math.log((total + 1) / (holding[token] + 1))
                    for weight, token in zip(plain, tokens, strict=True)
                ]
            weight_T = torch.tensor(plain, dtype=torch.float64)
            weights[text] = weight_T / weight_T.sum() if weight_T.sum() > 0 else weight_T
        return weights

    def _states(self, ids: Mapping[str, list[int]]) -> dict[str, Tensor]:
        """Unit vectors (T, D) of the tokens of every text."""
        texts = list(ids)
        filler = self._tokenizer.pad_token_id or 0
        found = run_in_batches(self._encoder, [ids[text] for text in texts], filler)
        return {texts[index]: nn.functional.normalize(states_TD, dim=-1) for index, states_TD in found}

    @staticmethod
    def _match(states: Mapping[str, Tensor], weights: Mapping[str, Tensor], draft: str, text: str) -> float:
        alike_TT = states[draft] @ states[text].T
        precision = float(alike_TT.amax(dim=1).double() @ weights[draft])
        recall = float(alike_TT.amax(dim=0).double() @ weights[text])
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def read_baseline(path: Path, layer: int) -> float:
    """F1 of random pairs at a layer, from a rescaling file of ``bert_score`` (columns LAYER, P, R, F).

    Raises:
        ScoringError: it cannot be read, or has no such layer.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            levels = {int(row["LAYER"]): float(row["F"]) for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError) as error:
        raise ScoringError(f"{path}: cannot be read: {error}") from error
    except (KeyError, ValueError, TypeError) as error:
        raise ScoringError(f"{path}: is no rescaling file of bert_score (columns LAYER, P, R, F)") from error
    if layer not in levels or not levels[layer] < 1:
        raise ScoringError(f"{path}: has no baseline for layer {layer}")
    return levels[layer]
