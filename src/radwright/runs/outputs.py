"""A result folder belongs to one job: made or claimed before the work, never mixed with another's files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from radwright.data.files import atomic_file, folder_lock, output_errors, strangers
from radwright.errors import OutputError

JOB = "job.json"


@contextmanager
def claimed(out: Path, command: str, identity: Mapping[str, Any]) -> Iterator[None]:
    """``out`` as this job's folder, held for this process alone.

    Args:
        out: made where there is none.
        command: the ``radwright`` command whose results it holds.
        identity: what they depend on, JSON-able; kept with the command in ``job.json``.

    Raises:
        OutputError: it holds another job or something else, another process works there, or it cannot be written.
    """
    if out.is_file():
        raise OutputError(f"{out}: is a file; give a folder for the results of radwright {command}")
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with folder_lock(out):
        _claim(out, {"command": command, **identity})
        yield


def _claim(out: Path, job: Mapping[str, Any]) -> None:
    path = out / JOB
    if not path.exists():
        if held := strangers(out):
            raise OutputError(f"{out}: is not empty (it holds {held[0]}); choose another --out")
        write_json(path, job)
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be read: {error}; remove {out}, or choose another --out") from error
    if not isinstance(found, dict) or not isinstance(found.get("command"), str):
        raise OutputError(
            f"{path}: does not say which command's results these are; choose another --out, or remove {out}"
        )
    if found["command"] != job["command"]:
        raise OutputError(
            f"{out}: holds results of radwright {found['command']}, not of radwright {job['command']}; "
            "choose another --out"
        )
    if different := [name for name in {**job, **found} if name not in job or found.get(name) != job[name]]:
        raise OutputError(
            f"{out}: holds results of radwright {job['command']} with another {' and '.join(different)}; "
            "choose another --out, or remove it"
        )


def write_json(path: Path, values: Any) -> None:
    """Write values as JSON that people can read, atomically."""
    with atomic_file(path) as file:
        file.write((json.dumps(values, ensure_ascii=False, indent=1) + "\n").encode())
