"""Where a run comes from: versions, commit, machine, command; written into every run folder and checkpoint."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from radwright import __version__


def commit_of(folder: Path) -> str | None:
    """The git commit of the source tree, with ``+changes`` when files differ from it; None outside a checkout."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != folder.resolve():
            return None
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def provenance() -> dict[str, Any]:
    """Versions, commit, machine and command of this process, as plain values."""
    import torch

    packages = {}
    for name in ("torch", "numpy", "pillow", "pyarrow", "lightning-fabric"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "radwright": __version__,
        "commit": commit_of(Path(__file__).parents[3]),
        "torch": packages["torch"],
        "packages": packages,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": shlex.join(["radwright", *sys.argv[1:]]),
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
