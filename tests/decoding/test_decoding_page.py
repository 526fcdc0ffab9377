"""The page on decoding: its code runs, and it names every setting."""

from __future__ import annotations

import re
from pathlib import Path

from radwright.decoding.config import Beam, Consensus, DecodingConfig, Greedy, Sampling

PAGE = (Path(__file__).parents[2] / "docs" / "decoding.md").read_text(encoding="utf-8")


def test_every_setting_is_on_the_page() -> None:
    known = [f"strategy.{name}" for config in (Greedy, Beam, Sampling, Consensus) for name in config.model_fields]
    table = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    for name in (*known, *(name for name in DecodingConfig.model_fields if name != "strategy")):
        assert re.search(rf"`({re.escape(name)}|{name.removeprefix('strategy.')})`", table), name


def test_code_of_the_page_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/decoding.md", "exec"), {"__name__": "page"})
