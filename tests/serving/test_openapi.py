"""Whatever is asked for, as the OpenAPI description allows it or not: every answer is described, and none is 5xx."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import settings
from room_cases import draft, image, job_of, study
from schemathesis.specs.openapi.checks import positive_data_acceptance
from serving_cases import client_of, make_server, png
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from radwright.serving.http.app import create_app
from radwright.serving.http.wire import LARGEST
from radwright.serving.room import ReadingRoom


class Filled:
    """A server with studies in every state, over ASGI.

    Args:
        folder: of its reading room.
    """

    def __init__(self, folder: Path) -> None:
        self.server = make_server(folder, max_waiting=10_000, evidence_wait_s=2)
        self.ids = [*_studies(self.server.room)]
        self._app = create_app(self.server, hosts=None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # whoever made this starts the server, and stops it
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        await self._app(scope, receive, send)


def _studies(room: ReadingRoom) -> Iterator[str]:
    """Studies in every state; their ids."""
    pixels = [png(40, 32), png(30, 50, seed=1)]
    images = [image(place, data=data, width=40, height=32) for place, data in enumerate(pixels)]
    for data in pixels:
        room.blobs.put(data)

    def upload() -> str:
        return room.studies.upload(study(), images, actor="local", most_waiting=100)[0].id

    for _ in range(3):
        yield (made := upload())
        room.studies.add_draft(job_of(room, made), draft())
    yield (signed := upload())
    room.studies.add_draft(job_of(room, signed), draft())
    room.reports.sign(signed, 1, observer="Dr. Ann", actor="local")
    yield (edited := upload())
    room.studies.add_draft(job_of(room, edited), draft())
    room.reports.save(edited, "All clear.", based_on=1, author="local")
    yield (failed := upload())
    room.studies.fail(job_of(room, failed), "no draft can be had")
    yield room.studies.receive(
        study(study_uid="1.2.3"),
        image(data=pixels[0], width=40, height=32, sop_instance_uid="1.2.3.4"),
        actor="pacs:MAIN",
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    made = Filled(tmp_path_factory.mktemp("room"))
    made.server.start()
    yield made
    made.server.stop()


described = schemathesis.openapi.from_dict(create_app(cast(Any, None))._app.openapi())
described.app = "the server of the fixture"


@described.parametrize()
@settings(max_examples=6)
def test_every_answer_is_described(case: schemathesis.Case, filled: Filled) -> None:
    ask(case, filled)


@pytest.mark.slow
@described.parametrize()
@settings(max_examples=300)
def test_every_answer_to_many_requests_is_described(case: schemathesis.Case, filled: Filled) -> None:
    ask(case, filled)


def ask(case: schemathesis.Case, filled: Filled) -> None:
    """Ask, and hold the answer against the description."""
    _come_home(case, filled)
    case.call_and_validate(app=filled, excluded_checks=[positive_data_acceptance] if _judges(case) else [])


def _judges(case: schemathesis.Case) -> bool:
    """Whether what fits the description may still be refused: no image, a clue that is not known, nobody's name."""
    return case.operation.label.startswith("POST /v1/")


def _come_home(case: schemathesis.Case, filled: Filled) -> None:
    """Half of the valid ids become ids of studies that are there, and valid numbers become ones that are likely."""
    path = case.path_parameters
    name = path.get("study_id")
    draw = random.Random(repr((case.operation.label, path, case.query, case.body)))
    if isinstance(name, str) and re.fullmatch("[0-9a-f]{16}", name) and draw.random() < 0.5:
        path["study_id"] = study_id = draw.choice(filled.ids)
        for number in {"place", "draft", "sentence"} & path.keys():
            if type(path[number]) is int and path[number] > 3:
                path[number] = draw.randrange(1, 3)
        newest = filled.server.room.reports.newest(study_id)
        if isinstance(case.body, dict) and newest is not None:
            for number in {"based_on", "version"} & case.body.keys():
                if type(case.body[number]) is int and 0 < case.body[number] <= LARGEST:
                    case.body[number] = newest.number


def test_a_method_that_a_path_does_not_know_is_told_those_that_it_knows(filled: Filled) -> None:
    for path, allowed in (
        ("/v1/studies", "GET, POST"),
        ("/v1/session", "DELETE, GET, POST"),
        ("/healthz", "GET, HEAD"),
    ):
        answer = TestClient(filled).put(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert answer.json()["error"]["code"] == "not_allowed"


def test_who_has_no_token_gets_an_answer_that_is_described_too(tmp_path: Path) -> None:
    with client_of(make_server(tmp_path, is_open=False)) as client:
        paths = client.get("/openapi.json").json()["paths"]
        for path, methods in paths.items():
            for method, operation in methods.items():
                asked = re.sub(r"{\w+}", "0", path)
                for headers in ({}, {"Host": "elsewhere.example"}):
                    status = client.request(method, asked, headers=headers).status_code
                    assert str(status) in operation["responses"], (method, path, status)
