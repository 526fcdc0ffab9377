"""``radwright serve`` put together: folder, network, application, and the HTTP server around it.

The only file that imports uvicorn (extra ``serve``).
"""

from __future__ import annotations

import ipaddress
import signal
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from radwright.errors import ConfigError, require
from radwright.inference.checkpoint import find_checkpoint
from radwright.serving.room import ReadingRoom
from radwright.serving.settings import ServeConfig

if TYPE_CHECKING:
    from radwright.serving.drafting import Drafter
    from radwright.serving.server import Server

GRACE_S = 30
"""How long requests that are being answered may take once the server is told to stop."""


@dataclass(frozen=True, slots=True)
class ServeRequest:
    """What is to be served, and where.

    Attributes:
        checkpoint: a checkpoint directory.
        data: the reading room's folder.
        host: address to listen at.
        port: 0: any free one.
        allow_hosts: names by which clients call the server, besides loopback's and ``host``; ``*``: any.
        certificate, key: PEM files; without them, plain HTTP.
        settings: of ``ServeConfig``.
        device, threads, decoding, risk, uncertain: as for ``radwright generate``.
    """

    checkpoint: Path
    data: Path
    host: str = "127.0.0.1"
    port: int = 8000
    allow_hosts: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    threads: int | None = None
    decoding: tuple[str, ...] = ()
    risk: float | None = None
    uncertain: str | None = None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def run_server(request: ServeRequest, *, tell: Callable[[str], None]) -> bool:
    """Serve until told to stop (SIGTERM, Ctrl-C): then finish what is being answered and drafted.

    Args:
        request: what.
        tell: told in words what a person should know.

    Returns:
        Whether the last batch was finished.

    Raises:
        MissingExtraError: the ``serve`` extra is not installed.
        ConfigError: without a token beyond loopback; half a certificate; a setting; another server on the folder.
        CheckpointError, StoreError: the checkpoint or the folder cannot be used.
    """
    for module in ("fastapi", "python_multipart", "prometheus_client"):
        require(module, extra="serve")
    uvicorn = require("uvicorn", extra="serve")
    from radwright.serving.drafting import Drafter
    from radwright.serving.server import Server, only_server

    config = ServeConfig.parse(dict(request.settings), where="serve")
    if (request.certificate is None) != (request.key is None):
        raise ConfigError("--certificate and --key belong together: give both, or neither")
    _check_certificate(request)
    find_checkpoint(request.checkpoint)  # before a reading room is made for nothing
    room = ReadingRoom(request.data)
    is_local, has_tokens = is_loopback(request.host), room.access.has_tokens()
    if not (is_local or has_tokens):
        raise ConfigError(
            f"--host {request.host}: others can reach that address, and nobody has a token; make one first: "
            f'radwright token add "Dr. Name" --role radiologist --data {request.data}'
        )
    with _listening(request) as listener, only_server(request.data):
        room.blobs.sweep()
        drafter = Drafter.open(
            request.checkpoint,
            device=request.device,
            threads=request.threads,
            decoding=request.decoding,
            risk=request.risk,
            uncertain=request.uncertain,
            windows_per_side=config.windows_per_side,
            name=config.model_name,
        )
        server = Server(room, drafter, config, is_open=not has_tokens)
        for note in (*_notes(request, has_tokens=has_tokens, is_local=is_local), *_silence_notes(drafter)):
            tell(note)
        tell(_address(request, listener))
        _http(uvicorn, server, request).run(sockets=[listener])
        waiting = room.studies.num_waiting()
        tell("stopped" + (f"; {waiting} studies wait for a draft, made after the next start" if waiting else ""))
        return not server.engine.is_alive


def _address(request: ServeRequest, listener: socket.socket) -> str:
    """Where to open the page."""
    scheme, port = "https" if request.certificate else "http", listener.getsockname()[1]
    if request.host in {"0.0.0.0", "::"}:  # every address of this machine; none to open
        return f"{scheme}://{socket.gethostname()}:{port}/ (and any other address of this machine)"
    return f"{scheme}://{_shown(request.host)}:{port}/"


def _silence_notes(drafter: Drafter) -> Sequence[str]:
    """What a person must know of the level of risk."""
    return [] if drafter.silence is None else drafter.silence.notes([], 1)


def _http(uvicorn: Any, server: Server, request: ServeRequest) -> Any:
    """The HTTP server. Told to stop, it ends streams at once instead of waiting for their readers, and returns."""
    from radwright.serving.http.app import create_app

    class Http(uvicorn.Server):  # type: ignore[misc]
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            # Its own would raise the signal once more in the end, and what comes after would never be said.
            numbers = (signal.SIGINT, signal.SIGTERM)
            before = {number: signal.signal(number, self.handle_exit) for number in numbers}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            server.is_draining = True
            super().handle_exit(sig, frame)

    hosts = None if "*" in request.allow_hosts else (request.host, *request.allow_hosts)
    return Http(
        uvicorn.Config(
            create_app(server, hosts=hosts),
            log_config=None,
            access_log=False,  # its lines hold queries, and these may name a patient; the guard has its own
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
            ssl_certfile=request.certificate,
            ssl_keyfile=request.key,
        )
    )


def _check_certificate(request: ServeRequest) -> None:
    """Refuse a certificate that cannot be used, before anything is loaded.

    Raises:
        ConfigError: a file cannot be read, is none, or the two do not belong together.
    """
    if request.certificate is None or request.key is None:
        return
    for path in (request.certificate, request.key):
        if not path.is_file():
            raise ConfigError(f"{path}: no such file; --certificate and --key are PEM files")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(request.certificate, request.key)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"{request.certificate}, {request.key}: are no certificate and its key in PEM: {error}"
        ) from error


def _listening(request: ServeRequest) -> socket.socket:
    """A socket that listens where it is asked for.

    Raises:
        ConfigError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in request.host else socket.AF_INET
    try:
        return socket.create_server((request.host, request.port), family=family, backlog=512)
    except OSError as error:
        raise ConfigError(
            f"--host {request.host} --port {request.port}: cannot listen there: {error.strerror or error}"
        ) from error


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _notes(request: ServeRequest, *, has_tokens: bool, is_local: bool) -> Sequence[str]:
    notes = []
    if not has_tokens:
        notes.append("no token is needed: whoever uses this machine may read, sign and administer")
    if not is_local and request.certificate is None:
        notes.append("plain HTTP beyond this machine: tokens and images can be read on the way; give --certificate")
    return notes
