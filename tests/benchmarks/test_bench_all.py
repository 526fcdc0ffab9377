"""The list of all benchmarks names scripts that are there, and the runner tells what failed and goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import bench

    return bench


def test_every_benchmark_is_a_script(bench: Any) -> None:
    names = [each.name for each in bench.BENCHMARKS]
    assert len(names) == len(set(names))
    for each in bench.BENCHMARKS:
        assert (BENCHMARKS / each.command[0]).is_file(), each.name


def test_a_failure_is_told_the_others_go_on_and_what_was_done_is_not_done_again(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "broken.py").write_text("import sys\nprint('half')\nsys.exit(3)\n", encoding="utf-8")
    count = "import sys\nfile = open(sys.argv[1] + '/runs', 'a')\nfile.write('x')\nprint('whole')\n"
    (scripts / "fine.py").write_text(count, encoding="utf-8")
    monkeypatch.setattr(bench, "HERE", scripts)
    each = [
        bench.Benchmark("broken", "?", ("broken.py",), 1),
        bench.Benchmark("fine", "?", ("fine.py", bench.FOLDER), 1),
    ]
    monkeypatch.setattr(bench, "BENCHMARKS", each)
    out = tmp_path / "bench"
    monkeypatch.setattr(sys, "argv", ["bench.py", "--out", str(out)])
    assert [bench.main(), bench.main()] == [1, 1]
    found = json.loads((out / "bench.json").read_text(encoding="utf-8"))["found"]
    assert (found["broken"]["rc"], found["fine"]["rc"]) == (3, 0)
    assert (out / "fine" / "runs").read_text(encoding="utf-8") == "x"
    assert (out / "broken.txt").read_text(encoding="utf-8") == "half\n"
    assert "**failed** (3)" in (out / "bench.md").read_text(encoding="utf-8")
    assert "done on this commit already" in capsys.readouterr().out
