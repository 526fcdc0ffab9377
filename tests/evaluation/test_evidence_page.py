"""The page of a study's evidence, and scores over studies: what stands there is what was given, whatever it says."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from radwright.errors import ScoringError
from radwright.evaluation.evidence import evaluate_evidence
from radwright.evaluation.page import PageView
from radwright.evaluation.page.evidence import (
    MARK,
    ClueRow,
    EvidencePage,
    Scale,
    SentenceRow,
    is_evidence_page,
    overlay_uri,
    render_evidence_page,
    write_evidence_page,
)
from radwright.evaluation.page.evidence_scores import (
    EvidenceScoresPage,
    PointingExample,
    outline_uri,
    render_evidence_scores_page,
)

HOSTILE = '</script><script>alert(1)</script><img src=x onerror=alert(1)> \u202e & "quoted"'


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 64), dtype=np.uint8))


def maps(seed: int) -> dict[str, Any]:
    drawn = np.random.default_rng(seed)
    return {"occlusion": drawn.normal(size=(2, 16, 16)), "attention": drawn.random((2, 16, 16)) / 100}


def some_page(text: str = "The heart is large.", num_sentences: int = 3) -> EvidencePage:
    clues = (ClueRow(text, True, 0.8, -1.0, -2.5, text, ""), ClueRow("Edema", False, 0.1, -1.0, -1.1, None, None))
    sentences = tuple(SentenceRow(f"{text} {n}", -1.5, 4, maps(n), clues) for n in range(num_sentences))
    views = (PageView("frontal", picture()), PageView("lateral", picture(1)))
    return EvidencePage(text, views, sentences, text, (text,), {"command": text})


def test_nothing_that_a_draft_says_becomes_markup() -> None:
    html = render_evidence_page(some_page(HOSTILE))
    assert html.count("<script") == html.count("</script>") == 1
    assert "onerror=alert(1)>" not in html
    assert "\u202e" not in html
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", html)


def test_the_policy_lets_in_its_own_style_and_script_only() -> None:
    html = render_evidence_page(some_page())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy
    for kind in ("style", "script"):
        own = re.search(rf"<{kind}>(.*?)</{kind}>", html, re.DOTALL)
        assert own
        digest = base64.b64encode(hashlib.sha256(own[1].encode()).digest()).decode()
        assert f"{kind}-src &#x27;sha256-{digest}&#x27;" in policy[1]
    assert "style=" not in html


def test_every_sentence_has_its_maps_and_numbers() -> None:
    html = render_evidence_page(some_page())
    assert html.count('class="overlay"') == 3 * 2 * 2
    assert html.count('class="panel"') == 3
    assert html.count('name="sentence"') == 3
    visible = [part for part in re.findall(r'<img [^>]*class="overlay"[^>]*>', html) if " hidden" not in part]
    assert len(visible) == 2  # without a script the first sentence's first map stands, in both views
    assert all('data-sentence="0" data-kind="occlusion"' in part for part in visible)
    assert "the report ends" in html
    assert html.count("not a medical device") + html.count("Not a medical device") >= 2


def test_an_empty_draft_and_a_network_without_attention_or_clues(tmp_path: Path) -> None:
    empty = EvidencePage("x", (PageView("frontal", picture()),), ())
    write_evidence_page(tmp_path / "new" / "page.html", empty)
    assert "The draft is empty." in (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert is_evidence_page(tmp_path / "new" / "page.html")
    (tmp_path / "other.html").write_text("<!doctype html>\n<html></html>" + " " * 400 + MARK)
    assert not is_evidence_page(tmp_path / "other.html")
    bare = SentenceRow("No effusion.", -1.0, 2, {"occlusion": np.zeros((1, 8, 8))})
    html = render_evidence_page(EvidencePage("x", (PageView("frontal", picture()),), (bare,)))
    assert 'value="attention"' not in html
    assert "<table" not in html


def decoded(uri: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))).astype(int)


def test_colours_say_what_supports_and_what_speaks_against() -> None:
    signed = np.zeros((2, 8, 8))
    signed[0, 1, 1], signed[1, 2, 2] = 2.0, -4.0
    scale = Scale.of("occlusion", [SentenceRow("x", -1.0, 1, {"occlusion": signed})])
    assert (scale.low, scale.high) == (-4, 4)
    frontal, lateral = decoded(overlay_uri(signed[0], scale)), decoded(overlay_uri(signed[1], scale))
    assert frontal[1, 1, 3] * 2 == pytest.approx(lateral[2, 2, 3], abs=1)  # one scale for both views
    assert frontal[1, 1, 0] > frontal[1, 1, 2]
    assert lateral[2, 2, 2] > lateral[2, 2, 0]
    assert frontal[0, 0, 3] == lateral[0, 0, 3] == 0
    shares = np.full((1, 8, 8), 0.25)
    shares[0, 3, 3] = 0.5
    scale = Scale.of("attention", [SentenceRow("x", -1.0, 1, {"attention": shares})])
    drawn = decoded(overlay_uri(shares[0], scale))
    assert drawn[0, 0, 3] == 0
    assert drawn[3, 3, 3] == drawn[..., 3].max() > 0
    for kind in ("occlusion", "attention"):
        nothing = np.zeros((1, 8, 8))
        scale = Scale.of(kind, [SentenceRow("x", -1.0, 1, {kind: nothing})])
        assert decoded(overlay_uri(nothing[0], scale))[..., 3].max() == 0


@pytest.mark.parametrize("kind", ["occlusion", "attention"])
def test_a_weak_map_is_drawn_weakly_and_says_its_own_largest_value(kind: str) -> None:
    strong, weak = np.zeros((1, 8, 8)), np.zeros((1, 8, 8))
    strong[0, 1, 1], weak[0, 6, 6] = 0.8, 0.08
    sentences = tuple(SentenceRow(f"s{n}", -1.0, 1, {kind: each}) for n, each in enumerate((strong, weak)))
    scale = Scale.of(kind, sentences)
    assert scale == Scale.of(kind, sentences[::-1])
    strongly, weakly = (decoded(overlay_uri(each[0], scale))[..., 3].max() for each in (strong, weak))
    assert weakly == pytest.approx(strongly / 10, abs=1)
    views = (PageView("1 (a.png)", picture()),)
    html = render_evidence_page(EvidencePage("x", views, sentences))
    assert html.count('class="scale"') == 1  # of the page, not of a sentence
    told = re.findall(r'<p class="strongest"[^>]*>([^<]*)</p>', html)
    assert ["0.8" in told[0] or "80.0%" in told[0], "0.08" in told[1] or "8.0%" in told[1]] == [True, True]
    assert all("1 (a.png)" in each for each in told)


def row(study: str, values: dict[str, list[float]]) -> dict[str, Any]:
    """A study whose sentences score these points in the frontal view, by map."""
    number = len(next(iter(values.values())))
    sentences = [
        {
            "text": "x",
            "kinds": ["nodule"],
            "chance": {"frontal": 0.1},
            "chance_near": {"frontal": 0.2},
            "chance_strongest": 0.05,
            "maps": {
                name: {"points": {"frontal": own[place]}, "near": {"frontal": 1.0}, "strongest": 0.5,
                       "deletion": own[place] + 1,
                       "curve": [0.0, own[place] + 1]}
                for name, own in values.items()
            },
        }
        for place in range(number)
    ]  # fmt: skip
    return {"study_id": study, "num_sentences": number + 1, "num_fabricated": 1, "sentences": sentences}


def test_scores_are_means_over_views_and_differences_are_paired() -> None:
    rows = [
        row(f"s{n}", {"occlusion": [1.0] * (1 + n % 2), "random": [float(n % 4 == 0)] * (1 + n % 2)}) for n in range(40)
    ]
    rows.append({"study_id": "none", "num_sentences": 2, "num_fabricated": 0, "sentences": []})
    found = evaluate_evidence(rows, num_resamples=200)
    assert found.num_studies == 41
    assert found.num_judged == found.num_places == 60
    assert found.num_sentences == 102
    assert found.num_fabricated == 40
    occlusion, random = found.maps
    assert (occlusion.name, random.name) == ("occlusion", "random")
    assert occlusion.scores["points"].plain() == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert random.scores["points"].value == pytest.approx(10 / 60)
    above = occlusion.above["random"]["points"]
    assert above.value == pytest.approx(50 / 60)
    assert above.low < above.value < above.high
    assert random.scores["points"].low < 10 / 60 < random.scores["points"].high
    assert occlusion.scores["deletion"].value == 2.0
    assert found.chance == {"points": pytest.approx(0.1), "near": pytest.approx(0.2), "strongest": pytest.approx(0.05)}
    assert occlusion.scores["strongest"].value == 0.5
    assert found.kinds["nodule"]["random"] == pytest.approx(10 / 60)
    assert found.curves["occlusion"] == [0.0, 2.0]
    assert not random.above


def test_the_outline_goes_round_the_mask() -> None:
    mask = np.zeros((16, 16), dtype=bool)
    mask[4:12, 4:12] = True
    drawn = decoded(outline_uri(mask, 64))[..., 3] > 0
    assert drawn[16, 16:48].all()
    assert not drawn[24:40, 24:40].any()  # what is inside stays to be seen
    assert not drawn[:16].any()
    assert not drawn[:, 48:].any()
    assert not (decoded(outline_uri(np.zeros((16, 16), dtype=bool), 64))[..., 3] > 0).any()


def test_the_page_of_scores_escapes_and_shows_every_map() -> None:
    rows = [row(f"s{n}", {"occlusion": [1.0, 0.0], "random": [0.0, float(n % 2)]}) for n in range(10)]
    examples = [
        PointingExample(
            HOSTILE, HOSTILE, (PageView("frontal", picture()),), np.full((1, 8, 8), size), np.eye(8)[None] > 0
        )
        for size in (1.0, 0.1)
    ]
    html = render_evidence_scores_page(
        EvidenceScoresPage(HOSTILE, evaluate_evidence(rows, num_resamples=50), examples, (HOSTILE,), {"x": HOSTILE})
    )
    assert "<script" not in html
    assert "onerror=alert(1)>" not in html
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", html)
    overlays = [decoded(uri) for uri in re.findall(r'<img src="(data:[^"]*)" alt="" class="overlay"', html)]
    strong, weak = (overlay[..., 3].max() for overlay in overlays[::2])  # one scale for both examples
    assert weak == pytest.approx(strong / 10, abs=1)
    assert html.count("random*") >= 3
    assert 'id="examples"' not in render_evidence_scores_page(
        EvidenceScoresPage("x", evaluate_evidence(rows, num_resamples=50))
    )


def test_nothing_to_judge_is_an_error() -> None:
    rows = [{"study_id": "s", "num_sentences": 2, "num_fabricated": 0, "sentences": []}]
    with pytest.raises(ScoringError, match="no draft of 1 studies asserts a finding that is there"):
        evaluate_evidence(rows)
