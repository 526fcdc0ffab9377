"""Image and text encoders of a few thousand random numbers in the real files and architectures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tiny_weights import WORDS, write_byte_tokenizer, write_word_tokenizer


def write_bert(folder: Path, *, seed: int = 4, **given: Any) -> Path:
    """A BERT with its pooler, and a tokenizer of whole words (``tiny_weights.WORDS``)."""
    from transformers import BertConfig, BertModel

    sizes = {
        "vocab_size": len(WORDS),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
    }
    _write(folder, BertModel, BertConfig(**{**sizes, **given}), seed)
    return write_word_tokenizer(folder)


def write_roberta(folder: Path, *, seed: int = 4, **given: Any) -> Path:
    """A RoBERTa saved with its language-model head and without a pooler; positions begin behind padding's."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    sizes = {
        "vocab_size": 260,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 66,
        "initializer_range": 0.3,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }
    _write(folder, RobertaForMaskedLM, RobertaConfig(**{**sizes, **given}), seed)
    return write_byte_tokenizer(folder)


def write_distilbert(folder: Path, *, seed: int = 4, **given: Any) -> Path:
    """A DistilBERT: no token types, no pooler, its width by another name."""
    from transformers import DistilBertConfig, DistilBertModel

    sizes = {
        "vocab_size": len(WORDS),
        "dim": 16,
        "n_layers": 1,
        "n_heads": 2,
        "hidden_dim": 24,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
    }
    _write(folder, DistilBertModel, DistilBertConfig(**{**sizes, **given}), seed)
    return write_word_tokenizer(folder)


TEXT_WRITERS: dict[str, Callable[..., Path]] = {
    "bert": write_bert,
    "roberta": write_roberta,
    "distilbert": write_distilbert,
}


def _write(folder: Path, family: Any, config: Any, seed: int) -> None:
    torch.manual_seed(seed)
    model = family(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)  # a new model's biases are zero, and would hide mistakes
    model.save_pretrained(folder)
