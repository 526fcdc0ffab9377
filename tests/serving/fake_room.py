"""A stand-in for the reading room's server: the HTTP contract over phantom studies, everything in memory.

``python tests/serving/fake_room.py 8100`` serves it for whoever works on the page.
"""

from __future__ import annotations

import io
import json
import re
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import numpy.typing as npt
from PIL import Image

import radwright.serving
from radwright.data.phantom import PhantomConfig, PhantomStudy, generate_study
from radwright.findings import read_report
from radwright.findings.ontology import concepts
from radwright.serving.records import LABEL

PAGE = Path(radwright.serving.__file__).parent / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
DISEASES = {
    "cardiomegaly": "Cardiomegaly",
    "effusion": "Pleural effusion",
    "edema": "Pulmonary edema",
    "consolidation": "Consolidation",
    "pneumothorax": "Pneumothorax",
    "nodule": "Nodule",
    "fracture": "Rib fracture",
}
NAMES = ("PHANTOM^ANNA", "PHANTOM^BRUNO", "PHANTOM^CLARA^M", "PHANTOM^DAVID", "PHANTOM^EDITH", "PHANTOM^FELIX")
MODEL = {
    "name": "phantom-trrg", "method": "trrg", "weights": "0" * 64, "radwright": "0.1.0", "decoding": {}, "settings": {},
}  # fmt: skip
Answer = tuple[int, dict[str, Any]]


def now(ago_s: float = 0.0) -> str:
    return (datetime.now(UTC) - timedelta(seconds=ago_s)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def sentences_of(text: str) -> list[str]:
    return re.findall(r"\S.*?[.](?=\s|$)", text)


@dataclass
class FakeStudy:
    """A study as the page sees it, and the phantom that its images and maps come from."""

    id: str
    phantom: PhantomStudy
    images: list[npt.NDArray[Any]]
    state: str = "drafted"
    reason: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    drafts: list[dict[str, Any]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    signature: dict[str, Any] | None = None
    addenda: list[dict[str, Any]] = field(default_factory=list)
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    origin: str = "dicom"
    received_at: str = field(default_factory=now)
    forced: dict[str, bool] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    windows: dict[int, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def draft_text(self) -> str:
        text = self.phantom.sections["findings"]
        for disease, there in self.forced.items():
            text = f"{text} There is {'' if there else 'no '}{DISEASES[disease].lower()}."
        return text

    def asserted(self) -> set[str]:
        return {each["finding"] for each in self.drafts[-1]["findings"]} if self.drafts else set()

    def write_draft(self) -> None:
        text = self.draft_text()
        findings, sentences = [], []
        for place, sentence in enumerate(sentences_of(text)):
            asserted = [m.concept for m in read_report(sentence).mentions if m.status.name == "PRESENT"]
            shares = [max(0.12, 0.93 - 0.19 * (len(findings) + rank)) for rank in range(len(asserted))]
            own = [{"finding": concept, "sentence": place, "probability": share}
                   for concept, share in zip(asserted, shares, strict=True)]  # fmt: skip
            kept = all(each["probability"] > 0.5 for each in own)
            sentences.append({"text": sentence, "log_prob": -0.6 - 1.7 * place, "findings": asserted, "kept": kept})
            findings += [{**each, "kept": kept} for each in own]
        clues = {name: 0.91 - 0.02 * place if self.phantom.labels[name] else 0.04 + 0.03 * place
                 for place, name in enumerate(DISEASES)}  # fmt: skip
        number = len(self.drafts) + 1
        self.drafts.append(
            {"number": number, "text": text, "sentences": sentences, "findings": findings, "clues": clues,
             "forced": dict(self.forced), "score": -9.0, "finished": True, "model": MODEL, "created_at": now()}
        )  # fmt: skip
        if not self.versions or self.versions[-1]["kind"] == "draft":
            self.add_version(text, MODEL["name"], "draft")
        self.state = "drafted"

    def add_version(self, text: str, author: str, kind: str) -> dict[str, Any]:
        number = len(self.versions) + 1
        version = {"number": number, "text": text, "author": author, "kind": kind, "based_on": number - 1,
                   "draft": len(self.drafts), "created_at": now()}  # fmt: skip
        self.versions.append(version)
        return version

    def row(self) -> dict[str, Any]:
        findings = self.drafts[-1]["findings"] if self.drafts else []
        titled = [{**f, "title": concepts()[f["finding"]].name} for f in findings]
        signature = self.signature or {}
        return {
            "id": self.id, "state": self.state, "reason": self.reason, "patient_id": "", "patient_name": "",
            "birth_date": "", "sex": "", "accession": "", "study_date": "", "description": "",
            "referring_physician": "", "indication": self.phantom.sections["indication"], "origin": self.origin,
            **self.facts, "received_at": self.received_at, "updated_at": self.received_at,
            "num_images": len(self.images),
            "thumbnail": f"/v1/studies/{self.id}/images/0/thumbnail", "findings": titled,
            "risk": 1 - min((f["probability"] for f in findings), default=1.0) if self.drafts else None,
            "signed_by": signature.get("observer"), "signed_at": signature.get("signed_at"),
        }  # fmt: skip

    def whole(self) -> dict[str, Any]:
        images = []
        for place, pixels in enumerate(self.images):
            path = f"/v1/studies/{self.id}/images/{place}"
            name = self.names[place] if place < len(self.names) else f"{place}.dcm"
            images.append(
                {"place": place, "position": "lateral" if place % 2 else "frontal", "width": pixels.shape[1],
                 "height": pixels.shape[0], "kind": "DICOM", "name": name, "burned_in": False,
                 "pixels": f"{path}/pixels", "thumbnail": f"{path}/thumbnail"}
            )  # fmt: skip
        texts = [version for version in self.versions if version["kind"] != "addendum"]
        last = texts[-1] if texts else None
        return {
            "study": self.row(), "images": images, "draft": self.drafts[-1] if self.drafts else None,
            "drafts": [{k: d[k] for k in ("number", "created_at", "forced")} for d in self.drafts],
            "versions": [{k: v for k, v in version.items() if k != "text"} for version in self.versions],
            "report": last, "drafting": self.state == "waiting", "signature": self.signature,
            "addenda": self.addenda, "deliveries": self.deliveries, "notes": self.notes,
        }  # fmt: skip

    def evidence(self, place: int) -> dict[str, Any]:
        """Occlusion that is largest where the phantom's mask of the sentence's finding is."""
        sentence = self.drafts[-1]["sentences"][place]
        noise = np.random.default_rng(place)
        kinds = [kind for kind in self.phantom.masks if kind in DISEASES and self.phantom.labels[kind]]
        kind = kinds[place % len(kinds)] if kinds and sentence["findings"] else None
        for finding in sentence["findings"]:
            kind = next((k for k in kinds if k in finding or finding in k), kind)
        occlusion, attention = [], []
        for number, view in enumerate(("frontal", "lateral")[: len(self.images)]):
            grid = noise.normal(0, 0.03, (16, 16))
            if kind is not None:
                mask = self.phantom.masks[kind][view].astype(float)  # type: ignore[index]
                grid += 1.9 * mask.reshape(16, mask.shape[0] // 16, 16, -1).mean((1, 3)) ** 0.6
            occlusion.append({"place": number, "grid": grid.tolist()})
            share = np.abs(grid) / np.abs(grid).sum()
            attention.append({"place": number, "grid": share.tolist()})
        clues = [
            {"disease": name, "title": title, "told": self.drafts[-1]["clues"][name] > 0.5,
             "probability": self.drafts[-1]["clues"][name], "effect": 2.31 if name == kind else 0.01,
             "redone_on": None, "redone_off": f"No {title.lower()}." if name == kind else None}
            for name, title in DISEASES.items()
        ]  # fmt: skip
        return {"sentence": place, "text": sentence["text"], "log_prob": sentence["log_prob"],
                "maps": {"occlusion": occlusion, "attention": attention},
                "unit": {"occlusion": "nats", "attention": "share"}, "clues": clues}  # fmt: skip


class FakeRoom:
    """The studies, and what a test may set: token, pace of the drafts, refusals to come."""

    def __init__(self, num_studies: int = 6, size_px: int = 256) -> None:
        self.token = ""
        self.signed_in = False
        self.role = "admin"
        self.name = "Phantom^Reader"
        self.heeds_clues = True
        self.word_s = 0.03
        self.refusals: list[tuple[str, int, dict[str, Any], str]] = []  # path ending, status, body, Retry-After
        self.studies: dict[str, FakeStudy] = {}
        self.uploads = 0
        self.lock = threading.Lock()
        for index in range(num_studies):
            self.add(index, size_px)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True

    def add(self, index: int, size_px: int = 256, *, state: str = "drafted", ago_s: float | None = None) -> FakeStudy:
        bits = 16 if index % 2 else 8
        phantom = generate_study(PhantomConfig(size_px=size_px, bits=bits), "test", index)
        study = FakeStudy(f"{0xA0 + index:016x}", phantom, [phantom.images["frontal"], phantom.images["lateral"]])
        study.received_at = now(900.0 * index + 60 if ago_s is None else ago_s)
        name = NAMES[index % len(NAMES)]
        study.facts = {
            "patient_name": name, "patient_id": f"P-{10400 + index}", "accession": f"A{77100 + index}",
            "study_date": "20261126", "birth_date": f"19{40 + 7 * index % 55}0412", "sex": "FM"[index % 2],
            "description": "CHEST PA AND LATERAL",
        }  # fmt: skip
        study.state = state
        if state == "drafted":
            study.write_draft()
        self.studies[study.id] = study
        return study

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def start(self) -> FakeRoom:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def listed(self, query: dict[str, str]) -> Answer:
        rows = [study.row() for study in self.studies.values()]
        wanted = query.get("q", "").lower()
        if wanted:
            rows = [r for r in rows if wanted in f"{r['patient_name']} {r['patient_id']} {r['accession']}".lower()]
        rows = [r for r in rows if r["state"] == (query.get("state") or r["state"])]
        rows = [r for r in rows if r["state"] != "withdrawn" or query.get("state")]
        if query.get("finding"):
            rows = [r for r in rows if any(f["finding"] == query["finding"] for f in r["findings"])]
        rows.sort(key=lambda r: r["received_at"], reverse=True)
        if query.get("sort") == "risk":
            rows.sort(key=lambda r: -(r["risk"] or 0))
        return 200, {"total": len(rows), "studies": rows[: int(query.get("limit", "50"))]}

    def change(self, method: str, study: FakeStudy, rest: list[str], body: dict[str, Any]) -> Answer:
        """PUT report, POST sign, POST drafts."""
        if rest == ["report"]:
            last = study.versions[-1]["number"] if study.versions else 0
            if study.signature or body["based_on"] != last:
                code = "signed" if study.signature else "stale"
                return 409, _error(code, "The report has a newer version.")
            if self.token and body["author"] not in {None, self.name}:
                return 409, _error("other_author", f"{body['author']} wrote this.")
            return 200, {"version": study.add_version(body["text"], self.name, "edit")}
        if rest == ["sign"]:
            last = study.versions[-1]
            if body["version"] != last["number"]:
                return 409, _error("stale", "There is a newer version.")
            observer = body.get("observer", "Phantom^Reader")
            study.signature = {"version": last["number"], "signed_at": now(), "observer": observer,
                               "organization": "Phantom hospital"}  # fmt: skip
            study.state = "signed"
            return 200, {"signature": study.signature}
        if rest == ["addenda"]:
            based_on = study.addenda[-1]["version"] if study.addenda else study.signature["version"]  # type: ignore[index]
            if body["based_on"] != based_on:
                return 409, _error("conflict", "There is a newer addendum.")
            version = study.add_version(body["text"], self.name, "addendum")
            added = {"version": version["number"], "text": body["text"], "observer": body["observer"],
                     "organization": "", "signed_at": now()}  # fmt: skip
            study.addenda.append(added)
            return 201, {"addendum": added}
        if rest in (["withdraw"], ["restore"]):
            study.state = "withdrawn" if rest == ["withdraw"] else "drafted"
            study.reason = f"{body['reason']} ({self.name})" if rest == ["withdraw"] else ""
            return 200, {"study": study.row()}
        if rest == ["drafts"]:
            if self.heeds_clues:
                study.forced = dict.fromkeys(body["clues"]["on"], True) | dict.fromkeys(body["clues"]["off"], False)
            study.state = "waiting"
            return 202, {"study": study.row()}
        return 404, _error("missing", f"{method} {rest}: there is no such thing.")


def _error(code: str, message: str, name: str | None = None) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "field": name}}


def _png(pixels: npt.NDArray[Any]) -> bytes:
    gray = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    picture = Image.fromarray(gray)
    picture.thumbnail((256, 256))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _handler(room: FakeRoom) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def reply(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store",
                                "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff",
                                **(headers or {})}.items():  # fmt: skip
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def answer(self, answer: Answer, headers: dict[str, str] | None = None) -> None:
            self.reply(answer[0], json.dumps(answer[1]).encode(), "application/json", headers)

        def do_GET(self) -> None:
            self.handle_one("GET")

        def do_POST(self) -> None:
            self.handle_one("POST")

        def do_PUT(self) -> None:
            self.handle_one("PUT")

        def do_DELETE(self) -> None:
            self.handle_one("DELETE")

        def handle_one(self, method: str) -> None:
            url = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            for refusal in room.refusals:
                if url.path.endswith(refusal[0]) and url.path.startswith("/v1"):
                    room.refusals.remove(refusal)
                    self.answer(refusal[1:3], {"Retry-After": refusal[3]} if refusal[3] else None)  # type: ignore[arg-type]
                    return
            parts = url.path.strip("/").split("/")
            if url.path == "/" or parts[0] == "static":
                self.page(url.path)
            elif url.path == "/healthz":
                self.answer((200, {}))
            elif parts[1] == "session":
                self.session(method, raw)
            elif room.token and not room.signed_in:
                self.answer((401, _error("signed_out", "Sign in.")))
            elif parts[1] == "model":
                diseases = [{"name": n, "title": t, "threshold": 0.35} for n, t in DISEASES.items()]
                self.answer((200, {"model": MODEL, "told_clues": True, "diseases": diseases, "label": LABEL}))
            elif parts[1] == "findings":
                counts = Counter(name for each in room.studies.values() for name in each.asserted())
                known = [{"finding": name, "title": concept.name, "num_studies": counts[name]}
                         for name, concept in concepts().items()]  # fmt: skip
                self.answer((200, {"findings": known}))
            elif parts[2:] == []:
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                self.answer(room.listed(query) if method == "GET" else self.upload(raw))
            elif parts[2] not in room.studies:
                self.answer((404, _error("missing", f"There is no study {parts[2]}.")))
            else:
                self.study(method, room.studies[parts[2]], parts[3:], raw)

        def page(self, path: str) -> None:
            file = PAGE / ("index.html" if path == "/" else path.removeprefix("/static/"))
            if not file.is_file():
                self.answer((404, _error("missing", path)))
                return
            self.reply(200, file.read_bytes(), TYPES[file.suffix])

        def session(self, method: str, raw: bytes) -> None:
            if method == "POST":
                room.signed_in = json.loads(raw)["token"] == room.token
                if not room.signed_in:
                    self.answer((401, _error("wrong_token", "No such token.")))
                    return
            elif method == "DELETE":
                room.signed_in = False
            needs = bool(room.token)
            self.answer((200, {"name": room.name if needs else "local", "role": room.role, "needs_token": needs,
                               "signed_in": room.signed_in or not needs}))  # fmt: skip

        def upload(self, raw: bytes) -> Answer:
            if b"\x89PNG" not in raw:
                return 415, _error("not_an_image", "notes.txt: it is no DICOM, PNG or JPEG file.", "files")
            room.uploads += 1
            study = room.add(20 + room.uploads, state="waiting", ago_s=0)
            return 201, {"study": study.row()}

        def study(self, method: str, study: FakeStudy, rest: list[str], raw: bytes) -> None:
            if method != "GET":
                with room.lock:
                    self.answer(room.change(method, study, rest, json.loads(raw or b"{}")))
            elif rest == []:
                self.answer((200, study.whole()))
            elif rest == ["events"]:
                self.events(study)
            elif rest == ["versions"]:
                self.answer((200, {"versions": study.versions}))
            elif rest[0] == "evidence":
                time.sleep(5 * room.word_s)
                self.answer((200, study.evidence(int(rest[2]))))
            elif rest[0] == "export":
                self.reply(200, b"...", "text/plain", {"Content-Disposition": "attachment"})
            elif rest[2] == "thumbnail":
                self.reply(200, _png(study.images[int(rest[1])]), "image/png")
            else:
                pixels = np.ascontiguousarray(study.images[int(rest[1])])
                height, width = pixels.shape
                told = {"Width": width, "Height": height, "Bits": 8 * pixels.itemsize, "Slope": 1.0, "Intercept": 0.0}
                told |= study.windows.get(int(rest[1]), {})
                headers = {f"X-{name}": str(value) for name, value in told.items()}
                self.reply(200, pixels.tobytes(), "application/octet-stream", headers)

        def events(self, study: FakeStudy) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()

            def tell(name: str, value: dict[str, Any]) -> None:
                self.wfile.write(f"event: {name}\ndata: {json.dumps(value)}\n\n".encode())
                self.wfile.flush()

            try:
                if study.state == "waiting":
                    tell("state", {"state": "waiting", "reason": "", "ahead": 1})
                    time.sleep(5 * room.word_s)
                    words = study.draft_text().split(" ")
                    for count in range(1, len(words) + 1):
                        tell("text", {"text": " ".join(words[:count])})
                        time.sleep(room.word_s)
                    with room.lock:
                        study.write_draft()
                if study.state == "failed":
                    tell("failed", {"reason": study.reason})
                else:
                    tell("draft", {"draft": study.drafts[-1]})
            except (BrokenPipeError, ConnectionResetError):
                pass
            self.close_connection = True

    return Handler


if __name__ == "__main__":
    fake = FakeRoom(num_studies=9, size_px=1024)
    fake.server.server_close()
    fake.server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _handler(fake))
    failed, signed, waiting = list(fake.studies.values())[3:6]
    failed.state, failed.reason, failed.drafts, failed.versions = "failed", "No frontal view among the images", [], []
    fake.change("POST", signed, ["sign"], {"version": 1, "observer": "Phantom^Reader"})
    waiting.state, waiting.drafts, waiting.versions = "waiting", [], []
    fake.word_s = float(sys.argv[2]) if len(sys.argv) > 2 else 0.08
    fake.server.serve_forever()
