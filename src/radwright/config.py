"""Configs: frozen pydantic models, strict, with errors that name the dotted path, the bad value and the near name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from radwright.errors import ConfigError, near

_MAX_SHOWN = 120
"""Characters of a value that a message quotes."""
_MOST_LISTED = 30
"""Names that a message lists."""


class Config(BaseModel):
    """Base of every config: frozen, unknown keys refused, a docstring under a field becomes its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Validate ``values``.

        Args:
            values: nested plain values.
            where: what the values come from (a file's name), for the message.

        Raises:
            ConfigError: one line per problem: dotted path, value, what is wrong, the near name.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            problems = error.errors()
            lines = [_explain(cls, problem) for problem in problems if not _follows(problem, problems)]
            raise ConfigError(f"{where}: " + "; ".join(lines)) from error

    def plain(self) -> dict[str, Any]:
        """Nested plain values, ready for YAML or JSON."""
        return self.model_dump(mode="json")


def _follows(problem: Any, problems: Iterable[Any]) -> bool:
    """Whether a list is too short only because items of it cannot be used, which is said of them already."""
    place = problem["loc"]
    inner = (other["loc"] for other in problems if len(other["loc"]) > len(place))
    return problem["type"] == "too_short" and any(loc[: len(place)] == place for loc in inner)


def _explain(config: type[BaseModel], problem: Any) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _fields_at(config, problem["loc"][:-1])
        nearest = near(str(problem["loc"][-1]), known)
        return f"unknown key {path!r}{nearest or f'; there are {_listed(known)}'}"
    if problem["type"] == "missing":
        return f"{path!r} is required"
    if problem["type"] == "too_short":
        return f"{path} = {_shortened(problem['input'])}: at least {problem['ctx']['min_length']} must be given"
    # A check of a whole model names its fields itself; what it was given is everything that was written there.
    words, given = problem["msg"].removeprefix("Value error, "), problem["input"]
    if problem["type"] == "value_error" and isinstance(given, (Mapping, BaseModel)):
        return f"{path}: {words}" if path else words
    return f"{path} = {_shortened(given)}: {words}"


def _listed(names: Iterable[str]) -> str:
    """Names in words; of very many the first."""
    known = sorted(names)
    return ", ".join(known[:_MOST_LISTED]) + (" ..." if len(known) > _MOST_LISTED else "")


def _shortened(value: Any) -> str:
    """A value as it is written in Python, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def _fields_at(config: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """Field names of the model at ``path`` below ``config`` (unions and lists are looked into)."""
    models: list[type[BaseModel]] = [config]
    for part in path:
        # An index of a list, or the tag of a union (``strategy.beam.num_beams``): no field of its own.
        if isinstance(part, int) or not any(part in model.model_fields for model in models):
            continue
        models = [
            m for model in models if part in model.model_fields for m in _models(model.model_fields[part].annotation)
        ]
    return [name for model in models for name in model.model_fields]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in get_args(annotation) for model in _models(arg)]


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice instead of silently keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: the file is missing, is not YAML, or its top is no mapping.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid YAML: {error}") from error
    if values is None:
        raise ConfigError(f"{path}: is empty; a mapping of keys is expected")
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a mapping of keys is expected, found {type(values).__name__}")
    return values


def apply_overrides(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return ``values`` with ``a.b=c`` overrides set.

    ``c`` is read as YAML; an item of a list is reached by its index (``stages.0.epochs=3``).

    Raises:
        ConfigError: an override without ``=``, or a path through something that has no keys.
    """
    result: dict[str, Any] = _copy(values)
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path:
            raise ConfigError(f"override {override!r}: write it as key=value, e.g. data.batch_size=8")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"override {override!r}: the value is not valid YAML: {error}") from error
        _set(result, path.split("."), value, override)
    return result


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def _set(target: Any, parts: list[str], value: Any, override: str) -> None:
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(target, list):
            if not part.isdigit() or int(part) >= len(target):
                raise ConfigError(
                    f"override {override!r}: {'.'.join(parts[:depth])} has items 0 to {len(target) - 1}, not {part!r}"
                )
            key: Any = int(part)
        elif isinstance(target, dict):
            key = part
            if not last:
                target.setdefault(key, {})
        else:
            raise ConfigError(f"override {override!r}: {'.'.join(parts[:depth])} is a value, it has no key {part!r}")
        if last:
            target[key] = value
        else:
            if target[key] is None:
                target[key] = {}
            target = target[key]
