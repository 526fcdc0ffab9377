"""What a language model is told before it writes: replaceable pieces of text with slots for embeddings.

``<Img>`` and ``<Clue>`` are plain text, no new tokens: any tokenizer reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from radwright.config import Config
from radwright.types import ViewPosition

_SLOTS = {"view": "{image}", "clues": "{clues}", "indication": "{indication}"}


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for embeddings: the patches of one view (``number``), or the clues."""

    kind: Literal["view", "clues"]
    number: int = 0


class PromptConfig(Config):
    """The pieces, in the order of the prompt; an empty one is left out."""

    opening: str = "Write the report of this chest X-ray. "
    """Instruction."""
    view: str = "{position} view: <Img>{image}</Img> "
    """Once per view; ``{image}`` is the slot, ``{position}`` frontal, lateral or unknown."""
    clues: str = "Disease clues: <Clue>{clues}</Clue> "
    """``{clues}`` is the slot; an empty text tells the model no clues."""
    indication: str = ""
    """Why the study was asked for, e.g. ``"Indication: {indication} "``; left out of a study without one."""
    max_indication: int = Field(default=200, ge=1)
    """Characters of an indication that are read."""
    answer: str = "Report:"
    """What the report follows on."""

    @field_validator("view", "clues", "indication")
    @classmethod
    def _has_its_slot(cls, value: str, info: ValidationInfo) -> str:
        slot = _SLOTS[info.field_name or ""]
        if value.count(slot) != 1 and (value or info.field_name == "view"):
            raise ValueError(f"must hold {slot} once" + ("" if info.field_name == "view" else ", or be empty"))
        return value

    def pieces(self, positions: Sequence[ViewPosition], indication: str) -> list[str | Slot]:
        """The prompt of one study.

        Args:
            positions: of its views, in order.
            indication: why it was asked for; "" where that is not known.
        """
        made: list[str | Slot] = [self.opening]
        for number, position in enumerate(positions):
            before, after = self.view.replace("{position}", position).split("{image}")
            made += [before, Slot("view", number), after]
        if self.clues:
            before, after = self.clues.split("{clues}")
            made += [before, Slot("clues"), after]
        # The text is put in last and never searched for slots: an indication may hold any characters.
        said = " ".join(indication.split())[: self.max_indication]
        if self.indication and said:
            made.append(self.indication.replace("{indication}", said))
        return [piece for piece in [*made, self.answer] if piece]
