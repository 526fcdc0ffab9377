"""One tree of errors. Every message names the offending thing and the cure; the command line prints it alone."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class RadwrightError(Exception):
    """Base of every error that Radwright raises on purpose."""


class ConfigError(RadwrightError):
    """A recipe, an override or a config file holds something that cannot be used."""


class SourceError(RadwrightError):
    """A dataset cannot be read at all: a file or a column is missing, or its layout is not the stated format's."""


class StudyError(RadwrightError):
    """One study cannot be used. Batch jobs record it with its reason and go on."""


class ImageError(StudyError):
    """One image cannot be decoded: truncated, of an unknown type, too large, or no chest radiograph's pixels."""


class DamagedImageError(ImageError):
    """An image of a known type whose bytes are truncated or changed; the original can be sent again."""


class StoreError(RadwrightError):
    """A prepared store is missing, incomplete, corrupt, or would be overwritten."""


class CheckpointError(RadwrightError):
    """A checkpoint directory is missing something, or does not fit the model it is loaded into."""


class TrainingError(RadwrightError):
    """Training cannot go on, e.g. a loss that is not finite."""


class ScoringError(RadwrightError):
    """Predictions and references cannot be scored against each other."""


class OutputError(RadwrightError):
    """A result cannot be written: the place exists already, is read-only, or is full."""


class MissingExtraError(RadwrightError):
    """An optional library is needed that is not installed."""


def require(module: str, *, extra: str) -> ModuleType:
    """Import ``module``, or say which extra brings it.

    Raises:
        MissingExtraError: the library is absent; the message holds the ``pip install`` line.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        root = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != root:
            raise
        raise MissingExtraError(
            f'this needs {root}, which is not installed: pip install "radwright[{extra}]"'
        ) from error


def near(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the known name nearest to ``name``, or an empty text when none is near."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
