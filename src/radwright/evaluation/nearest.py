"""The nearest train report by image feature: what copying a look-alike's report scores, without writing a word.

Features lie on disk in shards, so that they are made once, a kill costs one shard, and memory holds one at a time.

Shape legend: N studies asked, M studies of a shard, C features.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from radwright.data.files import atomic_file, output_errors
from radwright.types import Skipped, Study

SHARD_STUDIES = 1024
_EPSILON = 1e-3

FloatArray = NDArray[np.float32]


class FeatureMaker(Protocol):
    """What compares images; ``radwright.inference.predictor.Predictor`` does."""

    def image_features(self, studies: Iterable[Study]) -> Iterator[tuple[str, FloatArray] | Skipped]:
        """(study id, features (C,)) or the reason for none, per study, in order."""
        ...


@dataclass(frozen=True, slots=True)
class StudyFeatures:
    """Image features of some studies, in shards on disk.

    Attributes:
        shards: files of ids and features.
        skipped: studies whose images cannot be read, and why.
    """

    shards: tuple[Path, ...]
    skipped: tuple[Skipped, ...]

    def read(self) -> Iterator[tuple[list[str], FloatArray]]:
        """Ids and features (M, C) of one shard after the other."""
        for path in self.shards:
            shard = _read_shard(path)
            assert shard is not None, path
            if shard.ids:
                yield shard.ids, shard.features_MC


def make_features(
    maker: FeatureMaker,
    studies: Sequence[Study],
    study_ids: Sequence[str],
    folder: Path,
    *,
    identity: Mapping[str, Any],
    on_progress: Callable[[int], None] = lambda count: None,
) -> StudyFeatures:
    """Image features of ``studies``; shards that an earlier call made of the same studies are taken as they are.

    Args:
        maker: turns images into features.
        studies: read a shard at a time.
        study_ids: their ids.
        folder: where the shards lie, below a folder named after ``identity``.
        identity: weights, preprocessing, store: what the features depend on besides the studies.
        on_progress: told how many further studies are done.

    Raises:
        OutputError: a shard cannot be written.
    """
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    folder = folder / digest
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    shards: list[Path] = []
    skipped: list[Skipped] = []
    for start in range(0, len(study_ids), SHARD_STUDIES):
        asked = list(study_ids[start : start + SHARD_STUDIES])
        path = folder / f"{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]}.npz"
        shard = _read_shard(path)
        if shard is None:
            chosen = (studies[place] for place in range(start, start + len(asked)))
            shard = _make_shard(maker, chosen, on_progress)
            _write_shard(path, shard)
        else:
            on_progress(len(asked))
        shards.append(path)
        skipped += [Skipped(study_id, reason) for study_id, reason in shard.skipped]
    return StudyFeatures(tuple(shards), tuple(skipped))


def nearest_studies(asked: StudyFeatures, known: StudyFeatures) -> dict[str, str]:
    """Study id -> the most similar study of ``known`` other than itself; the first one of equals.

    Similar by the cosine of features standardised over ``known``: unstandardised, the mean image would decide.
    """
    mean_C, deviation_C = _moments(known)
    nearest: dict[str, str] = {}
    for ids, features_NC in asked.read():
        queries_NC = _unit((features_NC - mean_C) / deviation_C)
        best_N = np.full(len(ids), -np.inf)
        names = [""] * len(ids)
        for known_ids, known_MC in known.read():
            cosine_NM = queries_NC @ _unit((known_MC - mean_C) / deviation_C).T
            own = {study_id: place for place, study_id in enumerate(known_ids)}
            for row, study_id in enumerate(ids):
                if study_id in own:
                    cosine_NM[row, own[study_id]] = -np.inf
            place_N = cosine_NM.argmax(1)
            value_N = cosine_NM[np.arange(len(ids)), place_N]
            for better in np.flatnonzero(value_N > best_N).tolist():
                names[better] = known_ids[int(place_N[better])]
            best_N = np.maximum(best_N, value_N)
        nearest |= {study_id: name for study_id, name in zip(ids, names, strict=True) if name}
    return nearest


def _moments(known: StudyFeatures) -> tuple[FloatArray, FloatArray]:
    count = 0
    total: NDArray[np.float64] = np.zeros(1)
    squares: NDArray[np.float64] = np.zeros(1)
    for _, features_MC in known.read():
        wide_MC = features_MC.astype(np.float64)
        count, total, squares = count + len(wide_MC), total + wide_MC.sum(0), squares + (wide_MC**2).sum(0)
    mean_C = total / max(1, count)
    deviation_C = np.sqrt(np.maximum(squares / max(1, count) - mean_C**2, 0)) + _EPSILON
    return mean_C.astype(np.float32), deviation_C.astype(np.float32)


def _unit(rows: FloatArray) -> FloatArray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class _Shard:
    ids: list[str]
    features_MC: FloatArray
    skipped: list[tuple[str, str]]


def _make_shard(maker: FeatureMaker, studies: Iterable[Study], on_progress: Callable[[int], None]) -> _Shard:
    ids, features, skipped = [], [], []
    for outcome in maker.image_features(studies):
        if isinstance(outcome, Skipped):
            skipped.append((outcome.study_id, outcome.reason))
        else:
            ids.append(outcome[0])
            features.append(outcome[1])
        on_progress(1)
    return _Shard(ids, np.stack(features) if features else np.zeros((0, 1), np.float32), skipped)


def _write_shard(path: Path, shard: _Shard) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, features=shard.features_MC, ids=json.dumps([shard.ids, shard.skipped]))
    with atomic_file(path) as file:
        file.write(buffer.getvalue())


def _read_shard(path: Path) -> _Shard | None:
    """None where there is none, or a damaged one, which is made anew."""
    try:
        # From memory: of a damaged file, numpy leaves the stream open.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            ids, skipped = json.loads(str(arrays["ids"]))
            return _Shard(ids, arrays["features"], [(study_id, reason) for study_id, reason in skipped])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
        return None
