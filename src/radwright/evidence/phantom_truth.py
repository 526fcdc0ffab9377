"""The truth that evidence is judged on: where the phantom drew what a sentence speaks of, and where it usually does.

Shape legend: V views, S image side in pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from radwright.data.phantom import Finding, PhantomConfig, PhantomStudy, findings_of, generate_study
from radwright.data.phantom.overlay import VIEW_NAMES
from radwright.evidence.localisation import mask_at
from radwright.types import Split

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

NUM_USUAL = 40
"""Other studies that say where a finding usually is."""
_MOST_LOOKED_AT = 4000


def spoken_of(sentence: str, study: PhantomStudy) -> tuple[list[Finding], list[Finding]]:
    """The findings that a sentence asserts: those whose kind the study shows, and those that it does not show.

    Sides and sizes are not held against the study: a sentence may name the wrong side of a finding that is there.
    """
    asserted = findings_of(sentence)
    shown = [finding for finding in asserted if study.labels[finding.kind]]
    return shown, [finding for finding in asserted if not study.labels[finding.kind]]


def masks_of(findings: Sequence[Finding], study: PhantomStudy, size_px: int) -> BoolArray:
    """Where any of these findings is, (V, S, S) for the views in the phantom's order."""
    masks = [
        np.stack([mask_at(study.masks[finding.kind][view], size_px) for view in VIEW_NAMES]) for finding in findings
    ]
    return np.asarray(np.logical_or.reduce(masks))


class UsualPlaces:
    """Where findings usually are: a map that knows what the sentence says and has seen no image of the study.

    Args:
        config: the population.
        size_px: side S of the maps.
        split: whose studies are looked at; not the one that is judged.
    """

    def __init__(self, config: PhantomConfig, size_px: int, split: Split = "train") -> None:
        self._config, self._size_px, self._split = config, size_px, split
        self._maps: dict[tuple[str, str], FloatArray] = {}

    def of(self, findings: Sequence[Finding]) -> FloatArray:
        """(V, S, S): share of other studies with such a finding, on the side that is said, that have it at a pixel."""
        maps = [self._of_one(finding.kind, finding.side) for finding in findings]
        return np.asarray(np.maximum.reduce(maps))

    def _of_one(self, kind: str, side: str) -> FloatArray:
        if (kind, side) not in self._maps:
            sums = np.zeros((len(VIEW_NAMES), self._size_px, self._size_px))
            number = 0
            for index in itertools.takewhile(lambda index: index < _MOST_LOOKED_AT, itertools.count()):
                if number == NUM_USUAL:
                    break
                study = generate_study(self._config, self._split, index, override={kind: True})
                [finding] = [finding for finding in study.findings if finding.kind == kind]
                if side in {"", finding.side}:
                    sums += masks_of([finding], study, self._size_px)
                    number += 1
            self._maps[kind, side] = sums / max(1, number)
        return self._maps[kind, side]
