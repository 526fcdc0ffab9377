"""The page of one study's evidence: its views under the map of one sentence, the draft's sentences, what clues do.

Shape legend: V views, S side of the maps.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from radwright.data.files import output_errors, write_text
from radwright.evaluation.page.content import PageView
from radwright.evaluation.page.html import Html, join, number, tag
from radwright.evaluation.page.images import data_uri
from radwright.evaluation.page.sections import WARNING, definitions, numbers_table
from radwright.evaluation.page.write import document, own_file

FloatArray = NDArray[np.float64]

SHOWN_SIDE_PX = 512
"""Views are shown up to this side."""
_SUPPORT, _AGAINST = (255, 150, 20), (50, 150, 255)
_MOST_ALPHA = 175
_KINDS: Mapping[str, tuple[str, str]] = {
    "occlusion": (
        "Occlusion",
        "How much less likely the sentence is once a window of a view is hidden by its local mean, the words before it "
        "unchanged: orange supports it, blue speaks against it.",
    ),
    "attention": (
        "Attention",
        "What share of its attention the network has on a patch while it writes the sentence, rolled out through its "
        "layers. Where a network looks is not what it uses.",
    ),
}
_NONE = "none"
MARK = "<!-- radwright explain -->"
"""Stands behind the page's document type: by it a page may replace an earlier one, and nothing else."""
_HEAD_BYTES = 200
_CLUES_HEAD = ("Clue", "Effect", "Told", "Probability", "log p with it", "Without it")


@dataclass(frozen=True, slots=True)
class ClueRow:
    """What one clue does to a sentence; see ``radwright.evidence.clue_effect.ClueEffect``."""

    disease: str
    told: bool
    probability: float
    log_prob_on: float
    log_prob_off: float
    redone_on: str | None
    redone_off: str | None


@dataclass(frozen=True, slots=True)
class SentenceRow:
    """A sentence with its evidence.

    Attributes:
        text: it.
        log_prob: its log-probability, natural log.
        num_tokens: that it is written in.
        maps: ``occlusion`` (nats, signed), ``attention`` (shares) -> (V, S, S), of what there is; one scale
            for all of a kind.
        clues: the largest effect first.
    """

    text: str
    log_prob: float
    num_tokens: int
    maps: Mapping[str, FloatArray] = field(repr=False)
    clues: tuple[ClueRow, ...] = ()


@dataclass(frozen=True, slots=True)
class EvidencePage:
    """What stands on the page.

    Attributes:
        title: its heading.
        views: V square images as the network sees them, in its order; the position of each is how the page names it, so
            no two should be equal.
        sentences: of the draft, in order.
        reference: the study's own report; None where there is none.
        notes: what a reader should know.
        facts: name -> text of where it comes from.
    """

    title: str
    views: tuple[PageView, ...]
    sentences: tuple[SentenceRow, ...]
    reference: str | None = None
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def write_evidence_page(path: Path, page: EvidencePage) -> None:
    """Write the page as one HTML file; folders above it are made, and a kill leaves no half page.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, render_evidence_page(page))


def is_evidence_page(path: Path) -> bool:
    """Whether a file is a page that ``write_evidence_page`` wrote.

    Raises:
        OutputError: it cannot be read.
    """
    with output_errors(path), path.open("rb") as stream:
        return MARK.encode() in stream.read(_HEAD_BYTES)


def render_evidence_page(page: EvidencePage) -> str:
    """The page's HTML; the same page gives the same text."""
    kinds = [kind for kind in _KINDS if any(kind in sentence.maps for sentence in page.sentences)]
    scales = {kind: Scale.of(kind, page.sentences) for kind in kinds}
    how = [tag("p", _meaning(page), class_="lead")]
    how += [tag("p", tag("strong", f"{name}. "), text, class_="lead") for name, text in map(_KINDS.__getitem__, kinds)]
    made = definitions(page.facts.items()) if page.facts else None
    body = [
        tag("header", tag("h1", page.title), tag("p", WARNING, class_="warning"), class_="top"),
        tag(
            "main",
            tag("ul", *(tag("li", note) for note in page.notes), class_="notes") if page.notes else None,
            tag(
                "section",
                tag("div", _kind_choice(kinds), *_views(page, scales), *_scales(scales), class_="looked-at"),
                tag("div", _sentences(page), *_panels(page, kinds), class_="said"),
                class_="evidence",
            ),
            tag("section", tag("h2", "How to read this"), *how),
            tag("section", tag("h2", "The study's own report"), tag("p", page.reference, dir="auto", class_="text"))
            if page.reference
            else None,
            tag("section", tag("h2", "How this was made"), made) if made else None,
        ),
        tag("footer", WARNING),
    ]
    text = document(page.title, join(body), script=own_file("evidence.js"))
    return text.replace("<!doctype html>\n", f"<!doctype html>\n{MARK}\n", 1)


def _meaning(page: EvidencePage) -> str:
    clues = any(sentence.clues for sentence in page.sentences)
    return (
        "Choose a sentence by mouse or arrow keys. log p is the natural logarithm of its probability behind the words "
        "before it; evidence says what the network drew on, not that the sentence is right. All maps of a kind are "
        "drawn on one scale, the largest value of any sentence: a map that can hardly be seen is a weak one."
        + (
            " A clue is forced on and off, whatever the images say: the effect is how much likelier it makes the "
            "sentence, in nats; where the sentence speaks of the clue, what would be written instead is shown."
            if clues
            else ""
        )
    )


def _kind_choice(kinds: Sequence[str]) -> Html:
    choices = [(kind, _KINDS[kind][0]) for kind in kinds] + [(_NONE, "Image only")]
    return tag(
        "fieldset",
        tag("legend", "Show"),
        *(
            tag(
                "label",
                tag("input", type="radio", name="kind", value=kind, checked=place == 0, autocomplete="off"),
                tag("span", name),
            )
            for place, (kind, name) in enumerate(choices)
        ),
        id="kinds",
        hidden=True,
    )


@dataclass(frozen=True, slots=True)
class Scale:
    """What the colours of all maps of a kind mean: one scale, so that a weak map looks weak.

    Attributes:
        low: value that is drawn strongest against (signed), or not at all.
        high: value that is drawn strongest.
        signed: whether values are drawn from 0 both ways, or from ``low`` upwards.
    """

    low: float
    high: float
    signed: bool

    @classmethod
    def of(cls, kind: str, sentences: Sequence[SentenceRow]) -> Scale:
        """Over all sentences and views: of ``occlusion`` to the largest amount either way, else from least to most."""
        ends = [end for sentence in sentences if kind in sentence.maps for end in _ends(sentence.maps[kind])]
        low, high = min(ends, default=0.0), max(ends, default=0.0)
        most = max(high, -low)
        return cls(-most, most, True) if kind == "occlusion" else cls(low, high, False)

    def strength(self, values_SS: FloatArray) -> FloatArray:
        """How strongly values are drawn, (S, S) in [0, 1]; 0 where they are no numbers."""
        strength_SS = np.abs(values_SS) / (self.high or 1.0) if self.signed else values_SS - self.low
        if not self.signed:
            strength_SS = strength_SS / ((self.high - self.low) or 1.0)
        return np.asarray(np.nan_to_num(strength_SS).clip(0, 1))


def _views(page: EvidencePage, scales: Mapping[str, Scale]) -> list[Html]:
    kinds, figures = list(scales), []
    for number_, view in enumerate(page.views):
        uri, width, height = data_uri(view, max_side_px=SHOWN_SIDE_PX)
        size = {"width": str(width), "height": str(height)}
        overlays = [
            tag(
                "img",
                src=overlay_uri(sentence.maps[kind][number_], scales[kind]),
                alt="",
                class_="overlay",
                data_sentence=str(place),
                data_kind=kind,
                hidden=place > 0 or kind != kinds[0],
                **size,
            )
            for place, sentence in enumerate(page.sentences)
            for kind in kinds
            if kind in sentence.maps
        ]
        picture = tag("img", src=uri, alt=f"{view.position} radiograph", **size)
        frame = tag("div", picture, *overlays, class_="frame")
        figures.append(tag("figure", frame, tag("figcaption", view.position)))
    return [tag("div", *figures, class_="views evidence-views")]


def overlay_uri(values_SS: FloatArray, scale: Scale) -> str:
    """One view's map as a transparent colour image: the stronger, the less can be seen through it."""
    pixels = np.empty((*values_SS.shape, 4), dtype=np.uint8)
    pixels[..., :3] = np.where((values_SS < 0)[..., None], _AGAINST, _SUPPORT)
    pixels[..., 3] = np.rint(_MOST_ALPHA * scale.strength(values_SS))
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=9)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _ends(map_VSS: FloatArray) -> tuple[float, float]:
    finite = map_VSS[np.isfinite(map_VSS)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def _sentences(page: EvidencePage) -> Html:
    if not page.sentences:
        return tag("p", "The draft is empty.", class_="empty")
    labels = [
        tag(
            "label",
            tag("input", type="radio", name="sentence", value=str(place), checked=place == 0, autocomplete="off"),
            tag("span", sentence.text, dir="auto", class_="words"),
            tag("small", "log p ", number(sentence.log_prob, 2)),
            data_sentence=str(place),
        )
        for place, sentence in enumerate(page.sentences)
    ]
    return tag("fieldset", tag("legend", "Sentences of the draft"), *labels, id="sentences")


def _panels(page: EvidencePage, kinds: Sequence[str]) -> list[Html]:
    """The numbers of every sentence; the script shows one sentence's at a time."""
    return [
        tag(
            "div",
            tag("h3", sentence.text, dir="auto"),
            *(_strongest(kind, sentence.maps[kind], page) for kind in kinds if kind in sentence.maps),
            definitions([("each token", _each_token(sentence))]),
            _clues(sentence),
            class_="panel",
            data_sentence=str(place),
        )
        for place, sentence in enumerate(page.sentences)
    ]


def _each_token(sentence: SentenceRow) -> str:
    mean = math.exp(sentence.log_prob / max(1, sentence.num_tokens))
    return f"probability {mean:.2f} on geometric average, {sentence.num_tokens} tokens"


def _scales(scales: Mapping[str, Scale]) -> list[Html]:
    """The colours of each kind of map with the values at their ends, the same for every sentence."""
    found = []
    for kind, scale in scales.items():
        if scale.signed:
            ends, ramp = (f"\u2212{scale.high:.2g}", f"+{scale.high:.2g} nats, for all sentences"), "ramp both"
        else:
            ends = f"{scale.low:.1%}", f"{scale.high:.1%} of the attention on a patch, for all sentences"
            ramp = "ramp up"
        found.append(
            tag("p", tag("span", ends[0]), tag("i", class_=ramp), tag("span", ends[1]), class_="scale", data_kind=kind)
        )
    return found


def _strongest(kind: str, map_VSS: FloatArray, page: EvidencePage) -> Html:
    """A map's own largest value, and in which view it is."""
    low, high = _ends(map_VSS)
    view = page.views[int(np.nanargmax(map_VSS) // map_VSS[0].size)].position if page.views else ""
    if kind == "attention":
        told = f"Most attention on a patch: {high:.1%}, in view {view}"
    elif high > 0:
        told = f"Most support: +{high:.2g} nats, in view {view}"
    else:
        told = f"No support; most against: \u2212{-low:.2g} nats" if low < 0 else "No effect anywhere"
    return tag("p", told, class_="strongest", data_kind=kind)


def _clues(sentence: SentenceRow) -> Html | None:
    if not sentence.clues:
        return None
    rows = [
        (
            join([clue.disease, *_redone(clue, sentence.text)]),
            [
                tag("td", number(clue.log_prob_on - clue.log_prob_off, 2)),
                tag("td", "yes" if clue.told else "no"),
                tag("td", number(clue.probability, 2)),
                tag("td", number(clue.log_prob_on, 2)),
                tag("td", number(clue.log_prob_off, 2)),
            ],
        )
        for clue in sentence.clues
    ]
    return numbers_table(_CLUES_HEAD, rows, label="Effects of clues on this sentence")


def _redone(clue: ClueRow, drafted: str) -> Iterator[Html]:
    """What would be written there with and without the clue, below its name."""
    for words, text in (("with it", clue.redone_on), ("without it", clue.redone_off)):
        if text is not None:
            told = "the same sentence" if text == drafted else f"\u201c{text}\u201d" if text else "the report ends"
            yield tag("small", f"{words}: {told}", dir="auto")
