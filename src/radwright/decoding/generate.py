"""The one decoding loop: a value goes in, the next value comes out, until every study has its report.

The encoded study and the cache live in the model's own state (``radwright.types.Decodable``). A study whose answer is
certain leaves the batch, so a step costs only what is still open. On a CPU the loop looks for that at every token; a
GPU, which would have to be waited for, writes a block of tokens between two looks. The reports are the same.

Shape legend: B studies of the batch, C studies still decoded, W beams now, X beams chosen, U vocabulary size, T most
tokens of a report, N length of the n-best list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from radwright.decoding.choosers import CHOOSERS, Choice, Chooser
from radwright.decoding.config import DecodingConfig
from radwright.decoding.constraints import Constraints
from radwright.decoding.ranking import NBest, Ranking
from radwright.errors import ConfigError, StudyError
from radwright.types import Batch, Decodable

# A log-probability this far above 0 is no rounding: the early stop would not be exact.
_TOLERANCE = 1e-3

BLOCK = 10
"""Tokens that a GPU writes between two looks at what is finished."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One generated report.

    Attributes:
        token_ids: without BOS and EOS.
        score: summed log-probability (natural log) of its tokens, EOS included.
        finished: whether it ended by EOS rather than at ``max_tokens``.
        rank: what reports are ordered by: the score, divided by length**alpha where a length penalty is set.
        alternatives: the rest of the n-best list, best first; shorter than asked for when the search space is.
    """

    token_ids: list[int]
    score: float
    finished: bool
    rank: float
    alternatives: tuple[Hypothesis, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything that stays the same during one run."""

    config: DecodingConfig
    chooser: Chooser
    constraints: Constraints
    bos_id: int
    eos_id: int
    longest: int

    @classmethod
    def build(cls, config: DecodingConfig, *, bos_id: int, eos_id: int, suppressed_ids: Iterable[int]) -> Rules:
        """Join the config with the tokenizer's ids."""
        constraints = Constraints.build(config, eos_id=eos_id, suppressed_ids=suppressed_ids)
        chooser = CHOOSERS[type(config.strategy)](config.strategy)
        return cls(config, chooser, constraints, bos_id, eos_id, config.max_tokens)

    @property
    def ranking(self) -> Ranking:
        """How complete reports are ranked."""
        return self.chooser.ranking


@dataclass(frozen=True, slots=True)
class Progress:
    """Decoding after ``num_tokens`` steps.

    Attributes:
        state: the model's, for C studies and W beams.
        study_ids: of the C studies still decoded.
        rows: their rows in the batch.
        num_tokens: tokens per live beam, BOS not counted.
        last_CW: the token each beam feeds next.
        tokens_CWT: all tokens so far; the first ``num_tokens`` columns count.
        sums_CW: summed log-probabilities, minus infinity where there is no live beam.
        best: the best complete reports of each of the C studies.
        settled_at_C: int64, 0 while a study is open; t once its answer was certain with token t, -t once the model's
            output for token t was none that can be used.
        drafts: row of the batch -> its report, for studies that left.
        beginnings: per row of the batch the tokens that its report must begin with; empty where nothing is given.
    """

    state: Any
    study_ids: tuple[str, ...]
    rows: tuple[int, ...]
    num_tokens: int
    last_CW: Tensor
    tokens_CWT: Tensor
    sums_CW: Tensor
    best: NBest
    settled_at_C: Tensor
    drafts: Mapping[int, Hypothesis] = field(default_factory=dict)
    beginnings: tuple[tuple[int, ...], ...] = ()


Writer = Callable[[Decodable, Progress, Rules], Progress]
"""Goes on from a beginning until no study is open: ``write_on``, or ``radwright.decoding.graphs.Recorder``."""


def generate(
    model: Decodable,
    batch: Batch,
    config: DecodingConfig,
    *,
    bos_id: int,
    eos_id: int,
    suppressed_ids: Iterable[int] = (),
    beginnings: Sequence[Sequence[int]] | None = None,
    writer: Writer | None = None,
) -> list[Hypothesis]:
    """Write a report for every study of a batch; the same as for each study alone.

    Args:
        model: start / step / reorder; put it into evaluation mode first.
        batch: B studies, on the model's device.
        config: strategy and limits.
        bos_id: the token that starts a report.
        eos_id: the token that ends it; may equal ``bos_id`` (released vocabularies).
        suppressed_ids: never generated (PAD, BOS, UNK); ``eos_id`` among them is let through.
        beginnings: per study the tokens that its report begins with, without BOS and EOS; they count in its score,
            as the model finds them, and in its length. No constraint applies to them.
        writer: what runs the steps; None: ``write_on``.

    Returns:
        B hypotheses in the batch's order.

    Raises:
        ConfigError: an id lies outside the model's vocabulary; beginnings that are not one per study, hold EOS or
            leave no room for a token.
        StudyError: the model's output for a study is NaN, above 0, or leaves no token to go on with.
    """
    rules = Rules.build(config, bos_id=bos_id, eos_id=eos_id, suppressed_ids=suppressed_ids)
    if len(batch) == 0:
        return []
    progress = begin(model, batch, rules)
    if beginnings is not None:
        progress = replace(progress, beginnings=_checked(beginnings, len(batch), rules))
    progress = (writer or write_on)(model, progress, rules)
    return [progress.drafts[row] for row in range(len(batch))]


@torch.no_grad()
def begin(model: Decodable, batch: Batch, rules: Rules) -> Progress:
    """Encode the studies; one beam each, fed with BOS."""
    num_studies, device = len(batch), batch.images_BV1SS.device
    last = torch.full((num_studies, 1), rules.bos_id, dtype=torch.int64, device=device)
    # float64, so that sums of equal reports do not depend on how they were grouped; Apple's GPUs only have float32.
    sums = torch.zeros((num_studies, 1), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    return Progress(
        state=model.start(batch),
        study_ids=tuple(batch.study_ids),
        rows=tuple(range(num_studies)),
        num_tokens=0,
        last_CW=last,
        tokens_CWT=last.new_zeros((num_studies, 1, rules.longest)),
        sums_CW=sums,
        best=NBest.empty(num_studies, rules.ranking.num_reports, sums, last, rules.longest),
        settled_at_C=last.new_zeros(num_studies),
    )


def write_on(model: Decodable, progress: Progress, rules: Rules) -> Progress:
    """The ``Writer`` of any model: token by token on a CPU, block by block elsewhere."""
    by_token = progress.sums_CW.device.type == "cpu"
    while progress.rows:
        progress = advance(model, progress, rules) if by_token else advance_block(model, progress, rules)
    return progress


@torch.no_grad()
def advance(model: Decodable, progress: Progress, rules: Rules) -> Progress:
    """One token more for every open study; ``progress`` must not be used again.

    Raises:
        ConfigError, StudyError: see ``generate``.
    """
    width, draws_TCX = progress.sums_CW.shape[1], draw_block(progress, rules, 1)
    progress, parents_CX = _write(model, progress, rules, None if draws_TCX is None else draws_TCX[0])
    in_place = torch.arange(parents_CX.shape[1], device=parents_CX.device)
    same_C = (parents_CX == in_place).all(1)
    # The one place where a step waits for the device.
    settled, same = torch.stack([progress.settled_at_C, same_C.long()]).tolist()
    unmoved = all(same) and parents_CX.shape[1] == width
    return release(model, progress, settled, None if unmoved else parents_CX)


@torch.no_grad()
def advance_block(model: Decodable, progress: Progress, rules: Rules, num_tokens: int = BLOCK) -> Progress:
    """As ``advance``, ``num_tokens`` tokens further (or to the longest report), with one wait for the device."""
    num_tokens = min(num_tokens, rules.longest - progress.num_tokens)
    progress = write_block(model, progress, rules, num_tokens, draw_block(progress, rules, num_tokens))
    return release(model, progress, progress.settled_at_C.tolist())


def draw_block(progress: Progress, rules: Rules, num_tokens: int) -> Tensor | None:
    """The random numbers of the next ``num_tokens`` tokens (.., C, X) on the device; None where none are drawn."""
    steps = range(progress.num_tokens, progress.num_tokens + num_tokens)
    draws = [rules.chooser.draws(progress.study_ids, step) for step in steps]
    if draws[0] is None:
        return None
    return torch.tensor(draws, dtype=progress.sums_CW.dtype, device=progress.sums_CW.device)


@torch.no_grad()
def write_block(
    model: Decodable, progress: Progress, rules: Rules, num_tokens: int, draws_TCX: Tensor | None
) -> Progress:
    """``num_tokens`` tokens more for every study; no study leaves and nothing is read back.

    What a settled study goes on to write cannot change its n-best list, nor what is known of how it settled.
    """
    for step in range(num_tokens):
        progress, parents_CX = _write(model, progress, rules, None if draws_TCX is None else draws_TCX[step])
        progress = replace(progress, state=model.reorder(progress.state, None, parents_CX))
    return progress


def _write(model: Decodable, progress: Progress, rules: Rules, draws_CX: Tensor | None) -> tuple[Progress, Tensor]:
    """One token more; nothing is read back. The state's beams are still to be put where the second value wants them."""
    log_probs_CWU, state = model.step(progress.state, progress.last_CW)
    if progress.num_tokens == 0:
        given = (id_ for beginning in progress.beginnings for id_ in beginning)
        rules.constraints.check_vocabulary(log_probs_CWU.shape[-1], given)
    scores = rules.constraints.apply(log_probs_CWU, progress.tokens_CWT[..., : progress.num_tokens])
    if any(len(beginning) > progress.num_tokens for beginning in progress.beginnings):
        scores = _as_given(progress, scores, log_probs_CWU)
    choice = rules.chooser(scores, progress.sums_CW, draws_CX)

    before_CX = progress.sums_CW.gather(1, choice.parents_CX)
    exists_CX = ~torch.isneginf(choice.sums_CX)  # True for NaN
    broken_C = (exists_CX & ~(choice.sums_CX <= before_CX + _TOLERANCE)).any(1)
    num_tokens = progress.num_tokens + 1
    tokens_CXT = progress.tokens_CWT.gather(1, choice.parents_CX[..., None].expand(-1, -1, rules.longest))
    tokens_CXT[..., num_tokens - 1] = choice.tokens_CX
    sums_CX = torch.minimum(choice.sums_CX, before_CX)  # the sum never grows, not even by rounding

    ended_CX = exists_CX & (choice.tokens_CX == rules.eos_id)
    complete_CX = exists_CX if num_tokens == rules.longest else ended_CX
    counted_CX = complete_CX
    if choice.num_places is not None:
        counted_CX = complete_CX & (torch.arange(complete_CX.shape[1], device=sums_CX.device) < choice.num_places)
    best = progress.best.add(_complete(rules.ranking, sums_CX, counted_CX, ended_CX, tokens_CXT, num_tokens))
    live_CX = sums_CX.masked_fill(complete_CX, -torch.inf)
    if choice.num_places is not None:
        choice, live_CX, tokens_CXT = _narrow(choice, live_CX, tokens_CXT)
    certain_C = is_certain(rules.ranking, live_CX, best, num_tokens, rules.longest)

    now_C = torch.where(broken_C, -num_tokens, certain_C * num_tokens)
    grown = replace(
        progress,
        state=state,
        num_tokens=num_tokens,
        last_CW=choice.tokens_CX,
        tokens_CWT=tokens_CXT,
        sums_CW=live_CX,
        best=best,
        settled_at_C=torch.where(progress.settled_at_C == 0, now_C, progress.settled_at_C),
    )
    return grown, choice.parents_CX


def _checked(beginnings: Sequence[Sequence[int]], num_studies: int, rules: Rules) -> tuple[tuple[int, ...], ...]:
    """The beginnings as they are kept."""
    if len(beginnings) != num_studies:
        raise ConfigError(f"beginnings: {len(beginnings)} for {num_studies} studies; give one each, empty for none")
    for beginning in beginnings:
        if rules.eos_id in beginning:
            raise ConfigError(f"beginnings: {list(beginning)} holds the end of a report ({rules.eos_id})")
        if len(beginning) >= rules.longest:
            raise ConfigError(
                f"beginnings: {len(beginning)} tokens leave no room for one more (max_tokens {rules.longest})"
            )
    return tuple(tuple(beginning) for beginning in beginnings)


def _as_given(progress: Progress, scores_CWU: Tensor, log_probs_CWU: Tensor) -> Tensor:
    """Scores in which the next token of a study's beginning is the only one left."""
    scores_CWU = scores_CWU.clone()
    for place, row in enumerate(progress.rows):
        if progress.num_tokens < len(progress.beginnings[row]):
            token = progress.beginnings[row][progress.num_tokens]
            scores_CWU[place] = -torch.inf
            scores_CWU[place, :, token] = log_probs_CWU[place, :, token].to(scores_CWU.dtype)
    return scores_CWU


def is_certain(ranking: Ranking, live_CW: Tensor, best: NBest, num_tokens: int, longest: int) -> Tensor:
    """(C,) bool: nothing a live beam can still become changes the n-best list, or no beam is live."""
    if not ranking.early_stop:
        return torch.isneginf(live_CW).all(1)
    # Equal is enough: among equals the report that was complete earlier is ranked first.
    return best.ranks_CN[:, -1] >= ranking.bound(live_CW, num_tokens, longest).amax(1)


def _narrow(choice: Choice, live_CX: Tensor, tokens_CXT: Tensor) -> tuple[Choice, Tensor, Tensor]:
    """The first ``num_places`` beams that are live, in their order, with their sums and tokens."""
    # 0 before 1, and a stable sort leaves each kind in its order.
    order = torch.sort(torch.isneginf(live_CX).to(torch.uint8), dim=1, stable=True).indices[:, : choice.num_places]
    kept = Choice(
        choice.parents_CX.gather(1, order), choice.tokens_CX.gather(1, order), choice.sums_CX.gather(1, order)
    )
    return kept, live_CX.gather(1, order), tokens_CXT.gather(1, order[..., None].expand(-1, -1, tokens_CXT.shape[2]))


def _complete(
    ranking: Ranking, sums_CX: Tensor, complete_CX: Tensor, ended_CX: Tensor, tokens_CXT: Tensor, num_tokens: int
) -> NBest:
    """The beams that are complete after this step, as candidates for the n-best list."""
    sums = sums_CX.masked_fill(~complete_CX, -torch.inf)
    lengths = torch.full_like(sums, num_tokens, dtype=torch.int64)
    return NBest(ranking.score(sums, num_tokens), sums, lengths, ended_CX, tokens_CXT)


def release(
    model: Decodable, progress: Progress, settled_at: Sequence[int], parents_CX: Tensor | None = None
) -> Progress:
    """Hand over the studies whose answer is certain, and put the others' beams where they belong.

    Args:
        model: the state's.
        progress: after some tokens.
        settled_at: its ``settled_at_C``, read.
        parents_CX: where in the state each beam's parent is; None: each beam is in its place.

    Raises:
        StudyError: see ``generate``.
    """
    if broken := [-at for at in settled_at if at < 0]:
        first = min(broken)
        raise StudyError(_explain(progress.study_ids[settled_at.index(-first)], first))
    leaving = [place for place, at in enumerate(settled_at) if at]
    staying = [place for place, at in enumerate(settled_at) if not at]
    if leaving:
        progress = replace(progress, drafts={**progress.drafts, **_drafts(progress, leaving, settled_at)})
    if not staying:
        return replace(progress, state=None, rows=(), study_ids=())
    if not leaving:
        if parents_CX is None:
            return progress
        return replace(progress, state=model.reorder(progress.state, None, parents_CX))
    device, width = progress.sums_CW.device, progress.sums_CW.shape[1]
    studies = torch.tensor(staying, device=device)
    in_place_CX = torch.arange(width, device=device).expand(len(staying), -1)
    return replace(
        progress,
        state=model.reorder(progress.state, studies, in_place_CX if parents_CX is None else parents_CX[studies]),
        study_ids=tuple(progress.study_ids[place] for place in staying),
        rows=tuple(progress.rows[place] for place in staying),
        last_CW=progress.last_CW[studies],
        tokens_CWT=progress.tokens_CWT[studies],
        sums_CW=progress.sums_CW[studies],
        best=progress.best.select(studies),
        settled_at_C=progress.settled_at_C[studies],
    )


def _drafts(progress: Progress, places: Sequence[int], settled_at: Sequence[int]) -> dict[int, Hypothesis]:
    """The reports of some studies, by their row in the batch."""
    drafts = {}
    rows = torch.tensor(places, device=progress.sums_CW.device)
    for place, draft in zip(places, _read(progress.best.select(rows)), strict=True):
        if draft is None:
            raise StudyError(
                f"study {progress.study_ids[place]!r}: every allowed token has probability zero at token "
                f"{settled_at[place]}: check suppressed ids, no_repeat_ngram and the model's output"
            )
        drafts[progress.rows[place]] = draft
    return drafts


def _read(best: NBest) -> list[Hypothesis | None]:
    """The n-best lists as plain values: the best with its alternatives, None for an empty list."""
    columns = (best.ranks_CN, best.sums_CN, best.lengths_CN, best.ended_CN, best.tokens_CNT)
    studies = zip(*(column.tolist() for column in columns), strict=True)
    drafts: list[Hypothesis | None] = []
    for ranks, sums, lengths, ended, tokens in studies:
        listed = [
            Hypothesis(tokens[n][: lengths[n] - ended[n]], sums[n], ended[n], ranks[n])
            for n in range(len(ranks))
            if ranks[n] > -torch.inf
        ]
        drafts.append(replace(listed[0], alternatives=tuple(listed[1:])) if listed else None)
    return drafts


def _explain(study_id: str, num_tokens: int) -> str:
    return (
        f"study {study_id!r}: the model's log-probabilities for token {num_tokens} are NaN or above 0; the weights or "
        "the images hold values that are not finite, half precision overflowed, or the model returns logits"
    )
