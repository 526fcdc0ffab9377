"""Stage 1's objective: multi-positive contrast of images and single sentences, whole images and patches.

One-hot targets are wrong here: "no pleural effusion" stands in most reports, and every copy but the owner's would be a
negative. That the contrast is at sentence level is the paper's; targets, sampling and the local term are ours.

Shape legend: B studies of this rank, A studies of all ranks, J sentences of this rank, S of all ranks, N visual tokens,
D contrastive width, M diseases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from radwright.config import Config
from radwright.errors import ConfigError, StudyError
from radwright.methods.trrg.alignment import Alignment
from radwright.methods.trrg.sentences import Sentence, draw_sentences, report_sentences, report_signature
from radwright.metrics.base import FloatArray
from radwright.metrics.detection import BoolArray, auc, best_threshold, f1, matched_threshold
from radwright.types import Batch, OneRank, Ranks

SHARPNESS = 10.0
"""Factor in the softmax over patches that finds a sentence's place in an image."""
MOST_TOLD = 2
"""A disease is told of at most so many times as many tune studies as have it: of one that is hardly perceived, the best
F-beta is reached by telling it of nearly all."""
_SILENT = 2
"""Stands for "not mentioned" in an array of statuses."""


class SentenceContrastConfig(Config):
    """Sampling, targets and the weights of the parts."""

    num_negated: int = Field(default=2, ge=0)
    """At most so many sentences per report that only deny or leave open, drawn anew each epoch."""
    num_neutral: int = Field(default=1, ge=0)
    """At most so many that speak of no disease of the bank."""
    agreeing: bool = False
    """A sentence is also a positive of every study whose report says the same of all diseases that it speaks of."""
    report_weight: float = Field(default=0.0, ge=0)
    """Weight of the contrast of whole reports with their images (one positive each)."""
    local_weight: float = Field(default=0.5, ge=0)
    """Weight of the contrast of sentences with the patches that they attend to."""
    min_positives: int = Field(default=5, ge=1)
    """A disease counts in ``auc_macro`` where so many tune studies have it, and as many lack it. Of a rarer one no
    threshold can be learnt: it is told of as many tune studies as have it."""
    threshold_beta: float = Field(default=1.0, gt=0)
    """Thresholds are those with the best F-beta on tune; below 1 clues are fewer and surer. (At 1 a disease that is
    hardly perceived is told of every third study, and a language model learns to overhear it.)"""


@dataclass(frozen=True, slots=True)
class _Share:
    """What a rank tells the others: plain values.

    Attributes:
        sentences: J, drawn.
        owners: J, row of the study in this rank's batch.
        said: per study the canonical sentences of its whole report.
        labels: per study the signature of its whole report.
    """

    sentences: tuple[Sentence, ...]
    owners: tuple[int, ...]
    said: tuple[frozenset[str], ...]
    labels: tuple[tuple[int | None, ...], ...]


class SentenceContrast(nn.Module):
    """KL divergence of the softmax over sentences (studies) from the targets, in both directions.

    With pos_ij = 1 where sentence j stands in study i's report, equals one of its sentences, or (``agreeing``) agrees
    with its labels; q_ij = pos_ij / sum_j pos_ij; r_ij = pos_ij / sum_i pos_ij; and logits s v_i . t_j:
    L = (mean_i KL(q_i | softmax_j) + mean_j KL(r_j | softmax_i)) / 2 + local_weight * (the same of patches) +
    report_weight * (the same of reports). KL is the cross-entropy less the targets' entropy: its floor is 0.
    A pair whose sentence speaks only of diseases that the study's report leaves unknown is in no denominator.

    Args:
        model: the two encoders.
        config: sampling and weights.

    Raises:
        ConfigError: the network is none with two encoders.
    """

    Config = SentenceContrastConfig
    couples_studies = True

    def __init__(self, model: nn.Module, config: SentenceContrastConfig) -> None:
        super().__init__()
        if not isinstance(model, Alignment):
            raise ConfigError(
                f"objective sentence_contrast: {type(model).__name__} has no text encoder to compare with; "
                "use method: alignment"
            )
        self.model = model
        self.config = config
        self.ranks: Ranks = OneRank()
        self.findings = tuple(disease.finding or "" for disease in model.bank.diseases)
        kinds = {"": 1.0, "local_": config.local_weight, "report_": config.report_weight}
        self.weights: Mapping[str, float] = {
            f"{kind}{direction}": weight / 2
            for kind, weight in kinds.items()
            if weight
            for direction in ("image", "text")
        }

    # --- what the engine asks for -------------------------------------------------------------------------------

    def counts(self, batch: Batch) -> dict[str, float]:
        """Studies with a sentence, and sentences."""
        share = self._draw(batch)
        studies, sentences = float(len(set(share.owners))), float(len(share.sentences))
        return {
            name: sentences if name.endswith("text") and not name.startswith("report") else studies
            for name in self.weights
        }

    def observed(self) -> dict[str, float]:
        """The learnt scale."""
        return self.model.gates()

    def forward(self, batch: Batch | None) -> dict[str, Tensor]:
        """Summed divergence per part and direction; None where this rank has no study left in the step."""
        model, share = self.model, self._draw(batch)
        distinct = list(dict.fromkeys(sentence.text for sentence in share.sentences))
        blank = model.log_scale.new_zeros(0, model.config.contrast_dim, requires_grad=True)
        if distinct:
            place = {text: number for number, text in enumerate(distinct)}
            rows = torch.tensor([place[sentence.text] for sentence in share.sentences], device=blank.device)
            texts_JD = model.text_vectors(distinct)[rows]
        else:
            texts_JD = blank
        if batch is None:
            images_BD, patches_BND, valid_BN = blank, blank.unsqueeze(1), blank.new_zeros(0, 1, dtype=torch.bool)
        else:
            seen = model.see(batch)
            images_BD, patches_BND, valid_BN = model.image_vectors(seen), model.patch_vectors(seen), seen.valid_BN
        return self._sums(share, texts_JD, images_BD, patches_BND, valid_BN)

    def _sums(
        self, share: _Share, texts_JD: Tensor, images_BD: Tensor, patches_BND: Tensor, valid_BN: Tensor
    ) -> dict[str, Tensor]:
        """Own studies against all sentences, own sentences against all studies."""
        ranks, scale = self.ranks, self.model.scale
        shares: list[_Share] = ranks.gather(share)
        before = shares[: ranks.rank]
        first_study, first_sentence = (sum(len(s.said) for s in before), sum(len(s.sentences) for s in before))
        own_B = slice(first_study, first_study + len(share.said))
        own_J = slice(first_sentence, first_sentence + len(share.sentences))
        positive_AS, ignored_AS = (mask.to(texts_JD.device) for mask in _targets(shares, agreeing=self.config.agreeing))
        texts_SD, images_AD = ranks.join(texts_JD), ranks.join(images_BD)
        parts = {"": (scale * images_BD @ texts_SD.T, scale * images_AD @ texts_JD.T)}
        if self.config.local_weight:
            most = max(ranks.gather(patches_BND.shape[1]))
            padded = F.pad(patches_BND, (0, 0, 0, most - patches_BND.shape[1]))
            valid = F.pad(valid_BN, (0, most - valid_BN.shape[1]))
            patches_AND, valid_AN = ranks.join(padded), ranks.join(valid.to(padded.dtype)) > 0
            parts["local_"] = (
                scale * local_similarity(padded, valid, texts_SD),
                scale * local_similarity(patches_AND, valid_AN, texts_JD),
            )
        sums = {}
        for name, (by_image_BS, by_text_AJ) in parts.items():
            sums[f"{name}image"] = divergence(by_image_BS, positive_AS[own_B], ignored_AS[own_B]).sum()
            sums[f"{name}text"] = divergence(by_text_AJ.T, positive_AS[:, own_J].T, ignored_AS[:, own_J].T).sum()
        if self.config.report_weight:
            sums |= self._report_sums(share, shares, texts_JD, images_BD, images_AD, first_study)
        return sums

    def _report_sums(
        self,
        share: _Share,
        shares: Sequence[_Share],
        texts_JD: Tensor,
        images_BD: Tensor,
        images_AD: Tensor,
        first_study: int,
    ) -> dict[str, Tensor]:
        """Each image with the mean of its report's drawn sentences; studies without one take no part."""
        owners_J = torch.tensor(share.owners, dtype=torch.int64, device=texts_JD.device)
        reports_BD = F.normalize(torch.zeros_like(images_BD).index_add(0, owners_J, texts_JD), dim=-1)
        reports_AD = self.ranks.join(reports_BD)
        has_report_A = torch.tensor(
            [row in set(other.owners) for other in shares for row in range(len(other.said))], device=texts_JD.device
        )
        own_AB = torch.eye(len(images_AD), dtype=torch.bool, device=texts_JD.device)
        own_BA = own_AB[first_study : first_study + len(images_BD)] & has_report_A
        nobody_BA = (~has_report_A).expand_as(own_BA)
        scale = self.model.scale
        return {
            "report_image": divergence(scale * images_BD @ reports_AD.T, own_BA, nobody_BA).sum(),
            "report_text": divergence(scale * reports_BD @ images_AD.T, own_BA, nobody_BA).sum(),
        }

    def _draw(self, batch: Batch | None) -> _Share:
        """The sentences of a batch that take part, and what their studies say."""
        if batch is None:
            return _Share((), (), (), ())
        if batch.reports is None:
            raise StudyError("objective sentence_contrast: compares images with their reports, and the batch has none")
        config = self.config
        seeds = [0] * len(batch) if batch.seeds_B is None else batch.seeds_B.tolist()
        drawn: list[Sentence] = []
        owners: list[int] = []
        said = []
        for row, (report, seed) in enumerate(zip(batch.reports, seeds, strict=True)):
            sentences = report_sentences(report, self.findings)
            chosen = draw_sentences(sentences, seed, num_negated=config.num_negated, num_neutral=config.num_neutral)
            drawn += chosen
            owners += [row] * len(chosen)
            said.append(frozenset(sentence.canonical for sentence in sentences))
        labels = tuple(report_signature(report, self.findings) for report in batch.reports)
        return _Share(tuple(drawn), tuple(owners), tuple(said), labels)

    # --- what validation asks for -------------------------------------------------------------------------------

    @torch.no_grad()
    def judge(self, batch: Batch) -> list[tuple[list[float], tuple[int | None, ...]]]:
        """Per study the probability of every disease, and what its report says of it."""
        assert batch.reports is not None
        perceived = self.model.perceive(batch).tolist()
        return [
            (row, report_signature(report, self.findings)) for row, report in zip(perceived, batch.reports, strict=True)
        ]

    def conclude(self, judged: Sequence[Sequence[tuple[list[float], tuple[int | None, ...]]]]) -> dict[str, float]:
        """Zero-shot AUC over the tune studies; the thresholds with the best F-beta are set in the network.

        Returns:
            ``auc_macro`` over the diseases with enough tune studies (NaN without any), ``f1_macro`` of the same at
            their thresholds, and ``num_diseases``, how many they are.
        """
        rows = [row for batch in judged for row in batch]
        perceived_NM = np.array([row[0] for row in rows], dtype=np.float64)
        areas, scores, thresholds = [], [], {}
        for column, disease in enumerate(self.model.bank.diseases):
            statuses = [row[1][column] for row in rows]
            known = np.array([status != -1 for status in statuses])
            present = np.array([status == 1 for status in statuses])[known]
            values = perceived_NM[known, column]
            if not len(values):
                continue
            threshold = self._threshold(values, present)
            thresholds[disease.name] = min(1.0, max(0.0, threshold))
            if min(present.sum(), (~present).sum()) >= self.config.min_positives:
                areas.append(float(auc(values, present)[0]))
                scores.append(f1(values > threshold, present))
        self.model.calibrate(thresholds)
        mean: Any = np.mean
        if not areas:
            return {"auc_macro": float("nan"), "f1_macro": float("nan"), "num_diseases": 0.0}
        return {"auc_macro": float(mean(areas)), "f1_macro": float(mean(scores)), "num_diseases": float(len(areas))}

    def _threshold(self, values: FloatArray, present: BoolArray) -> float:
        """Of one disease, from the tune studies of which it is known whether they have it."""
        number = int(present.sum())
        learnt = best_threshold(values, present, beta=self.config.threshold_beta, most=MOST_TOLD * number)
        return (
            learnt if learnt is not None and number >= self.config.min_positives else matched_threshold(values, number)
        )


def _targets(shares: Sequence[_Share], *, agreeing: bool) -> tuple[Tensor, Tensor]:
    """pos (A, S) and, for pairs that are in no denominator, ignore (A, S); both bool on the CPU."""
    sentences = [sentence for share in shares for sentence in share.sentences]
    number = {canonical: place for place, canonical in enumerate({sentence.canonical: None for sentence in sentences})}
    said_AU = torch.zeros(sum(len(share.said) for share in shares), len(number), dtype=torch.bool)
    for row, said in enumerate(said for share in shares for said in share.said):
        said_AU[row, [number[canonical] for canonical in said if canonical in number]] = True
    positive_AS = said_AU[:, [number[sentence.canonical] for sentence in sentences]]
    labels_AM = _statuses([labels for share in shares for labels in share.labels])
    spoken_SM = _statuses([sentence.signature for sentence in sentences])
    speaks_SM = spoken_SM != _SILENT
    speaks_S = speaks_SM.any(1)
    if agreeing:
        differs_ASM = speaks_SM & (labels_AM[:, None] != spoken_SM)
        positive_AS = positive_AS | (~differs_ASM.any(2) & speaks_S)
    known_AM = (labels_AM == 0) | (labels_AM == 1)
    ignored_AS = speaks_S & ~(speaks_SM & known_AM[:, None]).any(2) & ~positive_AS
    return positive_AS, ignored_AS


def _statuses(signatures: Sequence[tuple[int | None, ...]]) -> Tensor:
    """int8 (rows, M) of signatures, ``_SILENT`` for what is not mentioned; M is 1 where there is no row."""
    rows = [[_SILENT if status is None else status for status in signature] for signature in signatures]
    return torch.tensor(rows, dtype=torch.int8) if rows else torch.full((0, 1), _SILENT, dtype=torch.int8)


def divergence(logits_RC: Tensor, positive_RC: Tensor, ignored_RC: Tensor) -> Tensor:
    """KL(target | softmax) of every row, (R,); the target is even over a row's positives. 0 for a row without one."""
    wide = logits_RC.float() if logits_RC.dtype != torch.float64 else logits_RC
    number_R = positive_RC.sum(-1)
    # A row of which nothing would be left keeps all: its result is dropped, and must not be NaN on the way back.
    left_out_RC = ignored_RC & ~positive_RC & (number_R > 0).unsqueeze(-1)
    log_probs_RC = wide.masked_fill(left_out_RC, -torch.inf).log_softmax(-1)
    chosen_R = torch.where(positive_RC, log_probs_RC, torch.zeros_like(log_probs_RC)).sum(-1)
    divided_R = -chosen_R / number_R.clamp(min=1) - number_R.clamp(min=1).to(wide.dtype).log()
    return torch.where(number_R > 0, divided_R, torch.zeros_like(divided_R))


def local_similarity(patches_BND: Tensor, valid_BN: Tensor, texts_SD: Tensor) -> Tensor:
    """u_ij . t_j, (B, S), with a_ijn = softmax_n(10 t_j . p_n) and u_ij = norm(sum_n a_ijn p_n).

    The (B, S, D) vectors are never made: |sum a p|^2 = a^T (P P^T) a.

    Args:
        patches_BND: unit vectors.
        valid_BN: False for patches that do not exist.
        texts_SD: unit vectors.
    """
    similar_BSN = torch.einsum("sd,bnd->bsn", texts_SD, patches_BND)
    weights_BSN = (SHARPNESS * similar_BSN).masked_fill(~valid_BN[:, None], -1e9).softmax(-1)
    gram_BNN = patches_BND @ patches_BND.transpose(1, 2)
    length_BS = ((weights_BSN @ gram_BNN) * weights_BSN).sum(-1).clamp(min=1e-12).sqrt()
    similarity: Tensor = (weights_BSN * similar_BSN).sum(-1) / length_BS
    return similarity
