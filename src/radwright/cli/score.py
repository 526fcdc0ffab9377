"""``radwright score``: drafts against references, with intervals and trivial baselines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from radwright.cli.score_tables import show

if TYPE_CHECKING:
    from radwright.evaluation.score import Evaluation


def _explain_weights(given: list[str]) -> list[str]:
    if "help" in given:
        from radwright.evaluation.learned.supply import describe_weights

        print(describe_weights())
        raise typer.Exit
    return given


def score(
    predictions: Path = typer.Argument(
        ..., help="JSONL with study_id and report, or Parquet, as `generate` writes it."
    ),
    references: Path = typer.Option(..., "--references", help="JSONL with study_id and report, or annotation.json."),
    split: str | None = typer.Option(None, help="Score this split of the references."),
    train: Path | None = typer.Option(
        None, "--train", help="Train reports (split train, where the file has splits): <unk> words, random baseline."
    ),
    constants_from: Path | None = typer.Option(
        None,
        "--constants-from",
        help="Reports (splits train and tune, where the file has them) to choose the constant baselines on.",
    ),
    cider_from: Path | None = typer.Option(
        None, "--cider-df", help="Reports that CIDEr counts document frequencies in, instead of the references."
    ),
    against: list[Path] = typer.Option(
        [], "--against", help="Another system's drafts (JSONL), to be compared in pairs; give it once per system."
    ),
    convention: str = typer.Option("report", help="report, r2gen-iu, r2gen-mimic or raw."),
    weights: list[str] = typer.Option(
        [],
        "--weights",
        metavar="NAME[.PART]=PATH",
        callback=_explain_weights,
        is_eager=True,
        help="What a metric with weights needs (CheXbert, BERTScore, RadGraph ...); --weights help says what each is.",
    ),
    per_study: Path | None = typer.Option(None, "--per-study", help="CSV to write: every study's own scores."),
    json_out: Path | None = typer.Option(None, "--json", help="JSON to write."),
    allow_missing: bool = typer.Option(
        False,
        "--allow-missing",
        help="Score the studies that have both a draft and a reference; the signature says so.",
    ),
    resamples: int = typer.Option(1000, min=1, help="Bootstrap resamples over studies."),
    seed: int = typer.Option(0, min=0, help="Seed of the resamples and of the baselines' draws."),
) -> None:
    """Score drafts against references, in words and in findings, with 95 % intervals and trivial baselines.

    In words: BLEU, ROUGE-L, CIDEr-D, METEOR, chrF. In findings, read out of both texts: F1 of CheXpert's observations,
    errors per study, and a score that weighs them; findings of a --references file with a field `comparison` ("None.")
    are not expected to be compared with an earlier examination.

    The JSON also holds the paired differences from each baseline, and from each system given with --against.

    No score says whether a draft is right: a radiologist must check every draft.
    """
    from radwright.data.files import prepare_outputs
    from radwright.errors import ScoringError
    from radwright.evaluation.reports import read_reports
    from radwright.evaluation.score import score as score_texts

    others = {path.stem: path for path in against}
    if len(others) < len(against):
        raise ScoringError("--against: two files of one name; the comparison is called by its file's name")

    read = (predictions, references, train, constants_from, cider_from, *against)
    prepare_outputs((per_study, json_out), read)
    reference_file, draft_file = read_reports(references), read_reports(predictions)
    other_files = {name: read_reports(path) for name, path in others.items()}
    choosing = read_reports(constants_from) if constants_from is not None else None
    evaluation = score_texts(
        draft_file.reports(),
        reference_file.reports(split),
        convention=convention,
        train=None if train is None else read_reports(train).train_reports(),
        constants_from=None if choosing is None else choosing.choosing_reports(split),
        cider_from=None if cider_from is None else read_reports(cider_from).train_reports(),
        against={name: file.reports() for name, file in other_files.items()},
        priors=reference_file.priors(),
        allow_missing=allow_missing,
        weights=weights,
        num_resamples=resamples,
        seed=seed,
    )
    told = [note for file in (draft_file, *other_files.values()) for note in file.notes]
    evaluation = replace(evaluation, notes=(*told, *evaluation.notes))
    _write(evaluation, per_study, json_out)
    show(evaluation)


def _write(evaluation: Evaluation, per_study: Path | None, json_out: Path | None) -> None:
    import csv
    import io
    import json

    from radwright.data.files import atomic_file

    if per_study is not None:
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["study_id", *evaluation.study_rows[0]])
        for study_id, row in zip(evaluation.study_ids, evaluation.study_rows, strict=True):
            writer.writerow([study_id, *(f"{value:.6g}" for value in row.values())])
        with atomic_file(per_study) as file:
            file.write(table.getvalue().encode())
    if json_out is not None:
        with atomic_file(json_out) as file:
            file.write((json.dumps(evaluation.plain(), ensure_ascii=False, indent=1) + "\n").encode())
