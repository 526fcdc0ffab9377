"""Conventions: what each does to drafts and to references."""

from __future__ import annotations

import pytest

from radwright.errors import ScoringError
from radwright.evaluation.conventions import CONVENTIONS, find_convention, short_hash

LONG = " ".join(["word"] * 200)


def test_report_cuts_and_maps_nothing() -> None:
    rules = find_convention("report")
    assert rules.reference("1. Heart's big, 3.5 cm. " + LONG, None) == f"hearts big 3.5 cm . {LONG} ."
    assert rules.draft("Heart normal.") == rules.reference("heart normal .", None) == "heart normal ."
    assert not rules.needs_train


@pytest.mark.parametrize(("name", "num_words", "min_count"), [("r2gen-iu", 59, 3), ("r2gen-mimic", 99, 10)])
def test_r2gen_cuts_references_only(name: str, num_words: int, min_count: int) -> None:
    rules = find_convention(name)
    vocabulary = rules.vocabulary(["word. "] * min_count + ["rare."] * (min_count - 1))
    assert vocabulary == {"word", "."}
    # BOS and the words are kept; the cut takes EOS first, so a report of exactly that many words stays whole.
    assert rules.reference(LONG, vocabulary).split() == ["word"] * num_words
    exact = " ".join(["word"] * (num_words - 1))
    assert rules.reference(exact, vocabulary) == f"{exact} ."
    assert rules.draft(LONG).split() == ["word"] * 200 + ["."]


def test_r2gen_maps_rare_reference_words_only() -> None:
    rules = find_convention("r2gen-iu")
    vocabulary = rules.vocabulary(["Lungs clear."] * 3)
    assert rules.reference("Lungs hazy, clear", vocabulary) == "lungs <unk> clear ."
    assert rules.draft("Lungs hazy, clear") == "lungs hazy clear ."
    assert rules.draft("lungs <unk> clear .") == "lungs <unk> clear ."  # a model's own <unk> stays that word


def test_r2gen_leaves_single_spaces() -> None:
    rules = find_convention("r2gen-iu")
    assert rules.draft("Lungs - clear . . x") == "lungs - clear . . x ."


def test_raw_changes_nothing() -> None:
    rules = find_convention("raw")
    assert rules.draft("Heart  Normal.") == rules.reference("Heart  Normal.", None) == "Heart  Normal."


@pytest.mark.parametrize("name", sorted(CONVENTIONS))
@pytest.mark.parametrize("text", ["", "  ", ".", "\n"])
def test_nothing_stays_nothing(name: str, text: str) -> None:
    rules = find_convention(name)
    assert rules.reference(text, frozenset() if rules.needs_train else None) == ""
    assert rules.draft(text).replace(".", "").strip() == ""
    assert rules.draft("") == ""


def test_a_gap_only_report_is_empty_under_our_cleaning() -> None:
    assert find_convention("report").reference("XXXX. XXXX", None) == ""


def test_signatures_tell_conventions_and_vocabularies_apart() -> None:
    iu = find_convention("r2gen-iu")
    lines = {rules.describe(frozenset({"a"}) if rules.needs_train else None) for rules in CONVENTIONS.values()}
    assert len(lines) == len(CONVENTIONS)
    assert iu.describe(frozenset({"a"})) != iu.describe(frozenset({"b"}))
    assert "cut=59 words" in iu.describe(frozenset({"a"}))


def test_unknown_convention_names_the_near_one() -> None:
    with pytest.raises(ScoringError, match="did you mean 'r2gen-iu'"):
        find_convention("r2gen_iu")


def test_hash_of_a_set_ignores_order() -> None:
    assert short_hash(["b", "a"]) == short_hash(["a", "b"]) != short_hash(["a"])
