"""One text as every study's draft: BLEU-4 and CIDEr from tables of the references, hundreds of texts a second.

Equal to scoring n copies of the text with ``Bleu`` and ``Cider`` (tested), without looking at the references again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from radwright.metrics.base import FloatArray
from radwright.metrics.bleu import Bleu
from radwright.metrics.cider import SIGMA, DocumentFrequency, weigh
from radwright.metrics.ngrams import MAX_ORDER, Ngram, count_ngrams


class ConstantTables:
    """What is needed of n references (one per study) to score any constant draft.

    Args:
        references: n cleaned references.
        document_frequency: where CIDEr's idf weights come from; None counts these references.
    """

    def __init__(self, references: Sequence[str], document_frequency: DocumentFrequency | None = None) -> None:
        if not references:
            raise ValueError("constants need at least one reference")
        self._num = len(references)
        self._frequency = document_frequency or DocumentFrequency.of([text] for text in references)
        self._idf: dict[Ngram, float] = {}
        self._num_words = sum(len(text.split()) for text in references)
        weighted = [weigh(text, self._frequency, self._idf) for text in references]
        self._norms = np.array([reference.norms for reference in weighted]).T  # (order, study)
        self._lengths = np.array([reference.length for reference in weighted], dtype=np.float64)
        places: dict[Ngram, tuple[list[int], list[int]]] = {}
        for study, text in enumerate(references):
            for counts in count_ngrams(text.split()):
                for ngram, count in counts.items():
                    studies, occurrences = places.setdefault(ngram, ([], []))
                    studies.append(study)
                    occurrences.append(count)
        self._places: dict[Ngram, tuple[NDArray[np.int64], FloatArray]] = {
            ngram: (np.array(studies), np.array(counts, dtype=np.float64))
            for ngram, (studies, counts) in places.items()
        }

    def bleu_4(self, text: str) -> float:
        """Corpus BLEU-4 of ``text`` as every study's draft, in [0, 1]."""
        words = text.split()
        sums = np.zeros(2 + 2 * MAX_ORDER)
        sums[:2] = self._num * len(words), self._num_words
        for order, counts in enumerate(count_ngrams(words)):
            sums[2 + order] = sum(
                np.minimum(count, self._places[ngram][1]).sum()
                for ngram, count in counts.items()
                if ngram in self._places
            )
            sums[2 + MAX_ORDER + order] = self._num * max(0, len(words) - order)
        return float(Bleu().scores(sums)[-1])

    def cider(self, text: str) -> float:
        """Corpus CIDEr-D of ``text`` as every study's draft, in [0, 10]."""
        draft = weigh(text, self._frequency, self._idf)
        similarity = np.zeros(self._num)
        for vector, norm, norms in zip(draft.vectors, draft.norms, self._norms, strict=True):
            known = [ngram for ngram in vector if ngram in self._places]
            if not known or not norm:
                continue
            studies = np.concatenate([self._places[ngram][0] for ngram in known])
            theirs = np.concatenate([self._places[ngram][1] * self._idf[ngram] for ngram in known])
            ours = np.repeat([vector[ngram] for ngram in known], [len(self._places[ngram][0]) for ngram in known])
            common = np.bincount(studies, np.minimum(ours, theirs) * theirs, minlength=self._num)
            similarity += np.divide(common, norm * norms, out=np.zeros(self._num), where=norms > 0)
        penalty = np.exp(-((draft.length - self._lengths) ** 2) / (2 * SIGMA**2))
        return float(10 * np.mean(similarity / MAX_ORDER * penalty))
