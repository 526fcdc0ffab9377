"""A result folder belongs to one job: made or claimed before the work, never mixed with another's files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from radwright.data.files import atomic_file, folder_lock, output_errors
from radwright.errors import OutputError

JOB = "job.json"


@contextmanager
def claimed(out: Path, identity: Mapping[str, Any], *, job: str = "an evaluation") -> Iterator[None]:
    """``out`` as this job's folder, held for this process alone.

    Args:
        out: made where there is none.
        identity: what its results depend on, JSON-able; kept in ``job.json``.
        job: what it is, for messages.

    Raises:
        OutputError: it holds another job or something else, another process works there, or it cannot be written.
    """
    if out.is_file():
        raise OutputError(f"{out}: is a file; give a folder for the results of {job}")
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with folder_lock(out):
        _claim(out, identity, job)
        yield


def _claim(out: Path, identity: Mapping[str, Any], job: str) -> None:
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
            f"{out}: holds {job} with another {' and '.join(different)}; choose another --out, or remove it"
        )


def write_json(path: Path, values: Any) -> None:
    """Write values as JSON that people can read, atomically."""
    with atomic_file(path) as file:
        file.write((json.dumps(values, ensure_ascii=False, indent=1) + "\n").encode())
