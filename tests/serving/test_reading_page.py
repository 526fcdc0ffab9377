"""The reading room's page in a browser: from the worklist to the signature by keys, and what must never happen."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_room import FakeRoom, FakeStudy
from page_browser import DESK, TABLET, UPRIGHT, Reader
from PIL import Image

from a_browser import a_browser

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with a_browser() as started:
        yield started


@pytest.fixture
def room() -> Iterator[FakeRoom]:
    started = FakeRoom(num_studies=4, size_px=64).start()
    started.word_s = 0.01
    yield started
    started.stop()


def study_of(room: FakeRoom, place: int = 0) -> FakeStudy:
    return list(room.studies.values())[place]


def hash_of(study: FakeStudy) -> str:
    return f"#/study/{study.id}"


def names(reader: Reader) -> list[str]:
    return list(reader.tab.locator("tbody a").all_inner_texts())


def shows(reader: Reader, wanted: list[str]) -> None:
    """Waits until the worklist holds these names: its answers come in their own time."""
    for _ in range(200):
        if names(reader) == wanted:
            return
        reader.tab.wait_for_timeout(50)
    assert names(reader) == wanted


def test_the_worklist_is_searched_filtered_and_sorted(browser: Any, room: FakeRoom) -> None:
    failed = study_of(room, 3)
    failed.state, failed.reason, failed.drafts, failed.versions = "failed", "No frontal view", [], []
    with Reader(browser, room.url) as reader:
        reader.tab.locator("tbody tr").nth(3).wait_for()
        assert names(reader)[:2] == ["PHANTOM, ANNA", "PHANTOM, BRUNO"]
        assert "No frontal view" in reader.tab.locator("tbody tr").nth(3).inner_text()
        reader.press("/")
        reader.tab.keyboard.type("bruno")
        shows(reader, ["PHANTOM, BRUNO"])
        reader.tab.locator("#q").fill("")
        reader.tab.get_by_role("button", name="Failed").click()
        shows(reader, ["PHANTOM, DAVID"])
        reader.tab.get_by_role("button", name="All").click()
        reader.tab.select_option("#finding", "pleural_effusion")
        shows(reader, ["PHANTOM, ANNA"])
        # A search may be a patient's name: it never enters the address, which browsers remember.
        assert "bruno" not in reader.tab.url


def test_a_poll_brings_studies_without_taking_the_focus(browser: Any, room: FakeRoom) -> None:
    with Reader(browser, room.url) as reader:
        reader.tab.locator("tbody tr").first.wait_for()
        reader.press("j", "j")
        focused = "document.activeElement.closest('tr')?.dataset.id"
        assert reader.tab.evaluate(focused) == study_of(room, 1).id
        room.add(9, 64, ago_s=0)
        reader.until("document.querySelectorAll('tbody tr').length === 5")
        assert reader.tab.evaluate(focused) == study_of(room, 1).id


def test_from_the_worklist_to_the_signature_by_keys_alone(browser: Any, room: FakeRoom) -> None:
    study = study_of(room)
    with Reader(browser, room.url) as reader:
        reader.tab.locator("tbody tr").first.wait_for()
        reader.press("j", "Enter")
        reader.tab.locator(".sentence").first.wait_for()
        reader.press("j", "j")
        reader.tab.locator(".pane[data-map=shown]").first.wait_for()
        reader.press("e")
        second = study.drafts[0]["sentences"][1]["text"]
        reader.tab.keyboard.type("Compared with none. ")
        reader.tab.locator("ins", has_text="Compared with none.").wait_for()
        reader.press("Escape")
        reader.tab.locator(".sentence", has_text="Compared with none.").wait_for()
        wanted = study.drafts[0]["text"].replace(second, f"Compared with none. {second}")
        assert study.versions[-1]["text"] == wanted
        reader.press("s")
        shown = reader.tab.locator("#to-be-signed")
        shown.wait_for()
        assert shown.inner_text() == wanted
        reader.tab.keyboard.type("Reader^Rita")
        reader.press("Enter")
        assert study.signature is None
        reader.press("Control+Enter")
        reader.tab.locator(".signature").wait_for()
        assert "by Reader, Rita, Phantom hospital" in reader.tab.locator(".signature").inner_text()
        assert reader.tab.locator(".signed-text").inner_text() == wanted
        assert reader.tab.get_by_text("AI draft, research").count() == 0
        reader.press("e")
        assert reader.tab.locator("textarea").count() == 0
    assert study.signature is not None
    assert (study.versions[-1]["text"], study.signature["version"]) == (wanted, 2)


def test_single_keys_are_silent_in_fields_and_can_be_switched_off(browser: Any, room: FakeRoom) -> None:
    with Reader(browser, room.url) as reader:
        reader.tab.locator("tbody tr").first.wait_for()
        reader.press("/")
        reader.tab.keyboard.type("u?j")
        assert reader.tab.locator("dialog").count() == 0
        assert reader.tab.locator("#q").input_value() == "u?j"
        reader.press("Escape", "?")
        reader.sees("upload a study")
        reader.tab.locator("#single-keys").uncheck()
        reader.press("Escape")
        reader.until("document.querySelector('dialog') === null")
        reader.press("u")
        assert reader.tab.locator("dialog").count() == 0


def test_the_draft_streams_in(browser: Any, room: FakeRoom) -> None:
    study = study_of(room)
    study.state, study.drafts, study.versions, room.word_s = "waiting", [], [], 0.12
    with Reader(browser, room.url, hash_of(study)) as reader:
        reader.sees("Waiting: 1 study ahead.")
        reader.until("document.querySelector('.streaming').textContent.split(' ').length > 4")
        assert study.drafts == []
        reader.sees("AI draft, research")
        reader.until("document.getElementById('live').textContent.endsWith('.')")
        reader.tab.locator(".sentence").first.wait_for()
        shown = reader.tab.eval_on_selector_all(".sentence", "all => all.map(each => each.firstChild.textContent)")
        assert shown == [sentence["text"] for sentence in study.drafts[0]["sentences"]]
        assert reader.tab.locator(".streaming").count() == 0


def test_a_study_without_a_draft_can_be_written_by_hand(browser: Any, room: FakeRoom) -> None:
    study = study_of(room)
    study.state, study.reason, study.drafts, study.versions = "failed", "No frontal view", [], []
    with Reader(browser, room.url, hash_of(study)) as reader:
        reader.sees("No frontal view")
        reader.press("e")
        reader.tab.keyboard.type("Normal chest.")
        reader.press("Escape")
        reader.tab.locator(".sentence", has_text="Normal chest.").wait_for()
    assert study.versions[-1]["text"] == "Normal chest."


def test_evidence_is_asked_for_once_and_laid_over_the_images(browser: Any, room: FakeRoom) -> None:
    busy = {"error": {"code": "busy", "message": "The network is at work.", "field": None}}
    room.refusals.append(("/evidence/1/0", 503, busy, "1"))
    with Reader(browser, room.url, hash_of(study_of(room)), expected=("503",)) as reader:
        reader.tab.locator(".sentence").first.wait_for()
        reader.press("j")
        reader.sees("still looking for it; asking again in 1 s.")
        reader.tab.locator(".pane[data-map=shown]").nth(1).wait_for()
        legend = reader.tab.locator(".legend").inner_text()
        assert "nats" in legend
        assert "Peak" in legend
        basis = reader.tab.locator(".basis:visible").inner_text()
        assert "hiding it makes the sentence" in basis
        assert "Log-probability" not in basis
        assert reader.tab.locator(".basis:visible [title*='Log-probability −0.60']").count() == 1
        assert "Without it: No" in basis
        reader.press("v")
        reader.until("document.querySelectorAll('.pane[data-map=shown]').length === 0")
        reader.press("v", "j")
        reader.until("document.querySelector('.legend').textContent.includes('no region')")
        reader.press("k")
        reader.tab.locator(".pane[data-map=shown]").first.wait_for()
    asked = [url for url in reader.requests if url.endswith("/evidence/1/0")]
    assert len(asked) == 2  # the refusal, and once more


def test_what_the_calibrated_bar_marks_is_marked(browser: Any, room: FakeRoom) -> None:
    study = study_of(room)
    with Reader(browser, room.url, hash_of(study)) as reader:
        reader.tab.locator(".sentence").first.wait_for()
        marked = {finding["sentence"] for finding in study.drafts[0]["findings"] if not finding["kept"]}
        assert marked
        assert reader.tab.locator(".sentence .flag", has_text="uncertain: check").count() == len(marked)
        reader.press("s")
        reader.sees("marked uncertain by the model")
        reader.press("Escape")
        reader.tab.locator(".sentence", has_text="uncertain: check").first.focus()
        for left in range(len(marked) - 1, -1, -1):
            reader.press("y")  # and on to the next one
            assert reader.tab.locator(".flag", has_text="accepted").count() == len(marked) - left
            assert reader.tab.locator(".sentence .flag", has_text="uncertain: check").count() == left
        reader.press("s")
        reader.tab.locator("#to-be-signed").wait_for()
        assert reader.tab.get_by_text("marked uncertain by the model").count() == 0
        assert "accepted" not in reader.tab.locator("#to-be-signed").inner_text()
        reader.press("Escape", "y")
        assert reader.tab.locator(".sentence .flag", has_text="uncertain: check").count() == 1


def test_an_addendum_is_written_and_signed_by_keys_alone(browser: Any, room: FakeRoom) -> None:
    study = study_of(room)
    room.change("POST", study, ["sign"], {"version": 1, "observer": "Phantom^Reader"})
    with Reader(browser, room.url, hash_of(study), expected=("409",)) as reader:
        reader.tab.locator(".signature").first.wait_for()
        before = reader.tab.locator(".signed-text").first.inner_text()
        reader.press("a")
        reader.tab.keyboard.type("A nodule, too.")
        reader.press("Escape")
        assert reader.tab.locator("#addendum").input_value() == "A nodule, too."
        reader.press("Control+Enter")
        reader.sees("Give the name of whoever signs.")
        reader.tab.keyboard.type("Dr. Ann")
        room.refusals.append(("/addenda", 409, {"error": {"code": "conflict", "message": "Not newest."}}, ""))
        reader.press("Control+Enter")
        reader.sees("Not newest. Copy your text")
        reader.press("Control+Enter")
        reader.tab.locator(".addendum").wait_for()
        assert "Addendum by Dr. Ann" in reader.tab.locator(".addendum").inner_text()
        assert "A nodule, too." in reader.tab.locator(".addendum").inner_text()
        assert reader.tab.locator(".signed-text").first.inner_text() == before
        reader.press("a")
        reader.tab.keyboard.type("Once more.")
        reader.tab.locator("#addendum-observer").fill("Dr. Bob")
        reader.press("Control+Enter")
        reader.until("document.querySelectorAll('.addendum').length === 2")
    assert [each["text"] for each in study.addenda] == ["A nodule, too.", "Once more."]


def test_a_study_that_is_here_by_mistake_is_withdrawn_and_restored(browser: Any, room: FakeRoom) -> None:
    study = study_of(room)
    with Reader(browser, room.url, hash_of(study)) as reader:
        reader.tab.locator(".sentence").first.wait_for()
        reader.tab.get_by_role("button", name="Withdraw…").click()
        reader.press("Enter")
        reader.sees("Say why")
        reader.tab.keyboard.type("Another patient")
        reader.press("Enter")
        reader.sees("Another patient (Phantom^Reader)")
        reader.press("e", "s")
        assert reader.tab.locator("textarea, dialog").count() == 0
        assert reader.tab.get_by_role("button", name="Export").count() == 0
        reader.press("w")
        reader.until(f"document.querySelectorAll('tbody tr').length === {len(room.studies) - 1}")
        reader.tab.get_by_role("button", name="Withdrawn").click()
        reader.until("document.querySelectorAll('tbody tr').length === 1")
        reader.tab.locator("tbody a").click()
        reader.tab.get_by_role("button", name="Restore").click()
        reader.tab.get_by_role("button", name="Withdraw…").wait_for()
        assert study.state == "drafted"


def test_a_text_is_saved_under_no_other_name_unasked(browser: Any, room: FakeRoom) -> None:
    room.token, room.name = "right", "Ann"
    study = study_of(room)

    def sign_in(reader: Reader) -> None:
        reader.tab.locator("#token").fill("right")
        reader.press("Enter")

    with Reader(browser, room.url, hash_of(study), expected=("401", "409")) as reader:
        sign_in(reader)
        reader.tab.locator(".sentence").first.wait_for()
        reader.press("e")
        reader.tab.keyboard.type("Words of Ann. ")
        room.signed_in = False
        reader.press("Escape")
        reader.sees("Your session has ended")
        room.name = "Bob"
        sign_in(reader)
        reader.sees("Ann wrote this, and Bob is signed in")
        reader.tab.get_by_role("button", name="Keep it unsaved").click()
        assert [version["author"] for version in study.versions] == ["phantom-trrg"]
        assert "Words of Ann." in reader.tab.locator("textarea").input_value()
        reader.press("e", "Escape")
        reader.tab.get_by_role("button", name="Save it as Bob").click()
        reader.sees("edited by Bob")
    assert [version["author"] for version in study.versions] == ["phantom-trrg", "Bob"]


def test_another_tab_with_another_session_does_not_lend_its_name(browser: Any, room: FakeRoom) -> None:
    room.token, room.name, room.signed_in = "right", "Ann", True
    study = study_of(room)
    with Reader(browser, room.url, hash_of(study), expected=("409",)) as reader:
        reader.tab.locator(".sentence").first.wait_for()
        reader.press("e")
        reader.tab.keyboard.type("Words of Ann. ")
        room.name = "Bob"  # the cookie is the browser's, not the tab's
        reader.press("Escape")
        reader.sees("Ann wrote this, and Bob is signed in")
        assert len(study.versions) == 1
        reader.tab.get_by_role("button", name="Drop it").click()
        reader.tab.locator(".sentence").first.wait_for()
    assert len(study.versions) == 1


def test_whose_text_and_why_it_is_not_saved_stay_in_sight(browser: Any, room: FakeRoom) -> None:
    refusal = {"error": {"code": "invalid", "message": "text: has 20,400 characters", "field": "text"}}
    room.refusals += [("/report", 422, refusal, "")] * 3
    with Reader(browser, room.url, hash_of(study_of(room)), expected=("422",)) as reader:
        reader.tab.locator(".sentence").first.wait_for()
        reader.press("e")
        reader.tab.locator("textarea").fill("A long report.\n" * 120)
        reader.press("Escape")
        reader.sees("Not saved: the text has 20,400 characters")
        reader.tab.locator(".side-scroll").evaluate("node => node.scrollTo(0, node.scrollHeight)")
        for part in (".report-head .saved.unsaved", ".report-head .label-ai"):
            assert reader.tab.locator(part).evaluate(
                "node => { const box = node.getClientRects()[0];"
                " return document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2) === node; }"
            ), part


def test_the_version_saved_is_the_one_that_is_named(browser: Any, room: FakeRoom) -> None:
    with Reader(browser, room.url, hash_of(study_of(room))) as reader:
        reader.sees("Version 1, as drafted")
        reader.press("e")
        reader.tab.keyboard.type("More. ")
        reader.sees("Version 2, edited by")
        reader.sees("Saved")
        assert reader.tab.locator("textarea").count() == 1


def test_a_draft_that_heeds_no_clue_says_so(browser: Any, room: FakeRoom) -> None:
    room.heeds_clues = False
    with Reader(browser, room.url, hash_of(study_of(room))) as reader:
        reader.tab.locator(".sentence").first.wait_for()
        reader.press("c")
        reader.tab.locator("input[name=clue-fracture][value=on]").check()
        reader.tab.get_by_role("button", name="Write another draft with these clues").click()
        reader.sees("the clues changed nothing")


def test_the_filter_names_first_what_reports_here_assert(browser: Any, room: FakeRoom) -> None:
    with Reader(browser, room.url) as reader:
        reader.tab.locator("tbody tr").first.wait_for()
        groups = reader.tab.locator("#finding optgroup")
        groups.nth(1).wait_for(state="attached")
        here = groups.first.locator("option").all_inner_texts()
        asserted = set().union(*(study.asserted() for study in room.studies.values()))
        assert len(here) == len(asserted)
        assert here == sorted(here, key=lambda text: -int(text.rpartition("(")[2].rstrip(")")))
        reader.tab.locator("#finding").select_option(index=1)
        filtered = f"document.querySelector('.count').textContent === {here[0].rpartition('(')[2].rstrip(')')!r}"
        reader.until(filtered)
        chosen = reader.tab.locator("#finding").input_value()
        # Back from a study the list is filtered as before, and says so; "any" lifts it.
        reader.tab.locator("tbody tr a").first.click()
        reader.tab.locator(".pane").first.wait_for()
        reader.press("w")
        reader.until(filtered)
        reader.until(f"document.querySelector('#finding').value === {chosen!r}")
        reader.tab.locator("#finding").select_option("")
        reader.until(f"document.querySelector('.count').textContent === {str(len(room.studies))!r}")


def test_the_viewer_by_keys_and_hand(browser: Any, room: FakeRoom) -> None:
    study = study_of(room)
    rng = np.random.default_rng(0)
    study.images = [rng.integers(0, 256, (40, 60), dtype=np.uint8), rng.integers(90, 4000, (64, 48), dtype=np.uint16)]
    with Reader(browser, room.url, hash_of(study)) as reader:
        reader.tab.locator(".pane[data-ready]").nth(1).wait_for()
        values = reader.tab.locator(".values")
        first = values.nth(0).inner_text()
        assert first.startswith("W 255 · L 128")
        reader.press("[", ";")
        reader.until("!document.querySelector('.values').textContent.startsWith('W 255')")
        reader.press("i")
        reader.until("document.querySelector('.values').textContent.includes('inverted')")
        reader.press("r", "0")
        reader.until("document.querySelector('.values').textContent === 'W 255 · L 128 · 100 %'")
        reader.press("2", "+")
        reader.until("document.activeElement === document.querySelectorAll('canvas')[1]")
        box = reader.tab.locator("canvas").nth(0).bounding_box()
        mouse = reader.tab.mouse
        mouse.move(box["x"] + 100, box["y"] + 100)
        mouse.wheel(0, -300)
        reader.until("!document.querySelector('.values').textContent.endsWith('100 %')")
        mouse.down()
        mouse.move(box["x"] + 40, box["y"] + 160, steps=4)
        mouse.up()
        reader.until("!document.querySelector('.values').textContent.startsWith('W 255')")
        mouse.dblclick(box["x"] + 100, box["y"] + 100)
        reader.until("document.querySelector('.panes').dataset.count === '1'")


def test_two_fingers_zoom_and_the_space_bar_pans(browser: Any, room: FakeRoom) -> None:
    study = study_of(room)
    scale = "Number(/(\\d+) %/.exec(document.querySelector('.values').textContent)[1])"
    with Reader(browser, room.url, hash_of(study), size=TABLET, has_touch=True) as reader:
        reader.tab.locator(".pane[data-ready]").nth(1).wait_for()
        before = reader.tab.evaluate(scale)
        box = reader.tab.locator("canvas").nth(0).bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        client = reader.context.new_cdp_session(reader.tab)

        def touch(kind: str, *offsets: float) -> None:
            points = [{"x": x + offset, "y": y, "id": number} for number, offset in enumerate(offsets)]
            client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", -20, 20)
        for spread in (30, 40, 60):
            touch("touchMove", -spread, spread)
        touch("touchEnd")
        reader.until(f"{scale} > {2.5 * before}")
        assert reader.tab.evaluate("document.querySelector('.values').textContent").startswith("W 255")
        reader.press("1")
        reader.tab.keyboard.down("Space")
        reader.tab.mouse.move(x, y)
        reader.tab.mouse.down()
        reader.until("document.querySelector('.pane').classList.contains('panning')")
        reader.tab.mouse.move(x + 30, y)
        reader.tab.mouse.up()
        reader.tab.keyboard.up("Space")
        assert reader.tab.evaluate("document.querySelector('.values').textContent").startswith("W 255")


def test_more_images_than_panes_are_a_touch_away(browser: Any, room: FakeRoom) -> None:
    study = study_of(room)
    study.images = study.images * 3
    with Reader(browser, room.url, hash_of(study)) as reader:
        reader.tab.locator(".pane[data-ready]").nth(3).wait_for()
        assert reader.tab.locator(".pane").count() == 4
        reader.press("3")
        reader.tab.get_by_role("button", name="Image 6 (lateral view)").click()
        reader.tab.locator(".pane[data-ready]").nth(3).wait_for()
        shown = reader.tab.locator(".pane .name").all_inner_texts()
        assert [text.split(" · ")[1] for text in shown] == ["frontal", "lateral", "lateral", "lateral"]
        assert reader.overflow_px() <= 0


def test_text_left_unsaved_is_saved_once_the_server_is_back(browser: Any, room: FakeRoom) -> None:
    study = study_of(room)
    with Reader(browser, room.url, expected=("ERR_INTERNET_DISCONNECTED",)) as reader:
        reader.tab.locator("tbody tr").first.wait_for()
        reader.press("j", "Enter")
        reader.tab.locator(".sentence").first.wait_for()
        reader.press("e")
        reader.tab.keyboard.type(" Not lost.")
        reader.context.set_offline(True)
        reader.tab.get_by_role("link", name="Worklist").click()
        reader.sees("is not saved yet. Keep this page open.")
        reader.context.set_offline(False)
        reader.tab.locator("#banner").wait_for(state="hidden")
        for _ in range(100):
            if study.versions[-1]["text"].endswith("Not lost."):
                break
            reader.tab.wait_for_timeout(50)
    assert study.versions[-1]["text"].endswith("Not lost.")


def test_the_canvas_shows_the_very_values(browser: Any, room: FakeRoom) -> None:
    study = study_of(room)
    study.images = [np.arange(256, dtype=np.uint8).reshape(16, 16)]
    middle = """() => {
        const canvas = document.querySelector("canvas"), pixels = canvas.getContext("2d");
        const at = (row, column) => pixels.getImageData(
            Math.round(canvas.width / 2 - 8) + column, Math.round(canvas.height / 2 - 8) + row, 1, 1).data[0];
        return [at(0, 0), at(0, 15), at(8, 8), at(15, 15)];
    }"""
    with Reader(browser, room.url, hash_of(study), expected=("willReadFrequently",)) as reader:
        reader.tab.locator(".pane[data-ready]").wait_for()
        reader.press("0")
        reader.until("document.querySelector('.values').textContent.endsWith('100 %')")
        assert reader.tab.evaluate(middle) == [0, 15, 136, 255]
        reader.press("i")
        reader.until("document.querySelector('.values').textContent.includes('inverted')")
        assert reader.tab.evaluate(middle) == [255, 240, 119, 0]


def shades(reader: Reader) -> list[int]:
    """What a 16 x 16 image shows, row by row, at its original size."""
    script = """() => {
        const canvas = document.querySelector("canvas"), pixels = canvas.getContext("2d");
        const [x, y] = [Math.round(canvas.width / 2 - 8), Math.round(canvas.height / 2 - 8)];
        return [...pixels.getImageData(x, y, 16, 16).data].filter((value, place) => place % 4 === 0);
    }"""
    return list(reader.tab.evaluate(script))


@pytest.mark.parametrize("slope", [2.0, -2.0])
def test_a_narrow_window_is_the_first_picture_and_a_wider_one_brings_all_back(
    browser: Any, room: FakeRoom, slope: float
) -> None:
    study = study_of(room)
    stored = np.arange(256, dtype=np.uint16).reshape(16, 16) * 10
    study.images = [stored]
    intercept = 1000.0 if slope > 0 else 6100.0
    study.windows[0] = {"Slope": slope, "Intercept": intercept, "Window-Function": "LINEAR", "Window-Center": 3000.0,
                        "Window-Width": 401.0}  # fmt: skip
    unit = ((stored * slope + intercept) - 2999.5) / 400 + 0.5
    first = np.clip(unit if slope > 0 else 1 - unit, 0, 1) * 255
    label = "document.querySelector('.values').textContent"
    with Reader(browser, room.url, hash_of(study), expected=("willReadFrequently",)) as reader:
        reader.tab.locator(".pane[data-ready]").wait_for()
        reader.press("0")
        reader.until(f"{label} === 'W 401 \u00b7 L 3000 \u00b7 100 %'")
        assert np.abs(np.array(shades(reader)) - first.ravel()).max() <= 0.51
        clipped = len(set(shades(reader)))
        reader.press(*["]"] * 60)
        reader.until(f"Number(/W (\\d+)/.exec({label})[1]) > 5100")
        assert len(set(shades(reader))) > 3 * clipped
        reader.press("r")
        reader.until(f"{label} === 'W 401 \u00b7 L 3000 \u00b7 100 %'")
        assert len(set(shades(reader))) == clipped


def test_a_conflict_shows_both_texts(browser: Any, room: FakeRoom) -> None:
    study = study_of(room)
    with Reader(browser, room.url, hash_of(study), expected=("409",)) as reader:
        reader.tab.locator(".sentence").first.wait_for()
        reader.press("e")
        study.add_version("Theirs, in between.", "Reader^Otto", "edit")
        reader.tab.keyboard.type("Mine. ")
        reader.press("Escape")
        reader.sees("Somebody else has saved a newer text")
        texts = reader.tab.locator("dialog .exact").all_inner_texts()
        assert texts[0] == "Theirs, in between."
        assert texts[1].endswith("Mine. ")
        # Keys of somebody who is still typing decide nothing, nor does Escape; asked again, the text is still there.
        reader.tab.keyboard.type("x y ")
        reader.sees("Somebody else has saved a newer text")
        reader.press("Escape")
        reader.sees("choose which text stands")
        assert [version["text"] for version in study.versions[1:]] == ["Theirs, in between."]
        reader.press("Escape")
        reader.sees("Somebody else has saved a newer text")
        reader.tab.get_by_role("button", name="Save mine in its place").click()
        reader.tab.locator(".sentence", has_text="Mine.").wait_for()
    assert study.versions[1]["text"] == "Theirs, in between."
    assert study.versions[2]["text"].endswith("Mine. ")


def test_the_page_tells_whether_the_pacs_has_a_signed_report(browser: Any, room: FakeRoom) -> None:
    study = study_of(room)
    room.change("POST", study, ["sign"], {"version": 1, "observer": "Reader^Otto"})
    study.origin = "upload"
    with Reader(browser, room.url, hash_of(study)) as reader:
        reader.sees("no PACS is sent its report: export it")
    study.origin = "dicom"
    with Reader(browser, room.url, hash_of(study)) as reader:
        reader.sees("Not queued for a PACS yet.")
    row = {
        "version": 1,
        "signed": True,
        "destination": "ORTHANC",
        "attempts": 3,
        "sent_at": None,
        "error": "cannot connect",
    }
    study.deliveries = [row, {**row, "destination": "VNA", "sent_at": "2026-03-01T10:00:00.000Z"}]
    with Reader(browser, room.url, hash_of(study)) as reader:
        reader.sees("Version 1: waits for ORTHANC, 3 attempts failed (cannot connect)")
        reader.sees("Version 1: in VNA since 2026-03-01")


def test_a_text_signed_meanwhile_is_left_alone(browser: Any, room: FakeRoom) -> None:
    study = study_of(room)
    with Reader(browser, room.url, hash_of(study), expected=("409",)) as reader:
        reader.tab.locator(".sentence").first.wait_for()
        reader.press("e")
        room.change("POST", study, ["sign"], {"version": 1, "observer": "Reader^Otto"})
        reader.tab.keyboard.type("Too late. ")
        reader.press("Escape")
        reader.sees("Your text could not be saved")
        assert reader.tab.locator("dialog .exact").inner_text().endswith("Too late. ")
        reader.press("Enter")
        reader.tab.locator(".signature").wait_for()
    assert len(study.versions) == 1


def test_another_draft_never_replaces_what_a_person_wrote(browser: Any, room: FakeRoom) -> None:
    study = study_of(room)
    study.add_version("My own words.", "Reader^Rita", "edit")
    with Reader(browser, room.url, hash_of(study)) as reader:
        reader.tab.get_by_role("tab", name="Clues").click()
        row = reader.tab.locator(".clue", has_text="Pneumothorax")
        row.get_by_text("on", exact=True).click()
        reader.tab.get_by_role("button", name="Write another draft").click()
        reader.tab.locator(".compare ins").wait_for()
        assert reader.tab.locator(".compare del").text_content() == "[deleted: My own words.]"
        assert reader.tab.locator(".sentence").all_inner_texts() == ["My own words.edited"]
        reader.tab.get_by_role("button", name="Keep the text before").click()
        reader.until("document.querySelector('.compare') === null")
        assert study.drafts[-1]["forced"] == {"pneumothorax": True}
        assert study.versions[-1]["text"] == "My own words."
        reader.tab.get_by_role("tab", name="Versions").click()
        reader.tab.locator(".version-row").first.click()
        reader.tab.locator(".version-body ins", has_text="My own words.").wait_for()


def test_saves_of_one_go_can_be_seen_one_by_one(browser: Any, room: FakeRoom) -> None:
    study = study_of(room)
    for text in ("First.", "Second.", "Third."):
        study.add_version(text, "Reader^Rita", "edit")
    with Reader(browser, room.url, hash_of(study)) as reader:
        reader.tab.get_by_role("tab", name="Versions").click()
        assert reader.tab.locator(".version-row").count() == 2
        reader.tab.get_by_role("button", name="Every save").click()
        assert reader.tab.locator(".version-row").count() == 4
        reader.tab.locator(".version-row").nth(2).click()
        reader.tab.get_by_role("button", name="Go on from this text").click()
        reader.tab.locator(".sentence", has_text="First.").wait_for()
    assert [version["text"] for version in study.versions[-2:]] == ["Third.", "First."]


def test_undo_and_the_way_back_to_the_draft(browser: Any, room: FakeRoom) -> None:
    study = study_of(room)
    text = study.drafts[0]["text"]
    with Reader(browser, room.url, hash_of(study)) as reader:
        reader.tab.locator(".sentence").first.wait_for()
        assert "PHANTOM" not in reader.tab.title()
        reader.press("e")
        area = reader.tab.locator("textarea")
        area.fill("Everything else.")
        reader.press("Control+z")
        assert area.input_value() == text
        reader.press("Control+Shift+z")
        assert area.input_value() == "Everything else."
        reader.tab.get_by_role("button", name="Draft’s text").click()
        assert area.input_value() == text


def test_unsaved_text_is_asked_about_and_never_stored_in_the_browser(browser: Any, room: FakeRoom) -> None:
    with Reader(browser, room.url, hash_of(study_of(room))) as reader:
        reader.tab.locator(".sentence").first.wait_for()
        reader.press("e")
        reader.tab.keyboard.type("Secret words. ")
        stored = "JSON.stringify([{...localStorage}, {...sessionStorage}])"
        assert "Secret" not in reader.tab.evaluate(stored)
        reader.tab.close(run_before_unload=True)
        for _ in range(50):
            if reader.dialogs:
                break
            reader.tab.wait_for_timeout(50)
        assert reader.dialogs == ["beforeunload"]


def test_hostile_texts_stay_texts(browser: Any, room: FakeRoom) -> None:
    study = study_of(room)
    study.facts |= {"patient_name": HOSTILE, "accession": HOSTILE, "description": HOSTILE, "indication": HOSTILE}
    study.names, study.notes = [HOSTILE, HOSTILE], [HOSTILE]
    study.drafts[-1]["sentences"][0]["text"] = f"{HOSTILE} is seen."
    study.add_version(f"{HOSTILE} is seen. </textarea><script>alert(2)</script>", HOSTILE, "edit")
    failed = study_of(room, 1)
    failed.state, failed.reason, failed.drafts, failed.versions = "failed", HOSTILE, [], []
    refusal = {"error": {"code": "bad", "message": HOSTILE, "field": None}}
    room.refusals.append(("/evidence/1/0", 400, refusal, ""))
    with Reader(browser, room.url, expected=("400",)) as reader:
        reader.tab.locator("tbody tr").first.wait_for()
        reader.press("j", "Enter")
        reader.tab.locator(".sentence").first.wait_for()
        reader.press("j", "k", "d", "c", "c")
        reader.tab.locator(".version-row").first.click()
        reader.tab.locator(".version-body .diff").wait_for()
        reader.press("e", "Escape", "s")
        shown = reader.tab.locator("#to-be-signed")
        shown.wait_for()
        assert shown.inner_text() == study.versions[-1]["text"]
        reader.press("Escape")
        assert HOSTILE in reader.tab.locator(".patient-strip").inner_text()
        assert reader.tab.locator("img[src=x]").count() == 0
        assert reader.tab.locator("main script").count() == 0
        assert reader.dialogs == []


def test_an_upload_says_what_was_refused_and_leads_to_its_study(browser: Any, room: FakeRoom) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((32, 32), dtype=np.uint8)).save(stream, "PNG")
    full = {"error": {"code": "queue_full", "message": "The queue is full.", "field": None}}
    with Reader(browser, room.url, expected=("415", "429")) as reader:
        reader.tab.locator("tbody tr").first.wait_for()
        reader.press("u")
        reader.tab.get_by_role("button", name="Upload", exact=True).last.click()
        reader.sees("Choose at least one image.")
        picker = reader.tab.locator("input[type=file]")
        picker.set_input_files([{"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image"}])
        reader.tab.get_by_role("button", name="Upload", exact=True).last.click()
        reader.sees("notes.txt: it is no DICOM, PNG or JPEG file.")
        reader.tab.get_by_role("button", name="Leave out notes.txt").click()
        picker.set_input_files([{"name": "chest.png", "mimeType": "image/png", "buffer": stream.getvalue()}])
        room.refusals.append(("/v1/studies", 429, full, "1"))
        reader.tab.get_by_role("button", name="Upload", exact=True).last.click()
        reader.sees("The queue is full; sending again in 1 s.")
        reader.tab.locator(".streaming, .sentence").first.wait_for()
    assert room.uploads == 1


def test_a_token_is_asked_for(browser: Any, room: FakeRoom) -> None:
    room.token, room.role = "right", "reader"
    with Reader(browser, room.url, expected=("401",)) as reader:
        reader.tab.locator("#token").fill("wrong")
        reader.press("Enter")
        reader.sees("No such token.")
        reader.tab.locator("#token").fill("right")
        reader.press("Enter")
        reader.tab.locator("tbody tr").first.wait_for()
        reader.press("j", "Enter")
        reader.tab.locator(".sentence").first.wait_for()
        reader.press("e", "s")
        assert reader.tab.locator("textarea, dialog").count() == 0
        assert reader.tab.locator(".actions .primary").is_disabled()


def test_a_lost_connection_shows_and_mends(browser: Any, room: FakeRoom) -> None:
    with Reader(browser, room.url, expected=("ERR_INTERNET_DISCONNECTED",)) as reader:
        reader.tab.locator("tbody tr").first.wait_for()
        reader.context.set_offline(True)
        reader.sees("The connection to the server is lost.")
        reader.context.set_offline(False)
        reader.tab.locator("#banner").wait_for(state="hidden")


@pytest.mark.parametrize("size", [DESK, TABLET, UPRIGHT], ids=str)
def test_nothing_reaches_beyond_the_window(browser: Any, room: FakeRoom, size: tuple[int, int]) -> None:
    study = study_of(room)
    study.facts |= {"patient_name": "PHANTOM^" + "LONG" * 30, "accession": "9" * 60}
    touch = size != DESK
    with Reader(browser, room.url, size=size, has_touch=touch, reduced_motion="reduce") as reader:
        reader.tab.locator("tbody tr").first.wait_for()
        assert reader.overflow_px() <= 0
        reader.press("j", "Enter")
        reader.tab.locator(".sentence").first.wait_for()
        reader.press("j")
        reader.tab.locator(".pane[data-map=shown]").first.wait_for()
        assert reader.overflow_px() <= 0
        for panel in (".side-scroll", ".patient-strip", ".legend", ".tools"):
            assert reader.tab.eval_on_selector(panel, "node => node.scrollWidth - node.clientWidth") <= 0, panel
        reader.press("e")
        reader.tab.locator("textarea").wait_for()
        assert reader.overflow_px() <= 0
