"""The page of drafts: self-contained, nothing injected, nothing lost, numbers as given."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from radwright.errors import OutputError, ScoringError
from radwright.evaluation.marks import read_both
from radwright.evaluation.page import (
    Curve,
    DraftedStudy,
    Estimate,
    FindingScore,
    FindingTable,
    Page,
    PageView,
    render_page,
    write_page,
)
from radwright.evaluation.page.charts import Lane, dot_plot, nice_ticks
from radwright.evaluation.page.html import escape
from radwright.evaluation.page.sections import WARNING
from radwright.evaluation.page.systems import Comparison, Group, render_comparison
from radwright.evaluation.page.variety import Variety
from radwright.evaluation.score import score
from radwright.types import ImageInMemory, View

KINDS = ("supported", "described", "side", "missed", "fabricated", "flipped")
VOID = {"meta", "link", "img", "input"}
HOSTILE = "</style></script><script>alert(1)</script><img src=x onerror=alert(2)> \" ' & <!-- https://evil.example/ "


class Reader(HTMLParser):
    """Elements with their attributes and own text; every start tag must find its end tag."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.open), data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, within: str = "body") -> str:
        return "".join(data for path, data in self.texts if within in path and path[-1] not in {"script", "style"})

    def raw(self, tag: str) -> str:
        return "".join(data for path, data in self.texts if path[-1:] == (tag,))

    def values(self) -> list[float]:
        return [float(attributes["value"] or "nan") for attributes in self.all("data")]


def gray(width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray(np.arange(width * height, dtype=np.uint32).reshape(height, width).astype(np.uint8))


def png(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


DRAFT = "Heart size is normal. There is a small left pleural effusion. There is a nodule."
REFERENCE = "Heart size is normal. There is a small right pleural effusion. There is a rib fracture."


def a_study(study_id: str = "a", **changes: Any) -> DraftedStudy:
    study = DraftedStudy(
        study_id,
        draft=DRAFT,
        reference=REFERENCE,
        views=(PageView("frontal", gray()), PageView("lateral", png(gray()))),
        score=-12.25,
        metrics={"rouge_l": 0.6180339887},
    )
    study = replace(study, **changes)
    if "reading" not in changes and study.reference is not None:
        study = replace(study, reading=read_both(study.reference, study.draft))
    return study


def a_page() -> Page:
    texts = {f"s{index}": f"The heart is normal. Finding number {index} is seen." for index in range(6)}
    drafts = {study_id: text.replace("normal", "large") for study_id, text in texts.items()}
    train = {f"t{index}": f"The lungs are clear. Line {index}." for index in range(8)}
    groups = {"view": {"frontal": ["s0", "s1", "s2"], "lateral": ["s3", "s4", "s5"]}}
    found = score(drafts, texts, train=train, groups=groups, num_resamples=20).plain()
    return Page(
        title="A trial",
        statement="A model was trained.",
        facts={"command": "radwright demo", "commit": "abc1234"},
        seconds={"training": 61.5, "drafts": 2.0},
        scores=json.loads(json.dumps(found)),
        findings=FindingTable(
            (
                FindingScore(
                    "rib_fracture", Estimate(0.123456789, 0.1, 0.15), Estimate(0.5), Estimate(0.198019, 0.17, 0.21), 7
                ),
                FindingScore("nodule", None, Estimate(0.0), None, 0),
            ),
            micro_f1=Estimate(0.7071067811, 0.65, 0.75),
            constants={"always effusion": Estimate(0.3141592653), "nothing": Estimate(0.0)},
        ),
        curve=Curve(((10, 3.0), (20, 2.0)), {"micro_f1": ((10, 0.4), (20, 0.5))}, best_step=20),
        studies=tuple(a_study(name) for name in ("a", "b c", "d/é")),
    )


@pytest.fixture(scope="module")
def page() -> Page:
    return a_page()


@pytest.fixture(scope="module")
def reader(page: Page) -> Reader:
    return Reader(render_page(page))


def addresses(reader: Reader) -> Iterator[str]:
    for _, attributes in reader.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href", "formaction"):
            if name in attributes:
                yield attributes[name] or ""
        yield from re.findall(r"url\(([^)]*)\)", attributes.get("style") or "")
    yield from re.findall(r"url\(([^)]*)\)|@import", reader.raw("style"))


def test_no_address_leads_out_of_the_page(reader: Reader) -> None:
    found = list(addresses(reader))
    assert len(found) > 5
    assert all(address.startswith(("data:", "#")) for address in found)
    targets = {attributes.get("id") for _, attributes in reader.elements}
    assert {address[1:] for address in found if address.startswith("#")} <= targets
    assert not {"iframe", "object", "embed", "base", "form"} & {name for name, _ in reader.elements}
    assert not re.search(r"fetch|XMLHttp|WebSocket|import\s*\(|https?:", reader.raw("script"))


def test_the_policy_lets_in_this_style_and_script_only(reader: Reader) -> None:
    policy = next(m["content"] or "" for m in reader.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for element, rule in (("style", "style-src"), ("script", "script-src")):
        assert len(reader.all(element)) == 1
        digest = base64.b64encode(hashlib.sha256(reader.raw(element).encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    # What the policy would block must not be there either.
    for _, attributes in reader.elements:
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)


def test_hostile_text_shows_as_text() -> None:
    view = PageView(HOSTILE, b"no image")
    study = a_study(
        HOSTILE,
        draft=f"{HOSTILE} draft.",
        reference=f"{HOSTILE} reference.",
        views=(view, PageView(HOSTILE, gray())),
        metrics={HOSTILE: 0.5},
    )
    scores = {
        "n": 1,
        "signature": HOSTILE,
        "metrics": {HOSTILE: {"value": 0.5, "low": 0.4, "high": 0.6}},
        "baselines": {HOSTILE: {"metrics": {HOSTILE: {"value": 0.1, "low": 0.0, "high": 0.2}}, "report": HOSTILE}},
        "notes": [HOSTILE],
        "unavailable": {HOSTILE: HOSTILE},
        "groups": {HOSTILE: {HOSTILE: {"n": 30, "metrics": {HOSTILE: 0.5}}, "b": {"n": 30, "metrics": {HOSTILE: 0.5}}}},
    }
    table = FindingTable(
        (FindingScore(HOSTILE, Estimate(0.5), None, None, 1),), Estimate(0.5), {HOSTILE: Estimate(0.1)}
    )
    curve = Curve((), {HOSTILE: ((1, 0.5),)})
    whole = Page(HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, {HOSTILE: 1.0}, scores, table, curve, (study,), HOSTILE)
    calm = Reader(render_page(a_page()))
    reader = Reader(render_page(whole))
    assert len(reader.all("script")) == len(reader.all("style")) == len(reader.all("title")) == 1
    assert {name for name, _ in reader.elements} <= {name for name, _ in calm.elements} | {"ul", "li"}
    assert not any("onerror" in attributes for _, attributes in reader.elements)
    assert reader.text().count("<script>alert(1)</script>") > 15
    assert all((image["src"] or "").startswith("data:image/") for image in reader.all("img"))


@given(st.text())
def test_any_text_survives_in_a_report(text: str) -> None:
    shown = Reader(f"<body>{escape(text)}</body>").text()
    hidden = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
    assert shown == hidden.sub("\ufffd", text)
    shown.encode()


def test_every_study_is_there_with_its_texts_and_images(page: Page, reader: Reader) -> None:
    rows = reader.all("article")
    assert len(rows) == len(page.studies)
    assert all(row["tabindex"] == "0" for row in rows)
    names = [data for path, data in reader.texts if path[-1:] == ("bdi",)]
    assert names == [study.study_id for study in page.studies]
    assert len(reader.all("img")) == 2 * len(page.studies)
    words = " ".join(reader.text().split())
    assert words.count("[missed] rib fracture.") == len(page.studies)
    assert words.count("✕ Fabricated" + "nodule") == len(page.studies)
    assert words.count("○ Missed" + "fracture") == len(page.studies)
    assert words.count("pleural effusion right, small → left, small") == len(page.studies)
    kinds = [mark["class"] for mark in reader.all("mark")][-6:]
    assert sorted(str(kind) for kind in kinds) == ["denied", "denied", "fabricated", "missed", "side", "side"]


def test_numbers_are_those_given(page: Page, reader: Reader) -> None:
    values = reader.values()
    assert page.scores is not None
    assert page.findings is not None
    wanted = [number for interval in page.scores["metrics"].values() for number in interval.values()]
    for baseline in page.scores["baselines"].values():
        wanted += [number for interval in baseline["metrics"].values() for number in interval.values()]
    wanted += [page.findings.micro_f1.value, 0.3141592653, 0.123456789, 0.198019, 7.0]
    for groups in page.scores["groups"].values():
        wanted += [group["metrics"]["bleu_4"]["high"] for group in groups.values()]
    wanted += [-12.25, 0.6180339887]
    assert len(wanted) > 60
    assert set(wanted) <= set(values)
    assert "0.707" in reader.text()
    assert "1 min 02 s" in reader.text().replace("\u00a0", " ")
    assert reader.text().count(WARNING) == 2


def test_dots_stand_where_the_numbers_are() -> None:
    scores = {"metrics": {"x": {"value": 0.5, "low": 0.25, "high": 0.75}}, "baselines": {"flat": {"x": 1.0}}}
    reader = Reader(render_page(Page("t", scores=scores)))
    assert [circle["cx"] for circle in reader.all("circle")] == ["50.00%", "100.00%"]
    band = next(line for line in reader.all("line") if line["class"] == "interval")
    assert (band["x1"], band["x2"]) == ("25.00%", "75.00%")


def test_an_axis_of_differences_holds_zero_and_marks_it() -> None:
    for values, zero in (((-0.5, -1.0), "100.00%"), ((-1.0, 1.0), "50.00%"), ((-0.25, 0.75), "25.00%")):
        low, high = min(values), max(values)
        plot = Reader(dot_plot("d", [Lane("a", high, low, high), Lane("b", low)]))
        marks = [line["x1"] for line in plot.all("line") if line["class"] == "zero"]
        assert marks == [zero] * 2
    assert "zero" not in dot_plot("d", [Lane("a", 0.5)])
    assert ">12<" in dot_plot("d", [Lane("a", 12)])
    assert ">12.0<" in dot_plot("d", [Lane("a", 12.0, 11.5, 13.0)])


def test_systems_are_compared_on_a_page_without_a_script() -> None:
    group = Group("Scores <b>", "", [("x", [Lane("<i>one</i>", 0.5)])])
    text = render_comparison(Comparison("T", "<u>s</u>", [group, Group("none", "", [])], {"command": "a & b"}))
    reader = Reader(text)
    assert "<i>one</i>" in reader.text()
    assert "a & b" in reader.text()
    assert "none" not in [heading.strip() for heading in reader.text().split("\n")]
    assert not reader.all("script")
    assert reader.text().count(WARNING) == 2
    policy = next(
        meta["content"] for meta in reader.all("meta") if "content" in meta and "default-src" in meta["content"]
    )
    assert "default-src 'none'" in policy


def test_rows_carry_what_filters_and_orders_need() -> None:
    effusion, clear = "There is a left pleural effusion.", "Heart size is normal."
    studies = (
        a_study("wrong"),
        a_study("exact", draft=effusion, reference=effusion, score=None),
        a_study("side", draft=effusion, reference="There is a right pleural effusion."),
        a_study("none", draft=clear, reference=clear, metrics={}),
        a_study("flipped", draft="No pleural effusion.", reference=effusion),
    )
    reader = Reader(render_page(Page("t", studies=studies, worst_first="rouge_l")))
    rows = reader.all("article")
    classes = ["Fracture", "Lung Lesion", "Pleural Effusion"]
    options = [option["value"] for option in reader.all("option")]
    assert options[:4] == ["", "0", "1", "2"]
    assert [text for path, text in reader.texts if path[-1:] == ("option",)][1:4] == classes
    flags = [(row["data-flags"] or "").split() for row in rows]
    plain_flags = [[flag for flag in own if ":" not in flag] for own in flags]
    assert plain_flags == [["fabricated", "missed", "side"], ["exact"], ["side"], ["exact"], ["missed"]]
    assert [flag for flag in flags[0] if ":" in flag] == [
        "all:1",
        "all:0",
        "all:2",
        "fabricated:1",
        "missed:0",
        "side:2",
    ]
    assert [flag for flag in flags[4] if ":" in flag] == ["all:2", "missed:2"]
    keys = options[5::2]
    assert keys == ["errors up", "score up", "metric:rouge_l up"]
    chosen = [option["value"] for option in reader.all("option") if "selected" in option]
    assert chosen == ["metric:rouge_l up"]
    assert [row["data-values"] for row in rows] == [
        "3 -12.25 0.6180339887",
        "0 - 0.6180339887",
        "1 -12.25 0.6180339887",
        "0 -12.25 -",
        "1 -12.25 0.6180339887",
    ]


def test_scores_that_count_errors_say_so_and_sort_the_other_way() -> None:
    scores = {
        "n": 30,
        "metrics": {"errors_per_report": {"value": 2.0, "low": 1.0, "high": 3.0}},
        "lower_is_better": ["errors_per_report"],
    }
    study = a_study(metrics={"errors_per_report": 2.0})
    page = Page("t", scores=scores, studies=(study,), worst_first="errors_per_report")
    reader = Reader(render_page(page))
    assert "Errors per study, lower is better" in reader.text()
    assert reader.text().count("errors per report, lower is better") == 1
    assert [o["value"] for o in reader.all("option") if "selected" in o] == ["metric:errors_per_report down"]


def test_classes_in_the_scores_stand_one_by_one_where_no_other_findings_are_given() -> None:
    texts = {f"s{number}": f"There is a pleural effusion. Line {number}." for number in range(5)}
    drafts = {name: text if number else "No pleural effusion." for number, (name, text) in enumerate(texts.items())}
    found = score(drafts, texts, train={"t": "Lungs are clear."}, num_resamples=20).plain()
    reader = Reader(render_page(Page("t", scores=json.loads(json.dumps(found)))))
    words = " ".join(reader.text().split())
    assert "Findings one by one" in words
    effusion = found["classes"]["Pleural Effusion"]["open_negative"]
    assert {effusion["recall"]["low"], effusion["f1"]["value"], float(effusion["support"])} <= set(reader.values())
    assert "Fabricated findings" in words
    assert "Errors per study, lower is better" in words
    given = Reader(render_page(Page("t", scores=found, findings=FindingTable((), Estimate(0.5)))))
    assert "Pleural Effusion" not in given.text()


def test_small_groups_are_marked_and_not_plotted() -> None:
    whole = {"bleu_4": {"value": 0.5, "low": 0.4, "high": 0.6}}
    groups = {"sex": {"female": {"n": 40, "metrics": whole}, "male": {"n": 30, "metrics": whole}}}
    groups["sex"]["other"] = {"n": 3, "metrics": whole}
    groups["view"] = {"frontal": {"n": 73, "metrics": whole}}
    text = Reader(render_page(Page("t", scores={"n": 73, "metrics": whole, "groups": groups}))).text()
    assert "other, too few" in text
    assert "other (3)" not in text
    assert "female (40)" in text
    assert "frontal (73)" not in text  # one group is all studies: a plot would show the same twice
    assert "fewer than 20 studies" in text


def test_parts_that_are_not_given_leave_nothing() -> None:
    empty = render_page(Page("Bare"))
    reader = Reader(empty)
    assert not {"section", "h2", "article", "dl", "nav", "figure", "table"} & {name for name, _ in reader.elements}
    assert reader.text().replace(WARNING, "").strip() == "Bare"
    parts: dict[str, Any] = {
        "scores": {"metrics": {"bleu_4": 0.5}},
        "findings": FindingTable((), Estimate(0.5)),
        "curve": Curve(((1, 1.0),)),
        "facts": {"machine": "two cores"},
        "studies": (DraftedStudy("only", "Clear."),),
    }
    for name, part in parts.items():
        alone = Reader(render_page(replace(Page("Bare"), **{name: part})))
        assert len(alone.all("section")) == 1, name
    nothing = Page("Bare", scores={"metrics": {}}, curve=Curve(), facts={"commit": ""})
    assert render_page(nothing) == empty


def test_the_clues_that_a_draft_was_written_from() -> None:
    told = DraftedStudy("x", "Clear.", clues={"Edema": 0.25, "Lung <Lesion>": 0.75})
    studies = (told, DraftedStudy("y", "Clear.", clues={}), DraftedStudy("z", "Clear."))
    text = render_page(Page("t", studies=studies))
    first, second, third = (article.split("</article>")[0] for article in text.split("<article")[1:])
    assert first.index("Lung &lt;Lesion&gt;") < first.index("0.75") < first.index("Edema") < first.index("0.25")
    assert "Clues told: <span>none" in second
    assert "Clues told" not in third


def test_a_study_without_reference_findings_and_images() -> None:
    reader = Reader(render_page(Page("t", studies=(DraftedStudy("x", ""), DraftedStudy("y", "Clear.")))))
    text = reader.text()
    assert "The text is empty." in text
    assert "Reference" not in text
    assert "Fabricated" not in text
    assert [row["data-flags"] for row in reader.all("article")] == ["", ""]


def test_the_same_page_gives_the_same_file(page: Page, tmp_path: Path) -> None:
    assert render_page(page) == render_page(a_page())
    write_page(tmp_path / "new" / "folder" / "page.html", page)
    assert (tmp_path / "new" / "folder" / "page.html").read_text(encoding="utf-8") == render_page(page)
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["page.html"]


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=r"'a'.*more than once"):
        render_page(Page("t", studies=(a_study("a"), a_study("a"))))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_page(tmp_path / "file" / "page.html", Page("t"))


def shown_image(view: PageView) -> Image.Image:
    reader = Reader(render_page(Page("t", studies=(DraftedStudy("x", "Clear.", views=(view,)),))))
    (image,) = reader.all("img")
    kind, _, encoded = (image["src"] or "").partition(";base64,")
    picture = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert kind == f"data:image/{(picture.format or '').lower()}"
    assert (image["width"], image["height"]) == tuple(map(str, picture.size))
    return picture


def test_small_images_keep_their_pixels_and_lose_their_metadata() -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("PatientName", "Somebody")
    shown = shown_image(PageView("frontal", png(gray(), pnginfo=notes)))
    assert not shown.info
    assert np.array_equal(np.asarray(shown), np.asarray(gray()))
    assert np.array_equal(np.asarray(shown_image(PageView("frontal", gray()))), np.asarray(gray()))


def test_large_deep_and_squashed_images() -> None:
    assert shown_image(PageView("frontal", gray(1200, 900))).size == (256, 192)
    deep = Image.fromarray(np.full((20, 20), 0x8000, dtype=np.uint16))
    shown = shown_image(PageView.of(View(ImageInMemory("x", png(deep)))))
    assert (shown.mode, shown.getpixel((0, 0))) == ("L", 0x80)
    assert shown_image(PageView("frontal", gray(64, 64), original_size=(2000, 1000))).size == (64, 32)


@pytest.mark.parametrize("broken", [b"", b"GIF89a", png(gray())[:60], png(gray())[:-30]])
def test_an_image_that_cannot_be_decoded_says_so(broken: bytes) -> None:
    reader = Reader(render_page(Page("t", studies=(DraftedStudy("x", "Clear.", views=(PageView("pa", broken),)),))))
    assert not reader.all("img")
    assert "The image cannot be shown: pa" in reader.text()


def drafted(drafts: list[str], references: list[str]) -> tuple[DraftedStudy, ...]:
    pairs = enumerate(zip(drafts, references, strict=True))
    return tuple(DraftedStudy(str(index), draft, reference) for index, (draft, reference) in pairs)


@pytest.mark.parametrize(
    ("drafts", "references", "alarm"),
    [
        (["Clear."] * 6, [f"Finding {k}." for k in range(6)], True),
        (["Clear."] * 6, ["Clear."] * 6, False),
        ([f"Draft {k}." for k in range(6)], [f"Finding {k}." for k in range(6)], False),
        ([f"Draft {k % 3}." for k in range(30)], [f"Finding {k}." for k in range(30)], True),
        ([f"Draft {k % 3}." for k in range(30)], [f"Finding {k % 4}." for k in range(30)], False),
        (["Clear."], ["A finding."], False),
    ],
)
def test_collapse_raises_the_alarm(drafts: list[str], references: list[str], alarm: bool) -> None:
    studies = drafted(drafts, references)
    assert Variety.of(studies).collapsed is alarm
    assert ("Collapse alarm" in render_page(Page("t", studies=studies))) is alarm


def test_collapse_of_the_scored_studies_counts_though_few_are_shown() -> None:
    texts = {str(index): f"Finding number {index} is seen." for index in range(20)}
    found = score(dict.fromkeys(texts, "Clear lungs."), texts, num_resamples=5).plain()
    text = render_page(Page("t", scores=found, studies=drafted(["One."], ["Other."])))
    assert "Collapse alarm" in text
    assert "20 studies got 1 distinct draft;" in text


def test_curve_is_read_from_the_runs_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    records = [
        {"kind": "train", "step": 5, "loss": 2.5},
        {"kind": "validation", "step": 5, "scores": {"f1": 0.25, "odd": None}, "best": True},
        {"kind": "train", "step": 10, "loss": None},
        {"kind": "validation", "step": 10, "scores": {"f1": 0.2}, "best": False},
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + '{"kind": "tra')
    assert Curve.read(path) == Curve(((5, 2.5),), {"f1": ((5, 0.25), (10, 0.2))}, best_step=5)
    path.write_text("no json\n" + json.dumps(records[0]) + "\n")
    with pytest.raises(ScoringError, match=r"metrics\.jsonl:1"):
        Curve.read(path)
    with pytest.raises(ScoringError, match="cannot be read"):
        Curve.read(tmp_path / "absent.jsonl")


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.integers(2, 5))
def test_ticks_are_even_and_enclose_the_range(low: float, width: float, num_steps: int) -> None:
    ticks = nice_ticks(low, low + width, num_steps)
    assert 2 <= len(ticks) <= num_steps + 3
    slack = 1e-6 * max(abs(low), abs(low + width), 1.0)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + width - slack
    spacing = np.diff(ticks)
    assert (spacing > 0).all()
    assert np.allclose(spacing, spacing[0], rtol=1e-6, atol=slack)


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    parts = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(first: str, second: str) -> float:
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def test_colours_hold_contrast_in_both_themes(reader: Reader) -> None:
    themes = re.findall(r":root \{(.*?)\}", reader.raw("style"), re.DOTALL)[:2]
    grounds = ("ground", "surface")
    assert len(themes) == 2
    pairs = [(text, ground) for text in ("text", "muted", "ours") for ground in grounds]
    pairs += [(kind, f"{kind}-ground") for kind in KINDS]
    pairs += [(kind, "surface") for kind in KINDS]
    pairs += [("text", f"{kind}-ground") for kind in KINDS if kind != "supported"] + [("surface", "ours")]
    for theme in themes:
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", theme))
        for text, ground in pairs:
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for shape in ("base", "ours", "focus"):
            assert contrast(colours[shape], colours["surface"]) >= 3, shape


def test_sixty_studies_stay_small(page: Page) -> None:
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (128, 128), dtype=np.uint8))
    studies = tuple(a_study(str(k), views=(PageView("frontal", noise),) * 2) for k in range(60))
    assert len(render_page(replace(page, studies=studies))) < 3_200_000  # even of noise, which no PNG makes smaller
