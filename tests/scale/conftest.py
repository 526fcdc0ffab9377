"""Fixtures for work on many machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from here_cluster import HereCluster

from radwright.scale import drafting, preparing
from trained import trained_checkpoint


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> HereCluster:
    cluster = HereCluster()
    monkeypatch.setattr(drafting, "Cluster", cluster)
    monkeypatch.setattr(preparing, "Cluster", cluster)
    return cluster


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_checkpoint(tmp_path_factory.mktemp("trained"))
