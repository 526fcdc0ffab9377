"""The reading room over HTTP: the whole way of a study, who may do what, and what is refused."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from room_cases import image, study
from serving_cases import TEXT, FakeDrafter, client_of, events, make_server, png, upload

from radwright.serving.engine import as_study
from radwright.serving.http.app import create_app
from radwright.serving.server import Server
from radwright.serving.verifying import verify
from tiny_dicom import dicom


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return make_server(tmp_path / "room")


@pytest.fixture
def client(server: Server) -> Iterator[TestClient]:
    with client_of(server) as client:
        yield client


def drafted(client: TestClient, **form: str) -> str:
    answer = upload(client, **form)
    assert answer.status_code == 201, answer.text
    study_id = str(answer.json()["study"]["id"])
    assert events(client, study_id)[-1][0] == "draft"
    return study_id


def test_a_study_from_upload_to_signature(client: TestClient, server: Server) -> None:
    answer = upload(client, png(), png(30, 50, seed=1), indication="cough", accession="A1")
    assert answer.status_code == 201
    row = answer.json()["study"]
    told = events(client, row["id"])
    texts = [each["text"] for kind, each in told if kind == "text"]
    assert texts == sorted(texts, key=len)
    assert all(TEXT.startswith(text) for text in texts)
    assert told[-1][1]["draft"]["text"] == TEXT
    study = client.get(f"/v1/studies/{row['id']}").json()
    assert study["study"]["state"] == "drafted"
    assert [(each["width"], each["height"]) for each in study["images"]] == [(40, 32), (30, 50)]
    assert study["report"]["text"] == TEXT
    assert study["study"]["findings"][0] == {
        "finding": "pleural_effusion",
        "title": "pleural effusion",
        "probability": 0.8,
    }
    saved = client.put(f"/v1/studies/{row['id']}/report", json={"text": "All clear.", "based_on": 1})
    assert saved.json()["version"]["number"] == 2
    stale = client.put(f"/v1/studies/{row['id']}/report", json={"text": "Other.", "based_on": 1})
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "conflict")
    signed = client.post(f"/v1/studies/{row['id']}/sign", json={"version": 2, "observer": "Dr. Ann"})
    assert signed.status_code == 200
    study = client.get(f"/v1/studies/{row['id']}").json()
    assert (study["study"]["state"], study["signature"]["observer"]) == ("signed", "Dr. Ann")
    assert [each["kind"] for each in study["versions"]] == ["draft", "edit"]
    again = client.post(f"/v1/studies/{row['id']}/drafts", json={})
    assert again.status_code == 409
    assert [each["action"] for each in client.get("/v1/audit").json()["entries"]] == [
        "upload",
        "draft",
        "edit",
        "document",
        "sign",
    ]
    assert verify(server.room).faults == ()


def test_images_are_the_decoded_pixels_and_never_more(client: TestClient) -> None:
    data = png(50, 20, seed=3)
    study_id = upload(client, data).json()["study"]["id"]
    answer = client.get(f"/v1/studies/{study_id}/images/0/pixels")
    assert (answer.headers["x-width"], answer.headers["x-height"], answer.headers["x-bits"]) == ("50", "20", "8")
    assert len(answer.content) == 50 * 20
    import io

    import numpy as np
    from PIL import Image

    assert answer.content == np.asarray(Image.open(io.BytesIO(data))).tobytes()
    assert (answer.headers["x-slope"], answer.headers["x-intercept"]) == ("1.0", "0.0")
    assert "x-window-center" not in answer.headers
    assert client.get(f"/v1/studies/{study_id}/images/0/thumbnail").headers["content-type"] == "image/png"
    assert client.get(f"/v1/studies/{study_id}/images/1/pixels").status_code == 404


def test_what_a_window_clips_is_served_too(client: TestClient) -> None:
    import numpy as np

    pytest.importorskip("pydicom")
    ramp = np.arange(1000, 1000 + 64 * 64, dtype=np.uint16).reshape(64, 64)
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 3000, "WindowWidth": 100}
    study_id = upload(client, dicom(ramp, stored=16, **tags)).json()["study"]["id"]
    answer = client.get(f"/v1/studies/{study_id}/images/0/pixels")
    told = {name: answer.headers[f"x-{name}"] for name in ("slope", "intercept", "window-center", "window-width")}
    assert told == {"slope": "2.0", "intercept": "1000.0", "window-center": "3000.0", "window-width": "100.0"}
    assert answer.headers["x-window-function"] == "LINEAR"
    served = np.frombuffer(answer.content, "<u2").reshape(64, 64)
    assert np.array_equal(served * 2 + 1000, ramp * 2 - 1000)


def test_what_is_added_to_a_signed_report(client: TestClient) -> None:
    study_id = drafted(client)
    path = f"/v1/studies/{study_id}/addenda"
    added = {"text": "Seen in CT.", "based_on": 1, "observer": "Dr. Ann"}
    assert client.post(path, json=added).status_code == 409
    client.post(f"/v1/studies/{study_id}/sign", json={"version": 1, "observer": "Dr. Ann"})
    assert client.post(path, json={**added, "observer": None}).status_code == 422
    made, again = client.post(path, json=added), client.post(path, json=added)
    assert made.status_code == again.status_code == 201
    assert made.json() == again.json()
    whole = client.get(f"/v1/studies/{study_id}").json()
    assert [(each["version"], each["text"], each["observer"]) for each in whole["addenda"]] == [
        (2, "Seen in CT.", "Dr. Ann")
    ]
    assert (whole["report"]["number"], whole["signature"]["version"]) == (1, 1)
    told = client.get(f"/v1/studies/{study_id}/export?format=text").text
    assert "ADDENDUM, Dr. Ann" in told
    assert told.count("Seen in CT.") == 1


def test_a_study_that_is_here_by_mistake_is_withdrawn_and_restored(client: TestClient) -> None:
    study_id = drafted(client)
    path = f"/v1/studies/{study_id}"
    assert client.post(f"{path}/withdraw", json={"reason": " "}).status_code == 422
    row = client.post(f"{path}/withdraw", json={"reason": "Wrong patient"}).json()["study"]
    assert (row["state"], row["reason"]) == ("withdrawn", "Wrong patient (local)")
    assert client.get("/v1/studies").json()["total"] == 0
    assert client.get("/v1/studies?state=withdrawn").json()["total"] == 1
    edit = {"text": "Clear.", "based_on": 1}
    refused = (
        client.put(f"{path}/report", json=edit),
        client.post(f"{path}/sign", json={"version": 1, "observer": "Dr. Ann"}),
        client.post(f"{path}/drafts", json={"clues": {}}),
        client.get(f"{path}/export?format=sr"),
    )
    assert [each.status_code for each in refused] == [409] * 4
    assert client.post(f"{path}/restore").json()["study"]["state"] == "drafted"
    assert client.put(f"{path}/report", json=edit).status_code == 200


@pytest.mark.parametrize("observer", ["a=b=c=d", "a^b^c^d^e^f", "^=^"])
def test_nobody_signs_under_a_name_that_no_report_can_bear(client: TestClient, observer: str) -> None:
    study_id = drafted(client)
    for path, sent in (("sign", {"version": 1}), ("addenda", {"text": "More.", "based_on": 1})):
        refused = client.post(f"/v1/studies/{study_id}/{path}", json={**sent, "observer": observer})
        assert refused.status_code == 422
        assert "observer" in refused.json()["error"]["message"]
        assert client.get(f"/v1/studies/{study_id}").json()["signature"] is None


def test_clues_are_switched_and_the_draft_follows(client: TestClient) -> None:
    study_id = drafted(client)
    answer = client.post(f"/v1/studies/{study_id}/drafts", json={"clues": {"on": ["Edema"], "off": []}})
    assert answer.status_code == 202
    assert events(client, study_id)[-1][1]["draft"]["text"] == "There is edema."
    study = client.get(f"/v1/studies/{study_id}").json()
    assert study["draft"]["forced"] == {"Edema": True}
    assert [each["number"] for each in study["drafts"]] == [1, 2]
    for wanted in ({"on": ["Gout"]}, {"on": ["Edema"], "off": ["Edema"]}):
        assert client.post(f"/v1/studies/{study_id}/drafts", json={"clues": wanted}).status_code == 422


def test_evidence_is_sought_once_per_draft(client: TestClient, server: Server) -> None:
    study_id = drafted(client)
    first, second = (client.get(f"/v1/studies/{study_id}/evidence/1/{place}") for place in (0, 1))
    assert first.json()["maps"]["occlusion"] == [{"place": 0, "grid": [[0.0, 0.5], [1.0, 0.0]]}]
    assert second.json()["text"] == "The heart is normal."
    assert client.get(f"/v1/studies/{study_id}/evidence/1/2").status_code == 404
    assert "radwright_evidence_seconds_count 1.0" in client.get("/metrics").text


def test_a_network_is_never_told_who_the_patient_is() -> None:
    facts = study(
        patient_name="Doe^Jane", indication="Jane Doe, cough. Known to Dr. Lee.", referring_physician="Lee^Ann"
    )
    given = as_study(facts, (image(name="DOE_JANE.dcm"),), lambda digest: b"")
    assert given.section("indication") == "XXXX XXXX, cough. Known to Dr. XXXX."
    assert not any(word in repr(given).lower() for word in ("doe", "jane", "lee"))


def test_a_report_that_names_the_patient_is_pointed_out(client: TestClient, server: Server) -> None:
    study_id = drafted(client, accession="ACC-4711")
    assert client.get(f"/v1/studies/{study_id}").json()["notes"] == []
    client.put(f"/v1/studies/{study_id}/report", json={"text": "See ACC-4711.", "based_on": 1})
    [note] = client.get(f"/v1/studies/{study_id}").json()["notes"]
    assert "repeats the accession" in note
    assert "4711" not in note


def test_the_worklist_finds(client: TestClient) -> None:
    first, second = drafted(client, indication="fever"), drafted(client, indication="cough")
    client.put(f"/v1/studies/{second}/report", json={"text": "Clear.", "based_on": 1})

    def found(**query: str) -> list[str]:
        answer = client.get("/v1/studies", params=query)
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["studies"]]

    assert found() == [second, first]
    assert found(finding="pleural_effusion") == [first]
    assert found(q="FEVER") == [first]
    assert found(sort="risk") == [first, second]
    assert found(state="signed") == []
    assert client.get("/v1/studies", params={"sort": "nonsense"}).status_code == 422


def test_a_request_sent_twice_makes_one_study(client: TestClient) -> None:
    answers = [
        client.post("/v1/studies", files=[("files", ("a.png", png()))], headers={"Idempotency-Key": "k1"})
        for _ in range(2)
    ]
    assert answers[0].json()["study"]["id"] == answers[1].json()["study"]["id"]
    assert client.get("/v1/studies").json()["total"] == 1


# ---- limits


def test_a_full_queue_says_when_to_come_back(tmp_path: Path) -> None:
    drafter = FakeDrafter()
    drafter.gate.clear()
    with client_of(make_server(tmp_path, drafter=drafter, max_waiting=2)) as client:
        codes = [upload(client).status_code for _ in range(4)]
        answer = upload(client)
        drafter.gate.set()
        assert codes == [201, 201, 429, 429]
        assert answer.headers["retry-after"] == "5"
        assert answer.json()["error"]["code"] == "queue_full"
        total = client.get("/v1/studies").json()["total"]
    assert total == 2


def test_studies_that_wait_are_drafted_together(tmp_path: Path) -> None:
    drafter = FakeDrafter()
    drafter.gate.clear()
    with client_of(make_server(tmp_path, drafter=drafter, max_batch=4)) as client:
        ids = [upload(client).json()["study"]["id"] for _ in range(7)]
        drafter.gate.set()
        for study_id in ids:
            assert events(client, study_id)[-1][0] == "draft"
    assert sorted(name for batch in drafter.batches for name in batch) == sorted(ids)
    assert max(len(batch) for batch in drafter.batches) == 4


def test_a_draft_that_comes_too_late_to_be_of_use_is_given_up(tmp_path: Path) -> None:
    drafter = FakeDrafter()
    drafter.gate.clear()
    with client_of(make_server(tmp_path, drafter=drafter, max_batch=1, draft_deadline_s=0.5)) as client:
        ids = [upload(client).json()["study"]["id"] for _ in range(2)]
        time.sleep(0.8)
        drafter.gate.set()
        kinds = [events(client, study_id)[-1] for study_id in ids]
    assert kinds[0][0] == "draft"
    assert kinds[1] == ("failed", {"reason": "no draft within its time limit: the server was busy; ask again"})


def test_what_waits_when_the_server_stops_is_drafted_by_the_next(tmp_path: Path) -> None:
    drafter = FakeDrafter()
    drafter.gate.clear()
    first = make_server(tmp_path, drafter=drafter, max_batch=1)
    with client_of(first) as client:
        ids = [upload(client).json()["study"]["id"] for _ in range(3)]
        assert drafter.entered.wait(30)
        first.engine._stopping = True
        drafter.gate.set()
    assert first.room.studies.num_waiting() == 2
    with client_of(make_server(tmp_path)) as client:
        assert [events(client, study_id)[-1][0] for study_id in ids] == ["draft"] * 3
        assert [len(client.get(f"/v1/studies/{each}/versions").json()["versions"]) for each in ids] == [1, 1, 1]


def test_a_body_is_measured_before_and_while_it_is_read(tmp_path: Path) -> None:
    with client_of(make_server(tmp_path, max_upload_mb=0.05)) as client:
        assert upload(client, b"\x89PNG\r\n\x1a\n" + bytes(100_000)).status_code == 413

        def unmeasured() -> Iterator[bytes]:
            yield b"--x\r\nContent-Disposition: form-data; name=files; filename=a.png\r\n\r\n"
            yield from [bytes(10_000)] * 10

        answer = client.post(
            "/v1/studies", content=unmeasured(), headers={"Content-Type": "multipart/form-data; boundary=x"}
        )
        assert "content-length" not in answer.request.headers
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
        assert client.get("/v1/studies").json()["total"] == 0


@pytest.mark.parametrize(
    "data", [b"", b"no image", png()[:60], b"\xff\xd8\xff\xe0" + bytes(100), b"PK\x03\x04" + bytes(100)]
)
def test_what_is_no_image_is_refused_and_nothing_is_kept(client: TestClient, server: Server, data: bytes) -> None:
    answer = upload(client, png(), data, name="../../etc/passwd")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_image")
    assert "etc" not in answer.json()["error"]["message"]
    assert client.get("/v1/studies").json()["total"] == 0
    assert not [path for path in (server.room.folder / "images").rglob("*") if path.is_file()]


def test_every_file_that_is_refused_is_named(client: TestClient) -> None:
    files = {"a.pdf": b"%PDF-1.7", "b.png": png(), "c.bin": bytes(64)}
    parts = [("files", (name, data, "")) for name, data in files.items()]
    lines = client.post("/v1/studies", files=parts).json()["error"]["message"].split("\n")
    assert [line.partition(":")[0] for line in lines] == ["a.pdf", "c.bin"]
    assert "PDF document" in lines[0]


def test_too_long_a_report_is_told_in_numbers(client: TestClient) -> None:
    study_id = drafted(client)
    answer = client.put(f"/v1/studies/{study_id}/report", json={"text": "x" * 20_001, "based_on": 1})
    assert answer.json()["error"]["message"] == "text: has 20,001 characters; at most 20,000 are kept"


def test_findings_are_counted_by_what_reports_assert_now(client: TestClient) -> None:
    def counted() -> dict[str, int]:
        listed = client.get("/v1/findings").json()["findings"]
        return {each["finding"]: each["num_studies"] for each in listed if each["num_studies"]}

    assert counted() == {}
    study_id = drafted(client)
    assert counted() == {"pleural_effusion": 1}
    client.put(f"/v1/studies/{study_id}/report", json={"text": "There is edema.", "based_on": 1})
    assert counted() == {"edema": 1}


def test_an_image_that_is_here_already_or_stands_twice_is_refused_and_no_byte_is_kept(
    client: TestClient, server: Server
) -> None:
    def kept() -> int:
        return sum(path.is_file() for path in (server.room.folder / "images").rglob("*"))

    first, other = dicom(StudyInstanceUID="1.2"), dicom(StudyInstanceUID="1.2", PatientComments="another file")
    assert upload(client, first).status_code == 201
    twice = dicom(SOPInstanceUID="1.9"), dicom(SOPInstanceUID="1.9", PatientComments="another file")
    for images, refusal in (((other,), (409, "conflict")), (twice, (422, "invalid"))):
        answer = upload(client, *images)
        assert (answer.status_code, answer.json()["error"]["code"]) == refusal
    assert kept() == 1


def test_nothing_is_streamed_of_a_study_that_is_not_there(client: TestClient) -> None:
    answer = client.get(f"/v1/studies/{'0' * 16}/events")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_a_page_full_of_images_to_be_decoded_holds_up_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, gate = make_server(tmp_path), threading.Event()
    with client_of(server) as client:
        study_id = upload(client).json()["study"]["id"]
        decode = server.pictures.thumbnail
        monkeypatch.setattr(server.pictures, "thumbnail", lambda image: (gate.wait(60), decode(image))[1])

        async def many() -> list[int]:
            transport = httpx.ASGITransport(create_app(server))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=None) as page:
                waiting = [
                    asyncio.create_task(page.get(f"/v1/studies/{study_id}/images/0/thumbnail")) for _ in range(60)
                ]
                await asyncio.sleep(0.2)
                other = await asyncio.wait_for(page.get("/v1/studies"), 30)
                assert not any(each.done() for each in waiting)
                gate.set()
                return [other.status_code, *[each.status_code for each in await asyncio.gather(*waiting)]]

        assert asyncio.run(many()) == [200] * 61


def test_what_watches_a_server_may_ask_for_the_head_alone(client: TestClient) -> None:
    for path in ("/", "/healthz", "/static/js/main.js"):
        whole, head = client.get(path), client.head(path)
        assert (head.status_code, head.headers["content-length"]) == (200, whole.headers["content-length"])
    assert client.head("/v1/studies").status_code == 405


def test_only_an_upload_may_be_large(client: TestClient) -> None:
    text, kind = json.dumps({"text": "\U0001f600" * 20_000, "based_on": 1}), {"Content-Type": "application/json"}
    for body, status in ((text, 404), (text * 5, 413)):
        assert client.put(f"/v1/studies/{'0' * 16}/report", content=body, headers=kind).status_code == status


# ---- who may do what


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[tuple[TestClient, dict[str, dict[str, str]]]]:
    server = make_server(tmp_path / "closed", is_open=False)
    names = {"Rita": "reader", "Dr. Ann": "radiologist", "Ada": "admin"}
    headers = {role: {"Authorization": f"Bearer {server.room.access.add(name, role)}"} for name, role in names.items()}
    with client_of(server) as client:
        yield client, headers


def test_the_first_token_closes_a_running_server(tmp_path: Path) -> None:
    server = make_server(tmp_path / "open")
    with client_of(server) as client:
        assert client.get("/v1/studies").status_code == 200
        token = server.room.access.add("Dr. Ann", "radiologist")
        assert client.get("/v1/studies").status_code == 401
        assert client.get("/v1/studies", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        assert client.get("/v1/session").json()["needs_token"] is True
        server.room.access.revoke("Dr. Ann")
        assert client.get("/v1/studies").status_code == 401, "it does not open again"


def test_without_a_token_nothing_is_told(closed: tuple[TestClient, Any]) -> None:
    client, headers = closed
    for path in ("/v1/studies", "/v1/model", "/v1/audit", "/metrics", "/v1/findings"):
        assert client.get(path).status_code == 401, path
        assert client.get(path, headers={"Authorization": "Bearer guess"}).status_code == 401, path
    assert upload(client).status_code == 401
    assert client.get("/healthz").status_code == 200
    assert client.get("/v1/session").json() == {"signed_in": False, "needs_token": True, "name": None, "role": None}
    assert client.get("/v1/studies", headers=headers["reader"]).status_code == 200


def test_each_role_may_what_those_below_it_may(closed: tuple[TestClient, Any]) -> None:
    client, headers = closed
    client.headers.update(headers["reader"])
    study_id = drafted(client)
    edit = {"text": "Clear.", "based_on": 1}
    assert client.put(f"/v1/studies/{study_id}/report", json=edit).status_code == 403
    assert client.post(f"/v1/studies/{study_id}/sign", json={"version": 1}).status_code == 403
    assert client.get("/v1/audit").status_code == 403
    client.headers.update(headers["radiologist"])
    assert client.put(f"/v1/studies/{study_id}/report", json=edit).status_code == 200
    forged = client.post(f"/v1/studies/{study_id}/sign", json={"version": 2, "observer": "Dr. Bob"})
    assert (forged.status_code, forged.json()["error"]["code"]) == (409, "other_author")
    lent = client.put(f"/v1/studies/{study_id}/report", json={"text": "Bob's.", "based_on": 2, "author": "Dr. Bob"})
    assert (lent.status_code, lent.json()["error"]["code"]) == (409, "other_author")
    own = {"text": "Clear.", "based_on": 2, "author": "Dr. Ann"}
    assert client.put(f"/v1/studies/{study_id}/report", json=own).json()["version"]["number"] == 2
    assert client.post(f"/v1/studies/{study_id}/sign", json={"version": 2}).json()["signature"]["observer"] == "Dr. Ann"
    assert client.get("/v1/audit").status_code == 403
    client.headers.update(headers["admin"])
    actors = [each["actor"] for each in client.get("/v1/audit").json()["entries"]]
    assert actors[-5:] == ["Rita", "radwright", "Dr. Ann", "radwright", "Dr. Ann"]


def test_a_browser_signs_in_with_a_cookie_that_scripts_cannot_read(closed: tuple[TestClient, Any]) -> None:
    client, headers = closed
    token = headers["radiologist"]["Authorization"].partition(" ")[2]
    assert client.post("/v1/session", json={"token": "guess"}).status_code == 401
    answer = client.post("/v1/session", json={"token": token})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert token not in cookie
    assert client.get("/v1/session").json()["name"] == "Dr. Ann"
    assert client.get("/v1/studies").status_code == 200
    assert client.delete("/v1/session").status_code == 204
    assert client.get("/v1/studies").status_code == 401


def test_other_sites_and_other_names_are_refused(client: TestClient) -> None:
    files = [("files", ("a.png", png()))]
    foreign = client.post("/v1/studies", files=files, headers={"Origin": "https://evil.example"})
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "foreign_origin")
    assert client.post("/v1/studies", files=files, headers={"Origin": "http://localhost"}).status_code == 201
    for host in ("10.1.2.3:8000", "[::1]:8000", "localhost:9"):
        assert client.get("/v1/studies", headers={"Host": host}).status_code == 200
    rebound = client.get("/v1/studies", headers={"Host": "evil.example"})
    assert (rebound.status_code, rebound.json()["error"]["code"]) == (400, "unknown_host")


def test_a_server_without_tokens_serves_nobody_through_a_proxy(client: TestClient, closed: Any) -> None:
    for name in ("Forwarded", "X-Forwarded-For", "X-Real-IP"):
        answer = client.get("/v1/studies", headers={name: "10.0.0.7"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    with_tokens, headers = closed
    assert with_tokens.get("/v1/studies", headers={**headers["reader"], "X-Real-IP": "10.0.0.7"}).status_code == 200


def test_the_browser_may_do_nothing_that_is_not_ours(client: TestClient) -> None:
    for path in ("/", "/v1/studies", "/nowhere", "/static/../../server.py"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff"
    assert client.get("/v1/studies").headers["cache-control"] == "no-store"
    for path in ("/static/%2e%2e/server.py", "/static//etc/passwd", "/static/..%2fserver.py", "/static/server.py"):
        assert client.get(path).status_code == 404, path


# ---- what is told to whom


def test_no_log_line_and_no_metric_names_a_patient(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        study_id = drafted(client, accession="SECRET-1", indication="SECRET-2", description="SECRET-3")
        upload(client, b"no image", name="SECRET-4.png")
        client.get("/v1/studies", params={"q": "SECRET-5"})
        client.put(f"/v1/studies/{study_id}/report", json={"text": "SECRET-6", "based_on": 1})
    ours = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("httpx"))
    assert "SECRET" not in ours
    assert study_id in ours
    assert "SECRET" not in client.get("/metrics").text


def test_an_unforeseen_error_tells_the_client_nothing_and_the_log_no_message(
    client: TestClient, server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**options: Any) -> Any:
        raise RuntimeError("".join(["SEC", "RET"]))

    monkeypatch.setattr(server.room.worklist, "find", broken)
    answer = client.get("/v1/studies")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "SECRET" not in answer.text + caplog.text
    assert "RuntimeError" in caplog.text
    assert "in broken" in caplog.text


def test_metrics_count_what_happened(client: TestClient) -> None:
    drafted(client)
    text = client.get("/metrics").text
    assert 'radwright_studies{state="drafted"} 1.0' in text
    assert 'radwright_drafts_total{outcome="drafted"} 1.0' in text
    assert 'radwright_requests_total{method="POST",route="/v1/studies",status="201"} 1.0' in text


def test_an_unforeseen_fault_of_the_network_fails_its_studies_and_no_others(tmp_path: Path) -> None:
    class Faulty(FakeDrafter):
        def write(self, orders: Any, on_text: Any) -> Any:
            if len(self.batches) == 0:
                self.batches.append(())
                raise RuntimeError("out of memory")
            return super().write(orders, on_text)

    with client_of(make_server(tmp_path, drafter=Faulty())) as client:
        first = upload(client).json()["study"]["id"]
        assert events(client, first)[-1][0] == "failed"
        assert client.get(f"/v1/studies/{first}").json()["study"]["state"] == "failed"
        drafted(client)
        client.post(f"/v1/studies/{first}/drafts", json={})
        assert events(client, first)[-1][0] == "draft"
