"""A checkpoint that knows a few phantom studies by heart, made in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from radwright.data.loading import make_batch
from radwright.data.phantom import PhantomConfig, generate_study
from radwright.decoding.config import DecodingConfig, Greedy
from radwright.imaging.config import ImageConfig
from radwright.inference.checkpoint import CheckpointConfig, build_model, save_checkpoint
from radwright.text.words import WordTokenizer
from radwright.types import Study

MODEL: dict[str, Any] = {
    "backbone": {"name": "resnet", "depth": 18, "width": 8, "num_stages": 2},
    "dim": 32,
    "num_heads": 4,
    "hidden_dim": 32,
    "linguistic_hidden_dim": 32,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
    "num_local_per_head": 1,
    "dropout": 0.0,
    "mediator_dropout": 0.0,
}
PHANTOM = PhantomConfig(seed=5, size_px=64)
IMAGE = ImageConfig(size_px=32)
MOST_STEPS = 200


def known_studies(count: int = 2) -> list[Study]:
    """Phantom studies whose reports the checkpoint has learnt."""
    return [generate_study(PHANTOM, "train", index).study() for index in range(count)]


def trained_checkpoint(folder: Path) -> Path:
    """Overfit and save; fails where it does not learn them."""
    studies = known_studies()
    tokenizer = WordTokenizer.build([study.section("findings") for study in studies], min_count=1)
    torch.manual_seed(0)
    model = build_model("vlci", MODEL, tokenizer, IMAGE)
    batch = make_batch(studies, IMAGE, tokenizer=tokenizer)
    assert batch.token_ids_BT is not None
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(MOST_STEPS + 1):
        logits_BTU = model.logits(batch)
        loss = F.cross_entropy(logits_BTU.flatten(0, 1), batch.token_ids_BT[:, 1:].flatten(), ignore_index=0)
        if float(loss.detach()) < 0.02:
            break
        assert step < MOST_STEPS, f"not learnt by heart: {float(loss.detach()):.3f}"
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    config = CheckpointConfig(
        method="vlci", model=MODEL, image=IMAGE, decoding=DecodingConfig(strategy=Greedy(), max_tokens=80)
    )
    path = folder / "phantom" / "best"
    save_checkpoint(path, config, model.eval(), tokenizer, {"seed": 0})
    return path
