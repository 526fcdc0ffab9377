"""The confounding benchmark: plants confounders, trains with them, drafts test studies with and without, measures.

Trainings and draftings are ``radwright`` commands that can be repeated by hand, several side by side; what an earlier
call finished is not done again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from radwright.data.files import read_lines, write_lines
from radwright.data.phantom import PhantomConfig, finding_labels
from radwright.data.prepare import PrepareConfig, prepare
from radwright.data.sources.phantom import DEFAULT, version_name
from radwright.errors import RadwrightError, ScoringError, TrainingError
from radwright.evaluation.stress import Pairs, measure_stress
from radwright.runs.commands import Command, run_commands
from radwright.runs.finished import finished_stages, in_words, keep_drafts_of
from radwright.runs.outputs import claimed, write_json
from radwright.runs.preflight import check_recipe
from radwright.runs.provenance import provenance
from radwright.runs.stress_page import write_results
from radwright.runs.stress_recipe import (
    TEST,
    WITH,
    WITHOUT,
    Part,
    Scenario,
    StressConfig,
    StressFolder,
    part_name,
    version_of,
)
from radwright.runs.stress_table import Row, StressTable
from radwright.runs.training import BEST, check_folder

COST = "cost.json"


def run_stress(
    config: StressConfig,
    out: Path,
    *,
    jobs: int | None = None,
    threads: int = 1,
    say: Callable[[str], None] = lambda text: None,
) -> StressTable:
    """Prepare, train, draft and measure; what an earlier call finished is not done again.

    ``out`` holds ``stores/``, ``recipes/``, ``runs/``, ``drafts/``, ``logs/``, and the result so far as
    ``stress.json``, ``stress.md`` and ``stress.html``, rewritten after each system.

    Args:
        config: what is planted, trained and compared.
        out: folder for everything.
        jobs: trainings and draftings at once; None: one per core that ``threads`` leave, at most four.
        threads: CPU threads of each.
        say: told what happens.

    Raises:
        KeyboardInterrupt: stopped; the same call goes on from there.
        ConfigError: a recipe cannot be used.
        OutputError: ``out`` holds another stress run or something else.
        TrainingError, ScoringError: a command failed; its message and its log are named. The others were done.
    """
    folder = StressFolder(config, out, threads=threads)
    parts = folder.parts()
    for part in {part.training: part for part in parts}.values():
        check_recipe(part.recipe)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with claimed(out, "stress", json.loads(json.dumps(_identity(config)))):
        cost = _Cost(folder.out)
        with cost.kept():
            _prepare(folder, workers=cores, say=say)
            return _Stress(folder, parts, cost, say).run(jobs or max(1, min(4, cores // threads)))


def _identity(config: StressConfig) -> dict[str, Any]:
    """What decides the results: the recipes that are named go in as they read, wherever they lie."""
    values = config.plain()
    for training in values["trainings"].values():
        training["recipe"] = Path(training["recipe"]).read_text(encoding="utf-8")
    return values


def _prepare(folder: StressFolder, *, workers: int, say: Callable[[str], None]) -> None:
    """Make the studies: one population per strength to learn from, and the versions of the test studies."""
    config = folder.config
    populations = {folder.store_of(rho): config.trained_population(rho) for rho in config.rhos}
    populations[folder.tested] = config.tested_population()
    for path, population in populations.items():
        summary = prepare(Path(DEFAULT), path, _prepared(population, workers))
        skipped = sum(split.get("skipped", 0) for split in summary["splits"].values() if isinstance(split, dict))
        say(f"studies: {path.name}" + (f", {skipped} skipped" if skipped else ""))
    if begun := list(config.beginnings()):
        write_lines(folder.beginnings, begun)


def _prepared(population: PhantomConfig, workers: int) -> PrepareConfig:
    return PrepareConfig(format="phantom", options=population.plain(), workers=workers)


class _Stress:
    """Goes through the trainings and draftings, and keeps the table up to date."""

    def __init__(self, folder: StressFolder, parts: list[Part], cost: _Cost, say: Callable[[str], None]) -> None:
        self.folder, self.cost, self.say = folder, cost, say
        self.parts = {part.name: part for part in parts}
        self.truth = {scenario.key: folder.config.test_sets(scenario) for scenario in folder.config.scenarios}
        self.ended = 0

    def run(self, jobs: int) -> StressTable:
        commands = [*self._commands()]
        self.say(f"{len(commands)} trainings and draftings to do, {jobs} side by side")
        started, failure = time.monotonic(), None

        def on_end(command: Command) -> None:
            self.ended += 1
            if command.arguments[0] == "train":
                self._check_trained(self.parts[command.name])
            left_s = (time.monotonic() - started) / self.ended * (len(commands) - self.ended)
            self.say(f"{self.ended}/{len(commands)} {command.name}; about {in_words(left_s)} left")
            if command.arguments[0] == "generate":
                self.table(write=True)

        try:
            run_commands(commands, jobs=jobs, on_end=on_end)
        except RadwrightError as error:
            failure = error
        table = self.table(write=True)
        if failure is not None:
            raise failure
        return table

    def _commands(self) -> Iterator[Command]:
        """What is left to do: each training, then at once its draftings: the table grows early on."""
        for part in self.parts.values():
            training = self._training(part)
            if training is not None:
                yield training
            yield from self._draftings(part, is_trained=training is None)

    def _training(self, part: Part) -> Command | None:
        run = self.folder.run_of(part.name)
        if finished_stages(run, part.recipe) is not None:
            return None
        check_folder(run, part.recipe)
        self.folder.write(part)
        after = () if part.start is None or self._is_trained(part.start) else (part.start,)
        return Command(part.name, self.folder.training(part), self.folder.log_of(part.name), TrainingError, after)

    def _is_trained(self, name: str) -> bool:
        return finished_stages(self.folder.run_of(name), self.parts[name].recipe) is not None

    def _check_trained(self, part: Part) -> None:
        if not self._is_trained(part.name):
            run = self.folder.run_of(part.name)
            raise TrainingError(f"{run}: training ended before its last step and before its time limit")
        for name, system in self.folder.config.systems.items():
            if system.training == part.training:
                keep_drafts_of(self.folder.run_of(part.name) / BEST, self._drafts(name, part))
                self._drafts(name, part).unlink(missing_ok=True)

    def _drafts(self, system: str, part: Part) -> Path:
        return self.folder.drafts_of(system, part.rho, part.seed)

    def _draftings(self, part: Part, *, is_trained: bool) -> Iterator[Command]:
        for name, system in self.folder.config.systems.items():
            if system.training != part.training:
                continue
            if is_trained:
                keep_drafts_of(self.folder.run_of(part.name) / BEST, self._drafts(name, part))
                if self._drafts(name, part).exists():
                    continue
            after = () if is_trained else (part.name,)
            own = part_name(name, part.rho, part.seed)
            log = self.folder.log_of(own)
            yield Command(f"drafts of {own}", self.folder.drafting(name, part), log, ScoringError, after)

    def table(self, *, write: bool) -> StressTable:
        """The result of everything that is drafted by now."""
        config = self.folder.config
        rows: list[Row] = []
        first = next(iter(config.systems))
        for seed in config.seeds:
            for rho in config.rhos:
                reference = self._asserted(first, rho, seed)
                for name in config.systems:
                    asserted = self._asserted(name, rho, seed)
                    if asserted is not None:
                        beside = reference if name != first else None
                        rows += [
                            self._row(name, scenario, rho, seed, asserted, beside) for scenario in config.scenarios
                        ]
        planned = len(config.seeds) * len(config.rhos) * len(config.systems) * len(config.scenarios)
        table = StressTable(config, provenance(), tuple(rows), planned, self.cost.plain(), self._learnt())
        if write:
            write_results(self.folder.out, table)
        return table

    def _asserted(self, system: str, rho: float, seed: int) -> dict[str, dict[str, bool]] | None:
        """Study version -> finding -> whether its draft asserts it; None where nothing is drafted yet."""
        path = self.folder.drafts_of(system, rho, seed)
        if not path.exists():
            return None
        return {row["study_id"]: finding_labels(row["report"]) for row in read_lines(path)}

    def _row(
        self,
        system: str,
        scenario: Scenario,
        rho: float,
        seed: int,
        asserted: Mapping[str, Mapping[str, bool]],
        reference: Mapping[str, Mapping[str, bool]] | None,
    ) -> Row:
        """Measure one system in one scenario, over the studies of which it and the reference have both drafts."""
        present, sets = self.truth[scenario.key]
        ids = [
            tuple(version_name(TEST, index, version_of(scenario, state)) for state in (WITH, WITHOUT))
            for index in range(len(present))
        ]
        drafted = [asserted, *([] if reference is None else [reference])]
        kept = [index for index, pair in enumerate(ids) if all(name in one for one in drafted for name in pair)]
        if not kept:
            raise ScoringError(f"{system}: no test study has both drafts; see {self.folder.out / 'drafts'}")

        def pairs(drafts: Mapping[str, Mapping[str, bool]]) -> Pairs:
            said = np.array([[drafts[name][scenario.cause] for name in ids[index]] for index in kept], dtype=bool)
            chosen = {name: np.array(values, dtype=bool)[kept] for name, values in sets.items()}
            return Pairs(np.array(present, dtype=bool)[kept], said[:, 0], said[:, 1], chosen)

        scores, differences = measure_stress(pairs(asserted), None if reference is None else pairs(reference))
        return Row(system, scenario.key, rho, seed, len(kept), len(present) - len(kept), scores, differences)

    def _learnt(self) -> dict[str, Any]:
        """Training -> what it took: steps, epochs, minutes, weights, gates, per stage."""
        learnt = {}
        for name, part in self.parts.items():
            summaries = finished_stages(self.folder.run_of(name), part.recipe)
            if summaries is not None:
                keys = ("steps", "epochs", "elapsed_s", "stopped", "best_step", "best_score", "num_trained_weights")
                learnt[name] = {stage: {key: summary[key] for key in keys} for stage, summary in summaries.items()}
        return learnt


class _Cost:
    """Wall-clock and CPU seconds of this call and its commands, on top of those of earlier calls.

    Args:
        out: the run's folder, where they are kept.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / COST
        self.before = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        self.began, self.cpu_s = time.monotonic(), _cpu_s()

    def plain(self) -> dict[str, float]:
        """Seconds by now; CPU seconds of commands that have ended."""
        now = {"seconds": time.monotonic() - self.began, "cpu_seconds": _cpu_s() - self.cpu_s}
        return {name: round(self.before.get(name, 0.0) + value, 1) for name, value in now.items()}

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Write them down, however the work inside ends."""
        try:
            yield
        finally:
            write_json(self.path, self.plain())


def _cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
