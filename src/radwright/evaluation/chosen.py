"""Choices remembered between commands: which constants were chosen among which texts.

A file holds no report, only digests: reports may be such as must not lie about in a home folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from radwright.data.files import atomic_file, json_line
from radwright.errors import OutputError


def user_cache_folder() -> Path | None:
    """``$XDG_CACHE_HOME/radwright``, or ``~/.cache/radwright`` where that is not set; None without a home.

    A relative ``XDG_CACHE_HOME`` counts as not set (XDG Base Directory Specification 0.8).
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named):
        return Path(named) / "radwright"
    try:
        return Path.home() / ".cache" / "radwright"
    except RuntimeError:
        return None


def digest(text: str) -> str:
    """64 hexadecimal digits that stand for a text, whatever it holds."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def fingerprint(rules: Mapping[str, Any], *lists: Iterable[str]) -> str:
    """64 hexadecimal digits that stand for rules and lists of texts, each in its order.

    Args:
        rules: JSON values, everything else that a choice depends on.
        lists: texts.
    """
    whole = hashlib.sha256(json.dumps(rules, sort_keys=True).encode())
    for texts in lists:
        whole.update(b"\nlist\n")
        for text in texts:
            encoded = text.encode("utf-8", "surrogatepass")
            whole.update(b"%d:" % len(encoded))
            whole.update(encoded)
    return whole.hexdigest()


def recall(folder: Path, key: str, names: Sequence[str], candidates: Iterable[str]) -> dict[str, str] | None:
    """The texts remembered under ``key``; None where nothing is, or anything but one candidate per name.

    Args:
        folder: of ``user_cache_folder``.
        key: of ``fingerprint``.
        names: of the choices, in the order wanted.
        candidates: the texts that were chosen among.
    """
    try:
        digests = json.loads((folder / "chosen" / f"{key}.json").read_bytes())
        wanted = {name: digests[name] for name in names}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    known = {digest(text): text for text in candidates}
    try:
        return {name: known[found] for name, found in wanted.items()}
    except (KeyError, TypeError):
        return None


def remember(folder: Path, key: str, chosen: Mapping[str, str]) -> None:
    """Note the texts chosen under ``key``; where the folder cannot be written, they are chosen again next time."""
    with contextlib.suppress(OSError, OutputError):
        (folder / "chosen").mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / "chosen" / f"{key}.json") as file:
            file.write(json_line({name: digest(text) for name, text in chosen.items()}))
