"""``radwright`` commands as programs of their own: their output in a log, their end with ours, Ctrl-C handed on."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from radwright.data.files import output_errors
from radwright.errors import RadwrightError
from radwright.training.parent import die_with_parent

INTERRUPTED = 130
"""Exit status of a command that stopped on Ctrl-C and can be resumed."""
_LOOK_S = 0.1
"""How often running commands are looked after."""


def as_typed(arguments: Sequence[str]) -> str:
    """The command as one would type it."""
    return shlex.join(["radwright", *arguments])


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a job of several.

    Attributes:
        name: unique in the job.
        arguments: the command's own, its name first.
        log: file that its output is appended to.
        error: raised when it fails.
        after: names of the commands that must have ended well before.
    """

    name: str
    arguments: Sequence[str]
    log: Path
    error: type[RadwrightError]
    after: tuple[str, ...] = ()


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
    running = _Running(Command("", arguments, log, error))
    try:
        running.process.wait()
    except BaseException:
        running.stop()
        raise
    running.check()


def run_commands(commands: Sequence[Command], *, jobs: int, on_end: Callable[[Command], None]) -> None:
    """Run commands side by side, in their order as far as what they come after allows.

    One that fails stops none but those that come after it.

    Args:
        commands: what to run; none may come after one that is not among them.
        jobs: how many at once.
        on_end: called after each that ended well, before others are waited for.

    Raises:
        RadwrightError: of the first that failed, when nothing more can be done.
        KeyboardInterrupt: one was asked to stop, or we were; all have saved what they need to go on.
        OutputError: a log cannot be written.
    """
    waiting, done = list(commands), set[str]()
    running: list[_Running] = []
    failed: list[RadwrightError] = []
    try:
        while True:
            ready = [command for command in waiting if done.issuperset(command.after)]
            for command in ready[: jobs - len(running)]:
                waiting.remove(command)
                running.append(_Running(command))
            if not running:
                break
            time.sleep(_LOOK_S)
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                try:
                    one.check()
                except RadwrightError as error:
                    failed.append(error)
                    continue
                done.add(one.command.name)
                on_end(one.command)
    except BaseException:
        for one in running:
            one.process.terminate()
        for one in running:
            one.stop()
        raise
    if failed:
        others = f" ({len(failed) - 1} more failed)" if len(failed) > 1 else ""
        raise type(failed[0])(f"{failed[0]}{others}")


class _Running:
    """A command that was started."""

    def __init__(self, command: Command) -> None:
        self.command = command
        with output_errors(command.log):
            command.log.parent.mkdir(parents=True, exist_ok=True)
            stream = command.log.open("ab", buffering=0)
        with stream:
            self.begin = stream.tell()
            stream.write(f"$ {as_typed(command.arguments)}\n".encode())
            self.process = subprocess.Popen(
                [sys.executable, "-m", "radwright", *command.arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                # Killed without a chance to say so, we leave no training behind that a second call would meet.
                preexec_fn=partial(die_with_parent, signal.SIGTERM) if sys.platform == "linux" else None,
            )

    def stop(self) -> None:
        """Ask it to stop, and wait until it has."""
        self.process.terminate()  # in a terminal Ctrl-C reached it already: a second wish to stop changes nothing
        self.process.wait()

    def check(self) -> None:
        """Whether it ended well; see ``run_command`` for what is raised."""
        status, log = self.process.returncode, self.command.log
        if status in {INTERRUPTED, -signal.SIGTERM, -signal.SIGINT}:
            raise KeyboardInterrupt
        if status:
            said = _message(log, self.begin) or f"exit status {status}"
            raise self.command.error(f"{said} (in `{self.command.arguments[0]}`; its output: {log})")


def _message(log: Path, begin: int) -> str:
    """What a command said went wrong: its line ``error: ...``, or else its last line; from byte ``begin`` on."""
    with log.open("rb") as stream:
        stream.seek(begin)
        lines = stream.read().decode(errors="replace").strip().splitlines()[1:]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (said or [line.strip() for line in lines] or [""])[-1]
