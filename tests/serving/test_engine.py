"""The drafting engine where things go wrong, what its followers are told, and how often texts are told."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from room_cases import draft, image, job_of, study
from serving_cases import FakeDrafter, client_of, events, make_server, png, upload

from radwright.decoding.config import DecodingConfig, Greedy
from radwright.imaging.config import ImageConfig
from radwright.inference.checkpoint import CheckpointConfig, build_model, save_checkpoint
from radwright.serving import drafting
from radwright.serving.counters import Counters
from radwright.serving.drafting import Drafter, Order
from radwright.serving.engine import Engine, EngineLimits
from radwright.serving.feed import Ended, Feed, Written
from radwright.serving.room import ReadingRoom
from radwright.text.words import WordTokenizer
from radwright.types import ImageInMemory, Study, View

LIMITS = EngineLimits(max_batch=4, batch_wait_s=0.01, num_loaders=1, poll_s=0.02)


@pytest.fixture
def room(tmp_path: Path) -> ReadingRoom:
    return ReadingRoom(tmp_path)


def waiting(room: ReadingRoom, *, seed: int = 0) -> str:
    data = png(seed=seed)
    room.blobs.put(data)
    return room.studies.upload(study(), [image(data=data)], actor="local", most_waiting=100)[0].id


def until(is_so: Callable[[], bool]) -> None:
    for _ in range(3000):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to be so")


def engine_of(room: ReadingRoom, drafter: Any = None) -> Engine:
    return Engine(room, drafter or FakeDrafter(), Feed(Counters(room)), LIMITS)


def test_a_failure_that_cannot_be_kept_is_tried_again(room: ReadingRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    study_id, tries = waiting(room), list[str]()
    (room.folder / "images" / (digest := room.studies.images(study_id)[0].digest)[:2] / digest).unlink()
    fail = room.studies.fail

    def locked_once(job: Any, reason: str) -> None:
        tries.append(reason)
        if len(tries) == 1:
            raise sqlite3.OperationalError("database is locked")
        fail(job, reason)

    monkeypatch.setattr(room.studies, "fail", locked_once)
    engine = engine_of(room)
    engine.start()
    until(lambda: room.studies.study(study_id).state == "failed")
    assert engine.stop()
    assert len(tries) == 2


def test_the_drafts_of_a_batch_are_kept_at_once(room: ReadingRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    drafter, kept = FakeDrafter(), list[int]()
    ids = [waiting(room, seed=seed) for seed in range(4)]
    add_drafts = room.studies.add_drafts

    def counted(made: Any) -> Any:
        kept.append(len(made))
        return add_drafts(made)

    monkeypatch.setattr(room.studies, "add_drafts", counted)
    engine = engine_of(room, drafter)
    engine.start()
    until(lambda: all(room.studies.study(each).state == "drafted" for each in ids))
    assert engine.stop()
    assert sorted(kept) == sorted(len(batch) for batch in drafter.batches)


def test_drafts_of_a_batch_are_kept_all_or_none(room: ReadingRoom) -> None:
    ids = [waiting(room, seed=seed) for seed in range(2)]
    jobs = [job_of(room, each) for each in ids]
    with pytest.raises(TypeError):
        room.studies.add_drafts([(jobs[0], draft()), (jobs[1], SimpleNamespace())])  # type: ignore[list-item]
    assert [room.studies.draft(each) for each in ids] == [None, None]
    assert room.studies.num_waiting() == 2
    room.reports.save(ids[1], "Written by hand.", based_on=0, author="Dr. Ann")
    room.reports.sign(ids[1], 1, observer="Dr. Ann", actor="Dr. Ann")
    first, second = room.studies.add_drafts([(job, draft()) for job in jobs])
    assert first is not None
    assert second is None


def test_the_text_of_a_draft_that_nobody_wants_any_more_does_not_precede_the_next(room: ReadingRoom) -> None:
    drafter, feed = FakeDrafter(), Feed(Counters(room))
    study_id, written = waiting(room), threading.Event()
    write = drafter.write

    def late(orders: Any, on_text: Any) -> Any:
        made = write(orders, on_text)
        with room.database.transaction() as connection:
            connection.execute("DELETE FROM job")
        written.set()
        return made

    drafter.write = late  # type: ignore[method-assign]
    engine = Engine(room, drafter, feed, LIMITS)
    engine.start()
    assert written.wait(30)
    assert engine.stop()

    async def told() -> Any:
        with feed.follow(study_id) as follower:
            return await follower.get(0.05)

    assert asyncio.run(told()) is None


def test_a_follower_is_told_the_longest_text_and_then_the_end(room: ReadingRoom) -> None:
    feed = Feed(Counters(room))

    async def told() -> list[Any]:
        feed.text("s", "a")
        with feed.follow("s") as follower:
            for text in ("a b", "a b c"):
                feed.text("s", text)
            found = [await follower.get(1)]
            feed.text("s", "a b c d")
            feed.drafted("s", draft())
            return [*found, await follower.get(1), await follower.get(0.01)]

    assert asyncio.run(told()) == [Written("a b c"), Ended(draft()), None]


def test_streams_end_when_the_server_is_told_to_stop(tmp_path: Path) -> None:
    drafter = FakeDrafter()
    drafter.gate.clear()
    server = make_server(tmp_path, drafter=drafter)
    with client_of(server) as client:
        study_id = upload(client).json()["study"]["id"]
        server.is_draining = True
        assert {kind for kind, _ in events(client, study_id)} <= {"state"}
        assert upload(client).status_code == 503
        drafter.gate.set()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Drafter:
    backbone = {"name": "resnet", "depth": 18, "width": 4, "num_stages": 2}
    layers = {"num_encoder_layers": 1, "num_decoder_layers": 1, "num_local_per_head": 1}
    model = {"backbone": backbone, "dim": 16, "num_heads": 4, "hidden_dim": 16, "linguistic_hidden_dim": 16, **layers}
    words = WordTokenizer(["the", "heart", "lungs", "is", "are", "clear", "normal", "no", "effusion", "."])
    greedy = DecodingConfig(strategy=Greedy(), max_tokens=8, min_tokens=7)
    config = CheckpointConfig(
        method="vlci",
        model=model,
        image=ImageConfig(size_px=32),
        decoding=greedy,
    )
    path = tmp_path_factory.mktemp("run") / "best"
    torch.manual_seed(0)
    save_checkpoint(path, config, build_model("vlci", model, words, config.image), words, {})
    return Drafter.open(path, device="cpu")


@pytest.mark.parametrize("every_s", [0.0, 3600.0])
def test_texts_are_told_as_often_as_they_can_be_read_and_grow_into_the_draft(
    tiny: Drafter, monkeypatch: pytest.MonkeyPatch, every_s: float
) -> None:
    monkeypatch.setattr(drafting, "TELL_EVERY_S", every_s)
    views = [tiny.read(Study(f"s{n}", (View(ImageInMemory("x", png(seed=n))),))) for n in range(3)]
    told: dict[str, list[str]] = {f"s{n}": [] for n in range(3)}
    made = tiny.write([Order(each, {}) for each in views], lambda name, text: told[name].append(text))  # type: ignore[arg-type]
    for name, texts in told.items():
        assert len(texts) == (0 if every_s else 8), texts
        assert all(made[name].text.startswith(text) for text in texts)  # type: ignore[union-attr]
        assert texts == sorted(texts, key=len)


def test_who_listened_in_a_loop_that_is_closed_disturbs_nobody(room: ReadingRoom) -> None:
    feed = Feed(Counters(room))

    async def follow() -> Any:
        listening = feed.follow("a")
        listening.__enter__()
        return listening

    listening = asyncio.run(follow())
    feed.text("a", "Clear")
    feed.failed("a", "no draft")
    listening.__exit__(None, None, None)
