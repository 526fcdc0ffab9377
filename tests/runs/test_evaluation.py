"""`radwright evaluate` through the command line: complete, reused, resumed, and one sentence for whatever is wrong."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from radwright.cli.main import main
from radwright.data.store import PreparedStore
from radwright.decoding.config import DecodingConfig, Greedy
from radwright.evaluation.score import score
from radwright.imaging.config import ImageConfig
from radwright.inference.checkpoint import CheckpointConfig, build_model, save_checkpoint
from radwright.inference.predictor import Predictor
from radwright.runs.evaluation_page import choose_shown
from radwright.text.words import WordTokenizer

MODEL: dict[str, Any] = {
    "backbone": {"name": "resnet", "depth": 18, "width": 4, "num_stages": 2},
    "dim": 16,
    "num_heads": 4,
    "hidden_dim": 16,
    "num_encoder_layers": 1,
}
DECODER: dict[str, Any] = {"linguistic_hidden_dim": 16, "num_decoder_layers": 1, "num_local_per_head": 1}
WORDS = WordTokenizer(["the", "heart", "lungs", "is", "are", "clear", "normal", "no", "effusion", "."])


def save(path: Path, method: str, model: dict[str, Any]) -> Path:
    torch.manual_seed(0)
    config = CheckpointConfig(
        method=method,
        model=model,
        image=ImageConfig(size_px=32),
        decoding=DecodingConfig(strategy=Greedy(), max_tokens=8),
    )
    save_checkpoint(path, config, build_model(method, model, WORDS, config.image), WORDS, {"seed": 0})
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("run") / "best", "vlci", MODEL | DECODER)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    (folder / "studies.yaml").write_text("size_px: 48\nnum_studies: {train: 8, tune: 3, test: 6}\n")
    assert run("prepare", folder / "studies.yaml", "--format", "phantom", "--out", folder / "store") == 0
    return folder / "store"


def run(*arguments: object) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def evaluate(checkpoint: Path, store: Path, out: Path, *more: object) -> int:
    return run("evaluate", checkpoint, store, "--split", "test", "--out", out, "--threads", 1, "--device", "cpu", *more)


def test_everything_is_written_and_a_second_call_drafts_and_encodes_nothing(
    checkpoint: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "evaluation"
    assert evaluate(checkpoint, store, out, "--by", "view", "--max-shown", 4) == 0
    said = capsys.readouterr().out
    assert "6 studies" in said
    assert said.strip().endswith(str(out / "index.html"))
    scores = json.loads((out / "scores.json").read_text())
    assert scores["n"] == 6
    assert list(scores["baselines"]) == [
        "constant_bleu_4",
        "constant_cider",
        "random_train_report",
        "nearest_train_report",
    ]
    assert scores["groups"]["view"]["frontal + lateral"]["n"] == 6
    whole = scores["groups"]["view"]["frontal + lateral"]["metrics"]
    assert whole["cider"] == pytest.approx(scores["metrics"]["cider"])
    rows = list(csv.DictReader((out / "per_study.csv").read_text().splitlines()))
    assert len(rows) == 6
    assert rows[0].keys() >= {"study_id", "view", "prior", "bleu_4"}
    page = (out / "index.html").read_text()
    assert page.count("<article") == 4
    assert "4 of 6 scored studies: the 3 with the lowest Finding score" in page.replace("&#x27;", "'")
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file() and path.suffix != ".html"}

    def refuse(*_: object) -> Iterator[Any]:
        raise AssertionError("nothing is to be done anew")

    monkeypatch.setattr(Predictor, "draft", refuse)
    monkeypatch.setattr(Predictor, "image_features", refuse)
    assert evaluate(checkpoint, store, out, "--by", "view") == 0
    assert "6 of the drafts were there" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.name in before} == before
    assert (out / "index.html").read_text().count("<article") == 6


def test_the_nearest_train_report_is_one_of_the_stores_own(checkpoint: Path, store: Path, tmp_path: Path) -> None:
    assert evaluate(checkpoint, store, tmp_path / "own", "--limit", 3) == 0
    assert evaluate(checkpoint, store, tmp_path / "given", "--limit", 3, "--train", store) == 0
    own, given = (json.loads((tmp_path / name / "scores.json").read_text()) for name in ("own", "given"))
    assert own["baselines"]["nearest_train_report"] == given["baselines"]["nearest_train_report"]
    assert own["n"] == 3


def test_reports_alone_and_networks_without_features_have_no_nearest_report(
    checkpoint: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate(checkpoint, store, tmp_path / "a", "--train", store / "reports.jsonl") == 0
    assert "it needs train images; give a store with --train" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setattr("radwright.runs.evaluation.ImageFeatures", str)  # which no network is
    assert evaluate(checkpoint, store, tmp_path / "b") == 0
    assert "method 'vlci' has no image features to compare" in " ".join(capsys.readouterr().out.split())
    scores = json.loads((tmp_path / "b" / "scores.json").read_text())
    assert "nearest_train_report" not in scores["baselines"]
    assert any("has no image features" in note for note in scores["notes"])


def test_interrupted_it_goes_on(checkpoint: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert evaluate(checkpoint, store, tmp_path / "whole", "--batch-size", 2) == 0
    drafting, encoding = Predictor.draft, Predictor.image_features

    def stop_after(number: int, method: Any) -> Any:
        def stopping(self: Predictor, studies: Any) -> Iterator[Any]:
            for place, outcome in enumerate(method(self, studies)):
                if place == number:
                    raise KeyboardInterrupt
                yield outcome

        return stopping

    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "draft", stop_after(3, drafting))
        assert evaluate(checkpoint, store, out, "--batch-size", 2) == 130
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "image_features", stop_after(3, encoding))
        assert evaluate(checkpoint, store, out, "--batch-size", 2) == 130
    assert evaluate(checkpoint, store, out, "--batch-size", 2) == 0

    def drafts(folder: Path) -> dict[str, str]:
        lines = (folder / "drafts.jsonl").read_text().splitlines()
        return {row["study_id"]: row["report"] for row in map(json.loads, lines)}

    assert drafts(out) == drafts(tmp_path / "whole")
    scores = [json.loads((folder / "scores.json").read_text()) for folder in (out, tmp_path / "whole")]
    assert scores[0]["metrics"] == scores[1]["metrics"]


def test_a_study_that_cannot_be_read_is_left_out_and_stated(
    checkpoint: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = PreparedStore.study

    def broken(self: PreparedStore, index: int, *, images: bool = True) -> Any:
        found = study(self, index, images=images)
        if images and found.study_id.startswith("test") and found.study_id.endswith("1"):
            for view in found.views:
                object.__setattr__(view.image, "data", b"nothing")
        return found

    monkeypatch.setattr(PreparedStore, "study", broken)
    out = tmp_path / "out"
    for _ in range(2):  # a second call states them as well
        assert evaluate(checkpoint, store, out) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "1 studies could not be drafted" in said.replace("1 study ", "1 studies ")
        assert "skipped test-000001" in said
    assert json.loads((out / "scores.json").read_text())["n"] == 5
    assert "could not be drafted" in (out / "index.html").read_text()


def test_what_is_wrong_gets_one_sentence_with_the_cure(
    checkpoint: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def error(*arguments: object) -> str:
        capsys.readouterr()
        assert run("evaluate", *arguments, "--threads", 1) == 1
        told = capsys.readouterr().err
        assert told.startswith("error: ")
        assert len(told.splitlines()) == 1
        return told

    out = tmp_path / "out"
    assert "has no split 'val'" in error(checkpoint, store, "--split", "val", "--out", out)
    assert "is no prepared store" in error(checkpoint, tmp_path, "--split", "test", "--out", out)
    assert "is no checkpoint" in error(store, store, "--split", "test", "--out", out)
    assert "--by sex: no study" in error(checkpoint, store, "--split", "test", "--out", out, "--by", "view,sex")
    assert "unknown convention" in error(checkpoint, store, "--split", "test", "--out", out, "--convention", "x")
    pre_trained = save(tmp_path / "pre" / "best", "radcare", MODEL)
    assert "which writes no reports" in error(pre_trained, store, "--split", "test", "--out", out)
    assert not out.exists()
    assert evaluate(checkpoint, store, out, "--limit", 2) == 0
    assert "another limit" in error(checkpoint, store, "--split", "test", "--out", out)
    assert "another split and limit" in error(checkpoint, store, "--split", "tune", "--out", out)
    assert "is not empty" in error(checkpoint, store, "--split", "test", "--out", store)
    silent = tmp_path / "silent"
    silent.mkdir()
    for file in store.iterdir():
        (silent / file.name).write_bytes(file.read_bytes())
    lines = [json.loads(line) for line in (store / "reports.jsonl").read_text().splitlines()]
    (silent / "reports.jsonl").write_text("".join(json.dumps(line | {"report": ""}) + "\n" for line in lines))
    assert "has a report to hold a draft against" in error(
        checkpoint, silent, "--split", "test", "--out", tmp_path / "x"
    )


def test_code_of_the_page_on_evaluation_runs(checkpoint: Path, store: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/evaluation.md", "exec"), {"__name__": "page"})
    given = {"runs/iu/best": checkpoint, "prepared/iu_xray": store, "val": "test", "evaluations/iu": tmp_path / "out"}
    [command] = re.findall(r"```bash\n(radwright .*?)\n```", page, re.DOTALL)
    assert run(*(given.get(word, word) for word in command.split()[1:])) == 0
    kept = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert sorted(name.rstrip("/") for name in kept) == sorted(path.name for path in (tmp_path / "out").iterdir())


def test_the_page_shows_the_worst_and_some_at_random() -> None:
    references = {f"s{number:02d}": f"The heart is normal. Finding {number} is seen." for number in range(40)}
    drafts = {name: text if number % 2 else "Clear." for number, (name, text) in enumerate(references.items())}
    evaluation = score(drafts, references, metrics=["cider"], num_resamples=5)
    shown, told = choose_shown(evaluation, 12)
    cider = {name: row["cider"] for name, row in zip(evaluation.study_ids, evaluation.study_rows, strict=True)}
    assert len(set(shown)) == 12
    assert [cider[name] for name in shown] == sorted(cider[name] for name in shown)
    assert {cider[name] for name in shown[:9]} == {min(cider.values())}
    assert "the 9 with the lowest CIDEr-D, and 3 drawn at random" in told
    everything, told = choose_shown(evaluation, 40)
    assert sorted(everything) == sorted(references)
    assert told == "All 40 scored studies."
    assert choose_shown(evaluation, 1)[0] == shown[:1]
