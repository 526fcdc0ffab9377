"""Metrics that need weights: values against plain reference code, what is missing in one sentence, the command."""

from __future__ import annotations

import json
import math
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from radwright.cli.main import main
from radwright.errors import CheckpointError, ConfigError, MissingExtraError, ScoringError
from radwright.evaluation.learned.bertscore import BertScore
from radwright.evaluation.learned.chexbert import HEADS, Chexbert
from radwright.evaluation.learned.green import Green, Judgement, fill, read_answer
from radwright.evaluation.learned.radcliq import RadCliQ, combine
from radwright.evaluation.learned.radgraph import RadGraph, compare_graphs, key
from radwright.evaluation.learned.ratescore import CONTRADICTED, RateScore, contradict, split_sentences
from radwright.evaluation.learned.supply import LEARNED, describe_weights, find_weighted_metrics
from radwright.evaluation.score import score
from radwright.findings.mention import Status
from radwright.findings.ontology import CHEXPERT, CHEXPERT_5
from radwright.metrics.base import Metric
from radwright.nn import huggingface
from tiny_weights import (
    PROMPT,
    bert_config,
    graph_of,
    write_chexbert,
    write_encoder,
    write_graphs,
    write_json,
    write_language_model,
    write_ratescore,
)

DRAFTS = ["The heart is normal.", "No effusion.\nLungs clear.", "", "There is a large nodule in the left lungs."]
REFERENCES = ["Heart normal. Lungs clear.", "No effusion.", "Lungs clear.", "Nodule in the left. No pneumothorax."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def chexbert_files(folder: Path) -> dict[str, Path]:
    return write_chexbert(folder / "chexbert")


@pytest.fixture(scope="module")
def chexbert(chexbert_files: dict[str, Path]) -> Chexbert:
    return Chexbert.load(**chexbert_files)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Path:
    return write_encoder(folder / "distilroberta-base", num_layers=6)


@pytest.fixture(scope="module")
def baseline(folder: Path) -> Path:
    path = folder / "distilroberta-base.tsv"
    path.write_text("LAYER,P,R,F\n0,.1,.1,.1\n4,.3,.3,.3\n5,.4,.4,.41\n6,.9,.9,.9\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def ratescore_files(folder: Path) -> dict[str, Path]:
    return write_ratescore(folder / "ratescore")


@pytest.fixture(scope="module")
def language_model(folder: Path) -> Path:
    return write_language_model(folder / "language_model")


def score_single(metric: Metric, draft: str, reference: str) -> list[float]:
    return [float(value) for value in metric.scores(metric.rows([draft], [[reference]])[0])]


# CheXbert


@pytest.fixture(scope="module")
def plain_chexbert(chexbert_files: dict[str, Path]) -> Any:
    """Classes and [CLS] vector of one text, by transformers' network alone."""
    from transformers import BertModel

    weights = torch.load(chexbert_files["weights"], weights_only=True)["model_state_dict"]
    bert = BertModel(bert_config()).eval()
    bert.load_state_dict(
        {name[12:]: w for name, w in weights.items() if name.startswith("module.bert.") and "position_ids" not in name}
    )
    tokenizer = huggingface.load_tokenizer(chexbert_files["tokenizer"])

    @torch.no_grad()
    def read(text: str) -> tuple[list[int], np.ndarray]:
        vector = bert(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0, 0]
        heads = [[weights[f"module.linear_heads.{n}.{part}"] for part in ("weight", "bias")] for n in range(14)]
        return [int((w @ vector + b).argmax()) for w, b in heads], vector.numpy()

    return read


def test_chexbert_labels_by_name_and_batched_as_alone(chexbert: Chexbert, plain_chexbert: Any) -> None:
    meaning = [None, Status.PRESENT, Status.ABSENT, Status.UNCERTAIN]
    labelled = chexbert.label([*DRAFTS, *REFERENCES])
    seen = set()
    for text, labels in zip([*DRAFTS, *REFERENCES], labelled, strict=True):
        assert list(labels) == list(CHEXPERT)
        expected = [meaning[k] for k in plain_chexbert(text.replace("\n", " "))[0]] if text else [None] * 14
        assert [labels[name] for name in HEADS] == expected
        seen |= set(expected)
    assert len(seen) == 4


def test_chexbert_f1_and_cosine_are_those_of_plain_code(chexbert: Chexbert, plain_chexbert: Any) -> None:
    drafts, references = [DRAFTS[k] for k in (0, 1, 3)], [REFERENCES[k] for k in (0, 1, 3)]
    ours = [plain_chexbert(" ".join(text.split())) for text in drafts]
    theirs = [plain_chexbert(text) for text in references]
    expected = []
    for asserted in ({1}, {1, 3}):
        counts = {}
        for column, name in enumerate(HEADS):
            pairs = [
                (a[column] in asserted, b[column] in asserted) for (a, _), (b, _) in zip(ours, theirs, strict=True)
            ]
            counts[name] = (pairs.count((True, True)), pairs.count((True, False)) + pairs.count((False, True)))
        for names in (CHEXPERT, CHEXPERT_5):
            right, wrong = (sum(counts[name][k] for name in names) for k in range(2))
            expected.append(2 * right / (2 * right + wrong))
            single = [2 * r / (2 * r + w) if r + w else 0 for r, w in (counts[name] for name in names)]
            expected.append(sum(single) / len(single))
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for (_, a), (_, b) in zip(ours, theirs, strict=True)]
    rows = chexbert.rows(drafts, [[text] for text in references])
    np.testing.assert_allclose(chexbert.scores(rows.sum(0)), [*expected, np.mean(cosines)], rtol=1e-5)


# BERTScore


@pytest.mark.parametrize("idf", [False, True])
def test_bertscore_is_that_of_plain_code(encoder: Path, baseline: Path, idf: bool) -> None:
    from transformers import RobertaModel

    network = RobertaModel.from_pretrained(encoder, add_pooling_layer=False).eval()
    tokenizer = huggingface.load_tokenizer(encoder)
    drafts = [" ".join(text.split()) for text in DRAFTS]
    tokens = {text: tokenizer(" " + text)["input_ids"] for text in [*drafts, *REFERENCES]}

    def weight(token: int) -> float:
        if token in {0, 2}:  # <s> and </s>
            return 0.0
        holding = sum(token in tokens[text] for text in REFERENCES)
        return math.log((len(REFERENCES) + 1) / (holding + 1)) if idf else 1.0

    @torch.no_grad()
    def vectors(text: str) -> torch.Tensor:
        found = network(input_ids=torch.tensor([tokens[text]]), output_hidden_states=True).hidden_states[5][0]
        return found / found.norm(dim=1, keepdim=True)

    def cover(first: str, second: str) -> float:
        best = (vectors(first) @ vectors(second).T).max(dim=1).values.tolist()
        weights = [weight(token) for token in tokens[first]]
        return sum(w * b for w, b in zip(weights, best, strict=True)) / sum(weights)

    expected = []
    for draft, reference in zip(drafts, REFERENCES, strict=True):
        p, r = (cover(draft, reference), cover(reference, draft)) if draft else (0.0, 0.0)
        f1 = 2 * p * r / (p + r) if p + r else 0.0
        expected.append((f1 - 0.41) / (1 - 0.41))
    metric = BertScore.load(encoder, layer=5, idf=idf, baseline=baseline)
    rows = metric.rows(DRAFTS, [[text] for text in REFERENCES])
    np.testing.assert_allclose(rows[:, 0], expected, atol=1e-5)
    assert ("idf of refs" if idf else "idf off") in metric.variant
    assert "distilroberta-base, layer 5 of 6" in metric.variant


def test_bertscore_of_a_pair_depends_on_no_other_pair(encoder: Path) -> None:
    together = BertScore.load(encoder).rows(DRAFTS, [[text] for text in REFERENCES])[:, 0]
    alone = score_single(BertScore.load(encoder), DRAFTS[0], REFERENCES[0])
    np.testing.assert_allclose(together[0], alone[0], atol=1e-6)


# RadGraph and RadCliQ


def entity(tokens: str, label: str, *relations: tuple[str, str]) -> dict[str, Any]:
    return {"tokens": tokens, "label": label, "start_ix": 0, "end_ix": 0, "relations": [list(r) for r in relations]}


PRESENT, ABSENT, ANATOMY = "Observation::definitely present", "Observation::definitely absent", "Anatomy::present"
OURS = {
    "1": entity("small", PRESENT, ("modify", "2")),
    "2": entity("effusion", PRESENT, ("located_at", "3")),
    "3": entity("left", ANATOMY),
    "4": entity("Edema", ABSENT),
}
THEIRS = {
    "1": entity("effusion", PRESENT, ("located_at", "2"), ("suggestive_of", "4")),
    "2": entity("left", ANATOMY, ("modify", "3")),
    "3": entity("lung", ANATOMY),
    "4": entity("edema", PRESENT),
    "5": entity("Edema", ABSENT),
}


def test_radgraph_rewards_are_those_worked_out_by_hand() -> None:
    # Common entities: effusion, left, Edema of 4 and 5. With "has a relation": left differs. Complete: ours are
    # (small modify effusion), (effusion located_at left), left, Edema; theirs (effusion located_at left), (effusion
    # suggestive_of edema), (left modify lung), lung, edema, Edema. Relations: 1 common of 2 and 3.
    simple, partial, complete, radgraph_f1 = compare_graphs(OURS, THEIRS)
    assert simple == pytest.approx(2 * 3 / 9)
    assert partial == pytest.approx(2 * 2 / 9)
    assert complete == pytest.approx(2 * 2 / 10)
    assert radgraph_f1 == pytest.approx((2 * 3 / 9 + 2 * 1 / 5) / 2)
    assert compare_graphs(THEIRS, OURS) == (simple, partial, complete, radgraph_f1)
    assert compare_graphs({}, THEIRS) == compare_graphs({}, {}) == (0, 0, 0, 0)
    assert compare_graphs(OURS, OURS) == (1, 1, 1, 1)


def test_a_graph_is_found_by_its_text_and_a_missing_one_takes_the_score_away(tmp_path: Path) -> None:
    texts = [*DRAFTS[:2], *REFERENCES]
    metric = RadGraph.load([write_graphs(tmp_path / "a.json", texts[:3]), write_graphs(tmp_path / "b.json", texts[3:])])
    rows = metric.rows(DRAFTS[:3], [[text] for text in REFERENCES[:3]])
    assert rows[0, :4] == pytest.approx(compare_graphs(graph_of(DRAFTS[0]), graph_of(REFERENCES[0])))
    assert rows[2].tolist() == [0, 0, 0, 0, 1]
    found = score(
        dict(zip("abcd", DRAFTS, strict=True)),
        dict(zip("abcd", REFERENCES, strict=True)),
        weights=[f"radgraph={tmp_path / 'a.json'}", f"radgraph={tmp_path / 'b.json'}"],
        metrics=[],
    )
    assert math.isnan(found.metrics["radgraph_partial"].value)
    assert found.metrics["radgraph_partial"].plain() == {"value": None, "low": None, "high": None}
    assert any("1 of 4 studies have no graph" in note and "no score" in note for note in found.notes)
    assert found.study_rows[0]["radgraph_f1"] == pytest.approx(rows[0, 3])
    assert key("No evidence of\npneumothorax, 3.5 cm.") == key("no evidence of pneumothorax , 3 . 5 cm .")


def test_radcliq_is_the_published_line_and_lower_for_better_drafts() -> None:
    # (0 - mean) / scale * coefficient added up for RadGraph, BERTScore and the cosine, and (1 - mean) likewise.
    assert combine(np.zeros((1, 4)))[0] == pytest.approx(0.669827 + 1.019532 + 0.760790, abs=1e-5)
    assert combine(np.ones((1, 4)))[0] == pytest.approx(-0.575390 - 0.631328 - 0.233980, abs=1e-5)
    assert combine(np.array([[0.53792312, 0.61757256, 0.76479421, 0.9]]))[0] == pytest.approx(0, abs=1e-9)


def test_radcliq_takes_only_the_bertscore_it_was_fitted_on(chexbert: Chexbert, encoder: Path, baseline: Path) -> None:
    radgraph = RadGraph({})
    for given, message in (
        ({}, r"bertscore\.baseline="),
        ({"baseline": baseline}, r"layer 5 of 6, not on layer 6 of 6"),
    ):
        with pytest.raises(ScoringError, match=message):
            RadCliQ.load(chexbert, BertScore.load(encoder, **given), radgraph)
    bertscore = BertScore.load(encoder, layer=5, baseline=baseline)
    made = RadCliQ.load(
        chexbert, bertscore, RadGraph({key(text): graph_of(text) for text in [DRAFTS[0], REFERENCES[0]]})
    )
    pair = (DRAFTS[0], REFERENCES[0])
    # BLEU-2's coefficient is 4e-12.
    parts = [compare_graphs(graph_of(pair[0]), graph_of(pair[1]))[3], score_single(bertscore, *pair)[0]]
    parts += [score_single(chexbert, *pair)[-1], 0.5]
    assert score_single(made, *pair)[0] == pytest.approx(combine(np.array([parts]))[0], abs=1e-9)


# RaTEScore


def test_ratescore_is_that_of_plain_code(ratescore_files: dict[str, Path]) -> None:
    metric = RateScore.load(**ratescore_files)
    network = huggingface.load_encoder(ratescore_files["encoder"])
    tokenizer = huggingface.load_tokenizer(ratescore_files["encoder"])
    affinity = json.loads(ratescore_files["affinity"].read_text(encoding="utf-8"))

    @torch.no_grad()
    def vector(words: str) -> torch.Tensor:
        found = network(input_ids=torch.tensor([tokenizer(words)["input_ids"]])).last_hidden_state[0, 0]
        return found / found.norm()

    def cover(first: list[Any], second: list[Any]) -> float:
        total = above = 0.0
        for words, kind in first:
            alike = [float(vector(words) @ vector(other)) for other, _ in second]
            best = max(range(len(alike)), key=alike.__getitem__)
            weight = affinity[f"{kind}_{second[best][1]}".lower()]
            total += weight
            above += weight * alike[best] * (CONTRADICTED if contradict(kind, second[best][1]) else 1)
        return above / total

    ours, theirs = metric.entities([DRAFTS[0], REFERENCES[3]])
    assert ours
    assert theirs
    p, r = cover(ours, theirs), cover(theirs, ours)
    assert score_single(metric, DRAFTS[0], REFERENCES[3])[0] == pytest.approx(2 * p * r / (p + r), abs=1e-5)
    assert score_single(metric, "", REFERENCES[3]) == [0.0]


def test_entities_run_from_b_over_i_and_types_contradict_when_one_is_denied(ratescore_files: dict[str, Path]) -> None:
    metric = RateScore.load(**ratescore_files)
    ids = huggingface.load_tokenizer(ratescore_files["classifier"])("the heart is normal nodules")["input_ids"]
    labels = ["B-DISEASE", "I-ANATOMY", "B-ANATOMY", "I-DISEASE", "O", "B-NON-DISEASE", "I-NON-DISEASE", "I-DISEASE"]
    found = metric._entities_of(ids, labels)  # [CLS] the heart is normal nodule ##s [SEP]
    assert found == [("heart is", "ANATOMY"), ("nodules", "NON-DISEASE")]
    assert contradict("NON-DISEASE", "ABNORMALITY")
    assert not contradict("NON-DISEASE", "NON-ABNORMALITY")
    assert not contradict("ANATOMY", "NON-DISEASE")
    assert split_sentences("No mass. Ok? a. 3.5 cm") == ["No mass.", "Ok?", "3.5 cm"]


# GREEN

ANSWER = """[Explanation]:
Both name it.

[Clinically Significant Errors]:
(a) False report of a finding in the candidate: 2. edema; mass
(d) Misassessment of the severity of a finding: 1. large: 3. small

[Clinically Insignificant Errors]:
(b) Missing a finding present in the reference: 4. one

[Matched Findings]:
3. effusion; normal heart; tube
"""


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ANSWER, Judgement(3, (2, 0, 0, 1, 0, 0))),
        (ANSWER.replace("(a)", "(1)").replace("(d)", "(4)"), Judgement(3, (2, 0, 0, 1, 0, 0))),
        (
            "[Clinically Significant Errors]:\nNo errors.\n[Matched Findings]:\n1. clear lungs",
            Judgement(1, (0, 0, 0, 0, 0, 0)),
        ),
        (
            "[Clinically Significant Errors]: (b) Missing: 1. mass\n\n[Matched Findings]: No findings match.",
            Judgement(0, (0, 1, 0, 0, 0, 0)),
        ),
        ("", None),
        ("the the the (a) [Matched", None),
        ("[Matched Findings]:\n3. a; b; c", None),
        ("[Clinically Significant Errors]:\nperhaps\n\n[Matched Findings]:\n3. a", None),
        ("[Clinically Significant Errors]:\n(a) x: 1. y\n\n[Matched Findings]:\nmany", None),
        ("[Clinically Significant Errors]:\n\n[Matched Findings]:\n", None),
    ],
)
def test_answers_are_read_or_recorded_as_unreadable(answer: str, expected: Judgement | None) -> None:
    assert read_answer(answer) == expected


def test_green_counts_what_can_be_read_and_says_what_cannot() -> None:
    def judge(prompts: Any) -> list[str]:
        return [ANSWER if "heart" in prompt else "gibberish" for prompt in prompts]

    metric = Green(judge, PROMPT)
    scores = metric.scores(metric.rows(DRAFTS[:2], [[text] for text in REFERENCES[:2]]).sum(0))
    assert scores.tolist() == [3 / 6, 3, 2, 0, 0, 1, 0, 0]
    assert metric.judge([("No effusion.", "x")]) == [None]
    assert fill(PROMPT, "{reference}", "r") == "Reference: r\nCandidate: {reference}\nAnswer:"


def test_a_language_model_that_talks_nonsense_breaks_nothing(language_model: Path, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text(PROMPT, encoding="utf-8")
    found = score(
        {"a": DRAFTS[0], "b": DRAFTS[1]},
        {"a": REFERENCES[0], "b": REFERENCES[1]},
        weights=[f"green={language_model}", f"green.prompt={prompt}", "green.max_tokens=4"],
        metrics=["bleu"],
    )
    assert math.isnan(found.metrics["green"].value)
    assert found.metrics["bleu_1"].value > 0
    assert any(
        "green: 2 of 2 studies got an answer that cannot be read; there is no score" in note for note in found.notes
    )


def test_batched_continuations_equal_single_ones(language_model: Path) -> None:
    network, tokenizer = huggingface.load_causal_lm(language_model), huggingface.load_tokenizer(language_model)
    prompts = ["the heart", "no effusion . lungs clear and normal", "nodules"]
    alone = [huggingface.complete(network, tokenizer, [text], max_new_tokens=6)[0] for text in prompts]
    assert huggingface.complete(network, tokenizer, prompts, max_new_tokens=6) == alone


# What is missing


def unavailable(*weights: str) -> dict[str, str]:
    return find_weighted_metrics(weights)[1]


def test_whatever_is_missing_is_said_in_one_sentence(
    tmp_path: Path,
    chexbert_files: dict[str, Path],
    encoder: Path,
    ratescore_files: dict[str, Path],
    language_model: Path,
) -> None:
    pth, words = chexbert_files["weights"], chexbert_files["tokenizer"]
    plain = tmp_path / "plain.txt"
    plain.write_text("no places", encoding="utf-8")
    torn = write_json(tmp_path / "torn.json", {"s1": {"text": "x", "entities": {"1": {"tokens": "x"}}}})
    torch.save({"conv.weight": torch.zeros(2)}, tmp_path / "other.pth")
    (tmp_path / "empty").mkdir()
    rate, affinity = ratescore_files, ratescore_files["affinity"]
    for weights, message in (
        ([f"chexbert={pth}"], r"needs the folder of the tokenizer.*give --weights chexbert\.tokenizer=PATH"),
        ([f"chexbert={tmp_path / 'no.pth'}", f"chexbert.tokenizer={words}"], r"no\.pth: no such weights file"),
        ([f"chexbert={tmp_path / 'other.pth'}", f"chexbert.tokenizer={words}"], "is not CheXbert's checkpoint"),
        ([f"chexbert={pth}", f"chexbert.tokenizer={encoder}"], r"has more words, 260"),
        ([f"bertscore={tmp_path / 'nowhere'}"], "no such folder"),
        ([f"bertscore={tmp_path / 'empty'}"], r"holds no config\.json"),
        ([f"bertscore={encoder}", "bertscore.layer=7"], "has 6 layers, there is no layer 7"),
        ([f"bertscore={encoder}", f"bertscore.baseline={plain}"], "has no baseline for layer 6"),
        ([f"bertscore={language_model}"], "built like BERT or RoBERTa"),
        ([f"radgraph={torn}"], r"study 's1' is no graph as RadGraph writes it"),
        ([f"radgraph={tmp_path / 'none.json'}"], "none.json: cannot be read: No such file"),
        (["radcliq"], r"made of chexbert, bertscore and radgraph, and chexbert is not given: --weights chexbert=PATH"),
        ([f"ratescore={encoder}", f"ratescore.encoder={encoder}"], r"long_weight\.json.*ratescore\.affinity=PATH"),
        (
            [f"ratescore={encoder}", f"ratescore.encoder={encoder}", f"ratescore.affinity={affinity}"],
            r"weights are missing or of another shape: classifier\.bias",
        ),
        (
            [f"ratescore={rate['classifier']}", f"ratescore.encoder={encoder}", f"ratescore.affinity={torn}"],
            "as RaTEScore's weights of type pairs|has no weight for",
        ),
        ([f"green={language_model}", f"green.prompt={plain}"], r"has no \{reference\}"),
        ([f"green={language_model}"], r"needs a text file of GREEN's whole prompt"),
    ):
        name = weights[0].partition("=")[0]
        found = unavailable(*weights)
        assert list(found) == [name]
        assert "\n" not in found[name]
        assert re.search(message, found[name]), (message, found[name])


def test_a_wrong_option_is_refused_before_anything_is_loaded() -> None:
    for weights, message in (
        (["chexbrt=x"], r"no metric 'chexbrt' takes weights \(did you mean 'chexbert'\?\)"),
        (["bleu=x"], "no metric 'bleu' takes weights"),
        (["chexbert.tokeniser=x"], r"has no part 'tokeniser' \(did you mean 'tokenizer'\?\)"),
        (["chexbert=x", "chexbert=y"], "given twice"),
        (["chexbert=x", "chexbert.weights=y"], "given twice"),
        (["bertscore=x", "bertscore.idf=maybe"], "yes or no"),
        (["bertscore=x", "bertscore.layer=0"], "whole number of at least 1"),
        (["radcliq=x"], "takes no value"),
        (["chexbert="], "nothing stands after"),
    ):
        with pytest.raises(ConfigError, match=message):
            find_weighted_metrics(weights)


@pytest.fixture
def library() -> Iterator[None]:
    huggingface._library.cache_clear()
    yield
    huggingface._library.cache_clear()


@pytest.mark.usefixtures("library")
def test_without_transformers_only_what_needs_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, encoder: Path, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    graphs = write_graphs(tmp_path / "graphs.json", ["a mass"])
    found = score(
        {"a": "a mass"},
        {"a": "a mass"},
        metrics=["bleu"],
        weights=[f"bertscore={encoder}", f"radgraph={graphs}"],
    )
    assert 'pip install "radwright[learned]"' in found.unavailable["bertscore"]
    assert found.metrics["radgraph_partial"].value == 1
    assert "bertscore" not in found.metrics


@pytest.mark.usefixtures("library")
def test_a_torchvision_of_another_torch_is_named_as_the_cause(monkeypatch: pytest.MonkeyPatch, encoder: Path) -> None:
    class Broken(types.ModuleType):
        logging = types.SimpleNamespace(set_verbosity_error=lambda: None, disable_progress_bar=lambda: None)

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setitem(sys.modules, "transformers", Broken("transformers"))
    with pytest.raises(MissingExtraError, match=r"torchvision::nms does not exist; .*uninstall torchvision"):
        huggingface.load_encoder(encoder)


def test_a_model_whose_weights_do_not_fit_is_refused(encoder: Path, tmp_path: Path, language_model: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(encoder / "model.safetensors")
    for path in encoder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    short = {name: w for name, w in weights.items() if not name.endswith("layer.1.output.dense.weight")}
    save_file(short, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"missing or of another shape: encoder\.layer\.1\.output\.dense\.weight"):
        huggingface.load_encoder(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="holds no tokenizer"):
        huggingface.load_tokenizer(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds no weights"):
        huggingface.load_encoder(tmp_path)
    assert next(huggingface.load_causal_lm(language_model).parameters()).requires_grad is False


# The command


def test_the_command_prints_what_weights_give(
    tmp_path: Path,
    chexbert_files: dict[str, Path],
    encoder: Path,
    baseline: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, texts in (("drafts", DRAFTS), ("references", REFERENCES)):
        lines = [json.dumps({"study_id": f"s{k}", "report": text}) for k, text in enumerate(texts)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    graphs = write_graphs(tmp_path / "graphs.json", [*DRAFTS, *REFERENCES])
    out = tmp_path / "scores.json"
    weights = [
        f"chexbert={chexbert_files['weights']}",
        f"chexbert.tokenizer={chexbert_files['tokenizer']}",
        f"bertscore={encoder}",
        "bertscore.layer=5",
        f"bertscore.baseline={baseline}",
        f"radgraph={graphs}",
        "radcliq",
        "green=nowhere",
    ]
    options = [part for text in weights for part in ("--weights", text)]
    with pytest.raises(SystemExit) as stop:
        main(["score", str(tmp_path / "drafts.jsonl"), "--references", str(tmp_path / "references.jsonl"),
              "--json", str(out), *options])  # fmt: skip
    assert not stop.value.code
    found = json.loads(out.read_text(encoding="utf-8"))
    metric = Chexbert.load(**chexbert_files)
    expected = metric.scores(metric.rows(DRAFTS, [[text] for text in REFERENCES]).sum(0))
    for name, value in zip(metric.names, expected, strict=True):
        assert found["metrics"][name]["value"] == pytest.approx(value, abs=1e-6)
    assert found["metrics"]["radcliq_v1"]["value"] > -1.45
    assert found["metrics"]["bleu_1"]["value"] > 0
    assert "RadCliQ-v1 raw, lower is better" in found["signature"]
    assert "green is missing: it needs a text file" in " ".join(capsys.readouterr().out.split())


def test_help_on_weights_names_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["score", "--weights", "help"])
    assert not stop.value.code
    shown = capsys.readouterr().out
    assert shown.strip() == describe_weights()
    for name in LEARNED:
        assert f"  --weights {name}" in shown


def test_without_weights_nothing_is_said_of_them() -> None:
    found = score({"a": "x"}, {"a": "x"}, metrics=["bleu"])
    assert not found.unavailable
    assert not any("chexbert" in note for note in found.notes)
