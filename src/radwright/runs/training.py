"""Training put together: a recipe's stages over one store, with validation by free-running decoding.

A run folder holds ``recipe.yaml`` (as resolved), ``run.json``, ``stages/<name>/`` (state, metrics.jsonl, TensorBoard,
best/) and ``best``, the last stage's checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from torch import nn

from radwright.data.files import atomic_file, output_errors
from radwright.data.loading import BatchLoader, LoadingConfig, make_batch
from radwright.data.reports import report_text
from radwright.data.store import SUMMARY, PreparedStore
from radwright.errors import CheckpointError, ConfigError, OutputError, StudyError
from radwright.evaluation.validation import validation_scores
from radwright.inference.checkpoint import CheckpointConfig, build_model, save_checkpoint
from radwright.inference.predictor import draft_batch
from radwright.runs.drafting import set_threads
from radwright.runs.provenance import provenance
from radwright.runs.recipe import Recipe, StageConfig
from radwright.tables import OBJECTIVES, resolve
from radwright.text.words import WordTokenizer
from radwright.training.engine import Engine
from radwright.training.hooks import Hook, JsonlHook, ProgressHook, TensorBoardHook
from radwright.training.loop import STATE_FILE, Trainer
from radwright.training.state import changed_keys
from radwright.types import Report, Study

RECIPE_FILE, RUN_FILE, STAGES, BEST = "recipe.yaml", "run.json", "stages", "best"


@dataclass(frozen=True, slots=True)
class _Run:
    """What all stages of a run share."""

    recipe: Recipe
    out: Path
    engine: Engine
    store: PreparedStore
    tokenizer: WordTokenizer
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
    _check_folder(out, recipe)
    store = PreparedStore(recipe.store)
    tokenizer = _make_tokenizer(store, recipe)
    engine = Engine(config)
    try:
        set_threads(threads, processes=config.processes)
        run = _Run(recipe, out, engine, store, tokenizer, {**provenance(), "studies": _describe(store)})
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


def _check_folder(out: Path, recipe: Recipe) -> None:
    """Only an empty folder, or one of this very recipe, is trained into."""
    path = out / RECIPE_FILE
    if not path.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError(f"{out}: holds something else than a run; choose another --out")
        return
    if not any((out / STAGES).glob(f"*/{STATE_FILE}")):
        return  # nothing was trained yet: a command that failed early may be corrected
    before = yaml.safe_load(path.read_text(encoding="utf-8"))
    changed = [key for key in changed_keys(before, recipe.plain()) if not _is_immaterial(key)]
    if changed:
        raise OutputError(
            f"{out}: is the run of another recipe and cannot be continued with this one. "
            f"Changed: {'; '.join(changed)}. Choose another --out"
        )


def _is_immaterial(change: str) -> bool:
    key = change.partition(":")[0]
    immaterial = ("max_minutes", "log_every_steps", "checkpoint_every_steps", "checkpoint_every_s", "timeout_minutes")
    return key.rpartition(".")[2] in {*immaterial, "workers", "batches_ahead", "cache_mb"}


def _write_folder(run: _Run) -> None:
    with output_errors(run.out):
        run.out.mkdir(parents=True, exist_ok=True)
    with atomic_file(run.out / RECIPE_FILE) as file:
        file.write(yaml.safe_dump(run.recipe.plain(), sort_keys=False).encode())
    with atomic_file(run.out / RUN_FILE) as file:
        file.write((json.dumps(run.facts, indent=2) + "\n").encode())


def _make_tokenizer(store: PreparedStore, recipe: Recipe) -> WordTokenizer:
    """The words of the train reports (``tune`` left out: it stands for unseen studies)."""
    target = recipe.loading.target
    reports = (report_text(store.study(index, images=False), target) for index in store.indices("train"))
    config = recipe.vocabulary
    return WordTokenizer.build(reports, min_count=config.min_count, cleaning=config.cleaning)


def _describe(store: PreparedStore) -> dict[str, Any]:
    """What a checkpoint says about the studies it was trained on."""
    summary = json.loads((store.path / SUMMARY).read_text(encoding="utf-8"))
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
    torch.manual_seed(stage.train.seed)
    model = build_model(recipe.method, recipe.model, run.tokenizer, recipe.image)
    account = _initialise(run, stage, model)
    if engine.is_main:
        hooks[0].message(
            f"stage {stage.name}: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M weights; {account}"
        )
    kind = resolve(OBJECTIVES, stage.objective, kind="objective")
    objective = kind(model, kind.Config.parse(stage.settings, where=f"settings of stage {stage.name}"))
    batches = BatchLoader(
        run.store,
        run.store.indices("train"),
        recipe.image,
        recipe.loading,
        tokenizer=run.tokenizer,
        augmentation=recipe.augmentation,
        batch_size=stage.train.batch_size,
        micro_batch_size=stage.train.studies_per_micro_batch,
        seed=stage.train.seed,
        rank=engine.rank,
        num_ranks=engine.num_ranks,
    )
    trainer = Trainer(
        stage.train,
        objective,
        batches,
        engine=engine,
        run_dir=folder,
        validate=_Validation(run, stage),
        save_best=_SaveBest(run, stage, folder),
        hooks=hooks,
        fingerprint=_fingerprint(run),
    )
    resume = engine.broadcast((folder / STATE_FILE).exists())
    summary = trainer.fit(resume=resume).plain()
    skipped = {study_id: why for share in engine.gather(batches.skipped) for study_id, why in share.items()}
    if skipped:
        summary["skipped"] = skipped
        if engine.is_main:
            study_id, why = next(iter(skipped.items()))
            hooks[0].message(f"{len(skipped)} train studies could not be loaded, e.g. {study_id}: {why}")
    if engine.is_main:
        with atomic_file(folder / "summary.json") as file:
            file.write((json.dumps(summary, indent=2) + "\n").encode())
    return summary


def _fingerprint(run: _Run) -> dict[str, Any]:
    recipe = run.recipe.plain()
    loading = {key: recipe["loading"][key] for key in ("target", "max_tokens", "cut_at_sentence", "max_views")}
    return {
        "recipe": {key: recipe[key] for key in ("method", "model", "image", "vocabulary", "augmentation")},
        "loading": loading,
        "store": {"studies": len(run.store), "shards": [shard.sha256 for shard in run.store.shards]},
    }


def _initialise(run: _Run, stage: StageConfig, model: nn.Module) -> str:
    """Give a stage its first weights; say in one line where they come from.

    Raises:
        CheckpointError: the source is missing or a weight has another shape.
    """
    if stage.init_from is None:
        unused = model.load_pretrained()  # type: ignore[operator]
        return "new weights" if unused is None else f"stem from a file ({len(unused)} of its weights not used)"
    earlier = [other.name for other in run.recipe.stages]
    source = run.out / STAGES / stage.init_from / BEST if stage.init_from in earlier else Path(stage.init_from)
    path = source / "model.safetensors"
    if not path.is_file():
        raise CheckpointError(f"init_from {stage.init_from!r}: {path} does not exist; earlier stages: {earlier}")
    own, given = model.state_dict(), load_file(path)
    wrong = [name for name in own.keys() & given.keys() if own[name].shape != given[name].shape]
    if wrong:
        name = min(wrong)
        raise CheckpointError(
            f"init_from {stage.init_from!r}: {len(wrong)} weights have another shape, e.g. {name}: "
            f"{tuple(given[name].shape)} there, {tuple(own[name].shape)} here; same depth, width and vocabulary?"
        )
    model.load_state_dict({name: given[name] for name in own.keys() & given.keys()}, strict=False)
    new, unused = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    return f"from {source}: {len(own) - len(new)} loaded, {len(new)} new, {len(unused)} unused"


class _SaveBest:
    """Writes a stage's checkpoint when its weights are the best so far."""

    def __init__(self, run: _Run, stage: StageConfig, folder: Path) -> None:
        last = stage.name == run.recipe.stages[-1].name
        self.run, self.stage = run, stage
        self.path = run.out / BEST if last else folder / BEST

    def __call__(self, objective: nn.Module, scores: Mapping[str, float]) -> None:
        recipe, model = self.run.recipe, objective.model
        config = CheckpointConfig(
            method=recipe.method,
            model=model.deployed_config(),  # type: ignore[operator,union-attr]
            image=recipe.image,
            max_views=recipe.loading.max_views,
            decoding=recipe.decoding,
        )
        facts = {**self.run.facts, "seed": self.stage.train.seed, "stage": self.stage.name, "scores": dict(scores)}
        save_checkpoint(self.path, config, model, self.run.tokenizer, facts)  # type: ignore[arg-type]


class _Validation:
    """Free-running drafts of the tune studies, shared out over the ranks, and their scores."""

    def __init__(self, run: _Run, stage: StageConfig) -> None:
        validation = stage.validation
        self.run, self.config = run, validation
        self.decoding = validation.decoding or run.recipe.decoding
        self.indices = run.store.indices(validation.split)[: validation.max_studies]
        self.loading = LoadingConfig(target=run.recipe.loading.target, max_views=run.recipe.loading.max_views)

    def __call__(self, objective: nn.Module) -> Mapping[str, float]:
        engine, size = self.run.engine, self.config.batch_size
        chunks = [self.indices[start : start + size] for start in range(0, len(self.indices), size)]
        drafts: list[tuple[str, str]] = []
        for chunk in chunks[engine.rank :: engine.num_ranks]:
            studies = self._readable([self.run.store.study(index) for index in chunk])
            references = {study.study_id: report_text(study, self.loading.target) for study in studies}
            drafts += [(draft.text, references[draft.study_id]) for draft in self._draft(objective, studies)]
        gathered = [pair for share in engine.gather(drafts) for pair in share]
        if not gathered:
            raise StudyError(f"{self.run.store.path}: no {self.config.split} study has an image and a report")
        return validation_scores(*(list(texts) for texts in zip(*gathered, strict=True)))

    def _readable(self, studies: Sequence[Study]) -> list[Study]:
        return [study for study in studies if study.views and report_text(study, self.loading.target).strip()]

    def _draft(self, objective: nn.Module, studies: Sequence[Study]) -> list[Report]:
        if not studies:
            return []
        batch = make_batch(studies, self.run.recipe.image, self.loading).to(self.run.engine.device)
        model: Any = objective.model
        return draft_batch(model, self.run.tokenizer, batch, self.decoding)
