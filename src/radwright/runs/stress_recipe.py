"""What a stress run plants, trains and compares: its recipe as data, its populations, and a recipe per training."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from radwright.config import Config, apply_overrides, read_yaml
from radwright.data.files import write_text
from radwright.data.phantom import PhantomConfig, draw_elements
from radwright.data.phantom.lexicon import PHRASE_WORDS
from radwright.data.phantom.settings import Confounder
from radwright.data.sources.phantom import version_name
from radwright.errors import ConfigError, near
from radwright.evaluation.stress import SETS
from radwright.runs.clue_policies import POLICIES
from radwright.runs.commands import as_typed
from radwright.runs.recipe import Recipe
from radwright.runs.training import BEST
from radwright.types import Split

TEST: Split = "test"
_NEEDED: tuple[Split, ...] = ("train", "tune", TEST)
WITH, WITHOUT = "with", "without"
_WORDS = {"device": "device, seen and reported", "marker": "marker, seen only", "phrase": "phrase, written only"}


class Scenario(Config):
    """Something that goes along with a finding although it neither causes nor shows it."""

    kind: Literal["device", "marker", "phrase"]
    """A device is seen in the image and named in the report, a corner marker is seen only, a phrase is written only."""
    name: str
    """Which: a device's kind, a marker's glyph, or the name of a phrase that stands in the findings section."""
    cause: str
    """The finding."""
    neutral: str | None = None
    """``phrase`` only: another phrase, independent of everything, whose sentence opens the draft in its place."""

    @property
    def key(self) -> str:
        """``pacemaker-effusion``: its name in files and tables."""
        return f"{self.name}-{self.cause}"

    @property
    def label(self) -> str:
        """``pacemaker beside effusion (device, seen and reported)``."""
        what = f"marker {self.name}" if self.kind == "marker" else f'"{self.name}"' if self.neutral else self.name
        return f"{what} beside {self.cause} ({_WORDS[self.kind]})".replace("_", " ")

    def confounder(self, rho: Mapping[Split, float]) -> Confounder:
        """The phantom's knob."""
        return Confounder(kind=self.kind, name=self.name, cause=self.cause, rho=rho)

    @property
    def element(self) -> str:
        """The element's name in a study."""
        return self.confounder({}).element

    def opening(self, version: str) -> str | None:
        """The sentence that the draft of a version is made to begin with; None: it begins freely."""
        if self.neutral is None:
            return None
        wordings: str = PHRASE_WORDS[self.name if version == WITH else self.neutral][1][0]
        return wordings

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.confounder({})
        if self.kind != "phrase":
            if self.neutral is not None:
                raise ValueError(f"neutral: only a phrase has one; leave it out for {self.name!r}")
            return self
        places = [name for name, (section, _) in PHRASE_WORDS.items() if section == "findings"]
        for name in (self.name, self.neutral or ""):
            if name not in places:
                raise ValueError(f"no phrase {name!r} in the findings section{near(name, places)}; known: {places}")
        if self.neutral == self.name or places.index(self.neutral or "") < places.index(self.name):
            # A draft that begins with it must not be able to go on with the phrase itself.
            raise ValueError(f"neutral: {self.neutral!r} must be a phrase that comes after {self.name!r}: {places}")
        return self


class TrainingConfig(Config):
    """One training, done once per strength and seed."""

    recipe: Path
    """A recipe file, beside the stress recipe or anywhere; its store is set by the benchmark."""
    changes: tuple[str, ...] = ()
    """``key=value`` changes of that recipe."""
    start: str | None = None
    """The training whose best weights, of the same strength and seed, its first stage starts from (RadCARE)."""


class SystemConfig(Config):
    """One row: a training, and how its drafts are written."""

    training: str
    """Which of the trainings; several systems may share one."""
    label: str | None = None
    """What the tables call it; None: its name."""
    clues: str | None = None
    """Policy of the clues it is told (TRRG); None: the checkpoint's own."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.clues is not None and self.clues not in POLICIES:
            raise ValueError(f"clues: no policy {self.clues!r}{near(self.clues, POLICIES)}; there are {POLICIES}")
        return self


class StressConfig(Config):
    """A confounding benchmark."""

    population: PhantomConfig
    """Synthetic patients; needs train, tune and test studies, and no confounders or versions of its own."""
    scenarios: tuple[Scenario, ...] = Field(min_length=1)
    """What is planted, all in one population; each is tested with the others independent of their findings."""
    rhos: tuple[float, ...] = Field(default=(0.0, 0.9), min_length=1)
    """Strengths in training, in [0, 1]; the strongest is that of the test sets."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Seeds of the trainings; the patients stay the same."""
    trainings: dict[str, TrainingConfig]
    """Name -> training; a start comes before those that start from it."""
    systems: dict[str, SystemConfig] = Field(min_length=1)
    """Name in the table -> system; the first is the one that the others are compared with."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.population.confounders or self.population.versions:
            raise ValueError("population: confounders and versions are planted by the benchmark; leave them out")
        if missing := [split for split in _NEEDED if not self.population.num_studies.get(split)]:
            raise ValueError(f"population.num_studies: no studies of {', '.join(missing)}")
        for key in ("key", "element", "cause"):
            values = [getattr(scenario, key) for scenario in self.scenarios]
            if len(set(values)) < len(values):
                raise ValueError(f"scenarios: {max(values, key=values.count)!r} is in two of them")
        if any(scenario.neutral for scenario in self.scenarios) and not self.population.phrases_first:
            raise ValueError("population.phrases_first: a phrase can only open a draft if it opens the reports too")
        for rho in self.rhos:
            if not 0 <= rho <= 1:
                raise ValueError(f"rhos: {rho} must lie in [0, 1]; reversed test sets are made by themselves")
        if len(set(self.rhos)) < len(self.rhos) or len(set(self.seeds)) < len(self.seeds):
            raise ValueError("rhos and seeds: each value once")
        if max(self.rhos) == 0:
            raise ValueError("rhos: the strongest is 0, so that nothing is planted")
        earlier: list[str] = []
        for name, training in self.trainings.items():
            if training.start is not None and training.start not in earlier:
                raise ValueError(f"trainings.{name}.start: {training.start!r} is no training before it: {earlier}")
            earlier.append(name)
        for name, system in self.systems.items():
            if system.training not in earlier:
                raise ValueError(f"systems.{name}: no training {system.training!r}{near(system.training, earlier)}")
        for name in (*self.systems, *self.trainings):
            if not name or not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"{name!r}: names of systems and trainings have letters, digits, - and _ only")
        self.trained_population(max(self.rhos))  # the phantom's own checks of confounders
        return self

    @property
    def strength(self) -> float:
        """How strongly confounders go along with findings in the test sets."""
        return max(self.rhos)

    def trained_population(self, rho: float) -> PhantomConfig:
        """The population to learn from: every confounder at ``rho``, in ``tune`` as in ``train``."""
        counts = {split: self.population.num_studies[split] for split in ("train", "tune")}
        return self._planted({"train": rho, "tune": rho}, num_studies=counts)

    def tested_population(self) -> PhantomConfig:
        """The test studies, every one with each confounder set on and off, the other confounders independent."""
        versions = {
            version_of(scenario, state): {scenario.element: state == WITH}
            for scenario in self.scenarios
            for state in (WITH, WITHOUT)
        }
        return self._planted({}, num_studies={TEST: self.population.num_studies[TEST]}, versions=versions)

    def test_sets(self, scenario: Scenario) -> tuple[list[bool], dict[str, list[bool]]]:
        """Per test study whether it has the finding, and per test set whether it has the confounder."""
        present: list[bool] = []
        sets: dict[str, list[bool]] = {}
        for name, rho in zip(SETS, (self.strength, 0.0, -self.strength), strict=True):
            config = self._planted({TEST: rho})
            drawn = [draw_elements(config, TEST, index) for index in range(self.population.num_studies[TEST])]
            present = [elements[scenario.cause] for elements in drawn]
            sets[name] = [elements[scenario.element] for elements in drawn]
        return present, sets

    def beginnings(self) -> Iterator[dict[str, str]]:
        """A line per draft that must begin with a given sentence."""
        for scenario in self.scenarios:
            for state in (WITH, WITHOUT):
                if (text := scenario.opening(state)) is not None:
                    for index in range(self.population.num_studies[TEST]):
                        name = version_name(TEST, index, version_of(scenario, state))
                        yield {"study_id": name, "beginning": text}

    def _planted(self, rho: Mapping[Split, float], **changes: Any) -> PhantomConfig:
        confounders = [scenario.confounder(rho).plain() for scenario in self.scenarios]
        values = self.population.plain() | {"confounders": confounders} | changes
        return PhantomConfig.parse(values, where="population with its confounders")


def version_of(scenario: Scenario, state: str) -> str:
    """``pacemaker-effusion.with``: a version of the test studies."""
    return f"{scenario.key}.{state}"


def read_stress(path: Path, overrides: list[str]) -> StressConfig:
    """A stress recipe with overrides set; recipes that it names stand beside it.

    Raises:
        ConfigError: the file, a key or a value is wrong.
    """
    config = StressConfig.parse(apply_overrides(read_yaml(path), overrides), where=str(path))
    trainings = {
        name: training.model_copy(update={"recipe": path.resolve().parent / training.recipe})
        for name, training in config.trainings.items()
    }
    return config.model_copy(update={"trainings": trainings})


@dataclass(frozen=True, slots=True)
class Part:
    """One training run of a stress run.

    Attributes:
        name: ``vlci-rho0.9-seed0``.
        training: name in the recipe's trainings.
        rho: strength of its population.
        seed: of its stages.
        values: its recipe as plain values.
        recipe: the same, read.
        start: the part it starts from.
    """

    name: str
    training: str
    rho: float
    seed: int
    values: dict[str, Any]
    recipe: Recipe
    start: str | None


class StressFolder:
    """Where everything of a stress run lies.

    Args:
        config: the stress recipe.
        out: its folder.
        threads: CPU threads per training.
    """

    def __init__(self, config: StressConfig, out: Path, *, threads: int = 1) -> None:
        self.config, self.out, self.threads = config, out.resolve(), threads

    def store_of(self, rho: float) -> Path:
        """The studies to learn from."""
        return self.out / "stores" / f"rho{rho:g}"

    @property
    def tested(self) -> Path:
        """The test studies in their versions."""
        return self.out / "stores" / "versions"

    @property
    def beginnings(self) -> Path:
        """How drafts must begin."""
        return self.out / "stores" / "beginnings.jsonl"

    def run_of(self, part: str) -> Path:
        """A part's run folder."""
        return self.out / "runs" / part

    def drafts_of(self, system: str, rho: float, seed: int) -> Path:
        """A system's drafts of the test studies' versions."""
        return self.out / "drafts" / f"{part_name(system, rho, seed)}.jsonl"

    def log_of(self, name: str) -> Path:
        """What a part's commands said."""
        return self.out / "logs" / f"{name}.log"

    def parts(self) -> list[Part]:
        """Every training run that a system needs, by seed, then strength, starts first.

        Raises:
            ConfigError: a recipe cannot be used.
        """
        needed = {system.training for system in self.config.systems.values()}
        for name, training in reversed(self.config.trainings.items()):
            if name in needed and training.start is not None:
                needed.add(training.start)
        return [
            self._part(name, rho, seed)
            for seed in self.config.seeds
            for rho in self.config.rhos
            for name in self.config.trainings
            if name in needed
        ]

    def _part(self, training: str, rho: float, seed: int) -> Part:
        given = self.config.trainings[training]
        name = part_name(training, rho, seed)
        values = copy.deepcopy(apply_overrides(read_yaml(given.recipe), given.changes))
        values["store"] = str(self.store_of(rho))
        recipe = Recipe.parse(values, where=f"{given.recipe} for {training}")
        start = None if given.start is None else part_name(given.start, rho, seed)
        for stage in values["stages"]:
            stage["train"]["seed"] = seed
        if start is not None:
            if recipe.stages[0].init_from is not None:
                raise ConfigError(f"{given.recipe}: its first stage has an init_from already; leave it or start out")
            values["stages"][0]["init_from"] = str(self.run_of(start) / BEST)
        return Part(name, training, rho, seed, values, Recipe.parse(values, where=name), start)

    def write(self, part: Part) -> None:
        """The part's recipe as a file, headed by the command that repeats the training."""
        given = self.config.trainings[part.training].recipe
        text = f"# Derived from {given.name} by radwright stress. By hand:\n#   {as_typed(self.training(part))}\n"
        path = self.out / "recipes" / f"{part.name}.yaml"
        write_text(path, text + yaml.safe_dump(part.values, sort_keys=False, allow_unicode=True))

    def training(self, part: Part) -> list[str]:
        """The command that trains a part."""
        recipe, run = self.out / "recipes" / f"{part.name}.yaml", self.run_of(part.name)
        return ["train", str(recipe), "--out", str(run), "--threads", str(self.threads)]

    def drafting(self, system: str, part: Part) -> list[str]:
        """The command that drafts the test studies' versions."""
        clues = self.config.systems[system].clues
        drafts = self.drafts_of(system, part.rho, part.seed)
        command = ["generate", str(self.run_of(part.name) / BEST), str(self.tested), "--split", TEST]
        command += ["--out", str(drafts), "--threads", str(self.threads), "--batch-size", "32"]
        command += ["--beginnings", str(self.beginnings)] if self.beginnings.exists() else []
        command += [] if clues is None else ["--clues", clues]
        return [*command, "--allow-oracle"] if clues == "oracle" else command


def part_name(name: str, rho: float, seed: int) -> str:
    """``vlci-rho0.9-seed0``."""
    return f"{name}-rho{rho:g}-seed{seed}"
