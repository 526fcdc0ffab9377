"""Reports as they are written: only tokens that nothing can change any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from radwright.decoding.config import DecodingConfig
from radwright.decoding.generate import Hypothesis, Progress, Rules, advance, begin
from radwright.types import Batch, Decodable


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """Tokens of one study's report that have just become certain.

    Attributes:
        token_ids: the next tokens of the report; empty only in the study's last event.
        hypothesis: the whole report, in the study's last event only.
        row: the study's place in the batch.
    """

    token_ids: list[int]
    hypothesis: Hypothesis | None = None
    row: int = 0


def stream(
    model: Decodable,
    batch: Batch,
    config: DecodingConfig,
    *,
    bos_id: int,
    eos_id: int,
    suppressed_ids: Iterable[int] = (),
) -> Iterator[StreamEvent]:
    """Write the reports of a batch, handing out tokens as soon as they are certain.

    All ``token_ids`` of a study joined are always a beginning of its final report, and in the end all of it. Greedy
    decoding and sampling give one token per step; beam search gives what all reports that can still win have in common.
    A study's last event holds the hypothesis, equal to ``generate``'s; it comes as soon as that study is through.

    Args:
        model, batch, config, bos_id, eos_id, suppressed_ids: as in ``generate``.

    Raises:
        ConfigError: an id lies outside the vocabulary.
        StudyError: see ``generate``.
    """
    rules = Rules.build(config, bos_id=bos_id, eos_id=eos_id, suppressed_ids=suppressed_ids)
    if len(batch) == 0:
        return
    progress = begin(model, batch, rules)
    num_sent = [0] * len(batch)
    while progress.rows:
        written = progress.rows
        progress = advance(model, progress, rules)
        for row in written:
            if row in progress.drafts:
                hypothesis = progress.drafts[row]
                yield StreamEvent(hypothesis.token_ids[num_sent[row] :], hypothesis, row)
        for place, row in enumerate(progress.rows):
            certain = certain_tokens(progress, rules, place)
            if len(certain) > num_sent[row]:
                yield StreamEvent(certain[num_sent[row] :], None, row)
                num_sent[row] = len(certain)


def certain_tokens(progress: Progress, rules: Rules, place: int = 0) -> list[int]:
    """The beginning that all reports of one open study share which can still win.

    The winner is the best complete report so far or grows out of a live beam whose bound is above that report's rank
    (at an equal rank the earlier report wins). Both kinds only get fewer or longer, so what they share only grows.

    Args:
        progress: C open studies.
        rules: of the run.
        place: of the study among the C.
    """
    best_rank = float(progress.best.ranks_CN[place, 0])
    bounds = rules.ranking.bound(progress.sums_CW, progress.num_tokens, rules.longest)[place].tolist()
    beams = progress.tokens_CWT[place, :, : progress.num_tokens].tolist()
    rivals = [beam for beam, bound in zip(beams, bounds, strict=True) if bound > best_rank]
    if best_rank > float("-inf"):
        num_kept = int(progress.best.lengths_CN[place, 0]) - int(progress.best.ended_CN[place, 0])
        rivals.append(progress.best.tokens_CNT[place, 0, :num_kept].tolist())
    return common_prefix(rivals)


def common_prefix(lists: list[list[int]]) -> list[int]:
    """The longest beginning that all lists share (at least one list)."""
    first, last = min(lists), max(lists)  # these two differ wherever any two do first
    length = next(
        (at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
    )
    return first[:length]
