"""RadCliQ-v1: the error that radiologists would find, estimated from three other scores. Lower is better.

Yu et al., Patterns 2023. Means, scales and coefficients are those of ``radcliq-v1.pkl`` in the authors' repository
(rajpurkarlab/CXR-Report-Metric, MIT licence), as the package RadEval (jbdel/RadEval) states them and checks against it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radwright.errors import ScoringError
from radwright.evaluation.learned.bertscore import BertScore
from radwright.evaluation.learned.chexbert import Chexbert
from radwright.evaluation.learned.radgraph import RadGraph
from radwright.evaluation.learned.supply import Part
from radwright.evaluation.learned.texts import Pair, mean_scores, rows_of_pairs
from radwright.metrics.base import FloatArray
from radwright.metrics.bleu import Bleu

MEANS = np.array([0.53792312, 0.61757256, 0.76479421, 0.44738335])
SCALES = np.array([0.30282584, 0.22430938, 0.25394391, 0.29892717])
COEFFICIENTS = np.array([-3.77083683e-01, -3.70300100e-01, -2.52616218e-01, 4.31504841e-12])
INTERCEPT = 2.46655256e-10
"""Of RadGraph F1, BERTScore, the cosine of CheXbert's vectors and BLEU-2, in this order; BLEU-2 weighs nothing."""
ENCODER_LAYERS, LAYER = 6, 5
"""distilroberta-base, compared at its fifth layer."""


class RadCliQ:
    """RadCliQ-v1, raw: 2.45 where nothing is right, -1.44 for the reference itself. A row is [RadCliQ, 1].

    Never the reciprocal, which some tables print so that more is better: it has a pole at 0.

    Args:
        chexbert: whose vectors are compared.
        bertscore: distilroberta-base at layer 5, rescaled.
        radgraph: RadGraph F1.
    """

    names = ("radcliq_v1",)
    higher_is_better = (False,)
    reads_as_written = True
    why_unscored = RadGraph.why_unscored
    parts: tuple[Part, ...] = ()
    built_on = ("chexbert", "bertscore", "radgraph")

    def __init__(self, chexbert: Chexbert, bertscore: BertScore, radgraph: RadGraph) -> None:
        self._chexbert = chexbert
        self._bertscore = bertscore
        self._radgraph = radgraph
        self.variant = f"RadCliQ-v1 raw, lower is better, {bertscore.variant}"

    @classmethod
    def load(cls, chexbert: Chexbert, bertscore: BertScore, radgraph: RadGraph) -> RadCliQ:
        """From its components.

        Raises:
            ScoringError: BERTScore is not the one that the coefficients were fitted on.
        """
        if bertscore.baseline is None:
            raise ScoringError(
                "RadCliQ-v1 was fitted on rescaled BERTScore: give --weights bertscore.baseline=distilroberta-base.tsv "
                "(from github.com/Tiiiger/bert_score, bert_score/rescale_baseline/en)"
            )
        if (bertscore.num_layers, bertscore.layer) != (ENCODER_LAYERS, LAYER):
            raise ScoringError(
                f"RadCliQ-v1 was fitted on distilroberta-base at layer {LAYER} of {ENCODER_LAYERS}, not on layer "
                f"{bertscore.layer} of {bertscore.num_layers}: give --weights bertscore=that folder and "
                f"--weights bertscore.layer={LAYER}"
            )
        return cls(chexbert, bertscore, radgraph)

    def rows(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> FloatArray:
        """Statistics (n, 2); see ``Metric``."""
        return rows_of_pairs(self._compare, hypotheses, references)

    def scores(self, sums: FloatArray) -> FloatArray:
        """(..., 1) mean over studies; not a number where a graph is missing."""
        return mean_scores(sums)

    def _compare(self, pairs: Sequence[Pair]) -> FloatArray:
        bleu = Bleu()
        words = [(_separate(draft), [_separate(text)]) for draft, text in pairs]
        bleu_2 = bleu.scores(bleu.rows([draft for draft, _ in words], [texts for _, texts in words]))[:, 1]
        components = [
            self._radgraph.similarities(pairs),
            self._bertscore.similarities(pairs),
            self._chexbert.similarities(pairs),
            bleu_2,
        ]
        values = combine(np.stack(components, axis=1))
        return np.stack([values, np.where(np.isnan(values), np.nan, 1.0)], axis=1)


def combine(components: FloatArray) -> FloatArray:
    """RadCliQ-v1 (P) of RadGraph F1, rescaled BERTScore, CheXbert cosine and BLEU-2 (P, 4)."""
    values: FloatArray = (components - MEANS) / SCALES @ COEFFICIENTS + INTERCEPT
    return values


def _separate(text: str) -> str:
    """Words as the authors split them for BLEU."""
    return text.lower().replace(".", " .")
