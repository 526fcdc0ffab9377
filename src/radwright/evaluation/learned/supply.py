"""What metrics that need weights are given on the command line, and the metrics that can be had from it.

``NAME=VALUE`` gives a metric its first part, ``NAME.PART=VALUE`` another one, ``NAME`` alone asks for a metric that is
made of others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from radwright.errors import CheckpointError, ConfigError, MissingExtraError, ScoringError, near
from radwright.metrics.base import FloatArray, Metric
from radwright.tables import METRICS, resolve

LEARNED: tuple[str, ...] = tuple(name for name, target in METRICS.items() if target.startswith(f"{__package__}."))
"""Names in the metrics table that need weights: those whose class lives in this package."""
WITHOUT_WEIGHTS: tuple[str, ...] = tuple(name for name in METRICS if name not in LEARNED)
"""Names in the metrics table that need nothing."""


@dataclass(frozen=True, slots=True)
class Part:
    """Something a metric needs or takes.

    Attributes:
        name: what it is called in ``NAME.PART=VALUE``, and the argument of the metric's ``load``.
        what: what it is, for a reader.
        where: where a user gets it; empty for a setting.
        read: turns the text after ``=`` into the argument; a ValueError says what was expected.
        required: the metric cannot be had without it.
        many: it may be given several times; ``load`` gets a list.
    """

    name: str
    what: str
    where: str = ""
    read: Callable[[str], Any] = Path
    required: bool = True
    many: bool = False

    def source(self) -> str:
        """`` (from ...)``, or nothing for a setting."""
        return f" (from {self.where})" if self.where else ""


class Adapter(Protocol):
    """What a class of this package has beside those of a metric."""

    parts: tuple[Part, ...]
    built_on: tuple[str, ...]
    """Other metrics of this package that ``load`` takes, by their names."""

    @classmethod
    def load(cls, **given: Any) -> Metric:
        """The metric from its parts.

        Raises:
            CheckpointError: a part is not what it should be.
            ScoringError: likewise, for parts that are no weights.
            MissingExtraError: a library is not installed.
        """
        ...


def read_switch(text: str) -> bool:
    """``yes`` or ``no``."""
    if text not in {"yes", "no"}:
        raise ValueError("yes or no is expected")
    return text == "yes"


def read_count(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("a whole number of at least 1 is expected")
    return int(text)


def parse_weights(given: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """``["chexbert=A", "chexbert.tokenizer=B"]`` as ``{"chexbert": {"": ["A"], "tokenizer": ["B"]}}``.

    Raises:
        ConfigError: a name that needs no weights or does not exist.
    """
    parsed: dict[str, dict[str, list[str]]] = {}
    for text in given:
        key, equals, value = text.partition("=")
        name, _, part = key.partition(".")
        if name not in LEARNED:
            raise ConfigError(
                f"--weights {text}: no metric {name!r} takes weights{near(name, LEARNED)}; "
                f"those that do: {', '.join(LEARNED)} (--weights help says what each needs)"
            )
        if equals and not value:
            raise ConfigError(f"--weights {text}: nothing stands after the =")
        values = parsed.setdefault(name, {})
        if equals:
            values.setdefault(part, []).append(value)
    return parsed


def find_weighted_metrics(weights: Iterable[str]) -> tuple[list[Metric], dict[str, str]]:
    """The metrics that can be had from what is given, and for each other one that was asked for why not.

    Args:
        weights: as after ``--weights`` on the command line.

    Raises:
        ConfigError: a metric or a part that does not exist, or a value that cannot be read.
    """
    parsed = parse_weights(weights)
    wanted = {name: _read_parts(name, _adapter(name), parsed[name]) for name in LEARNED if name in parsed}
    made: dict[str, Metric] = {}
    unavailable: dict[str, str] = {}
    for name, values in wanted.items():
        adapter = _adapter(name)
        lacking = [part for part in adapter.parts if part.required and part.name not in values]
        absent = [other for other in adapter.built_on if other not in made]
        if lacking:
            part = lacking[0]
            unavailable[name] = (
                f"it needs {part.what}{part.source()}: give --weights {_option(name, adapter, part)}=PATH"
            )
        elif absent:
            why = "could not be had" if absent[0] in unavailable else f"is not given: --weights {absent[0]}=PATH"
            unavailable[name] = f"it is made of {_list(adapter.built_on)}, and {absent[0]} {why}"
        else:
            try:
                made[name] = adapter.load(**values, **{other: made[other] for other in adapter.built_on})
            except (CheckpointError, ScoringError, MissingExtraError) as error:
                unavailable[name] = str(error)
    return list(made.values()), unavailable


def count_unscored(metrics: Sequence[Metric], rows: Sequence[FloatArray]) -> list[str]:
    """Notes on studies that a metric could not score; the last statistic of such a study is 0, or not a number.

    Args:
        metrics: any metrics; those that score every study are passed over.
        rows: (n, S) statistics of the drafts, per metric.
    """
    notes = []
    for metric, statistics in zip(metrics, rows, strict=True):
        why = getattr(metric, "why_unscored", None)
        if why is None:
            continue
        scored = int((statistics[:, -1] > 0).sum())
        if scored == len(statistics):
            continue
        whole = "there is no score" if not scored or np.isnan(statistics).any() else "the score is that of the others"
        notes.append(f"{metric.names[0]}: {len(statistics) - scored} of {len(statistics)} studies {why}; {whole}")
    return notes


def describe_weights() -> str:
    """What every metric that needs weights takes, as text for the terminal."""
    lines = ["Metrics that need weights; each is printed only when its weights are given.", ""]
    for name in LEARNED:
        adapter = _adapter(name)
        lines.append(f"{name}: {', '.join(_names(adapter))}")
        if adapter.built_on:
            lines.append(f"  --weights {name}: made of {_list(adapter.built_on)}, which must be given too")
        for part in adapter.parts:
            needed = "" if part.required else ", optional"
            again = ", may be given several times" if part.many else ""
            lines.append(f"  --weights {_option(name, adapter, part)}=...: {part.what}{part.source()}{needed}{again}")
        lines.append("")
    return "\n".join(lines).rstrip()


def _names(adapter: Any) -> tuple[str, ...]:
    names: tuple[str, ...] = adapter.names
    return names


def _adapter(name: str) -> Adapter:
    adapter: Adapter = resolve(METRICS, name, kind="metric")
    return adapter


def _option(name: str, adapter: Adapter, part: Part) -> str:
    return name if part is adapter.parts[0] else f"{name}.{part.name}"


def _list(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _read_parts(name: str, adapter: Adapter, given: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    known = {part.name: part for part in adapter.parts}
    values: dict[str, Any] = {}
    for key, texts in given.items():
        if not key and not adapter.parts:
            raise ConfigError(f"--weights {name}={texts[0]}: {name} takes no value; write --weights {name}")
        part = known.get(key) if key else adapter.parts[0]
        if part is None:
            raise ConfigError(
                f"--weights {name}.{key}: {name} has no part {key!r}{near(key, known)}; it has {', '.join(known)}"
            )
        if part.name in values or (len(texts) > 1 and not part.many):
            raise ConfigError(f"--weights {_option(name, adapter, part)} is given twice")
        try:
            read = [part.read(text) for text in texts]
        except ValueError as error:
            raise ConfigError(f"--weights {_option(name, adapter, part)}={texts[0]}: {error}") from error
        values[part.name] = read if part.many else read[0]
    return values
