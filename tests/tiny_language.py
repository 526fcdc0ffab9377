"""Language models of a few thousand random numbers in the real files and architectures, each with a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

WORDS = ["the", "heart", "is", "normal", "no", "effusion", "lungs", "are", "clear", ".", "left", "right", "large"]
VOCABULARY = ["<pad>", "<s>", "</s>", "<unk>", *WORDS]
PAD, BOS, EOS = 0, 1, 2
MAX_POSITIONS = 48
QWEN2_ROWS = len(VOCABULARY) + 255 + 7
_SPECIAL_IDS = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}


class WordTokenizer:
    """The run's tokenizer: the words of ``VOCABULARY``, split at spaces; ``radwright.types.Tokenizer``."""

    bos_id, eos_id, pad_id = BOS, EOS, PAD

    def __init__(self, vocab_size: int = len(VOCABULARY)) -> None:
        self.vocab_size = vocab_size

    def encode(self, text: str) -> list[int]:
        return [VOCABULARY.index(word) if word in VOCABULARY else 3 for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return " ".join(VOCABULARY[id_] for id_ in ids)

    def save(self, directory: Path) -> None:
        (directory / "words.json").write_text(json.dumps(VOCABULARY), encoding="utf-8")


def write_llama(folder: Path, **given: Any) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "max_position_embeddings": MAX_POSITIONS,
        "initializer_range": 0.4,
        "tie_word_embeddings": False,
    }
    return _write(folder, LlamaForCausalLM, LlamaConfig(**{**sizes, **_SPECIAL_IDS, **given}))


def write_qwen2(folder: Path, **given: Any) -> Path:
    """Two heads share keys and values, biases in the attention, one matrix for embeddings and head, padding rows.

    Its tokenizer adds single bytes behind ``VOCABULARY``: transformers reads nothing but bytes for this architecture.
    """
    from transformers import Qwen2Config, Qwen2ForCausalLM

    sizes = {
        "vocab_size": QWEN2_ROWS,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": MAX_POSITIONS,
        "initializer_range": 0.4,
        "tie_word_embeddings": True,
    }
    return _write(folder, Qwen2ForCausalLM, Qwen2Config(**{**sizes, **_SPECIAL_IDS, **given}), with_bytes=True)


def write_gpt2(folder: Path, **given: Any) -> Path:
    """Learned positions, dropout everywhere, matrices the other way round (Conv1D)."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {
        "vocab_size": len(VOCABULARY),
        "n_embd": 24,
        "n_layer": 2,
        "n_head": 3,
        "n_positions": MAX_POSITIONS,
        "initializer_range": 0.4,
    }
    return _write(folder, GPT2LMHeadModel, GPT2Config(**{**sizes, **_SPECIAL_IDS, **given}))


WRITERS: dict[str, Callable[..., Path]] = {"llama": write_llama, "qwen2": write_qwen2, "gpt2": write_gpt2}


def _write(folder: Path, family: Any, config: Any, *, with_bytes: bool = False) -> Path:
    torch.manual_seed(5)
    model = family(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)  # a new model's biases are zero, and would hide mistakes
    model.save_pretrained(folder)
    write_tokenizer(folder, with_bytes=with_bytes)
    return folder


def write_tokenizer(folder: Path, *, with_bytes: bool = False) -> Path:
    """A tokenizer that transformers reads: of whole words, or one that spells everything in bytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    if with_bytes:
        pieces = [*VOCABULARY, *sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(VOCABULARY))]
        tokenizer = Tokenizer(models.BPE(vocab={piece: place for place, piece in enumerate(pieces)}, merges=[]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        words = {word: place for place, word in enumerate(VOCABULARY)}
        tokenizer = Tokenizer(models.WordLevel(vocab=words, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder
