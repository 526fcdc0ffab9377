"""What a recipe's later stages would refuse after hours, refused before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from radwright.errors import CheckpointError
from radwright.inference.checkpoint import build_model
from radwright.runs.recipe import Recipe, StageConfig, stage_image, stage_network
from radwright.runs.vocabulary import stand_in
from radwright.tables import OBJECTIVES, resolve
from radwright.training.optim import freeze, make_optimizer
from radwright.types import Tokenizer


def check_recipe(recipe: Recipe) -> None:
    """Build every stage once, with a vocabulary of one word where it is not taken over.

    Raises:
        ConfigError: the network's, the objective's or the image's config, or a pattern of names, cannot be used.
        CheckpointError: a folder or a tokenizer that the recipe names cannot be used.
    """
    tokenizer = stand_in(recipe.vocabulary)
    for stage in recipe.stages:
        objective = stage_objective(recipe, stage, {}, tokenizer)
        freeze(objective, stage.train.frozen)
        make_optimizer(objective, stage.train.optimizer)


def check_starts(recipe: Recipe) -> None:
    """Whether every stage has something to start from.

    Raises:
        CheckpointError: an ``init_from`` is no earlier stage and no directory.
    """
    for place, stage in enumerate(recipe.stages):
        earlier = [other.name for other in recipe.stages[:place]]
        if stage.init_from is not None and stage.init_from not in earlier and not Path(stage.init_from).is_dir():
            raise CheckpointError(
                f"stage {stage.name}: init_from {stage.init_from!r}: is no earlier stage ({earlier}) and no directory"
            )


def stage_objective(
    recipe: Recipe, stage: StageConfig, changes: Mapping[str, Any], tokenizer: Tokenizer | None = None
) -> nn.Module:
    """A stage's objective with its network, but for a vocabulary of one word: names do not depend on it.

    Args:
        recipe: the run.
        stage: one of its stages.
        changes: of the network's config.
        tokenizer: of ``stand_in``, where the caller has it already.
    """
    method, values = stage_network(recipe, stage)
    words = stand_in(recipe.vocabulary) if tokenizer is None else tokenizer
    model = build_model(method, {**values, **changes}, words, stage_image(recipe, stage))
    kind = resolve(OBJECTIVES, stage.objective, kind="objective")
    made: nn.Module = kind(model, kind.Config.parse(stage.settings, where=f"settings of stage {stage.name}"))
    return made
