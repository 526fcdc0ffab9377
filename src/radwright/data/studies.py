"""What training asks of studies at hand, whether they lie in one prepared store or in several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from radwright.types import Study


class Studies(Protocol):
    """Random access to studies; fulfilled by ``PreparedStore`` and ``JoinedStores``."""

    @property
    def name(self) -> str:
        """What to call them in a message."""
        ...

    def __len__(self) -> int:
        """Number of studies."""
        ...

    def study(self, index: int, *, images: bool = True) -> Study:
        """One study; ``images=False`` leaves its views out. Raises IndexError, StoreError."""
        ...

    @property
    def study_ids(self) -> tuple[str, ...]:
        """Ids of all studies, in order."""
        ...

    @property
    def splits(self) -> tuple[str | None, ...]:
        """Split of every study, in order."""
        ...

    def indices(self, split: str | None = None) -> list[int]:
        """Indices of the studies of one split (None: of all), in order. Raises StoreError where there are none."""
        ...

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """Plain values that are equal exactly where the studies are: their number and the shards' checksums."""
        ...

    @property
    def terms(self) -> Mapping[str, Any]:
        """``licence`` and, where users sign an agreement, ``credentialed: True``; for the model card."""
        ...
