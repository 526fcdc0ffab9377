"""`--clues` of `radwright generate` and `evaluate`: each policy, controls that resume, an oracle that is marked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import torch

from radwright.cli.main import main
from radwright.data.store import PreparedStore
from radwright.decoding.config import DecodingConfig, Greedy
from radwright.evaluation.faithfulness import measure_faithfulness
from radwright.findings import read_report
from radwright.findings.signature import signature
from radwright.imaging.config import ImageConfig
from radwright.inference.checkpoint import CheckpointConfig, build_model, load_checkpoint, save_checkpoint
from radwright.inference.predictor import Predictor
from radwright.methods.trrg.perception import Given, Threshold
from radwright.text.words import WordTokenizer

pytest.importorskip("transformers")

ORACLE = "oracle clues: an upper bound, not a result"
IMAGE = ImageConfig(size_px=32)
DECODING = DecodingConfig(strategy=Greedy(), max_tokens=6)
BACKBONE = {"name": "resnet", "depth": 18, "width": 4, "num_stages": 2}
WORDS = WordTokenizer(["there", "is", "cardiomegaly", "no", "effusion", "pneumothorax", "lungs", "are", "clear", "."])
BANK = {
    "diseases": [
        {"name": name, "finding": finding, "present": [f"{word} ."], "absent": [f"no {word} ."], "clue": word}
        for name, finding, word in (
            ("Pneumothorax", "Pneumothorax", "pneumothorax"),
            ("Aura", None, "clear"),
            ("Cardiomegaly", "Cardiomegaly", "cardiomegaly"),
            ("Pleural Effusion", "Pleural Effusion", "effusion"),
        )
    ]
}
TRRG: dict[str, Any] = {
    "backbone": BACKBONE,
    "text_encoder": {"dim": 16, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "dropout": 0.0},
    "contrast_dim": 12,
    "language": {"dim": 16, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "dropout": 0.0},
    "interaction_dim": 16,
    "num_interaction_heads": 2,
    "num_interaction_layers": 1,
    "max_clues": 3,
}


def save(path: Path, method: str, values: dict[str, Any]) -> Path:
    torch.manual_seed(0)
    model = build_model(method, values, WORDS, IMAGE)
    with torch.no_grad():  # loud enough to write different words for different prompts
        for name, weight in model.named_parameters():
            if "language" in name and weight.ndim > 1:
                weight.mul_(20)
    values = model.deployed_config() if hasattr(model, "deployed_config") else values
    config = CheckpointConfig(method=method, model=values, image=IMAGE, decoding=DECODING)
    save_checkpoint(path, config, model, WORDS, {"seed": 0})
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    (folder / "studies.yaml").write_text("size_px: 48\nnum_studies: {train: 3, tune: 2, test: 6}\n")
    assert run("prepare", folder / "studies.yaml", "--format", "phantom", "--out", folder / "store") == 0
    return folder / "store"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Path:
    """Its thresholds lie midway, so that studies of the store are told different clues."""
    folder = tmp_path_factory.mktemp("run")
    values = TRRG | {"bank": BANK}
    draft = Predictor.load(save(folder / "draft", "trrg", values))
    perceived = torch.cat(
        [draft.checkpoint.model.perceive(draft.batch_of([draft.read_study(study)])) for study in studies(store)]  # type: ignore[list-item]
    )
    thresholds = perceived.detach().quantile(0.5, dim=0).tolist()
    diseases = [row | {"threshold": t} for row, t in zip(BANK["diseases"], thresholds, strict=True)]
    return save(folder / "best", "trrg", values | {"bank": {"diseases": diseases}})


def studies(store: Path) -> list[Any]:
    opened = PreparedStore(store)
    return [opened.study(index) for index in opened.indices("test")]


def run(*arguments: object) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def generate(checkpoint: Path, store: Path, out: Path, *more: object) -> int:
    given = ("--split", "test", "--out", out, "--threads", 1, "--device", "cpu", "--batch-size", 2)
    return run("generate", checkpoint, store, *given, *more)


def evaluate(checkpoint: Path, store: Path, out: Path, *more: object) -> int:
    given = ("--split", "test", "--out", out, "--threads", 1, "--device", "cpu", "--batch-size", 2)
    return run("evaluate", checkpoint, store, *given, *more)


def rows(path: Path) -> dict[str, dict[str, Any]]:
    return {row["study_id"]: row for row in map(json.loads, path.read_text().splitlines())}


def clues(path: Path) -> dict[str, dict[str, float]]:
    return {study_id: row["clues"] for study_id, row in rows(path).items()}


def stable(path: Path) -> dict[str, Any]:
    """The rows without what the clock wrote; numbers as far as another batch leaves them alone."""

    def kept(row: dict[str, Any]) -> dict[str, Any]:
        clues = {name: pytest.approx(p, abs=1e-5) for name, p in row["clues"].items()}
        return row | {"clues": clues, "score": pytest.approx(row["score"], abs=1e-3), "seconds": ANY}

    return {name: kept(row) for name, row in rows(path).items()}


def stop_after(number: int) -> Any:
    drafting = Predictor.draft

    def stopping(self: Predictor, studies: Any) -> Iterator[Any]:
        for place, outcome in enumerate(drafting(self, studies)):
            if place == number:
                raise KeyboardInterrupt
            yield outcome

    return stopping


def test_generate_tells_each_study_what_the_policy_says(checkpoint: Path, store: Path, tmp_path: Path) -> None:
    told = {}
    for policy in ("threshold", "topk", "all", "random", "none", "shuffled"):
        out = tmp_path / f"{policy}.jsonl"
        assert generate(checkpoint, store, out, "--clues", policy) == 0
        assert {row["clue_policy"] for row in rows(out).values()} == {policy}
        told[policy] = clues(out)
        assert all(list(each) == sorted(each) for each in told[policy].values())
    assert generate(checkpoint, store, tmp_path / "own.jsonl") == 0
    assert rows(tmp_path / "own.jsonl") == stable(tmp_path / "threshold.jsonl")
    names = {row["name"] for row in BANK["diseases"]}
    assert all(set(each) == names for each in told["all"].values())
    assert all(len(each) == 3 for each in told["topk"].values())
    assert all(each == {} for each in told["none"].values())
    perceived, mixed, drawn = told["threshold"], told["shuffled"], told["random"]
    assert len({tuple(each) for each in perceived.values()}) > 2
    assert sorted(map(str, mixed.values())) == sorted(map(str, perceived.values()))
    assert mixed != perceived
    assert {name: sorted(each.values()) for name, each in drawn.items()} == {
        name: sorted(each.values()) for name, each in perceived.items()
    }
    assert drawn != perceived
    assert generate(checkpoint, store, tmp_path / "again.jsonl", "--clues", "random", "--clue-seed", 1) == 0
    assert clues(tmp_path / "again.jsonl") != drawn


def test_what_a_row_says_was_told_is_what_the_draft_was_written_from(
    checkpoint: Path, store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "drafts.jsonl"
    assert generate(checkpoint, store, out, "--clues", "shuffled") == 0
    predictor = Predictor.load(checkpoint)
    predictor.batch_size = 2
    predictor.checkpoint.model.choose = Given(clues(out))
    for report, row in zip(predictor.draft(studies(store)), rows(out).values(), strict=True):
        assert report.text == row["report"]  # type: ignore[union-attr]
        assert report.score == pytest.approx(row["score"], abs=1e-4)  # type: ignore[union-attr]
    predictor.checkpoint.model.choose = Threshold(3)
    own = [report.score for report in predictor.draft(studies(store))]  # type: ignore[union-attr]
    assert max(abs(a - row["score"]) for a, row in zip(own, rows(out).values(), strict=True)) > 1e-4


def test_streamed_drafts_carry_their_clues_too(checkpoint: Path, store: Path) -> None:
    predictor = Predictor.load(checkpoint)
    [study] = studies(store)[:1]
    [drafted] = predictor.draft([study])
    *_, streamed = predictor.stream(study)
    assert streamed.clues == drafted.clues  # type: ignore[union-attr]
    assert drafted.clues is not None  # type: ignore[union-attr]


@pytest.mark.parametrize("command", [generate, evaluate])
def test_shuffled_clues_resumed_are_those_of_an_uninterrupted_run(
    checkpoint: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Any
) -> None:
    def drafts(out: Path) -> Path:
        return out / "drafts.jsonl" if command is evaluate else out

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert command(checkpoint, store, whole, "--clues", "shuffled", "--clue-seed", 3) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "draft", stop_after(3))
        assert command(checkpoint, store, cut, "--clues", "shuffled", "--clue-seed", 3) == 130
    assert command(checkpoint, store, cut, "--clues", "shuffled", "--clue-seed", 3) == 0
    assert rows(drafts(cut)) == stable(drafts(whole))


@pytest.mark.parametrize("command", [generate, evaluate])
def test_drafts_of_two_policies_never_mix(
    checkpoint: Path,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: Any,
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "draft", stop_after(3))
        assert command(checkpoint, store, out, "--clues", "shuffled") == 130
    for other in (["--clues", "random"], ["--clues", "shuffled", "--clue-seed", 1], []):
        capsys.readouterr()
        assert command(checkpoint, store, out, *other) == 1
        assert ("another clues" if command is evaluate else "another checkpoint") in capsys.readouterr().err
    assert command(checkpoint, store, out, "--clues", "shuffled") == 0


def test_other_thresholds_are_other_clues(checkpoint: Path, store: Path, tmp_path: Path) -> None:
    assert evaluate(checkpoint, store, tmp_path / "out", "--limit", 2) == 0
    path = checkpoint / "config.json"
    before = path.read_text()
    values = json.loads(before)
    values["model"]["bank"]["diseases"][0]["threshold"] = 0.123
    path.write_text(json.dumps(values))
    try:
        assert evaluate(checkpoint, store, tmp_path / "out", "--limit", 2) == 1
    finally:
        path.write_text(before)


def test_evaluate_shows_and_keeps_faithfulness(
    checkpoint: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert evaluate(checkpoint, store, out, "--clues", "all") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "clues and drafts" in said
    assert "nothing can check them: Aura" in said
    assert "note: clues all: every study was told every disease" in said
    scores = json.loads((out / "scores.json").read_text())
    assert scores["clues"]["policy"] == scores["job"]["clues"]["policy"] == "all"
    found, drafts = scores["faithfulness"], rows(out / "drafts.jsonl")
    expected = measure_faithfulness(
        clues(out / "drafts.jsonl"),
        {name: row["report"] for name, row in drafts.items()},
        {name: row["report"] for name, row in rows(store / "reports.jsonl").items()},
        load_checkpoint(checkpoint).model.findings,
    )
    assert found == json.loads(json.dumps(expected.plain()))
    assert found["counts"]["told"] == 3 * 6
    assert found["unchecked"] == ["Aura"]
    page = (out / "index.html").read_text()
    assert "Clues and drafts" in page
    assert "upper bound" not in page
    # A second call drafts nothing, and says the same.
    monkeypatch.setattr(Predictor, "draft", None)
    monkeypatch.setattr(Predictor, "told_clues", None)
    (out / "scores.json").unlink()
    assert evaluate(checkpoint, store, out, "--clues", "all") == 0
    assert json.loads((out / "scores.json").read_text()) == scores
    assert "Clues and drafts" in (out / "index.html").read_text()


def test_an_oracle_needs_leave_reads_the_reports_and_is_marked_everywhere(
    checkpoint: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, drafts = tmp_path / "out", tmp_path / "drafts.jsonl"
    for command, place in ((evaluate, out), (generate, drafts)):
        assert command(checkpoint, store, place, "--clues", "oracle") == 1
        assert "are an upper bound and no result" in (told := capsys.readouterr().err)
        assert told.rstrip().endswith("--allow-oracle")
        assert not place.exists()
        assert command(checkpoint, store, place, "--clues", "oracle", "--allow-oracle") == 0
        assert ORACLE in " ".join(capsys.readouterr().out.split())
    reports = {name: row["report"] for name, row in rows(store / "reports.jsonl").items()}
    for path in (drafts, out / "drafts.jsonl"):
        for name, row in rows(path).items():
            assert row["clue_policy"] == "oracle"
            findings = ("Cardiomegaly", "Pleural Effusion", "Pneumothorax")
            stated = zip(findings, signature(read_report(reports[name]), findings), strict=True)
            assert row["clues"] == {finding: 0.95 for finding, status in stated if status == 1}
    assert any(clues(drafts).values())
    asked = [str(drafts), "--references", str(store / "reports.jsonl"), "--split", "test", "--resamples", "10"]
    assert run("score", *asked, "--json", tmp_path / "s.json") == 0
    assert json.loads((tmp_path / "s.json").read_text())["notes"][0] == f"drafts.jsonl: {ORACLE}"
    capsys.readouterr()
    scores = json.loads((out / "scores.json").read_text())
    assert scores["clues"]["policy"] == "oracle"
    assert scores["notes"][0].startswith(ORACLE)
    assert scores["faithfulness"]["shares"]["precision"]["value"] == 1.0
    assert scores["faithfulness"]["shares"]["recall"]["value"] == 1.0
    page = (out / "index.html").read_text()
    assert page.index("Oracle clues: an upper bound, not a result.") < page.index("<section")
    assert "policy oracle" in page


def test_what_cannot_be_followed_gets_one_sentence(
    checkpoint: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def error(command: Any, checkpoint: Path, *more: object) -> str:
        capsys.readouterr()
        assert command(checkpoint, store, tmp_path / "out", *more) == 1
        told = capsys.readouterr().err
        assert len(told.splitlines()) == 1
        return told

    plain = {"backbone": BACKBONE, "dim": 16, "num_heads": 4, "hidden_dim": 16, "linguistic_hidden_dim": 16}
    layers = {"num_encoder_layers": 1, "num_decoder_layers": 1, "num_local_per_head": 1}
    without = save(tmp_path / "vlci", "vlci", plain | layers)
    for command in (generate, evaluate):
        assert "is told no clues; leave --clues out" in error(command, without, "--clues", "none")
        assert "one study alone has no other" in error(command, checkpoint, "--clues", "shuffled", "--limit", 1)
    assert "did you mean 'shuffled'" in error(generate, checkpoint, "--clues", "shufled")
    image = tmp_path / "image.png"
    image.write_bytes(studies(store)[0].views[0].image.read())
    given = ("--out", tmp_path / "x.jsonl", "--clues", "oracle", "--allow-oracle", "--threads", 1)
    assert run("generate", checkpoint, image, *given) == 1
    assert "there are no reports to read the clues from" in capsys.readouterr().err
    assert generate(without, store, tmp_path / "plain.jsonl") == 0
    [row, *_] = rows(tmp_path / "plain.jsonl").values()
    assert "clues" not in row
    assert "clue_policy" not in row
