"""The whole way on synthetic radiographs: prepare, train, draft held-out studies, score, and a page to look at."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radwright.config import read_yaml
from radwright.data.files import atomic_file
from radwright.data.phantom import KINDS, finding_labels
from radwright.data.prepare import PrepareConfig, prepare
from radwright.data.store import REPORTS, PreparedStore
from radwright.errors import ConfigError, TrainingError, near, require
from radwright.evaluation import page
from radwright.evaluation.findings import FindingTable, finding_table
from radwright.evaluation.predict import draft_to_file
from radwright.evaluation.reports import read_reports
from radwright.evaluation.score import Evaluation, score
from radwright.runs.drafting import StoredStudies, open_predictor
from radwright.runs.provenance import provenance
from radwright.runs.recipe import Recipe, packaged
from radwright.runs.training import BEST, RECIPE_FILE, STAGES

HELD_OUT = "test"
NUM_SHOWN = 60


@dataclass(frozen=True, slots=True)
class DemoMethod:
    """What the demo can train.

    Attributes:
        recipe: file in ``recipes/quickstart``.
        network: what it is, for the page.
        needs: libraries of the extra ``learned``.
    """

    recipe: str
    network: str
    needs: tuple[str, ...] = ()


METHODS: Mapping[str, DemoMethod] = {
    "cmcrl": DemoMethod("phantom.yaml", "A small encoder-decoder"),
    "trrg": DemoMethod(
        "phantom_trrg.yaml", "A small language model told of disease clues", ("tokenizers", "transformers")
    ),
}


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo found.

    Attributes:
        page: the HTML page.
        evaluation: n-gram scores with intervals and trivial baselines.
        findings: what the drafts assert against what the phantom put into the images.
        cut_short: places of the stages that reached their time limit before their last step.
        seconds: phase -> wall-clock seconds.
    """

    page: Path
    evaluation: Evaluation
    findings: FindingTable
    cut_short: tuple[int, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "page": str(self.page),
            "findings": self.findings.plain(),
            "cut_short": list(self.cut_short),
            "scores": self.evaluation.plain(),
            "seconds": self.seconds,
        }


def run_demo(
    out: Path,
    *,
    method: str = "cmcrl",
    num_studies: int | None = None,
    overrides: tuple[str, ...] = (),
    threads: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> DemoResult:
    """Run the demo; a part that an earlier, interrupted call finished is not done again.

    Args:
        out: folder for everything.
        method: name in ``METHODS``.
        num_studies: train studies; None: as in the quickstart's population.
        overrides: changes of the recipe.
        threads: CPU threads; None: all cores.
        say: told what happens.

    Raises:
        ConfigError: no such method.
        MissingExtraError: the method needs an extra that is not installed.
        RadwrightError: see the parts.
    """
    if method not in METHODS:
        raise ConfigError(f"--method {method!r}{near(method, METHODS)}: the demo trains {' or '.join(METHODS)}")
    chosen = METHODS[method]
    for library in chosen.needs:
        require(library, extra="learned")
    seconds: dict[str, float] = {}
    clock = _Clock(seconds)
    studies = packaged("quickstart/phantom_studies.yaml")
    values = read_yaml(studies)
    counts = values["num_studies"] | ({} if num_studies is None else {"train": num_studies})
    say(f"1/5 making {sum(counts.values())} synthetic studies with reports")
    config = PrepareConfig(format="phantom", options={"num_studies": counts}, workers=_num_cores(threads))
    prepare(studies, out / "store", config)
    clock.lap("prepare")
    say(f"2/5 training from nothing: {chosen.network.lower()}")
    run = out / "run"
    recipe_path = packaged(f"quickstart/{chosen.recipe}")
    changes = [
        f"store={json.dumps(str(out / 'store'))}",
        *(
            f"stages.{number}.train.engine.processes={min(2, _num_cores(threads))}"
            for number in range(len(read_yaml(recipe_path)["stages"]))
        ),
        *overrides,
    ]
    summaries = _train(recipe_path, changes, run)
    recipe = Recipe.parse(read_yaml(run / RECIPE_FILE), where=str(run / RECIPE_FILE))
    clock.lap("train")
    say(f"3/5 drafting reports for {counts[HELD_OUT]} studies it has never seen")
    store = PreparedStore(out / "store")
    predictor = open_predictor(run / BEST, device="cpu", threads=threads, batch_size=32)
    drafts_path = out / f"drafts-{predictor.fingerprint[:12]}.jsonl"
    held_out = StoredStudies(store, store.indices(HELD_OUT))
    if not drafts_path.exists():
        identity = {"weights": predictor.fingerprint, "split": HELD_OUT}
        draft_to_file(predictor, (held_out[n] for n in range(len(held_out))), drafts_path, identity=identity)
    clock.lap("draft")
    say("4/5 scoring, beside reports that look at no image")
    rows = {row["study_id"]: row for row in map(json.loads, drafts_path.read_text(encoding="utf-8").splitlines())}
    references = read_reports(out / "store" / REPORTS)
    evaluation = score(
        {study_id: row["report"] for study_id, row in rows.items()},
        references.reports(HELD_OUT),
        train=references.reports("train"),
        constants_from=references.reports("tune"),
    )
    truth = {study.study_id: study for study in (held_out[n] for n in range(len(held_out)))}
    findings = finding_table(
        [finding_labels(row["report"]) for row in rows.values()],
        [_present(truth[study_id].extra["findings"]) for study_id in rows],
        KINDS,
    )
    clock.lap("score")
    say("5/5 laying out the page")
    path = out / "index.html"
    facts = {**_facts(recipe, summaries), "held-out studies": str(len(rows))}
    own = dict(zip(evaluation.study_ids, evaluation.study_rows, strict=True))
    shown = [
        page.DraftedStudy.of(
            truth[study_id],
            row,
            truth[study_id].section("findings"),
            {name: own[study_id][name] for name in ("finding_score", "cider", "rouge_l")},
        )
        for study_id, row in list(rows.items())[:NUM_SHOWN]
    ]
    stopped = [summaries.get(stage.name, {}).get("stopped") for stage in recipe.stages]
    cut_short = tuple(place for place, reason in enumerate(stopped) if reason == "time_limit")
    content = page.Page(
        title="Radwright quickstart: drafts for synthetic chest radiographs",
        statement=(
            f"{chosen.network}, trained from nothing on synthetic radiographs whose findings are known exactly, "
            f"drafted reports for {len(rows)} held-out studies."
            + (" Training was cut off by its time limit: a less busy machine learns more." if cut_short else "")
        ),
        facts=facts,
        seconds=seconds,
        scores=evaluation.plain(),
        findings=_page_table(findings),
        curve=page.Curve.read(run / STAGES / recipe.stages[-1].name / "metrics.jsonl"),
        studies=tuple(shown),
        shown=f"The first {len(shown)} of {len(rows)}." if len(shown) < len(rows) else "",
    )
    page.write_page(path, content)
    clock.lap("page")
    result = DemoResult(path, evaluation, findings, cut_short, seconds)
    with atomic_file(out / "result.json") as file:
        file.write((json.dumps(result.plain(), indent=1) + "\n").encode())
    return result


def _train(recipe: Path, changes: list[str], run: Path) -> dict[str, dict[str, Any]]:
    """Train as a program of its own: several processes start by running their program anew, which must not be the demo.

    Raises:
        TrainingError: it failed, or was interrupted.
    """
    command = [sys.executable, "-m", "radwright", "train", str(recipe), *changes, "--out", str(run), "--threads", "1"]
    done = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise TrainingError("training stopped early (see above); the same command goes on from there")
    summaries: dict[str, dict[str, Any]] = json.loads(done.stdout)["stages"]
    return summaries


class _Clock:
    """Writes the seconds since the last lap under a name."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds, self.last = seconds, time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name], self.last = now - self.last, now


def _num_cores(threads: int | None) -> int:
    import os

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return threads or cores


def _present(findings: list[Mapping[str, Any]]) -> dict[str, bool]:
    kinds = {finding["kind"] for finding in findings}
    return {kind: kind in kinds for kind in KINDS}


def _page_table(table: FindingTable) -> page.FindingTable:
    rows = tuple(
        page.FindingScore(
            kind.replace("_", " "),
            page.Estimate(score.precision),
            page.Estimate(score.recall),
            page.Estimate(score.f1),
            score.support,
        )
        for kind, score in table.kinds.items()
    )
    named = ", ".join(kind.replace("_", " ") for kind in table.best_constant)
    constants = {f"best possible constant ({named})": page.Estimate(table.best_constant_f1)}
    lead = (
        "What the drafts assert, against what was put into the images. Gray: the same findings written for every study."
    )
    return page.FindingTable(rows, page.Estimate(table.micro.f1), constants, lead)


def _facts(recipe: Recipe, summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    made = provenance()
    last = summaries[recipe.stages[-1].name]
    return {
        "command": made["command"],
        "machine": f"{made['machine']}, {made['threads']} threads",
        "version": f"{made['radwright']} ({made['commit'] or 'no commit'}), torch {made['torch']}",
        "seed": str(recipe.stages[-1].train.seed),
        "training": f"{last['steps']} steps, {last['epochs']:.1f} epochs, weights of step {last['best_step']}",
    }
