"""The ablation of CMCRL: one pre-training, then fine-tunings of equal budget with the causal modules on and off.

Every part is a ``radwright`` command that can be repeated by hand, with a recipe of its own in ``DIR/recipes``; a part
that an earlier call finished is not done again.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from radwright.data.files import output_errors, write_text
from radwright.data.store import REPORTS, PreparedStore
from radwright.errors import OutputError, ScoringError, TrainingError
from radwright.evaluation.conventions import find_convention
from radwright.evaluation.reports import read_reports
from radwright.runs.ablation_recipes import (
    RADCARE,
    SCRATCH,
    AblationConfig,
    Derivation,
    Part,
    all_systems,
    choose_systems,
)
from radwright.runs.ablation_table import BASELINE, WITHOUT_RADCARE, Row, Table, write_table
from radwright.runs.commands import run_command
from radwright.runs.finished import fingerprint, finished_stages, in_words, keep_drafts_of
from radwright.runs.preflight import check_recipe
from radwright.runs.provenance import provenance
from radwright.runs.recipe import Recipe
from radwright.runs.training import BEST, RECIPE_FILE, STAGES, check_folder

START_FILE = "radcare.json"


def run_ablation(config: AblationConfig, out: Path, *, say: Callable[[str], None] = lambda text: None) -> Table:
    """Train, draft and score every system; what an earlier call finished is not done again.

    ``out`` holds ``recipes/``, ``runs/``, ``drafts/``, ``scores/``, ``logs/``, and the result so far as
    ``ablation.json``, ``ablation.md`` and ``ablation.html``, rewritten after each system.

    Args:
        config: what is compared.
        out: folder for everything.
        say: told what happens.

    Raises:
        KeyboardInterrupt: stopped; the same call goes on from there.
        ConfigError, StoreError, ScoringError: the recipe, the store or the split cannot be used.
        OutputError: ``out`` holds runs of another recipe or of another pre-training.
        TrainingError: a command failed; its message and its log are named.
    """
    systems = choose_systems(config.systems)
    find_convention(config.convention)
    PreparedStore(config.store).indices(config.split)
    read_reports(config.store / REPORTS).reports(config.split)
    derivation = Derivation(config, out)
    wanted = [derivation.fine_tuning(system, seed) for seed in config.seeds for system in systems]
    names = {part.name for part in wanted}
    # What an earlier call with other systems or seeds finished under the same settings stands in the table, too.
    parts = wanted + [part for part in _finished(derivation) if part.name not in names]
    parts.sort(key=lambda part: part.seed)
    _refuse_lost_rows(parts, config, out)
    return _Ablation(config, derivation, say).run(parts)


def _refuse_lost_rows(parts: Sequence[Part], config: AblationConfig, out: Path) -> None:
    """A row of the folder's table whose run is still there is never dropped in silence.

    Raises:
        OutputError: these settings would not have made that run.
    """
    path = out / "ablation.json"
    if not path.exists():
        return
    table = json.loads(path.read_text(encoding="utf-8"))
    names = {part.name for part in parts}
    rows = [f"{row['system']}-{row['seed']}" for row in table["rows"]]
    if lost := [name for name in rows if name not in names and (out / "runs" / name).is_dir()]:
        before, now = table["settings"], json.loads(json.dumps(config.plain()))
        changed = [f"{key}: {before[key]!r} -> {now[key]!r}" for key in now if before.get(key) != now[key]]
        raise OutputError(
            f"{out}: {', '.join(lost)} would leave the table, trained with other settings ({'; '.join(changed)}). "
            "Choose another --out"
        )


def _finished(derivation: Derivation) -> list[Part]:
    """Fine-tunings in the folder that these settings would not train any further."""
    found = []
    for system in all_systems():
        for folder in sorted((derivation.out / "runs").glob(f"{system.name}-*")):
            seed = folder.name.removeprefix(f"{system.name}-")
            if seed.isdigit():
                part = derivation.fine_tuning(system, int(seed))
                if finished_stages(folder, part.recipe) is not None:
                    found.append(part)
    return found


class _Ablation:
    """Goes through the parts one after the other."""

    def __init__(self, config: AblationConfig, derivation: Derivation, say: Callable[[str], None]) -> None:
        self.config, self.derivation, self.say = config, derivation, say
        self.out = derivation.out

    def run(self, parts: Sequence[Part]) -> Table:
        first = [self.derivation.pretraining()] if self._needs_pretraining(parts) else []
        trainings = [*first, *parts]
        pending = [part for part in trainings if finished_stages(self.derivation.run_of(part), part.recipe) is None]
        for part in {part.system: part for part in pending}.values():
            check_recipe(part.recipe)
        pretraining: dict[str, Any] | None = None
        rows: list[Row] = []
        overhead_s: list[float] = []
        for place, part in enumerate(trainings, start=1):
            left = [other for other in pending if trainings.index(other) >= place - 1]
            self._announce(part, f"{place}/{len(trainings)}", left, overhead_s)
            began = time.monotonic()
            summaries = self._train(part)
            trained = time.monotonic()
            if part.system is None:
                pretraining = summaries
                self._keep_start()
                continue
            if part.system.pretrained and not first:
                self._keep_start()
            row = self._judge(part, summaries, parts)
            rows.append(row)
            if part in pending:
                overhead_s.append(time.monotonic() - trained)
            facts = provenance() | {"command": shlex.join(sys.argv)}
            table = Table(self.config.plain(), facts, tuple(rows), pretraining, num_planned=len(parts))
            write_table(self.out, table)
            self.say(f"  {row.summary()}" + (f" ({in_words(time.monotonic() - began)})" if part in pending else ""))
        return table

    def _needs_pretraining(self, parts: Sequence[Part]) -> bool:
        return self.derivation.has_pretraining and any(part.system and part.system.pretrained for part in parts)

    def _announce(self, part: Part, place: str, left: Sequence[Part], overhead_s: Sequence[float]) -> None:
        """Which part, how many there are, and how long all of it will take at most."""
        if part not in left:
            self.say(f"{place} {part.name}: trained before")
            return
        limits = [sum(stage.train.max_minutes or 0.0 for stage in other.recipe.stages) for other in left]
        rest_s = 60 * sum(limits) + len(left) * (sum(overhead_s) / len(overhead_s) if overhead_s else 0.0)
        self.say(
            f"{place} {part.name}: training for at most {limits[0]:g} min; {in_words(rest_s)} left for all, at most"
        )

    def _train(self, part: Part) -> dict[str, Any]:
        """Summaries of a part's stages, trained where it is not yet."""
        run = self.derivation.run_of(part)
        done = finished_stages(run, part.recipe)
        if done is not None:
            return done
        check_folder(run, part.recipe)
        _refuse_lessin_words(run, part.recipe)
        self.derivation.write(part)
        run_command(self.derivation.training(part), log=self.out / "logs" / f"{part.name}.log", error=TrainingError)
        done = finished_stages(run, part.recipe)
        if done is None:
            raise TrainingError(f"{run}: training ended before its last step and before its time limit")
        return done

    def _keep_start(self) -> None:
        """Write down which weights the fine-tunings start from.

        Raises:
            OutputError: some have started from others.
        """
        path = self.out / START_FILE
        now = {"checkpoint": str(self.derivation.start), "weights": fingerprint(self.derivation.start)}
        begun = sorted((self.out / "runs").glob(f"*-{RADCARE}-*"))
        if path.exists() and json.loads(path.read_text(encoding="utf-8"))["weights"] != now["weights"] and begun:
            raise OutputError(
                f"{self.derivation.start}: holds other weights than those that {', '.join(run.name for run in begun)} "
                "started from; remove these runs, or choose another --out"
            )
        write_text(path, json.dumps(now, indent=1) + "\n")

    def _judge(self, part: Part, summaries: Mapping[str, Any], parts: Sequence[Part]) -> Row:
        """Draft the split and score the drafts, beside those of the systems that this one is compared with."""
        assert part.system is not None
        drafts = self._draft(part)
        others = {BASELINE: f"baseline-{SCRATCH}-{part.seed}"}
        if part.system.pretrained:
            others[WITHOUT_RADCARE] = f"{part.system.kind}-{SCRATCH}-{part.seed}"
        present = {other.name for other in parts} - {part.name}
        others = {label: name for label, name in others.items() if name in present}
        scores = self._score(part, drafts, sorted(set(others.values())))
        return Row.of(part.system, part.seed, list(summaries.values()), scores, others)

    def _draft(self, part: Part) -> Path:
        """Drafts of the split by the part's best weights; those of other weights are made anew."""
        best = self.derivation.run_of(part) / BEST
        path = self.out / "drafts" / self.config.split / f"{part.name}.jsonl"
        keep_drafts_of(best, path)
        if not path.exists():
            threads = [] if self.config.threads is None else ["--threads", str(self.config.threads)]
            command = ["generate", str(best), str(self.config.store), "--split", self.config.split, "--out", str(path)]
            run_command([*command, *threads], log=self.out / "logs" / f"{part.name}.log", error=ScoringError)
        return path

    def _score(self, part: Part, drafts: Path, others: Sequence[str]) -> dict[str, Any]:
        """Scores as ``radwright score --json`` writes them; made anew where drafts that they depend on are newer."""
        path = self.out / "scores" / self.config.split / f"{part.name}.json"
        against = [drafts.with_name(f"{name}.jsonl") for name in others]
        reports = str(self.config.store / REPORTS)
        kept = _read_scores(path, self.config.convention, others, [drafts, *against])
        if kept is not None:
            return kept
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        command = ["score", str(drafts), "--references", reports, "--split", self.config.split, "--train", reports]
        command += ["--constants-from", reports, "--convention", self.config.convention, "--json", str(path)]
        command += [text for other in against for text in ("--against", str(other))]
        run_command(command, log=self.out / "logs" / f"{part.name}.log", error=ScoringError)
        scores: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return scores


def _refuse_lessin_words(run: Path, recipe: Recipe) -> None:
    """A run that has had more time than the others will get spoils the comparison.

    Raises:
        OutputError: it has.
    """
    for stage in recipe.stages:
        path, limit = run / STAGES / stage.name / "summary.json", stage.train.max_minutes
        if not path.is_file() or limit is None:
            continue
        before = yaml.safe_load((run / RECIPE_FILE).read_text(encoding="utf-8"))
        (then,) = (other["train"]["max_minutes"] for other in before["stages"] if other["name"] == stage.name)
        elapsed_s = json.loads(path.read_text(encoding="utf-8"))["elapsed_s"]
        if (then is None or then > limit) and elapsed_s > 60 * limit:
            raise OutputError(
                f"{run}: was trained for {elapsed_s / 60:.1f} minutes already, more than the {limit:g} of this call; "
                "give at least as many, or choose another --out"
            )


def _read_scores(
    path: Path, convention: str, others: Sequence[str], made_from: Sequence[Path]
) -> dict[str, Any] | None:
    if not path.is_file() or any(source.stat().st_mtime_ns > path.stat().st_mtime_ns for source in made_from):
        return None
    scores: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    fits = scores["signature"].startswith(f"convention={convention}|") and set(others) <= scores["differences"].keys()
    return scores if fits else None
