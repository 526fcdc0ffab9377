"""Checkpoints with a real language model: our own, a folder's trained whole, frozen, or below adapters."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from radwright.config import Config
from radwright.imaging.config import ImageConfig
from radwright.inference.checkpoint import CheckpointConfig, build_model, load_checkpoint, save_checkpoint
from radwright.nn.language import Language, LanguageConfig
from radwright.runs.recipe import VocabularyConfig
from radwright.runs.vocabulary import stand_in
from radwright.types import Tokenizer
from tiny_weights import write_byte_tokenizer, write_json

METHOD = f"{__name__}:Writer"
IMAGE = ImageConfig(size_px=32)


class WriterConfig(Config):
    language: LanguageConfig = LanguageConfig(dim=12, num_layers=1, hidden_dim=8)


class Writer(nn.Module):
    Config = WriterConfig

    def __init__(self, config: WriterConfig, tokenizer: Tokenizer, size_px: int) -> None:
        super().__init__()
        self.config = config
        self.language = Language(config.language, tokenizer)
        self.head = nn.Linear(2, 2)

    def deployed_config(self) -> dict[str, Any]:
        return {"language": self.config.language.plain() | self.language.deployed_part("language")}


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = write_byte_tokenizer(tmp_path_factory.mktemp("bases") / "lm")
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    write_json(folder / "tokenizer_config.json", named)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=260, tie_word_embeddings=request.param, **sizes)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("tuning", ["own", "full", "frozen", "lora"])
def test_what_was_saved_comes_back(tuning: str, folder: Path, tmp_path: Path) -> None:
    base = shutil.copytree(folder, tmp_path / "lm")
    tokenizer = stand_in(VocabularyConfig(directory=base, cleaning=None))
    values = {} if tuning == "own" else {"language": {"directory": base, "tuning": tuning}}
    model: Writer = build_model(METHOD, values, tokenizer, IMAGE)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.5)
    path = tmp_path / "best"
    save_checkpoint(
        path, CheckpointConfig(method=METHOD, model=model.deployed_config(), image=IMAGE), model, tokenizer, {}
    )
    stored = load_file(path / "model.safetensors").keys()
    inside = {name for name in stored if name.startswith("language.")}
    assert all(".lora_" in name for name in inside) == (tuning in ("frozen", "lora"))
    assert bool(inside) == (tuning != "frozen")
    assert (path / "language").is_dir() == (tuning == "full")
    if tuning in ("own", "full"):
        shutil.rmtree(base)
    loaded = load_checkpoint(path)
    assert loaded.tokenizer == tokenizer
    before, after = model.state_dict(), loaded.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
