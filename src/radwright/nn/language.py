"""The language model that writes a report behind a prefix of embeddings: a Hugging Face folder, or a small Llama.

A prefix is left-padded, so that every study's report begins at the same place; padding is hidden and counts as no
position. No token stands between prefix and report: the state at the prefix's last place predicts the first token.

Shape legend: B studies, C studies picked, W beams, L prefix length, T report tokens, t tokens so far, D width,
U vocabulary, H heads that keys are kept for, E width of a head.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from radwright.errors import ConfigError, require
from radwright.nn.decoder import beam_picker
from radwright.nn.dropout import Dropout
from radwright.nn.folder import FolderConfig, FolderPart, is_adapter
from radwright.nn.huggingface import (
    KeysValues,
    build_llama,
    cache_tensors,
    check_readable,
    load_causal_lm,
    make_cache,
    most_positions,
    read_attention,
    read_on,
    save_architecture,
)
from radwright.nn.rollout import roll_back
from radwright.types import Tokenizer

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_NO_LIMIT = sys.maxsize


class LanguageConfig(FolderConfig):
    """The language model: a folder's, or the sizes of a small Llama (Touvron et al. 2023) of our own."""

    dim: int = Field(default=192, ge=2)
    """Width D. This and the next six fields are for the network of our own; a folder brings its own sizes."""
    num_layers: int = Field(default=3, ge=1)
    """Layers."""
    num_heads: int = Field(default=6, ge=1)
    """Attention heads; D must hold an even number of places for each."""
    hidden_dim: int = Field(default=512, ge=1)
    """Width inside the feed-forward layers."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout of the input embeddings, prefix and tokens, and of attention weights; a Llama has none elsewhere. A
    folder keeps its own rates."""
    max_positions: int = Field(default=1024, ge=1)
    """Places of prefix and report together."""
    tie_embeddings: bool = True
    """One matrix for input embeddings and output head."""
    rank: int = Field(default=16, ge=1)
    """LoRA (Hu et al. 2022): rank of an adapter."""
    alpha: float = Field(default=32.0, gt=0)
    """LoRA: an adapter's output is multiplied by alpha / rank."""
    adapter_dropout: float = Field(default=0.05, ge=0, lt=1)
    """LoRA: dropout of an adapter's input."""
    adapter_targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """LoRA: which layers get adapters; all linear ones but the output head, or those whose names end so
    (``[q_proj, v_proj]``)."""
    precision: Literal["fp32", "bf16", "folder"] = "fp32"
    """Numbers that the weights of a folder's frozen base are kept in: float32, bfloat16, or as in the folder. What is
    trained is float32 always."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.dim % (2 * self.num_heads):
            raise ValueError(f"dim ({self.dim}) must be a multiple of twice num_heads ({self.num_heads})")
        if self.directory is None and self.tuning != "full":
            raise ValueError(f"tuning: {self.tuning} keeps the weights of a folder, so give its directory")
        if self.precision != "fp32" and self.tuning == "full":
            raise ValueError(
                f"precision: {self.precision} is for a base that is not trained (tuning: frozen or lora); weights that "
                "are trained are float32"
            )
        return self


@dataclass(frozen=True, slots=True)
class LanguageState:
    """What the language model remembers between steps: a value, passed in and out.

    Attributes:
        prefix_keys_values: per layer, keys and values (B, H, L, E) of the prefix, shared by the beams.
        own_keys_values: per layer, keys and values (B, W, H, t, E) of the tokens so far.
        keep_BL: bool, False at the prefix's padding.
        lengths_B: int64, real places of each prefix.
        longest: the largest of them.
        first_BU: logits of the first token, until the first step has handed them out.
    """

    prefix_keys_values: tuple[KeysValues, ...]
    own_keys_values: tuple[KeysValues, ...]
    keep_BL: Tensor
    lengths_B: Tensor
    longest: int
    first_BU: Tensor | None

    @property
    def num_tokens(self) -> int:
        """Tokens per beam so far (t)."""
        return self.own_keys_values[0][0].shape[3]

    def reorder(self, studies_C: Tensor | None, parents_CW: Tensor) -> LanguageState:
        """Row c = study ``studies_C[c]`` (None: all in their order) with beams ``parents_CW[c]``."""
        pick = beam_picker(studies_C, parents_CW, self.own_keys_values[0][0].shape[1])
        picked = replace(
            self, own_keys_values=tuple((pick(keys), pick(values)) for keys, values in self.own_keys_values)
        )
        if studies_C is None:
            return picked
        lengths = self.lengths_B[studies_C]
        return replace(
            picked,
            prefix_keys_values=tuple((k[studies_C], v[studies_C]) for k, v in self.prefix_keys_values),
            keep_BL=self.keep_BL[studies_C],
            lengths_B=lengths,
            longest=int(lengths.max()) if len(lengths) else 0,
            first_BU=None if self.first_BU is None else self.first_BU[studies_C],
        )


class Language(FolderPart):
    """A causal language model over embeddings.

    Args:
        config: a folder or sizes, and what of it is trained.
        tokenizer: the run's; a folder's model must have been trained with it.

    Attributes:
        dim: width D of the input embeddings.
        vocab_size: U, the tokenizer's; rows that a model has beyond it are cut off.
        max_positions: places of prefix and report together.
        own: the network of our own, None where ``base`` comes out of a folder.

    Raises:
        CheckpointError: see ``FolderPart.open_base``.
        ConfigError: the folder's model has fewer embeddings than the tokenizer has ids, cannot be read step by step, or
            has no layers of the names in ``adapter_targets``.
        MissingExtraError: transformers, or for adapters peft, is not installed.
    """

    def __init__(self, config: LanguageConfig, tokenizer: Tokenizer) -> None:
        super().__init__(config)
        self.config = config
        self.vocab_size = tokenizer.vocab_size
        self.own: nn.Module | None = None
        if config.directory is None:
            self.own = _own_llama(config, tokenizer)
        else:
            base = self.open_base(load_causal_lm)
            check_readable(base)
            self._check_vocabulary(base, config.directory)
            if config.precision != "folder":
                _keep_in(base, _DTYPES[config.precision])
            if config.tuning == "lora":
                _add_adapters(base, config)
        self.dropout = Dropout(config.dropout if self.own is not None else 0.0)
        self.dim = int(self._embedding.weight.shape[1])
        self.max_positions = most_positions(self.network) or _NO_LIMIT
        self.train(self.training)

    @property
    def network(self) -> nn.Module:
        """The language model itself, of the folder or our own."""
        network = self.own if self.own is not None else self.base
        assert network is not None
        return network

    @property
    def _embedding(self) -> nn.Embedding:
        return self.network.get_input_embeddings()  # type: ignore[operator,no-any-return]

    def train(self, mode: bool = True) -> Self:
        """A base that is not trained stays in evaluation mode; only its adapters' dropout follows ``mode``."""
        super().train(mode)
        if self.base is not None and self.config.tuning != "full":
            self.base.eval()
            for name, module in self.base.named_modules():
                if ".lora_dropout" in name:
                    module.train(mode)
        return self

    def embed(self, token_ids: Tensor) -> Tensor:
        """(..., T) int64 -> input embeddings (..., T, D), float32 at least; positions are the network's own affair."""
        return _wide(self._embedding(token_ids))

    def forward(self, prefix_BLD: Tensor, keep_BL: Tensor, token_ids_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Teacher forcing.

        Args:
            prefix_BLD: embeddings, padding first.
            keep_BL: bool, False at padding; each study has at least one real place.
            token_ids_BT: report tokens without BOS, padding last, where causality hides it from all real tokens.

        Returns:
            logits (B, T+1, U) and the states behind them (B, T+1, D): position t predicts token t from the prefix and
            the tokens before it.

        Raises:
            ConfigError: see ``check_length``.
        """
        num_tokens = token_ids_BT.shape[1]
        self.check_length(prefix_BLD.shape[1], num_tokens)
        _check_left_padded(keep_BL)
        keep_BS = torch.cat([keep_BL, keep_BL.new_ones(token_ids_BT.shape)], 1)
        logits, states = read_on(
            self.network,
            self._fed(torch.cat([prefix_BLD, self.embed(token_ids_BT).to(prefix_BLD.dtype)], 1)),
            keep_BS,
            _positions(keep_BS),
            num_last=num_tokens + 1,
            with_states=True,
        )
        assert states is not None
        return _wide(logits[..., : self.vocab_size]), _wide(states)

    def rolled_attention(self, prefix_BLD: Tensor, keep_BL: Tensor, token_ids_BT: Tensor) -> Tensor:
        """Attention rolled out through all layers, (B, T+1, L+T): row t is that of predicting token t, and sums to 1.

        Arguments and errors as for ``forward``; see ``radwright.nn.rollout`` for what is followed.
        """
        num_tokens = token_ids_BT.shape[1]
        self.check_length(prefix_BLD.shape[1], num_tokens)
        _check_left_padded(keep_BL)
        keep_BS = torch.cat([keep_BL, keep_BL.new_ones(token_ids_BT.shape)], 1)
        embedded = torch.cat([prefix_BLD, self.embed(token_ids_BT).to(prefix_BLD.dtype)], 1)
        maps = read_attention(self.network, self._fed(embedded), keep_BS, _positions(keep_BS))
        layers = [_wide(layer) for layer in maps]
        own_SS = torch.eye(keep_BS.shape[1], dtype=layers[0].dtype, device=keep_BS.device)
        return roll_back(own_SS[-num_tokens - 1 :].expand(len(keep_BS), -1, -1), layers)

    def start(self, prefix_BLD: Tensor, keep_BL: Tensor) -> LanguageState:
        """Read the prefixes once; the state has one beam per study and no token. See ``forward`` for the arguments."""
        self.check_length(prefix_BLD.shape[1], 0)
        _check_left_padded(keep_BL)
        cache = make_cache()
        logits, _ = read_on(self.network, self._fed(prefix_BLD), keep_BL, _positions(keep_BL), num_last=1, cache=cache)
        prefix = cache_tensors(cache)
        lengths_B = keep_BL.sum(1)
        return LanguageState(
            prefix_keys_values=prefix,
            own_keys_values=tuple((keys[:, None, :, :0], values[:, None, :, :0]) for keys, values in prefix),
            keep_BL=keep_BL,
            lengths_B=lengths_B,
            longest=int(lengths_B.max()) if len(lengths_B) else 0,
            first_BU=_wide(logits[:, 0, : self.vocab_size]),
        )

    def step(self, state: LanguageState, token_ids_BW: Tensor) -> tuple[Tensor, LanguageState]:
        """Logits (B, W, U) of the next token, and the grown state.

        The first call feeds BOS, which only stands for the prefix: nothing is appended and no network runs. Every later
        call appends one token per beam.

        Raises:
            ConfigError: see ``check_length``.
        """
        num_studies, num_beams = token_ids_BW.shape
        if state.first_BU is not None:
            return state.first_BU[:, None].expand(-1, num_beams, -1), replace(state, first_BU=None)
        num_tokens = state.num_tokens
        self.check_length(state.longest, num_tokens + 1)
        keep_BWS = torch.cat(
            [
                state.keep_BL[:, None].expand(-1, num_beams, -1),
                state.keep_BL.new_ones(num_studies, num_beams, num_tokens + 1),
            ],
            dim=2,
        )
        positions_BW = (state.lengths_B + num_tokens)[:, None].expand(-1, num_beams)
        cache = make_cache(state.prefix_keys_values, state.own_keys_values)
        logits, _ = read_on(
            self.network,
            self._fed(self.embed(token_ids_BW.reshape(-1, 1))),
            keep_BWS.flatten(0, 1),
            positions_BW.reshape(-1, 1),
            num_last=1,
            cache=cache,
        )
        logits_BWU = _wide(logits[:, 0, : self.vocab_size]).unflatten(0, (num_studies, num_beams))  # type: ignore[no-untyped-call]
        return logits_BWU, replace(state, own_keys_values=cache_tensors(cache))

    def reorder(self, state: LanguageState, studies_C: Tensor | None, parents_CW: Tensor) -> LanguageState:
        """Row c = study ``studies_C[c]`` (None: all in their order) with beams ``parents_CW[c]``."""
        return state.reorder(studies_C, parents_CW)

    def check_length(self, num_prefix: int, num_tokens: int) -> None:
        """Make sure that a report fits.

        Args:
            num_prefix: places of the prefix.
            num_tokens: of the report, without BOS.

        Raises:
            ConfigError: together they are more than ``max_positions``.
        """
        if num_prefix + num_tokens > self.max_positions:
            raise ConfigError(
                f"a prompt of {num_prefix} places and a report of {num_tokens} tokens do not fit the language model's "
                f"{self.max_positions} positions: fewer patches per view (patches_per_side), shorter reports "
                "(max_tokens), or a model that reads more"
            )

    def save_folder(self, path: Path) -> None:
        """Write architecture and tokenizer, without weights, into folder ``path`` of a checkpoint."""
        save_architecture(self.network, path, tokenizer_of=self.config.directory)

    def _fed(self, embedded: Tensor) -> Tensor:
        """Embeddings as the network takes them: with dropout, in its dtype."""
        return self.dropout(embedded).to(self._embedding.weight.dtype)  # type: ignore[no-any-return]

    def _check_vocabulary(self, base: nn.Module, directory: Path) -> None:
        rows = int(base.get_input_embeddings().weight.shape[0])  # type: ignore[operator]
        if rows < self.vocab_size:
            raise ConfigError(
                f"{directory}: its language model knows {rows} tokens, and the run's tokenizer has {self.vocab_size}: "
                "take the tokenizer that lies in the model's folder"
            )


def _own_llama(config: LanguageConfig, tokenizer: Tokenizer) -> nn.Module:
    return build_llama(
        vocab_size=tokenizer.vocab_size,
        hidden_size=config.dim,
        intermediate_size=config.hidden_dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_heads,
        max_position_embeddings=config.max_positions,
        attention_dropout=config.dropout,
        tie_word_embeddings=config.tie_embeddings,
        bos_token_id=tokenizer.bos_id,
        eos_token_id=tokenizer.eos_id,
        # Not the tokenizer's: the embedding of a padding id is zero and never trained, and PAD may be EOS.
        pad_token_id=None,
    )


def _keep_in(base: nn.Module, dtype: torch.dtype) -> None:
    """Change the dtype of weights, not of buffers: rotary frequencies would lose what positions need."""
    for parameter in base.parameters():
        parameter.data = parameter.data.to(dtype)


def _add_adapters(base: nn.Module, config: LanguageConfig) -> None:
    """Put LoRA adapters, in float32, beside layers of ``base``; only they are trained.

    Raises:
        ConfigError: there are no layers of the wanted names.
        MissingExtraError: peft is not installed.
    """
    peft: Any = require("peft", extra="adapters")
    targets = config.adapter_targets
    adapters = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.adapter_dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        # GPT-2 keeps its matrices the other way round.
        fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in base.modules()),
        bias="none",
    )
    try:
        peft.inject_adapter_in_model(adapters, base)
    except ValueError as error:
        raise ConfigError(f"adapter_targets = {targets!r}: {str(error).splitlines()[0]}") from error
    for name, parameter in base.named_parameters():
        if is_adapter(name):
            parameter.data = parameter.data.float()


def _positions(keep_BS: Tensor) -> Tensor:
    """Position of every place, padding not counted; 0 at padding."""
    return (keep_BS.long().cumsum(1) - 1).clamp_(min=0)


def _check_left_padded(keep_BL: Tensor) -> None:
    # Anything else gives wrong text and no error.
    assert bool(keep_BL[:, -1].all()), "a prefix ends with a real place: padding comes first"


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
