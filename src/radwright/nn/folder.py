"""Networks that come out of a Hugging Face folder: whose weights a checkpoint holds, and how a base is known again.

A part that is trained whole belongs to the checkpoint: its weights, its architecture and its tokenizer go into it, and
the folder is needed no more. Of a part that stays as it was (``frozen``, or a base below adapters) the checkpoint keeps
a fingerprint only, and refuses any other base.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from radwright.config import Config
from radwright.errors import CheckpointError

_VALUES_PER_WEIGHT = 512


class FolderConfig(Config):
    """Where a network comes from."""

    directory: Path | None = None
    """Folder of a Hugging Face model on disk (config.json, weights, for texts a tokenizer); None: a small network of
    our own, newly initialised."""
    tuning: Literal["frozen", "lora", "full"] = "full"
    """``full``: all weights may be trained, and the checkpoint holds them. ``frozen``: they stay as in the folder.
    ``lora``: they stay, and small adapters beside them are trained (language models only)."""
    identity: str | None = None
    """Fingerprint of the folder's weights, written into checkpoints; another base is refused. None: any base."""
    inside: bool = False
    """The folder lies in a checkpoint, which holds the weights itself (written by Radwright)."""


class FolderPart(nn.Module):
    """A part of a network that may come from a folder.

    Attributes:
        part_config: where it comes from.
        base: the network out of the folder, or None where it is our own.
        identity: fingerprint of the base's weights as they were in the folder; "" without a base or inside a
            checkpoint.
    """

    def __init__(self, part_config: FolderConfig) -> None:
        super().__init__()
        self.part_config = part_config
        self.base: nn.Module | None = None
        self.identity = ""

    def open_base(self, load: Callable[..., nn.Module]) -> nn.Module:
        """Load the base and check that it is the one wanted; call it before adapters are put in.

        Args:
            load: called with (directory, weights=bool); weights=False builds the architecture alone.

        Raises:
            CheckpointError: no such folder, or its weights are not those of ``identity``; both are named.
        """
        config = self.part_config
        assert config.directory is not None
        base = load(config.directory, weights=not config.inside)
        if not config.inside:
            self.identity = fingerprint(base)
            if config.identity is not None and config.identity != self.identity:
                raise CheckpointError(
                    f"{config.directory}: holds {describe(base, self.identity)}, and the checkpoint was made on the "
                    f"base {config.identity}; put that one there, or its place into config.json (directory)"
                )
        base.requires_grad_(config.tuning == "full")
        self.base = base
        return base

    def outside_names(self) -> Iterator[str]:
        """Names in this module's ``state_dict`` that the folder holds and a checkpoint does not."""
        if self.base is None or self.part_config.tuning == "full":
            return
        for name in self.state_dict(keep_vars=True):
            if name.startswith("base.") and not is_adapter(name):
                yield name

    def deployed_part(self, folder: str) -> dict[str, Any]:
        """The fields of ``FolderConfig`` as a checkpoint says them.

        Args:
            folder: name of this part's own folder in the checkpoint.
        """
        config = self.part_config
        if config.directory is None:
            return config.plain()
        if config.tuning == "full":
            return config.model_copy(update={"directory": None, "inside": True}).plain() | {"directory": f"./{folder}"}
        directory = str(config.directory.resolve())
        return config.plain() | {"directory": directory, "identity": self.identity or config.identity}

    def save_folder(self, path: Path) -> None:
        """Write architecture and tokenizer, without weights, into a new folder ``path`` of a checkpoint."""
        raise NotImplementedError

    @property
    def belongs_inside(self) -> bool:
        """Whether a checkpoint holds this part's weights and its folder."""
        return self.base is not None and self.part_config.tuning == "full"


def is_adapter(name: str) -> bool:
    """Whether a weight's name is that of an adapter rather than of the base below it."""
    return ".lora_" in name


def fingerprint(module: nn.Module) -> str:
    """SHA-256 over names, shapes and up to 512 values of every weight, spread over it: in a moment, for any size."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().reshape(-1)
        # In whole numbers: beyond 2^24 values a place computed in float32 may lie behind the last one.
        num_places = min(_VALUES_PER_WEIGHT, len(flat))
        places = torch.arange(num_places) * (len(flat) - 1) // max(1, num_places - 1)
        digest.update(flat[places.to(flat.device)].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def describe(base: nn.Module, identity: str) -> str:
    """A base for a message: kind, size, fingerprint."""
    size = sum(parameter.numel() for parameter in base.parameters()) / 1e6
    return f"a {type(base).__name__} of {size:.1f} M weights with fingerprint {identity}"


def parts(model: nn.Module) -> Iterator[tuple[str, FolderPart]]:
    """The parts of a network that may come from a folder, by their dotted names."""
    for name, module in model.named_modules():
        if isinstance(module, FolderPart):
            yield name, module
