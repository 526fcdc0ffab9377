"""The result of a confounding benchmark: what may be called a difference, who has learnt nothing, and that it fits."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from radwright.evaluation.stress import BoolArray, Pairs, measure_stress
from radwright.runs.recipe import packaged
from radwright.runs.stress_page import write_results
from radwright.runs.stress_recipe import read_stress
from radwright.runs.stress_table import Row, StressTable, markdown, text

NUM = 60
PRESENT = np.arange(NUM) % 2 == 0
SETS = {"equal": PRESENT, "zero": np.arange(NUM) % 4 < 2, "reversed": ~PRESENT}
NOBODY = np.zeros(NUM, dtype=bool)
FACTS = {"command": "radwright stress", "radwright": "0", "commit": None, "machine": "a machine"}
BOLD = re.compile(r"\*\*[−.\d]")


def drafts(kind: str, seed: int) -> Pairs:
    """Drafts of a system that sees the finding, copies the confounder, or does neither; each seed errs elsewhere."""
    asserted: Mapping[str, tuple[BoolArray, BoolArray]] = {
        "sees": (PRESENT, PRESENT),
        "copies": (~NOBODY, NOBODY),
        "silent": (NOBODY, NOBODY),
        "always": (~NOBODY, ~NOBODY),
    }
    with_N, without_N = (said.copy() for said in asserted[kind])
    if kind in ("sees", "copies"):
        with_N[seed] ^= True
    return Pairs(PRESENT, with_N, without_N, SETS)


def result(systems: Mapping[str, Sequence[str]], *, rhos: str = "[0.9]", planned: int | None = None) -> StressTable:
    """A table of made-up drafts.

    Args:
        systems: name -> what its training of each seed became.
        rhos: strengths, all alike.
        planned: rows there will be.
    """
    seeds = [*range(max(map(len, systems.values())))]
    changes = [f"{{{', '.join(f'{json.dumps(name)}: {{training: baseline}}' for name in systems)}}}"]
    config = read_stress(
        packaged("stress/small.yaml"),
        [f"systems={changes[0]}", f"rhos={rhos}", f"seeds={seeds if planned is None else [0, 1, 2]}"],
    )
    first, rows = next(iter(systems)), []
    for rho in config.rhos:
        for name, kinds in systems.items():
            for seed, kind in enumerate(kinds):
                reference = None if name == first else drafts(systems[first][seed], seed + 7)
                for scenario in config.scenarios:
                    own = drafts(kind, seed + (7 if name == first else 0))
                    scores, differences = measure_stress(own, reference, num_resamples=50)
                    rows.append(Row(name, scenario.key, rho, seed, NUM, 0, scores, differences))
    cost = {"seconds": 60.0, "cpu_seconds": 60.0}
    return StressTable(config, FACTS, tuple(rows), planned or len(rows), cost, {})


def page(table: StressTable, folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    write_results(folder, table)
    return (folder / "stress.html").read_text(encoding="utf-8")


def test_a_difference_is_bold_with_several_seeds_only(tmp_path: Path) -> None:
    several = result({"a": ["sees"] * 3, "b": ["copies"] * 3})
    assert len(BOLD.findall(markdown(several))) == 3
    assert page(several, tmp_path).count("<td><strong>") == 3
    one = result({"a": ["sees"], "b": ["copies"]})
    assert not BOLD.search(markdown(one))
    assert "<td><strong>" not in page(one, tmp_path)
    for said in (markdown(one), text(one), page(one, tmp_path)):
        assert "know nothing of another training" in " ".join(said.split())
    assert "know nothing of another training" not in text(several)
    assert "Bold:" in markdown(several)


@pytest.mark.parametrize("kind", ["silent", "always"])
@pytest.mark.parametrize("place", ["first", "second", "one seed of the first", "one seed of the second"])
def test_who_has_learnt_nothing_is_neither_better_nor_worse(kind: str, place: str, tmp_path: Path) -> None:
    kinds = [kind] * 3 if "seed" not in place else ["copies", kind, "copies"]
    systems = {"a": kinds, "b": ["copies"] * 3} if "first" in place else {"a": ["copies"] * 3, "b": kinds}
    table = result(systems)
    mark = "not learnt in 1 of 3 seeds" if "seed" in place else "not learnt"
    assert not BOLD.search(markdown(table))
    assert f"({mark})" in markdown(table)
    assert all(said.count("not compared") == 3 for said in (markdown(table), text(table)))
    html = page(table, tmp_path)
    assert "<td><strong>" not in html
    assert f"({mark})" in html
    assert 'class="dot open"' in html
    for said in (markdown(table), text(table), html):
        assert said.index("Not learnt. Effusion: a" if "first" in place else "Not learnt. Effusion: b") < said.index(
            "acemaker beside effusion"
        )
    learnt = {row["system"]: row["learnt"] for row in json.loads((tmp_path / "stress.json").read_text())["means"]}
    assert learnt == {"a": "first" not in place, "b": "second" not in place}


def test_the_alarm_is_short_where_nobody_has_learnt() -> None:
    assert "Effusion: every system, at every rho." in " ".join(text(result({"a": ["silent"], "b": ["always"]})).split())
    assert "Effusion: b (rho 0.9)." in " ".join(text(result({"a": ["sees"], "b": ["always"]})).split())


def test_who_copies_the_confounder_is_no_silent_system(tmp_path: Path) -> None:
    table = result({"a": ["sees"] * 3, "b": ["copies"] * 3})
    assert "(not learnt" not in markdown(table)
    assert "Not learnt. Effusion" not in text(table)
    html = page(table, tmp_path)
    assert 'class="dot open"' not in html
    assert "(not learnt" not in html


def test_the_page_holds_the_whole_table(tmp_path: Path) -> None:
    table = result({"a": ["sees"] * 3, "b": ["copies"] * 3})
    html = page(table, tmp_path)
    cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<t[dh][ >].*?</t[dh]>", html)]
    for line in markdown(table).splitlines():
        if line.startswith("| ") and "---" not in line:
            for cell in line.strip("| ").split(" | "):
                assert cell.strip("*").replace("'", "&#x27;").strip() in cells


@pytest.mark.parametrize("kinds", [["sees"], ["sees", "silent", "copies"]])
def test_the_text_fits_a_terminal_of_100_columns(kinds: list[str]) -> None:
    table = result(
        {"a": kinds, "a-system-of-a-very-long-name-that-never-ends-" * 2 + "x": kinds}, rhos="[0, 0.333, 0.9]"
    )
    lines = text(table).splitlines()
    assert max(map(len, lines)) <= 100
    assert any("…" in line for line in lines)
    assert sum("F1:" in line for line in lines) == 1


def test_bars_that_pass_one_end_at_the_axis_and_the_plot_says_what_they_are(tmp_path: Path) -> None:
    table = result({"a": ["sees", "sees", "copies"], "b": ["copies", "copies", "sees"]}, rhos="[0, 0.9]")
    html = page(table, tmp_path)
    whiskers = re.findall(r'y1="([\d.−-]+)" y2="([\d.−-]+)" class="whisker', html)
    assert whiskers
    assert all(10 <= float(end) <= 162 for pair in whiskers for end in pair)
    plots = re.findall(r"<figure.*?</figure>", html)
    assert len(plots) == 3 * 7
    assert all("Bars: 95 % interval of the mean over 3 seeds" in plot for plot in plots)
    # Neighbours can be compared: the same labels on all axes of a kind.
    for kind in ("dots", "curve-plot series"):
        axes = {
            tuple(re.findall(r'<text x="[^"]*" y="[^"]*" text-anchor="(?:end|start)">([^<]*)<', plot))
            for plot in plots
            if f'class="{kind}"' in plot
        }
        assert len(axes) == 1, axes
        assert all(axes)


def test_an_unfinished_table_says_what_its_bars_are(tmp_path: Path) -> None:
    table = result({"a": ["sees"], "b": ["copies"]}, planned=18)
    assert not BOLD.search(markdown(table))
    assert "only one seed is there yet" in markdown(table)
    assert "of one seed so far, over studies" in page(table, tmp_path)
