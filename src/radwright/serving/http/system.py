"""Who asks, which network is served, findings, audit, health and metrics; and the page itself."""

from __future__ import annotations

import hashlib
import logging
import mimetypes
from functools import cache
from importlib import resources
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from radwright import __version__
from radwright.findings.ontology import concepts
from radwright.serving import audit
from radwright.serving.access import SESSION_HOURS, User
from radwright.serving.counters import CONTENT_TYPE
from radwright.serving.http import wire
from radwright.serving.http.answers import model_out, title
from radwright.serving.http.common import Admin, ServerDep, failures
from radwright.serving.http.guard import COOKIE, RefusedError, cookie_of
from radwright.serving.records import LABEL
from radwright.serving.refusals import UnknownStudyError

logger = logging.getLogger(__name__)
router = APIRouter()
_PLAIN = {"schema": {"type": "string"}}


@router.get("/v1/session", tags=["session"], responses=failures())
def get_session(request: Request, server: ServerDep) -> wire.SessionOut:
    """Who asks."""
    user: User | None = request.state.user
    return wire.SessionOut(
        signed_in=user is not None,
        needs_token=not server.is_open,
        name=user.name if user else None,
        role=user.role if user else None,
    )


@router.post("/v1/session", tags=["session"], responses=failures())
def open_session(request: Request, response: Response, server: ServerDep, given: wire.TokenIn) -> wire.SessionOut:
    """Sign in with a token: a cookie that scripts cannot read, for half a day."""
    secret = server.room.access.open_session(given.token)
    user = server.room.access.user_of(given.token)
    if secret is None or user is None:
        logger.warning("a sign-in was refused: nobody has that token")
        raise RefusedError(401, "unauthorized", "this token is not known here, or was revoked")
    response.set_cookie(
        COOKIE,
        secret,
        max_age=SESSION_HOURS * 3600,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return wire.SessionOut(signed_in=True, needs_token=not server.is_open, name=user.name, role=user.role)


@router.delete("/v1/session", tags=["session"], status_code=204, response_class=Response, responses=failures())
def close_session(request: Request, server: ServerDep) -> Response:
    """Sign out."""
    if secret := cookie_of(request.headers.get("cookie", "")):
        server.room.access.close_session(secret)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE)
    return response


@router.get("/v1/model", tags=["system"], responses=failures())
def get_model(server: ServerDep) -> wire.ServedModelOut:
    """The network that writes here, and the clues that it can be told."""
    drafter = server.drafter
    return wire.ServedModelOut(
        model=model_out(drafter.identity),
        told_clues=bool(drafter.diseases),
        diseases=[wire.DiseaseOut(name=name, title=title(name)) for name in drafter.diseases],
        label=LABEL,
        calibrated=drafter.silence is not None,
    )


@router.get("/v1/findings", tags=["system"], responses=failures())
def list_findings(server: ServerDep) -> wire.FindingsOut:
    """Every finding that a report can be asked for, and how many studies' reports assert it."""
    counts = server.room.worklist.finding_counts()
    return wire.FindingsOut(
        findings=[
            wire.ListedFindingOut(finding=each.id, title=each.name, num_studies=counts.get(each.id, 0))
            for each in concepts().values()
        ]
    )


@router.get("/v1/audit", tags=["system"], responses=failures())
def list_audit(
    server: ServerDep,
    user: Admin,
    after: Annotated[int, Query(ge=0, le=wire.LARGEST)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> wire.AuditOut:
    """The audit log from behind an entry; ``radwright audit verify`` checks it."""
    found = audit.entries(server.room.database, after=after, limit=limit)
    return wire.AuditOut(entries=[wire.AuditEntryOut(**each.plain()) for each in found])


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", tags=["system"], responses={400: {"model": wire.Failure}, 503: {"model": wire.HealthOut}})
def get_health(server: ServerDep, response: Response) -> wire.HealthOut:
    """Whether studies are being drafted."""
    is_well = server.engine.is_alive
    status = "draining" if server.is_draining else "ok" if is_well else "failing"
    response.status_code = 200 if status == "ok" else 503
    return wire.HealthOut(
        status=status,  # type: ignore[arg-type]
        radwright=__version__,
        model=server.drafter.identity.name,
        waiting=server.room.studies.num_waiting(),
    )


@router.get(
    "/metrics",
    tags=["system"],
    response_class=Response,
    responses={**failures(), 200: {"description": "Prometheus' text format", "content": {"text/plain": _PLAIN}}},
)
def get_metrics(server: ServerDep) -> Response:
    """Counters for Prometheus; nothing of a patient."""
    return Response(server.counters.text(), media_type=CONTENT_TYPE)


# ---- the page


@cache
def _page() -> dict[str, tuple[bytes, str, str]]:
    """Name -> bytes, media type and entity tag of every file of the page; nothing else can be asked for."""
    root = resources.files("radwright.serving") / "page"
    found: dict[str, tuple[bytes, str, str]] = {}
    waiting = [(root, "")]
    while waiting:
        folder, prefix = waiting.pop()
        if not folder.is_dir():
            continue
        for each in folder.iterdir():
            if each.is_dir():
                waiting.append((each, f"{prefix}{each.name}/"))
                continue
            data = each.read_bytes()
            kind = mimetypes.guess_type(each.name)[0] or "application/octet-stream"
            found[prefix + each.name] = (data, kind, f'"{hashlib.sha256(data).hexdigest()[:32]}"')
    return found


def _file(request: Request, name: str) -> Response:
    if name not in _page():
        raise UnknownStudyError(f"there is no file {name!r} of the page")
    data, kind, tag = _page()[name]
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=kind, headers=headers)


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
def get_page(request: Request) -> Response:
    """The page."""
    return _file(request, "index.html")


@router.head("/static/{name:path}", include_in_schema=False)
@router.get("/static/{name:path}", include_in_schema=False)
def get_static(request: Request, name: str) -> Response:
    """A file of the page."""
    return _file(request, name)
