"""The pieces of a prompt: slots once, nothing read out of an indication."""

from __future__ import annotations

import pytest

from radwright.errors import ConfigError
from radwright.text.prompts import PromptConfig, Slot


def test_pieces_in_order_and_an_indication_is_never_searched_for_slots() -> None:
    config = PromptConfig(
        opening="", view="{position}<{image}>", clues="c<{clues}>", indication="i:{indication} ", answer="r"
    )
    said = "pain {image}  {clues} {indication}"
    assert config.pieces(["frontal", "lateral"], said) == [
        *("frontal<", Slot("view", 0), ">", "lateral<", Slot("view", 1), ">"),
        *("c<", Slot("clues"), ">", "i:pain {image} {clues} {indication} ", "r"),
    ]
    assert "i:" not in str(config.pieces(["frontal"], "  "))


@pytest.mark.parametrize(
    "change", [{"view": "no slot"}, {"view": ""}, {"clues": "{clues}{clues}"}, {"indication": "why"}], ids=str
)
def test_a_piece_without_its_slot_is_refused(change: dict[str, str]) -> None:
    [key] = change
    with pytest.raises(ConfigError, match=rf"{key}.*must hold \{{\w+\}} once"):
        PromptConfig.parse(change, where="test")
    assert PromptConfig(clues="", indication="").clues == ""
