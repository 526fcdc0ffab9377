"""Clues put together: what a checkpoint perceives in images, and how right it is over a split."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radwright import __version__
from radwright.data.files import atomic_file
from radwright.data.store import REPORTS, PreparedStore
from radwright.errors import ConfigError, OutputError
from radwright.evaluation.clue_labels import ClueLabels, labels_of_file, labels_of_reports
from radwright.evaluation.clues import MIN_POSITIVES, ClueEvaluation, evaluate_clues
from radwright.evaluation.page.clues import CluePage, write_clue_page
from radwright.evaluation.reports import name_some, read_reports
from radwright.inference.checkpoint import load_checkpoint
from radwright.inference.perceiver import BoolArray, FloatArray, Perceiver
from radwright.methods.trrg.clue_bank import ClueBank, read_bank
from radwright.runs.drafting import ShowProgress, StoredStudies, choose_device, set_threads
from radwright.runs.outputs import claimed, write_json
from radwright.types import Skipped

SCORES = "clues.json"
PROBABILITIES = "clues.csv"
PAGE = "index.html"


def open_perceiver(
    checkpoint: Path,
    *,
    bank: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    batch_size: int = 16,
) -> Perceiver:
    """A perceiver as the command line asks for it; ``bank`` is a YAML file of other diseases."""
    diseases = None if bank is None else read_bank(bank)
    set_threads(threads)
    return Perceiver(
        load_checkpoint(checkpoint, device=choose_device(device)),
        bank=diseases,
        batch_size=batch_size,
        num_decoders=max(1, min(4, (os.cpu_count() or 2) // 2)),
    )


@dataclass(frozen=True, slots=True)
class PerceivedClue:
    """One disease in one study.

    Attributes:
        disease: its name in the bank.
        probability: in [0, 1].
        threshold: above which it is a clue.
        calibrated: False where the threshold is 0.5 for want of a calibrated one.
        chosen: whether it is a clue (``Perceiver.chosen``).
    """

    disease: str
    probability: float
    threshold: float
    calibrated: bool
    chosen: bool

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {name: getattr(self, name) for name in ("disease", "probability", "threshold", "calibrated", "chosen")}


def sorted_clues(bank: ClueBank, probability_M: FloatArray, chosen_M: BoolArray) -> list[PerceivedClue]:
    """Every disease of the bank by probability minus threshold, the surest first; equals by name."""
    columns = zip(bank.diseases, probability_M, bank.thresholds, chosen_M, strict=True)
    clues = [
        PerceivedClue(disease.name, float(probability), threshold, disease.threshold is not None, bool(chosen))
        for disease, probability, threshold, chosen in columns
    ]
    return sorted(clues, key=lambda clue: (clue.threshold - clue.probability, clue.disease))


def bank_facts(bank: ClueBank, path: Path | None) -> dict[str, Any]:
    """Where a bank comes from and what tells it from others, its thresholds included."""
    content = json.dumps(bank.plain(), ensure_ascii=False, sort_keys=True).encode()
    return {
        "source": "checkpoint" if path is None else str(path),
        "digest": hashlib.sha256(content).hexdigest(),
        "diseases": list(bank.names),
    }


@dataclass(frozen=True, slots=True)
class ClueRequest:
    """What is to be scored.

    Attributes:
        checkpoint: a checkpoint directory that perceives diseases.
        data: a prepared store.
        split: its split to perceive.
        out: folder for everything that is made.
        labels: a CSV of labels; None: the built-in labeler reads the store's reports.
        bank: a YAML file of other diseases; None: the checkpoint's own.
        min_positives: positives, and negatives, that a disease needs to count in the macro.
        device, threads, batch_size: as for drafting.
    """

    checkpoint: Path
    data: Path
    split: str
    out: Path
    labels: Path | None = None
    bank: Path | None = None
    min_positives: int = MIN_POSITIVES
    device: str = "auto"
    threads: int | None = None
    batch_size: int = 16


@dataclass(frozen=True, slots=True)
class ClueResult:
    """What was found.

    Attributes:
        page: the HTML page.
        evaluation: the scores.
        labels: what they were held against.
        facts: checkpoint, weights, store, split, labels and bank, as JSON-able values.
        skipped: study id -> why nothing was perceived in it.
        notes: what a reader of the numbers should know.
    """

    page: Path
    evaluation: ClueEvaluation
    labels: ClueLabels
    facts: Mapping[str, Any]
    skipped: Mapping[str, str]
    notes: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            **self.facts,
            **self.evaluation.plain(),
            "skipped": dict(self.skipped),
            "notes": list(self.notes),
            "page": str(self.page),
        }


def run_clue_evaluation(request: ClueRequest, *, show_progress: ShowProgress) -> ClueResult:
    """Perceive a split, score it, and write numbers, probabilities and page.

    Raises:
        CheckpointError: no checkpoint, or one that perceives nothing.
        StoreError: no store, or none with this split.
        ConfigError: the bank cannot be used, or there is nothing to hold the clues against.
        ScoringError: the labels cannot be used.
        OutputError: the folder holds something else, cannot be written, or no study can be perceived.
    """
    store = PreparedStore(request.data)
    indices = store.indices(request.split)
    perceiver = open_perceiver(
        request.checkpoint,
        bank=request.bank,
        device=request.device,
        threads=request.threads,
        batch_size=request.batch_size,
    )
    labels, notes = _labels(request, store, indices, perceiver.bank)
    facts = _facts(request, store, perceiver, labels)
    identity = {
        **{name: facts[name] for name in ("weights", "store", "split")},
        "bank": facts["bank"]["digest"],
        "labels": labels.source["digest"],
    }
    with claimed(request.out, "evaluate-clues", identity):
        known = [index for index in indices if store.study_ids[index] in labels.of_study]
        probabilities, skipped = _perceive(perceiver, store, known, show_progress)
        if not probabilities:
            first, reason = next(iter(skipped.items()))
            raise OutputError(
                f"{request.out}: none of {len(known)} studies could be perceived; the first: {first}: {reason}"
            )
        evaluation = evaluate_clues(probabilities, labels, perceiver.bank, min_positives=request.min_positives)
        if skipped:
            notes.append(f"{name_some(skipped, 'study')} could not be read and are not scored ({SCORES} says why)")
        notes += evaluation.notes
        result = ClueResult(request.out / PAGE, evaluation, labels, facts, skipped, tuple(notes))
        write_json(request.out / SCORES, result.plain())
        _write_probabilities(request.out / PROBABILITIES, perceiver.bank, probabilities)
        write_clue_page(
            result.page,
            CluePage(
                title=f"Clues of {_name(request.checkpoint)} on {request.split}",
                evaluation=evaluation,
                labels=labels.told,
                notes=result.notes,
                facts=_shown(facts),
            ),
        )
    return result


def _name(checkpoint: Path) -> str:
    """RUN/best -> RUN; RUN/stages/STAGE/best -> RUN, stage STAGE."""
    folder = checkpoint.resolve().parent
    return f"{folder.parents[1].name}, stage {folder.name}," if folder.parent.name == "stages" else folder.name


def _labels(
    request: ClueRequest, store: PreparedStore, indices: list[int], bank: ClueBank
) -> tuple[ClueLabels, list[str]]:
    study_ids = [store.study_ids[index] for index in indices]
    if request.labels is None:
        file = read_reports(request.data / REPORTS) if (request.data / REPORTS).is_file() else None
        reports = {row.study_id: row.report for row in file.rows if row.report.strip()} if file else {}
        labels = labels_of_reports({name: reports[name] for name in study_ids if name in reports}, bank)
        lacking, cure = "report", "prepare it with its reports, or give a file of labels with --labels"
    else:
        patients = dict(zip(study_ids, (store.patient_ids[index] for index in indices), strict=True))
        labels = labels_of_file(request.labels, bank, patients)
        lacking, cure = f"row in {request.labels}", "give the labels of this dataset"
    if not labels.of_study:
        raise ConfigError(f"{request.data}: no study of split {request.split!r} has a {lacking}; {cure}")
    if len(labels.not_checkable) == len(bank.diseases):
        raise ConfigError(
            "nothing in the bank can be checked: every disease has finding: null; name a finding, or give a file of "
            "labels with --labels"
        )
    without = [name for name in study_ids if name not in labels.of_study]
    notes = [f"left out: {name_some(without, 'study')} without a {lacking}"] if without else []
    return labels, [*notes, *labels.notes]


def _facts(request: ClueRequest, store: PreparedStore, perceiver: Perceiver, labels: ClueLabels) -> dict[str, Any]:
    return {
        "radwright": __version__,
        "checkpoint": str(request.checkpoint),
        "method": perceiver.checkpoint.config.method,
        "weights": perceiver.fingerprint,
        "data": str(request.data),
        "store": store.fingerprint,
        "split": request.split,
        "labels": dict(labels.source),
        "bank": bank_facts(perceiver.bank, request.bank),
    }


def _shown(facts: Mapping[str, Any]) -> dict[str, str]:
    """The facts as the page shows them."""
    labels, bank = facts["labels"], facts["bank"]
    return {
        "checkpoint": f"{facts['checkpoint']} ({facts['method']})",
        "weights, SHA-256": facts["weights"],
        "data": f"{facts['data']}, split {facts['split']}",
        "labels": f"{labels.get('file', 'the built-in labeler')} ({labels['digest'][:12]})",
        "bank": f"{len(bank['diseases'])} diseases of the {bank['source']} ({bank['digest'][:12]})"
        if bank["source"] == "checkpoint"
        else f"{len(bank['diseases'])} diseases of {bank['source']} ({bank['digest'][:12]})",
        "Radwright": facts["radwright"],
    }


def _perceive(
    perceiver: Perceiver, store: PreparedStore, indices: list[int], show_progress: ShowProgress
) -> tuple[dict[str, FloatArray], dict[str, str]]:
    studies = StoredStudies(store, indices)
    probabilities: dict[str, FloatArray] = {}
    skipped: dict[str, str] = {}
    with show_progress("perceiving", len(studies)) as bar:
        outcomes: Iterator[Any] = perceiver.perceive(studies[place] for place in range(len(studies)))
        for outcome in outcomes:
            if isinstance(outcome, Skipped):
                skipped[outcome.study_id] = outcome.reason
            else:
                probabilities[outcome[0]] = outcome[1]
            bar.advance()
    return probabilities, skipped


def _write_probabilities(path: Path, bank: ClueBank, probabilities: Mapping[str, FloatArray]) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["study_id", *bank.names])
    for study_id, probability_M in probabilities.items():
        writer.writerow([study_id, *(np.format_float_positional(value, trim="-") for value in probability_M)])
    with atomic_file(path) as file:
        file.write(table.getvalue().encode())
