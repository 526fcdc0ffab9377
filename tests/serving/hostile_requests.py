"""Requests that somebody could send to break a server: raw bytes over a socket, and which answers are right."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import hostile_images

BOUNDARY = b"radwright-boundary"
MULTIPART = b"Content-Type: multipart/form-data; boundary=" + BOUNDARY
JSON = b"Content-Type: application/json"
GONE = 0
"""The connection ended without an answer: right only where the client itself went, or spoke no HTTP."""
NOWHERE = "0" * 16
DEPTH = 10_000


@dataclass(frozen=True)
class Case:
    """One request.

    Attributes:
        family: what kind of abuse.
        name: which.
        parts: what is sent, in order.
        right: statuses that are right.
        goes: the client ends its side once all is sent.
        pause_s: between the parts.
    """

    family: str
    name: str
    parts: tuple[bytes, ...]
    right: frozenset[int] = frozenset({422})
    goes: bool = False
    pause_s: float = 0.0


@dataclass(frozen=True)
class Answer:
    """What came back: the status (``GONE``: nothing), the body, and how long it took."""

    status: int
    body: bytes
    seconds: float


def ask(port: int, case: Case, *, timeout_s: float = 60.0) -> Answer:
    """Send a case, and wait until the server ends the connection."""
    started, received = time.perf_counter(), b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        try:
            for number, part in enumerate(case.parts):
                time.sleep(case.pause_s if number else 0)
                connection.sendall(part)
            if case.goes:
                connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65_536):
                received += data
        except (ConnectionError, BrokenPipeError):
            received += _left(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/") else GONE
    return Answer(status, body, time.perf_counter() - started)


def _left(connection: socket.socket) -> bytes:
    """What an ended connection still holds."""
    try:
        return connection.recv(65_536)
    except OSError:
        return b""


def request(method: str, path: str, body: bytes = b"", *headers: bytes, length: bool = True) -> bytes:
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: localhost", b"Connection: close", *headers]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def part(data: bytes, *, name: bytes = b'"files"', filename: bytes | None = b'"chest.png"') -> bytes:
    named = b"" if filename is None else b"; filename=" + filename
    return b"--" + BOUNDARY + b"\r\nContent-Disposition: form-data; name=" + name + named + b"\r\n\r\n" + data + b"\r\n"


def upload(*parts: bytes) -> bytes:
    return request("POST", "/v1/studies", b"".join(parts) + b"--" + BOUNDARY + b"--\r\n", MULTIPART)


def file_cases() -> Iterator[Case]:
    """Every hostile file, uploaded as an image."""
    families = ("truncated", "flipped", "other_types", "png_bombs", "jpeg_bombs", "dicom_bombs")
    for family in families:
        for name, data in getattr(hostile_images, family)():
            yield Case(family.replace("_", " "), name, (upload(part(data)),))
    for name, data in hostile_images.noisy():
        yield Case("noisy", name, (upload(part(data)),), frozenset({201, 409, 422}))


def name_cases() -> Iterator[Case]:
    """Names that are paths or lie, of a file that is broken anyway; the answer must not hold them."""
    broken = hostile_images.good()[0][1][:-20]
    names = {
        "parent folders": b'"../../../../etc/passwd"',
        "absolute": b'"/etc/passwd"',
        "windows": b'"C:\\\\Windows\\\\system32\\\\x.png"',
        "NUL": b'"chest\0.png"',
        "newline": b'"chest\nX-Injected: 1.png"',
        "carriage return": b'"chest\rX.png"',
        "10,000 characters": b'"' + b"a" * 10_000 + b'"',
        "right to left": '"chest\u202egnp.exe"'.encode(),
        "no UTF-8": b'"\xff\xfe\xfd"',
        "surrogate": b'"\xed\xa0\x80"',
        "empty": b'""',
        "dots": b'".."',
        "percent": b'"%2e%2e%2fpasswd"',
        "encoded": b"x; filename*=UTF-8''..%2F..%2Fpasswd",
        "template": b'"{{7*7}}${jndi:ldap://x}"',
        "markup": b'"<img src=x onerror=alert(1)>"',
    }
    for name, filename in names.items():
        yield Case("names", name, (upload(part(broken, filename=filename)),), frozenset({400, 422}))


def form_cases() -> Iterator[Case]:
    """Forms that are none, or too much of one."""
    image = part(hostile_images.good()[0][1])
    end = b"--" + BOUNDARY + b"--\r\n"

    def sent(name: str, body: bytes, *headers: bytes, right: Iterable[int] = (400, 422)) -> Case:
        return Case("forms", name, (request("POST", "/v1/studies", body, *headers),), frozenset(right))

    yield sent("no boundary", image + end, b"Content-Type: multipart/form-data")
    yield sent("wrong boundary", image + end, b"Content-Type: multipart/form-data; boundary=other")
    yield sent("boundary of 10,000 characters", image, b"Content-Type: multipart/form-data; boundary=" + b"x" * 10_000)
    yield sent("boundary in no ASCII", image, b"Content-Type: multipart/form-data; boundary=\xff\xfe")
    yield sent("never closed", image, MULTIPART, right=(201, 400, 422))
    yield sent("empty", b"", MULTIPART)
    yield sent("only an end", end, MULTIPART)
    yield sent("no filename", part(b"x", filename=None) + end, MULTIPART)
    yield sent("no name", b"--" + BOUNDARY + b"\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + end, MULTIPART)
    yield sent("no disposition", b"--" + BOUNDARY + b"\r\n\r\nx\r\n" + end, MULTIPART)
    yield sent("10,000 fields", part(b"x", name=b'"x"', filename=None) * 10_000 + end, MULTIPART)
    yield sent("10,000 files", part(b"x") * 10_000 + end, MULTIPART)
    yield sent("17 files", part(b"x") * 17 + end, MULTIPART)
    yield sent("a field of 2 MB", part(bytes(2_000_000), name=b'"indication"', filename=None) + image + end, MULTIPART)
    yield sent("10,000 characters of accession", part(b"A" * 10_000, name=b'"accession"', filename=None) + image + end,
               MULTIPART)  # fmt: skip
    yield sent("files and a field of that name", part(b"x", filename=None) + image + end, MULTIPART)
    yield sent("a file as a field", image + part(b"x", name=b'"indication"') + end, MULTIPART)
    yield sent(
        "1000 headers in a part", b"--" + BOUNDARY + b"\r\n" + b"X: y\r\n" * 1000 + b"\r\nx\r\n" + end, MULTIPART
    )
    yield sent("a header of 1 MB in a part", b"--" + BOUNDARY + b"\r\nX: " + bytes(10**6) + b"\r\n\r\nx\r\n", MULTIPART)
    yield sent("JSON", b'{"files": ["chest.png"]}', JSON)
    yield sent("url-encoded", b"files=chest.png", b"Content-Type: application/x-www-form-urlencoded")
    yield sent("no type", image + end)
    yield sent("type without a slash", image + end, b"Content-Type: multipart")
    yield sent("one good file, one broken", image + part(b"broken") + end, MULTIPART)


def json_cases() -> Iterator[Case]:
    """JSON that is none, or too deep, or too much."""
    deep_list, deep_object = b"[" * DEPTH + b"]" * DEPTH, b'{"a":' * DEPTH + b"1" + b"}" * DEPTH
    bodies = {
        f"lists nested {DEPTH} deep": deep_list,
        f"objects nested {DEPTH} deep": deep_object,
        "lists nested 900 deep": b"[" * 900 + b"]" * 900,
        "cut short": b'{"text": "a',
        "no JSON": b"\xff\xfe\0",
        "a number of 10,000 digits": b'{"text": "a", "based_on": ' + b"9" * 10_000 + b"}",
        "infinity": b'{"text": "a", "based_on": 1e999}',
        "not a number": b'{"text": "a", "based_on": NaN}',
        "lone surrogate": b'{"text": "\\ud800", "based_on": 1}',
        "2 MB": json.dumps({"text": "a" * 2_000_000, "based_on": 1}).encode(),
        "60,000 unknown keys": json.dumps({f"k{n}": n for n in range(60_000)}).encode(),
        "a list": b"[]",
        "null": b"null",
        "nothing": b"",
    }
    right = frozenset({400, 404, 413, 422})
    for name, body in bodies.items():
        for method, path in (("PUT", "report"), ("POST", "drafts"), ("POST", "sign")):
            sent = request(method, f"/v1/studies/{NOWHERE}/{path}", body, JSON)
            yield Case("json", f"{name}, {path}", (sent,), right)
        if name != "nothing":
            yield Case("json", f"{name}, session", (request("POST", "/v1/session", body, JSON),), right | {401})


def http_cases() -> Iterator[Case]:
    """Requests that lie about themselves, or drip."""
    image = part(hostile_images.good()[0][1]) + b"--" + BOUNDARY + b"--\r\n"

    def sent(name: str, *parts: bytes, right: Iterable[int], goes: bool = False, pause_s: float = 0) -> Case:
        return Case("http", name, parts, frozenset(right), goes, pause_s)

    def post(*headers: bytes) -> bytes:
        return request("POST", "/v1/studies", b"", MULTIPART, *headers, length=False)

    yield sent("length beyond the limit", post(b"Content-Length: 99999999999"), right={413})
    yield sent("length of 40 digits", post(b"Content-Length: " + b"9" * 40), right={400, 413})
    yield sent("negative length", post(b"Content-Length: -1"), right={400})
    yield sent("length in hexadecimal", post(b"Content-Length: 0x10") + bytes(16), right={400})
    yield sent("two lengths", post(b"Content-Length: 5", b"Content-Length: 6") + b"abcdef", right={400})
    yield sent("length and chunks", post(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
               right={400, 422})  # fmt: skip
    yield sent("longer than it is, then gone", post(b"Content-Length: 100000") + image, right={GONE, 400}, goes=True)
    yield sent("longer than it is, then silent", post(b"Content-Length: 90000") + image, right={408})
    yield sent("shorter than it is", post(b"Content-Length: 100") + image, right={400, 422})
    yield sent("no length and no body", post(), right={400, 422})
    chunked = post(b"Transfer-Encoding: chunked")
    yield sent("chunk that is no number", chunked + b"zz\r\nabc\r\n0\r\n\r\n", right={GONE, 400})
    yield sent("chunk of 4 GB", chunked + b"ffffffff\r\nabc", right={400, 408, 413})
    yield sent("chunk that never ends", chunked + b"5\r\n--", right={408})
    yield sent("chunks without an end", chunked + b"5\r\nabcde\r\n" * 1000, right={400, 408})
    yield sent("a byte a chunk", chunked + b"".join(b"1\r\n%c\r\n" % byte for byte in image[:5000]) + b"0\r\n\r\n",
               right={400, 422})  # fmt: skip
    yield sent(
        "more chunks than the limit",
        chunked + b"%x\r\n%s\r\n" % (len(image) - 40, image[:-40]),
        *[b"100000\r\n" + bytes(2**20) + b"\r\n"] * 24,
        right={413},
    )
    head = post(b"Content-Length: 500")
    yield sent("drips", head, *[bytes([byte]) for byte in image[:60]], right={408}, pause_s=0.1)
    yield sent("drips nothing", head, right={408})
    many = [b"X-%d: y" % number for number in range(1000)]
    yield sent("1000 headers", request("POST", "/v1/studies", b"x", MULTIPART, *many), right={400, 422, 431})
    yield sent("headers of 1 MB", request("GET", "/healthz", b"", b"X: " + b"y" * 10**6), right={400, 431})
    yield sent("path of 100,000 characters", request("GET", "/" + "a" * 100_000), right={400, 404, 414})
    yield sent("query of 50,000 characters", request("GET", "/v1/studies?q=" + "a" * 50_000), right={422})
    yield sent("percent signs", request("GET", "/v1/studies/%00%ff%zz"), right={404, 422})
    yield sent("no HTTP", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", right={GONE, 400}, goes=True)
    yield sent("no host", b"GET /v1/studies HTTP/1.1\r\nConnection: close\r\n\r\n", right={400})
    yield sent("HTTP/0.9", b"GET /\r\n", right={GONE, 400}, goes=True)
    yield sent("unknown method", request("BREW", "/v1/studies"), right={400, 405})
    yield sent("method of 10,000 characters", request("X" * 10_000, "/v1/studies"), right={400, 405})
    yield sent("injected header", request("GET", "/v1/studies", b"", b"X: y\r\nHost: evil.example"), right={400})
    for path in ("events", "images/0/pixels", "images/0/thumbnail", "evidence/1/0", "versions", "export?format=sr"):
        yield sent(f"unknown study, {path}", request("GET", f"/v1/studies/{NOWHERE}/{path}"), right={404})
    for path in ("images/99999999999999999999/pixels", "evidence/1e9/0", "evidence/-1/-1"):
        yield sent(f"strange numbers, {path}", request("GET", f"/v1/studies/{NOWHERE}/{path}"), right={404, 422})


def all_cases() -> list[Case]:
    return [case for cases in (file_cases, name_cases, form_cases, json_cases, http_cases) for case in cases()]
