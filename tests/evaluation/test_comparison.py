"""Two systems compared: verdicts on equal and on better systems, what is refused, what is noted, and the command."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radwright.cli.main import main
from radwright.errors import ConfigError, ScoringError
from radwright.evaluation.comparison import Comparison, compare
from radwright.evaluation.score import score

PARTS = [
    "The heart is normal.",
    "The heart is mildly large.",
    "Lungs clear.",
    "There is a small left effusion.",
    "No pneumothorax.",
    "Degenerative change of the spine.",
]
FAST = ["bleu", "rouge_l", "cider"]
Reports = dict[str, str]


class WordErrors:
    """Words of the draft that the reference lacks, per study: fewer are better."""

    names = ("word_errors",)
    higher_is_better = (False,)
    reads_as_written = False
    variant = "test"

    def rows(self, hypotheses: Any, references: Any) -> Any:
        pairs = zip(hypotheses, references, strict=True)
        return np.array([[len(set(draft.split()) - set(texts[0].split())), 1.0] for draft, texts in pairs])

    def scores(self, sums: Any) -> Any:
        return sums[..., :1] / sums[..., 1:]


def make_reports(count: int, seed: int) -> Reports:
    random = np.random.default_rng(seed)
    return {
        f"v{k}": " ".join(PARTS[j] for j in random.permutation(len(PARTS))[: random.integers(2, 5)])
        for k in range(count)
    }


def swapped(first: Reports, second: Reports, seed: int) -> tuple[Reports, Reports]:
    """Two systems that differ by chance alone: each study's two drafts are dealt out at random."""
    draws = np.random.default_rng(seed).random(len(first)) < 0.5
    swaps = dict(zip(sorted(first), draws, strict=True))
    return (
        {k: second[k] if swap else first[k] for k, swap in swaps.items()},
        {k: first[k] if swap else second[k] for k, swap in swaps.items()},
    )


def improved(drafts: Reports, references: Reports, share: float, seed: int) -> Reports:
    """A share of the drafts replaced by their references."""
    ids = sorted(drafts)
    picked = np.random.default_rng(seed).permutation(len(ids))[: round(share * len(ids))]
    return drafts | {ids[k]: references[ids[k]] for k in picked}


def count_different(first: Reports, second: Reports, references: Reports, trials: int, **options: Any) -> int:
    return sum(
        compare(*swapped(first, second, seed), references, seed=seed, **options).any_different for seed in range(trials)
    )


def count_better(drafts: Reports, references: Reports, trials: int, **options: Any) -> int:
    """In how many trials the improved system is better on some score and worse on none."""
    found = 0
    for seed in range(trials):
        comparison = compare(drafts, improved(drafts, references, 0.15, seed), references, seed=seed, **options)
        verdicts = {each.b_is_better for each in comparison.scores.values()}
        found += True in verdicts and False not in verdicts
    return found


REFERENCES = make_reports(60, 2)
DRAFTS = make_reports(60, 3)
OTHERS = make_reports(60, 4)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(DRAFTS, improved(DRAFTS, REFERENCES, 0.5, 0), REFERENCES, names=("old", "new"))


def test_values_and_differences_are_those_of_scoring(comparison: Comparison) -> None:
    new = improved(DRAFTS, REFERENCES, 0.5, 0)
    scored = score(new, REFERENCES, against={"old": DRAFTS})
    for name, found in comparison.scores.items():
        assert found.b == pytest.approx(scored.metrics[name].value)
        assert found.a == pytest.approx(score(DRAFTS, REFERENCES, num_resamples=1).metrics[name].value)
        assert found.difference.plain() == pytest.approx(scored.differences["old"][name].plain())
    assert comparison.study_ids == scored.study_ids
    assert comparison.signature.startswith(scored.signature)
    assert "test=approximate randomisation 10000, seed 0, Holm over 12, level 0.05" in comparison.signature


def test_a_better_system_is_called_better_from_either_side(comparison: Comparison) -> None:
    assert comparison.any_different
    assert comparison.conclusion.startswith("new is better on 12 of 12 scores (bleu_1, ")
    assert all(found.b_is_better for found in comparison.scores.values())
    back = compare(improved(DRAFTS, REFERENCES, 0.5, 0), DRAFTS, REFERENCES, names=("new", "old"))
    assert back.conclusion == comparison.conclusion
    for name, found in back.scores.items():
        assert found.p_value == comparison.scores[name].p_value
        assert found.difference.value == -comparison.scores[name].difference.value


def test_fewer_errors_are_better() -> None:
    new = improved(DRAFTS, REFERENCES, 0.5, 0)
    found = compare(DRAFTS, new, REFERENCES, metrics=["rouge_l", f"{__name__}:WordErrors"], names=("old", "new"))
    errors = found.scores["word_errors"]
    assert errors.b < errors.a
    assert errors.b_is_better
    assert errors.plain()["verdict"] == "b better"
    assert found.conclusion == "new is better on 2 of 2 scores (rouge_l, word_errors)"


def test_equal_systems_cannot_be_told_apart() -> None:
    found = compare(DRAFTS, dict(DRAFTS), REFERENCES, num_permutations=200)
    assert not found.any_different
    assert {each.p_value for each in found.scores.values()} == {1.0}
    assert found.conclusion == (
        "no difference between A and B can be told on any of 12 scores over 60 studies, at family-wise level 0.05"
    )
    assert any("the same, word for word" in note for note in found.notes)


def test_the_verdict_is_corrected_for_all_scores() -> None:
    for seed in range(30):
        found = compare(*swapped(DRAFTS, OTHERS, seed), REFERENCES, metrics=FAST, num_permutations=500)
        for each in found.scores.values():
            assert each.p_value <= each.adjusted_p <= min(1, 6 * each.p_value + 1e-12)
            assert each.different == (each.adjusted_p <= 0.05)


def test_chance_is_seldom_called_a_difference_and_an_improvement_is_found() -> None:
    options: dict[str, Any] = {"metrics": FAST, "num_permutations": 500, "num_resamples": 20}
    assert count_different(DRAFTS, OTHERS, REFERENCES, 60, **options) <= 7  # more has probability .013 at .05 each
    references, drafts = make_reports(150, 5), make_reports(150, 6)
    assert count_better(drafts, references, 10, **options) >= 9


@pytest.mark.slow
def test_of_200_null_pairs_at_most_8_percent_are_called_different() -> None:
    drafts, others, references = (make_reports(316, seed) for seed in (7, 8, 9))
    assert count_different(drafts, others, references, 200) <= 16
    assert count_better(drafts, references, 10) >= 9


@pytest.mark.slow
def test_of_200_null_pairs_of_real_drafts_at_most_8_percent_are_called_different(shared: Path) -> None:
    with gzip.open(shared / "data" / "metrics" / "iu_pairs_316.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    drafts, references = ({row["study_id"]: row[key] for row in rows} for key in ("report", "reference"))
    ids = list(drafts)
    # A second system: the first one's drafts of other studies.
    others = {k: drafts[ids[(place + 1) % len(ids)]] for place, k in enumerate(ids)}
    assert count_different(drafts, others, references, 200) <= 16
    assert count_better(drafts, references, 10) >= 9


@pytest.mark.parametrize(
    ("first", "second", "references", "message"),
    [
        ({"a": "x", "b": "x"}, {"a": "x"}, {"a": "x", "b": "x"}, r"B has no draft for 1 study \('b'\) that A has"),
        ({"a": "x"}, {"a": "x", "b": "x"}, {"a": "x", "b": "x"}, r"A has no draft for 1 study \('b'\) that B has"),
        ({"a": "x", "b": "x"}, {"a": "x", "b": "y"}, {"a": "x"}, r"no reference for 1 study \('b'\)"),
        ({"a": "x"}, {"a": "y"}, {"a": "x", "b": "x"}, r"no draft for 1 study \('b'\) with a reference"),
    ],
)
def test_studies_that_one_side_lacks_are_refused_or_left_out(
    first: Reports, second: Reports, references: Reports, message: str
) -> None:
    with pytest.raises(ScoringError, match=message + r".*--allow-missing"):
        compare(first, second, references)
    found = compare(first, second, references, allow_missing=True, num_permutations=10, num_resamples=10)
    assert found.study_ids == ("a",)
    assert found.left_out == ("b",)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ScoringError, match="A and B have no study in common"):
        compare({"a": "x"}, {"b": "x"}, {"a": "x", "b": "x"}, allow_missing=True)
    with pytest.raises(ScoringError, match="between 0 and 1"):
        compare(DRAFTS, OTHERS, REFERENCES, level=5)
    with pytest.raises(ScoringError, match="both systems are called 'A'"):
        compare(DRAFTS, OTHERS, REFERENCES, names=("A", "A"))
    with pytest.raises(ScoringError, match="--train"):
        compare(DRAFTS, OTHERS, REFERENCES, convention="r2gen-iu")
    with pytest.raises(ConfigError, match="did you mean 'bleu'"):
        compare(DRAFTS, OTHERS, REFERENCES, metrics=["blue"])
    with pytest.raises(ScoringError, match="no metric to compare by"):
        compare(DRAFTS, OTHERS, REFERENCES, metrics=[])


def test_few_studies_few_swaps_and_empty_drafts_are_noted() -> None:
    one = compare({"a": "Lungs clear."}, {"a": "Heart large."}, {"a": "Lungs clear."}, metrics=["rouge_l"])
    found = one.scores["rouge_l"]
    assert (found.difference.value, found.difference.low, found.difference.high) == (-1 + 1 / 3, -1 + 1 / 3, -1 + 1 / 3)
    assert found.p_value == 1
    assert any(note.startswith("one study: every interval is a single point") for note in one.notes)
    few = compare(DRAFTS, OTHERS, REFERENCES, num_permutations=100, num_resamples=10)
    assert any("can hardly fall to 0.05" in note for note in few.notes)
    empty = compare(dict.fromkeys(DRAFTS, ""), OTHERS, REFERENCES, num_resamples=10, names=("silent", "other"))
    assert "silent: 60 of 60 drafts are empty, scored as they are" in empty.notes
    assert empty.conclusion.startswith("silent is better on 1 of 12 scores (fabricated); other is better on 11 of 12")


def write_lines(path: Path, reports: Reports) -> None:
    path.write_text(
        "".join(json.dumps({"study_id": k, "report": v, "split": "val"}) + "\n" for k, v in reports.items())
    )


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["compare", *arguments])
    return int(stop.value.code or 0)


def test_command_prints_and_writes_the_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, reports in (("old", DRAFTS), ("new", improved(DRAFTS, REFERENCES, 0.5, 0)), ("refs", REFERENCES)):
        write_lines(tmp_path / f"{name}.jsonl", reports)
    old, new, refs, out = (str(tmp_path / name) for name in ("old.jsonl", "new.jsonl", "refs.jsonl", "out.json"))
    common = [old, new, "--references", refs, "--split", "val", "--metrics", "rouge_l, cider", "--json", out]
    assert run(*common, "--permutations", "500", "--resamples", "50", "--seed", "3", "--level", "0.01") == 0
    printed = capsys.readouterr().out
    assert "A = old, B = new; differences are B minus A" in printed
    assert printed.rstrip().endswith("new is better on 2 of 2 scores (rouge_l, cider)")
    written = json.loads((tmp_path / "out.json").read_text())
    direct = compare(
        *(DRAFTS, improved(DRAFTS, REFERENCES, 0.5, 0), REFERENCES),
        names=("old", "new"),
        metrics=["rouge_l", "cider"],
        num_permutations=500,
        num_resamples=50,
        seed=3,
        level=0.01,
    )
    assert written == json.loads(json.dumps(direct.plain()))
    assert written["any_different"] is True
    assert written["scores"]["cider"]["different"] is True
    assert written["n"] == 60
    assert run(*common, "--names", "theirs", "ours", "--resamples", "10", "--permutations", "200") == 0
    assert json.loads((tmp_path / "out.json").read_text())["names"] == {"a": "theirs", "b": "ours"}


def test_command_refuses_one_file_twice_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lines(tmp_path / "old.jsonl", DRAFTS)
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "old.jsonl")
    refs = ["--references", str(tmp_path / "old.jsonl")]
    for second in ("old.jsonl", "link.jsonl"):
        assert run(str(tmp_path / "old.jsonl"), str(tmp_path / second), *refs) == 1
        error = capsys.readouterr().err
        assert "is given as A and as B" in error
        assert error.count("\n") == 1
    assert run(str(tmp_path / "old.jsonl"), str(tmp_path / "none.jsonl"), *refs) == 1
    assert "none.jsonl: cannot be read" in capsys.readouterr().err
