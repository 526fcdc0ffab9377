"""A tokenizer of numbers and a network of a few thousand weights, for tests."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from radwright.methods.cmcrl.vlci import Vlci, VlciConfig


@dataclass(frozen=True)
class Ids:
    """A tokenizer's size and special ids: all that a model sees of it."""

    vocab_size: int = 23
    pad_id: int = 0
    bos_id: int = 1
    eos_id: int = 2

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))

    def save(self, directory: object) -> None:
        raise AssertionError("not used")


def tiny_vlci(vocab_size: int, *, seed: int) -> Vlci:
    """VLCI for 32 px images in float64, without dropout."""
    torch.manual_seed(seed)
    values = {
        "backbone": {"name": "resnet", "depth": 18, "width": 8, "num_stages": 2},
        "dim": 16,
        "num_heads": 2,
        "hidden_dim": 16,
        "linguistic_hidden_dim": 16,
        "num_encoder_layers": 1,
        "num_decoder_layers": 1,
        "num_local_per_head": 2,
        "dropout": 0.0,
        "mediator_dropout": 0.0,
    }
    return Vlci(VlciConfig.parse(values, where="test"), Ids(vocab_size), size_px=32).double()
