"""A ``radwright`` command as a program of its own: its output in a log, its end with ours, Ctrl-C handed on."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from radwright.data.files import output_errors
from radwright.errors import RadwrightError
from radwright.training.parent import die_with_parent

INTERRUPTED = 130
"""Exit status of a command that stopped on Ctrl-C and can be resumed."""


def as_typed(arguments: Sequence[str]) -> str:
    """The command as one would type it."""
    return shlex.join(["radwright", *arguments])


def run_command(arguments: Sequence[str], *, log: Path, error: type[RadwrightError]) -> None:
    """Run ``python -m radwright ...`` to its end.

    Several processes of a training run start their program anew, so training needs a program that does nothing else.

    Args:
        arguments: the command's own, its name first.
        log: file that the command's output is appended to.
        error: raised when the command fails.

    Raises:
        error: with the command's own message.
        KeyboardInterrupt: it was asked to stop, or we were; it has saved what it needs to go on.
        OutputError: the log cannot be written.
    """
    with output_errors(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        stream = log.open("ab", buffering=0)
    with stream:
        begin = stream.tell()
        stream.write(f"$ {as_typed(arguments)}\n".encode())
        process = subprocess.Popen(
            [sys.executable, "-m", "radwright", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            # Killed without a chance to say so, we leave no training behind that a second call would meet.
            preexec_fn=partial(die_with_parent, signal.SIGTERM) if sys.platform == "linux" else None,
        )
        try:
            status = process.wait()
        except BaseException:
            process.terminate()  # in a terminal Ctrl-C reached it already: a second wish to stop changes nothing
            process.wait()
            raise
    if status in {INTERRUPTED, -signal.SIGTERM, -signal.SIGINT}:
        raise KeyboardInterrupt
    if status:
        raise error(f"{_message(log, begin) or f'exit status {status}'} (in `{arguments[0]}`; its output: {log})")


def _message(log: Path, begin: int) -> str:
    """What a command said went wrong: its line ``error: ...``, or else its last line; from byte ``begin`` on."""
    with log.open("rb") as stream:
        stream.seek(begin)
        lines = stream.read().decode(errors="replace").strip().splitlines()[1:]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (said or [line.strip() for line in lines] or [""])[-1]
