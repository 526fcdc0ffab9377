"""``radwright import-released`` through the real command line: import, draft, refuse; parity with the fixtures."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from radwright.cli.main import main
from radwright.data.phantom import PhantomConfig, generate_study
from radwright.data.phantom.study import png_bytes
from radwright.inference.checkpoint import load_checkpoint
from radwright.types import Batch
from released_weights import SIZES, WORDS, released_weights, small_vlci

FIXTURES = ("vlci_two_view", "vlci_one_view_eos")
KEYS = ["local_tokens", "global_tokens", "memory", "log_probs", "beam3_ids_equal"]


def run(*arguments: object) -> int:
    """The exit status of a command, run in this process."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS) + "\n")
    return path


@pytest.fixture
def released(tmp_path: Path) -> Path:
    path = tmp_path / "model_best.pth"
    state = released_weights(small_vlci(), prefix="module.")
    torch.save({"epoch": 9, "state_dict": state, "monitor_best": 0.189}, path)
    return path


def random_batch() -> Batch:
    generator = torch.Generator().manual_seed(2)
    mask = torch.ones(2, 2, dtype=torch.bool)
    ids = torch.tensor([[0, 3, 1, 5, 2, 0], [0, 4, 4, 6, 0, 0]])
    images = torch.rand(2, 2, 1, 64, 64, generator=generator)
    return Batch(("a", "b"), images, mask, mask.long(), ids, torch.tensor([6, 5]))


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_an_imported_checkpoint_is_the_network_to_the_bit_and_drafts(
    tmp_path: Path, words: Path, released: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    original, file = small_vlci(), released
    if kind == "safetensors":
        file = tmp_path / "model.safetensors"
        save_file(released_weights(original), file)
    out = tmp_path / "imported"
    command = ["import-released", file, "--out", out, "--vocabulary", words, "--max-tokens", 8, "--json"]
    assert run(*command) == 0
    account = json.loads(capsys.readouterr().out)
    assert (account["loaded"], account["unused"], account["notes"]) == (len(original.state_dict()), [], [])
    checkpoint = load_checkpoint(out)
    assert checkpoint.tokenizer.words == tuple(sorted([*WORDS, "<unk>"]))
    assert (checkpoint.tokenizer.bos_id, checkpoint.tokenizer.eos_id, checkpoint.tokenizer.pad_id) == (0, 0, 0)
    assert not checkpoint.config.image.keep_aspect
    assert checkpoint.config.max_views == 2
    with torch.no_grad():
        assert torch.equal(checkpoint.model.logits(random_batch()), original.logits(random_batch()))
    study = generate_study(PhantomConfig(size_px=64), "test", 0)
    image = tmp_path / "frontal.png"
    image.write_bytes(png_bytes(study.images["frontal"]))
    drafts = tmp_path / "drafts.jsonl"
    assert run("generate", out, image, "--out", drafts) == 0
    [draft] = [json.loads(line) for line in drafts.read_text().splitlines()]
    assert set(draft["report"].lower().replace(".", " .").split()) <= set(WORDS)


def test_the_account_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "odd.pth"
    torch.save(released_weights(small_vlci()) | {"reconstruct.weight": torch.zeros(3)}, file)
    assert run("import-released", file, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "ignored: 3 (fixed buffers)" in printed
    assert "ignored: 16 (projections that causal_proj=false never reads)" in printed
    assert "unused: reconstruct.weight" in printed
    assert "numbered stand-ins" in printed
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert "must not be redistributed" in card


def test_the_vocabulary_is_counted_as_released(tmp_path: Path, released: Path) -> None:
    """IU: seen 3 times in train after its cleaner; MIMIC: 10 times after its own; val and test count nothing."""
    often = {"train": 3, "mimic": 10}

    def records(text: str, times: int, **more: Any) -> list[dict[str, Any]]:
        return [{"id": f"{text}{n}", "report": text, "image_path": ["a.png"], **more} for n in range(times)]

    iu = {"train": records("Heart normal.", often["train"]) + records("rare.", 2), "val": records("hidden.", 9)}
    mimic = {
        "train": records("No __ effusion;\nlungs.", often["mimic"], subject_id=7) + records("seldom.", 9, subject_id=7),
        "test": records("hidden.", 20, subject_id=8),
    }
    paths = []
    for name, annotation in {"iu": iu, "mimic": mimic}.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "annotation.json").write_text(json.dumps(annotation))
        paths += ["--vocabulary", folder / "annotation.json"]
    assert run("import-released", released, "--out", tmp_path / "out", *paths) == 0
    words = load_checkpoint(tmp_path / "out").tokenizer.words
    assert words == tuple(sorted([*WORDS, "<unk>"]))


def test_the_vocabulary_of_iu_xray_has_the_published_size(shared: Path) -> None:
    from radwright.runs.released import read_vocabulary

    tokenizer, [source] = read_vocabulary([shared / "data" / "iu_xray.zip"], 761)
    assert tokenizer.vocab_size == 761
    assert "IU X-Ray" in source


def test_bad_input_is_named_and_leaves_nothing_behind(
    tmp_path: Path, words: Path, released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"

    def failure(*arguments: object) -> str:
        capsys.readouterr()
        assert run("import-released", *arguments) == 1
        assert not out.exists()
        return capsys.readouterr().err

    assert "--check FIXTURE" in failure()
    assert "--out DIR" in failure(released)
    assert "stands alone" in failure(released, "--out", out, "--check", tmp_path / "fixture.safetensors")
    assert "no such weights file" in failure(tmp_path / "absent.pth", "--out", out)
    words.write_text("one\ntwo\n")
    message = failure(released, "--out", out, "--vocabulary", words)
    assert "3 words" in message
    assert "8 rows" in message
    assert "no such file" in failure(released, "--out", out, "--vocabulary", tmp_path / "absent.json")
    words.write_text('{"train": [{"id": "a", "report": 3}]}')
    assert "words.txt" in failure(released, "--out", out, "--vocabulary", words)
    cut = tmp_path / "cut.pth"
    cut.write_bytes(released.read_bytes()[:5000])
    assert "cut.pth" in failure(cut, "--out", out)
    plain = tmp_path / "plain.pth"
    torch.save({"a": 1}, plain)
    assert "names to tensors" in failure(plain, "--out", out)
    torch.save({"conv1.weight": torch.zeros(3)}, plain)
    assert "vis_embed.proj.weight" in failure(plain, "--out", out)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    assert "choose another --out" in failure(released, "--out", tmp_path / "taken")
    assert (tmp_path / "taken" / "thesis.txt").read_text() == "mine"


class Bomb:
    """Unpickled, it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_pickled_code_is_refused_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bomb = tmp_path / "bomb.pth"
    torch.save(released_weights(small_vlci()) | {"z": Bomb(tmp_path / "exploded")}, bomb)
    assert run("import-released", bomb, "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "no pickled code" in error
    assert "it holds posix.mkdir" in error
    assert "weights_only" not in error
    assert not (tmp_path / "exploded").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", FIXTURES)
def test_check_prints_one_object_and_agrees(shared: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("import-released", "--check", shared / "golden" / f"{name}.safetensors") == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == KEYS
    assert found["beam3_ids_equal"] is True
    assert all(0 < found[key] < 1e-4 for key in KEYS[:4])


def test_check_notices_a_changed_weight_output_or_beam(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = shared / "golden" / "vlci_one_view_eos.safetensors"
    with safe_open(source, framework="pt") as file:
        metadata = file.metadata()
    path = tmp_path / "changed.safetensors"

    def found(name: str, change: Any) -> dict[str, Any]:
        tensors = load_file(source)
        tensors[name] = change(tensors[name])
        save_file(tensors, path, metadata)
        capsys.readouterr()
        assert run("import-released", "--check", path) == 1
        values: dict[str, Any] = json.loads(capsys.readouterr().out)
        return values

    weight = found("weights.z_norm.gamma", lambda t: t * 1.1)
    assert weight["log_probs"] > 1e-4 > weight["memory"]
    output = found("outputs.global_tokens", lambda t: t + 2e-4)
    assert output["global_tokens"] > 1e-4
    assert output["beam3_ids_equal"] is True
    beam = found("outputs.beam3_ids", lambda t: t.flip(0))
    assert beam["beam3_ids_equal"] is False
    assert all(beam[key] < 1e-4 for key in KEYS[:4])


def test_a_damaged_fixture_is_named(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = shared / "golden" / "vlci_one_view_eos.safetensors"
    with safe_open(source, framework="pt") as file:
        metadata = dict(file.metadata())
    path = tmp_path / "damaged.safetensors"

    def failure(said: dict[str, str], **changes: Any) -> str:
        tensors = load_file(source) | {name: t for name, t in changes.items() if t is not None}
        save_file({name: t for name, t in tensors.items() if changes.get(name, t) is not None}, path, metadata | said)
        capsys.readouterr()
        assert run("import-released", "--check", path) == 1
        streams = capsys.readouterr()
        assert streams.out == ""
        assert str(path) in streams.err
        return streams.err

    assert "vocab is 41, by the weights 40" in failure({"vocab": "41"})
    assert "metadata are damaged" in failure({"views": "two"})
    assert "metadata are damaged" in failure({"causal_proj": "maybe"})
    assert "inputs.features is (6, 196, 1024), not (12, 196, 1024)" in failure({"views": "2"})
    assert "outputs.memory" in failure({}, **{"outputs.memory": None})
    assert "ids below 41" in failure({}, **{"inputs.report_ids": torch.full((6, 12), 41)})
    assert "fl_norm.gamma" in failure({}, **{"weights.fl_norm.gamma": None})
    path.write_bytes(source.read_bytes()[:100_000])
    assert run("import-released", "--check", path) == 1
    assert str(path) in capsys.readouterr().err
    assert run("import-released", "--check", tmp_path / "absent.safetensors") == 1


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    (folder / "studies.yaml").write_text("size_px: 64\nnum_studies: {train: 4, tune: 1, val: 0, test: 0}\n")
    prepare = ["prepare", folder / "studies.yaml", "--format", "phantom", "--out", folder / "store", "--workers", 1]
    assert run(*prepare) == 0
    return folder / "store"


def one_step(folder: Path, store: Path, **changes: Any) -> Path:
    """A recipe of one step with a learning rate of zero."""
    train = {"max_steps": 1, "batch_size": 4, "optimizer": {"lr": 0.0}}
    decoding = {"strategy": {"kind": "greedy"}, "max_tokens": 5}
    stage = {"name": "report", "train": train, "validation": {"decoding": decoding}}
    recipe = {"store": str(store), "method": "vlci", "image": {"size_px": 64, "keep_aspect": False}}
    recipe |= {"loading": {"max_tokens": 20, "cut_at_sentence": False}, "stages": [stage | changes.pop("stage", {})]}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe | changes))
    return path


def test_the_released_preset_trains_from_a_recipe(store: Path, tmp_path: Path) -> None:
    vocabulary = {"released": True, "cleaning": "r2gen-iu", "min_count": 1}
    recipe = one_step(tmp_path, store, model=SIZES, vocabulary=vocabulary)
    assert run("train", recipe, "--out", tmp_path / "run", "--threads", 1) == 0
    checkpoint = load_checkpoint(tmp_path / "run" / "best")
    assert checkpoint.model.config.preset == "released"
    assert checkpoint.model.config.released_masks
    tokenizer = checkpoint.tokenizer
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (0, 0, 0)
    assert "<unk>" in tokenizer.words


def test_an_imported_checkpoint_is_the_start_of_a_corrected_one(store: Path, tmp_path: Path, released: Path) -> None:
    """Its words and weights are taken over; gates and view embedding, which the release lacks, are new."""
    imported = tmp_path / "imported"
    assert run("import-released", released, "--out", imported) == 0
    model = SIZES | {"preset": "corrected", "backbone": {**SIZES["backbone"], "in_channels": 3}, "released_norm": True}
    recipe = one_step(
        tmp_path,
        store,
        model=model,
        vocabulary={"checkpoint": str(imported)},
        stage={"init_from": str(imported)},
    )
    assert run("train", recipe, "--out", tmp_path / "run", "--threads", 1) == 0
    before = load_file(imported / "model.safetensors")
    after = load_file(tmp_path / "run" / "best" / "model.safetensors")
    assert all(torch.equal(after[name], before[name]) for name in before if "num_batches" not in name)
    new = {name.rpartition(".")[0] for name in after.keys() - before.keys()}
    assert new == {"view_embedding", "visual_front_door", "linguistic_front_door"}
