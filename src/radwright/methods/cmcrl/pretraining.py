"""RadCARE's objective: four tasks over one stem pass, on images of low resolution and whole or incomplete studies.

| task | encoder reads (bidirectional) | decoder writes | loss |
|---|---|---|---|
| ``vt2t`` | CLS, image patches, the report's beginning | the report's rest, word by word | cross-entropy |
| ``vt2v`` | CLS, visible patches, the whole report | every patch, reading encoded words | squared error, hidden ones |
| ``v2v``  | CLS, visible patches | every patch | squared error, hidden ones |
| ``t2t``  | CLS, the report's beginning | the report's rest, word by word | cross-entropy |
| ``words`` | (ours, off by default) | from the stem's features, which words the report holds | binary cross-entropy |

Shape legend: B studies, V views, I used images, J some of them, R some studies, P patches, K visible ones, D width, N
tokens, T report tokens, U vocabulary, X pixel values of a patch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from radwright.config import Config
from radwright.errors import ConfigError
from radwright.methods.cmcrl.masking import (
    Draws,
    PatchMask,
    degrade,
    draw_from,
    from_patches,
    num_visible,
    to_patches,
)
from radwright.methods.cmcrl.radcare import RadCare
from radwright.nn.backbone import normalise
from radwright.types import Batch, TrainReport

MIN_WORDS = 3
"""Shortest report that can be cut: a beginning of one word and a rest of two."""


class TaskWeights(Config):
    """Weight of each task's mean loss; 0 leaves the task out at no cost."""

    vt2t: float = Field(default=1.0, ge=0.0)
    """Go on with the report, from image and beginning."""
    vt2v: float = Field(default=1.0, ge=0.0)
    """Restore hidden patches, from visible ones and the report."""
    v2v: float = Field(default=1.0, ge=0.0)
    """Restore hidden patches, from visible ones."""
    t2t: float = Field(default=1.0, ge=0.0)
    """Go on with the report, from its beginning."""
    words: float = Field(default=0.0, ge=0.0)
    """Say from the stem's features which words the report asserts and which it denies (ours; needs the network's
    ``report_words``). Its loss is the sum over all words, some 60 nats a study: weigh it accordingly."""


class RadCareObjectiveConfig(Config):
    """What is hidden, and what each task counts."""

    tasks: TaskWeights = TaskWeights()
    """Weights (as released: none, all tasks alike). A study whose task is switched off sits the step out."""
    lot: bool = True
    """Each study takes part in VT->T and VT->V with probability 1/2, in V->V or in T->T with 1/4 (as released, where
    the lot falls once for a whole batch); an incomplete study always in the task it can. False: in all it can."""
    degraded_share: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the images that all tasks see in half the resolution (as released: all; 0: none). The original is
    what is restored. Restorations are judged on degraded images only."""
    mask_ratio: float = Field(default=0.85, gt=0.0, lt=1.0)
    """Share of an image's patches that is hidden, behind the stem."""
    one_view: bool = True
    """Look at one of a study's views, another one each epoch (as released). False: at all; the text tasks read them
    together, restoration masks and restores each by itself."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """The images of a batch that a step looks at.

    Attributes:
        used_BV: bool, which they are.
        features_IPC: the stem's features.
        tokens_IPD: their tokens, one pass of the stem for all tasks.
        study_I: the batch's row each belongs to.
        slot_I: its number among the used views of its study.
        mask: hidden patches, the same for V->V and VT->V.
        original_IPX: patches of the normalised original.
    """

    used_BV: Tensor
    features_IPC: Tensor
    tokens_IPD: Tensor
    study_I: Tensor
    slot_I: Tensor
    mask: PatchMask
    original_IPX: Tensor


class RadCareObjective(nn.Module):
    """Weighted sum of the four tasks, each a mean over its targets.

    As released, a batch gets one task by lot (VT->T and then VT->V, V->V, or T->T), and every task is an optimiser step
    of its own. Ours: the lot falls for each study, so that every step trains all tasks, and they share one pass of the
    stem. As released EOS is never a target; corrected: it is.

    A study without image takes part in T->T only, one without report in V->V only; a report of fewer than three words
    is left out of the two tasks that cut it.
    """

    Config = RadCareObjectiveConfig
    reads_incomplete_studies = True

    def __init__(self, model: RadCare, config: RadCareObjectiveConfig) -> None:
        """Hold the network.

        Raises:
            ConfigError: every task is off, or no patch would be visible or none hidden.
        """
        super().__init__()
        self.model = model
        self.config = config
        self.weights: Mapping[str, float] = {name: value for name, value in config.tasks if value > 0.0}
        if not self.weights:
            raise ConfigError("tasks: every weight is 0; give at least one task a weight")
        if "words" in self.weights and model.report_words is None:
            raise ConfigError("tasks.words: the network has no head for it; say model.report_words: true")
        self.num_patches = model.patches_per_side**2
        self.num_kept = num_visible(self.num_patches, config.mask_ratio)
        if not 0 < self.num_kept < self.num_patches and {"v2v", "vt2v"} & self.weights.keys():
            raise ConfigError(
                f"mask_ratio = {config.mask_ratio}: of {self.num_patches} patches {self.num_kept} stay visible; "
                "some must be visible and some hidden; larger images, or another ratio"
            )

    # --- what the engine asks for -------------------------------------------------------------------------------

    def counts(self, batch: Batch) -> dict[str, float]:
        """Targets per task: words of the rests with their EOS, or hidden patches."""
        draws = self._draw(batch)
        return self._counts(batch, draws, self._parts(batch, draws, lot=self.config.lot))

    def _counts(self, batch: Batch, draws: Draws, parts: Mapping[str, Tensor]) -> dict[str, float]:
        images_B = draws.used_BV.sum(1)
        rest_B = (0 if batch.lengths_B is None else batch.lengths_B.cpu()) - self._cuts(batch, draws)
        targets_B = {"vt2t": rest_B, "t2t": rest_B, "words": torch.ones_like(images_B)}
        hidden_B = images_B * (self.num_patches - self.num_kept)
        return {name: float(targets_B.get(name, hidden_B)[parts[name]].sum()) for name in self.weights}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Sum per task: cross-entropy in nats over words, or over hidden patches the mean squared error of a patch.

        A task without a target in this batch is left out.
        """
        draws = self._draw(batch)
        return self._sums(batch, draws, self._parts(batch, draws, lot=self.config.lot))

    def _sums(self, batch: Batch, draws: Draws, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        seen = self._look(batch, draws)
        sums: dict[str, Tensor] = {}
        for name in self.weights:
            if name == "words":
                total = self._words(batch, seen, parts[name])
            elif name in {"vt2t", "t2t"}:
                total = self._continue(batch, self._cuts(batch, draws), seen if name == "vt2t" else None, parts[name])
            else:
                restored = self._restore(batch, seen, parts[name], reads_report=name == "vt2v")
                total = None if restored is None or seen is None else _squared_error(*restored, seen)
            if total is not None:
                sums[name] = total
        return sums

    def read_reports(self, reports: Iterable[TrainReport]) -> None:
        """Learn how frequent words are, where the network has a head for words."""
        if self.model.report_words is not None:
            self.model.report_words.read_reports(report.token_ids for report in reports)

    # --- what validation asks for -------------------------------------------------------------------------------

    @torch.no_grad()
    def judge(self, batch: Batch) -> dict[str, tuple[float, float]]:
        """Sum and count per task without gradient, for the choice of weights; put the objective in eval mode first.

        ``copy`` is the error that showing the low-resolution image itself would make on the same hidden patches: what a
        restoration has to beat. Without ``seeds_B`` the draws are the same each time.
        """
        draws = self._draw(batch)
        if self.config.degraded_share:
            draws = replace(draws, low_I=torch.zeros_like(draws.low_I))
        parts = self._parts(batch, draws, lot=False)
        counts, sums = self._counts(batch, draws, parts), self._sums(batch, draws, parts)
        judged = {name: (float(sums[name]), counts[name]) for name in sums}
        if {"v2v", "vt2v"} & self.weights.keys() and draws.used_BV.any():
            images_I1SS = batch.images_BV1SS[draws.used_BV.to(batch.view_mask_BV.device)]
            low, original = (self._patches(images) for images in (degrade(images_I1SS), images_I1SS))
            masked_IP = PatchMask.from_noise(draws.noise_IP, self.num_kept).masked_IP.to(low.device)
            error_IP = (low - original).square().mean(-1)
            judged["copy"] = (float(error_IP[masked_IP].sum()), float(masked_IP.sum()))
        return judged

    def conclude(self, judged: Sequence[Mapping[str, tuple[float, float]]]) -> dict[str, float]:
        """Mean per measure of ``judge`` over all batches, and ``loss``, their sum weighted as in training."""
        names = dict.fromkeys(name for measures in judged for name in measures)
        pairs = {name: [measures[name] for measures in judged if name in measures] for name in names}
        scores = {
            name: sum(value for value, _ in values) / count
            for name, values in pairs.items()
            if (count := sum(count for _, count in values))
        }
        scores["loss"] = sum(weight * scores[name] for name, weight in self.weights.items() if name in scores)
        return scores

    @torch.no_grad()
    def pictures(self, batch: Batch) -> list[tuple[str, NDArray[np.uint8]]]:
        """One strip per used image: original | as shown | visible patches | by V->V | by VT->V; eval mode first.

        "As shown" is the degraded image (the original where ``degraded_share`` is 0). Visible patches are pasted from
        it, into the restorations too; gray stands for hidden patches and for VT->V without a report.

        Returns:
            Study id and uint8 gray (S, 5 * S + 8), panels 2 pixels apart.
        """
        draws = self._draw(batch)
        draws = replace(draws, low_I=torch.zeros_like(draws.low_I))
        seen = self._look(batch, draws, always=True)
        if seen is None:
            return []
        images_I1SS = batch.images_BV1SS[draws.used_BV.to(batch.view_mask_BV.device)]
        shown_I1SS = self._show(images_I1SS, draws)
        shown, masked = self._patches(shown_I1SS), seen.mask.masked_IP.unsqueeze(-1)
        gray_IPX = self._patches(torch.full_like(shown_I1SS, 0.5))
        panels = [images_I1SS, shown_I1SS, self._images(torch.where(masked, gray_IPX, shown))]
        parts = self._parts(batch, draws, lot=False)
        for name in ("v2v", "vt2v"):
            hidden_IPX = gray_IPX.clone()
            restored = self._restore(batch, seen, parts[name], reads_report=name == "vt2v")
            if restored is not None:
                hidden_IPX[restored[1]] = restored[0].to(hidden_IPX.dtype)
            panels.append(self._images(torch.where(masked, hidden_IPX, shown)))
        gap = torch.ones_like(images_I1SS[..., :2])
        strip = torch.cat([piece for panel in panels for piece in (panel, gap)][:-1], dim=-1)
        arrays = (strip[:, 0].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        return [(batch.study_ids[row], array) for row, array in zip(seen.study_I.tolist(), arrays, strict=True)]

    # --- the parts ----------------------------------------------------------------------------------------------

    def _draw(self, batch: Batch) -> Draws:
        return draw_from(batch, self.num_patches, one_view=self.config.one_view)

    def _parts(self, batch: Batch, draws: Draws, *, lot: bool) -> dict[str, Tensor]:
        """Task -> bool (B,) on the CPU: the studies that take part in it."""
        has_image_B, has_report_B = draws.used_BV.any(1), batch.has_report_B.cpu()
        can_be_cut_B = self._cuts(batch, draws) > 0
        parts = {
            "vt2t": has_image_B & can_be_cut_B,
            "vt2v": has_image_B & has_report_B,
            "v2v": has_image_B,
            "t2t": can_be_cut_B,
            "words": has_image_B & has_report_B,
        }
        if lot:
            whole_B = has_image_B & has_report_B
            joint_B, alone_B = draws.lot_B < 0.5, draws.lot_B < 0.75
            parts["vt2t"] &= joint_B
            parts["vt2v"] &= joint_B
            parts["v2v"] &= (~joint_B & alone_B) | ~whole_B
            parts["t2t"] &= ~alone_B | ~whole_B
        return parts

    def _patches(self, images_I1SS: Tensor) -> Tensor:
        """Normalised patches (I, P, X) of gray images in [0, 1]."""
        return to_patches(normalise(images_I1SS, self.model.in_channels), self.model.patches_per_side)

    def _images(self, patches_IPX: Tensor) -> Tensor:
        """Gray images (I, 1, S, S) of normalised patches."""
        channels = self.model.in_channels
        images = from_patches(patches_IPX, self.model.size_px, channels)
        zero = normalise(torch.zeros_like(images[:, :1]), channels)
        one = normalise(torch.ones_like(images[:, :1]), channels)
        return ((images - zero) / (one - zero)).mean(1, keepdim=True)

    def _look(self, batch: Batch, draws: Draws, *, always: bool = False) -> _Seen | None:
        """One pass of the stem over the used images; None without any, or where only T->T is on."""
        if not draws.used_BV.any() or not (always or self.weights.keys() - {"t2t"}):
            return None
        device = batch.images_BV1SS.device
        used_BV = draws.used_BV.to(device)
        images_I1SS = batch.images_BV1SS[used_BV]
        features_IPC = self.model.features(self._show(images_I1SS, draws))
        slot_BV = used_BV.cumsum(1) - 1
        return _Seen(
            used_BV,
            features_IPC,
            self.model.embed(features_IPC, batch.positions_BV[used_BV]),
            used_BV.nonzero()[:, 0],
            slot_BV[used_BV],
            PatchMask.from_noise(draws.noise_IP.to(device), self.num_kept),
            self._patches(images_I1SS),
        )

    def _show(self, images_I1SS: Tensor, draws: Draws) -> Tensor:
        """The images as the network sees them: a share of them in half the resolution."""
        low_I = (draws.low_I < self.config.degraded_share).to(images_I1SS.device)
        return torch.where(low_I[:, None, None, None], degrade(images_I1SS), images_I1SS)

    def _words(self, batch: Batch, seen: _Seen | None, part_B: Tensor) -> Tensor | None:
        """Summed binary cross-entropy over all words."""
        head, ids_BT, lengths_B = self.model.report_words, batch.token_ids_BT, batch.lengths_B
        if seen is None or head is None or ids_BT is None or lengths_B is None:
            return None
        positions_I = batch.positions_BV[seen.used_BV]
        logits_B2U = head(seen.features_IPC, positions_I, seen.study_I, len(batch)).float()
        wanted_B = part_B.nonzero().flatten().to(ids_BT.device)
        if not len(wanted_B):
            return None
        targets = head.targets(ids_BT[wanted_B], lengths_B[wanted_B]).float()
        return F.binary_cross_entropy_with_logits(logits_B2U[wanted_B], targets, reduction="sum")

    def _cuts(self, batch: Batch, draws: Draws) -> Tensor:
        """Length c of each beginning, BOS counted, uniform in [2, n - 1] for n words; 0: no report, or too short."""
        if batch.token_ids_BT is None or batch.lengths_B is None:
            return torch.zeros(len(batch), dtype=torch.int64)
        ids_BT, lengths_B = batch.token_ids_BT.cpu(), batch.lengths_B.cpu()
        last_B = ids_BT.gather(1, (lengths_B - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
        words_B = lengths_B - 1 - (last_B == self.model.eos_id).long()
        cut_B = 2 + (draws.cut_B * (words_B - 2)).long()
        return torch.where(words_B >= MIN_WORDS, cut_B, torch.zeros_like(cut_B))

    def _continue(self, batch: Batch, cut_B: Tensor, seen: _Seen | None, part_B: Tensor) -> Tensor | None:
        """Summed cross-entropy of the reports' rests, behind the images of ``seen``."""
        ids_BT, lengths_B = batch.token_ids_BT, batch.lengths_B
        if ids_BT is None or lengths_B is None or not part_B.any():
            return None
        device = ids_BT.device
        rows_R, cut_B = part_B.nonzero().flatten().to(device), cut_B.to(device)
        ids_RT, cut_R, length_R = ids_BT[rows_R], cut_B[rows_R], lengths_B[rows_R]
        visual, visual_valid = _no_vision(self.model, len(rows_R)) if seen is None else _side_by_side(seen, rows_R)
        visual, visual_valid = self.model.with_cls(visual), F.pad(visual_valid, (1, 0), value=True)
        begin_RT, begin_valid = ids_RT[:, : int(cut_R.max())], _before(cut_R, int(cut_R.max()))
        valid_RN = torch.cat([visual_valid, begin_valid], dim=1)
        tokens = torch.cat([visual, self.model.text_embedding(begin_RT)], dim=1)
        # As released, CLS is a text token where there is no image.
        encoded = self.model.encode(tokens, 0 if seen is None else visual.shape[1], valid_RN)
        num_rest = int((length_R - cut_R).max())
        place_RT = (cut_R.unsqueeze(1) + torch.arange(num_rest, device=device)).clamp(max=ids_RT.shape[1] - 1)
        real_RT = _before(length_R - cut_R, num_rest)
        targets_RT = ids_RT.gather(1, place_RT)
        inputs_RT = torch.cat([ids_RT[:, :1], targets_RT[:, :-1]], dim=1)  # a rest starts at BOS, position 0
        logits = self.model.report_logits(encoded, valid_RN, inputs_RT)[real_RT]
        logits = logits.float() if logits.dtype in {torch.bfloat16, torch.float16} else logits
        return F.cross_entropy(logits, targets_RT[real_RT], reduction="sum")

    def _restore(
        self, batch: Batch, seen: _Seen | None, part_B: Tensor, *, reads_report: bool
    ) -> tuple[Tensor, Tensor] | None:
        """Restored patches (J, P, X) and the used images they belong to, int64 (J,)."""
        if seen is None:
            return None
        images_J = part_B.to(seen.study_I.device)[seen.study_I].nonzero().flatten()
        if not len(images_J):
            return None
        mask = seen.mask.rows(images_J)
        visible = self.model.with_cls(mask.keep(seen.tokens_IPD[images_J]))
        num_visual = visible.shape[1]
        if not reads_report:
            return self.model.restore(self.model.encode(visible, num_visual), mask), images_J
        assert batch.token_ids_BT is not None
        assert batch.lengths_B is not None
        rows_J = seen.study_I[images_J]
        length_J = batch.lengths_B[rows_J]
        ids_JT, valid_JT = batch.token_ids_BT[rows_J, : int(length_J.max())], _before(length_J, int(length_J.max()))
        tokens = torch.cat([visible, self.model.text_embedding(ids_JT)], dim=1)
        encoded = self.model.encode(tokens, num_visual, F.pad(valid_JT, (num_visual, 0), value=True))
        return self.model.restore(encoded[:, :num_visual], mask, (encoded[:, num_visual:], valid_JT)), images_J


def _before(length_R: Tensor, num_places: int) -> Tensor:
    """Bool (R, num_places): True at the first ``length`` places."""
    return torch.arange(num_places, device=length_R.device) < length_R.unsqueeze(1)


def _no_vision(model: RadCare, num_rows: int) -> tuple[Tensor, Tensor]:
    """No visual token for each of the rows."""
    none = model.cls_token.new_zeros(num_rows, 0, model.cls_token.shape[-1])
    return none, torch.ones(num_rows, 0, dtype=torch.bool, device=none.device)


def _side_by_side(seen: _Seen, rows_R: Tensor) -> tuple[Tensor, Tensor]:
    """The used views of each study joined along tokens, (R, N, D), and which tokens are real."""
    num_views, (_, num_patches, dim) = int(seen.slot_I.max()) + 1, seen.tokens_IPD.shape
    num_studies = int(max(rows_R.max(), seen.study_I.max())) + 1
    place_I = (seen.study_I, seen.slot_I)
    grid = seen.tokens_IPD.new_zeros(num_studies, num_views, num_patches, dim)
    grid = grid.index_put(place_I, seen.tokens_IPD)
    real = torch.zeros(num_studies, num_views, dtype=torch.bool, device=grid.device)
    real[place_I] = True
    return grid[rows_R].flatten(1, 2), real[rows_R].repeat_interleave(num_patches, dim=1)


def _squared_error(restored_JPX: Tensor, images_J: Tensor, seen: _Seen) -> Tensor:
    """Sum over hidden patches of the mean squared error of a patch, against the original."""
    original_JPX = seen.original_IPX[images_J]
    error_JP = (restored_JPX.to(original_JPX.dtype) - original_JPX).square().mean(-1)
    return error_JP[seen.mask.masked_IP[images_J]].sum()
