"""A PACS side in a process of its own that kills itself at a step: ``pacs_driver.py DIR CONFIG.yaml STEP``.

Not part of the product: the steps are put around its parts from outside. Needs the folders of tests on PYTHONPATH.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import types
from collections.abc import Callable
from typing import Any

from pacs_cases import tiny_report

from radwright.cli.main import main
from radwright.serving.blobs import Blobs
from radwright.serving.outbox import Outbox
from radwright.serving.pacs import network, service
from radwright.serving.studies import Studies


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def around(owner: Any, name: str, *, before: Callable[..., None] | None, after: Callable[..., None] | None) -> None:
    whole = getattr(owner, name)

    def wrapped(*arguments: Any, **values: Any) -> Any:
        if before:
            before()
        found = whole(*arguments, **values)
        if after:
            after()
        return found

    setattr(owner, name, wrapped)


STEPS: dict[str, tuple[Any, str, bool]] = {
    "before the bytes": (Blobs, "put", True),
    "in the bytes": (os, "fsync", True),
    "after the bytes": (Blobs, "put", False),
    "after the row": (Studies, "receive", False),
    "after the answer": (network.StorageServer, "_on_store", False),
    "completion": (Studies, "complete_quiet", False),
    "before sending": (service, "deliver", True),
    "after sending": (service, "deliver", False),
    "after the note": (Outbox, "sent", False),
}


def run(folder: str, config: str, step: str) -> None:
    for name in ("radwright.serving.out", "radwright.serving.out.sr"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["radwright.serving.out.sr"].structured_report = tiny_report  # type: ignore[attr-defined]
    if step == "slow":
        around(Studies, "receive", before=lambda: time.sleep(1.5), after=None)
    elif step:
        owner, name, is_before = STEPS[step]
        around(owner, name, before=die if is_before else None, after=None if is_before else die)
    main(["listen", "--data", folder, config, "--verbose", "--send-unsigned"])


if __name__ == "__main__":
    run(*sys.argv[1:])
