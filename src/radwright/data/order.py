"""Which studies an epoch holds in which order, and the seed of what is drawn from each: functions of keys alone.

Nothing here depends on process, rank, batch or resume.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from radwright.data.studies import Studies
from radwright.errors import ConfigError


def epoch_order(num_studies: int, seed: int, epoch: int, weights: Sequence[float] | None = None) -> list[int]:
    """``num_studies`` places out of 0 to ``num_studies - 1``, in the epoch's order.

    Without weights each place once: the argsort of PCG64's raw stream for (seed, epoch). With weights place i comes
    n_i times with expectation num_studies * w_i / sum(w), and n_i is that number rounded down or up: systematic
    sampling (Madow 1949) over the permutation, which is shuffled again. Equal weights give each place once.

    Args:
        num_studies: n.
        seed: with the epoch, the key of every draw.
        epoch: from 0.
        weights: one per place, at least 0, not all 0.
    """
    permutation = _shuffled(np.arange(num_studies), [seed, epoch])
    if weights is None:
        return [int(place) for place in permutation]
    ends = np.cumsum(np.asarray(weights, dtype=np.float64)[permutation])
    # 24 bits: offset + k is exact, so equal weights give each place exactly once.
    offset = int(np.random.PCG64(np.random.SeedSequence([seed, epoch, 1])).random_raw() >> 40) / 2**24
    marks = (offset + np.arange(num_studies)) * (ends[-1] / num_studies)
    # The clip: where rounding moves the last mark to the end, it belongs to the last place with a weight.
    drawn = np.minimum(np.searchsorted(ends, marks, side="right"), np.searchsorted(ends, ends[-1], side="left"))
    return [int(place) for place in _shuffled(permutation[drawn], [seed, epoch, 2])]


def _shuffled(places: npt.NDArray[np.int64], key: Sequence[int]) -> npt.NDArray[np.int64]:
    stream = np.random.PCG64(np.random.SeedSequence(list(key))).random_raw(len(places))
    return places[np.argsort(stream, kind="stable")]


def weights_of(weights: Mapping[str, float] | Sequence[float], store: Studies, indices: Sequence[int]) -> list[float]:
    """The weights in the order of ``indices``.

    Raises:
        ConfigError: a study has none, or they are no weights: negative, not finite, or all 0.
    """
    ids = [store.study_ids[index] for index in indices]
    if isinstance(weights, Mapping):
        missing = [study_id for study_id in ids if study_id not in weights]
        if missing:
            raise ConfigError(f"weights: {len(missing)} of {len(ids)} studies have none, e.g. {missing[0]}")
        values = [float(weights[study_id]) for study_id in ids]
    else:
        values = [float(weight) for weight in weights]
    if len(values) != len(ids):
        raise ConfigError(f"weights: {len(values)} for {len(ids)} studies; give one for each")
    for study_id, value in zip(ids, values, strict=True):
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"weights: study {study_id} has {value}; a weight is a finite number, at least 0")
    if values and not sum(values) > 0:
        raise ConfigError("weights: all are 0, so no study can be drawn")
    return values


def draw_key(study_id: str, time: int) -> str:
    """What random draws from a study are keyed by: its id, and from its second time in an epoch on that number too."""
    return f"{study_id}#{time}" if time else study_id


def study_seed(seed: int, epoch: int, study_id: str) -> int:
    """The seed, in [0, 2**63), of what an objective draws at random from a study in an epoch.

    The first 63 bits of SHA-256 of ``draws/seed/epoch/study_id``: the same in every process and version.
    """
    digest = hashlib.sha256(f"draws/{seed}/{epoch}/{study_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
