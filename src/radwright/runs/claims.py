"""An output folder belongs to one job: it says which, and another job is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radwright.data.files import atomic_file
from radwright.errors import OutputError

JOB = "job.json"


def claim(out: Path, identity: Mapping[str, Any]) -> None:
    """Make the folder this job's, or hold that it is.

    Raises:
        OutputError: it holds another job, or something else.
    """
    path = out / JOB
    if not path.exists():
        if strangers := sorted(entry.name for entry in out.iterdir()):
            raise OutputError(f"{out}: is not empty (it holds {strangers[0]}); choose another --out")
        write_json(path, identity)
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be read: {error}; remove {out}, or choose another --out") from error
    different = [name for name in identity if not isinstance(found, dict) or found.get(name) != identity[name]]
    if different:
        raise OutputError(
            f"{out}: holds an evaluation with another {' and '.join(different)}; choose another --out, or remove it"
        )


def write_json(path: Path, values: Any) -> None:
    """Write values as JSON for people too; a kill leaves the old file or the new one."""
    with atomic_file(path) as file:
        file.write((json.dumps(values, ensure_ascii=False, indent=1) + "\n").encode())
