"""The page on decoding: its code runs."""

from __future__ import annotations

import re
from pathlib import Path


def test_code_of_the_page_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "decoding.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/decoding.md", "exec"), {"__name__": "page"})
