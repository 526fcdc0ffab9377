"""A toy tokenizer, images and networks for TRRG's tests, in float64; as a rank, one step of the contrastive loss."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from radwright.methods.trrg.alignment import Alignment, AlignmentConfig
from radwright.methods.trrg.contrast import SentenceContrast, SentenceContrastConfig
from radwright.methods.trrg.model import Trrg, TrrgConfig
from radwright.types import Batch

SIDE = 32
LANGUAGE = {"dim": 24, "num_layers": 2, "num_heads": 2, "hidden_dim": 24, "dropout": 0.0}
REPORTS = (
    "The heart is enlarged. No pleural effusion. No pneumothorax. Lungs are clear.",
    "Heart size is normal. No pleural effusion. There is a small right pneumothorax.",
    "The lungs are clear. No pleural effusion. XXXX.",
    "There is bibasilar atelectasis. Heart size is normal.",
    "Cardiomegaly. Small left pleural effusion. No pneumothorax. No fracture. Degenerative changes of the spine.",
)


class Letters:
    """A tokenizer of letters: texts have different lengths, and nothing has to be trained."""

    pad_id, bos_id, eos_id = 0, 1, 2
    begins_with_bos = True

    @property
    def vocab_size(self) -> int:
        return 131

    def encode(self, text: str) -> list[int]:
        return [3 + ord(letter) % 128 for letter in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(number - 3) for number in ids if number > 2)

    def save(self, directory: Path) -> None:
        raise AssertionError("not used")


def values(**changes: Any) -> dict[str, Any]:
    """Config of a tiny network without dropout, whose batch statistics stay as they are."""
    backbone = {"name": "resnet", "depth": 18, "width": 8, "num_stages": 2, "min_images_for_batch_statistics": 999}
    text = {"dim": 16, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "dropout": 0.0}
    return {"backbone": backbone, "text_encoder": text, "contrast_dim": 12} | changes


def tiny_alignment(**changes: Any) -> Alignment:
    torch.manual_seed(3)
    return Alignment(AlignmentConfig.parse(values(**changes), where="test"), Letters(), SIDE).double()


def tiny_trrg(tokenizer: Any = None, **changes: Any) -> Trrg:
    torch.manual_seed(5)
    prompt = {
        "opening": "x ",
        "view": "{position[0]}".replace("{position[0]}", "v") + "<{image}>",
        "clues": "c<{clues}>",
    }
    prompt |= {"indication": "i:{indication} ", "answer": "r:"}
    fields = {"language": LANGUAGE, "prompt": prompt, "interaction_dim": 16, "num_interaction_heads": 2}
    config = TrrgConfig.parse(values(**fields, **changes), where="test")
    model = Trrg(config, tokenizer or Letters(), SIDE).double().eval()
    for layer in model.interaction.layers:  # wide open, so that nothing is hidden behind a small gate
        torch.nn.init.constant_(layer.clue_gate, 0.8)  # type: ignore[arg-type]
        torch.nn.init.constant_(layer.patch_gate, 0.8)  # type: ignore[arg-type]
        torch.nn.init.normal_(layer.patch_feed_forward.down.weight, std=0.1)  # type: ignore[union-attr,arg-type]
    return model


def toy_batch(numbers: Sequence[int], *, num_views: int = 2, **given: Any) -> Batch:
    """Studies by number; those with an odd number have one view."""
    images = torch.zeros(len(numbers), num_views, 1, SIDE, SIDE, dtype=torch.float64)
    mask = torch.zeros(len(numbers), num_views, dtype=torch.bool)
    for row, number in enumerate(numbers):
        views = 1 if number % 2 else min(2, num_views)
        random = torch.Generator().manual_seed(number)
        images[row, :views] = torch.rand(views, 1, SIDE, SIDE, generator=random, dtype=torch.float64)
        mask[row, :views] = True
    positions = torch.arange(num_views).clamp(max=2).expand(len(numbers), -1)
    reports = tuple(REPORTS[number % len(REPORTS)] for number in numbers)
    seeds = torch.tensor([1000 + number for number in numbers])
    fields = {"reports": reports, "seeds_B": seeds, "indications": ("",) * len(numbers)} | given
    return Batch(tuple(f"s{number}" for number in numbers), images, mask, positions * mask, **fields)


def one_step(out: Path, shares: Sequence[Sequence[int]], settings: dict[str, Any]) -> None:
    """This process's share of one step; sums, counts and the gradient of the joint loss go to ``out``/RANK.pt."""
    from radwright.training.engine import Engine, EngineConfig

    torch.set_num_threads(1)
    engine = Engine(EngineConfig(accelerator="cpu", processes=len(shares)))
    objective = SentenceContrast(tiny_alignment(), SentenceContrastConfig.parse(settings, where="test"))
    objective.ranks = engine
    numbers = shares[engine.rank]
    batch = toy_batch(numbers, num_views=2 + engine.rank) if numbers else None
    wrapped = engine.wrap(objective)
    names = list(objective.weights)
    own = dict.fromkeys(names, 0.0) if batch is None else objective.counts(batch)
    counts = dict(zip(names, engine.sum([own[name] for name in names]), strict=True))
    scales = {name: weight * engine.num_ranks / counts[name] for name, weight in objective.weights.items()}
    loss, sums = wrapped(batch, scales)
    engine.backward(loss)
    gradients = {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}
    total = engine.sum(sums.tolist())
    torch.save({"gradients": gradients, "counts": counts, "sums": dict(zip(names, total, strict=True))}, out)
    del wrapped, loss, sums
    engine.close()


def as_rank(rank: int, port: int, out: Path, shares: Sequence[Sequence[int]], settings: dict[str, Any]) -> None:
    """What torchrun would start."""
    os.environ |= {
        "TORCHELASTIC_RUN_ID": "toy",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(len(shares)),
        "LOCAL_WORLD_SIZE": str(len(shares)),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    one_step(out / f"{rank}.pt", shares, settings)
