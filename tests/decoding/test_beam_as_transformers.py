"""Greedy and beam search on language models, token for token as transformers' own ``generate`` writes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from radwright.decoding.config import Beam, DecodingConfig, Greedy, Strategy
from radwright.decoding.generate import Hypothesis, generate
from radwright.nn.language import Language, LanguageConfig, LanguageState
from radwright.types import Batch
from tiny_language import QWEN2_ROWS, VOCABULARY, WRITERS, WordTokenizer

LENGTHS = (5, 1, 7, 3, 4, 9, 2, 6, 8, 5, 3, 7)
MAX_TOKENS = 10
ROWS = {"llama": len(VOCABULARY), "qwen2": QWEN2_ROWS, "gpt2": len(VOCABULARY)}


class Writer:
    """A language model that writes behind the same random prefixes whatever the batch holds; ``Decodable``."""

    def __init__(self, language: Language) -> None:
        self.language = language
        draw = torch.Generator().manual_seed(11)
        longest = max(LENGTHS)
        self.prefix = torch.randn(len(LENGTHS), longest, language.dim, generator=draw, dtype=torch.float64)
        self.keep = torch.arange(longest) >= longest - torch.tensor(LENGTHS)[:, None]

    def start(self, batch: Batch) -> LanguageState:
        return self.language.start(self.prefix, self.keep)

    def step(self, state: LanguageState, token_ids_BW: Tensor) -> tuple[Tensor, LanguageState]:
        logits, state = self.language.step(state, token_ids_BW)
        return logits.log_softmax(-1), state

    def reorder(self, state: LanguageState, studies_C: Tensor | None, parents_CW: Tensor) -> LanguageState:
        return self.language.reorder(state, studies_C, parents_CW)


@pytest.fixture(scope="module")
def writers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Writer]:
    made = {}
    for kind, write in WRITERS.items():
        config = LanguageConfig(directory=write(tmp_path_factory.mktemp(kind)), tuning="frozen")
        made[kind] = Writer(Language(config, WordTokenizer(ROWS[kind])).eval().double())
    return made


def reports(writer: Writer, strategy: Strategy, eos_id: int) -> list[Hypothesis]:
    names = tuple(f"study {place}" for place in range(len(LENGTHS)))
    views = torch.ones(len(names), 1, dtype=torch.bool)
    batch = Batch(names, torch.zeros(len(names), 1, 1, 2, 2), views, views.long())
    config = DecodingConfig(strategy=strategy, max_tokens=MAX_TOKENS)
    return generate(writer, batch, config, bos_id=1, eos_id=eos_id)


def ours(writer: Writer, strategy: Strategy, eos_id: int) -> list[tuple[list[int], bool]]:
    return [(draft.token_ids, draft.finished) for draft in reports(writer, strategy, eos_id)]


def theirs(writer: Writer, eos_id: int, **options: Any) -> list[tuple[list[int], bool]]:
    written = writer.language.network.generate(  # type: ignore[operator]
        inputs_embeds=writer.prefix,
        attention_mask=writer.keep.long(),
        do_sample=False,
        max_new_tokens=MAX_TOKENS,
        eos_token_id=eos_id,
        pad_token_id=eos_id,
        **options,
    ).tolist()
    return [(ids[: ids.index(eos_id)], True) if eos_id in ids else (ids, False) for ids in written]


CASES = [("llama", 2), ("llama", 12), ("llama", 14), ("qwen2", 7), ("qwen2", 11), ("gpt2", 2), ("gpt2", 6)]
"""Networks, and the token that ends their reports: chosen so that some end early and some at the limit."""


@pytest.mark.parametrize(("kind", "eos_id"), CASES)
def test_greedy(kind: str, eos_id: int, writers: dict[str, Writer]) -> None:
    expected = theirs(writers[kind], eos_id)
    assert ours(writers[kind], Greedy(), eos_id) == expected
    assert {finished for _, finished in expected} == {True, False}


@pytest.mark.parametrize(("kind", "eos_id"), CASES)
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_beam(kind: str, eos_id: int, penalty: float, writers: dict[str, Writer]) -> None:
    expected = theirs(writers[kind], eos_id, num_beams=3, early_stopping="never", length_penalty=penalty)
    assert {finished for _, finished in expected} == {True, False}
    assert expected != theirs(writers[kind], eos_id), "the beam should matter"
    for early_stop in (True, False):
        beam = Beam(num_beams=3, keep_live=True, length_penalty=penalty, early_stop=early_stop)
        assert ours(writers[kind], beam, eos_id) == expected


def test_without_keep_live_the_search_is_another(writers: dict[str, Writer]) -> None:
    expected = [
        theirs(writers[kind], eos_id, num_beams=3, early_stopping="never", length_penalty=1.0) for kind, eos_id in CASES
    ]
    assert [ours(writers[kind], Beam(length_penalty=1.0), eos_id) for kind, eos_id in CASES] != expected


def test_length_of_the_penalty_counts_the_end(writers: dict[str, Writer]) -> None:
    """Ranks are transformers' scores, of reports that end and of those at the limit."""
    kind, eos_id = CASES[0]
    writer = writers[kind]
    written = writer.language.network.generate(  # type: ignore[operator]
        inputs_embeds=writer.prefix,
        attention_mask=writer.keep.long(),
        do_sample=False,
        max_new_tokens=MAX_TOKENS,
        eos_token_id=eos_id,
        pad_token_id=eos_id,
        num_beams=3,
        num_return_sequences=3,
        early_stopping="never",
        length_penalty=1.0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    drafts = reports(writer, Beam(num_beams=3, num_reports=3, keep_live=True, length_penalty=1.0), eos_id)
    ranks = [report.rank for draft in drafts for report in (draft, *draft.alternatives)]
    assert ranks == pytest.approx(written.sequences_scores.tolist(), abs=1e-5)
