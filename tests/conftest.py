"""Fixtures that every test may use."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# No test fails because the machine is busy.
settings.register_profile("no wall-clock", deadline=None)
settings.load_profile("no wall-clock")

SHARED = Path(__file__).parents[1].parent / "shared"


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that a test does is remembered in the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real development data; the test skips, saying so, where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("real development data (../shared) is not at hand")
    return SHARED


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    """A CUDA GPU that computes float32 in full; the test skips, saying so, where there is none."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU is at hand")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.cudnn, "allow_tf32", False)
        yield torch.device("cuda")


@pytest.fixture(scope="module")
def processes() -> Iterator[ForkServerContext]:
    """Processes that start with torch and Fabric loaded: forked from a server that has one thread."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["radwright.training.loop", "lightning_fabric.strategies", "pytest"])
    yield context
    from multiprocessing import forkserver

    forkserver._forkserver._stop()
