"""A study costs ``prepare`` the same in a large job as in a small one: counted in function calls, without a clock."""

from __future__ import annotations

import cProfile
import csv
import pstats
from pathlib import Path
from typing import Any

from radwright.data.prepare import PrepareConfig, prepare


def num_calls(folder: Path, num_studies: int) -> int:
    """Function calls, Python's and its libraries', of preparing a table of studies."""
    with (folder / f"{num_studies}.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["study_id", "patient_id", "image", "findings"])
        rows.writerows([f"s{n}", f"p{n}", "0.png", "The lungs are clear."] for n in range(num_studies))
    profile = cProfile.Profile()
    profile.enable()
    prepare(folder / f"{num_studies}.csv", folder / f"out{num_studies}", PrepareConfig(format="table"))
    profile.disable()
    return sum(count for count, *_ in pstats.Stats(profile).stats.values())  # type: ignore[attr-defined]


def test_calls_grow_with_the_studies(tmp_path: Path, picture_bytes: Any) -> None:
    (tmp_path / "0.png").write_bytes(picture_bytes(0))
    num_calls(tmp_path, 10)  # libraries are loaded
    calls = {num: num_calls(tmp_path, num) for num in (100, 200, 800)}
    early, late = (calls[200] - calls[100]) / 100, (calls[800] - calls[200]) / 600
    assert abs(late / early - 1) < 0.01, f"{early:.0f} calls a study, then {late:.0f}"
