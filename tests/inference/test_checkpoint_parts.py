"""Checkpoints of networks with parts out of folders: what is inside, what is not, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from radwright.config import Config
from radwright.errors import CheckpointError, OutputError
from radwright.imaging.config import ImageConfig
from radwright.inference.checkpoint import CheckpointConfig, build_model, load_checkpoint, save_checkpoint
from radwright.nn.folder import FolderConfig, FolderPart
from radwright.runs.handover import hand_over
from radwright.text.words import WordTokenizer
from radwright.types import Tokenizer

WORDS = WordTokenizer(["heart", "normal", "."])
IMAGE = ImageConfig(size_px=32)
DIM = 3
TIED = ("language.base.embed_tokens.weight", "language.base.lm_head.weight")


class Language(nn.Module):
    """A base whose last weight is its first."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, DIM)
        self.layer = nn.Linear(DIM, DIM)
        self.lm_head = nn.Linear(DIM, vocabulary, bias=False)
        self.lm_head.weight = self.embed_tokens.weight


class Adapter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lora_A = nn.Parameter(torch.randn(DIM))


def write_base(folder: Path, *, seed: int, vocabulary: int = 7) -> Path:
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    base = Language(vocabulary)
    save_file(
        {name: base.state_dict()[name] for name in base.state_dict() if "lm_head" not in name}, folder / "weights"
    )
    (folder / "shape.json").write_text(json.dumps({"vocabulary": vocabulary}))
    return folder


def read_base(directory: Path, *, weights: bool) -> nn.Module:
    path = directory / "shape.json"
    if not path.is_file():
        raise CheckpointError(f"{directory}: no such folder")
    base = Language(json.loads(path.read_text())["vocabulary"])
    if weights:
        base.load_state_dict(load_file(directory / "weights"), strict=False)
    return base


class Part(FolderPart):
    """A toy language model out of a folder, or none of it."""

    def __init__(self, part_config: FolderConfig) -> None:
        super().__init__(part_config)
        if part_config.directory is not None:
            self.open_base(read_base)
            if part_config.tuning == "lora":
                self.get_submodule("base.layer").adapter = Adapter()  # its name holds ".lora_"
        self.bridge = nn.Linear(DIM, DIM)

    def save_folder(self, path: Path) -> None:
        path.mkdir()
        size = self.get_parameter("base.embed_tokens.weight").shape[0]
        (path / "shape.json").write_text(json.dumps({"vocabulary": size}))


class ToyConfig(Config):
    language: FolderConfig = FolderConfig()
    encoders: tuple[FolderConfig, ...] = ()
    name: str = "text_encoder"


class Toy(nn.Module):
    """A network with a part of its own, further ones deeper, and a weight under two names."""

    Config = ToyConfig

    def __init__(self, config: ToyConfig, tokenizer: Tokenizer, size_px: int) -> None:
        super().__init__()
        self.config = config
        self.language = Part(config.language)
        self.inner = nn.ModuleDict({f"{config.name}_{n}": Part(part) for n, part in enumerate(config.encoders)})
        self.head = nn.Linear(DIM, tokenizer.vocab_size)
        self.again = self.head
        self.told: tuple[Any, Any] | None = None

    def deployed_config(self) -> dict[str, Any]:
        inner = self.inner.items()
        return self.config.plain() | {
            "language": self.language.deployed_part("language"),
            "encoders": [part.deployed_part(name) for name, part in inner if isinstance(part, Part)],
        }

    def take_over(self, values: Mapping[str, Any], scores: Mapping[str, float]) -> None:
        self.told = (values, scores)


METHOD = f"{__name__}:Toy"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_base(tmp_path / "bases" / "small-lm", seed=1)


def make(seed: int = 9, **values: Any) -> Toy:
    torch.manual_seed(seed)
    model: Toy = build_model(METHOD, values, WORDS, IMAGE)
    return model


def saved(path: Path, model: Toy, **provenance: Any) -> Path:
    config = CheckpointConfig(method=METHOD, model=model.deployed_config(), image=IMAGE)
    save_checkpoint(path, config, model, WORDS, provenance)
    return path


def moved(model: Toy) -> Toy:
    """As after training: every weight that may be trained is another one."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    return model


def weights(path: Path) -> dict[str, Tensor]:
    return load_file(path / "model.safetensors")


def assert_same(first: nn.Module, second: nn.Module) -> None:
    one, two = first.state_dict(), second.state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


# --- saved and loaded -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tuning", ["frozen", "lora"])
def test_a_base_stays_outside_and_comes_back(tuning: str, base: Path, tmp_path: Path) -> None:
    model = moved(make(language={"directory": base, "tuning": tuning}))
    path = saved(tmp_path / "best", model)
    names = weights(path).keys()
    assert not {name for name in names if name.startswith("language.base.") and "lora" not in name}
    assert any("lora" in name for name in names) == (tuning == "lora")
    assert {"language.bridge.weight", "head.weight"} <= names
    assert not (path / "language").exists()
    assert_same(load_checkpoint(path).model, model)
    card = (path / "MODEL_CARD.md").read_text()
    assert "`small-lm`" in card
    assert model.language.identity in card
    assert str(tmp_path) not in card


def test_another_base_is_refused_and_both_are_named(base: Path, tmp_path: Path) -> None:
    model = make(language={"directory": base, "tuning": "frozen"})
    path = saved(tmp_path / "best", model)
    shutil.rmtree(base)
    with pytest.raises(CheckpointError, match="no such folder"):
        load_checkpoint(path)
    other = make(language={"directory": write_base(base, seed=2), "tuning": "frozen"})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert model.language.identity in str(caught.value)
    assert other.language.identity in str(caught.value)
    assert str(base) in str(caught.value)


def test_a_part_trained_whole_needs_its_folder_no_more(base: Path, tmp_path: Path) -> None:
    inner = write_base(tmp_path / "bases" / "encoder", seed=3, vocabulary=5)
    model = moved(
        make(
            language={"directory": base},
            encoders=[{"directory": inner}, {}, {"directory": inner, "tuning": "frozen"}],
        )
    )
    path = saved(tmp_path / "best", model)
    config = json.loads((path / "config.json").read_text())["model"]
    assert config["language"] == {"directory": "./language", "tuning": "full", "identity": None, "inside": True}
    assert [part["directory"] for part in config["encoders"]] == ["./text_encoder_0", None, str(inner)]
    shutil.rmtree(base)
    moved_place = shutil.move(path, tmp_path / "elsewhere")
    loaded = load_checkpoint(Path(moved_place))
    assert_same(loaded.model, model)
    # What was loaded is saved as it was, wherever it lies.
    again = saved(tmp_path / "again", loaded.model)
    shutil.rmtree(tmp_path / "elsewhere")
    assert (again / "config.json").read_bytes() == json_bytes(config, again)
    assert_same(load_checkpoint(again).model, model)


def json_bytes(model: Any, path: Path) -> bytes:
    values = json.loads((path / "config.json").read_text()) | {"model": model}
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def test_tied_weights_are_written_once_and_stay_tied(base: Path, tmp_path: Path) -> None:
    model = moved(make(language={"directory": base}))
    path = saved(tmp_path / "best", model)
    names = weights(path).keys()
    assert TIED[0] in names
    assert TIED[1] not in names
    assert {"head.weight", "head.bias"} <= names
    assert not {"again.weight", "again.bias"} & names
    loaded = load_checkpoint(path).model
    assert_same(loaded, model)
    assert loaded.language.base.lm_head.weight is loaded.language.base.embed_tokens.weight
    assert loaded.again.weight is loaded.head.weight
    apart = make(language={"directory": base})
    apart.get_submodule("language.base.lm_head").weight = nn.Parameter(torch.zeros(7, DIM))
    assert set(TIED) <= weights(saved(tmp_path / "apart", apart)).keys(), "equal shapes are not one weight"


def test_a_weight_and_its_transpose_are_two(tmp_path: Path) -> None:
    model = make()
    model.inner["turned"] = nn.Linear(DIM, DIM)
    model.get_submodule("inner.turned").weight = nn.Parameter(model.language.bridge.weight.data.t())
    assert_same(load_weights_of(saved(tmp_path / "best", model), model), model)


def load_weights_of(path: Path, model: Toy) -> nn.Module:
    """A copy of the network whose weights are those of the file alone."""
    copy = make(seed=1)
    copy.inner["turned"] = nn.Linear(DIM, DIM)
    found = weights(path)
    copy.load_state_dict({name: found[name.replace("again", "head")] for name in model.state_dict()})
    return copy


def test_a_weight_is_outside_under_all_its_names(base: Path, tmp_path: Path) -> None:
    model = make(language={"directory": base, "tuning": "frozen"})
    model.again = model.get_submodule("language.base.layer")
    names = weights(saved(tmp_path / "best", model)).keys()
    assert not {name for name in names if name.startswith(("again.", "language.base."))}


def test_missing_and_extra_weights_are_refused_by_name(base: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "best", make(language={"directory": base, "tuning": "frozen"}))
    stored = weights(path)
    whole = make(language={"directory": base}).state_dict()
    for change, message in (
        ({name: w for name, w in stored.items() if name != "head.bias"}, r"lacks head\.bias"),
        (stored | {"tail.weight": torch.zeros(1)}, r"holds besides tail\.weight"),
        (stored | {TIED[0]: whole[TIED[0]]}, rf"holds besides {TIED[0]}"),
        (stored | {"again.bias": stored["head.bias"].clone()}, r"holds besides again\.bias"),
        (stored | {"head.bias": torch.zeros(2)}, r"size mismatch for head\.bias"),
        ({}, "lacks head.bias, head.weight, language.bridge"),
        ({f"w{number}": torch.zeros(1) for number in range(9)}, "w5 and 3 more"),
    ):
        save_file(change, path / "model.safetensors")
        with pytest.raises(CheckpointError, match=rf"(?s)model\.safetensors: does not fit.*{message}"):
            load_checkpoint(path)


@pytest.mark.parametrize("place", ["./..", "./../other", "./language/../../other", "./", "./."])
def test_a_place_outside_the_checkpoint_is_refused(place: str, base: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "best", make(language={"directory": base}, encoders=[{"directory": base}]))
    shutil.copytree(base, tmp_path / "other")
    config = json.loads((path / "config.json").read_text())
    config["model"]["encoders"][0]["directory"] = place
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"model\.encoders\.0\.directory = .*leads out of the checkpoint"):
        load_checkpoint(path)


def test_parts_do_not_share_a_folder(base: Path, tmp_path: Path) -> None:
    model = make(language={"directory": base}, encoders=[{"directory": base}])
    for name in ("tokenizer", "language"):
        model.inner = nn.ModuleDict({name: model.inner[next(iter(model.inner))]})
        with pytest.raises(OutputError, match=f"inner.{name}"):
            saved(tmp_path / "best", model)


# --- handed over ----------------------------------------------------------------------------------------------------


def test_a_frozen_base_is_no_part_of_a_hand_over(base: Path, tmp_path: Path) -> None:
    values = {"language": {"directory": base, "tuning": "frozen"}}
    source = moved(make(**values))
    path = saved(tmp_path / "first", source, scores={"macro_auc": 0.75})
    model = make(seed=4, **values)
    account = hand_over(model, path, called="first")
    assert_same(model, source)
    assert (account.new, account.unused) == ((), ())
    assert not any("base" in name or "again" in name for name in account.loaded)
    assert model.told is not None
    assert model.told[0]["language"]["identity"] == source.language.identity
    assert model.told[1] == {"macro_auc": 0.75}


def test_a_stage_may_begin_to_train_what_was_frozen(base: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "first", moved(make(language={"directory": base, "tuning": "frozen"})))
    model = make(seed=4, language={"directory": base})
    account = hand_over(model, path, called="first")
    assert set(account.new) == {TIED[0], "language.base.layer.weight", "language.base.layer.bias"}
    assert torch.equal(model.state_dict()[TIED[1]], load_file(base / "weights")["embed_tokens.weight"])


def test_a_trained_part_is_not_taken_for_the_frozen_one(base: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "first", moved(make(language={"directory": base})))
    model = make(seed=4, language={"directory": base, "tuning": "frozen"})
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"keeps language as in its folder, and 'first' changed it.*tuning: full"):
        hand_over(model, path, called="first")
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    trained = make(seed=4, language={"directory": base})
    assert hand_over(trained, path, called="first").new == ()
    assert_same(trained, load_checkpoint(path).model)


def test_what_was_trained_beside_one_base_does_not_go_to_another(base: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "first", make(language={"directory": base, "tuning": "frozen"}))
    other = make(language={"directory": write_base(tmp_path / "other", seed=2), "tuning": "frozen"})
    with pytest.raises(CheckpointError, match=other.language.identity):
        hand_over(other, path, called="first")


def test_a_source_that_says_nothing_of_itself_is_taken_over_all_the_same(tmp_path: Path) -> None:
    model = make(seed=4)
    save_file(
        {name: weight for name, weight in make().state_dict().items() if "again" not in name},
        tmp_path / "model.safetensors",
    )
    hand_over(model, tmp_path, called="bare")
    assert model.told == ({}, {})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read"):
        hand_over(model, tmp_path, called="bare")
