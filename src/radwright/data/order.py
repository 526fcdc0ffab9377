"""Which studies an epoch holds in which order, and the seed of what is drawn from each: functions of keys alone.

Nothing here depends on process, rank, batch or resume.
"""

from __future__ import annotations

import hashlib

import numpy as np


def epoch_order(num_studies: int, seed: int, epoch: int) -> list[int]:
    """A permutation of the places 0 to ``num_studies - 1``: the argsort of PCG64's raw stream for (seed, epoch)."""
    keys = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(num_studies)
    return [int(place) for place in np.argsort(keys, kind="stable")]


def study_seed(seed: int, epoch: int, study_id: str) -> int:
    """The seed, in [0, 2**63), of what an objective draws at random from a study in an epoch.

    The first 63 bits of SHA-256 of ``draws/seed/epoch/study_id``: the same in every process and version.
    """
    digest = hashlib.sha256(f"draws/{seed}/{epoch}/{study_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
