"""Image and text encoders of a few thousand random numbers in the real files and architectures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tiny_weights import WORDS, write_byte_tokenizer, write_json, write_word_tokenizer


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


def write_swin(folder: Path, *, seed: int = 4, **given: Any) -> Path:
    """A Swin for 32 px: 8 x 8 patches of 4 px, merged to 4 x 4 of 16 channels; windows of 2, with a pooler."""
    from transformers import SwinConfig, SwinModel

    sizes = {
        "embed_dim": 8,
        "depths": [1, 2],
        "num_heads": [1, 2],
        "window_size": 2,
        "image_size": 32,
        "patch_size": 4,
        "initializer_range": 0.2,
    }
    return _write_image_model(folder, SwinModel, SwinConfig(**{**sizes, **given}), seed)


_VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
    "initializer_range": 0.1,
}


def write_vit(folder: Path, *, seed: int = 4, **given: Any) -> Path:
    """A ViT saved with a classifier and without a pooler, as published ones are."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(**{**_VIT, "intermediate_size": 24, **given})
    return _write_image_model(folder, ViTForImageClassification, config, seed)


def write_dinov2(folder: Path, *, seed: int = 4, num_register_tokens: int = 0, **given: Any) -> Path:
    """A DINOv2, with register tokens where wanted."""
    from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    if num_register_tokens:
        config = Dinov2WithRegistersConfig(**{**_VIT, "num_register_tokens": num_register_tokens, **given})
        return _write_image_model(folder, Dinov2WithRegistersModel, config, seed)
    return _write_image_model(folder, Dinov2Model, Dinov2Config(**{**_VIT, **given}), seed)


def write_convnext(folder: Path, *, seed: int = 4, **given: Any) -> Path:
    """A ConvNeXt of two stages: 4 x 4 patches of 32 px images, 16 channels."""
    from transformers import ConvNextConfig, ConvNextModel

    sizes = {
        "num_stages": 2,
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
        "image_size": 32,
        "patch_size": 4,
        "initializer_range": 0.2,
        "layer_scale_init_value": 0.5,
    }
    return _write_image_model(folder, ConvNextModel, ConvNextConfig(**{**sizes, **given}), seed)


IMAGE_WRITERS: dict[str, Callable[..., Path]] = {
    "swin": write_swin,
    "vit": write_vit,
    "dinov2": write_dinov2,
    "dinov2-registers": lambda folder, **given: write_dinov2(folder, num_register_tokens=3, **given),
    "convnext": write_convnext,
}
IMAGE_MEAN, IMAGE_STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]


def _write_image_model(folder: Path, family: Any, config: Any, seed: int) -> Path:
    _write(folder, family, config, seed)
    values = {"image_mean": IMAGE_MEAN, "image_std": IMAGE_STD, "image_processor_type": "ViTImageProcessor"}
    write_json(folder / "preprocessor_config.json", values)
    return folder


def _write(folder: Path, family: Any, config: Any, seed: int) -> None:
    torch.manual_seed(seed)
    model = family(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)  # a new model's biases are zero, and would hide mistakes
    model.save_pretrained(folder)
