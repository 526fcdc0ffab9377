"""One study explained: which it is, its evidence, and the page that shows it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from radwright.data.files import prepare_outputs
from radwright.data.images import NOTES, find_studies
from radwright.data.loading import choose_views
from radwright.data.store import HEADER, PreparedStore
from radwright.errors import ConfigError, OutputError, StudyError, near
from radwright.evaluation.page import PageView
from radwright.evaluation.page.evidence import (
    SHOWN_SIDE_PX,
    ClueRow,
    EvidencePage,
    SentenceRow,
    is_evidence_page,
    write_evidence_page,
)
from radwright.evidence.explainer import Explainer, SentenceEvidence, StudyEvidence
from radwright.imaging.pixels import image_pixels
from radwright.runs.provenance import provenance
from radwright.types import Skipped, Study

_NUM_NAMED = 5


@dataclass(frozen=True, slots=True)
class Explained:
    """A study's evidence, and where it is shown.

    Attributes:
        evidence: of the draft.
        views: what the views that were read are called, in order: number, position, file.
        left_out: the same of the study's other views.
        page: the HTML page.
        facts: checkpoint, weights and settings, as JSON-able values.
    """

    evidence: StudyEvidence
    views: tuple[str, ...]
    left_out: tuple[str, ...]
    page: Path
    facts: dict[str, Any]

    def plain(self) -> dict[str, Any]:
        """As JSON-able values: of each map the strongest place only."""
        return {
            **self.facts,
            "study_id": self.evidence.report.study_id,
            "report": self.evidence.report.text,
            "score": self.evidence.report.score,
            "views": list(self.views),
            "left_out": list(self.left_out),
            "sentences": [self._sentence(one) for one in self.evidence.sentences],
            "page": str(self.page),
        }

    def _sentence(self, one: SentenceEvidence) -> dict[str, Any]:
        maps = {"occlusion": one.occlusion_VSS, "attention": one.attention_VSS}
        return {
            "text": one.sentence.text,
            "log_prob": one.log_prob,
            **{name: self.strongest(map_VSS.numpy()) for name, map_VSS in maps.items() if map_VSS is not None},
            "clues": [{name: getattr(clue, name) for name in (*clue.__slots__, "effect")} for clue in one.clues],
        }

    def strongest(self, map_VSS: Any) -> dict[str, Any]:
        """The largest value of a map: how large, and in which view and pixel (row, column; the first of equals)."""
        view, row, column = (int(place) for place in np.unravel_index(int(map_VSS.argmax()), map_VSS.shape))
        return {"value": float(map_VSS.max()), "view": self.views[view], "row": row, "column": column}


def find_study(inputs: Sequence[Path], study_id: str | None) -> Study:
    """The one study to explain.

    Args:
        inputs: a prepared store; or image files, which are views of one study; or folders and archives as for
            ``radwright generate``.
        study_id: which of several.

    Raises:
        ConfigError: there are several and none is named, or none of that name.
        SourceError, StoreError: an input cannot be read.
    """
    if any((path / HEADER).is_file() for path in inputs):
        if len(inputs) > 1:
            raise ConfigError(f"{inputs[0]}: give one prepared store alone")
        store = PreparedStore(inputs[0])
        return store.study(_chosen(store.study_ids, study_id, str(inputs[0])))
    are_images = all(not path.is_dir() and path.suffix.lower() != ".zip" for path in inputs)
    studies = find_studies(inputs, together=are_images)
    if are_images and study_id is None:
        return studies.study(0)
    return studies.study(_chosen(studies.study_ids, study_id, str(inputs[0])))


def _chosen(names: Sequence[str], study_id: str | None, where: str) -> int:
    if study_id is None:
        if len(names) == 1:
            return 0
        told = ", ".join(names[:_NUM_NAMED]) + (", ..." if len(names) > _NUM_NAMED else "")
        raise ConfigError(f"{where}: holds {len(names)} studies ({told}); name one with --study")
    if study_id not in names:
        raise ConfigError(f"--study {study_id}: {where} holds no such study{near(study_id, names)}")
    return list(names).index(study_id)


def view_names(study: Study) -> list[str]:
    """What to call each view of a study, no two alike: its number, its position if that is known, and its file's name.

    A stored image is named by its study, place and file (``radwright.data.store.study_row``): the file is taken.
    """
    names = []
    for number, view in enumerate(study.views, start=1):
        name = view.image.name.replace("\\", "/").rsplit("::", 1)[-1].rsplit("/", 1)[-1]
        name = name.partition(" (")[2].removesuffix(")") if name.startswith(f"{number - 1} (") else name
        position = "" if view.position == "unknown" else f" {view.position}"
        names.append(f"{number}{position} ({name})")
    return names


def explain_study(
    explainer: Explainer,
    study: Study,
    out: Path,
    *,
    replace: bool = False,
    on_images: Callable[[int], None] | None = None,
) -> Explained:
    """Draft a study, seek the evidence for each sentence, and write the page.

    Args:
        explainer: the checkpoint.
        study: any.
        out: HTML file to write; folders above it are made.
        replace: whatever file is there; without it only an earlier page of this kind is replaced.
        on_images: told how many occluded images went through the network.

    Raises:
        StudyError: the study cannot be read.
        OutputError: the page cannot be written, or another file would be lost.
    """
    prepare_outputs([out], [Path(view.image.name) for view in study.views])
    if out.exists() and not (replace or is_evidence_page(out)):
        raise OutputError(
            f"{out}: exists already and is no page of radwright explain; choose another --out, remove it, or give "
            "--replace"
        )
    [outcome] = explainer.explain([study], on_images=on_images)
    if isinstance(outcome, Skipped):
        raise StudyError(outcome.reason)
    config = explainer.checkpoint.config
    chosen = choose_views(study.views, config.max_views)
    named = list(zip(view_names(study), study.views, strict=True))
    views = [(name, view) for name, view in named if any(view is each for each in chosen)]
    read = tuple(name for name, _ in views)
    left_out = tuple(name for name, _ in named if name not in read)
    facts = {
        "checkpoint": str(explainer.checkpoint.path),
        "method": config.method,
        "weights": explainer.fingerprint,
        "decoding": explainer.decoding.plain(),
        "occlusion": explainer.occlusion.plain(),
    }
    notes = [] if outcome.report.finished else ["The draft reached the length limit without ending by itself."]
    notes += study.extra.get(NOTES, ())
    if left_out:
        notes.append(told_left_out(read, left_out))
    if config.model.get("guidance"):
        notes.append(
            f"The draft was decoded with guidance {config.model['guidance']}; log-probabilities are those without it."
        )
    shown = config.image.model_copy(update={"size_px": max(config.image.size_px, SHOWN_SIDE_PX)})
    page = EvidencePage(
        title=f"Evidence for the draft of {study.study_id}",
        views=tuple(
            PageView(
                name,
                _picture(
                    image_pixels(view.image.read(), shown, name=view.image.name, original_size=view.original_size)
                ),
            )
            for name, view in views
        ),
        sentences=tuple(_row(one) for one in outcome.sentences),
        reference=study.section("findings") or None,
        notes=tuple(notes),
        facts=_shown(facts),
    )
    write_evidence_page(out, page)
    return Explained(outcome, read, left_out, out, facts)


def told_left_out(read: Sequence[str], left_out: Sequence[str]) -> str:
    """Which views a network that takes so many was shown, and which not."""
    views = "1 view" if len(read) == 1 else f"{len(read)} views"
    return (
        f"This network reads {views} of a study at most: read {', '.join(read)}; left out {', '.join(left_out)}, so "
        "nothing here rests on it."
    )


def _picture(pixels: Any) -> Image.Image:
    return Image.fromarray(pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8))


def _row(one: SentenceEvidence) -> SentenceRow:
    maps = {"occlusion": one.occlusion_VSS, "attention": one.attention_VSS}
    return SentenceRow(
        text=one.sentence.text,
        log_prob=one.log_prob,
        num_tokens=one.sentence.stop - one.sentence.start,
        maps={name: map_VSS.numpy() for name, map_VSS in maps.items() if map_VSS is not None},
        clues=tuple(
            ClueRow(
                clue.disease,
                clue.told,
                clue.probability,
                clue.log_prob_on,
                clue.log_prob_off,
                clue.redone_on,
                clue.redone_off,
            )
            for clue in one.clues
        ),
    )


def _shown(facts: dict[str, Any]) -> dict[str, str]:
    made = provenance()
    return {
        "command": made["command"],
        "checkpoint": f"{facts['checkpoint']} ({facts['method']})",
        "weights, SHA-256": facts["weights"],
        "decoding": json.dumps(facts["decoding"]),
        "occlusion": json.dumps(facts["occlusion"]),
        "Radwright": f"{made['radwright']} ({made['commit'] or 'no commit'}), torch {made['torch']}",
    }
