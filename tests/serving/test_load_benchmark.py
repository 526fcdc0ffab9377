"""The benchmark of the reading room under load runs and counts; no clock is looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from trained import trained_checkpoint

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "serving.py"


def test_a_few_clients_get_their_drafts(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARK), str(trained_checkpoint(tmp_path)), "--json", str(tmp_path / "load.json")]
    options = ["--clients", "2", "--seconds", "2", "--warm-up", "0", "--size-px", "64"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [found] = json.loads((tmp_path / "load.json").read_text()).values()
    assert list(found["statuses"]) == ["201"]
    assert found["drafts_per_s"] > 0
