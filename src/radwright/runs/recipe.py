"""A run as data: what is read from a recipe file and ``key=value`` overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from radwright.config import Config, apply_overrides, read_yaml
from radwright.data.loading import AugmentationConfig, LoadingConfig
from radwright.decoding.config import DecodingConfig
from radwright.errors import ConfigError
from radwright.imaging.config import ImageConfig
from radwright.tables import METHODS, resolve
from radwright.text.subwords import SMALLEST
from radwright.training.config import TrainConfig


class VocabularyConfig(Config):
    """The tokenizer, made from the train reports of the store or taken over."""

    kind: Literal["words", "subwords"] = "words"
    """``words``: whole words of cleaned reports. ``subwords``: pieces of words down to single bytes; no word is
    unknown."""
    cleaning: str | None = "report"
    """Name of the cleaning that reports pass through before they are cut. None (``subwords`` only): as written."""
    min_count: int = Field(default=3, ge=1)
    """``words`` only: words seen less often in train become unknown (R2Gen family: 3 for IU X-Ray, 10 for
    MIMIC-CXR)."""
    size: int = Field(default=2000, ge=SMALLEST)
    """``subwords`` only: most pieces that are learnt from the train reports, bytes and special tokens included."""
    released: bool = False
    """Lay the ids out as released: 0 is BOS, EOS and PAD, ``<unk>`` a word among words. False: ids of their own."""
    checkpoint: Path | None = None
    """Checkpoint directory whose tokenizer is taken over, so that its weights can be the start; None: a new one."""
    directory: Path | None = None
    """Folder of a Hugging Face language model whose tokenizer is taken over (``subwords``, and says so); None: a new
    one."""

    @model_validator(mode="before")
    @classmethod
    def _a_folder_holds_subwords(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("directory") is not None:
            return {"kind": "subwords"} | values
        return values

    @model_validator(mode="after")
    def _keys_go_together(self) -> Self:
        if self.directory is not None and self.checkpoint is not None:
            raise ValueError("checkpoint and directory both name a tokenizer to take over: give one of them")
        if self.directory is not None and self.kind == "words":
            raise ValueError("kind words and directory: a language model's tokenizer has subwords; leave kind out")
        if self.kind == "subwords" and self.released:
            raise ValueError("kind subwords and released: the released layout of ids is one of words")
        if self.kind == "words" and self.cleaning is None:
            raise ValueError(
                "kind words and cleaning null: words are cut out of cleaned text; name a cleaning (report)"
            )
        return self


class ValidationConfig(Config):
    """How the weights of a stage are judged: free-running decoding, never on val or test."""

    split: Literal["tune"] = "tune"
    """Studies that choose; val is scored once per reported row, by another command."""
    max_studies: int | None = Field(default=None, ge=1)
    """Judge on the first so many studies only, for speed; None: all."""
    decoding: DecodingConfig | None = None
    """Decoding while training, e.g. greedy for speed; None: the recipe's."""
    batch_size: int = Field(default=32, ge=1)
    """Studies decoded at once."""


class StageConfig(Config):
    """One stage: an objective, where its weights come from, and a schedule."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Folder of the stage in the run, and what later stages call it."""
    objective: str = "teacher_forcing"
    """Name in the table of objectives."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Config of the objective."""
    method: str | None = None
    """Network of this stage, where it is another than the recipe's (pre-training); None: the recipe's method."""
    model: dict[str, Any] = Field(default_factory=dict)
    """Changes of the recipe's model config in this stage. With another ``method`` the recipe's keys that it knows too
    (width, depth, stem) hold for it as well."""
    image: dict[str, Any] = Field(default_factory=dict)
    """Changes of the recipe's image config in this stage, e.g. small images early: ``{size_px: 64}``."""
    extra_stores: tuple[Path, ...] = ()
    """Further prepared stores whose train studies this stage learns from as well."""
    init_from: str | None = None
    """An earlier stage's name, or a checkpoint directory, whose weights are the start; None: a new network."""
    train: TrainConfig
    """Length, batch, optimiser, schedule, choice of the kept weights."""
    validation: ValidationConfig = ValidationConfig()
    """How weights are judged."""


class Recipe(Config):
    """Everything that decides a run."""

    store: Path
    """Prepared store (``radwright prepare ... --out DIR``)."""
    method: str = "vlci"
    """Name in the table of methods, or ``module:Class``."""
    model: dict[str, Any] = Field(default_factory=dict)
    """Config of the method."""
    image: ImageConfig = ImageConfig()
    """How an image becomes the network's tensor."""
    vocabulary: VocabularyConfig = VocabularyConfig()
    """The tokenizer."""
    loading: LoadingConfig = LoadingConfig()
    """Report section, lengths, views, worker processes."""
    augmentation: AugmentationConfig | None = None
    """Random changes of the training images; None: none."""
    stages: tuple[StageConfig, ...] = Field(min_length=1)
    """Trained one after the other; the last one's best weights are the run's."""
    decoding: DecodingConfig = DecodingConfig()
    """Stored with the checkpoint as the way to read reports out."""

    @model_validator(mode="after")
    def _stages_are_told_apart(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"two stages have one name: {', '.join(names)}")
        return self


def stage_network(recipe: Recipe, stage: StageConfig) -> tuple[str, dict[str, Any]]:
    """Method and model config of a stage, which the recipe's are the start of.

    Raises:
        ConfigError: an unknown method.
    """
    if stage.method is None or stage.method == recipe.method:
        return recipe.method, {**recipe.model, **stage.model}
    known = resolve(METHODS, stage.method, kind="method").Config.model_fields
    return stage.method, {**{key: value for key, value in recipe.model.items() if key in known}, **stage.model}


def stage_image(recipe: Recipe, stage: StageConfig) -> ImageConfig:
    """Image config of a stage, which the recipe's is the start of.

    Raises:
        ConfigError: an unknown key, or a bad value.
    """
    return ImageConfig.parse({**recipe.image.plain(), **stage.image}, where=f"image of stage {stage.name}")


def read_recipe(path: Path, overrides: list[str]) -> Recipe:
    """A recipe file with overrides set.

    Raises:
        ConfigError: the file, a key or a value is wrong; or the store's place is not given.
    """
    values = apply_overrides(read_yaml(path), overrides)
    if not values.get("store"):
        raise ConfigError(f"{path}: say which prepared store to train on: store=DIR (see `radwright prepare`)")
    return Recipe.parse(values, where=str(path))


def packaged(name: str) -> Path:
    """A file of ``recipes/``, from the installed package or the source tree.

    Raises:
        ConfigError: it is in neither.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "recipes", package.parents[1] / "recipes"):
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(f"recipes/{name}: is not installed; reinstall radwright")
