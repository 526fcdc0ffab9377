"""The ASGI application: routes behind the guard, and one form for every error. FastAPI enters in this folder only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp

from radwright import __version__
from radwright.errors import ConfigError, MissingExtraError, OutputError, RadwrightError, StoreError, StudyError
from radwright.serving.http import images, reports, studies, system
from radwright.serving.http.guard import RETRY_S, Guard, RefusedError
from radwright.serving.intake import RefusedImageError
from radwright.serving.refusals import ConflictError, QueueFullError, UnknownStudyError
from radwright.serving.server import Server

_ROUTERS = tuple(module.router for module in (studies, reports, images, system))
_KINDS: tuple[tuple[type[RadwrightError], int, str], ...] = (
    (UnknownStudyError, 404, "not_found"),
    (ConflictError, 409, "conflict"),
    (QueueFullError, 429, "queue_full"),
    (RefusedImageError, 422, "bad_image"),
    (StudyError, 422, "invalid"),
    (ConfigError, 422, "invalid"),
    (MissingExtraError, 501, "not_installed"),
    (OutputError, 507, "not_kept"),
    (StoreError, 500, "damaged"),
)
"""The first that fits; any other error is 500."""
_CODES = {404: "not_found", 405: "not_allowed", 408: "timeout", 413: "too_large"}
_SUMMARY = "Drafts of chest X-ray reports, to be checked and signed. Research software, not a medical device."


def create_app(server: Server, *, hosts: Iterable[str] | None = ()) -> ASGIApp:
    """The application over a server's parts; it starts them, and stops them when it ends.

    Args:
        server: the parts, not yet started.
        hosts: names, besides loopback's, by which clients call the server; None: any.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server.start()
        try:
            yield
        finally:
            server.stop()

    app = FastAPI(
        title="Radwright",
        version=__version__,
        summary=_SUMMARY,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.server = server
    for router in _ROUTERS:
        app.include_router(router)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(RadwrightError, _error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)
    return Guard(app, server, hosts)


def _failure(
    status: int,
    code: str,
    message: str,
    *,
    field: str | None = None,
    retry_s: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    headers = dict(headers or {}) | ({} if retry_s is None else {"Retry-After": str(retry_s)})
    return JSONResponse({"error": {"code": code, "message": message, "field": field}}, status, headers)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RefusedError)
    return _failure(error.status, error.code, error.message, retry_s=error.retry_s)


async def _error(request: Request, error: Exception) -> JSONResponse:
    for kind, status, code in _KINDS:
        if isinstance(error, kind):
            return _failure(status, code, str(error), retry_s=RETRY_S if status == 429 else None)
    raise error


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or None
    return _failure(422, "invalid", f"{field or 'request'}: {_in_words(first)}", field=field)


def _in_words(error: Mapping[str, Any]) -> str:
    """What is wrong with a field, for people: of what they meet most, how much there is beside how much may be."""
    if error["type"] == "string_too_long":
        return f"has {len(error['input']):,} characters; at most {error['ctx']['max_length']:,} are kept"
    return str(error["msg"])


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code, headers = _CODES.get(error.status_code, "invalid"), error.headers
    if error.status_code == 405:
        # The framework names the methods of one route, and a path may have several.
        routes = (route for router in _ROUTERS for route in router.routes)
        matching = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
        methods = {method for route in matching for method in getattr(route, "methods", ())}
        headers = {"Allow": ", ".join(sorted(methods))} if methods else headers
    return _failure(error.status_code, code, str(error.detail), headers=headers)


async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    return _failure(500, "internal", "an unforeseen error; the server's log tells where")
