"""Which findings drafts assert against which are there, and the most that any constant report could score.

Shape legend: N studies, K kinds of finding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class FindingScore:
    """Counts and scores of one kind, or of all kinds together.

    Attributes:
        right: asserted and there.
        fabricated: asserted and not there.
        missed: there and not asserted.
    """

    right: int
    fabricated: int
    missed: int

    @property
    def support(self) -> int:
        """How many are there."""
        return self.right + self.missed

    @property
    def precision(self) -> float:
        """Share of the asserted that are there; 0 when none is asserted."""
        return self.right / max(1, self.right + self.fabricated)

    @property
    def recall(self) -> float:
        """Share of those there that are asserted; 0 when none is there."""
        return self.right / max(1, self.support)

    @property
    def f1(self) -> float:
        """2 right / (2 right + fabricated + missed); 0 when nothing is asserted and nothing is there."""
        return 2 * self.right / max(1, 2 * self.right + self.fabricated + self.missed)

    def plain(self) -> dict[str, Any]:
        """Counts and scores as plain values."""
        scores = {"support": self.support, "precision": self.precision, "recall": self.recall, "f1": self.f1}
        return asdict(self) | scores


@dataclass(frozen=True, slots=True)
class FindingTable:
    """Finding-level scores of a set of drafts.

    Attributes:
        kinds: kind -> its score.
        micro: over all studies and kinds.
        best_constant_f1: the highest micro-F1 that one constant set of findings reaches on these very references; no
            constant report can be above it, whichever data it was chosen on.
        best_constant: that set.
    """

    kinds: Mapping[str, FindingScore]
    micro: FindingScore
    best_constant_f1: float
    best_constant: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "micro": self.micro.plain(),
            "best_constant": {"f1": self.best_constant_f1, "findings": list(self.best_constant)},
            "kinds": {kind: score.plain() for kind, score in self.kinds.items()},
        }


def finding_table(
    asserted: Sequence[Mapping[str, bool]], present: Sequence[Mapping[str, bool]], kinds: Sequence[str]
) -> FindingTable:
    """Compare what drafts assert with what is there.

    Args:
        asserted: per study, kind -> whether the draft asserts it.
        present: per study, kind -> whether it is there.
        kinds: the kinds to count.
    """
    draft_NK = np.array([[bool(study[kind]) for kind in kinds] for study in asserted]).reshape(-1, len(kinds))
    truth_NK = np.array([[bool(study[kind]) for kind in kinds] for study in present]).reshape(-1, len(kinds))
    right_K = (draft_NK & truth_NK).sum(0)
    fabricated_K = (draft_NK & ~truth_NK).sum(0)
    missed_K = (~draft_NK & truth_NK).sum(0)
    scores = {
        kind: FindingScore(int(right_K[k]), int(fabricated_K[k]), int(missed_K[k])) for k, kind in enumerate(kinds)
    }
    # Of all constants that assert m kinds, the one with the m most frequent kinds is right most often.
    order = np.argsort(-truth_NK.sum(0), kind="stable")
    right_M = truth_NK.sum(0)[order].cumsum()
    f1_M = 2 * right_M / np.maximum(1, len(truth_NK) * np.arange(1, len(kinds) + 1) + truth_NK.sum())
    best = int(f1_M.argmax())
    micro = FindingScore(int(right_K.sum()), int(fabricated_K.sum()), int(missed_K.sum()))
    return FindingTable(scores, micro, float(f1_M[best]), tuple(kinds[k] for k in order[: best + 1]))
