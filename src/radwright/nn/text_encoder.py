"""One vector per text: a BERT-type encoder from a Hugging Face folder, or a small transformer trained from scratch.

Shape legend: N texts, T tokens, D width.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from radwright.errors import ConfigError
from radwright.nn.attention import EncoderLayer, additive
from radwright.nn.decoder import TokenEmbedding
from radwright.nn.folder import FolderConfig, FolderPart
from radwright.nn.huggingface import load_encoder, load_tokenizer, save_architecture
from radwright.types import Tokenizer

MAX_REMEMBERED = 4096
BATCH_SIZE = 256


class TextEncoderConfig(FolderConfig):
    """The text encoder: a folder's, or the sizes of a small one of our own."""

    dim: int = Field(default=128, ge=1)
    """Width D. This and the next four fields are for the network of our own; a folder brings its own sizes."""
    num_layers: int = Field(default=2, ge=1)
    """Layers."""
    num_heads: int = Field(default=4, ge=1)
    """Attention heads."""
    hidden_dim: int = Field(default=256, ge=1)
    """Width inside the feed-forward layers."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout of embeddings, attention and layers. A folder keeps its own rates."""
    max_tokens: int = Field(default=64, ge=3)
    """Longer texts are cut after this many tokens; special tokens of a folder's tokenizer count."""
    pooling: Literal["mean", "cls"] = "mean"
    """A text's vector: the mean of its tokens' states (a folder's special tokens count, padding does not), or the state
    of the first token, BERT's [CLS]."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.tuning == "lora":
            raise ValueError("tuning: lora is for language models; a text encoder is frozen or trained in full")
        if self.directory is None:
            if self.dim % self.num_heads or self.dim % 2:
                raise ValueError(f"dim ({self.dim}) must be even and a multiple of num_heads ({self.num_heads})")
            if self.tuning == "frozen":
                raise ValueError("tuning: frozen keeps the weights of a folder, so give its directory")
            if self.pooling == "cls":
                raise ValueError("pooling: cls needs a folder's encoder; that of our own has no [CLS] token")
        return self


class TextEncoder(FolderPart):
    """Texts to vectors, each by itself: padding and the other texts of a call change nothing.

    Args:
        config: a folder or sizes.
        tokenizer: the run's; only the network of our own reads through it, a folder brings its tokenizer.

    Attributes:
        dim: width D of a text's vector.

    Raises:
        CheckpointError: see ``FolderPart.open_base``; or the folder holds no tokenizer.
        ConfigError: the folder's model is no text encoder, or reads fewer than ``max_tokens`` tokens.
        MissingExtraError: a folder is given and transformers is not installed.
    """

    def __init__(self, config: TextEncoderConfig, tokenizer: Tokenizer) -> None:
        super().__init__(config)
        self.config = config
        self.ids_of: Callable[[str], list[int]]
        self._memo = _Memo()
        if config.directory is None:
            self.dim = config.dim
            self.pad_id = tokenizer.pad_id
            self.ids_of = _Cut(tokenizer, config.max_tokens)
            sizes = (config.dim, config.num_heads, config.hidden_dim, config.dropout, nn.LayerNorm)
            self.embedding = TokenEmbedding(tokenizer.vocab_size, config.dim, config.dropout, nn.LayerNorm)
            self.layers = nn.ModuleList(EncoderLayer(*sizes) for _ in range(config.num_layers))
            self.norm = nn.LayerNorm(config.dim)
        else:
            base = self.open_base(_load_states_only)
            _check_reads_texts(base, config.directory, config.max_tokens)
            theirs = load_tokenizer(config.directory)
            self.dim = int(base.config.hidden_size)  # type: ignore[union-attr,arg-type]
            self.pad_id = theirs.pad_token_id or 0
            self.ids_of = _TheirCut(theirs, config.max_tokens)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """A folder's encoder that is not trained stays in evaluation mode."""
        return super().train(mode and not (self.base is not None and self.config.tuning == "frozen"))

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Vectors (N, D) of texts, with gradient where a weight of the encoder is trained.

        A text that gives no token is read as one padding token. Without gradients and in evaluation mode vectors are
        remembered by text until a weight changes.
        """
        if not texts:
            return next(self.parameters()).new_zeros(0, self.dim)
        wanted = list(dict.fromkeys(texts)) if not self.training else list(texts)
        weights = [*self.parameters(), *self.buffers()]
        trained = torch.is_grad_enabled() and any(weight.requires_grad for weight in weights)
        if self.training or trained or any(weight.is_inference() for weight in weights):
            self._memo = _Memo()
            vectors = self._read(wanted)
            if len(wanted) == len(texts):
                return vectors
            place = {text: row for row, text in enumerate(wanted)}
            return vectors[[place[text] for text in texts]]
        self._memo.begin(weights)
        # Vectors made in inference mode could not enter a later gradient.
        with torch.inference_mode(False), torch.no_grad():
            found = {text: vector for text in wanted if (vector := self._memo.get(text)) is not None}
            missing = [text for text in wanted if text not in found]
            for start in range(0, len(missing), BATCH_SIZE):
                some = missing[start : start + BATCH_SIZE]
                for text, vector in zip(some, self._read(some), strict=True):
                    found[text] = vector.clone()  # a row alone would keep the whole batch in memory
                    self._memo.put(text, found[text])
        return torch.stack([found[text] for text in texts])

    def save_folder(self, path: Path) -> None:
        """Write architecture and tokenizer, without weights, into folder ``path`` of a checkpoint."""
        assert self.base is not None
        save_architecture(self.base, path, tokenizer_of=self.config.directory)

    def _read(self, texts: Sequence[str]) -> Tensor:
        """Vectors (N, D) of N > 0 texts, all at once."""
        ids = [self.ids_of(text) or [self.pad_id] for text in texts]
        lengths_N = torch.tensor([len(row) for row in ids])
        longest = int(lengths_N.max())
        padded = torch.tensor([row + [self.pad_id] * (longest - len(row)) for row in ids])
        keep = torch.arange(longest) < lengths_N[:, None]
        device = next(self.parameters()).device
        keep_NT = keep.to(device)
        states_NTD = self._states(padded.to(device), keep_NT)
        if self.config.pooling == "cls":
            return states_NTD[:, 0]
        kept_NTD = states_NTD.masked_fill(~keep_NT.unsqueeze(-1), 0)
        return kept_NTD.sum(1) / keep_NT.sum(1, keepdim=True)

    def _states(self, ids_NT: Tensor, keep_NT: Tensor) -> Tensor:
        if self.base is not None:
            states: Tensor = self.base(input_ids=ids_NT, attention_mask=keep_NT.long()).last_hidden_state
            return states
        x_NTD = self.embedding(ids_NT)
        mask = additive(keep_NT[:, None, None], x_NTD.dtype)
        for layer in self.layers:
            x_NTD = layer(x_NTD, mask)
        out: Tensor = self.norm(x_NTD)
        return out

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        # Moved or converted weights may come to lie where old ones were.
        self._memo = _Memo()
        return super()._apply(fn, recurse)  # type: ignore[no-any-return,no-untyped-call]


class _Cut:
    """Ids of the run's tokenizer, cut."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self.tokenizer, self.max_tokens = tokenizer, max_tokens

    def __call__(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text)[: self.max_tokens])


class _TheirCut:
    """Ids of a folder's tokenizer, cut so that the last special token stays."""

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        self.tokenizer, self.max_tokens = tokenizer, max_tokens

    def __call__(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, truncation=True, max_length=self.max_tokens)["input_ids"]
        return ids


class _Memo:
    """The last vectors by text, valid while no weight changes.

    A weight's version counter rises with every change in place (``load_state_dict``, steps of the optimisers made in
    ``radwright.training``); a change through ``.data`` escapes it. The weights' memory is held, so that no other
    tensor takes its place.
    """

    def __init__(self) -> None:
        self.key: Any = None
        self.held: list[Any] = []
        self.vectors: OrderedDict[str, Tensor] = OrderedDict()

    def __reduce__(self) -> Any:
        return _Memo, ()  # copies of a network begin empty

    def begin(self, weights: Sequence[Tensor]) -> None:
        """Forget everything if the weights are not those of the last time."""
        device = weights[0].device.type
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        key = (autocast, *((weight.data_ptr(), weight._version, weight.dtype) for weight in weights))
        if key != self.key:
            self.key, self.held = key, [weight.untyped_storage() for weight in weights]
            self.vectors.clear()

    def get(self, text: str) -> Tensor | None:
        """The vector of a text, if it is remembered."""
        if text in self.vectors:
            self.vectors.move_to_end(text)
        return self.vectors.get(text)

    def put(self, text: str, vector: Tensor) -> None:
        """Remember a text; that which was not asked for the longest is forgotten."""
        self.vectors[text] = vector
        if len(self.vectors) > MAX_REMEMBERED:
            self.vectors.popitem(last=False)


def _load_states_only(directory: Path, *, weights: bool) -> nn.Module:
    """An encoder without pooler: its weights would be trained by nothing."""
    base = load_encoder(directory, weights=weights)
    if getattr(base, "pooler", None) is not None:
        base.pooler = None  # type: ignore[assignment]
    return base


def _check_reads_texts(base: nn.Module, directory: Path, max_tokens: int) -> None:
    known = inspect.signature(type(base).forward).parameters
    if not {"input_ids", "attention_mask"} <= known.keys() or getattr(base.config, "is_encoder_decoder", False):
        raise ConfigError(f"{directory}: holds a {type(base).__name__}, which is no text encoder of BERT's kind")
    for name, module in base.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa's positions begin behind that of padding.
            rows = module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
            if max_tokens > rows:
                raise ConfigError(f"{directory}: its encoder reads {rows} tokens, fewer than max_tokens ({max_tokens})")
