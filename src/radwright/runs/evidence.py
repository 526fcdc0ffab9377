"""Evidence put together: a checkpoint whose drafts are explained, and its maps judged on the phantom."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radwright import __version__
from radwright.data.files import append_line, drop_torn_line, read_lines
from radwright.data.phantom import PhantomConfig, PhantomStudy, generate_study
from radwright.data.phantom.study import study_name
from radwright.data.sources.phantom import DEFAULT, PhantomSource
from radwright.errors import OutputError
from radwright.evaluation.evidence import EvidenceEvaluation, evaluate_evidence
from radwright.evaluation.page import PageView
from radwright.evaluation.page.evidence_scores import (
    EvidenceScoresPage,
    PointingExample,
    write_evidence_scores_page,
)
from radwright.evaluation.reports import name_some
from radwright.evidence.explainer import Explainer
from radwright.evidence.judging import TOLERANCE, judge_study
from radwright.evidence.occlusion import OcclusionConfig
from radwright.evidence.phantom_truth import UsualPlaces, masks_of, spoken_of
from radwright.inference.checkpoint import load_checkpoint
from radwright.runs.drafting import ShowProgress, change_decoding, choose_device, set_threads
from radwright.runs.outputs import claimed, write_json
from radwright.runs.provenance import provenance
from radwright.runs.recipe import packaged
from radwright.types import Skipped, Split

SCORES = "evidence.json"
STUDIES = "studies.jsonl"
PAGE = "index.html"
NUM_EXAMPLES = 6
"""Sentences that the page shows with their maps, each of another kind of finding."""
QUICKSTART = "quickstart"
"""The word that stands for the population of ``radwright demo``."""


def open_explainer(
    checkpoint: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    batch_size: int = 32,
    decoding: Sequence[str] = (),
    windows_per_side: int | None = None,
) -> Explainer:
    """An explainer as the command line asks for it; ``decoding``: ``key=value`` changes of the checkpoint's own."""
    set_threads(threads)
    loaded = load_checkpoint(checkpoint, device=choose_device(device))
    chosen = {} if windows_per_side is None else {"windows_per_side": windows_per_side}
    return Explainer(
        loaded,
        decoding=change_decoding(loaded.config.decoding, decoding),
        batch_size=batch_size,
        num_decoders=max(1, min(4, (os.cpu_count() or 2) // 2)),
        occlusion=OcclusionConfig.parse(chosen, where="occlusion"),
    )


@dataclass(frozen=True, slots=True)
class EvidenceRequest:
    """What is to be judged.

    Attributes:
        checkpoint: a checkpoint directory.
        out: folder for everything that is made.
        num_studies: of the phantom's split, from its first.
        phantom: a YAML file of a population, or ``default``, or ``quickstart``.
        split: its split.
        num_steps: of a deletion curve.
        windows_per_side: of occlusion; None: its default.
        decoding: ``key=value`` changes.
        device, threads, batch_size: as for drafting.
    """

    checkpoint: Path
    out: Path
    num_studies: int = 100
    phantom: str = QUICKSTART
    split: Split = "test"
    num_steps: int = 10
    windows_per_side: int | None = None
    decoding: tuple[str, ...] = ()
    device: str = "auto"
    threads: int | None = None
    batch_size: int = 32


@dataclass(frozen=True, slots=True)
class EvidenceResult:
    """What was found.

    Attributes:
        evaluation: the scores.
        facts: checkpoint, weights, phantom and settings, as JSON-able values.
        skipped: study id -> why it could not be explained.
        num_resumed: studies that an earlier call had judged.
        out: the folder.
        page: the HTML page.
    """

    evaluation: EvidenceEvaluation
    facts: Mapping[str, Any]
    skipped: Mapping[str, str]
    num_resumed: int
    out: Path
    page: Path

    @property
    def notes(self) -> list[str]:
        """What a reader of the numbers should know."""
        found = self.evaluation
        notes = [
            f"{found.num_judged} of {found.num_sentences} sentences assert a finding that is there, in "
            f"{found.num_places} views; {found.num_fabricated} assert one that is not"
        ]
        if self.skipped:
            notes.append(f"{name_some(self.skipped, 'study')} could not be explained ({STUDIES} says why)")
        return notes

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            **self.facts,
            **self.evaluation.plain(),
            "skipped": dict(self.skipped),
            "notes": self.notes,
            "out": str(self.out),
            "page": str(self.page),
        }


def run_evidence_evaluation(request: EvidenceRequest, *, show_progress: ShowProgress) -> EvidenceResult:
    """Draft and explain phantom studies, hold every map against the masks, and write rows and scores.

    What an earlier, interrupted call has judged is not done again.

    Raises:
        CheckpointError: no checkpoint, or one that writes no reports.
        SourceError, ConfigError: the phantom or a setting cannot be used.
        OutputError: the folder holds something else, or cannot be written.
        ScoringError: nothing could be judged.
    """
    config = phantom_of(request.phantom)
    explainer = open_explainer(
        request.checkpoint,
        device=request.device,
        threads=request.threads,
        batch_size=request.batch_size,
        decoding=request.decoding,
        windows_per_side=request.windows_per_side,
    )
    facts: dict[str, Any] = {
        "radwright": __version__,
        "checkpoint": str(request.checkpoint),
        "method": explainer.checkpoint.config.method,
        "weights": explainer.fingerprint,
        "phantom": config.plain(),
        "split": request.split,
        "decoding": explainer.decoding.plain(),
        "occlusion": explainer.occlusion.plain(),
        "num_steps": request.num_steps,
        "tolerance": TOLERANCE,
    }
    identity = {name: value for name, value in facts.items() if name not in {"radwright", "checkpoint"}}
    with claimed(request.out, "evaluate-evidence", identity):
        path = request.out / STUDIES
        drop_torn_line(path)
        names = [study_name(request.split, index) for index in range(request.num_studies)]
        rows = {row["study_id"]: row for row in read_lines(path) if row["study_id"] in names}
        num_resumed = len(rows)
        todo = [index for index, name in enumerate(names) if name not in rows]
        with show_progress("judging evidence", len(todo)) as bar:
            for row in _judged(explainer, config, request, todo):
                append_line(path, row)
                rows[row["study_id"]] = row
                bar.advance()
        skipped = {name: rows[name]["skipped"] for name in names if "skipped" in rows[name]}
        if len(skipped) == len(names):
            first, reason = next(iter(skipped.items()))
            raise OutputError(f"{request.out}: none of {len(names)} studies could be explained; {first}: {reason}")
        evaluation = evaluate_evidence([rows[name] for name in names if name not in skipped])
        page = request.out / PAGE
        result = EvidenceResult(evaluation, facts, skipped, num_resumed, request.out, page)
        write_json(request.out / SCORES, result.plain())
        judged = [(index, rows[name]) for index, name in enumerate(names) if name not in skipped]
        examples = _examples(explainer, config, request, judged)
        write_evidence_scores_page(page, _page(result, request, examples))
    return result


def _examples(
    explainer: Explainer,
    config: PhantomConfig,
    request: EvidenceRequest,
    rows: Sequence[tuple[int, Mapping[str, Any]]],
) -> list[PointingExample]:
    """The first judged sentence of each kind, explained once more: rows keep no maps."""
    chosen: dict[str, tuple[int, str]] = {}
    for index, row in rows:
        for sentence in row["sentences"]:
            chosen.setdefault("+".join(sentence["kinds"]), (index, sentence["text"]))
    examples = []
    for index, text in list(chosen.values())[:NUM_EXAMPLES]:
        study = generate_study(config, request.split, index)
        [outcome] = explainer.explain([study.study()], clues=False)
        found = [one for one in getattr(outcome, "sentences", ()) if one.sentence.text == text]
        if not found:  # another machine's arithmetic may have drafted another text
            continue
        shown, _ = spoken_of(text, study)
        mask_VSS = masks_of(shown, study, explainer.checkpoint.config.image.size_px)
        map_VSS = found[0].occlusion_VSS.numpy()
        read = study.study().views[: len(map_VSS)]  # a network that takes one view reads the frontal one
        views = tuple(PageView.of(view) for view in read)
        examples.append(PointingExample(study.study_id, text, views, map_VSS, mask_VSS[: len(map_VSS)]))
    return examples


def _page(result: EvidenceResult, request: EvidenceRequest, examples: Sequence[PointingExample]) -> EvidenceScoresPage:
    made, facts = provenance(), result.facts
    name = request.checkpoint.resolve().parent.name
    return EvidenceScoresPage(
        title=f"Do the maps of {name} point at anything?",
        evaluation=result.evaluation,
        examples=examples,
        notes=result.notes,
        facts={
            "command": made["command"],
            "checkpoint": f"{facts['checkpoint']} ({facts['method']})",
            "weights, SHA-256": facts["weights"],
            "phantom": f"{request.phantom}, split {request.split}, seed {facts['phantom']['seed']}",
            "decoding": json.dumps(facts["decoding"]),
            "occlusion": json.dumps(facts["occlusion"]),
            "Radwright": f"{made['radwright']} ({made['commit'] or 'no commit'}), torch {made['torch']}",
        },
    )


def phantom_of(name: str) -> PhantomConfig:
    """The population of a YAML file, of ``default``, or of ``quickstart``.

    Raises:
        SourceError, ConfigError: it cannot be read.
    """
    path = packaged("quickstart/phantom_studies.yaml") if name == QUICKSTART else Path(name)
    return PhantomSource(path if name != DEFAULT else Path(DEFAULT), {}).config


def _judged(
    explainer: Explainer, config: PhantomConfig, request: EvidenceRequest, indices: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """A row per study, in order: judged, or why it was skipped."""
    usual = UsualPlaces(
        config, explainer.checkpoint.config.image.size_px, "val" if request.split == "train" else "train"
    )
    waiting: dict[str, PhantomStudy] = {}

    def studies() -> Iterator[Any]:
        for index in indices:
            made = generate_study(config, request.split, index)
            waiting[made.study_id] = made
            yield made.study()

    # Forcing clues changes no map, and is left out here.
    for outcome in explainer.explain(studies(), clues=False):
        if isinstance(outcome, Skipped):
            waiting.pop(outcome.study_id)
            yield {"study_id": outcome.study_id, "skipped": outcome.reason}
            continue
        study = waiting.pop(outcome.report.study_id)
        yield judge_study(
            explainer.checkpoint.model,
            outcome,
            study,
            usual,
            num_steps=request.num_steps,
            batch_size=request.batch_size,
        )
