"""A checkpoint drafts on a GPU what it drafts on a CPU, and nearly so in bf16, which a CPU can do too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_predictor import MODEL as SMALLER
from test_predictor import WORDS

from radwright.data.transfer import send
from radwright.decoding.config import Beam, DecodingConfig
from radwright.errors import ConfigError
from radwright.imaging.config import ImageConfig
from radwright.inference.checkpoint import CheckpointConfig, build_model, load_checkpoint, save_checkpoint
from radwright.inference.predictor import Predictor
from radwright.runs.drafting import open_predictor
from radwright.types import Batch, ImageInMemory, Report, Study, View
from tiny_pictures import png

WIDTHS = ("dim", "hidden_dim", "linguistic_hidden_dim")
MODEL: dict[str, Any] = {**SMALLER, "backbone": {**SMALLER["backbone"], "width": 8}} | dict.fromkeys(WIDTHS, 32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = CheckpointConfig(
        method="vlci",
        model=MODEL,
        image=ImageConfig(size_px=32),
        decoding=DecodingConfig(strategy=Beam(num_beams=2), max_tokens=14),
    )
    model = build_model("vlci", MODEL, WORDS, config.image)
    with torch.no_grad():
        model.decoder.logit.weight *= 5
    path = tmp_path_factory.mktemp("checkpoint") / "best"
    save_checkpoint(path, config, model, WORDS, {})
    return path


def studies() -> list[Study]:
    return [
        Study(f"s{n}", tuple(View(ImageInMemory(f"{n}-{v}", png(10 * n + v))) for v in range(1 + n % 2)))
        for n in range(11)
    ]


def drafts(predictor: Predictor) -> list[Report]:
    found = [outcome for outcome in predictor.draft(studies()) if isinstance(outcome, Report)]
    assert len(found) == 11
    return found


def test_bf16_changes_the_products_and_not_the_weights(saved: Path) -> None:
    predictor = Predictor(load_checkpoint(saved), precision="bf16")
    exact, narrow = drafts(Predictor(load_checkpoint(saved))), drafts(predictor)
    assert [one.score for one in exact] != [other.score for other in narrow]
    assert not torch.is_autocast_enabled("cpu")
    assert {weight.dtype for weight in predictor.checkpoint.model.parameters()} == {torch.float32}
    assert np.mean([one.score - other.score for one, other in zip(exact, narrow, strict=True)]) == pytest.approx(
        0, abs=1
    )


def test_a_stream_in_bf16_ends_in_the_draft_and_leaves_no_precision_behind(saved: Path) -> None:
    predictor = Predictor(load_checkpoint(saved), precision="bf16")
    first = studies()[0]
    [draft] = predictor.draft([first])
    last: Any = None
    for event in predictor.stream(first):
        assert not torch.is_autocast_enabled("cpu")
        last = event
    assert isinstance(draft, Report)
    assert (last.text, last.score) == (draft.text, draft.score)


def test_an_unknown_precision_is_refused(saved: Path) -> None:
    with pytest.raises(ConfigError, match=r"--precision bf61: is none of fp32, bf16 \(did you mean 'bf16'"):
        open_predictor(saved, device="cpu", precision="bf61")


def test_a_gpu_drafts_what_a_cpu_does(saved: Path, gpu: torch.device) -> None:
    expected = drafts(Predictor(load_checkpoint(saved)))
    predictor = Predictor(load_checkpoint(saved, device="cuda"), batch_size=3)
    for _ in range(3):
        for one, other in zip(drafts(predictor), expected, strict=True):
            assert one.text == other.text
            assert one.score == pytest.approx(other.score, rel=1e-4)


def test_bf16_on_a_gpu_is_near(saved: Path, gpu: torch.device) -> None:
    exact = drafts(Predictor(load_checkpoint(saved, device="cuda"), batch_size=4))
    narrow = drafts(Predictor(load_checkpoint(saved, device="cuda"), batch_size=4, precision="bf16"))
    assert np.mean([one.score - other.score for one, other in zip(exact, narrow, strict=True)]) == pytest.approx(
        0, abs=1
    )


def test_what_is_sent_arrives_whole(gpu: torch.device) -> None:
    views = torch.tensor([[True, False], [True, True]])
    batch = Batch(("a", "b"), torch.rand(2, 2, 1, 8, 8), views, views.long(), torch.arange(6).view(2, 3), None)
    busy = torch.rand(4096, 4096, device=gpu)
    for _ in range(20):
        busy = busy @ busy
        sent = send(batch, gpu)
        assert sent.lengths_B is None
        for one, other in zip(sent.tensors, batch.tensors, strict=True):
            assert one.device.type == "cuda"
            assert torch.equal(one.cpu(), other)
