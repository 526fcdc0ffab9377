"""The text encoder: each text by itself, what is trained, what is remembered, checkpoints, refusals."""

from __future__ import annotations

import copy
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from radwright.errors import CheckpointError, ConfigError
from radwright.nn import text_encoder
from radwright.nn.huggingface import load_encoder, load_tokenizer
from radwright.nn.text_encoder import TextEncoder, TextEncoderConfig
from radwright.training.optim import Ema, EmaConfig, OptimizerConfig, make_optimizer
from tiny_folders import TEXT_WRITERS, write_bert
from tiny_language import WordTokenizer

KINDS = ("own", *TEXT_WRITERS)
OWN = {"dim": 12, "num_layers": 2, "num_heads": 2, "hidden_dim": 16}
TEXTS = ["the heart is normal .", "no effusion", "", "lungs are clear . no pneumothorax . the heart is large", "."]
each_kind = pytest.mark.parametrize("kind", KINDS)
each_folder = pytest.mark.parametrize("kind", list(TEXT_WRITERS))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in TEXT_WRITERS.items()}


Make = Callable[..., TextEncoder]


@pytest.fixture
def make(folders: dict[str, Path]) -> Make:
    def built(kind: str, **options: Any) -> TextEncoder:
        torch.manual_seed(3)
        place = OWN if kind == "own" else {"directory": folders[kind]}
        encoder = TextEncoder(TextEncoderConfig(**{**place, **options}), WordTokenizer())
        for parameter in encoder.parameters() if kind == "own" else ():
            parameter.data *= 3 if parameter.dim() > 1 else 1  # far from the mild numbers it begins with
        return encoder

    return built


def counted(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The calls of the network from here on, as the texts that were read."""
    calls: list[list[str]] = []
    read = encoder._read

    def reading(texts: list[str]) -> Tensor:
        calls.append(list(texts))
        return read(texts)

    monkeypatch.setattr(encoder, "_read", reading)
    return calls


@each_kind
@pytest.mark.parametrize("trained", [True, False])
def test_padding_and_other_texts_change_nothing(kind: str, trained: bool, make: Make) -> None:
    encoder = make(kind).double().eval()
    with torch.set_grad_enabled(trained):
        together = encoder.encode(TEXTS)
        encoder.double()  # forgets
        alone = torch.cat([encoder.encode([text]) for text in TEXTS])
    assert together.shape == (len(TEXTS), encoder.dim)
    assert together.dtype == torch.float64
    assert together.requires_grad == trained
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)
    assert (together[:, None] - together).abs().amax(-1).add(torch.eye(len(TEXTS))).min() > 1e-3, "all differ"
    twice = encoder.encode([TEXTS[1], TEXTS[0], TEXTS[1]])
    torch.testing.assert_close(twice, together[[1, 0, 1]], rtol=0, atol=1e-12)
    assert encoder.encode([]).shape == (0, encoder.dim)


@each_folder
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_folder_is_read_with_its_own_tokenizer(kind: str, pooling: str, make: Make, folders: dict[str, Path]) -> None:
    encoder = make(kind, pooling=pooling).eval()
    theirs, tokenizer = load_encoder(folders[kind]), load_tokenizer(folders[kind])
    for text in TEXTS:
        states = theirs(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        expected = states[0] if pooling == "cls" else states.mean(0)
        torch.testing.assert_close(encoder.encode([text])[0], expected, rtol=0, atol=1e-5)


@each_kind
def test_texts_are_cut(kind: str, make: Make) -> None:
    encoder = make(kind, max_tokens=5).eval()
    long = "the heart is normal . no effusion"
    short = {"own": "the heart is normal .", "roberta": "the"}.get(kind, "the heart is")
    torch.testing.assert_close(encoder.encode([long])[0], encoder.encode([short])[0], rtol=0, atol=1e-6)
    assert not torch.allclose(encoder.encode([long])[0], encoder.encode([short[:-3]])[0], atol=1e-3)


def test_a_text_without_tokens_is_a_lone_padding_token(make: Make) -> None:
    encoder = make("own").eval()
    assert encoder.encode([" "]).isfinite().all()
    assert torch.equal(encoder.encode([" "]), encoder.encode([""]))
    assert torch.equal(encoder.encode([""])[0], encoder._states(torch.tensor([[0]]), torch.ones(1, 1).bool())[0, 0])


@each_kind
def test_every_weight_is_trained(kind: str, make: Make) -> None:
    encoder = make(kind).train()
    encoder.encode(TEXTS).square().sum().backward()
    without = {name for name, weight in encoder.named_parameters() if weight.grad is None}
    assert not without
    assert not any("pooler" in name for name, _ in encoder.named_parameters())
    if kind != "distilbert":
        assert not torch.equal(encoder.encode(TEXTS), encoder.encode(TEXTS)), "dropout"


@each_folder
def test_frozen_stays_as_it_was(kind: str, make: Make) -> None:
    encoder = make(kind, tuning="frozen")
    nn.ModuleList([encoder]).train()
    assert not any(module.training for module in encoder.modules())
    assert not any(weight.requires_grad for weight in encoder.parameters())
    assert set(encoder.outside_names()) == set(encoder.state_dict())
    assert not encoder.encode(TEXTS).requires_grad


# --- what is remembered ---------------------------------------------------------------------------------------------


def test_texts_are_read_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make("bert", tuning="frozen")
    calls = counted(encoder, monkeypatch)
    first = encoder.encode(TEXTS)
    assert torch.equal(encoder.encode(TEXTS[::-1]), first.flip(0))
    encoder.encode(["new", TEXTS[0], "new"])
    assert calls == [TEXTS, ["new"]]
    first.zero_()
    assert encoder.encode(TEXTS).abs().sum() > 0, "what is handed out is nobody else's"


def test_memory_is_bounded_and_batches_too(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_encoder, "MAX_REMEMBERED", 4)
    monkeypatch.setattr(text_encoder, "BATCH_SIZE", 3)
    encoder = make("bert", tuning="frozen").double()
    calls = counted(encoder, monkeypatch)
    texts = ["a", "the", "heart", "is", "normal", "no", "clear"]
    found = encoder.encode(texts)
    assert [len(call) for call in calls] == [3, 3, 1]
    assert len(encoder._memo.vectors) == 4
    torch.testing.assert_close(encoder.encode(texts), found, rtol=0, atol=1e-12)


def in_place(encoder: TextEncoder) -> None:
    with torch.no_grad():
        next(encoder.parameters()).add_(1)


def one_step(encoder: TextEncoder) -> None:
    """Of the run's own optimiser, whose kernels leave version counters alone; the network stays in evaluation mode."""
    optimizer = make_optimizer(encoder, OptimizerConfig(lr=0.1))
    loss = encoder.encode(TEXTS).square().sum()
    with torch.no_grad():
        encoder.encode(TEXTS)
    loss.backward()
    optimizer.step()


def loaded(encoder: TextEncoder) -> None:
    encoder.load_state_dict({name: weight + 1 for name, weight in encoder.state_dict().items()})


def replaced(encoder: TextEncoder) -> None:
    for weight in encoder.parameters():
        weight.data = weight.data + 1


def rounded(encoder: TextEncoder) -> None:
    encoder.to(torch.bfloat16).float()


@pytest.mark.parametrize("kind", ["own", "bert"])
@pytest.mark.parametrize("change", [in_place, one_step, loaded, replaced, rounded])
def test_nothing_stale_is_remembered(kind: str, change: Callable[[TextEncoder], None], make: Make) -> None:
    encoder = make(kind).eval()
    with torch.no_grad():
        before = encoder.encode(TEXTS)
    change(encoder)
    with torch.no_grad():
        after = encoder.encode(TEXTS)
    assert not torch.equal(before, after)
    torch.testing.assert_close(encoder.encode(TEXTS), after, rtol=0, atol=1e-5)


def test_averaged_weights_are_not_taken_for_the_others(make: Make) -> None:
    encoder = make("own").eval()
    ema = Ema(encoder, EmaConfig())
    in_place(encoder)
    with torch.no_grad():
        own = encoder.encode(TEXTS)
        with ema.applied():
            assert not torch.equal(encoder.encode(TEXTS), own)
        assert torch.equal(encoder.encode(TEXTS), own)


def test_what_inference_mode_remembers_serves_training_afterwards(make: Make) -> None:
    encoder = make("bert", tuning="frozen")
    with torch.inference_mode():
        encoder.encode(TEXTS)
    head = nn.Linear(encoder.dim, 2)
    head(encoder.encode(TEXTS)).sum().backward()
    assert head.weight.grad is not None


def test_dropout_is_never_remembered(make: Make) -> None:
    encoder = make("own", dropout=0.5).train()
    with torch.no_grad():
        assert not torch.equal(encoder.encode(TEXTS), encoder.encode(TEXTS))


def test_autocast_is_another_result(make: Make) -> None:
    encoder = make("bert", tuning="frozen")
    plain = encoder.encode(TEXTS)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = encoder.encode(TEXTS)
    assert not torch.equal(coarse.float(), plain)
    assert torch.equal(encoder.encode(TEXTS), plain) or torch.allclose(encoder.encode(TEXTS), plain, atol=1e-6)


def test_copies_remember_nothing(make: Make) -> None:
    encoder = make("bert", tuning="frozen")
    found = encoder.encode(TEXTS)
    for again in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert not again._memo.vectors
        assert torch.equal(again.encode(TEXTS), found)


# --- checkpoints and refusals ---------------------------------------------------------------------------------------


@each_folder
def test_a_trained_folder_goes_into_the_checkpoint(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    source = shutil.copytree(folders[kind], tmp_path / "source")
    encoder = TextEncoder(TextEncoderConfig(directory=source), WordTokenizer()).eval()
    in_place(encoder)
    expected = encoder.encode(TEXTS)
    encoder.save_folder(tmp_path / "text_encoder")
    assert not list((tmp_path / "text_encoder").glob("*.safetensors"))
    stated = encoder.deployed_part("text_encoder")
    assert stated["directory"] == "./text_encoder"
    shutil.rmtree(source)
    config = TextEncoderConfig.parse({**stated, "directory": tmp_path / "text_encoder"}, where="config.json")
    again = TextEncoder(config, WordTokenizer()).eval()
    again.load_state_dict(encoder.state_dict(), strict=True)
    assert torch.equal(again.encode(TEXTS), expected)
    assert again.belongs_inside


def test_another_base_is_refused(make: Make, tmp_path: Path) -> None:
    stated = make("bert", tuning="frozen").deployed_part("text_encoder")
    other = write_bert(tmp_path, seed=5)
    config = TextEncoderConfig.parse({**stated, "directory": other}, where="config.json")
    with pytest.raises(CheckpointError, match=f"BertModel.*made on the base {stated['identity']}"):
        TextEncoder(config, WordTokenizer())


def test_a_folder_in_bfloat16_is_read_in_float32(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["bert"], tmp_path, dirs_exist_ok=True)
    load_encoder(folders["bert"]).to(torch.bfloat16).save_pretrained(tmp_path)  # type: ignore[operator]
    encoder = TextEncoder(TextEncoderConfig(directory=tmp_path), WordTokenizer())
    assert {weight.dtype for weight in encoder.parameters()} == {torch.float32}


def test_folders_that_do_not_fit_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    def build(directory: Path, **options: Any) -> TextEncoder:
        return TextEncoder(TextEncoderConfig(directory=directory, **options), WordTokenizer())

    with pytest.raises(CheckpointError, match="no such folder"):
        build(tmp_path / "absent")
    for kind in ("bert", "roberta"):
        assert build(folders[kind], max_tokens=64).eval().encode(["no " * 99]).isfinite().all()
        with pytest.raises(ConfigError, match=r"reads 64 tokens, fewer than max_tokens \(65\)"):
            build(folders[kind], max_tokens=65)
    bare = shutil.copytree(folders["bert"], tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds no weights"):
        build(bare)
    shutil.copy(folders["bert"] / "model.safetensors", bare)
    (bare / "vocab.txt").unlink()
    with pytest.raises(CheckpointError, match="holds no tokenizer"):
        build(bare)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tuning": "lora", "directory": "x"}, "tuning: lora is for language models"),
        ({"tuning": "frozen"}, "tuning: frozen keeps the weights of a folder"),
        ({"dim": 10, "num_heads": 4}, r"dim \(10\) must be even and a multiple of num_heads \(4\)"),
        ({"pooling": "cls"}, "pooling: cls needs a folder"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_configs_that_do_not_fit_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TextEncoderConfig(**options)
