"""Processes that look at images: one that dies or hangs is replaced, and takes no other upload with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hostile_decoder import SLOWLY, look_on
from serving_cases import png

from radwright.serving import inspecting
from radwright.serving.inspecting import InspectionLimits, Inspector
from radwright.serving.intake import Limits, RefusedImageError


@pytest.fixture
def inspector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inspector]:
    monkeypatch.setattr(inspecting, "_look_on", look_on)
    made = Inspector(Limits(), InspectionLimits(seconds=30, num_processes=2))
    made.start()
    yield made
    made.close()


def test_an_image_that_kills_its_process_is_refused_and_no_other(inspector: Inspector) -> None:
    outcomes: dict[str, object] = {}

    def describe(what: bytes) -> None:
        try:
            outcomes[what[:4].decode()] = inspector.describe(what, "chest.png").image.kind
        except RefusedImageError as error:
            outcomes[what[:4].decode()] = error.kind

    threads = [threading.Thread(target=describe, args=(what,)) for what in (SLOWLY + png(), b"dies")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {"take": "PNG", "dies": "damaged"}
    for _ in range(4):
        assert inspector.describe(png(), "chest.png").image.kind == "PNG"


def test_an_image_that_hangs_is_given_up_and_the_start_of_another_process_is_not_held_against_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inspecting, "_look_on", look_on)
    inspector = Inspector(Limits(), InspectionLimits(seconds=0.3, num_processes=1))
    with pytest.raises(RefusedImageError, match="could not be read within"):
        inspector.describe(b"hangs", "chest.png")
    monkeypatch.setattr(inspector, "_limits", InspectionLimits(seconds=30, num_processes=1))
    assert inspector.describe(png(), "chest.png").image.kind == "PNG"
    inspector.close()
