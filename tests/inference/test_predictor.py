"""Checkpoint and Predictor: saved = loaded, strict, nothing lost; drafting resumes and records what it skipped."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from radwright.decoding.config import Beam, DecodingConfig, Greedy, Sampling
from radwright.errors import CheckpointError, OutputError
from radwright.evaluation.predict import draft_to_file
from radwright.imaging.config import ImageConfig
from radwright.inference.checkpoint import CheckpointConfig, build_model, load_checkpoint, save_checkpoint
from radwright.inference.predictor import Predictor
from radwright.text.subwords import SubwordTokenizer
from radwright.text.words import WordTokenizer
from radwright.types import ImageInMemory, Report, Skipped, Study, View

MODEL: dict[str, Any] = {
    "backbone": {"name": "resnet", "depth": 18, "width": 4, "num_stages": 2},
    "dim": 16,
    "num_heads": 4,
    "hidden_dim": 16,
    "linguistic_hidden_dim": 16,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
    "num_local_per_head": 1,
}
WORDS = WordTokenizer(["the", "heart", "lungs", "is", "are", "clear", "normal", "no", "effusion", "."])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = CheckpointConfig(
        method="vlci",
        model=MODEL,
        image=ImageConfig(size_px=32),
        decoding=DecodingConfig(strategy=Beam(num_beams=2), max_tokens=8),
    )
    model = build_model("vlci", MODEL, WORDS, config.image)
    path = tmp_path_factory.mktemp("checkpoint") / "best"
    save_checkpoint(path, config, model, WORDS, {"seed": 0, "scores": {"bleu_4": 0.5}})
    return path


def png(seed: int, size: tuple[int, int] = (40, 50)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, size, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def study(name: str, seed: int, num_views: int = 1) -> Study:
    return Study(name, tuple(View(ImageInMemory(f"{name}-{n}", png(seed + n))) for n in range(num_views)))


def test_a_loaded_checkpoint_drafts_what_the_saved_one_did(saved: Path, tmp_path: Path) -> None:
    studies = [study(f"s{n}", n, 1 + n % 3) for n in range(5)]
    first = Predictor.load(saved)
    again = tmp_path / "again"
    save_checkpoint(again, first.checkpoint.config, first.checkpoint.model, first.checkpoint.tokenizer, {})
    second = Predictor.load(again)
    assert [r.text for r in drafts(first, studies)] == [r.text for r in drafts(second, studies)]
    assert first.fingerprint == second.fingerprint


def drafts(predictor: Predictor, studies: list[Study]) -> list[Report]:
    found = [outcome for outcome in predictor.draft(studies) if isinstance(outcome, Report)]
    assert len(found) == len(studies)
    return found


def test_batches_do_not_change_a_draft(saved: Path) -> None:
    studies = [study(f"s{n}", n, 1 + n % 3) for n in range(7)]
    checkpoint = load_checkpoint(saved)
    whole = drafts(Predictor(checkpoint, batch_size=7), studies)
    single = drafts(Predictor(checkpoint, batch_size=1), studies)
    assert [report.study_id for report in whole] == [s.study_id for s in studies]
    assert [report.text for report in whole] == [report.text for report in single]
    assert [report.score for report in whole] == pytest.approx([report.score for report in single], abs=1e-4)


def test_a_broken_image_costs_its_own_study_only(saved: Path) -> None:
    broken = Study("broken", (View(ImageInMemory("cut.png", png(1)[:100])),))
    empty = Study("empty", ())
    outcomes = list(Predictor.load(saved).draft([study("a", 1), broken, empty, study("b", 2)]))
    assert [outcome.study_id for outcome in outcomes] == ["a", "broken", "empty", "b"]
    assert [type(outcome) for outcome in outcomes] == [Report, Skipped, Skipped, Report]
    assert isinstance(outcomes[1], Skipped)
    assert "cut.png" in outcomes[1].reason


def test_a_network_failure_on_one_study_costs_no_other_its_draft(saved: Path) -> None:
    checkpoint = load_checkpoint(saved)

    class Poisoned:
        """NaN for batches that hold the darkest image."""

        def start(self, batch: Any) -> Any:
            return batch.study_ids, checkpoint.model.start(batch)

        def step(self, state: Any, ids: Any) -> Any:
            names, inner = state
            log_probs, inner = checkpoint.model.step(inner, ids)
            for row, name in enumerate(names):
                if name == "bad":
                    log_probs[row] = float("nan")
            return log_probs, (names, inner)

        def reorder(self, state: Any, studies: Any, parents: Any) -> Any:
            names, inner = state
            kept = names if studies is None else tuple(names[n] for n in studies.tolist())
            return kept, checkpoint.model.reorder(inner, studies, parents)

        def parameters(self) -> Iterator[Any]:
            yield from checkpoint.model.parameters()

    poisoned = Predictor(replace(checkpoint, model=Poisoned()))
    outcomes = list(poisoned.draft([study("a", 1), study("bad", 2), study("b", 3)]))
    assert [type(outcome) for outcome in outcomes] == [Report, Skipped, Report]


@pytest.mark.parametrize("decoding", [None, DecodingConfig(strategy=Greedy(), max_tokens=8)])
def test_streamed_text_only_grows_and_ends_as_the_draft(saved: Path, decoding: DecodingConfig | None) -> None:
    predictor = Predictor(load_checkpoint(saved), decoding=decoding)
    *texts, last = list(predictor.stream(study("a", 4)))
    assert isinstance(last, Report)
    [expected] = drafts(predictor, [study("a", 4)])
    assert last.text == expected.text
    assert all(isinstance(text, str) and last.text.startswith(text) for text in texts)
    assert texts == sorted(texts, key=len)


@pytest.mark.parametrize("seed", range(3))
def test_streamed_pieces_of_words_only_grow(seed: int, tmp_path: Path) -> None:
    """Bytes drawn at random: characters are torn at almost every step."""
    pieces = SubwordTokenizer.train(["38 °C, 10 µm."] * 3, size=270)
    decoding = DecodingConfig(strategy=Sampling(temperature=2.0, seed=seed), min_tokens=20, max_tokens=30)
    config = CheckpointConfig(method="vlci", model=MODEL, image=ImageConfig(size_px=32), decoding=decoding)
    torch.manual_seed(seed)
    save_checkpoint(tmp_path / "best", config, build_model("vlci", MODEL, pieces, config.image), pieces, {})
    predictor = Predictor.load(tmp_path / "best")
    assert predictor.checkpoint.tokenizer == pieces
    *texts, last = list(predictor.stream(study("a", 4)))
    assert isinstance(last, Report)
    assert len(texts) >= 19
    assert all(isinstance(text, str) and last.text.startswith(text) for text in texts)
    assert texts == sorted(texts, key=len)


def test_damaged_checkpoints_are_refused_by_name(saved: Path, tmp_path: Path) -> None:
    import shutil

    def broken(change: str) -> Path:
        path = tmp_path / change
        shutil.copytree(saved, path)
        return path

    with pytest.raises(CheckpointError, match="is no checkpoint"):
        load_checkpoint(tmp_path)
    path = broken("weights")
    (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_checkpoint(path)
    path = broken("wider")
    config = json.loads((path / "config.json").read_text())
    config["model"]["dim"] = 32
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="does not fit"):
        load_checkpoint(path)
    path = broken("misspelt")
    config["model"] = MODEL | {"num_hedas": 4}
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"num_hedas.*num_heads"):
        load_checkpoint(path)


def test_model_card_says_what_must_be_said(saved: Path) -> None:
    card = (saved / "MODEL_CARD.md").read_text()
    assert "Not a medical device" in card
    assert "bleu_4: 0.5000" in card


class KillError(Exception):
    pass


def test_drafting_resumes_after_a_kill_and_loses_nothing(saved: Path, tmp_path: Path) -> None:
    predictor = Predictor(load_checkpoint(saved), batch_size=2)
    studies = [study(f"s{n}", n) for n in range(6)] + [Study("empty", ())]
    out, identity = tmp_path / "deep" / "drafts.jsonl", {"checkpoint": predictor.fingerprint}
    seen: list[Any] = []

    def stop(outcome: Any) -> None:
        seen.append(outcome)
        if len(seen) == 3:
            raise KillError

    with pytest.raises(KillError):
        draft_to_file(predictor, studies, out, identity=identity, on_progress=stop)
    assert not out.exists()
    with (tmp_path / "deep" / "drafts.jsonl.partial").open("ab") as file:
        file.write(b'{"study_id": "torn')  # what a kill in the middle of a line leaves
    with pytest.raises(OutputError, match="another checkpoint"):
        draft_to_file(predictor, studies, out, identity={"checkpoint": "another"})
    summary = draft_to_file(predictor, studies, out, identity=identity)
    assert (summary.num_reports, summary.num_resumed, len(summary.skipped)) == (6, 3, 1)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["study_id"] for row in rows] == [f"s{n}" for n in range(6)]
    assert [row["report"] for row in rows] == [report.text for report in drafts(predictor, studies[:6])]
    assert {"study_id", "report", "score", "seconds"} <= rows[0].keys()
    skipped = [json.loads(line) for line in (tmp_path / "deep" / "drafts.jsonl.skipped.jsonl").read_text().splitlines()]
    assert [row["study_id"] for row in skipped] == ["empty"]
    with pytest.raises(OutputError, match="exists already"):
        draft_to_file(predictor, studies, out, identity=identity)


def test_a_full_disk_is_one_clear_error_and_the_job_goes_on_afterwards(saved: Path, tmp_path: Path) -> None:
    import resource

    predictor = Predictor(load_checkpoint(saved), batch_size=2)
    studies, out = [study(f"s{n}", n) for n in range(6)], tmp_path / "drafts.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"drafts\.jsonl.*cannot be written"):
            draft_to_file(predictor, studies, out, identity={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not out.exists()
    assert draft_to_file(predictor, studies, out, identity={}).num_reports == 6


def test_a_job_without_a_draft_leaves_no_file_in_the_way(saved: Path, tmp_path: Path) -> None:
    predictor, out = Predictor(load_checkpoint(saved)), tmp_path / "drafts.jsonl"
    assert draft_to_file(predictor, [Study("empty", ())], out, identity={}).num_reports == 0
    assert not out.exists()
    assert "has no image" in (tmp_path / "drafts.jsonl.skipped.jsonl").read_text()
    assert draft_to_file(predictor, [study("a", 1)], out, identity={}).num_reports == 1
