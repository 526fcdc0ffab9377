"""What an ablation of CMCRL compares, and the recipe of each of its training runs."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from radwright.config import Config, apply_overrides, read_yaml
from radwright.data.files import write_text
from radwright.errors import ConfigError, near
from radwright.runs.commands import as_typed
from radwright.runs.preflight import stage_objective
from radwright.runs.recipe import Recipe, StageConfig
from radwright.runs.training import BEST, STAGES
from radwright.training.optim import matches

KINDS: Mapping[str, tuple[bool, bool]] = {
    "baseline": (False, False),
    "vdm": (True, False),
    "ldm": (False, True),
    "vlci": (True, True),
}
"""What a fine-tuning is called -> its switches (model.visual, model.linguistic)."""
SCRATCH, RADCARE = "scratch", "radcare"


class AblationConfig(Config):
    """What is compared."""

    store: Path
    """Prepared store."""
    recipe: Path
    """Recipe whose leading stages, those with a network of their own, are the shared pre-training. The others are the
    fine-tuning, which starts from nothing and from what was pre-trained."""
    overrides: tuple[str, ...] = ()
    """Changes of the recipe, ``key=value``, before anything is derived from it."""
    minutes: float = Field(default=8.0, gt=0)
    """Wall-clock limit of each fine-tuning in minutes, validation included; several stages share it out as the recipe
    limits them."""
    radcare_minutes: float = Field(default=20.0, gt=0)
    """The same for the recipe's first stage."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Seeds of the fine-tunings; the pre-training is shared and keeps the recipe's."""
    split: str = "val"
    """Split that is drafted and scored."""
    systems: tuple[str, ...] = tuple(KINDS)
    """Names of ``KINDS`` (both starts), or with a start: ``vlci-radcare``, ``baseline-scratch``."""
    convention: str = "r2gen-iu"
    """Convention of the scores."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads per process; None: the cores shared out."""


@dataclass(frozen=True, slots=True)
class System:
    """A fine-tuning: which modules it has, and where it starts."""

    kind: str
    pretrained: bool

    @property
    def name(self) -> str:
        """``vlci-radcare``."""
        return f"{self.kind}-{RADCARE if self.pretrained else SCRATCH}"


def all_systems() -> list[System]:
    """The eight, those from nothing first: the others are compared with them."""
    return [System(kind, pretrained) for pretrained in (False, True) for kind in KINDS]


def choose_systems(names: Iterable[str]) -> list[System]:
    """The systems of a choice, in the order of ``all_systems``.

    Raises:
        ConfigError: a name is unknown.
    """
    chosen, known = set(), {system.name for system in all_systems()} | set(KINDS)
    for name in names:
        if name not in known:
            raise ConfigError(f"systems: {name!r} is unknown{near(name, known)}; known: {', '.join(sorted(known))}")
        chosen |= {system for system in all_systems() if name in {system.kind, system.name}}
    return [system for system in all_systems() if system in chosen]


@dataclass(frozen=True, slots=True)
class Part:
    """One training run: its recipe, as values and as read from them."""

    name: str
    values: dict[str, Any]
    recipe: Recipe
    system: System | None = None
    seed: int = 0


class Derivation:
    """Recipes of the parts of an ablation.

    Args:
        config: what is compared.
        out: folder of the ablation.

    Raises:
        ConfigError: the recipe cannot be read, or has nothing to start a fine-tuning from.
    """

    def __init__(self, config: AblationConfig, out: Path) -> None:
        self.config, self.out = config, out.resolve()
        values = apply_overrides(read_yaml(config.recipe), config.overrides)
        self.values = values | {"store": str(config.store.resolve())}
        recipe = Recipe.parse(self.values, where=str(config.recipe))
        own = [stage.method in (None, recipe.method) for stage in recipe.stages]
        if not any(own):
            raise ConfigError(f"{config.recipe}: no stage trains the recipe's own method, {recipe.method!r}")
        self.num_pretraining = own.index(True)
        first, earlier = (
            recipe.stages[self.num_pretraining],
            [stage.name for stage in recipe.stages[: self.num_pretraining]],
        )
        if first.init_from is None or (earlier and first.init_from not in earlier):
            raise ConfigError(
                f"{config.recipe}: the first fine-tuning stage, {first.name!r}, has init_from {first.init_from!r}; an "
                "ablation needs a pre-trained start to compare with: name an earlier stage there, or a checkpoint in "
                "place of one"
            )
        self.has_pretraining = bool(earlier)
        self.start = Path(first.init_from).resolve()
        if earlier:
            run = self.out / "runs" / RADCARE
            self.start = run / BEST if first.init_from == earlier[-1] else run / STAGES / first.init_from / BEST
        limits = [stage.train.max_minutes for stage in recipe.stages[self.num_pretraining :]]
        if len(limits) > 1 and None in limits:
            raise ConfigError(
                f"{config.recipe}: the fine-tuning has {len(limits)} stages; give each train.max_minutes, so that it "
                "is known how they share out the minutes"
            )
        self.shares = [1.0] if len(limits) == 1 else [(limit or 0.0) / sum(filter(None, limits)) for limit in limits]

    def pretraining(self) -> Part:
        """The stages before the fine-tuning."""
        values = copy.deepcopy(self.values)
        values["stages"] = values["stages"][: self.num_pretraining]
        values["stages"][0]["train"]["max_minutes"] = self.config.radcare_minutes
        return Part(RADCARE, values, Recipe.parse(values, where=RADCARE))

    def fine_tuning(self, system: System, seed: int) -> Part:
        """The other stages with the switches, the start, the seed and the time limit of one run, and no other change.

        Learning rates and frozen names that are given for a module are left out where it is switched off: training
        refuses a name that matches nothing.
        """
        values = copy.deepcopy(self.values)
        stages = values["stages"] = values["stages"][self.num_pretraining :]
        visual, linguistic = KINDS[system.kind]
        stages[0]["init_from"] = str(self.start) if system.pretrained else None
        for stage, share in zip(stages, self.shares, strict=True):
            stage["model"] = {**(stage.get("model") or {}), "visual": visual, "linguistic": linguistic}
            stage["train"] |= {"max_minutes": self.config.minutes * share, "seed": seed}
        name = f"{system.name}-{seed}"
        recipe = Recipe.parse(values, where=name)
        for stage, parsed in zip(stages, recipe.stages, strict=True):
            _leave_out_absent_modules(stage, recipe, parsed)
        return Part(name, values, Recipe.parse(values, where=name), system, seed)

    def write(self, part: Part) -> Path:
        """The part's recipe as a file, headed by the command that runs it."""
        path = self.out / "recipes" / f"{part.name}.yaml"
        command = as_typed(self.training(part))
        text = f"# Derived from {self.config.recipe} by scripts/ablate. By hand:\n#   {command}\n"
        write_text(path, text + yaml.safe_dump(part.values, sort_keys=False, allow_unicode=True))
        return path

    def training(self, part: Part) -> list[str]:
        """The command that trains a part."""
        recipe, run = self.out / "recipes" / f"{part.name}.yaml", self.run_of(part)
        threads = [] if self.config.threads is None else ["--threads", str(self.config.threads)]
        return ["train", str(recipe), "--out", str(run), *threads]

    def run_of(self, part: Part) -> Path:
        """The part's run folder."""
        return self.out / "runs" / part.name


def _leave_out_absent_modules(stage: dict[str, Any], recipe: Recipe, parsed: StageConfig) -> None:
    """Drop patterns that match weights of the whole network and none of this one; others are training's to refuse."""
    train = stage["train"]
    groups, frozen = (train.get("optimizer") or {}).get("groups") or [], train.get("frozen") or []
    if not groups and not frozen:
        return
    own = _weight_names(recipe, parsed, {})
    whole = _weight_names(recipe, parsed, {"visual": True, "linguistic": True})

    def is_absent(pattern: str) -> bool:
        return not any(matches(name, pattern) for name in own) and any(matches(name, pattern) for name in whole)

    if groups:
        train["optimizer"]["groups"] = [group for group in groups if not is_absent(group["pattern"])]
    if frozen:
        train["frozen"] = [pattern for pattern in frozen if not is_absent(pattern)]


def _weight_names(recipe: Recipe, stage: StageConfig, changes: Mapping[str, Any]) -> list[str]:
    return [name for name, _ in stage_objective(recipe, stage, changes).named_parameters()]
