"""`radwright robustness` through the command line: paired by study, resumed by condition, another source by labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from radwright.cli.main import main
from radwright.data import files
from radwright.data.store import HEADER, REPORTS, STORE_VERSION, PreparedStore, study_row
from radwright.data.writing import StoreWriter
from radwright.decoding.config import DecodingConfig, Greedy
from radwright.imaging.config import ImageConfig
from radwright.inference.checkpoint import CheckpointConfig, build_model, save_checkpoint
from radwright.inference.predictor import Predictor
from radwright.text.words import WordTokenizer
from radwright.types import ImageInMemory, Report, Study

WORDS = WordTokenizer(["there", "is", "cardiomegaly", "no", "effusion", "pneumonia", "lungs", "are", "clear", "."])
BACKBONE = {"name": "resnet", "depth": 18, "width": 4, "num_stages": 2}
VLCI: dict[str, Any] = {"backbone": BACKBONE, "dim": 16, "num_heads": 4, "hidden_dim": 16, "num_encoder_layers": 1}
VLCI |= {"linguistic_hidden_dim": 16, "num_decoder_layers": 1, "num_local_per_head": 1}
TRRG: dict[str, Any] = {
    "backbone": BACKBONE,
    "text_encoder": {"dim": 16, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "dropout": 0.0},
    "contrast_dim": 12,
    "language": {"dim": 16, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "dropout": 0.0},
    "interaction_dim": 16,
    "num_interaction_heads": 2,
    "num_interaction_layers": 1,
}


def save(path: Path, method: str, values: dict[str, Any]) -> Path:
    torch.manual_seed(0)
    image = ImageConfig(size_px=32)
    model = build_model(method, values, WORDS, image)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(3)  # loud enough to write different words for different images
    values = model.deployed_config() if hasattr(model, "deployed_config") else values
    config = CheckpointConfig(
        method=method, model=values, image=image, decoding=DecodingConfig(strategy=Greedy(), max_tokens=8)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, config, model, WORDS, {"seed": 0})
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("runs") / "vlci" / "best", "vlci", VLCI)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven phantom studies of two views each; of the last one only the frontal view is left."""
    folder = tmp_path_factory.mktemp("phantom")
    (folder / "studies.yaml").write_text("size_px: 48\nnum_studies: {train: 2, tune: 1, val: 7}\n")
    assert run("prepare", folder / "studies.yaml", "--format", "phantom", "--out", folder / "whole") == 0
    whole = PreparedStore(folder / "whole")
    path = folder / "store"
    path.mkdir()
    files.write_lines(path / HEADER, [{"version": STORE_VERSION, "complete": True, "format": "phantom"}])
    studies = [whole.study(index) for index in whole.indices("val")]
    studies[-1] = replace(studies[-1], views=studies[-1].views[:1])
    with StoreWriter(path) as writer:
        for study in studies:
            writer.add(study_row(study))
    rows = [{"study_id": each.study_id, "report": each.section("findings"), "split": "val"} for each in studies]
    files.write_lines(path / REPORTS, rows)
    return path


def run(*arguments: object) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def try_out(checkpoint: Path, store: Path, out: Path, conditions: str, *more: object) -> int:
    given = ("--split", "val", "--out", out, "--threads", 1, "--device", "cpu", "--conditions", conditions)
    return run("robustness", checkpoint, store, *given, *more)


def card_of(out: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((out / "robustness.json").read_text())
    return values


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def forbid() -> None:
        def refused(*_: object) -> Iterator[Any]:
            raise AssertionError("nothing is to be drafted anew")

        monkeypatch.setattr(Predictor, "draft", refused)

    return forbid


def test_everything_is_written_and_a_second_call_drafts_nothing(
    checkpoint: Path,
    store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    refuse: Callable[[], None],
) -> None:
    out = tmp_path / "card"
    assert try_out(checkpoint, store, out, "blur=0,inversion,missing_lateral,missing_frontal,swapped_views") == 0
    said = capsys.readouterr().out
    assert "split 'val' of store, 7 studies" in said
    assert said.strip().endswith(str(out / "index.html"))
    found = card_of(out)
    assert found["clean"]["n"] == 7
    same = found["conditions"]["blur=0"]
    assert same["changed"] == 0
    assert all(set(each.values()) == {0} for each in same["differences"].values())
    assert found["conditions"]["inversion"]["n"] == 7
    [alone] = {study.study_id for study in PreparedStore(store) if len(study.views) == 1}
    for name in ("missing_lateral", "missing_frontal", "swapped_views"):
        assert found["conditions"][name]["n"] == 6
        assert list(found["conditions"][name]["left_out"]) == [alone]
        assert any(note.startswith(f"{name}: left out 1 study ('{alone}')") for note in found["notes"])
    assert "| blur=0 | 7 |" in (out / "robustness.md").read_text()
    page = (out / "index.html").read_text()
    assert page.count('class="example"') == 6
    assert page.count("<img") == 2 + 1 + 1 + 1 + 1 + 2
    written = {path.name: path.read_bytes() for path in (out / "drafts").iterdir()}
    refuse()
    assert try_out(checkpoint, store, out, "blur=0,inversion,missing_lateral,missing_frontal,swapped_views") == 0
    assert "39 of the drafts were there" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in (out / "drafts").iterdir()} == written
    assert card_of(out)["conditions"] == found["conditions"]


def test_drafts_are_those_of_the_degraded_images(checkpoint: Path, store: Path, tmp_path: Path) -> None:
    assert try_out(checkpoint, store, tmp_path / "card", "inversion,swapped_views") == 0
    clean, inverted = (
        {row["study_id"]: row["score"] for row in files.read_lines(tmp_path / "card" / "drafts" / f"{name}.jsonl")}
        for name in ("clean", "inversion")
    )
    assert all(clean[study_id] != inverted[study_id] for study_id in clean)


def test_a_model_that_ignores_the_image_shows_differences_of_exactly_0(
    checkpoint: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blind(self: Predictor, studies: Any) -> Iterator[Report]:
        for study in studies:
            for view in study.views:
                view.image.read()
            text = "There is cardiomegaly." if int(study.study_id[-1]) % 2 else "No effusion."
            yield Report(study.study_id, text, 0.0, 0.0)

    monkeypatch.setattr(Predictor, "draft", blind)
    assert try_out(checkpoint, store, tmp_path / "card", "") == 0
    conditions = card_of(tmp_path / "card")["conditions"]
    assert len(conditions) == 22
    for each in conditions.values():
        assert each["changed"] == 0
        assert all(set(values.values()) == {0} for values in each["differences"].values())


def test_interrupted_it_goes_on_with_the_condition_it_was_at(
    checkpoint: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert try_out(checkpoint, store, tmp_path / "whole", "noise=0.1,rotation=20", "--batch-size", 2) == 0
    drafting, done = Predictor.draft, 0

    def stopping(self: Predictor, studies: Any) -> Iterator[Any]:
        nonlocal done
        for outcome in drafting(self, studies):
            if done == 11:
                raise KeyboardInterrupt
            done += 1
            yield outcome

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "draft", stopping)
        assert try_out(checkpoint, store, tmp_path / "cut", "noise=0.1,rotation=20", "--batch-size", 2) == 130
    assert "run the same command again to resume" in capsys.readouterr().err
    assert try_out(checkpoint, store, tmp_path / "cut", "noise=0.1,rotation=20", "--batch-size", 2) == 0
    assert "11 of the drafts were there" in capsys.readouterr().out
    assert card_of(tmp_path / "cut")["conditions"] == card_of(tmp_path / "whole")["conditions"]


def test_further_conditions_may_be_added_but_not_another_seed(
    checkpoint: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert try_out(checkpoint, store, tmp_path / "card", "noise=0.1") == 0
    assert try_out(checkpoint, store, tmp_path / "card", "noise=0.1,noise=0.2") == 0
    assert "14 of the drafts were there" in capsys.readouterr().out
    assert list(card_of(tmp_path / "card")["conditions"]) == ["noise=0.1", "noise=0.2"]
    assert try_out(checkpoint, store, tmp_path / "card", "noise=0.1", "--seed", 1) == 1
    assert "another seed; choose another --out" in capsys.readouterr().err


def test_a_condition_that_no_study_can_be_in_is_said_and_costs_nothing(
    checkpoint: Path, store: Path, tmp_path: Path
) -> None:
    single = tmp_path / "single"
    single.mkdir()
    files.write_lines(single / HEADER, [{"version": STORE_VERSION, "complete": True, "format": "phantom"}])
    with StoreWriter(single) as writer:
        for study in PreparedStore(store):
            writer.add(study_row(replace(study, views=study.views[:1])))
    (single / REPORTS).write_bytes((store / REPORTS).read_bytes())
    assert try_out(checkpoint, single, tmp_path / "card", "swapped_views,contrast=0.5") == 0
    swapped = card_of(tmp_path / "card")["conditions"]["swapped_views"]
    assert swapped["scores"] == {}
    assert "no study can be so: each has not both a frontal and a lateral view" in swapped["why_not"]
    assert card_of(tmp_path / "card")["conditions"]["contrast=0.5"]["n"] == 7


def test_a_network_with_clues_has_the_auc_of_what_it_perceives(store: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    more = ("--into-card", "--min-positives", 1)
    path = save(tmp_path / "trrg" / "best", "trrg", TRRG)
    assert try_out(path, store, tmp_path / "card", "blur=0,inversion", *more) == 0
    found = card_of(tmp_path / "card")
    assert 0 <= found["clean"]["scores"]["auc_macro"]["value"] <= 1
    assert set(found["conditions"]["blur=0"]["differences"]["auc_macro"].values()) == {0}
    assert found["conditions"]["inversion"]["differences"]["auc_macro"]["value"] != 0
    text = (path / "MODEL_CARD.md").read_text()
    assert text.count("## Robustness") == 1
    assert "## Limits" in text
    assert "- inversion (MONOCHROME1 unnoticed):" in text
    assert try_out(path, store, tmp_path / "card", "blur=0,inversion", *more) == 0
    assert (path / "MODEL_CARD.md").read_text() == text


@pytest.fixture
def other(tmp_path: Path, store: Path) -> Path:
    """Four images of three patients with a diagnosis each."""
    folder = tmp_path / "other"
    (folder / "images").mkdir(parents=True)
    images = [study.views[0].image.read() for study in PreparedStore(store)]
    rows = ["1,0,COVID-19,PA", "1,5,COVID-19,PA", "2,,Lipoid,AP", "3,,No Finding,PA", "4,,Hernia,PA"]
    for number, row in enumerate(rows):
        (folder / "images" / f"{number}.png").write_bytes(images[number])
        rows[number] = f"{row},{number}.png,F"
    (folder / "metadata.csv").write_text("\n".join(["patientid,offset,finding,view,image,sex", *rows]))
    return folder


def test_another_source_is_judged_by_its_labels(
    checkpoint: Path, store: Path, tmp_path: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "card"
    assert try_out(checkpoint, store, out, "blur=0", "--other", other, "--format", "covid-chestxray") == 0
    found = card_of(out)["outside"]
    assert found["n"] == 5
    sensitivity, specificity = (found["findings"]["lung_opacity"][side] for side in ("sensitivity", "specificity"))
    assert (sensitivity["studies"], sensitivity["patients"]) == (3, 2)
    assert (specificity["studies"], specificity["patients"]) == (1, 1)
    assert list(found["labels"]) == ["COVID-19", "Lipoid", "No Finding"]
    assert found["unknown"] == {"Hernia": 1}
    assert "Another source" in (out / "index.html").read_text()
    assert "lung opacity" in capsys.readouterr().out
    # A store is taken as it is, with the map of its format or another one.
    (tmp_path / "map.toml").write_text(
        "[covid-chestxray]\nfact = 'sex'\n[covid-chestxray.findings.cardiomegaly]\npresent = ['F']\n"
    )
    again = ("--other", out / "other" / "store", "--labels-map", tmp_path / "map.toml")
    assert try_out(checkpoint, store, tmp_path / "again", "blur=0", *again) == 0
    assert card_of(tmp_path / "again")["outside"]["findings"]["cardiomegaly"]["sensitivity"]["studies"] == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--conditions", "bluur"), "did you mean 'blur'"),
        (("--conditions", "blur=0", "--labels", "x.csv"), "perceives no diseases; leave --labels out"),
        (("--conditions", "blur=0", "--format", "table"), "name it with --other"),
        (("--conditions", "blur=0", "--other", "nowhere"), "say how to read it with --format"),
        (("--conditions", "blur=0", "--other", "nowhere", "--format", "covid-chestxray"), "nowhere: does not exist"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    arguments: tuple[str, ...],
    message: str,
    checkpoint: Path,
    store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ("--split", "val", "--out", tmp_path / "card", "--threads", 1, "--device", "cpu")
    assert run("robustness", checkpoint, store, *given, *arguments) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_study_whose_image_is_broken_is_left_out_with_its_reason(
    checkpoint: Path, store: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    files.write_lines(broken / HEADER, [{"version": STORE_VERSION, "complete": True, "format": "phantom"}])
    names = []
    with StoreWriter(broken) as writer:
        for number, study in enumerate(PreparedStore(store)):
            names.append(study.study_id)
            writer.add(study_row(cut(study) if number == 2 else study))
    (broken / REPORTS).write_bytes((store / REPORTS).read_bytes())
    assert try_out(checkpoint, broken, tmp_path / "card", "contrast=0.5") == 0
    found = card_of(tmp_path / "card")
    for each in (found["clean"], found["conditions"]["contrast=0.5"]):
        assert each["n"] == 6
        assert list(each["left_out"]) == [names[2]]
        assert "truncated" in each["left_out"][names[2]]


def cut(study: Study) -> Study:
    views = [replace(view, image=ImageInMemory("cut", view.image.read()[:200])) for view in study.views]
    return replace(study, views=tuple(views))
