"""``silence.json``: how sure a checkpoint is of what it asserts, and from which bar on it may say so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError

from radwright.config import Config
from radwright.errors import CheckpointError, ConfigError
from radwright.evidence.confidence import Confidence
from radwright.evidence.features import FEATURES
from radwright.evidence.risk import Bar, fewest_studies, find_bar
from radwright.types import Study

SILENCE_FILE = "silence.json"
FORMAT = "radwright.silence/1"
_DIGITS = 16
_TOLD = {
    "weights": "other weights",
    "network": "another config.json",
    "decoding": "another decoding",
    "clues": "other clues",
    "reader": "another version of the rules that read reports",
}


class Silence(Config):
    """What a calibration found; holds for one network, one decoding, one choice of clues and one reader of reports."""

    format: str = FORMAT
    """Version of the layout."""
    job: dict[str, Any]
    """What was calibrated: ``weights``, ``network``, ``decoding``, ``clues``, ``reader``."""
    source: dict[str, Any]
    """Which studies calibrated: store, split, share, numbers."""
    members: tuple[str, ...]
    """Digest of the images of every study that calibrated, sorted: they are used for nothing else."""
    digest: str
    """Of all members."""
    confidence: Confidence
    """How sure an asserted finding is."""
    limits: tuple[float, ...]
    """Of the studies that set the bars, descending (``radwright.evidence.risk``): any level's bar follows from them."""
    report: dict[str, Any] = Field(default_factory=dict)
    """What was measured of it: a row per level, and the calibration of the probabilities."""

    @property
    def num_studies(self) -> int:
        """Studies that set the bars."""
        return len(self.limits)

    def bar(self, level: float) -> Bar:
        """The bar of any level.

        Raises:
            ConfigError: a level outside (0, 1).
        """
        return find_bar(np.array(self.limits, dtype=np.float64), level)

    def check(self, job: Mapping[str, Any], *, where: Path) -> None:
        """Hold that drafts are written as they were in the calibration.

        Args:
            job: of the drafts to write (``plain_job``).
            where: the checkpoint, for the message.

        Raises:
            CheckpointError: they are not; the message says in what, and the cure.
        """
        different = [told for name, told in _TOLD.items() if self.job.get(name) != job.get(name)]
        if different:
            raise CheckpointError(
                f"{where / SILENCE_FILE}: was calibrated with {' and '.join(different)}, so its bars promise nothing "
                "here; draft as it was calibrated, or run `radwright calibrate --replace` with these settings"
            )
        if strange := [name for name in self.confidence.features if name not in FEATURES]:
            raise CheckpointError(
                f"{where / SILENCE_FILE}: asks for the feature {strange[0]!r}, which this Radwright does not know; "
                "calibrate again"
            )


def plain_job(values: Mapping[str, Any]) -> dict[str, Any]:
    """A job as it is read back from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(values)))
    return plain


def network_digest(config: Mapping[str, Any]) -> str:
    """What tells a network's config from another's, however its reports are read out."""
    values = {name: value for name, value in config.items() if name != "decoding"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def study_digest(study: Study) -> str:
    """A study by its images' bytes, whatever it is called and wherever it lies.

    Raises:
        OSError, KeyError: an image cannot be read.
    """
    whole = hashlib.sha256()
    for view in study.views:
        whole.update(hashlib.sha256(view.image.read()).digest())
    return whole.hexdigest()[:_DIGITS]


def digest_of(members: Iterable[str]) -> str:
    """One digest of all members; their order changes nothing."""
    return hashlib.sha256("\n".join(sorted(members)).encode()).hexdigest()


def find_silence(checkpoint: Path) -> Silence | None:
    """The checkpoint's calibration; None where it has none.

    Raises:
        CheckpointError: the file is damaged or of another version.
    """
    path = checkpoint / SILENCE_FILE
    if not path.is_file():
        return None
    again = "remove it, and run `radwright calibrate`"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise CheckpointError(f"{path}: is not of this version's format ({FORMAT}); {again}")
        found = Silence.parse(values, where=str(path))
    except (OSError, ValueError, ValidationError, ConfigError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}; {again}") from error
    if digest_of(found.members) != found.digest:
        raise CheckpointError(f"{path}: its list of studies was changed; {again}")
    return found


def read_silence(checkpoint: Path) -> Silence:
    """The checkpoint's calibration.

    Raises:
        CheckpointError: there is none, or it is damaged or of another version.
    """
    found = find_silence(checkpoint)
    if found is None:
        raise CheckpointError(
            f"{checkpoint}: has no {SILENCE_FILE}, so nobody knows how sure it is; calibrate it first, on a split that "
            f"it was not trained on: radwright calibrate {checkpoint} STORE --split SPLIT --out DIR. Where the store "
            "has no val to spare, as the demo's, prepare another: docs/silence.md has the command"
        )
    return found


def unreachable(level: float, num_studies: int) -> str:
    """Why a level leaves silence only, for whoever asked for it."""
    return (
        f"risk {level:g} cannot be promised from {num_studies} studies other than by silence: every sentence that "
        f"asserts a finding is withheld; it takes {fewest_studies(level)} studies at least"
    )
