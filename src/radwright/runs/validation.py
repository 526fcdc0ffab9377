"""How the weights of a stage are judged on ``tune``: by free-running drafts, or by the objective's own measures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from torch import nn

from radwright.data.loading import LoadedStudy, LoadingConfig, StudyCache, collate, load_study
from radwright.data.reports import report_text
from radwright.data.store import PreparedStore
from radwright.data.transfer import send
from radwright.decoding.generate import Writer
from radwright.decoding.graphs import recorder
from radwright.errors import StudyError
from radwright.evaluation.validation import validation_scores
from radwright.inference.predictor import draft_batch
from radwright.metrics.cider import DocumentFrequency
from radwright.runs.recipe import Recipe, StageConfig, stage_image
from radwright.training.engine import Engine
from radwright.training.hooks import Picture
from radwright.types import Batch, Report, Tokenizer

NUM_PICTURED = 6


class _Run(Protocol):
    """What judging needs of a run."""

    @property
    def recipe(self) -> Recipe: ...
    @property
    def engine(self) -> Engine: ...
    @property
    def store(self) -> PreparedStore: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def frequency(self) -> DocumentFrequency: ...


class _TuneStudies:
    """The tune studies that have an image and a report, in chunks shared out over the ranks.

    They stay loaded from one validation to the next, as far as ``loading.cache_mb`` goes.
    """

    def __init__(self, run: _Run, stage: StageConfig) -> None:
        self.run, self.config = run, stage.validation
        self.image = stage_image(run.recipe, stage)
        self.indices = run.store.indices(stage.validation.split)[: stage.validation.max_studies]
        loading = run.recipe.loading
        self.loading = LoadingConfig(
            target=loading.target,
            max_views=loading.max_views,
            max_tokens=loading.max_tokens,
            cut_at_sentence=loading.cut_at_sentence,
        )
        self._num_decoders = max(1, loading.workers)
        self._cache = StudyCache(loading.cache_mb * 2**20)

    def chunks(self) -> Iterator[list[LoadedStudy]]:
        """This rank's chunks; the next one is loaded while the caller works with one.

        Raises:
            StudyError: one of the studies cannot be loaded.
        """
        size, engine = self.config.batch_size, self.run.engine
        starts = range(size * engine.rank, len(self.indices), size * engine.num_ranks)
        with ThreadPoolExecutor(self._num_decoders, thread_name_prefix="radwright-validation") as pool:

            def begun(number: int) -> list[list[Future[LoadedStudy | None]]]:
                chosen = [self.indices[start : start + size] for start in starts[number : number + 1]]
                return [[pool.submit(self._load, index) for index in chunk] for chunk in chosen]

            waiting = begun(0)
            for number in itertools.count(1):
                if not waiting:
                    return
                current, waiting = waiting[0], begun(number)
                if kept := [study for each in current if (study := each.result()) is not None]:
                    yield kept

    def _load(self, index: int) -> LoadedStudy | None:
        if (known := self._cache.get(index)) is not None:
            return known
        study = self.run.store.study(index)
        if not (study.views and report_text(study, self.loading.target).strip()):
            return None
        loaded = load_study(study, self.image, self.loading, tokenizer=self.run.tokenizer, incomplete=True)
        if not loaded.token_ids:
            return None
        self._cache.put(index, loaded)
        return loaded

    def batch(self, studies: Sequence[LoadedStudy], *, reports: bool) -> Batch:
        """Some of them on the device, with or without their reports."""
        batch = collate(studies, self.image.size_px, self.run.tokenizer.pad_id if reports else None)
        return send(batch, self.run.engine.device)

    def none(self) -> StudyError:
        """The error when there is no such study."""
        return StudyError(f"{self.run.store.path}: no {self.config.split} study has an image and a report")


class DraftValidation:
    """Free-running drafts of the tune studies, shared out over the ranks, and their scores."""

    def __init__(self, run: _Run, stage: StageConfig) -> None:
        self.run = run
        self.decoding = stage.validation.decoding or run.recipe.decoding
        self.studies = _TuneStudies(run, stage)
        self._recorder: Writer | None = None

    def __call__(self, objective: nn.Module) -> Mapping[str, float]:
        """Corpus scores; see ``validation_scores``."""
        drafts: list[tuple[str, str]] = []
        for studies in self.studies.chunks():
            references = {study.study_id: study.report or "" for study in studies}
            drafts += [(draft.text, references[draft.study_id]) for draft in self._draft(objective, studies)]
        gathered = [pair for share in self.run.engine.gather(drafts) for pair in share]
        if not gathered:
            raise self.studies.none()
        return validation_scores(*(list(texts) for texts in zip(*gathered, strict=True)))

    def _draft(self, objective: nn.Module, studies: Sequence[LoadedStudy]) -> list[Report]:
        batch = self.studies.batch(studies, reports=False)
        model: Any = objective.model
        # Kept for all validations: training changes the weights where they lie, unless they are shared out.
        kept = None if self.run.engine.is_sharded else self._recorder
        self._recorder = kept or recorder(model, self.run.engine.device)
        tokenizer, frequency = self.run.tokenizer, self.run.frequency
        return draft_batch(model, tokenizer, batch, self.decoding, frequency, writer=self._recorder)


class ObjectiveValidation:
    """What an objective says of itself (``judge`` and ``conclude``): for stages whose network writes no reports.

    The objective's random draws are those of the study, the same at every validation.
    """

    def __init__(self, run: _Run, stage: StageConfig) -> None:
        self.run = run
        self.studies = _TuneStudies(run, stage)

    def __call__(self, objective: nn.Module) -> Mapping[str, float]:
        """The objective's scores over all tune studies."""
        told: Any = objective
        judged = [told.judge(self.studies.batch(studies, reports=True)) for studies in self.studies.chunks()]
        gathered = [value for share in self.run.engine.gather(judged) for value in share]
        if not gathered:
            raise self.studies.none()
        scores: dict[str, float] = told.conclude(gathered)
        return scores

    def pictures(self, objective: nn.Module) -> list[Picture]:
        """What the objective has to show of the first tune studies."""
        pictures: Any = getattr(objective, "pictures", None)
        for studies in self.studies.chunks() if pictures is not None else ():
            batch = self.studies.batch(studies[:NUM_PICTURED], reports=True)
            return [Picture(name, pixels) for name, pixels in pictures(batch)]
        return []
