"""A server of the reading room for tests: the real application over a drafter that needs no network."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image
from room_cases import MODEL, draft

from radwright.data.loading import LoadedStudy, LoadingConfig, load_study
from radwright.errors import StudyError
from radwright.evidence.clue_effect import ClueEffect
from radwright.imaging.config import ImageConfig
from radwright.serving.database import now
from radwright.serving.drafting import FoundEvidence, MapOnImage, OnText, Order
from radwright.serving.http.app import create_app
from radwright.serving.inspecting import Inspector
from radwright.serving.intake import Described, Limits, describe_image
from radwright.serving.records import Draft, ReadingImage
from radwright.serving.room import ReadingRoom
from radwright.serving.server import Server
from radwright.serving.settings import ServeConfig
from radwright.types import Skipped, Study

TEXT = "There is a left pleural effusion. The heart is normal."


class FakeDrafter:
    """Reads images as a network would, and always writes the same.

    Args:
        seconds: a batch takes.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.identity = MODEL
        self.silence = None
        self.diseases: dict[str, str | None] = {"Edema": "edema", "Pleural Effusion": "pleural_effusion"}
        self.seconds = seconds
        self.batches: list[tuple[str, ...]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def read(self, study: Study) -> LoadedStudy | Skipped:
        try:
            return load_study(study, ImageConfig(size_px=32), LoadingConfig())
        except StudyError as error:
            return Skipped(study.study_id, str(error))

    def write(self, orders: Sequence[Order], on_text: OnText) -> dict[str, Draft | Skipped]:
        self.entered.set()
        self.gate.wait(30)
        self.batches.append(tuple(order.views.study_id for order in orders))
        words = TEXT.split()
        for end in range(1, len(words) + 1):
            for order in orders:
                on_text(order.views.study_id, " ".join(words[:end]).removesuffix("."))
        time.sleep(self.seconds)
        return {
            order.views.study_id: draft(
                TEXT if not order.forced.get("Edema") else "There is edema.",
                clues={"Pleural Effusion": 0.8},
                forced=dict(order.forced),
                created_at=now(),
            )
            for order in orders
        }

    def check_forced(self, forced: dict[str, bool]) -> None:
        for name in forced:
            if name not in self.diseases:
                raise StudyError(f"clue {name!r}: unknown")

    def explain(self, views: LoadedStudy, made: Draft, images: Sequence[ReadingImage]) -> tuple[FoundEvidence, ...]:
        maps = tuple(MapOnImage(image.place, ((0.0, 0.5), (1.0, 0.0))) for image in images)
        effect = ClueEffect("Edema", False, 0.1, False, -0.4, -0.5)
        return tuple(FoundEvidence(each.text, -0.5, {"occlusion": maps}, (effect,)) for each in made.sentences)


def png(width: int = 40, height: int = 32, *, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


class InspectorHere(Inspector):
    """Looks at images in this very process: no process has to start."""

    def __init__(self, intake: Limits) -> None:
        self._intake = intake

    def start(self) -> None:
        pass

    def describe(self, data: bytes, name: str) -> Described:
        return describe_image(data, name, self._intake)

    def close(self) -> None:
        pass


def make_server(
    folder: Path, *, drafter: Any = None, is_open: bool = True, inspector: Inspector | None = None, **settings: Any
) -> Server:
    config = ServeConfig.parse({"inspection_processes": 1, "batch_wait_ms": 1, **settings}, where="serve")
    inspector = inspector or InspectorHere(Limits(max_pixels=config.max_pixels))
    return Server(ReadingRoom(folder), drafter or FakeDrafter(), config, is_open=is_open, inspector=inspector)


@contextmanager
def client_of(server: Server, **options: Any) -> Iterator[TestClient]:
    """A client of a running server; on leaving, the server is stopped."""
    with TestClient(
        create_app(server), base_url="http://localhost", raise_server_exceptions=False, **options
    ) as client:
        yield client


def upload(client: TestClient, *images: bytes, name: str = "chest.png", **form: str) -> Any:
    files = [("files", (name, data)) for data in images or (png(),)]
    return client.post("/v1/studies", files=files, data=form)


def events(client: TestClient, study_id: str) -> list[tuple[str, Any]]:
    """All events of a study until its stream ends."""
    import json

    found, kind = [], ""
    with client.stream("GET", f"/v1/studies/{study_id}/events") as response:
        assert response.status_code == 200, response.status_code
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            if line.startswith("event:"):
                kind = line.partition(":")[2].strip()
            elif line.startswith("data:"):
                found.append((kind, json.loads(line.partition(":")[2])))
    return found
