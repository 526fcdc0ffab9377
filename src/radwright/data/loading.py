"""Studies -> batches: views padded, reports as tokens, and the training order that any number of processes shares.

What a loader does for a study whose images are in its cache is little more than copying them: a GPU's own thread waits
for the interpreter whenever a loading thread has it. So images stay the integers that they were decoded to, and what
turns them into the network's numbers happens on its device (``radwright.data.transfer``).

Shape legend: B studies, V views, S image side in pixels, T report tokens.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter, deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from pydantic import Field

from radwright.config import Config
from radwright.data.order import draw_key, epoch_order, study_seed, weights_of
from radwright.data.reports import Target, report_text
from radwright.data.studies import Studies
from radwright.data.transfer import finished
from radwright.errors import ConfigError, StudyError
from radwright.imaging.augment import AugmentationConfig as AugmentationConfig
from radwright.imaging.augment import Draw, draw
from radwright.imaging.config import ImageConfig
from radwright.imaging.decode import Pixels
from radwright.imaging.pixels import image_pixels
from radwright.imaging.tensor import pixels_to_tensor
from radwright.types import VIEW_POSITIONS, Batch, CutsAtSentences, Study, Tokenizer, View

_TOKEN_BYTES = 16
"""What a token of a report takes in memory, about: its place in a list, and the characters of its word."""

Drawn = tuple[int, int]
"""A study of an epoch: its index, and how many times the epoch has drawn it before."""


class LoadingConfig(Config):
    """What of a study goes into a batch, and how batches are made ready."""

    target: Target = "findings"
    """The part of the report to learn."""
    max_tokens: int = Field(default=60, ge=3)
    """Longest report in tokens, BOS and EOS included (R2Gen family: 60 for IU X-Ray, 100 for MIMIC-CXR)."""
    cut_at_sentence: bool = True
    """True (ours): a longer report is cut after its last whole sentence that fits, and ends there with EOS. False (as
    released): it is cut anywhere and has no EOS."""
    max_views: int = Field(default=4, ge=1)
    """Views per study; of more, the first frontal and the first lateral come first, then the others in order."""
    workers: int = Field(default=2, ge=0)
    """Threads that decode ahead; 0 decodes when asked. Results are the same."""
    batches_ahead: int = Field(default=4, ge=1)
    """How many micro-batches decoding may run ahead of training."""
    cache_mb: int = Field(default=1024, ge=0)
    """Memory for studies with decoded images, in MiB, filled once and kept over epochs: each process has as much for
    training and for validation. The tensors are the same to the bit. 50 kB a view of 224 pixels and 8 bits."""


@dataclass(slots=True)
class LoadedStudy:
    """One study ready for collation.

    Attributes:
        study_id: its id.
        images: uint8 or uint16 (S, S) each; none where it lacks them.
        positions: one per image, index into ``VIEW_POSITIONS``.
        token_ids: its report, empty where it lacks one; None at inference.
        seed: of random draws from it, in [0, 2**63); None: nothing is drawn.
        change: of its images, a row of ``Batch.changes_B7``; None: none.
        report: its target text, empty where it lacks one; None at inference.
        indication: why it was asked for, empty where that is not known.
    """

    study_id: str
    images: list[Pixels]
    positions: list[int]
    token_ids: list[int] | None
    report: str | None = None
    indication: str = ""
    seed: int | None = None
    change: tuple[float, ...] | None = None


def make_batch(
    studies: Sequence[Study],
    image: ImageConfig,
    loading: LoadingConfig | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    draws: Sequence[Draw] | None = None,
    seeds: Sequence[int] | None = None,
    incomplete: bool = False,
) -> Batch:
    """Put studies into one batch.

    Args:
        studies: at least one.
        image: how images become tensors.
        loading: target section, lengths, views; None: the defaults.
        tokenizer: makes the report's tokens; None leaves them out (inference).
        draws: one random change per study; None: none.
        seeds: one per study for ``Batch.seeds_B``, see ``radwright.data.order.study_seed``; None: none.
        incomplete: whether a study may lack its images or (with a tokenizer) its report; never both.

    Returns:
        A finished batch on the CPU; V is the most views of a study in it, T the longest report.

    Raises:
        StudyError: a study has no view or (with a tokenizer) no report where it may not lack them, or an image that
            cannot be decoded.
    """
    loading = loading or LoadingConfig()
    loaded = [load_study(study, image, loading, tokenizer=tokenizer, incomplete=incomplete) for study in studies]
    if draws is not None:
        loaded = [replace(study, change=each.numbers(image.padding)) for study, each in zip(loaded, draws, strict=True)]
    if seeds is not None:
        loaded = [replace(study, seed=seed) for study, seed in zip(loaded, seeds, strict=True)]
    return finished(collate(loaded, image.size_px, None if tokenizer is None else tokenizer.pad_id))


def load_study(
    study: Study,
    image: ImageConfig,
    loading: LoadingConfig,
    *,
    tokenizer: Tokenizer | None = None,
    incomplete: bool = False,
) -> LoadedStudy:
    """One study ready for ``collate``, nothing drawn; arguments and errors as for ``make_batch``."""
    views = choose_views(study.views, loading.max_views)
    if not (views or incomplete):
        raise StudyError(f"study {study.study_id}: has no image")
    token_ids = None if tokenizer is None else report_tokens(study, tokenizer, loading, required=not incomplete)
    if not (views or token_ids):
        lacking = "no image" if tokenizer is None else f"neither an image nor {loading.target}"
        raise StudyError(f"study {study.study_id}: has {lacking}")
    report = None if token_ids is None else report_text(study, loading.target)
    positions = [VIEW_POSITIONS.index(view.position) for view in views]
    images = [_view_pixels(view, image) for view in views]
    return LoadedStudy(study.study_id, images, positions, token_ids, report, study.section("indication"))


def choose_views(views: Sequence[View], max_views: int) -> list[View]:
    """At most ``max_views`` views, in their order: the first frontal, the first lateral, then the others."""
    if len(views) <= max_views:
        return list(views)
    first = {position: number for number, view in reversed(list(enumerate(views))) if (position := view.position)}
    preferred = [first[position] for position in ("frontal", "lateral") if position in first]
    others = [number for number in range(len(views)) if number not in preferred]
    return [views[number] for number in sorted([*preferred, *others][:max_views])]


def report_tokens(study: Study, tokenizer: Tokenizer, loading: LoadingConfig, *, required: bool = True) -> list[int]:
    """BOS, the report's tokens, EOS: at most ``max_tokens`` of them; none of an empty report.

    Raises:
        StudyError: the study's report is empty, and it is required.
    """
    text = report_text(study, loading.target)
    ids = tokenizer.encode(text)
    if not (ids or required):
        return []
    if not ids:
        raise StudyError(f"study {study.study_id}: its {loading.target} is empty")
    if len(ids) + 2 <= loading.max_tokens:
        return [tokenizer.bos_id, *ids, tokenizer.eos_id]
    if loading.cut_at_sentence and (whole := _whole_sentences(text, ids, tokenizer, loading.max_tokens - 2)):
        return [tokenizer.bos_id, *whole, tokenizer.eos_id]
    return [tokenizer.bos_id, *ids[: loading.max_tokens - 1]]


def _whole_sentences(text: str, ids: list[int], tokenizer: Tokenizer, max_ids: int) -> list[int]:
    """The ids of the sentences that fit; none when the first one is too long."""
    if isinstance(tokenizer, CutsAtSentences):
        return tokenizer.encode_sentences(text, max_ids)
    # The last token of any whole sentence: how this tokenizer writes a sentence's end.
    period = tokenizer.encode("clear.")[-1:]
    ends = [number for number, token in enumerate(ids[:max_ids], start=1) if [token] == period]
    return ids[: ends[-1]] if ends else []


def _view_pixels(view: View, image: ImageConfig) -> Pixels:
    name = view.image.name
    try:
        data = view.image.read()
    except (OSError, KeyError) as error:
        raise StudyError(f"{name}: cannot be read: {error}") from error
    return image_pixels(data, image, name=name, original_size=view.original_size)


def collate(loaded: Sequence[LoadedStudy], side: int, pad_id: int | None) -> Batch:
    """Pad views with zeros and reports with ``pad_id`` (None: no reports); ``side`` is S.

    The batch is not finished (``radwright.data.transfer.finished``): its images are uint8 where all of them have eight
    bits, else float32, and no change has been made to them.
    """
    num_studies, num_views = len(loaded), max(1, *(len(study.images) for study in loaded))
    is_small = all(pixels.dtype == np.uint8 for study in loaded for pixels in study.images)
    # Filled by NumPy, whose copies of an image cost a fraction of torch's.
    images_BVSS = np.zeros((num_studies, num_views, side, side), np.uint8 if is_small else np.float32)
    mask_BV = np.zeros((num_studies, num_views), bool)
    positions_BV = np.zeros((num_studies, num_views), np.int64)
    for row, study in enumerate(loaded):
        for column, (pixels, position) in enumerate(zip(study.images, study.positions, strict=True)):
            images_BVSS[row, column] = pixels if is_small else pixels_to_tensor(pixels)[0]
            mask_BV[row, column] = True
            positions_BV[row, column] = position
    seeds = [study.seed for study in loaded if study.seed is not None]
    changes = [study.change for study in loaded if study.change is not None]
    batch = Batch(
        tuple(study.study_id for study in loaded),
        torch.from_numpy(images_BVSS).unsqueeze(2),
        torch.from_numpy(mask_BV),
        torch.from_numpy(positions_BV),
        seeds_B=torch.tensor(seeds, dtype=torch.int64) if len(seeds) == num_studies else None,
        indications=tuple(study.indication for study in loaded),
        changes_B7=torch.tensor(changes) if len(changes) == num_studies else None,
    )
    if pad_id is None:
        return batch
    tokens = [study.token_ids or [] for study in loaded]
    lengths = [len(ids) for ids in tokens]
    token_ids_BT = np.full((num_studies, max(1, *lengths)), pad_id, np.int64)
    for row, ids in enumerate(tokens):
        token_ids_BT[row, : len(ids)] = ids
    batch.token_ids_BT, batch.lengths_B = torch.from_numpy(token_ids_BT), torch.tensor(lengths, dtype=torch.int64)
    batch.reports = tuple(study.report or "" for study in loaded)
    return batch


class BatchLoader:
    """One rank's training batches from a store, in an order that depends on (seed, epoch) only; not finished (see
    ``collate``).

    Step s of an epoch holds studies s * batch_size and following of the epoch's order, cut into micro-batches;
    micro-batch m goes to rank m % num_ranks. Any number of ranks, and a run resumed at any step, see the same global
    batches, with the same ``seeds_B``. A study that cannot be loaded is left out of its batch and recorded in
    ``skipped``; it stops nothing.

    Args:
        store: where the studies are: a prepared store, or several joined.
        indices: which of them (``store.indices("train")``).
        image: how images become tensors.
        loading: target, lengths, views, threads, cache.
        tokenizer: makes the reports' tokens; None leaves them out.
        augmentation: random changes; None: none.
        batch_size: studies per optimiser step over all ranks.
        micro_batch_size: studies per batch that is yielded; None: ``batch_size`` shared out over the ranks.
        incomplete: True keeps studies that lack their images or their report (pre-training on either alone); False
            records them in ``skipped``.
        weights: how often a study is drawn: an epoch has as many places as ``indices``, and a study gets them in
            proportion to its weight, at least 0 (see ``radwright.data.order.epoch_order``); by study id (studies
            beyond ``indices`` may be in it), or in the order of ``indices``. Drawn twice in an epoch, a study is
            augmented and seeded anew. None: every study once.
        seed: of order, augmentation and ``seeds_B``.
        rank: this process.
        num_ranks: processes.

    Raises:
        ConfigError: ``rank`` is none of ``num_ranks``, or the weights do not fit the studies.
    """

    def __init__(
        self,
        store: Studies,
        indices: Sequence[int],
        image: ImageConfig,
        loading: LoadingConfig,
        *,
        tokenizer: Tokenizer | None,
        augmentation: AugmentationConfig | None = None,
        batch_size: int,
        micro_batch_size: int | None = None,
        incomplete: bool = False,
        weights: Mapping[str, float] | Sequence[float] | None = None,
        seed: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        if not 0 <= rank < num_ranks or batch_size < 1:
            raise ConfigError(f"rank {rank} of {num_ranks} with batch_size {batch_size}: no such share of a batch")
        self.store = store
        self.indices = list(indices)
        self.image = image
        self.loading = loading
        self.tokenizer = tokenizer
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.micro_batch_size = micro_batch_size or -(-batch_size // num_ranks)
        self.incomplete = incomplete
        self.weights = None if weights is None else weights_of(weights, store, self.indices)
        self.seed = seed
        self.rank = rank
        self.num_ranks = num_ranks
        self.skipped: dict[str, str] = {}
        self._cache = StudyCache(loading.cache_mb * 2**20)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one epoch; the last one may be smaller."""
        return -(-len(self.indices) // self.batch_size)

    def order(self, epoch: int) -> list[int]:
        """The epoch's studies (store indices) in their order; see ``radwright.data.order.epoch_order``."""
        return [index for index, _ in self._drawn(epoch)]

    def steps(self, epoch: int, start_step: int = 0) -> Generator[list[Batch], None, None]:
        """This rank's micro-batches of every step from ``start_step`` on; close the iterator to stop early."""
        order = self._drawn(epoch)
        shares = (self._micro_batches(order, step) for step in range(start_step, self.steps_per_epoch))
        if not self.loading.workers:
            for share in shares:
                loaded = [self._loaded(chosen, epoch) for chosen in share]
                yield [batch for studies in loaded if (batch := self._collated(studies)) is not None]
            return
        pool = ThreadPoolExecutor(self.loading.workers, thread_name_prefix="radwright-loading")
        waiting: deque[list[list[Future[list[LoadedStudy]]]]] = deque()

        def first() -> list[Batch]:
            parts = [[part.result() for part in micro_batch] for micro_batch in waiting.popleft()]
            return [batch for part in parts if (batch := self._collated(itertools.chain(*part))) is not None]

        try:
            for share in shares:
                waiting.append([self._submit(pool, chosen, epoch) for chosen in share])
                if sum(map(len, waiting)) > self.loading.batches_ahead:
                    yield first()
            while waiting:
                yield first()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, pool: Executor, chosen: Sequence[Drawn], epoch: int) -> list[Future[list[LoadedStudy]]]:
        """Share a micro-batch out over all threads, so that it is there as soon as can be."""
        size = -(-len(chosen) // self.loading.workers)
        parts = [chosen[start : start + size] for start in range(0, len(chosen), size)]
        return [pool.submit(self._loaded, part, epoch) for part in parts]

    def _drawn(self, epoch: int) -> list[Drawn]:
        times: Counter[int] = Counter()
        drawn = []
        for place in epoch_order(len(self.indices), self.seed, epoch, self.weights):
            drawn.append((self.indices[place], times[place]))
            times[place] += 1
        return drawn

    def _micro_batches(self, order: Sequence[Drawn], step: int) -> list[list[Drawn]]:
        chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
        size = self.micro_batch_size
        micro = [list(chosen[start : start + size]) for start in range(0, len(chosen), size)]
        return micro[self.rank :: self.num_ranks]

    def _collated(self, loaded: Iterable[LoadedStudy]) -> Batch | None:
        pad_id = None if self.tokenizer is None else self.tokenizer.pad_id
        studies = list(loaded)
        return collate(studies, self.image.size_px, pad_id) if studies else None

    def _loaded(self, chosen: Sequence[Drawn], epoch: int) -> list[LoadedStudy]:
        """Those of some studies that can be loaded, with their draws of an epoch."""
        return [
            self._with_draws(study, epoch, time) for index, time in chosen if (study := self._load(index)) is not None
        ]

    def _load(self, index: int) -> LoadedStudy | None:
        if (known := self._cache.get(index)) is not None:
            return known
        study = self.store.study(index)
        try:
            loaded = load_study(study, self.image, self.loading, tokenizer=self.tokenizer, incomplete=self.incomplete)
        except StudyError as error:
            self.skipped[study.study_id] = str(error)
            return None
        self._cache.put(index, loaded)
        return loaded

    def _with_draws(self, study: LoadedStudy, epoch: int, time: int) -> LoadedStudy:
        key, change = draw_key(study.study_id, time), None
        if self.augmentation is not None:
            drawn = draw(self.augmentation, seed=self.seed, epoch=epoch, study_id=key)
            change = drawn.numbers(self.image.padding)
        return replace(study, seed=study_seed(self.seed, epoch, key), change=change)


class StudyCache:
    """Loaded studies within a budget; safe for threads. What is in stays in."""

    def __init__(self, budget_bytes: int) -> None:
        self._left = budget_bytes
        self._kept: dict[int, LoadedStudy] = {}
        self._lock = threading.Lock()

    def get(self, index: int) -> LoadedStudy | None:
        """A study, or None."""
        return self._kept.get(index)

    def put(self, index: int, study: LoadedStudy) -> None:
        """Keep a study while there is room for it."""
        num_bytes = sum(pixels.nbytes for pixels in study.images) + _TOKEN_BYTES * len(study.token_ids or [])
        with self._lock:
            if index not in self._kept and num_bytes <= self._left:
                self._kept[index] = study
                self._left -= num_bytes
