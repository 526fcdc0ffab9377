"""The words everything else speaks: studies, views, reports, and the three protocols a model can fulfil.

Nothing here imports torch at run time, so commands that never touch a network start at once.

Shape legend: B studies, V views, S image side in pixels, G patches per side, T report tokens, W beams, U vocabulary
size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

ViewPosition = Literal["unknown", "frontal", "lateral"]
VIEW_POSITIONS: tuple[ViewPosition, ...] = ("unknown", "frontal", "lateral")
"""Index in this tuple = row of the learned view embedding."""

Split = Literal["train", "tune", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "tune", "val", "test")
"""``tune`` is cut out of train and serves every choice; ``val`` is scored once per reported row."""

SECTIONS: tuple[str, ...] = ("findings", "impression", "indication", "comparison")
"""Report sections a study can have, in the order they are stored."""


class ImageFile(Protocol):
    """Where one image's encoded bytes come from."""

    @property
    def name(self) -> str:
        """What to call the image in an error message."""
        ...

    def read(self) -> bytes:
        """Return the encoded bytes (PNG, JPEG, DICOM). Raises OSError or KeyError when they cannot be had."""
        ...


@dataclass(frozen=True, slots=True)
class ImageOnDisk:
    """An image file on disk."""

    path: Path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def read(self) -> bytes:
        """The file's bytes."""
        return self.path.read_bytes()


@dataclass(frozen=True, slots=True)
class ImageInMemory:
    """Encoded bytes already at hand (a store's row, a generated image, an upload)."""

    name: str
    data: bytes = field(repr=False)

    def read(self) -> bytes:
        """The bytes."""
        return self.data


@dataclass(frozen=True, slots=True)
class View:
    """One radiograph of a study.

    Attributes:
        image: where its encoded bytes are.
        position: frontal (PA, AP), lateral, or unknown.
        original_size: (width, height) in pixels before a dataset squashed the image, where known; the aspect ratio is
            restored from it.
    """

    image: ImageFile
    position: ViewPosition = "unknown"
    original_size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """One examination of one patient: any number of views and the sections of its report.

    Attributes:
        study_id: unique within a dataset.
        patient_id: studies of one patient share it; splits are made by it.
        split: train, tune, val or test; None for studies that belong to no split (inference).
        views: the radiographs, in the dataset's order.
        sections: section name -> text, names from ``SECTIONS``; absent or empty when the report lacks it.
        extra: JSON-able facts that a source knows beyond that (the phantom's exact findings).
    """

    study_id: str
    views: tuple[View, ...]
    patient_id: str = ""
    split: Split | None = None
    sections: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def section(self, name: str) -> str:
        """The text of one section, or an empty text."""
        return self.sections.get(name, "")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A study that a batch job left out, and why."""

    study_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class AssertedFinding:
    """A finding that one sentence of a draft asserts.

    Attributes:
        finding: a concept of the ontology.
        sentence: place of its sentence among the draft's.
        features: what speaks for it or against it, by name; NaN where that is not known.
        probability: that the study's own report asserts it too; None where nobody judged it.
        kept: whether the sentence stands in the report as it was drafted, neither marked nor left out.
    """

    finding: str
    sentence: int
    features: Mapping[str, float]
    probability: float | None = None
    kept: bool = True

    def plain(self) -> dict[str, Any]:
        """As JSON-able values; None for what is not known."""
        values: dict[str, Any] = {"finding": self.finding, "sentence": self.sentence}
        if self.probability is not None:
            values |= {"probability": round(self.probability, 6), "kept": self.kept}
        known = {name: round(value, 6) if math.isfinite(value) else None for name, value in self.features.items()}
        return {**values, "features": known}


@dataclass(frozen=True, slots=True)
class Assertions:
    """What a draft asserts, sentence by sentence.

    Attributes:
        sentences: the draft as it was written.
        findings: in the order of the sentences.
        bar: probability above which a sentence stands; None where nothing was judged.
        withheld: places of the sentences that the report marks or leaves out.
    """

    sentences: tuple[str, ...]
    findings: tuple[AssertedFinding, ...]
    bar: float | None = None
    withheld: tuple[int, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        judged: dict[str, Any] = {} if self.bar is None else {"bar": self.bar, "withheld": list(self.withheld)}
        return {"sentences": list(self.sentences), **judged, "findings": [each.plain() for each in self.findings]}


@dataclass(frozen=True, slots=True)
class Report:
    """A drafted report.

    Attributes:
        study_id: the study it was drafted for.
        text: the draft, sentence-cased.
        score: summed log-probability of its tokens including EOS (natural log; higher is likelier).
        seconds: wall-clock seconds spent on this study (a batch's time divided by its studies).
        num_tokens: generated tokens without BOS and EOS.
        finished: whether it ended by itself (EOS) rather than at the length limit.
        clues: disease -> probability, as the network was told before it wrote; None of a network without clues.
        assertions: what it asserts and how sure that is; None where nobody looked.
    """

    study_id: str
    text: str
    score: float
    seconds: float
    num_tokens: int = 0
    finished: bool = True
    clues: Mapping[str, float] | None = None
    assertions: Assertions | None = None


@dataclass(slots=True)
class Batch:
    """Studies as tensors. Padding never changes a result (tested).

    A study may lack its images or its report, never both, and only where it was asked for (``BatchLoader``'s
    ``incomplete``): without images its row of ``view_mask_BV`` is all False, without a report its length is 0 and its
    ids are all PAD. V and T are at least 1, so a batch of reports alone holds zero images of one view.

    Attributes:
        study_ids: length B.
        images_BV1SS: float32 in [0, 1]; views that a study lacks are zero. On its way from a loader a batch may hold
            uint8 instead, and ``changes_B7``: ``radwright.data.transfer.send`` makes it what a network takes.
        view_mask_BV: bool, True where a view exists.
        positions_BV: int64 index into ``VIEW_POSITIONS``.
        token_ids_BT: int64, BOS ... EOS then PAD; None at inference.
        lengths_B: int64, number of tokens including BOS and EOS, 0 without a report; None at inference.
        seeds_B: int64 in [0, 2**63), from (seed, epoch, study): what an objective draws at random from it depends on no
            process, batch or resume. None where nothing is drawn.
        reports: length B, the target text behind ``token_ids_BT`` as it stands in the study ("" where it has none): for
            losses and labels, never an input. None at inference.
        indications: length B, why each study was asked for ("" where that is not known): an input, at inference too.
            None: nobody asked for it.
        changes_B7: float32, the random change that each study's images have yet to get, a row of
            ``radwright.imaging.augment.Draw.numbers``; None: none.
    """

    study_ids: tuple[str, ...]
    images_BV1SS: Tensor
    view_mask_BV: Tensor
    positions_BV: Tensor
    token_ids_BT: Tensor | None = None
    lengths_B: Tensor | None = None
    seeds_B: Tensor | None = None
    reports: tuple[str, ...] | None = None
    indications: tuple[str, ...] | None = None
    changes_B7: Tensor | None = None

    def __len__(self) -> int:
        return len(self.study_ids)

    @property
    def has_image_B(self) -> Tensor:  # noqa: N802
        """Bool (B,): the study has a view."""
        return self.view_mask_BV.any(dim=1)

    @property
    def has_report_B(self) -> Tensor:  # noqa: N802
        """Bool (B,): the study has a report here; False for all of a batch without tokens."""
        if self.lengths_B is None:
            return self.view_mask_BV.new_zeros(len(self))
        return self.lengths_B > 0

    def to(self, device: Any) -> Batch:
        """The same batch with every tensor on ``device``."""
        return self._each(range(len(self)), lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The same batch in memory that a GPU can fetch from by itself, while the host goes on."""
        return self._each(range(len(self)), lambda tensor: tensor.pin_memory())

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every tensor that is there."""
        optional = (self.token_ids_BT, self.lengths_B, self.seeds_B, self.changes_B7)
        given = (self.images_BV1SS, self.view_mask_BV, self.positions_BV, *optional)
        return tuple(tensor for tensor in given if tensor is not None)

    def rows(self, index_B: Tensor) -> Batch:
        """Some of the studies, V and T as they are.

        Args:
            index_B: int64 places in the order wanted, or a bool mask (B,) (``batch.rows(batch.has_image_B)``).
        """
        is_mask = index_B.dtype == self.view_mask_BV.dtype
        places = index_B.nonzero().flatten() if is_mask else index_B
        return self._each(places.tolist(), lambda tensor: tensor[places.to(tensor.device)])

    def _each(self, places: Sequence[int], change: Callable[[Tensor], Tensor]) -> Batch:
        def maybe(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else change(tensor)

        def texts(given: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return None if given is None else tuple(given[place] for place in places)

        return Batch(
            tuple(self.study_ids[place] for place in places),
            change(self.images_BV1SS),
            change(self.view_mask_BV),
            change(self.positions_BV),
            maybe(self.token_ids_BT),
            maybe(self.lengths_B),
            maybe(self.seeds_B),
            texts(self.reports),
            texts(self.indications),
            maybe(self.changes_B7),
        )


@runtime_checkable
class Tokenizer(Protocol):
    """Text <-> ids. Special ids are attributes; ``encode`` and ``decode`` know nothing of them."""

    bos_id: int
    eos_id: int
    pad_id: int

    @property
    def vocab_size(self) -> int:
        """Number of ids, special ones included (U)."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of a report, without BOS and EOS."""
        ...

    def decode(self, ids: list[int]) -> str:
        """The readable report of ids without BOS, EOS and PAD."""
        ...

    def save(self, directory: Path) -> None:
        """Write the tokenizer's files into an existing directory."""
        ...


@runtime_checkable
class CutsAtSentences(Protocol):
    """An optional capability of a tokenizer: it knows a sentence's end by the text, where no token stands for it."""

    def encode_sentences(self, text: str, max_ids: int) -> list[int]:
        """Ids of as many whole sentences from the beginning as fit into ``max_ids``; none when not even one does."""
        ...


@runtime_checkable
class Decodable(Protocol):
    """What decoding needs of a model: states in, states out, nothing kept on the model.

    A state holds B studies with W beams each as one value of the model's own; every tensor in it that depends on the
    generated tokens leads with (B, W), every tensor that does not (the encoded study) leads with (B,) and is shared by
    the beams.
    """

    def start(self, batch: Batch) -> Any:
        """Encode B studies; the state has one beam per study and no token yet."""
        ...

    def step(self, state: Any, token_ids_BW: Tensor) -> tuple[Tensor, Any]:
        """Append one token per beam; return the next token's log-probabilities, (B, W, U) float, and the new state.

        The state that was passed in must not be used again.
        """
        ...

    def reorder(self, state: Any, studies_C: Tensor | None, parents_CW: Tensor) -> Any:
        """Pick states: row c of the result is study ``studies_C[c]`` with its beams ``parents_CW[c]``.

        None stands for all studies in their order: what their beams share stays where it is.
        """
        ...


@runtime_checkable
class Recordable(Decodable, Protocol):
    """An optional capability of a ``Decodable``: its steps can be recorded once and replayed (CUDA graphs)."""

    @property
    def recordable(self) -> bool:
        """Whether ``step``, and ``reorder`` of all studies, neither wait for the device nor read the host's memory.

        The kernels may depend on the shapes of the state and on its plain values, never on what its tensors hold.
        """
        ...


@runtime_checkable
class ReportModel(Decodable, Protocol):
    """A network that writes reports."""

    def logits(self, batch: Batch) -> Tensor:
        """Teacher-forced logits (B, T-1, U): position t predicts ``token_ids_BT[:, t+1]`` from the tokens up to t."""
        ...


class Ranks(Protocol):
    """The processes of a run, as an objective that couples studies needs them."""

    @property
    def rank(self) -> int:
        """This process's number."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """Every rank's plain value, in rank order."""
        ...

    def join(self, rows: Tensor) -> Tensor:
        """Every rank's rows one below the other, in rank order; the gradient of all ranks reaches each one's rows.

        The ranks may have different numbers of rows, none too; all other sizes are equal.
        """
        ...


class OneRank:
    """A run of one process."""

    rank = 0

    def gather(self, value: Any) -> list[Any]:
        """The value alone."""
        return [value]

    def join(self, rows: Tensor) -> Tensor:
        """The rows as they are."""
        return rows


@dataclass(frozen=True, slots=True)
class TrainReport:
    """A train report as an objective is told of it before the first step.

    Attributes:
        text: as it stands in the study.
        token_ids: as training sees it, without BOS and EOS.
    """

    text: str
    token_ids: list[int]


@runtime_checkable
class ImageFeatures(Protocol):
    """An optional capability of a network: one vector per study by which images can be compared."""

    def image_features(self, batch: Batch) -> Tensor:
        """Pooled features of each study's images, (B, C); zeros for a study without images."""
        ...


@runtime_checkable
class ClueGuided(Protocol):
    """An optional capability of a network: it perceives named diseases, and may be told which of them to write from."""

    @property
    def diseases(self) -> tuple[str, ...]:
        """Names of the M diseases it perceives, in the order of columns."""
        ...

    def perceive(self, batch: Batch) -> Tensor:
        """Probability of every disease, (B, M) in [0, 1]."""
        ...


@runtime_checkable
class ClueTelling(ClueGuided, Protocol):
    """An optional capability of a network that is told clues: it says which, and lets a command choose them."""

    choose: Any
    """The policy in force; a command may put another one here."""

    @property
    def findings(self) -> Mapping[str, str | None]:
        """Disease -> what counts as it in a report, in the order of ``diseases``; None where nothing can check it."""
        ...

    def policy(self, name: Any, *, seed: int = 0) -> Any:
        """The policy of a name, with the network's own limits; ``seed`` is that of a policy that draws."""
        ...

    def told(self, batch: Batch) -> list[dict[str, float]]:
        """Per study the clues that it is told, disease -> probability, by name."""
        ...


@dataclass(frozen=True, slots=True)
class Attention:
    """Where a network looks while it writes: of every token's attention, what falls on each patch of each view.

    Attributes:
        patches_BTVGG: shares in [0, 1] on G x G patches per view, row-major; 0 for views that a study lacks.
        elsewhere_BT: the share that falls on everything else (words, clues, prompt). Both together sum to 1.
    """

    patches_BTVGG: Tensor
    elsewhere_BT: Tensor


@runtime_checkable
class AttentionMaps(Protocol):
    """An optional capability of a network that writes reports: it shows where it looks while it writes."""

    def attention_maps(self, batch: Batch) -> Attention:
        """Attention behind the teacher-forced logits: T - 1 rows, row t that of predicting ``token_ids_BT[:, t+1]``.

        Rows behind a report's end mean nothing.
        """
        ...


class Objective(Protocol):
    """An ``nn.Module`` that holds the model and turns a batch into named sums; what the engine wraps.

    The loss of an optimiser step is sum_n weights[n] * (sum of n over all micro-batches and ranks) / (count of n over
    the same), so 1x8, 2x4 and two processes give one gradient.
    """

    weights: Mapping[str, float]
    # Optional, asked for by name where a run is put together:
    # ``observed() -> dict[str, float]``: logged beside the loss (gates, temperatures).
    # ``reads_incomplete_studies = True``: studies without an image or without a report are not left out.
    # ``judge(batch) -> plain value`` and ``conclude(values) -> dict[str, float]``: scores that stand in for those of
    #   free-running drafts where the network writes no reports: one value per batch, gathered over the ranks, and what
    #   all of them say together; ``pictures(batch) -> list[tuple[str, array]]`` for the log.
    # ``read_reports(reports)``: told every train report (``TrainReport``) once before the first step.
    # ``couples_studies = True``: a study's loss depends on the others of its step. A step is then one micro-batch per
    #   rank; the objective's attribute ``ranks`` is set to the run's ``Ranks``, and a rank whose studies are used up
    #   calls it with None, so that it takes part in every exchange.

    def counts(self, batch: Batch) -> dict[str, float]:
        """Denominator per term, known before the network runs (e.g. number of target tokens)."""
        ...

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Scalar sum per term, differentiable."""
        ...
