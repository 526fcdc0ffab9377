"""Graphs run by ONNX Runtime write what the network writes; what does not fit is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("onnxscript", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from radwright.data.loading import make_batch
from radwright.data.phantom import PhantomConfig, generate_study
from radwright.decoding.config import Beam, DecodingConfig, Greedy, Sampling
from radwright.decoding.generate import generate
from radwright.errors import CheckpointError, ConfigError, OutputError
from radwright.imaging.config import ImageConfig
from radwright.inference.checkpoint import Checkpoint, CheckpointConfig, build_model, load_checkpoint, save_checkpoint
from radwright.inference.onnx_backend import MANIFEST, on_onnx
from radwright.inference.onnx_export import export_onnx
from radwright.inference.predictor import Predictor, special_ids
from radwright.text.words import WordTokenizer
from radwright.types import Batch, Skipped

IMAGE = ImageConfig(size_px=32)
MODEL: dict[str, Any] = {
    "backbone": {"name": "resnet", "depth": 18, "width": 8, "num_stages": 2},
    "dim": 32,
    "num_heads": 4,
    "hidden_dim": 32,
    "linguistic_hidden_dim": 32,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "num_local_per_head": 1,
}
STUDIES = [generate_study(PhantomConfig(seed=5, size_px=64), "train", index).study() for index in range(6)]


def saved(folder: Path, **changes: Any) -> Checkpoint:
    """A network of random weights, with gates that are open."""
    tokenizer = WordTokenizer.build([study.section("findings") for study in STUDIES], min_count=1)
    torch.manual_seed(0)
    model = build_model("vlci", MODEL | changes, tokenizer, IMAGE)
    for name, parameter in model.named_parameters():
        if name.endswith("gate"):
            torch.nn.init.constant_(parameter, 0.7)
    config = CheckpointConfig(method="vlci", model=MODEL | changes, image=IMAGE)
    save_checkpoint(folder / "best", config, model.eval(), tokenizer, {"seed": 0})
    return load_checkpoint(folder / "best")


def batch_of(checkpoint: Checkpoint) -> Batch:
    """Studies of which one has a single view."""
    whole = [*STUDIES[:3], replace(STUDIES[3], views=STUDIES[3].views[:1])]
    return make_batch(whole, IMAGE, tokenizer=checkpoint.tokenizer)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Path]:
    folder = tmp_path_factory.mktemp("onnx")
    checkpoint = saved(folder)
    made = export_onnx(checkpoint, folder / "fp32", [batch_of(checkpoint)])
    assert made.largest_difference < 1e-4
    return checkpoint, folder / "fp32"


@pytest.mark.parametrize(
    "strategy", [Greedy(), Beam(num_beams=3), Beam(num_beams=4, early_stop=False), Sampling()], ids=str
)
def test_drafts_are_the_networks_own(exported: tuple[Checkpoint, Path], strategy: Any) -> None:
    checkpoint, folder = exported
    other = on_onnx(checkpoint, folder)
    config = DecodingConfig(strategy=strategy, max_tokens=24, no_repeat_ngram=3)
    for batch in (batch_of(checkpoint), make_batch(STUDIES[4:5], IMAGE, tokenizer=checkpoint.tokenizer)):
        expected, found = (
            generate(model, batch, config, **special_ids(checkpoint.tokenizer))
            for model in (checkpoint.model, other.model)
        )
        assert [each.token_ids for each in found] == [each.token_ids for each in expected]
        assert [each.score for each in found] == pytest.approx([each.score for each in expected], abs=1e-3)


def test_others_may_read_it_as_any_new_folder(exported: tuple[Checkpoint, Path], tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert exported[1].stat().st_mode == (tmp_path / "new").stat().st_mode


def test_a_predictor_takes_it_and_streams(exported: tuple[Checkpoint, Path]) -> None:
    checkpoint, folder = exported
    decoding = DecodingConfig(strategy=Greedy(), max_tokens=12)
    plain, other = (Predictor(each, decoding=decoding) for each in (checkpoint, on_onnx(checkpoint, folder)))
    expected = [each.text for each in plain.draft(STUDIES) if not isinstance(each, Skipped)]
    assert [each.text for each in other.draft(STUDIES) if not isinstance(each, Skipped)] == expected
    *_, last = other.stream(STUDIES[0])
    assert not isinstance(last, str)
    assert last.text == expected[0]


@pytest.mark.slow
@pytest.mark.parametrize("parts", [{"visual": False}, {"linguistic": False}, {"visual": False, "linguistic": False}])
def test_every_form_of_the_network(tmp_path: Path, parts: dict[str, bool]) -> None:
    checkpoint = saved(tmp_path, **parts)
    made = export_onnx(checkpoint, tmp_path / "graphs", [batch_of(checkpoint)])
    assert made.largest_difference < 1e-4


@pytest.mark.slow
def test_int8_is_near_and_says_how_near(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path)
    made = export_onnx(checkpoint, tmp_path / "graphs", [batch_of(checkpoint)], int8=True)
    manifest = json.loads((tmp_path / "graphs" / MANIFEST).read_text(encoding="utf-8"))
    assert 0 < made.largest_difference < 1
    assert manifest["largest_difference"] == made.largest_difference
    assert (manifest["precision"], manifest["studies"]) == ("int8", 4)


def test_what_was_exported_belongs_to_one_checkpoint(exported: tuple[Checkpoint, Path], tmp_path: Path) -> None:
    checkpoint, folder = exported
    other = saved(tmp_path, dim=40, num_heads=4)
    with pytest.raises(CheckpointError, match="was exported from weights"):
        on_onnx(other, folder)
    with pytest.raises(CheckpointError, match="is no exported network"):
        on_onnx(checkpoint, tmp_path)
    with pytest.raises(OutputError, match="is there already"):
        export_onnx(checkpoint, folder, [batch_of(checkpoint)])
    with pytest.raises(ConfigError, match="no study could be read"):
        export_onnx(checkpoint, tmp_path / "none", [])
    assert not (tmp_path / "none").exists()


def test_a_damaged_graph_is_refused(exported: tuple[Checkpoint, Path], tmp_path: Path) -> None:
    checkpoint, folder = exported
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "step.onnx").write_bytes(b"changed")
    with pytest.raises(CheckpointError, match=r"step\.onnx: is missing or was changed"):
        on_onnx(checkpoint, tmp_path)


def test_the_released_form_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, causal_linguistic=False)
    with pytest.raises(CheckpointError, match="released form"):
        export_onnx(checkpoint, tmp_path / "graphs", [batch_of(checkpoint)])
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
