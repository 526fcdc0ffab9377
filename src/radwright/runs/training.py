"""Training put together: a recipe's stages over one store, with validation by free-running decoding.

A run folder holds ``recipe.yaml`` (as resolved), ``run.json``, ``stages/<name>/`` (state, metrics.jsonl, TensorBoard,
best/) and ``best``, the last stage's checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from radwright.data.files import atomic_file, output_errors, strangers
from radwright.data.joined import JoinedStores
from radwright.data.loading import BatchLoader, report_tokens
from radwright.data.prepare import read_summary
from radwright.data.reports import report_text
from radwright.data.store import PreparedStore
from radwright.data.studies import Studies
from radwright.data.transfer import send
from radwright.errors import ConfigError, OutputError
from radwright.imaging.config import ImageConfig
from radwright.inference.checkpoint import CheckpointConfig, build_model, save_checkpoint
from radwright.inference.document_frequency import frequency_of
from radwright.inference.parts import outside_bases
from radwright.metrics.cider import DocumentFrequency
from radwright.runs.drafting import set_threads
from radwright.runs.handover import hand_over, require_same_words
from radwright.runs.preflight import check_recipe, check_starts
from radwright.runs.provenance import provenance
from radwright.runs.recipe import Recipe, StageConfig, stage_image, stage_network
from radwright.runs.validation import DraftValidation, ObjectiveValidation
from radwright.runs.vocabulary import make_tokenizer
from radwright.tables import OBJECTIVES, resolve
from radwright.text.cleaning import clean_report
from radwright.text.sentences import cut_tokens
from radwright.training.engine import Engine
from radwright.training.hooks import Hook, JsonlHook, PictureHook, ProgressHook, TensorBoardHook
from radwright.training.loop import STATE_FILE, Trainer
from radwright.training.state import changed_keys
from radwright.types import Batch, Tokenizer, TrainReport

RECIPE_FILE, RUN_FILE, STAGES, BEST = "recipe.yaml", "run.json", "stages", "best"
HANDOVER_FILE = "handover.json"


@dataclass(frozen=True, slots=True)
class _Run:
    """What all stages of a run share."""

    recipe: Recipe
    out: Path
    engine: Engine
    store: PreparedStore
    tokenizer: Tokenizer
    frequency: DocumentFrequency
    facts: Mapping[str, Any]


def train_recipe(recipe: Recipe, out: Path, *, threads: int | None = None) -> dict[str, dict[str, Any]] | None:
    """Train every stage, or go on where an earlier call stopped.

    Args:
        recipe: the run.
        out: its folder, made here.
        threads: CPU threads per process; None: the cores shared out.

    Returns:
        Stage name -> summary (see ``radwright.training.loop.Summary``); None on other processes than the main one.

    Raises:
        OutputError: ``out`` holds something else, or the run of another recipe.
        StoreError, ConfigError, CheckpointError, TrainingError: see the parts.
    """
    config = recipe.stages[0].train.engine
    if any(stage.train.engine != config for stage in recipe.stages):
        raise ConfigError("stages: every stage of a run needs the same train.engine")
    check_recipe(recipe)
    check_starts(recipe)
    check_folder(out, recipe)
    store = PreparedStore(recipe.store)
    tokenizer = make_tokenizer(recipe.vocabulary, store, recipe.loading.target)
    engine = Engine(config)
    try:
        set_threads(threads, processes=config.processes)
        facts = {**provenance(), "studies": _describe(store)}
        run = _Run(recipe, out, engine, store, tokenizer, _frequency(store, recipe), facts)
        if engine.is_main:
            _write_folder(run)
        engine.barrier()
        summaries: dict[str, dict[str, Any]] = {}
        for stage in recipe.stages:
            summaries[stage.name] = _train_stage(run, stage)
            if summaries[stage.name]["stopped"] == "interrupted":
                break
        return summaries if engine.is_main else None
    finally:
        engine.close()


def check_folder(out: Path, recipe: Recipe) -> None:
    """Only an empty folder, or one of this very recipe, is trained into; stages not yet begun may change.

    Raises:
        OutputError: ``out`` holds something else; every changed key is named.
    """
    path = out / RECIPE_FILE
    if not path.exists():
        if out.exists() and (not out.is_dir() or strangers(out)):
            raise OutputError(f"{out}: holds something else than a run; choose another --out")
        return
    started = [
        number for number, stage in enumerate(recipe.stages) if (out / STAGES / stage.name / STATE_FILE).exists()
    ]
    if not any((out / STAGES).glob(f"*/{STATE_FILE}")):
        return  # nothing was trained yet: a command that failed early may be corrected
    before = yaml.safe_load(path.read_text(encoding="utf-8"))
    same_number = len(before.get("stages", ())) == len(recipe.stages)
    last_started = max(started) if same_number and started else len(recipe.stages)
    changed = [
        key
        for key in changed_keys(before, recipe.plain())
        if not _is_immaterial(key) and not _is_ahead(key, last_started)
    ]
    if changed:
        raise OutputError(
            f"{out}: is the run of another recipe and cannot be continued with this one. "
            f"Changed: {'; '.join(changed)}. Choose another --out"
        )


def _is_ahead(change: str, last_started: int) -> bool:
    """Whether it changes a stage that nothing was trained of yet."""
    where = change.partition(":")[0].split(".")
    return where[0] == "stages" and len(where) > 1 and where[1].isdigit() and int(where[1]) > last_started


def _is_immaterial(change: str) -> bool:
    key = change.partition(":")[0]
    immaterial = ("max_minutes", "log_every_steps", "checkpoint_every_steps", "checkpoint_every_s", "timeout_minutes")
    engine = ("engine.processes", "engine.machines", "engine.sharding")
    return key.endswith(engine) or key.rpartition(".")[2] in {*immaterial, "workers", "batches_ahead", "cache_mb"}


def _write_folder(run: _Run) -> None:
    with output_errors(run.out):
        run.out.mkdir(parents=True, exist_ok=True)
    with atomic_file(run.out / RECIPE_FILE) as file:
        file.write(yaml.safe_dump(run.recipe.plain(), sort_keys=False).encode())
    with atomic_file(run.out / RUN_FILE) as file:
        file.write((json.dumps(run.facts, indent=2) + "\n").encode())


def _frequency(store: PreparedStore, recipe: Recipe) -> DocumentFrequency:
    """How rare n-grams are in the train reports: what a consensus of drafts weighs them by."""
    target = recipe.loading.target
    return frequency_of(
        clean_report(report_text(store.study(index, images=False), target)) for index in store.indices("train")
    )


def _describe(store: PreparedStore) -> dict[str, Any]:
    """What a checkpoint says about the studies it was trained on."""
    summary = read_summary(store.path)
    splits = {name: split["studies"] for name, split in summary["splits"].items()}
    return {"format": store.header["format"], "splits": splits, **store.header.get("terms", {})}


def _train_stage(run: _Run, stage: StageConfig) -> dict[str, Any]:
    engine, recipe = run.engine, run.recipe
    folder = run.out / STAGES / stage.name
    if engine.is_main:
        with output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    engine.barrier()
    hooks: list[Hook] = [ProgressHook(), JsonlHook(folder / "metrics.jsonl"), TensorBoardHook(folder / "tensorboard")]
    hooks.append(PictureHook(folder / "pictures"))
    torch.manual_seed(stage.train.seed)
    image = stage_image(recipe, stage)
    model = build_model(*stage_network(recipe, stage), run.tokenizer, image)
    account = _initialise(run, stage, model, folder)
    if engine.is_main:
        size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        hooks[0].message("\n".join([f"stage {stage.name}: {size:.2f} M weights; {account[0]}", *account[1:]]))
    kind = resolve(OBJECTIVES, stage.objective, kind="objective")
    objective = kind(model, kind.Config.parse(stage.settings, where=f"settings of stage {stage.name}"))
    if getattr(objective, "couples_studies", False):
        _require_one_micro_batch(stage, engine)
        objective.ranks = engine
    studies = JoinedStores([run.store, *map(PreparedStore, stage.extra_stores)])
    if hasattr(objective, "read_reports"):
        objective.read_reports(_train_reports(run, studies))
    if hasattr(objective, "read_sentences"):
        objective.read_sentences(_train_sentences(run, studies))
    if hasattr(objective, "read_studies"):
        if engine.is_main:
            hooks[0].message("reading all train studies once, for the objective")
        objective.read_studies(_plain_batches(run, image, studies))
    validate = (ObjectiveValidation if hasattr(objective, "judge") else DraftValidation)(run, stage)
    batches = BatchLoader(
        studies,
        studies.indices("train"),
        image,
        recipe.loading,
        tokenizer=run.tokenizer,
        augmentation=recipe.augmentation,
        batch_size=stage.train.batch_size,
        micro_batch_size=stage.train.studies_per_micro_batch,
        seed=stage.train.seed,
        rank=engine.rank,
        num_ranks=engine.num_ranks,
        incomplete=getattr(objective, "reads_incomplete_studies", False),
    )
    trainer = Trainer(
        stage.train,
        objective,
        batches,
        engine=engine,
        run_dir=folder,
        validate=validate,
        save_best=_SaveBest(run, stage, folder),
        illustrate=getattr(validate, "pictures", None),
        hooks=hooks,
        fingerprint=_fingerprint(run, stage, studies, model),
    )
    resume = engine.broadcast((folder / STATE_FILE).exists())
    if engine.is_main and not resume and (folder / "metrics.jsonl").exists():
        hooks[0].message("an earlier call ended before its first saved state: training starts from the beginning")
    summary = trainer.fit(resume=resume).plain()
    summary["num_weights"] = sum(parameter.numel() for parameter in model.parameters())
    summary["num_trained_weights"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    skipped = {study_id: why for share in engine.gather(batches.skipped) for study_id, why in share.items()}
    if skipped:
        summary["skipped"] = skipped
        if engine.is_main:
            why = next(iter(skipped.values()))
            hooks[0].message(f"{len(skipped)} train studies were left out, e.g. {why}")
    if engine.is_main:
        with atomic_file(folder / "summary.json") as file:
            file.write((json.dumps(summary, indent=2) + "\n").encode())
    return summary


def _require_one_micro_batch(stage: StageConfig, engine: Engine) -> None:
    """Where a study's loss depends on the others of its step, those must be in memory together.

    Raises:
        ConfigError: a rank would see the step in several micro-batches.
    """
    train = stage.train
    if train.studies_per_micro_batch * engine.num_ranks < train.batch_size:
        raise ConfigError(
            f"stage {stage.name}: objective {stage.objective!r} compares the studies of a step with each other, so "
            f"micro_batch_size {train.micro_batch_size} is too small: batch_size {train.batch_size} is shared out over "
            f"{engine.num_ranks} processes; leave it out, or lower batch_size"
        )


def _train_reports(run: _Run, studies: Studies) -> Iterator[TrainReport]:
    """The train reports as training sees them; those that are missing are passed over."""
    tokenizer, loading = run.tokenizer, run.recipe.loading
    for index in studies.indices("train"):
        study = studies.study(index, images=False)
        ids = report_tokens(study, tokenizer, loading, required=False)
        if ids:
            kept = [number for number in ids[1:] if number != tokenizer.eos_id]
            yield TrainReport(report_text(study, loading.target), kept)


def _train_sentences(run: _Run, studies: Studies) -> Iterator[list[tuple[str, list[int]]]]:
    """The train reports, sentence by sentence: its text and its token ids."""
    for report in _train_reports(run, studies):
        cut = cut_tokens(report.token_ids, run.tokenizer)
        yield [(sentence.text, report.token_ids[sentence.start : sentence.stop]) for sentence in cut]


def _plain_batches(run: _Run, image: ImageConfig, studies: Studies) -> Iterator[Batch]:
    """All complete train studies once, without augmentation, the same on every rank."""
    loader = BatchLoader(
        studies,
        studies.indices("train"),
        image,
        run.recipe.loading,
        tokenizer=run.tokenizer,
        batch_size=64,
    )
    for batches in loader.steps(0):
        yield from (send(batch, run.engine.device) for batch in batches)


def _fingerprint(run: _Run, stage: StageConfig, studies: Studies, model: nn.Module) -> dict[str, Any]:
    recipe, own = run.recipe.plain(), stage.plain()
    loading = {key: recipe["loading"][key] for key in ("target", "max_tokens", "cut_at_sentence", "max_views")}
    # The state does not hold a base's weights: another base in its folder must not go unnoticed.
    bases = {name: base["identity"] for name, base in outside_bases(model).items()}
    return {
        "recipe": {key: recipe[key] for key in ("method", "model", "image", "vocabulary", "augmentation")},
        "stage": {key: own[key] for key in ("objective", "settings", "method", "model", "image")},
        "loading": loading,
        "store": dict(studies.fingerprint),
        **({"bases": bases} if bases else {}),
    }


def _initialise(run: _Run, stage: StageConfig, model: nn.Module, folder: Path) -> list[str]:
    """Give a stage its first weights; say in a few lines where they come from, and write every name down.

    Raises:
        CheckpointError: the source is missing, or does not fit.
    """
    if stage.init_from is None:
        unused = model.load_pretrained()  # type: ignore[operator]
        return ["new weights" if unused is None else f"stem from a file ({len(unused)} of its weights not used)"]
    stages = run.recipe.stages
    earlier = [other.name for other in stages[: stages.index(stage)]]
    source = run.out / STAGES / stage.init_from / BEST if stage.init_from in earlier else Path(stage.init_from)
    if stage.init_from not in earlier:
        require_same_words(run.tokenizer, source, called=stage.init_from)
    account = hand_over(model, source, called=stage.init_from)
    if run.engine.is_main:
        with atomic_file(folder / HANDOVER_FILE) as file:
            file.write((json.dumps(account.plain(), indent=1) + "\n").encode())
    return account.lines()


class _SaveBest:
    """Writes a stage's checkpoint when its weights are the best so far."""

    def __init__(self, run: _Run, stage: StageConfig, folder: Path) -> None:
        last = stage.name == run.recipe.stages[-1].name
        self.run, self.stage = run, stage
        self.path = run.out / BEST if last else folder / BEST

    def __call__(self, objective: nn.Module, scores: Mapping[str, float]) -> None:
        recipe, model = self.run.recipe, objective.model
        config = CheckpointConfig(
            method=stage_network(recipe, self.stage)[0],
            model=model.deployed_config(),  # type: ignore[operator,union-attr]
            image=stage_image(recipe, self.stage),
            max_views=recipe.loading.max_views,
            decoding=recipe.decoding,
        )
        stores = [self.run.store, *map(PreparedStore, self.stage.extra_stores)]
        studies = {**self.run.facts["studies"], **JoinedStores(stores).terms}
        made = {"seed": self.stage.train.seed, "stage": self.stage.name, "scores": dict(scores)}
        facts = {**self.run.facts, "studies": studies, **made}
        frequency = self.run.frequency
        save_checkpoint(self.path, config, model, self.run.tokenizer, facts, frequency)  # type: ignore[arg-type]
