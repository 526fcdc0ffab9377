"""``--engine`` and ``--cluster``: where a command's work runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from radwright.scale.cluster import ClusterConfig

ENGINES = ("local", "ray")


def cluster_of(engine: str, settings: Sequence[str]) -> ClusterConfig | None:
    """The cluster that the command line asks for; None where the work is this process's own.

    Raises:
        ConfigError: no such engine, settings without ``ray``, an unknown one, or a value that does not fit.
    """
    from radwright.config import apply_overrides
    from radwright.errors import ConfigError, near
    from radwright.scale.cluster import ClusterConfig

    if engine not in ENGINES:
        raise ConfigError(f"--engine {engine}: is none of {', '.join(ENGINES)}{near(engine, ENGINES)}")
    if engine == "ray":
        return ClusterConfig.parse(apply_overrides({}, list(settings)), where="--cluster")
    if settings:
        raise ConfigError(f"--cluster {settings[0]}: is for --engine ray")
    return None
