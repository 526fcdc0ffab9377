"""CheXbert: labels of 14 findings by a BERT that a user has on disk, their F1, and the cosine of report vectors.

Smit et al., EMNLP 2020. Names and order of the heads, and the meaning of their classes, are those of the authors'
repository (stanfordmlgroup/CheXbert, src/constants.py); the vector is the [CLS] state, as RadCliQ's authors take it.

Shape legend: P pairs, C findings, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from radwright.errors import CheckpointError
from radwright.evaluation.learned.supply import Part
from radwright.evaluation.learned.texts import Pair, choose_device, distinct, rows_of_pairs, run_in_batches, unify
from radwright.findings.mention import Status
from radwright.findings.ontology import CHEXPERT, CHEXPERT_5
from radwright.metrics.base import FloatArray, divide
from radwright.nn.backbone import read_weights
from radwright.nn.huggingface import bert_from_weights, load_tokenizer

HEADS: tuple[str, ...] = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
    "No Finding",
)
"""What head N of ``linear_heads.N`` labels; another order than CheXpert's label files."""
BLANK, POSITIVE, NEGATIVE, UNCERTAIN = range(4)
_STATUS = {POSITIVE: Status.PRESENT, NEGATIVE: Status.ABSENT, UNCERTAIN: Status.UNCERTAIN}
_MAX_TOKENS = 512
_FIVE = [HEADS.index(name) for name in CHEXPERT_5]
_ASSERTED = ((POSITIVE,), (POSITIVE, UNCERTAIN))

Read = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Classes (C) of the heads, and the report vector (D)."""


class Chexbert:
    """F1 of asserted findings (micro and macro, 14 findings and CheXpert's five) and cosine of report vectors.

    A finding counts as asserted where it is labelled positive; in the scores with ``_u_`` also where it is uncertain,
    which is how papers' "CheXbert F1" mostly counts. Macro takes a finding that occurs on neither side as 0. A draft
    without words asserts nothing and its cosine is 0 (ours).

    A row is true positives, false positives, false negatives (C each), without and with uncertain ones, then
    [cosine, 1].
    """

    names = (
        "chexbert_micro_14",
        "chexbert_macro_14",
        "chexbert_micro_5",
        "chexbert_macro_5",
        "chexbert_u_micro_14",
        "chexbert_u_macro_14",
        "chexbert_u_micro_5",
        "chexbert_u_macro_5",
        "chexbert_semb",
    )
    higher_is_better = (True,) * 9
    reads_as_written = True
    variant = "CheXbert, positive only and (u) uncertain as positive, macro with absent findings as 0, cosine of [CLS]"
    parts = (
        Part("weights", "the file chexbert.pth", "its authors' page, github.com/stanfordmlgroup/CheXbert"),
        Part("tokenizer", "the folder of the tokenizer of bert-base-uncased", "huggingface.co/bert-base-uncased"),
    )
    built_on: tuple[str, ...] = ()

    def __init__(self, bert: torch.nn.Module, heads: Sequence[torch.nn.Linear], tokenizer: Any) -> None:
        self._device = choose_device()
        self._bert = bert.to(self._device)
        self._heads = list(heads)
        self._tokenizer = tokenizer
        self._read: dict[str, Read] = {}  # every distinct text is read once, whichever drafts it is compared for

    @classmethod
    def load(cls, weights: Path, tokenizer: Path) -> Chexbert:
        """From ``chexbert.pth`` and the tokenizer's folder.

        Raises:
            CheckpointError: the file holds other weights, or the folder no tokenizer.
            MissingExtraError: transformers is not installed.
        """
        named = {name.removeprefix("module."): tensor for name, tensor in read_weights(weights).items()}
        bert = {name.removeprefix("bert."): tensor for name, tensor in named.items() if name.startswith("bert.")}
        try:
            encoder = bert_from_weights(bert)
            heads = [_head(named, number, bert["embeddings.word_embeddings.weight"].shape[1]) for number in range(14)]
        except CheckpointError as error:
            raise CheckpointError(f"{weights}: is not CheXbert's checkpoint: {error}") from error
        words = load_tokenizer(tokenizer)
        if len(words) > len(bert["embeddings.word_embeddings.weight"]):
            raise CheckpointError(f"{tokenizer}: is not the tokenizer of {weights}: it has more words, {len(words)}")
        return cls(encoder, heads, words)

    def label(self, texts: Sequence[str]) -> list[dict[str, Status | None]]:
        """What each report says of the 14 findings, in the columns of CheXpert's label files; None: not mentioned."""
        unified = [unify(text) for text in texts]
        self._read_all([text for text in dict.fromkeys(unified) if text])
        labelled = []
        for text in unified:
            status = {name: _STATUS.get(int(found)) for name, found in zip(HEADS, self._classes(text), strict=True)}
            labelled.append({name: status[name] for name in CHEXPERT})
        return labelled

    def rows(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> FloatArray:
        """Statistics (n, 86); see ``Metric``."""
        return rows_of_pairs(self._compare, hypotheses, references)

    def scores(self, sums: FloatArray) -> FloatArray:
        """(..., 9) F1 in [0, 1], and the mean cosine in [-1, 1]."""
        columns = []
        for start in (0, 3 * len(HEADS)):
            counts_3C = sums[..., start : start + 3 * len(HEADS)].reshape(*sums.shape[:-1], 3, len(HEADS))
            for chosen in (slice(None), _FIVE):
                right_C, fabricated_C, missed_C = (counts_3C[..., k, :][..., chosen] for k in range(3))
                twice_C = 2 * right_C
                all_C = twice_C + fabricated_C + missed_C
                columns.append(divide(twice_C.sum(-1), all_C.sum(-1)))
                columns.append(divide(twice_C, all_C).mean(-1))
        columns.append(divide(sums[..., -2], sums[..., -1]))
        return np.stack(columns, axis=-1)

    def similarities(self, pairs: Sequence[Pair]) -> FloatArray:
        """Cosine (P) of the report vectors of each pair; 0 where a side has no words."""
        self._read_all(distinct(pairs))
        return np.array([self._cosine(draft, text) if draft and text else 0.0 for draft, text in pairs])

    def _compare(self, pairs: Sequence[Pair]) -> FloatArray:
        cosines_P = self.similarities(pairs)
        drafts_PC = np.array([self._classes(draft) for draft, _ in pairs]).reshape(-1, len(HEADS))
        texts_PC = np.array([self._classes(text) for _, text in pairs]).reshape(-1, len(HEADS))
        counts = []
        for asserted in _ASSERTED:
            ours_PC, theirs_PC = np.isin(drafts_PC, asserted), np.isin(texts_PC, asserted)
            counts += [ours_PC & theirs_PC, ours_PC & ~theirs_PC, ~ours_PC & theirs_PC]
        return np.concatenate([*counts, cosines_P[:, None], np.ones((len(pairs), 1))], axis=1, dtype=np.float64)

    def _classes(self, text: str) -> NDArray[np.int64]:
        return self._read[text][0] if text else np.full(len(HEADS), BLANK, dtype=np.int64)

    def _cosine(self, draft: str, text: str) -> float:
        ours_D, theirs_D = self._read[draft][1].astype(np.float64), self._read[text][1].astype(np.float64)
        return float(ours_D @ theirs_D / (np.linalg.norm(ours_D) * np.linalg.norm(theirs_D)))

    def _read_all(self, texts: Sequence[str]) -> None:
        unread = [text for text in texts if text not in self._read]
        encoded = self._tokenizer(unread, truncation=True, max_length=_MAX_TOKENS)["input_ids"] if unread else []
        for index, states_TD in run_in_batches(self._bert, encoded, self._tokenizer.pad_token_id):
            vector_D = states_TD[0].clone()
            classes = [int(head(vector_D).argmax()) for head in self._heads]
            self._read[unread[index]] = (np.array(classes), vector_D.numpy())


def _head(named: dict[str, torch.Tensor], number: int, width: int) -> torch.nn.Linear:
    classes = 2 if HEADS[number] == "No Finding" else 4
    head = torch.nn.Linear(width, classes)
    own = {part: named.get(f"linear_heads.{number}.{part}") for part in ("weight", "bias")}
    for part, tensor in own.items():
        wanted = head.state_dict()[part].shape
        if tensor is None or tensor.shape != wanted:
            raise CheckpointError(f"linear_heads.{number}.{part} must be there, in the shape {tuple(wanted)}")
    head.load_state_dict(own)
    return head.eval().requires_grad_(False)
