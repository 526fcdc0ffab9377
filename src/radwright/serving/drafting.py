"""The Drafter: a checkpoint that drafts batches of studies for the reading room, and seeks evidence for drafts.

One thread may draft while another one explains.

Shape legend: V views, S image side in pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from radwright import __version__
from radwright.data.loading import LoadedStudy, choose_views
from radwright.decoding.generate import Hypothesis
from radwright.errors import StudyError
from radwright.evidence.asserted import asserted_in
from radwright.evidence.asserting import Asserter
from radwright.evidence.clue_effect import SURE, ClueEffect
from radwright.evidence.explainer import Explainer, SentenceEvidence
from radwright.evidence.sentences import sentence_log_probs, token_log_probs, with_drafts
from radwright.imaging.pixels import fit
from radwright.inference.predictor import growing_text, with_clues
from radwright.methods.trrg.perception import telling
from radwright.runs.evidence import open_explainer
from radwright.runs.silence import SilencePlan, plan_silence
from radwright.serving.database import now
from radwright.serving.records import Draft, DraftFinding, DraftSentence, ModelIdentity, ReadingImage
from radwright.text.sentences import cut_tokens
from radwright.types import Assertions, Batch, ClueTelling, ImageInMemory, Report, Skipped, Study, View

MOST_CELLS = 48
"""Longest side of a map that is handed out, in cells; finer than any window that is hidden."""
TELL_EVERY_S = 0.1
"""Texts of a batch are told no oftener, in seconds."""
OnText = Callable[[str, str], None]
"""Told a study's id and its text so far, which only grows."""


@dataclass(frozen=True, slots=True)
class Order:
    """A draft to be written.

    Attributes:
        views: the study, decoded.
        forced: disease -> whether the network is told of it or kept from it.
    """

    views: LoadedStudy
    forced: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class MapOnImage:
    """A map on one image of a study.

    Attributes:
        place: of the image in the study.
        grid: values in rows, top to bottom, that cover exactly the image.
    """

    place: int
    grid: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class FoundEvidence:
    """What one sentence of a draft rests on.

    Attributes:
        text: the sentence.
        log_prob: of it behind the words before it, natural log.
        maps: ``occlusion`` (nats) and, where the network shows any, ``attention`` (share per pixel), per image read.
        clues: what clues do to it.
    """

    text: str
    log_prob: float
    maps: Mapping[str, tuple[MapOnImage, ...]]
    clues: tuple[ClueEffect, ...]


class Drafter:
    """Drafts and explains: ``write`` for one thread at a time, ``explain`` for another one, ``read`` for any.

    Args:
        explainer: the checkpoint.
        silence: the level of risk that drafts keep; None: as they come.
        name: what drafts call the network; where it is empty the run's folder, or that of the checkpoint outside a run.
    """

    def __init__(self, explainer: Explainer, silence: SilencePlan | None = None, name: str = "") -> None:
        self.explainer = explainer
        # Evidence tells the network other clues than drafts: the same weights, but a policy of its own.
        apart = replace(explainer.checkpoint, model=copy(explainer.checkpoint.model))
        self._apart = Explainer(
            apart,
            decoding=explainer.decoding,
            batch_size=explainer.batch_size,
            num_decoders=explainer.num_decoders,
            occlusion=explainer.occlusion,
        )
        self.silence = silence
        self._asserter: Asserter | None = silence.asserter if silence else None
        # A mark is no part of the text here: it stands beside its sentence, and no signature can take it along.
        self._leaves_out = silence is not None and not silence.marks
        checkpoint = explainer.checkpoint
        settings: dict[str, Any] = {} if silence is None else silence.plain()
        self.identity = ModelIdentity(
            name=name or _name_of(checkpoint.path.resolve()),
            method=checkpoint.config.method,
            weights=explainer.fingerprint,
            radwright=__version__,
            decoding=explainer.decoding.plain(),
            settings=settings,
        )

    @classmethod
    def open(
        cls,
        checkpoint: Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        decoding: Sequence[str] = (),
        risk: float | None = None,
        uncertain: str | None = None,
        windows_per_side: int | None = None,
        name: str = "",
    ) -> Drafter:
        """A drafter as the command line asks for it; arguments and errors as for ``radwright generate``."""
        explainer = open_explainer(
            checkpoint, device=device, threads=threads, decoding=decoding, windows_per_side=windows_per_side
        )
        return cls(explainer, plan_silence(explainer, None, risk=risk, uncertain=uncertain), name)

    @property
    def diseases(self) -> dict[str, str | None]:
        """Disease that the network is told as a clue -> what counts as it in a report; empty of one without clues."""
        model = self.explainer.checkpoint.model
        return dict(model.findings) if isinstance(model, ClueTelling) else {}

    def check_forced(self, forced: Mapping[str, bool]) -> None:
        """Refuse clues that the network does not know.

        Raises:
            StudyError: it is told no clues, or none of such a name.
        """
        if forced and not self.diseases:
            raise StudyError(f"{self.identity.name} is told no clues: there is nothing to switch on or off")
        for name in forced:
            if name not in self.diseases:
                raise StudyError(f"clue {name!r}: unknown to {self.identity.name}; known: {', '.join(self.diseases)}")

    def read(self, study: Study) -> LoadedStudy | Skipped:
        """A study's images decoded, or why they cannot be."""
        return (self._asserter or self.explainer).read_study(study)

    def write(self, orders: Sequence[Order], on_text: OnText) -> dict[str, Draft | Skipped]:
        """Study id -> its draft, or why there is none; where the network fails on a batch, each study alone."""
        try:
            return self._write(orders, on_text)
        except StudyError as error:
            if len(orders) == 1:
                study_id = orders[0].views.study_id
                return {study_id: Skipped(study_id, str(error))}
            return {name: made for order in orders for name, made in self.write([order], on_text).items()}

    def explain(self, views: LoadedStudy, draft: Draft, images: Sequence[ReadingImage]) -> tuple[FoundEvidence, ...]:
        """What every sentence of a draft rests on.

        Args:
            views: its study, decoded.
            draft: by this very network.
            images: of the study, in order.

        Raises:
            StudyError: another network wrote the draft.
        """
        if draft.model.weights != self.identity.weights:
            raise StudyError(
                f"draft {draft.number} was written by {draft.model.name} ({draft.model.weights[:12]}), and "
                f"{self.identity.name} ({self.identity.weights[:12]}) is being served: ask for another draft"
            )
        batch = self._apart.batch_of([views])
        with _told(self._apart.checkpoint.model, {views.study_id: draft.clues} if draft.clues is not None else {}):
            found = self._apart.evidence(batch, draft.token_ids)
        config = self.explainer.checkpoint.config
        shown = [View(ImageInMemory(str(number), b""), image.position) for number, image in enumerate(images)]
        chosen = [images[int(view.image.name)] for view in choose_views(shown, config.max_views)]
        return tuple(self._evidence(one, chosen) for one in found)

    def _evidence(self, one: SentenceEvidence, images: Sequence[ReadingImage]) -> FoundEvidence:
        maps = {"occlusion": one.occlusion_VSS, "attention": one.attention_VSS}
        keep_aspect = self.explainer.checkpoint.config.image.keep_aspect
        return FoundEvidence(
            one.sentence.text,
            one.log_prob,
            {
                name: tuple(
                    MapOnImage(image.place, _on_image(map_VSS[view].numpy(), image, keep_aspect=keep_aspect))
                    for view, image in enumerate(images)
                )
                for name, map_VSS in maps.items()
                if map_VSS is not None
            },
            one.clues,
        )

    def _write(self, orders: Sequence[Order], on_text: OnText) -> dict[str, Draft | Skipped]:
        tokenizer = self.explainer.checkpoint.tokenizer
        batch = self.explainer.batch_of([order.views for order in orders])
        with _told(self.explainer.checkpoint.model, self._forced(batch, [order.forced for order in orders])):
            texts: list[list[int]] = [[] for _ in orders]
            drafts: list[Hypothesis | None] = [None] * len(orders)
            grown, told_at = set[int](), time.monotonic()
            for event in self.explainer.stream_tokens(batch):
                texts[event.row] += event.token_ids
                grown.add(event.row)
                if event.hypothesis is not None:
                    drafts[event.row] = event.hypothesis
                # Nobody reads faster; a small network writes a word in a millisecond, and telling costs more than that.
                if time.monotonic() - told_at >= TELL_EVERY_S:
                    for row in sorted(grown):
                        on_text(batch.study_ids[row], growing_text(tokenizer, texts[row]))
                    grown, told_at = set(), time.monotonic()
            whole = [draft for draft in drafts if draft is not None]
            return dict(zip(batch.study_ids, self._drafts(batch, orders, whole), strict=True))

    def _drafts(self, batch: Batch, orders: Sequence[Order], found: Sequence[Hypothesis]) -> Iterator[Draft]:
        model, tokenizer = self.explainer.checkpoint.model, self.explainer.checkpoint.tokenizer
        ids = [draft.token_ids for draft in found]
        with torch.inference_mode():
            told = token_log_probs(model, with_drafts(batch, ids, tokenizer))
        assertions: Sequence[Assertions | None] = [None] * len(orders)
        if self._asserter is not None:
            assertions = self._asserter.assertions(batch, ids)
        reports = [
            Report(name, tokenizer.decode(own), 0.0, 0.0) for name, own in zip(batch.study_ids, ids, strict=True)
        ]
        clues = [report.clues for report in with_clues(model, batch, reports)]
        rows = zip(orders, found, reports, clues, told, assertions, strict=True)
        for order, hypothesis, report, own_clues, told_T, judged in rows:
            sentences, findings = self._read(hypothesis.token_ids, told_T, judged)
            text = report.text
            if judged is not None and self._asserter is not None and self._leaves_out:
                text = self._asserter.text(judged, text)
            yield Draft(
                number=0,
                text=text,
                sentences=sentences,
                findings=findings,
                clues=own_clues,
                forced=dict(order.forced),
                score=hypothesis.score,
                finished=hypothesis.finished,
                model=self.identity,
                created_at=now(),
                token_ids=tuple(hypothesis.token_ids),
            )

    def _read(
        self, token_ids: Sequence[int], told_T: Tensor, judged: Assertions | None
    ) -> tuple[tuple[DraftSentence, ...], tuple[DraftFinding, ...]]:
        """A draft's sentences with what they assert, and its findings with how sure they are."""
        cut = cut_tokens(token_ids, self.explainer.checkpoint.tokenizer)
        texts = [sentence.text for sentence in cut]
        places = asserted_in(texts)
        withheld = () if judged is None else judged.withheld
        sentences = tuple(
            DraftSentence(
                text, log_prob, tuple(finding for place, finding in places if place == number), number not in withheld
            )
            for number, (text, log_prob) in enumerate(zip(texts, sentence_log_probs(told_T, cut), strict=True))
        )
        if judged is None:
            return sentences, tuple(DraftFinding(finding, place) for place, finding in places)
        return sentences, tuple(
            DraftFinding(each.finding, each.sentence, each.probability, each.kept) for each in judged.findings
        )

    def _forced(self, batch: Batch, forced: Sequence[Mapping[str, bool]]) -> dict[str, dict[str, float]]:
        """Study id -> the clues that it is to be told, where any is forced; else nothing, and the policy decides."""
        model = self.explainer.checkpoint.model
        if not any(forced) or not isinstance(model, ClueTelling):
            return {}
        with torch.inference_mode():
            told = model.told(batch)
        return {
            study_id: {name: value for name, value in own.items() if changes.get(name, True)}
            | {name: own.get(name, SURE) for name, on in changes.items() if on}
            for study_id, own, changes in zip(batch.study_ids, told, forced, strict=True)
        }


def _told(model: Any, clues: Mapping[str, Mapping[str, float]]) -> AbstractContextManager[None]:
    """While it lasts the network is told these clues; where there are none, its own policy decides."""
    return telling(model, clues) if clues else nullcontext()


def _on_image(map_SS: np.ndarray[Any, Any], image: ReadingImage, *, keep_aspect: bool) -> tuple[tuple[float, ...], ...]:
    """The part of a square map that lies on the image, as means over at most ``MOST_CELLS`` cells per side."""
    side = map_SS.shape[0]
    width, height = fit(image.width, image.height, side) if keep_aspect else (side, side)
    top, left = (side - height) // 2, (side - width) // 2
    on = torch.from_numpy(map_SS[top : top + height, left : left + width].copy())[None, None]
    cells = min(MOST_CELLS, height), min(MOST_CELLS, width)
    means = torch.nn.functional.adaptive_avg_pool2d(on, cells)[0, 0]
    return tuple(tuple(round(value, 6) for value in row) for row in means.tolist())


def _name_of(checkpoint: Path) -> str:
    """What to call a network: a run's best is called as the run."""
    return checkpoint.parent.name if checkpoint.name == "best" else checkpoint.name
