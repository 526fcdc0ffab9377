"""The language model: cached = uncached, batched = alone, what is trained and what stays outside, and refusals."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from radwright.errors import CheckpointError, ConfigError
from radwright.nn.folder import is_adapter
from radwright.nn.huggingface import load_causal_lm, load_tokenizer
from radwright.nn.language import Language, LanguageConfig, LanguageState
from tiny_language import BOS, MAX_POSITIONS, PAD, QWEN2_ROWS, VOCABULARY, WRITERS, WordTokenizer, write_llama

KINDS = ("own", *WRITERS)
OWN = {"dim": 24, "num_layers": 2, "num_heads": 3, "hidden_dim": 40, "max_positions": MAX_POSITIONS}
U = len(VOCABULARY)
each_kind = pytest.mark.parametrize("kind", KINDS)
each_folder = pytest.mark.parametrize("kind", list(WRITERS))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in WRITERS.items()}


@pytest.fixture
def make(folders: dict[str, Path]) -> Callable[..., Language]:
    def built(kind: str, **options: Any) -> Language:
        torch.manual_seed(3)
        if kind == "own":
            language = Language(LanguageConfig(**{**OWN, **options}), WordTokenizer())
            for parameter in language.parameters():
                parameter.data *= 10 if parameter.dim() > 1 else 1  # far from the mild numbers it begins with
            return language
        return Language(LanguageConfig(directory=folders[kind], **options), WordTokenizer())

    return built


def exact(language: Language) -> Language:
    return language.eval().double()


def prefixes(lengths: list[int], dim: int, *, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Left-padded random prefixes of these lengths; padding holds numbers that would do harm."""
    longest, draw = max(lengths), torch.Generator().manual_seed(7)
    prefix = torch.full((len(lengths), longest, dim), 1e3, dtype=dtype)
    for row, length in enumerate(lengths):
        prefix[row, longest - length :] = torch.randn(length, dim, generator=draw, dtype=dtype)
    keep = torch.arange(longest) >= longest - torch.tensor(lengths)[:, None]
    return prefix, keep


def token_ids(num_studies: int, num_tokens: int) -> Tensor:
    return torch.randint(4, U, (num_studies, num_tokens), generator=torch.Generator().manual_seed(9))


def walk(language: Language, state: LanguageState, ids_BT: Tensor) -> list[Tensor]:
    """Logits (B, U) of every step of one beam."""
    told = []
    for fed in [torch.full_like(ids_BT[:, :1], BOS), *ids_BT.split(1, dim=1)]:
        logits, state = language.step(state, fed)
        assert logits.shape == (len(ids_BT), 1, U)
        told.append(logits[:, 0])
    return told


@each_kind
def test_cached_is_uncached(kind: str, make: Callable[..., Language]) -> None:
    language = exact(make(kind))
    prefix, keep = prefixes([5, 2, 7], language.dim)
    ids = token_ids(3, 6)
    logits, states = language(prefix, keep, ids)
    assert logits.shape == (3, 7, U)
    assert states.shape == (3, 7, language.dim)
    cached = torch.stack(walk(language, language.start(prefix, keep), ids), 1)
    torch.testing.assert_close(cached, logits, rtol=0, atol=1e-10)
    assert logits.std() > 0.3, "the case should tell something apart"


@each_kind
def test_batched_ragged_prefixes_are_each_alone(kind: str, make: Callable[..., Language]) -> None:
    language = exact(make(kind))
    lengths = [5, 1, 7]
    prefix, keep = prefixes(lengths, language.dim)
    ids = token_ids(3, 6)
    ids[1, 4:] = PAD  # a shorter report
    together = language(prefix, keep, ids)
    stepped = walk(language, language.start(prefix, keep), ids)
    for row, length in enumerate(lengths):
        real = 4 if row == 1 else 6
        alone_prefix = prefix[row : row + 1, -length:]
        alone = language(alone_prefix, torch.ones(1, length, dtype=torch.bool), ids[row : row + 1, :real])
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[row, : real + 1], other[0], rtol=0, atol=1e-10)
        for at in range(real + 1):
            torch.testing.assert_close(stepped[at][row], alone[0][0, at], rtol=0, atol=1e-10)


@each_kind
def test_logits_are_the_networks_own_for_whole_texts(kind: str, make: Callable[..., Language]) -> None:
    """A prefix of embedded words and the words as ids to the network itself: the same numbers."""
    language = exact(make(kind))
    ids = token_ids(2, 9)
    with torch.no_grad():
        expected = language.network(input_ids=ids).logits[:, 3:, :U]
        logits, _ = language(language.embed(ids[:, :4]), torch.ones(2, 4, dtype=torch.bool), ids[:, 4:])
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)


@each_kind
def test_later_tokens_never_change_earlier_logits(kind: str, make: Callable[..., Language]) -> None:
    language = exact(make(kind))
    prefix, keep = prefixes([4, 2], language.dim)
    ids = token_ids(2, 6)
    before = language(prefix, keep, ids)[0]
    for at in range(6):
        changed = ids.clone()
        changed[:, at:] = (ids[:, at:] - 3) % U
        after = language(prefix, keep, changed)[0]
        assert torch.equal(after[:, : at + 1], before[:, : at + 1])
        assert not torch.allclose(after[:, at + 1], before[:, at + 1])


@each_kind
def test_a_report_of_no_tokens(kind: str, make: Callable[..., Language]) -> None:
    language = exact(make(kind))
    prefix, keep = prefixes([4, 2], language.dim)
    logits, states = language(prefix, keep, token_ids(2, 0))
    assert states.shape == (2, 1, language.dim)
    torch.testing.assert_close(logits, language(prefix, keep, token_ids(2, 3))[0][:, :1], rtol=0, atol=1e-10)


@each_kind
def test_reorder_picks_studies_and_beams(kind: str, make: Callable[..., Language]) -> None:
    """Beams that go different ways, studies that leave, orders that turn round: every beam is as if alone."""
    language = exact(make(kind))
    prefix, keep = prefixes([5, 2, 7], language.dim)
    first, second = token_ids(3, 3), torch.tensor([[4, 5], [6, 7]])
    with torch.no_grad():
        _, state = language.step(language.start(prefix, keep), torch.full((3, 1), BOS))
        state = language.reorder(state, torch.arange(3), torch.zeros(3, 3, dtype=torch.int64))
        _, state = language.step(state, first)
        studies, parents = torch.tensor([2, 0]), torch.tensor([[1, 0], [2, 2]])
        state = language.reorder(state, studies, parents)
        logits, after = language.step(state, second)
        assert after.longest == 7
        assert language.reorder(after, torch.tensor([1]), torch.tensor([[0]])).longest == 5
        for row in range(2):
            for beam in range(2):
                study = studies[row : row + 1]
                ids = torch.tensor([[int(first[study[0], parents[row, beam]]), int(second[row, beam])]])
                alone = language(prefix[study], keep[study], ids)[0][0, -1]
                torch.testing.assert_close(logits[row, beam], alone, rtol=0, atol=1e-10)


def test_reorder_before_the_first_step(make: Callable[..., Language]) -> None:
    language = exact(make("llama"))
    prefix, keep = prefixes([5, 2, 7], language.dim)
    state = language.reorder(language.start(prefix, keep), torch.tensor([1]), torch.zeros(1, 2, dtype=torch.int64))
    logits, state = language.step(state, torch.full((1, 2), BOS))
    torch.testing.assert_close(logits[0, 1], language(prefix, keep, token_ids(3, 0))[0][1, 0], rtol=0, atol=1e-10)
    assert language.step(state, torch.tensor([[4, 5]]))[0].shape == (1, 2, U)


def test_the_prefix_is_kept_once_however_many_beams(make: Callable[..., Language]) -> None:
    language = exact(make("qwen2"))
    state = language.start(*prefixes([5, 7], language.dim))
    _, state = language.step(state, torch.full((2, 1), BOS))
    wide = language.reorder(state, None, torch.zeros(2, 4, dtype=torch.int64))
    _, wide = language.step(wide, token_ids(2, 4))
    for (keys, _), (prefix_keys, _), (before, _) in zip(
        wide.own_keys_values, wide.prefix_keys_values, state.prefix_keys_values, strict=True
    ):
        assert prefix_keys.data_ptr() == before.data_ptr()
        assert prefix_keys.shape == (2, 2, 7, 6), "two heads of keys for four of queries"
        assert keys.shape == (2, 4, 2, 1, 6)


# --- what is trained ------------------------------------------------------------------------------------------------


def loss(language: Language, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    prefix, keep = prefixes([4, 2], language.dim, dtype=dtype)
    prefix = prefix.masked_fill(~keep[..., None], 0.0).requires_grad_()
    logits, _ = language(prefix, keep, token_ids(2, 5))
    return logits.log_softmax(-1)[..., 4].sum(), prefix


@each_folder
@pytest.mark.parametrize("tuning", ["frozen", "lora", "full"])
def test_what_has_gradients_and_what_stays_outside(tuning: str, kind: str, make: Callable[..., Language]) -> None:
    language = make(kind, tuning=tuning).train()
    value, prefix = loss(language)
    value.backward()
    assert prefix.grad is not None
    assert prefix.grad.abs().sum() > 0, "the image must learn through a frozen model, too"
    trained = {name for name, parameter in language.named_parameters() if parameter.requires_grad}
    with_gradient = {name for name, parameter in language.named_parameters() if parameter.grad is not None}
    names, outside = set(language.state_dict()), set(language.outside_names())
    assert trained == with_gradient
    if tuning == "frozen":
        assert not trained
        assert outside == names
    elif tuning == "full":
        assert trained == {name for name, _ in language.named_parameters()}
        assert not outside
    else:
        assert trained == {name for name in names if is_adapter(name)} == names - outside
        assert any("base_layer" in name for name in outside)
        assert not any("lm_head" in name for name in trained)
        layers = {"llama": 7, "qwen2": 7, "gpt2": 4}[kind] * 2
        assert len(trained) == 2 * layers, "two matrices beside every linear layer"
    assert all(parameter.dtype == torch.float32 for parameter in language.parameters())


@each_folder
def test_adapters_merged_are_adapters_beside(kind: str, make: Callable[..., Language]) -> None:
    language = make(kind, tuning="lora").eval()
    plain = make(kind).eval()
    prefix, keep = prefixes([4, 2], language.dim, dtype=torch.float32)
    ids = token_ids(2, 5)
    with torch.no_grad():
        torch.testing.assert_close(language(prefix, keep, ids), plain(prefix, keep, ids), rtol=0, atol=1e-5)
        for name, parameter in language.named_parameters():
            if is_adapter(name):
                torch.nn.init.normal_(parameter, std=0.1)
        beside = language(prefix, keep, ids)[0]
        assert not torch.allclose(beside, plain(prefix, keep, ids)[0], atol=1e-2)
        stepped = torch.stack(walk(language, language.start(prefix, keep), ids), 1)
        torch.testing.assert_close(stepped, beside, rtol=0, atol=1e-4)
        for module in language.modules():
            if hasattr(module, "merge"):
                module.merge()
        torch.testing.assert_close(language(prefix, keep, ids)[0], beside, rtol=0, atol=1e-4)


@each_folder
def test_a_base_that_is_not_trained_has_no_dropout(kind: str, make: Callable[..., Language]) -> None:
    """GPT-2 comes with dropout 0.1 of its own; adapters' dropout is on in training only."""
    frozen = make(kind, tuning="frozen").train()
    assert torch.equal(loss(frozen)[0], loss(frozen)[0])
    adapted = make(kind, tuning="lora", adapter_dropout=0.5)
    for name, parameter in adapted.named_parameters():
        if is_adapter(name):
            torch.nn.init.normal_(parameter, std=0.1)
    wrapped = torch.nn.ModuleList([adapted])
    wrapped.train()
    assert not torch.equal(loss(adapted)[0], loss(adapted)[0])
    wrapped.eval()
    assert torch.equal(loss(adapted)[0], loss(adapted)[0])


def test_a_trained_network_has_its_dropout(make: Callable[..., Language]) -> None:
    for language in (make("gpt2"), make("own", dropout=0.3)):
        assert language.training
        assert not torch.equal(loss(language)[0], loss(language)[0])
        language.eval()
        assert torch.equal(loss(language)[0], loss(language)[0])


@each_folder
@pytest.mark.parametrize("tuning", ["frozen", "lora"])
def test_base_in_bfloat16_below_adapters_in_float32(tuning: str, kind: str, make: Callable[..., Language]) -> None:
    language = make(kind, tuning=tuning, precision="bf16").train()
    for name, parameter in language.named_parameters():
        assert parameter.dtype == (torch.float32 if is_adapter(name) else torch.bfloat16), name
    assert all(buffer.dtype != torch.bfloat16 for buffer in language.buffers()), "rotary frequencies stay as they are"
    assert language.embed(token_ids(1, 2)).dtype == torch.float32
    value, prefix = loss(language)
    assert value.dtype == torch.float32
    value.backward()
    assert prefix.grad is not None
    assert prefix.grad.dtype == torch.float32
    language.eval()
    with torch.no_grad():
        prefixed = prefixes([4, 2], language.dim, dtype=torch.float32)
        ids = token_ids(2, 5)
        whole = language(*prefixed, ids)[0]
        stepped = torch.stack(walk(language, language.start(*prefixed), ids), 1)
        fine = make(kind, tuning=tuning).eval()
        near = fine(*prefixed, ids)[0]
    assert language.identity == fine.identity != "", "a base is known again whatever it is kept in"
    assert whole.dtype == stepped.dtype == torch.float32
    torch.testing.assert_close(stepped, whole, rtol=0, atol=0.3)
    assert 0 < (near - whole).abs().max() < 0.5


def test_precision_of_the_folder(tmp_path: Path) -> None:
    folder = write_llama(tmp_path, dtype="bfloat16")
    load_causal_lm(folder).to(torch.bfloat16).save_pretrained(folder)  # type: ignore[operator]
    for precision, dtype in (("folder", torch.bfloat16), ("fp32", torch.float32)):
        language = Language(LanguageConfig(directory=folder, tuning="frozen", precision=precision), WordTokenizer())
        assert {parameter.dtype for parameter in language.parameters()} == {dtype}
    full = Language(LanguageConfig(directory=folder), WordTokenizer())
    assert {parameter.dtype for parameter in full.parameters()} == {torch.float32}


def test_adapters_where_they_are_wanted(make: Callable[..., Language]) -> None:
    language = make("llama", tuning="lora", adapter_targets=("q_proj", "v_proj"), rank=3)
    adapters = {name: weight for name, weight in language.named_parameters() if is_adapter(name)}
    assert len(adapters) == 2 * 2 * 2
    assert all(min(weight.shape) == 3 for weight in adapters.values())
    with pytest.raises(ConfigError, match=r"adapter_targets = \('query',\)"):
        make("llama", tuning="lora", adapter_targets=("query",))


# --- checkpoints ----------------------------------------------------------------------------------------------------


@each_folder
def test_a_trained_folder_goes_into_the_checkpoint(
    kind: str, make: Callable[..., Language], folders: dict[str, Path], tmp_path: Path
) -> None:
    language = make(kind).eval()
    assert language.belongs_inside
    language.save_folder(tmp_path / "language")
    assert not list((tmp_path / "language").glob("*.safetensors"))
    read = [load_tokenizer(folder).encode("no effusion .") for folder in (folders[kind], tmp_path / "language")]
    assert read[0] == read[1]
    assert len(read[0]) == (13 if kind == "qwen2" else 3)
    stated = language.deployed_part("language")
    assert stated["directory"] == "./language"
    config = LanguageConfig.parse({**stated, "directory": tmp_path / "language"}, where="config.json")
    again = Language(config, WordTokenizer()).eval()
    again.load_state_dict(language.state_dict(), strict=True)
    prefix, keep = prefixes([4, 2], language.dim, dtype=torch.float32)
    assert torch.equal(again(prefix, keep, token_ids(2, 5))[0], language(prefix, keep, token_ids(2, 5))[0])


def test_another_base_is_refused(make: Callable[..., Language], folders: dict[str, Path], tmp_path: Path) -> None:
    language = make("llama", tuning="lora")
    stated = language.deployed_part("language")
    assert stated["identity"] == make("llama", tuning="frozen").identity, "adapters are no part of it"
    assert Language(LanguageConfig.parse(stated, where="config.json"), WordTokenizer()).identity == stated["identity"]
    other = write_llama(tmp_path, initializer_range=0.3)
    with pytest.raises(CheckpointError, match=f"LlamaForCausalLM.*made on the base {stated['identity']}"):
        Language(LanguageConfig.parse({**stated, "directory": other}, where="config.json"), WordTokenizer())


# --- refusals -------------------------------------------------------------------------------------------------------


def test_wrong_vocabulary_is_refused(folders: dict[str, Path]) -> None:
    config, rows = LanguageConfig(directory=folders["qwen2"]), QWEN2_ROWS
    assert Language(config, WordTokenizer(rows)).vocab_size == rows
    with pytest.raises(ConfigError, match=f"knows {rows} tokens, and the run's tokenizer has {rows + 1}"):
        Language(config, WordTokenizer(rows + 1))


@each_kind
def test_too_long_is_refused(kind: str, make: Callable[..., Language]) -> None:
    language = exact(make(kind))
    assert language.max_positions == MAX_POSITIONS
    language.check_length(MAX_POSITIONS - 5, 5)
    with pytest.raises(ConfigError, match=f"prompt of {MAX_POSITIONS - 5} places and a report of 6 tokens do not fit"):
        language.check_length(MAX_POSITIONS - 5, 6)
    prefix, keep = prefixes([MAX_POSITIONS - 2, 3], language.dim)
    with pytest.raises(ConfigError, match="a report of 3 tokens"):
        language(prefix, keep, token_ids(2, 3))
    state = language.start(prefix, keep)
    for fed in (BOS, 4, 5):
        _, state = language.step(state, torch.full((2, 1), fed))
    with pytest.raises(ConfigError, match="a report of 3 tokens"):
        language.step(state, torch.full((2, 1), 6))
    # The study with the short prompt goes on when the other one has left.
    short = language.reorder(state, torch.tensor([1]), torch.tensor([[0]]))
    assert language.step(short, torch.tensor([[6]]))[0].isfinite().all()


def test_right_padding_is_refused(make: Callable[..., Language]) -> None:
    language = make("llama")
    prefix, keep = prefixes([4, 2], language.dim, dtype=torch.float32)
    with pytest.raises(AssertionError, match="padding comes first"):
        language(prefix, keep.flip(1), token_ids(2, 3))
    with pytest.raises(AssertionError, match="padding comes first"):
        language.start(prefix, keep.flip(1))


def test_models_that_keep_something_else_are_refused(tmp_path: Path) -> None:
    from transformers import MambaConfig, MambaForCausalLM, MistralConfig, MistralForCausalLM

    sizes = {"vocab_size": U, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    MistralForCausalLM(MistralConfig(**sizes, **heads, sliding_window=16)).save_pretrained(tmp_path / "window")
    MistralForCausalLM(MistralConfig(**sizes, **heads, sliding_window=None)).save_pretrained(tmp_path / "plain")
    MambaForCausalLM(MambaConfig(**sizes, state_size=4)).save_pretrained(tmp_path / "recurrent")
    assert Language(LanguageConfig(directory=tmp_path / "plain"), WordTokenizer()).dim == 8
    with pytest.raises(ConfigError, match=r"MistralForCausalLM.*DynamicSlidingWindowLayer.*sliding_window"):
        Language(LanguageConfig(directory=tmp_path / "window"), WordTokenizer())
    with pytest.raises(ConfigError, match=r"MambaForCausalLM does not take .*position_ids"):
        Language(LanguageConfig(directory=tmp_path / "recurrent"), WordTokenizer())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 20, "num_heads": 3}, r"dim \(20\) must be a multiple of twice num_heads \(3\)"),
        ({"tuning": "lora"}, "tuning: lora keeps the weights of a folder"),
        ({"tuning": "full", "precision": "bf16", "directory": "x"}, "weights that are trained are float32"),
    ],
)
def test_configs_that_do_not_fit_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LanguageConfig(**options)


def test_padding_id_may_be_the_end() -> None:
    """A network of our own learns an embedding for every id, PAD's too: in some vocabularies it is EOS."""
    language = Language(LanguageConfig(**OWN), WordTokenizer())
    assert bool((language.embed(torch.arange(U)).abs().sum(-1) > 0).all())


def test_every_field_is_explained() -> None:
    for name, field in LanguageConfig.model_fields.items():
        assert field.description, name


def test_no_warnings(make: Callable[..., Language]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in WRITERS:
            make(kind, tuning="lora")


@each_kind
def test_attention_is_rolled_out_in_shares_and_padded_is_alone(make: Callable[..., Language], kind: str) -> None:
    language = exact(make(kind))
    prefix, keep = prefixes([6, 3], language.dim)
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 4, 5]])
    with torch.no_grad():
        before = language(prefix, keep, ids)[0]
        rolled = language.rolled_attention(prefix, keep, ids)
        alone = language.rolled_attention(prefix[1:, 3:], keep[1:, 3:], ids[1:])
        assert torch.equal(language(prefix, keep, ids)[0], before)  # it reads as it did before
    assert rolled.shape == (2, 5, 10)
    # The library makes the shares in float32.
    assert torch.allclose(rolled.sum(-1), torch.ones((), dtype=rolled.dtype), atol=1e-5)
    assert (rolled[1, :, :3] == 0).all()
    assert torch.allclose(rolled[1:, :, 3:], alone, atol=1e-5)
    reach = torch.arange(10) <= 5 + torch.arange(5)[:, None]  # a place reads itself and what is before it
    assert (rolled[:, ~reach] == 0).all()
    assert (rolled[0][reach] > 0).all()
