"""The pages in a browser: order, filters, search, address, keys; legible on a phone; nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from a_browser import a_browser
from radwright.evaluation.clue_labels import ClueLabels
from radwright.evaluation.clues import evaluate_clues
from radwright.evaluation.marks import read_both
from radwright.evaluation.page import DraftedStudy, Page, PageView, write_page
from radwright.evaluation.page.clues import CluePage, write_clue_page
from radwright.evaluation.page.evidence import ClueRow, EvidencePage, SentenceRow, write_evidence_page
from radwright.evaluation.score import score
from radwright.methods.trrg.clue_bank import default_bank

WIDTHS = {1400: 1000, 390: 844}
REPORTS = {
    # study: (reference, draft, CIDEr)
    "exact": ("Small left pleural effusion.", "Small left pleural effusion.", 5.0),
    "fabricated": ("Heart size is normal.", "There is a pneumothorax. Heart size is normal.", 1.0),
    "flipped": ("No pneumothorax.", "There is a pneumothorax.", 0.5),
    "missed": ("Moderate cardiomegaly. No pneumothorax.", "No pneumothorax.", 2.0),
    "side": ("Small left pleural effusion.", "Small right pleural effusion.", 3.0),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with a_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    picture = Image.fromarray(np.arange(256 * 200, dtype=np.uint32).reshape(256, 200).astype(np.uint8))
    references = {f"s{number}": f"The heart is normal. Finding {number} is seen." for number in range(50)}
    groups = {
        "a rather long name of a fact": {"one": list(references)[:25], "an even longer name": list(references)[25:]}
    }
    scores = score(
        {name: text.replace("normal", "large") for name, text in references.items()},
        references,
        train={f"t{number}": f"The lungs are clear. Line {number}." for number in range(8)},
        groups=groups,
        num_resamples=10,
    )
    studies = tuple(
        DraftedStudy(
            name,
            draft,
            reference,
            (PageView("frontal", picture), PageView("lateral", picture)),
            read_both(reference, draft),
            -1.0,
            {"cider": cider},
        )
        for name, (reference, draft, cider) in REPORTS.items()
    )
    path = tmp_path_factory.mktemp("page") / "index.html"
    command = "radwright evaluate " + "a/very/long/path/without/any/space/" * 6
    write_page(path, Page("A page", "It is shown.", {"command": command}, {}, scores.plain(), None, None, studies,
                          "Five studies.", "cider"))  # fmt: skip
    return path


class Opened:
    """The page in a window; everything that it asks for or complains of is kept."""

    def __init__(self, browser: Any, path: Path, width: int, *, hash: str = "", scheme: str = "light") -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.tab = browser.new_page(viewport={"width": width, "height": WIDTHS[width]}, color_scheme=scheme)
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("console", lambda message: self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.goto(f"{path.as_uri()}{hash}")

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.tab.close()

    def shown(self) -> list[str]:
        names: list[str] = self.tab.eval_on_selector_all(
            "article", "rows => rows.filter(row => !row.hidden).map(row => row.querySelector('bdi').textContent)"
        )
        return names

    def choose(self, name: str) -> None:
        self.tab.locator("fieldset label", has_text=name).first.click()


@pytest.mark.parametrize("width", WIDTHS)
def test_studies_are_sorted_filtered_and_found(browser: Any, page_file: Path, width: int) -> None:
    with Opened(browser, page_file, width) as page:
        assert page.shown() == ["flipped", "fabricated", "missed", "side", "exact"]
        page.tab.select_option("#sort", "metric:cider down")
        assert page.shown() == ["exact", "side", "missed", "fabricated", "flipped"]
        page.tab.select_option("#sort", "errors up")
        assert page.shown()[0] == "exact"
        page.choose("Fabricated")
        assert page.shown() == ["fabricated", "flipped"]
        assert page.tab.inner_text("#count") == "2 of 5"
        page.choose("Missed")
        assert page.shown() == ["missed"]
        page.choose("Side error")
        assert page.shown() == ["side"]
        page.choose("Exact")
        assert page.shown() == ["exact"]
        page.choose("All")
        page.tab.select_option("#class", label="Pneumothorax")
        assert sorted(page.shown()) == ["fabricated", "flipped"]
        page.choose("Side error")
        assert page.shown() == []
        assert page.tab.is_visible("#none")
        page.tab.select_option("#class", label="Pleural Effusion")
        assert page.shown() == ["side"]
        page.choose("All")
        page.tab.select_option("#class", label="any")
        page.tab.fill("#search", "RIGHT effusion")
        assert page.shown() == ["side"]
        page.tab.fill("#search", "contradicted")  # spoken only, on marks; readable among the facts
        assert page.shown() == ["flipped"]
        assert not page.complaints


def test_the_address_keeps_what_is_chosen(browser: Any, page_file: Path) -> None:
    with Opened(browser, page_file, 1400) as page:
        page.choose("Fabricated")
        page.tab.select_option("#class", label="Pneumothorax")
        page.tab.select_option("#sort", "metric:cider down")
        page.tab.fill("#search", "heart size")
        assert page.shown() == ["fabricated"]
        kept = page.tab.evaluate("location.hash")
        page.tab.reload()
        assert page.shown() == ["fabricated"]
    with Opened(browser, page_file, 1400, hash=kept) as page:
        assert page.shown() == ["fabricated"]
        assert page.tab.input_value("#search") == "heart size"
        page.tab.focus("#search")
        page.tab.keyboard.press("Escape")
        page.choose("All")
        page.tab.select_option("#class", label="any")
        page.tab.select_option("#sort", "metric:cider up")
        assert "=" not in page.tab.evaluate("location.hash")
    with Opened(browser, page_file, 1400, hash="#sort=nonsense&show=nothing&finding=none") as page:
        assert len(page.shown()) == 5
        assert not page.complaints


def test_keys_go_from_study_to_study_and_an_image_opens_large(browser: Any, page_file: Path) -> None:
    with Opened(browser, page_file, 1400) as page:
        focused = "document.activeElement.closest('article')?.querySelector('bdi').textContent"
        page.choose("Fabricated")
        page.tab.focus("article:not([hidden])")
        page.tab.keyboard.press("j")
        assert page.tab.evaluate(focused) == "fabricated"
        page.tab.keyboard.press("k")
        assert page.tab.evaluate(focused) == "flipped"
        page.tab.keyboard.press("/")
        assert page.tab.evaluate("document.activeElement.id") == "search"
        page.tab.locator("article:not([hidden]) img").first.click()
        assert page.tab.is_visible("#viewer img")
        assert not page.complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_no_scrolling_sideways_and_nothing_is_fetched(browser: Any, page_file: Path, width: int, scheme: str) -> None:
    with Opened(browser, page_file, width, scheme=scheme) as page:
        page.tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        page.tab.evaluate("scrollTo(0, document.body.scrollHeight)")
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
        boxes = page.tab.evaluate("[...document.querySelectorAll('.scroll')].map(b => getComputedStyle(b).overflowX)")
        assert set(boxes) == {"auto"}
        loaded = page.tab.evaluate("[...document.images].every(image => image.naturalWidth > 0 || !image.complete)")
        assert loaded
        assert all(url.startswith(("file:", "data:")) for url in page.requests)
        assert [url for url in page.requests if url.startswith("file:")] == [page_file.as_uri()]
        assert not page.complaints


def test_what_is_tapped_on_a_phone_is_large_enough(browser: Any, page_file: Path) -> None:
    with Opened(browser, page_file, 390) as page:
        sizes = page.tab.eval_on_selector_all(
            "nav a, summary, #tools select, #tools input[type=search], fieldset span, img",
            "all => all.map(one => [one.tagName, Math.min(one.getBoundingClientRect().height)])",
        )
        assert len(sizes) > 10
        assert all(height >= 44 for _, height in sizes), sizes


def test_marks_differ_without_colour(browser: Any, page_file: Path) -> None:
    with Opened(browser, page_file, 1400) as page:
        styles = page.tab.eval_on_selector_all(
            "article mark",
            "all => all.map(one => [one.className, getComputedStyle(one, '::before').content,"
            " getComputedStyle(one).textDecorationStyle])",
        )
        by_kind = {kind: (sign, line) for kind, sign, line in styles}
        assert set(by_kind) == {"supported", "fabricated", "missed", "flipped", "side", "denied"}
        assert len(set(by_kind.values())) == len(by_kind)
        assert all(page.tab.eval_on_selector_all("article mark", "all => all.map(one => one.title)"))


def test_everything_can_be_read_without_scripts(browser: Any, page_file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(page_file.as_uri())
    assert tab.locator("article").count() == 5
    assert not tab.is_visible("#tools")
    context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_of_clues_fits_its_window_and_asks_for_nothing(browser: Any, tmp_path: Path, width: int) -> None:
    bank = default_bank()
    rng = np.random.default_rng(1)
    names = [f"s{number}" for number in range(30)]
    labels = {
        name: dict(zip(bank.names, rng.choice([1, 0, -1], len(bank.names)).tolist(), strict=True)) for name in names
    }
    probabilities = {name: rng.random(len(bank.names)) for name in names}
    found = evaluate_clues(probabilities, ClueLabels(labels, {}, {}, "labels"), bank, num_resamples=20)
    facts = {"checkpoint": "a/very/long/path/without/any/space/" * 6}
    write_clue_page(tmp_path / "index.html", CluePage("Clues", found, "labels", found.notes, facts))
    with Opened(browser, tmp_path / "index.html", width) as page:
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
        assert page.tab.locator("circle.bin").count() > len(bank.names)
        assert all(url.startswith(("file:", "data:")) for url in page.requests)
        assert not page.complaints


@pytest.fixture(scope="module")
def evidence_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(3)
    clues = (ClueRow("Enlarged Cardiomediastinum", True, 0.8, -1.0, -2.5, "The heart is large.", "No effusion."),)
    sentences = tuple(
        SentenceRow(
            f"Sentence number {number} is about a rather long matter.",
            -1.0,
            5,
            {"occlusion": draw.normal(size=(2, 32, 32)), "attention": draw.random((2, 32, 32))},
            clues,
        )
        for number in range(5)
    )
    views = tuple(
        PageView(name, Image.fromarray(draw.integers(0, 255, (96, 96), dtype=np.uint8)))
        for name in ("frontal", "lateral")
    )
    facts = {"command": "radwright explain " + "a/very/long/path/without/any/space/" * 6}
    path = tmp_path_factory.mktemp("evidence") / "page.html"
    write_evidence_page(path, EvidencePage("Evidence", views, sentences, "No effusion.", (), facts))
    return path


SHOWN = (
    "['.overlay', '.panel'].map(kind => [...document.querySelectorAll(kind)].filter(one => !one.hidden)"
    ".map(one => `${one.dataset.sentence} ${one.dataset.kind ?? ''}`.trim()))"
)


def test_a_sentence_in_focus_shows_its_evidence(browser: Any, evidence_file: Path) -> None:
    with Opened(browser, evidence_file, 1400) as page:
        assert page.tab.evaluate(SHOWN) == [["0 occlusion"] * 2, ["0"]]
        page.tab.locator("#sentences label").nth(2).click()
        assert page.tab.evaluate(SHOWN) == [["2 occlusion"] * 2, ["2"]]
        page.tab.locator("#kinds label", has_text="Attention").click()
        assert page.tab.evaluate(SHOWN) == [["2 attention"] * 2, ["2"]]
        page.tab.locator("#sentences label").nth(4).hover()
        assert page.tab.evaluate(SHOWN) == [["4 attention"] * 2, ["4"]]
        page.tab.mouse.move(5, 5)
        assert page.tab.evaluate(SHOWN) == [["2 attention"] * 2, ["2"]]
        page.tab.locator("#kinds label", has_text="Image only").click()
        assert page.tab.evaluate(SHOWN) == [[], ["2"]]
        page.tab.locator("#kinds label", has_text="Occlusion").click()
        page.tab.focus("input[name=sentence]:checked")
        page.tab.keyboard.press("ArrowDown")
        assert page.tab.evaluate(SHOWN) == [["3 occlusion"] * 2, ["3"]]
        page.tab.keyboard.press("ArrowUp")
        page.tab.keyboard.press("ArrowUp")
        assert page.tab.evaluate(SHOWN) == [["1 occlusion"] * 2, ["1"]]
        assert not page.complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_of_evidence_fits_its_window_and_asks_for_nothing(
    browser: Any, evidence_file: Path, width: int, scheme: str
) -> None:
    with Opened(browser, evidence_file, width, scheme=scheme) as page:
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
        # A map lies exactly over its image.
        boxes = page.tab.eval_on_selector_all(
            ".frame",
            "all => all.map(one => [...one.children].filter(part => !part.hidden)"
            ".map(part => JSON.stringify(part.getBoundingClientRect())))",
        )
        assert len(boxes) == 2
        assert all(len(own) == 2 and own[0] == own[1] for own in boxes)
        assert all(url.startswith(("file:", "data:")) for url in page.requests)
        assert not page.complaints
        if width < 500:
            heights = page.tab.eval_on_selector_all(
                "#sentences label, #kinds span", "all => all.map(one => one.getBoundingClientRect().height)"
            )
            assert all(height >= 44 for height in heights)
