"""What an earlier call of a long job has finished already, and whether it still counts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from radwright.data.files import output_errors, write_text
from radwright.runs.recipe import Recipe
from radwright.runs.training import RECIPE_FILE, STAGES
from radwright.training.loop import FINAL
from radwright.training.state import changed_keys


def finished_stages(run: Path, recipe: Recipe) -> dict[str, Any] | None:
    """Stage -> summary of a run that this very recipe would not train any further; None of any other."""
    if not (run / RECIPE_FILE).is_file():
        return None
    if changed_keys(yaml.safe_load((run / RECIPE_FILE).read_text(encoding="utf-8")), recipe.plain()):
        return None
    summaries = {}
    for stage in recipe.stages:
        path = run / STAGES / stage.name / "summary.json"
        if not path.is_file():
            return None
        summary = json.loads(path.read_text(encoding="utf-8"))
        limit = stage.train.max_minutes
        out_of_time = summary["stopped"] == "time_limit" and limit is not None and summary["elapsed_s"] >= 60 * limit
        if summary["stopped"] not in FINAL and not out_of_time:
            return None
        summaries[stage.name] = summary
    return summaries


def fingerprint(checkpoint: Path) -> str:
    """SHA-256 of a checkpoint's weights.

    Raises:
        OutputError: it has none.
    """
    path = checkpoint / "model.safetensors"
    with output_errors(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep_drafts_of(checkpoint: Path, drafts: Path) -> None:
    """Remove drafts, whole or begun, that other weights wrote, and note beside them whose they are.

    Raises:
        OutputError: the checkpoint has no weights, or the note cannot be written.
    """
    origin, weights = drafts.with_suffix(".weights"), fingerprint(checkpoint)
    if origin.exists() and origin.read_text(encoding="utf-8").strip() == weights:
        return
    for old in (drafts, drafts.with_name(drafts.name + ".partial")):
        old.unlink(missing_ok=True)
    write_text(origin, weights + "\n")


def in_words(seconds: float) -> str:
    """``2 h 05 min``, ``3.2 min``."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{seconds / 60:.1f} min"
