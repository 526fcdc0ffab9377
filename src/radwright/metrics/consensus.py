"""Consensus: of several texts the one that agrees most with all of them.

arg max over candidates c of sum_y votes(y) * agreement(c, y): minimum Bayes risk (Kumar and Byrne, NAACL 2004),
estimated from samples. The agreement is CIDEr-D's (Vedantam et al., CVPR 2015), partly with, partly without its weights
for rare n-grams: with them alone a few odd draws outvote the rest, without them every study gets the commonest phrases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from radwright.metrics.cider import ALIKE, DocumentFrequency, similarity, weigh


def choose(
    candidates: Sequence[str],
    frequency: DocumentFrequency,
    *,
    rarity: float,
    voters: Sequence[str] | None = None,
) -> int:
    """Index of the candidate that the voters agree with most; the first of equals.

    Args:
        candidates: at least one.
        frequency: of n-grams in the train reports.
        rarity: share of the agreement that counts n-grams by how rare they are, 0 to 1.
        voters: texts that candidates are held against; one that was drawn more often is there, and votes, more often.
            None: the candidates, each one's own vote included.
    """
    votes = Counter(candidates if voters is None else voters)
    totals = dict.fromkeys(candidates, 0.0)
    for share, weights in ((rarity, frequency), (1.0 - rarity, ALIKE)):
        if not share:
            continue
        idf: dict[Any, float] = {}
        weighted = {text: weigh(text, weights, idf) for text in {*votes, *totals}}
        for text in totals:
            totals[text] += share * sum(
                number * similarity(weighted[text], weighted[other]) for other, number in votes.items()
            )
    return candidates.index(max(totals, key=lambda text: totals[text]))
