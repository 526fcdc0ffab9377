"""The page's pure functions, run in a browser: diff, window and level, zoom, grids, words, undo."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_room import FakeRoom
from page_browser import Reader

from a_browser import a_browser


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    room = FakeRoom(num_studies=1, size_px=64).start()
    with a_browser() as browser, Reader(browser, room.url) as opened:
        yield opened
    room.stop()


def call(reader: Reader, module: str, script: str, argument: Any = None) -> Any:
    """Runs ``script`` as the body of a function of ``m`` (the module) and ``a`` (the argument)."""
    body = f"async (a) => {{ const m = await import('/static/js/{module}.js'); {script} }}"
    return reader.tab.evaluate(body, argument)


WORDS = ("no", "effusion", "or", "pneumothorax.", "heart", "large\n", "small", "left")


def diff(reader: Reader, before: str, after: str) -> list[tuple[str, str]]:
    changes = call(reader, "diff", "return m.wordDiff(a[0], a[1]);", [before, after])
    return [(change["kind"], change["text"]) for change in changes]


def test_a_diff_marks_the_changed_words(reader: Reader) -> None:
    assert diff(reader, "Small left effusion.", "Small right effusion.") == [
        ("same", "Small "), ("removed", "left "), ("added", "right "), ("same", "effusion."),
    ]  # fmt: skip
    assert diff(reader, "", "New.") == [("added", "New.")]
    assert diff(reader, "Old.", "") == [("removed", "Old.")]
    assert diff(reader, "A b.", "A  b. ") == [("same", "A  b. ")]
    assert diff(reader, "", "") == []


def test_a_diff_holds_both_texts_whatever_they_are(reader: Reader) -> None:
    rng = np.random.default_rng(3)
    for _ in range(40):
        before, after = (" ".join(rng.choice(WORDS, size=rng.integers(0, 14))) for _ in range(2))
        changes = diff(reader, before, after)
        assert "".join(text for kind, text in changes if kind != "removed") == after
        assert " ".join(text for kind, text in changes if kind != "added").split() == before.split()


@pytest.mark.parametrize("bits", [8, 16])
def test_the_window_maps_its_ends_to_black_and_white(reader: Reader, bits: int) -> None:
    script = """
        const table = m.windowTable(a.bits, {center: a.center, width: a.width}, a.inverted);
        return a.values.map((value) => [table[value] & 255, (table[value] >>> 8) & 255, table[value] >>> 24]);
    """
    most = 2**bits - 1
    values = [0, most // 4, most // 2, most]
    settings = {"bits": bits, "center": most / 2, "width": most / 2, "values": values}
    low, width = most / 2 - most / 4, most / 2
    wanted = [int(np.clip((value - low) / width * 255, 0, 255) + 0.5) for value in values]
    shown = call(reader, "window_level", script, {**settings, "inverted": False})
    assert shown == [[value, value, 255] for value in wanted]
    inverted = call(reader, "window_level", script, {**settings, "inverted": True})
    assert [row[0] for row in inverted] == [255 - value for value in wanted]


def test_a_halved_image_is_the_mean_of_four(reader: Reader) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (5, 7))
    script = """
        const half = m.halved({pixels: new Uint16Array(a.pixels), width: 7, height: 5});
        return [half.width, half.height, [...half.pixels]];
    """
    width, height, values = call(reader, "window_level", script, {"pixels": pixels.ravel().tolist()})
    padded = np.pad(pixels, ((0, 1), (0, 1)), mode="edge")
    wanted = (padded.reshape(3, 2, 4, 2).sum((1, 3)) + 2) >> 2
    assert (width, height) == (4, 3)
    assert values == wanted.ravel().tolist()


def test_the_first_window_leaves_outliers_out(reader: Reader) -> None:
    script = "return m.firstWindow({pixels: new Uint16Array(a), width: a.length, height: 1});"
    values = [0, *([1000, 3000] * 5000), 65535]
    assert call(reader, "window_level", script, values) == {"center": 2000, "width": 2000}
    assert call(reader, "window_level", script, [7] * 50)["width"] == 1
    flat = "return m.firstWindow({pixels: new Uint8Array([1, 2]), width: 2, height: 1});"
    assert call(reader, "window_level", flat) == {"center": 127.5, "width": 255}


@pytest.mark.parametrize("slope", [0.001, -2.0])
@pytest.mark.parametrize("linear", [False, True])
def test_a_window_has_the_units_of_the_file_and_comes_back(reader: Reader, slope: float, linear: bool) -> None:
    script = """
        const pixels = m.pixelWindow(a.window, a.units);
        return [pixels, m.fileWindow(pixels, a.units)];
    """
    units = {"slope": slope, "intercept": 40, "linear": linear}
    pixels, back = call(reader, "window_level", script, {"window": {"center": 30, "width": 12}, "units": units})
    one = int(linear)
    assert pixels["center"] == pytest.approx((30 - one / 2 - 40) / slope)
    assert pixels["width"] == pytest.approx((12 - one) / abs(slope))
    assert back == pytest.approx({"center": 30, "width": 12})


def test_a_window_is_named_in_as_many_digits_as_it_needs(reader: Reader) -> None:
    script = "return a.map((window) => m.windowName(window));"
    windows = [{"center": 2047.5, "width": 4095}, {"center": -1.256, "width": 2.5}, {"center": 0.1234, "width": 0.05}]
    wanted = ["W 4095 \u00b7 L 2048", "W 2.5 \u00b7 L \u22121.26", "W 0.05 \u00b7 L 0.1234"]
    assert call(reader, "window_level", script, windows) == wanted


def test_a_drag_has_the_pace_of_the_window_and_ends_where_the_values_do(reader: Reader) -> None:
    script = """
        const first = {center: 2000, width: 100};
        const reach = m.reachOf({pixels: new Uint16Array([10, 4000])}, first);
        const drag = (dx, dy, times) => {
            let window = first;
            for (let n = 0; n < times; n += 1) window = m.draggedWindow(window, dx, dy, reach);
            return window;
        };
        return [reach, drag(0, 0.1, 1), drag(0.1, 0, 1), drag(0, 9, 50), drag(9, 0, 50), drag(-9, 0, 50)];
    """
    reach, darker, wider, *ends = call(reader, "window_level", script)
    assert reach == {"low": 10, "high": 4000}
    assert darker == pytest.approx({"center": 2015, "width": 100})
    assert wider == pytest.approx({"center": 2000, "width": 100 * np.exp(0.15)})
    assert ends == [{"center": 4000, "width": 100}, {"center": 2000, "width": 7980}, {"center": 2000, "width": 1}]


def test_zoom_keeps_the_point_under_the_cursor(reader: Reader) -> None:
    script = """
        const image = {width: 3000, height: 2500}, box = {width: 900, height: 700};
        let view = m.fitted(image, box);
        const point = {x: 420, y: 333};
        const under = (v) => [(point.x - v.x) / v.scale, (point.y - v.y) / v.scale];
        const before = under(view);
        view = m.zoomed(view, 3.7, point, image, box);
        return [before, under(view), view.scale, m.fitted(image, box).scale,
                m.zoomed(view, 1e9, point, image, box).scale, m.zoomed(view, 1e-9, point, image, box).scale];
    """
    before, after, scale, fitted, most, least = call(reader, "view_maths", script)
    assert before == pytest.approx(after)
    assert scale == pytest.approx(3.7 * fitted)
    assert (most, least) == (16, pytest.approx(fitted / 2))


def test_the_image_cannot_be_lost_by_panning(reader: Reader) -> None:
    script = """
        const image = {width: 300, height: 200}, box = {width: 900, height: 700};
        const view = m.panned(m.fitted(image, box), a[0], a[1], image, box);
        return m.visiblePart(view, image, 1, box);
    """
    for way in ([1e6, 0], [-1e6, 0], [0, 1e6], [0, -1e6]):
        part = call(reader, "view_maths", script, way)
        assert part["width"] > 20, way
        assert part["height"] > 20, way


def test_the_level_drawn_has_a_pixel_for_each_of_the_screen(reader: Reader) -> None:
    levels = call(reader, "view_maths", "return [2, 1, 0.6, 0.3, 0.15, 0.001].map((s) => m.levelFor(s, 4));")
    assert levels == [0, 0, 1, 2, 3, 3]


def test_a_grid_covers_exactly_the_image(reader: Reader) -> None:
    script = """
        const grid = [[0, 1, 0], [0, 5, 9]], image = {width: 300, height: 80};
        const peak = m.peakOf([{place: 0, grid: [[1, 2]]}, {place: 1, grid}]);
        const centre = m.cellCentre(grid, peak.row, peak.column, image);
        return [peak, centre, m.cellAt(grid, centre.x, centre.y, image), m.cellAt(grid, 299.9, 0, image),
                m.cellAt(grid, 300, 0, image), m.peakOf([{place: 0, grid: [[-1, 0]]}]),
                m.peakOf([{place: 3, grid: [[1, 4, 4, 0, 4], [0, 4, 4, 0, 0], [0, 4, 4, 0, 0]]}])];
    """
    peak, centre, cell, corner, outside, nothing, window = call(reader, "overlay", script)
    assert peak == {"place": 1, "row": 1, "column": 2, "value": 9}
    assert window == {"place": 3, "row": 1, "column": 1.5, "value": 4}
    assert centre == {"x": 250, "y": 60}
    assert cell == {"row": 1, "column": 2}
    assert corner == {"row": 0, "column": 2}
    assert outside is None
    assert nothing is None


def test_stronger_is_brighter_and_more_opaque_on_both_ramps(reader: Reader) -> None:
    script = "return [1, -1].map((sign) => [0, .25, .5, .75, 1, 2].map((share) => m.heat(sign * share * a, a)));"
    for ramp in call(reader, "overlay", script, 0.8):
        light = [0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue, _ in ramp[:5]]
        alpha = [colour[3] for colour in ramp]
        assert light == sorted(light)
        assert alpha == sorted(alpha)
        assert (alpha[0], alpha[-1], ramp[-1]) == (0, 255, ramp[-2])
    assert call(reader, "overlay", "return m.heat(NaN, 1);") == [0, 0, 0, 0]


def test_sentences_are_cut_and_found_again(reader: Reader) -> None:
    cut = "return m.sentencesOf(a);"
    sentences = ["Heart 5.2 cm.", "No effusion!", "Stable"]
    assert call(reader, "words", cut, "Heart 5.2 cm.  No effusion!\n\nStable") == sentences
    script = """
        const draft = {text: "One. Two. Two.", sentences: ["One.", "Two.", "Two."].map((text) => ({text}))};
        return [m.matchSentences("Two. New. Two. One.", draft).map((each) => each.source),
                m.matchSentences("One.  Two. Two.", draft).map((each) => each.source),
                m.matchSentences("Own.", null).map((each) => each.source)];
    """
    assert call(reader, "sentences", script) == [[1, None, 2, 0], [0, 1, 2], [None]]


@pytest.mark.parametrize(
    ("function", "arguments", "wanted"),
    [
        ("personName", ["DOE^JANE^M"], "DOE, JANE M"),
        ("personName", ["Yamada^Tarou=山田^太郎"], "Yamada, Tarou (山田 太郎)"),
        ("personName", [""], ""),
        ("dicomDate", ["20260301"], "2026-03-01"),
        ("dicomDate", ["spring"], "spring"),
        ("ageAt", ["19800302", "20260301"], 45),
        ("ageAt", ["", "20260301"], None),
        ("percent", [0.002], "<1 %"),
        ("percent", [0.999], ">99 %"),
        ("percent", [0.555], "56 %"),
        ("signed", [-1.5], "−1.50"),
        ("wordingOf", [-0.05], "almost the only wording the model considered"),
        ("wordingOf", [-0.5], "likelier to the model than all other wordings together"),
        ("fileSize", [1_500_000], "1.5 MB"),
    ],
)
def test_values_read_well(reader: Reader, function: str, arguments: list[Any], wanted: Any) -> None:
    assert call(reader, "words", f"return m.{function}(...a);", arguments) == wanted


def test_undo_takes_back_a_stretch_of_typing_at_once(reader: Reader) -> None:
    script = """
        const history = new m.TextHistory("a");
        history.push("ab", {typed: true, now: 0});
        history.push("abc", {typed: true, now: 100});
        history.push("abcd", {typed: true, now: 5000});
        history.push("whole", {now: 5001});
        const back = [history.undo(), history.undo(), history.undo(), history.undo()];
        const on = [history.redo(), history.redo()];
        history.push("other", {typed: true, now: 9000});
        return [back, on, history.canRedo, history.undo()];
    """
    assert call(reader, "text_history", script) == [["abcd", "abc", "a", "a"], ["abc", "abcd"], False, "abcd"]


def test_saves_in_one_go_are_one_entry(reader: Reader) -> None:
    script = """
        const at = (minute) => new Date(60000 * minute).toISOString();
        const version = (number, kind, author, minute) =>
            ({number, kind, author, based_on: number - 1, created_at: at(minute)});
        return m.grouped([version(1, "draft", "net", 0), version(2, "edit", "R", 1), version(3, "edit", "R", 2),
                          version(4, "edit", "S", 3), version(5, "edit", "S", 90)])
            .map((group) => [group.version.number, group.saves, group.based_on]);
    """
    assert call(reader, "versions", script) == [[5, 1, 4], [4, 1, 3], [3, 2, 1], [1, 1, 0]]


def test_retry_after_is_read_as_seconds_or_date(reader: Reader) -> None:
    script = "return m.retryAfterOf(new Response(null, {headers: a === null ? {} : {'Retry-After': a}}));"
    assert call(reader, "api", script, "7") == 7
    assert call(reader, "api", script, None) == 0
    assert call(reader, "api", script, "Thu, 01 Jan 1970 00:00:00 GMT") == 0
