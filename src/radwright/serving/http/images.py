"""Images and evidence over HTTP."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.concurrency import run_in_threadpool

from radwright.serving.explaining import BusyError
from radwright.serving.http import wire
from radwright.serving.http.answers import evidence_out
from radwright.serving.http.common import ServerDep, failures
from radwright.serving.http.guard import RETRY_S, RefusedError
from radwright.serving.http.studies import Id
from radwright.serving.records import ReadingImage
from radwright.serving.refusals import UnknownStudyError
from radwright.serving.server import Server

router = APIRouter(prefix="/v1/studies/{study_id}", tags=["images"])
Place = Annotated[int, Path(ge=0, le=wire.LARGEST)]
_BINARY = {"schema": {"type": "string", "format": "binary"}}
# An image never changes; but a browser's disk is no place for it once the page is closed.
_KEPT = {"Cache-Control": "private, no-store"}


@router.get(
    "/images/{place}/pixels",
    response_class=Response,
    responses={
        **failures(404),
        200: {
            "description": "gray pixels, row-major, little-endian; sizes in X-Width, X-Height, X-Bits. A pixel times "
            "X-Slope plus X-Intercept is the value in the file's units, in which X-Window-Center, X-Window-Width and "
            "X-Window-Function (LINEAR or LINEAR_EXACT, as DICOM defines them) are what the image is first shown "
            "through; PNG and JPEG name no window",
            "content": {"application/octet-stream": _BINARY},
        },
    },
)
async def get_pixels(server: ServerDep, study_id: Id, place: Place) -> Response:
    """An image's gray pixels for a viewer, before any window, bright is dense; at most 4096 a side."""
    image = await run_in_threadpool(_image, server, study_id, place)
    async with server.decoding:
        raw = await run_in_threadpool(server.pictures.pixels, image)
    sizes = {"Width": raw.width, "Height": raw.height, "Bits": raw.bits}
    full = {"Full-Width": image.width, "Full-Height": image.height}
    told: dict[str, float | str] = {**sizes, **full, "Slope": raw.slope, "Intercept": raw.intercept}
    if (window := raw.window) is not None:
        told |= {f"Window-{name.title()}": value for name, value in asdict(window).items()}
    headers = {f"X-{name}": str(value) for name, value in told.items()}
    return Response(raw.data, media_type="application/octet-stream", headers=headers | _KEPT)


@router.get(
    "/images/{place}/thumbnail",
    response_class=Response,
    responses={**failures(404), 200: {"description": "a PNG", "content": {"image/png": _BINARY}}},
)
async def get_thumbnail(server: ServerDep, study_id: Id, place: Place) -> Response:
    """An image as a small PNG."""
    image = await run_in_threadpool(_image, server, study_id, place)
    shown = server.pictures.known_thumbnail(image)
    if shown is None:
        async with server.decoding:
            shown = await run_in_threadpool(server.pictures.thumbnail, image)
    return Response(shown, media_type="image/png", headers=_KEPT)


def _image(server: Server, study_id: str, place: int) -> ReadingImage:
    server.room.studies.study(study_id)
    images = server.room.studies.images(study_id)
    if place >= len(images):
        raise UnknownStudyError(f"study {study_id} has no image {place}; it has {len(images)}")
    return images[place]


@router.get("/evidence/{draft}/{sentence}", responses=failures(404, 503))
async def get_evidence(
    server: ServerDep,
    study_id: Id,
    draft: Annotated[int, Path(ge=1, le=wire.LARGEST)],
    sentence: Annotated[int, Path(ge=0, le=wire.LARGEST)],
) -> wire.EvidenceOut:
    """What a sentence of a draft rests on in the images, and what clues do to it; may take seconds the first time."""
    known = await asyncio.to_thread(server.room.studies.draft, study_id, draft)
    if known is None or sentence >= len(known.sentences):
        raise UnknownStudyError(f"study {study_id} has no draft {draft} with a sentence {sentence}")
    try:
        future = server.desk.ask(study_id, draft)
        async with asyncio.timeout(server.config.evidence_wait_s):
            found = await asyncio.shield(asyncio.wrap_future(future))
    except BusyError:
        raise RefusedError(503, "busy", "many drafts wait to be explained; try later", retry_s=RETRY_S) from None
    except TimeoutError:
        raise RefusedError(503, "busy", "it is still being explained; ask again", retry_s=RETRY_S) from None
    return evidence_out(sentence, found[sentence])
