"""The page's files: contrast of every pair of colours; nothing inline, from elsewhere, or parsed as HTML."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

import radwright.serving

PAGE = Path(radwright.serving.__file__).parent / "page"
SCRIPTS = sorted((PAGE / "js").glob("*.js"))
STYLES = sorted(PAGE.glob("*.css"))
COLOURS = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", (PAGE / "styles.css").read_text(encoding="utf-8")))


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(COLOURS[one]), luminance(COLOURS[other])), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def named(prefix: str) -> list[str]:
    return [name for name in COLOURS if name.startswith(prefix)]


@pytest.mark.parametrize(("text", "surface"), list(product(named("--text-"), named("--surface-"))))
def test_every_text_is_legible_on_every_surface(text: str, surface: str) -> None:
    assert contrast(text, surface) >= 4.5


@pytest.mark.parametrize(("part", "surface"), list(product(named("--ui-"), named("--surface-"))))
def test_every_control_stands_out_from_every_surface(part: str, surface: str) -> None:
    assert contrast(part, surface) >= 3


@pytest.mark.parametrize("fill", named("--fill-"))
def test_text_on_filled_buttons_is_legible(fill: str) -> None:
    assert contrast("--on-fill", fill) >= 4.5


def test_colours_are_named_in_one_place_only() -> None:
    assert len(named("--text-")) >= 5
    assert len(named("--surface-")) >= 5
    for path in STYLES:
        rules = re.sub(r":root \{.*?\n\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert re.findall(r"#[0-9a-fA-F]{3,8}\b", rules) == [], path.name
        used = set(re.findall(r"var\((--[\w-]+)\)", rules))
        assert used <= set(COLOURS) | {"--radius", "--font"}, path.name


def test_every_text_colour_in_use_is_one_of_the_tested() -> None:
    for path in STYLES:
        for value in re.findall(r"(?:^|[{;\s])color: ([^;]+);", path.read_text(encoding="utf-8")):
            assert re.fullmatch(r"var\(--(text-[\w-]+|on-fill)\)|inherit|currentColor", value), f"{path.name}: {value}"


def test_the_document_has_nothing_inline_and_nothing_from_elsewhere() -> None:
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    assert re.search(r"<style|style=|\son\w+=|javascript:|<script(?![^>]*src=)", text) is None
    links = re.findall(r'(?:href|src)="([^"]+)"', text)
    assert links
    assert all(link.startswith(("/static/", "#")) for link in links)
    for link in links:
        if link.startswith("/static/"):
            assert (PAGE / link.removeprefix("/static/")).is_file(), link
    assert "Not a medical device" in text


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_module_is_small_parses_no_html_and_fetches_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    assert text.startswith("/**\n * ")
    parsed = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(\"style"
    assert re.search(parsed, text) is None
    assert re.search(r"[^=!]==[^=]|!=[^=]", text) is None, "loose equality"
    assert re.search(r"https?://|sessionStorage|indexedDB|document\.cookie", text) is None
    for name in re.findall(r'from "\./([\w.]+)"', text):
        assert (path.parent / name).is_file(), name


def test_motion_can_be_reduced_and_focus_is_seen() -> None:
    text = (PAGE / "styles.css").read_text(encoding="utf-8")
    assert "prefers-reduced-motion: reduce" in text
    assert ":focus-visible { outline: 2px solid var(--ui-focus)" in text
