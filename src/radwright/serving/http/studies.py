"""Studies over HTTP: upload, worklist, one study, its drafts as they are written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Header, Path, Query, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from radwright.serving.database import timestamp
from radwright.serving.feed import Ended, Written
from radwright.serving.http import wire
from radwright.serving.http.answers import draft_out, row_out, study_out
from radwright.serving.http.common import Radiologist, ServerDep, UserDep, failures
from radwright.serving.http.guard import RefusedError
from radwright.serving.intake import Described, RefusedImageError, clean_text, one_study
from radwright.serving.records import StudyState
from radwright.serving.server import Server
from radwright.serving.worklist import MOST_ROWS

router = APIRouter(prefix="/v1", tags=["studies"])
Id = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", description="a study's id")]
_LOOK_AGAIN_S = 1.0
"""How often a stream asks how many are ahead, whether its draft was withdrawn, and whether the server ends."""


def _known(server: ServerDep, study_id: Id) -> str:
    """The id of a study that is there: asked before an answer begins that can no longer be a refusal.

    Raises:
        UnknownStudyError: it is not.
    """
    return server.room.studies.study(study_id).id


KnownId = Annotated[str, Depends(_known)]


@router.post("/studies", status_code=201, responses=failures(408, 409, 413, 429, 501, 503, 507))
async def upload_study(
    server: ServerDep,
    user: UserDep,
    files: Annotated[list[UploadFile], File(min_length=1, description="views of one study: PNG, JPEG or DICOM")],
    indication: Annotated[str, Form(max_length=2000)] = "",
    accession: Annotated[str, Form(max_length=16, pattern=r"^[^\\]*$")] = "",
    description: Annotated[str, Form(max_length=200)] = "",
    idempotency_key: Annotated[
        str, Header(max_length=128, description="a name for this request: sent again, it makes no second study")
    ] = "",
) -> wire.UploadedOut:
    """Take a study in; its draft is written as soon as its turn comes (follow ``/events``)."""
    if not 1 <= len(files) <= server.config.max_files:
        raise RefusedError(
            422, "invalid", f"{len(files)} files: give 1 to {server.config.max_files} images of one study"
        )
    described = await _describe_all(server, files)
    study, images = one_study(described, origin="upload")
    given = {"indication": indication, "accession": accession, "description": description}
    facts: dict[str, Any] = {name: clean_text(text, at_most=2000) for name, text in given.items() if text.strip()}
    study = replace(study, **facts)

    key, most_waiting = f"{user.name}/{idempotency_key}" if idempotency_key else "", server.config.max_waiting

    def keep() -> wire.UploadedOut:
        studies = server.room.studies
        # Asked before: what is refused must leave no image behind.
        made = studies.taken_before(study, images, most_waiting=most_waiting, request_key=key)
        if made is None:
            for file in files:
                file.file.seek(0)
                server.room.blobs.put(file.file.read())
            made, _ = studies.upload(
                study,
                images,
                actor=user.name,
                most_waiting=most_waiting,
                deadline_at=deadline(server),
                request_key=key,
            )
        return wire.UploadedOut(study=row_out(server.room, server.room.worklist.row(made.id)))

    kept = await run_in_threadpool(keep)
    server.engine.wake()
    return kept


async def _describe_all(server: Server, files: Sequence[UploadFile]) -> list[Described]:
    """What the files of one upload are.

    Raises:
        RefusedImageError: of each file that is not taken, in a line of its own, why.
    """
    described, refused = list[Described](), list[RefusedImageError]()
    for file in files:
        try:
            described.append(await _describe(server, file))
        except RefusedImageError as error:
            server.counters.refused.labels(error.kind).inc()
            refused.append(error)
    if refused:
        raise RefusedImageError("\n".join(str(error) for error in refused), refused[0].kind)
    return described


async def _describe(server: Server, file: UploadFile) -> Described:
    """What an uploaded file is; its bytes are in memory only while it is looked at."""

    def look() -> Described:
        file.file.seek(0)
        return server.inspector.describe(file.file.read(), file.filename or "image")

    async with server.looking:
        return await run_in_threadpool(look)


def deadline(server: Server) -> str:
    """Until when a draft that is asked for now is of use."""
    return timestamp(datetime.now(UTC) + timedelta(seconds=server.config.draft_deadline_s))


@router.get("/studies", responses=failures())
def list_studies(
    server: ServerDep,
    state: Annotated[StudyState | Literal[""], Query(description="studies of this state only")] = "",
    finding: Annotated[str, Query(max_length=64, description="studies whose report asserts it only")] = "",
    q: Annotated[
        str, Query(max_length=200, description="words of name, id, accession, description or indication")
    ] = "",
    sort: Annotated[Literal["received", "urgency", "risk", "state"], Query()] = "received",
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 50,
    offset: Annotated[int, Query(ge=0, le=wire.LARGEST)] = 0,
) -> wire.WorklistOut:
    """The worklist: what fits, in the order asked for."""
    total, rows = server.room.worklist.find(
        state=state, finding=finding, words=q, order=sort, limit=limit, offset=offset
    )
    return wire.WorklistOut(total=total, studies=[row_out(server.room, row) for row in rows])


@router.get("/studies/{study_id}", responses=failures(404))
def get_study(server: ServerDep, study_id: Id) -> wire.StudyOut:
    """A study with its images, drafts, report and signature."""
    return study_out(server.room, study_id)


@router.post("/studies/{study_id}/drafts", status_code=202, responses=failures(404, 409, 429))
def request_draft(server: ServerDep, user: Radiologist, study_id: Id, wanted: wire.DraftIn) -> wire.UploadedOut:
    """Ask for another draft, with clues forced on or off; it never replaces what a person has edited."""
    both = set(wanted.clues.on) & set(wanted.clues.off)
    if both:
        raise RefusedError(422, "invalid", f"clue {min(both)!r} cannot be on and off at once")
    forced = dict.fromkeys(wanted.clues.on, True) | dict.fromkeys(wanted.clues.off, False)
    server.room.studies.study(study_id)
    server.drafter.check_forced(forced)
    server.room.studies.request_draft(
        study_id, forced, actor=user.name, most_waiting=server.config.max_waiting, deadline_at=deadline(server)
    )
    server.engine.wake()
    return wire.UploadedOut(study=row_out(server.room, server.room.worklist.row(study_id)))


@router.post("/studies/{study_id}/withdraw", responses=failures(404, 409))
def withdraw_study(server: ServerDep, user: Radiologist, study_id: Id, wanted: wire.WithdrawIn) -> wire.UploadedOut:
    """Take a study that is here by mistake off the worklist; nothing of it is deleted. Not a signed one."""
    server.room.studies.withdraw(study_id, clean_text(wanted.reason, at_most=500), actor=user.name)
    return wire.UploadedOut(study=row_out(server.room, server.room.worklist.row(study_id)))


@router.post("/studies/{study_id}/restore", responses=failures(404, 409))
def restore_study(server: ServerDep, user: Radiologist, study_id: Id) -> wire.UploadedOut:
    """Put a withdrawn study back on the worklist."""
    server.room.studies.restore(study_id, actor=user.name)
    server.engine.wake()
    return wire.UploadedOut(study=row_out(server.room, server.room.worklist.row(study_id)))


@router.get("/studies/{study_id}/events", response_class=EventSourceResponse, responses=failures(404, is_stream=True))
async def follow_study(server: ServerDep, study_id: KnownId) -> AsyncIterator[ServerSentEvent]:
    """A study's draft while it is written: ``state``, ``text`` (all so far), then ``draft`` or ``failed``."""
    with server.feed.follow(study_id) as follower:
        told = None
        while not server.is_draining:
            state, ahead = await run_in_threadpool(server.room.studies.progress, study_id)
            if ahead is None and state != "receiving":
                yield await run_in_threadpool(_outcome, server, study_id)
                return
            if told != (state, ahead):
                told = (state, ahead)
                yield ServerSentEvent(event="state", data={"state": state, "reason": "", "ahead": ahead or 0})
            event = await follower.get(_LOOK_AGAIN_S)
            while isinstance(event, Written):
                yield ServerSentEvent(event="text", data={"text": event.text})
                event = await follower.get(_LOOK_AGAIN_S)
            if isinstance(event, Ended) and event.draft is not None:
                yield ServerSentEvent(event="draft", data={"draft": draft_out(event.draft).model_dump()})
                return
            if isinstance(event, Ended):
                yield ServerSentEvent(event="failed", data={"reason": event.reason})
                return


def _outcome(server: Server, study_id: str) -> ServerSentEvent:
    """How drafting ended, of a study that waits for no draft."""
    study, draft = server.room.studies.study(study_id), server.room.studies.draft(study_id)
    if draft is not None:
        return ServerSentEvent(event="draft", data={"draft": draft_out(draft).model_dump()})
    return ServerSentEvent(event="failed", data={"reason": study.reason})
