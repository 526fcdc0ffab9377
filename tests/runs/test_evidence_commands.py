"""`radwright explain` and `radwright evaluate-evidence` through the command line, with tiny checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from radwright.cli.main import main
from radwright.data import files
from radwright.data.phantom import PhantomConfig, generate_study
from radwright.data.store import HEADER, STORE_VERSION, study_row
from radwright.data.writing import StoreWriter
from radwright.decoding.config import DecodingConfig, Greedy
from radwright.imaging.config import ImageConfig
from radwright.inference.checkpoint import CheckpointConfig, build_model, save_checkpoint
from radwright.text.words import WordTokenizer

WORDS = WordTokenizer(["cardiomegaly", "effusion", "no", "heart", "."])
POPULATION = {"size_px": 64, "num_studies": {"test": 8}, "prevalence": {"cardiomegaly": 1.0}}
BACKBONE = {"name": "resnet", "depth": 18, "width": 8, "num_stages": 2}
VLCI = {
    "backbone": BACKBONE,
    "dim": 16,
    "num_heads": 4,
    "hidden_dim": 16,
    "linguistic_hidden_dim": 16,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
    "num_local_per_head": 1,
}
TRRG = {
    "backbone": BACKBONE,
    "text_encoder": {"dim": 16, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "dropout": 0.0},
    "contrast_dim": 12,
    "language": {"dim": 24, "num_layers": 1, "num_heads": 2, "hidden_dim": 24, "dropout": 0.0},
    "interaction_dim": 16,
    "num_interaction_heads": 2,
    "policy": "all",
}


def run(*arguments: object) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def save(path: Path, method: str, values: dict[str, Any], *, blind: bool = False, max_views: int = 2) -> Path:
    """A checkpoint that writes the word "cardiomegaly" and stops; a blind one whatever it sees, as surely."""
    torch.manual_seed(0)
    decoding = DecodingConfig(strategy=Greedy(), max_tokens=1 if method == "vlci" else 6)
    config = CheckpointConfig(
        method=method, model=values, image=ImageConfig(size_px=32), decoding=decoding, max_views=max_views
    )
    model = build_model(method, values, WORDS, config.image)
    if method == "vlci":
        torch.nn.init.constant_(model.decoder.logit.bias, 0.0)
        model.decoder.logit.bias.data[WORDS.encode("cardiomegaly")[0]] = 8.0
        if blind:
            torch.nn.init.zeros_(model.decoder.logit.weight)
    save_checkpoint(path, config, model, WORDS, {"seed": 0})
    return path


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("seeing") / "best", "vlci", VLCI)


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("blind") / "best", "vlci", VLCI, blind=True)


@pytest.fixture(scope="module")
def population(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("population") / "phantom.yaml"
    path.write_text(yaml.safe_dump(POPULATION), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "phantom"
    path.mkdir()
    files.write_lines(path / HEADER, [{"version": STORE_VERSION, "complete": True}])
    config = PhantomConfig.parse(POPULATION, where="test")
    with StoreWriter(path) as writer:
        for index in range(3):
            writer.add(study_row(generate_study(config, "test", index).study()))
    return path


def image(path: Path, seed: int) -> Path:
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (50, 36), dtype=np.uint8)).save(path)
    return path


def judge(checkpoint: Path, population: Path, out: Path, number: int, *more: object) -> int:
    common = ("--phantom", population, "--studies", number, "--steps", 4, "--windows", 4, "--device", "cpu")
    return run("evaluate-evidence", checkpoint, "--out", out, *common, "--threads", 1, *more)


def test_two_images_are_views_of_one_study(seeing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = [image(tmp_path / f"{name}.png", seed) for seed, name in enumerate(("a", "b"))]
    page = tmp_path / "page.html"
    assert run("explain", seeing, *pictures, "--out", page, "--windows", 3, "--threads", 1, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["study_id"] == "a"
    assert told["occlusion"]["windows_per_side"] == 3
    [sentence] = told["sentences"]
    assert sentence["text"] == "Cardiomegaly."
    assert told["views"] == ["1 (a.png)", "2 (b.png)"]
    assert sentence["occlusion"]["view"] in told["views"]
    assert sentence["log_prob"] == pytest.approx(told["score"], abs=1e-5)
    assert 0 <= sentence["attention"]["row"] < 32
    assert sentence["clues"] == []
    html = page.read_text(encoding="utf-8")
    assert html.count('class="overlay"') == 2 * 2
    assert "The draft reached the length limit" in html


def test_a_view_that_is_not_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], store: Path) -> None:
    checkpoint = save(tmp_path / "best", "vlci", VLCI, max_views=1)
    pictures = [image(tmp_path / f"{name}.png", seed) for seed, name in enumerate(("a", "b"))]
    page = tmp_path / "page.html"
    assert run("explain", checkpoint, *pictures, "--out", page, "--windows", 3, "--threads", 1, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["views"], told["left_out"]) == (["1 (a.png)"], ["2 (b.png)"])
    assert "left out 2 (b.png)" in page.read_text(encoding="utf-8")
    arguments = ("--study", "test-000000", "--out", page, "--windows", 2, "--threads", 1)
    assert run("explain", checkpoint, store, *arguments) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "views: 1 frontal" in said
    assert "left out 2 lateral" in said


def test_a_page_replaces_nothing_but_an_earlier_page(
    seeing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, other = image(tmp_path / "a.png", 0), image(tmp_path / "b.png", 1)
    before = other.read_bytes()
    asked = ("explain", seeing, picture, "--windows", 2, "--threads", 1)
    assert run(*asked, "--out", other) == 1
    assert "b.png: exists already and is no page of radwright explain" in capsys.readouterr().err
    assert other.read_bytes() == before
    page = tmp_path / "new" / "page.html"
    assert run(*asked, "--out", page) == run(*asked, "--out", page) == 0
    assert run(*asked, "--out", other, "--replace") == 0
    assert other.read_bytes().startswith(b"<!doctype html>")
    assert run(*asked, "--out", picture, "--replace") == 1
    assert "is read by this very command" in capsys.readouterr().err


def test_a_study_of_a_store_by_its_id(
    seeing: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert run("explain", seeing, store, "--study", "test-000001", "--out", page, "--threads", 1) == 0
    out = capsys.readouterr().out
    assert "test-000001" in out
    assert "not a medical device" in out
    assert "The study&#x27;s own report" in page.read_text(encoding="utf-8")
    assert run("explain", seeing, store, "--out", page) == 1
    assert "holds 3 studies (test-000000, test-000001, test-000002); name one with --study" in capsys.readouterr().err
    assert run("explain", seeing, store, "--study", "test-00001", "--out", page) == 1
    assert "holds no such study (did you mean 'test-000001'?)" in capsys.readouterr().err


def test_a_network_that_is_told_clues_shows_what_they_do(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    checkpoint = save(tmp_path / "best", "trrg", TRRG)
    page = tmp_path / "page.html"
    arguments = ("--study", "test-000000", "--out", page, "--windows", 2, "--threads", 1)
    assert run("explain", checkpoint, store, *arguments, "--json") == 0
    sentences = json.loads(capsys.readouterr().out)["sentences"]
    assert sentences
    for sentence in sentences:
        assert len(sentence["clues"]) == 13
        assert all(clue["told"] for clue in sentence["clues"])
        assert all(np.isfinite(clue["effect"]) for clue in sentence["clues"])
    assert "Effects of clues on this sentence" in page.read_text(encoding="utf-8")


def test_what_cannot_be_explained_is_said(seeing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    assert run("explain", seeing, broken, "--out", tmp_path / "page.html", "--threads", 1) == 1
    assert "broken.png: is truncated" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
    good = image(tmp_path / "good.png", 1)
    assert run("explain", seeing, good, "--out", good, "--threads", 1) == 1
    assert "is read by this very command" in capsys.readouterr().err
    assert run("explain", seeing, tmp_path / "none.png", "--out", tmp_path / "page.html") == 1
    assert "no such image" in capsys.readouterr().err


def test_a_network_that_does_not_look_points_by_chance(
    blind: Path, population: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "judged"
    assert judge(blind, population, out, 4, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["num_judged"] == told["num_sentences"] == 4
    assert told["num_places"] == 8
    scores = {name: own["scores"] for name, own in told["maps"].items()}
    assert set(scores) == {"occlusion", "attention", "usual_place", "centre", "random", "perfect"}
    assert scores["occlusion"]["points"]["value"] == pytest.approx(told["chance"]["points"])
    assert scores["occlusion"]["near"]["value"] == pytest.approx(told["chance"]["near"])
    assert scores["occlusion"]["strongest"]["value"] == pytest.approx(told["chance"]["strongest"])
    assert scores["perfect"]["strongest"]["value"] == 1
    assert scores["perfect"]["points"]["value"] == scores["perfect"]["near"]["value"] == 1
    assert all(own["deletion"]["value"] == pytest.approx(0, abs=1e-6) for own in scores.values())
    assert told["kinds"]["cardiomegaly"]["num_places"] == 8
    assert json.loads((out / "evidence.json").read_text(encoding="utf-8"))["maps"] == told["maps"]
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "Cardiomegaly." in page
    assert page.count('class="overlay"') == 2 * 2  # map and mask, of the one kind that is asserted, in both views


def test_a_network_that_reads_one_view_is_judged_on_it(
    population: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = save(tmp_path / "best", "vlci", VLCI, max_views=1)
    assert judge(checkpoint, population, tmp_path / "judged", 3, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["num_judged"] == told["num_places"] == 3
    assert told["maps"]["perfect"]["scores"]["points"]["value"] == 1
    rows = [json.loads(line) for line in (tmp_path / "judged" / "studies.jsonl").read_text().splitlines()]
    assert {view for row in rows for one in row.get("sentences", ()) for view in one["chance"]} == {"frontal"}


def test_judging_goes_on_where_it_stopped(
    seeing: Path, blind: Path, population: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(seeing, population, tmp_path / "whole", 4) == 0
    assert "pointing by finding" in capsys.readouterr().out
    parts = tmp_path / "parts"
    assert judge(seeing, population, parts, 2) == 0
    with (parts / "studies.jsonl").open("ab") as stream:
        stream.write(b'{"study_id": "test-0000')  # a kill in the middle of a line
    assert judge(seeing, population, parts, 4) == 0
    assert "4 phantom studies, 2 judged before" in capsys.readouterr().out
    assert (parts / "studies.jsonl").read_bytes() == (tmp_path / "whole" / "studies.jsonl").read_bytes()
    whole, joined = (
        json.loads((folder / "evidence.json").read_text(encoding="utf-8")) for folder in (tmp_path / "whole", parts)
    )
    assert whole["maps"] == joined["maps"]
    assert judge(blind, population, parts, 4) == 1
    assert "holds results of radwright evaluate-evidence with another weights" in capsys.readouterr().err


def test_wrong_requests_are_refused(
    seeing: Path, population: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(seeing, population, tmp_path / "a", 2, "--split", "tests") == 1
    assert "--split tests: no such split (did you mean 'test'?)" in capsys.readouterr().err
    assert judge(seeing, tmp_path / "none.yaml", tmp_path / "a", 2) == 1
    assert "none.yaml: no such file" in capsys.readouterr().err
