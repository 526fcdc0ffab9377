"""Encoders, token classifiers and causal language models from a folder on disk: the one entrance of ``transformers``.

Nothing is downloaded and no code of a model's author runs; a weight that a network needs and the folder lacks is an
error, never a random number.

Shape legend: B texts or studies, W beams, L prefix places, t tokens since, T places read at once, H heads that keys are
kept for, E width of a head, D width, U vocabulary with padding rows.
"""

from __future__ import annotations

import functools
import inspect
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from radwright.errors import CheckpointError, ConfigError, MissingExtraError, require

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json")
_TOKENIZER_FILES = (
    *_VOCABULARIES,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_BERT_HEAD_WIDTH = 64
# What a language model has to understand to be read from embeddings; its cache goes by two names.
_KEYWORDS = ("inputs_embeds", "attention_mask", "position_ids", "logits_to_keep")
_CACHE_NAMES = ("cache", "past_key_values")

KeysValues = tuple[Tensor, Tensor]


def load_encoder(directory: Path, *, weights: bool = True) -> nn.Module:
    """A text or image encoder without a head, in evaluation mode and in float32, whatever the folder holds.

    A pooler that the folder has no weights for (masked language models come without) is taken off.

    Args:
        directory: its folder.
        weights: False builds the architecture alone, from ``config.json``, with weights that mean nothing.

    Raises:
        CheckpointError: no such folder, a part of it is missing, or weights are missing or of another shape.
        MissingExtraError: transformers is not installed, or does not work.
    """
    made = _load(directory, "AutoModel", optional=r"(.*\.)?pooler\.") if weights else _build(directory, "AutoModel")
    return made.float()


def load_token_classifier(directory: Path) -> nn.Module:
    """An encoder with a class per token; ``config.id2label`` names the classes. Raises as ``load_encoder``."""
    return _load(directory, "AutoModelForTokenClassification")


def load_causal_lm(directory: Path, *, weights: bool = True) -> nn.Module:
    """A language model that continues text. Raises as ``load_encoder``.

    Args:
        directory: its folder.
        weights: False builds the architecture alone, from ``config.json``, with weights that mean nothing.
    """
    return _load(directory, "AutoModelForCausalLM") if weights else _build(directory, "AutoModelForCausalLM")


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer of a model's folder.

    Raises:
        CheckpointError: no such folder, or it holds no tokenizer.
        MissingExtraError: transformers is not installed, or does not work.
    """
    _check_directory(directory)
    if not any(path.suffix == ".model" or path.name in _VOCABULARIES for path in directory.iterdir()):
        # The library would make up a tokenizer without words.
        raise CheckpointError(f"{directory}: holds no tokenizer ({', '.join(_VOCABULARIES)} or a .model file)")
    auto = _library("AutoTokenizer")
    try:
        return auto.from_pretrained(str(directory), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the library's own errors are of every kind and a page long
        raise CheckpointError(f"{directory}: its tokenizer cannot be read: {_first_line(error)}") from error


def subword_parts(directory: Path) -> tuple[str, int | None, int, int | None]:
    """What ``radwright.text.subwords.SubwordTokenizer.of`` needs of a language model's folder.

    Returns:
        (content of its tokenizer.json, BOS, EOS, PAD). BOS is None where the tokenizer has none, or has one and does
        not begin texts with it; PAD is None where it has none.

    Raises:
        CheckpointError: see ``load_tokenizer``; or it is not a fast tokenizer, or has no EOS.
        MissingExtraError: transformers is not installed, or does not work.
    """
    tokenizer = load_tokenizer(directory)
    if not getattr(tokenizer, "is_fast", False):
        raise CheckpointError(
            f"{directory}: its tokenizer ({type(tokenizer).__name__}) exists in slow form only, without a "
            "tokenizer.json; take a model whose folder has that file"
        )
    if tokenizer.eos_token_id is None:
        raise CheckpointError(
            f"{directory}: its tokenizer has no EOS, so no report would end; name the token that ends texts as "
            "eos_token in tokenizer_config.json, or take a language model that writes texts"
        )
    bos: int | None = tokenizer.bos_token_id
    if bos is not None and tokenizer("a")["input_ids"][:1] != [bos]:
        bos = None
    return tokenizer.backend_tokenizer.to_str(), bos, tokenizer.eos_token_id, tokenizer.pad_token_id


def bert_from_weights(weights: Mapping[str, Tensor]) -> nn.Module:
    """A BERT encoder (Devlin et al. 2019) of the shape that bare weights have, holding them, in evaluation mode.

    Heads are 64 wide, as in every published BERT. A pooler is left out, whether or not the weights have one.

    Args:
        weights: names as in transformers' ``BertModel`` (``embeddings.word_embeddings.weight`` ...) -> tensors.

    Raises:
        CheckpointError: a weight is missing, too many, or of another shape.
        MissingExtraError: transformers is not installed, or does not work.
    """
    # Older files carry a buffer of positions; it is no weight.
    own = {name: w for name, w in weights.items() if not name.startswith("pooler.") and not name.endswith("_ids")}
    try:
        vocabulary, width = own["embeddings.word_embeddings.weight"].shape
        config = _library("BertConfig")(
            vocab_size=vocabulary,
            hidden_size=width,
            num_hidden_layers=len({name.split(".")[2] for name in own if name.startswith("encoder.layer.")}),
            num_attention_heads=max(1, width // _BERT_HEAD_WIDTH),
            intermediate_size=own["encoder.layer.0.intermediate.dense.weight"].shape[0],
            max_position_embeddings=own["embeddings.position_embeddings.weight"].shape[0],
            type_vocab_size=own["embeddings.token_type_embeddings.weight"].shape[0],
        )
        model: nn.Module = _library("BertModel")(config, add_pooling_layer=False)
        model.load_state_dict(own, strict=True)
    except KeyError as error:
        raise CheckpointError(f"these are no BERT weights: {error.args[0]} is missing") from error
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"these are no BERT weights: {' '.join(str(error).split())[:300]}") from error
    return model.eval()


@torch.inference_mode()
def complete(model: nn.Module, tokenizer: Any, prompts: Sequence[str], *, max_new_tokens: int) -> list[str]:
    """Greedy continuations of a batch of prompts, without the prompts and without special tokens.

    Args:
        model: of ``load_causal_lm``.
        tokenizer: its tokenizer.
        prompts: B texts, sent as they are.
        max_new_tokens: where a continuation is cut that does not end by itself.
    """
    encoded = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    longest = max(map(len, encoded))
    end: int | None = tokenizer.eos_token_id
    filler = next((token for token in (tokenizer.pad_token_id, end) if token is not None), 0)
    padded = [[filler] * (longest - len(ids)) + ids for ids in encoded]  # left, so that all go on at one place
    mask = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in encoded]
    device = next(model.parameters()).device
    written_BT = model.generate(  # type: ignore[operator]
        input_ids=torch.tensor(padded, device=device),
        attention_mask=torch.tensor(mask, device=device),
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=end,
        pad_token_id=filler,
    )
    return [str(text) for text in tokenizer.batch_decode(written_BT[:, longest:], skip_special_tokens=True)]


def build_llama(**sizes: Any) -> nn.Module:
    """A newly initialised Llama that continues text; ``sizes`` are the fields of transformers' ``LlamaConfig``.

    Raises:
        MissingExtraError: transformers is not installed, or does not work.
    """
    made: nn.Module = _library("LlamaForCausalLM")(_library("LlamaConfig")(**sizes))
    return made


def save_architecture(model: nn.Module, path: Path, *, tokenizer_of: Path | None) -> None:
    """Write a model's ``config.json`` and the tokenizer's files of folder ``tokenizer_of`` into folder ``path``."""
    path.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(path)  # type: ignore[operator,union-attr]
    for file in sorted(tokenizer_of.iterdir()) if tokenizer_of is not None else ():
        # Copied, for the library would write some tokenizers otherwise than it read them.
        if file.name in _TOKENIZER_FILES or file.suffix == ".model":
            shutil.copyfile(file, path / file.name)


def most_positions(model: nn.Module) -> int | None:
    """How many places a language model can read; None where its config names no limit."""
    limit = getattr(model.config, "max_position_embeddings", None)
    return None if limit is None else int(limit)


def check_readable(model: nn.Module) -> None:
    """Make sure that ``read_on`` can read with a language model.

    Raises:
        ConfigError: it takes no embeddings, masks or positions, or keeps something else between steps than one key and
            one value per head and place (sliding windows, recurrent layers).
    """
    known = inspect.signature(type(model).forward).parameters
    lacking = [name for name in _KEYWORDS if name not in known]
    if lacking or not any(name in known for name in _CACHE_NAMES):
        raise ConfigError(
            f"{type(model).__name__} does not take {lacking or _CACHE_NAMES}, which writing reports needs; "
            "take a decoder like Llama, Qwen2 or GPT-2"
        )
    plain = _library("DynamicLayer")
    layers = _library("DynamicCache")(config=model.config).layers
    other = sorted({type(layer).__name__ for layer in layers if type(layer) is not plain})
    if other:
        raise ConfigError(
            f"{type(model).__name__}: its layers keep {', '.join(other)} between steps, and only plain keys and values "
            "are supported; take a model without sliding windows and recurrent layers (sliding_window in its "
            "config.json may be null)"
        )


def read_on(
    model: nn.Module,
    embedded_BTD: Tensor,
    keep_BS: Tensor,
    position_ids_BT: Tensor,
    *,
    num_last: int,
    cache: Any = None,
    with_states: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Let a language model read T places.

    Args:
        model: that ``check_readable`` let through.
        embedded_BTD: what it reads, in its dtype.
        keep_BS: bool, False at padding; S counts what the cache holds, too.
        position_ids_BT: int64.
        num_last: logits and states are wanted of so many last places.
        cache: of ``make_cache``, read and grown; None keeps nothing.
        with_states: whether the last layer's states are wanted.

    Returns:
        logits (B, num_last, U), and the states behind them (B, num_last, D) where wanted.
    """
    kept: dict[str, Any] = {}
    if cache is not None:
        known = inspect.signature(type(model).forward).parameters
        kept[next(name for name in _CACHE_NAMES if name in known)] = cache
    out = model(
        inputs_embeds=embedded_BTD,
        attention_mask=keep_BS.long(),
        position_ids=position_ids_BT,
        logits_to_keep=num_last,
        use_cache=cache is not None,
        output_hidden_states=with_states,
        **kept,
    )
    return out.logits, out.hidden_states[-1][:, -num_last:] if with_states else None


def read_attention(
    model: nn.Module, embedded_BTD: Tensor, keep_BT: Tensor, position_ids_BT: Tensor
) -> tuple[Tensor, ...]:
    """Attention maps (B, H, T, T) of every layer while a language model reads, first layer first.

    Only the plain form of attention makes maps at all, so the model reads with it here, and as before afterwards.
    Arguments as for ``read_on``.

    Raises:
        ConfigError: the model has no plain form, or hands out no maps.
    """
    usual = model.config._attn_implementation  # type: ignore[union-attr]
    seen_BTT = keep_BT[:, None, :] & torch.ones(keep_BT.shape[1], keep_BT.shape[1], device=keep_BT.device).tril().bool()
    # A finite mask of our own: the library's leaves NaN in the rows of padding, and from there everywhere.
    hidden = max(-1e9, torch.finfo(embedded_BTD.dtype).min)
    mask_B1TT = torch.zeros_like(seen_BTT, dtype=embedded_BTD.dtype).masked_fill_(~seen_BTT, hidden).unsqueeze(1)
    try:
        model.set_attn_implementation("eager")  # type: ignore[operator]
        out = model(
            inputs_embeds=embedded_BTD,
            attention_mask=mask_B1TT,
            position_ids=position_ids_BT,
            logits_to_keep=1,
            use_cache=False,
            output_attentions=True,
        )
    finally:
        model.set_attn_implementation(usual)  # type: ignore[operator]
    maps: tuple[Tensor | None, ...] = out.attentions or (None,)
    if any(layer is None for layer in maps):
        raise ConfigError(f"{type(model).__name__}: hands out no attention maps, so there is nothing to show of them")
    return tuple(layer for layer in maps if layer is not None)


def make_cache(prefix: Sequence[KeysValues] = (), own: Sequence[KeysValues] = ()) -> Any:
    """A cache for ``read_on``.

    Args:
        prefix: per layer, keys and values (B, H, L, E) that the beams of a study share; empty: an empty cache.
        own: per layer, keys and values (B, W, H, t, E) of each beam's tokens.
    """
    if not prefix:
        return _library("DynamicCache")()
    layer = _beams_layer()
    return _library("Cache")(layers=[layer(*pair) for pair in zip(prefix, own, strict=True)])


def cache_tensors(cache: Any) -> tuple[KeysValues, ...]:
    """Per layer what a cache of ``make_cache`` has grown: keys and values (B, H, t, E), with beams (B, W, H, t, E)."""
    return tuple((layer.keys, layer.values) for layer in cache.layers)


@functools.cache
def _beams_layer() -> type:
    """A layer of a cache that holds a study's prefix once, however many beams go on from it."""

    class BeamsLayer(_library("DynamicLayer")):  # type: ignore[misc]
        def __init__(self, prefix: KeysValues, own: KeysValues) -> None:
            super().__init__()
            self.prefix, (self.keys, self.values) = prefix, own
            self.dtype, self.device = self.keys.dtype, self.keys.device
            self.is_initialized = True

        def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> KeysValues:
            """Append (B * W, H, T, E); all keys and all values, (B * W, H, L + t + T, E)."""
            self.keys, self.values = _append(self.keys, keys), _append(self.values, values)
            return _behind(self.prefix[0], self.keys), _behind(self.prefix[1], self.values)

        def get_seq_length(self, *_: Any) -> int:
            return int(self.prefix[0].shape[-2] + self.keys.shape[-2])

    return BeamsLayer


def _append(own_BWHtE: Tensor, new: Tensor) -> Tensor:
    return torch.cat([own_BWHtE, new.reshape(*own_BWHtE.shape[:2], *new.shape[1:])], dim=3)


def _behind(prefix_BHLE: Tensor, own_BWHtE: Tensor) -> Tensor:
    """The prefix before every beam's own places, beams as rows: the one copy of the prefix that a step makes."""
    spread = prefix_BHLE.unsqueeze(1).expand(-1, own_BWHtE.shape[1], -1, -1, -1)
    return torch.cat([spread, own_BWHtE], dim=3).flatten(0, 1)


def _build(directory: Path, family: str) -> nn.Module:
    """The architecture that a folder's ``config.json`` describes, in evaluation mode."""
    _check_directory(directory)
    try:
        config = _library("AutoConfig").from_pretrained(str(directory), local_files_only=True, trust_remote_code=False)
        made: nn.Module = _library(family).from_config(config, trust_remote_code=False)
    except MissingExtraError:
        raise
    except Exception as error:  # the library's own errors are of every kind and a page long
        raise CheckpointError(f"{directory}: cannot be built as a model: {_first_line(error)}") from error
    return made.eval().requires_grad_(False)


def _load(directory: Path, family: str, *, optional: str | None = None) -> nn.Module:
    _check_directory(directory)
    if not any((directory / name).is_file() for name in _WEIGHTS):
        raise CheckpointError(f"{directory}: holds no weights ({' or '.join(_WEIGHTS[::2])})")
    auto = _library(family)
    try:
        model, account = auto.from_pretrained(
            str(directory), local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    except Exception as error:  # the library's own errors are of every kind and a page long
        raise CheckpointError(f"{directory}: cannot be loaded as a model: {_first_line(error)}") from error
    missing = sorted(account["missing_keys"])
    spared = [name for name in missing if optional is not None and re.match(optional, name)]
    lacking = [name for name in missing if name not in spared]
    lacking += sorted(str(entry[0]) if isinstance(entry, tuple) else str(entry) for entry in account["mismatched_keys"])
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise CheckpointError(
            f"{directory}: these weights are missing or of another shape: {', '.join(lacking[:3])}{more}; "
            "is it the folder of a model of this kind?"
        )
    if spared:
        model.pooler = None
    loaded: nn.Module = model.eval().requires_grad_(False)
    return loaded


def _check_directory(directory: Path) -> None:
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no such folder; give the folder that a model was downloaded into")
    if not any((directory / name).is_file() for name in ("config.json", "tokenizer_config.json")):
        raise CheckpointError(f"{directory}: holds no config.json: it is not the folder of a Hugging Face model")


@functools.cache
def _library(name: str) -> Any:
    """A class of transformers, imported when it is first wanted."""
    transformers = require("transformers", extra="learned")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        return getattr(transformers, name)
    except (ImportError, RuntimeError) as error:
        # A torchvision built for another torch breaks the import of every model; it is not needed here.
        raise MissingExtraError(
            f"transformers is installed but cannot be used: {_first_line(error)}; if that names torchvision, "
            "uninstall torchvision or install the build that belongs to this torch"
        ) from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
