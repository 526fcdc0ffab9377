"""What every request passes before it is looked at: right host, right origin, known user, a body within limits.

Also what every answer gets: headers that forbid the browser anything that is not ours. No line of the log holds a
query, a body or a header: they may name a patient.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import time
import traceback
from collections.abc import Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from radwright.serving.access import LOCAL, User
from radwright.serving.server import Server

logger = logging.getLogger(__name__)
COOKIE = "radwright_session"
RETRY_S = 5
"""When a client that was refused for want of room may try again, in seconds."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_MOST_JSON_BYTES = 2**20
"""Of a request that is no upload: the longest report, every character escaped, needs a quarter of it."""
_SLOWEST_BYTES_PER_S = 4096
_GONE = 499
"""What is counted where the client went before it was answered."""
_CLOSE = {"Connection": "close"}
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
_SESSION = "/v1/session"
_UPLOAD = "/v1/studies"
_OPEN = ("/healthz", "/static/", "/openapi.json")


class RefusedError(Exception):
    """A request that goes no further."""

    def __init__(self, status: int, code: str, message: str, *, retry_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_s = status, code, message, retry_s


class Guard:
    """ASGI middleware around the application.

    Args:
        app: what answers.
        server: the parts.
        hosts: names by which the server may be called, besides loopback's; None: any (behind a proxy that checks).
    """

    def __init__(self, app: ASGIApp, server: Server, hosts: Iterable[str] | None) -> None:
        self._app = app
        self._server = server
        self._hosts = None if hosts is None else _LOOPBACK | {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in _HEADERS if pair[0] not in present)]
                if scope["path"].startswith("/v1/") and b"cache-control" not in present:
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        try:
            await self._check(scope)
            await self._app(scope, self._limited(scope, receive), answered)
        except RefusedError as refusal:
            await _answer(refusal, answered)
        except ClientDisconnect:
            status = status or _GONE
        except Exception as error:
            _tell(error)
            if not status:
                await _answer(
                    RefusedError(500, "internal", "an unforeseen error; the server's log tells where"), answered
                )
        finally:
            self._count(scope, status, time.perf_counter() - started)

    async def _check(self, scope: Scope) -> None:
        headers = _headers(scope)
        self._check_host(headers)
        method, path = scope["method"], scope["path"]
        if method not in _SAFE:
            self._check_origin(headers)
        if self._server.is_open and any(name in headers for name in _FORWARDED):
            # Through a proxy on this machine anybody would come from this machine.
            message = "behind a proxy tokens are needed: radwright token add NAME --role ROLE --data DIR"
            raise RefusedError(403, "forbidden", message)
        scope.setdefault("state", {})["user"] = user = await self._user(scope, headers)
        wants_user = path.startswith("/v1/") and not (path == _SESSION and method in {"GET", "POST"})
        if user is None and (wants_user or path == "/metrics"):
            raise RefusedError(401, "unauthorized", "give a token: Authorization: Bearer TOKEN, or sign in on the page")
        self._check_length(scope, headers)
        if method == "POST" and path == _UPLOAD:
            # Before a large body is read in vain; the store holds the limit once more.
            waiting = await asyncio.to_thread(self._server.room.studies.num_waiting)
            if waiting >= self._server.config.max_waiting:
                message = f"{waiting} studies wait for a draft, and the server takes on no more; try later"
                raise RefusedError(429, "queue_full", message, retry_s=RETRY_S)
            if self._server.is_draining:
                raise RefusedError(503, "draining", "the server is shutting down; try later", retry_s=RETRY_S)

    def _check_host(self, headers: Mapping[str, str]) -> None:
        if self._hosts is None:
            return
        host = headers.get("host", "").lower()
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if name not in self._hosts and not _is_address(name):
            # Else a page elsewhere could reach a server on this machine by a name of its own (DNS rebinding).
            raise RefusedError(400, "unknown_host", "this server is not called by that name; see --allow-host")

    def _check_origin(self, headers: Mapping[str, str]) -> None:
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower():
            raise RefusedError(403, "foreign_origin", "requests that change something come from this server's own page")

    async def _user(self, scope: Scope, headers: Mapping[str, str]) -> User | None:
        server = self._server
        if server.is_open:
            return User(LOCAL, "admin")
        if any(scope["path"].startswith(path) for path in _OPEN):
            return None
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and token:
            return await asyncio.to_thread(server.room.access.user_of, token.strip())
        secret = cookie_of(headers.get("cookie", ""))
        return await asyncio.to_thread(server.room.access.user_of_session, secret) if secret else None

    def _check_length(self, scope: Scope, headers: Mapping[str, str]) -> None:
        length = headers.get("content-length")
        if length is None:
            return
        if not (length.isascii() and length.isdigit()):
            raise RefusedError(400, "invalid", "Content-Length is no number")
        if len(length) > 18 or int(length) > self._most_bytes(scope):
            raise RefusedError(413, "too_large", _too_large(self._most_bytes(scope)))

    def _most_bytes(self, scope: Scope) -> int:
        is_upload = scope["method"] == "POST" and scope["path"] == _UPLOAD
        return self._server.max_body_bytes if is_upload else min(_MOST_JSON_BYTES, self._server.max_body_bytes)

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        num_bytes, is_whole, most_bytes = 0, False, self._most_bytes(scope)
        patience_s, started = self._server.config.body_timeout_s, time.monotonic()

        async def limited() -> Message:
            nonlocal num_bytes, is_whole
            if is_whole:
                return await receive()
            # A body that drips in is given up too: what has come buys the time that a slow line needs for it.
            left_s = started + patience_s + num_bytes / _SLOWEST_BYTES_PER_S - time.monotonic()
            try:
                async with asyncio.timeout(min(patience_s, left_s)):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "nothing, or too little, came for too long", _CLOSE) from None
            if message["type"] == "http.request":
                num_bytes += len(message.get("body", b""))
                is_whole = not message.get("more_body", False)
                if num_bytes > most_bytes:
                    raise HTTPException(413, _too_large(most_bytes), _CLOSE)
            return message

        return limited

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._server.counters.requests.labels(scope["method"], route, str(status)).inc()
        if not route.endswith("/events"):
            self._server.counters.request_seconds.labels(route).observe(seconds)
        logger.info("%s %s %d %.0f ms", scope["method"], route, status, 1000 * seconds)


def _tell(error: BaseException) -> None:
    """Where an unforeseen error came from; without its message, which may quote a request."""
    where = "".join(traceback.format_tb(error.__traceback__)[-8:])
    logger.error("an unforeseen %s at\n%s", type(error).__name__, where)


def _too_large(most_bytes: int) -> str:
    return f"the request is larger than {most_bytes / 2**20:g} MiB"


def _is_address(name: str) -> bool:
    """Whether a host is named by its number: no name server can have pointed that somewhere else."""
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def cookie_of(header: str) -> str | None:
    """The session's secret in a Cookie header; None where there is none."""
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return found.value if found else None


async def _answer(refusal: RefusedError, send: Send) -> None:
    error: dict[str, Any] = {"code": refusal.code, "message": refusal.message, "field": None}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.retry_s is not None:
        headers.append((b"retry-after", str(refusal.retry_s).encode()))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.status in {413, 429}:
        # The body was not read: nothing else can follow on this connection.
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
