"""A report as it is written: only tokens that nothing can change any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from radwright.decoding.config import DecodingConfig
from radwright.decoding.generate import Hypothesis, Progress, Rules, advance, begin
from radwright.errors import ConfigError
from radwright.types import Batch, Decodable


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """Tokens that have just become certain.

    Attributes:
        token_ids: the next tokens of the report; empty only in the last event.
        hypothesis: the whole report, in the last event only.
    """

    token_ids: list[int]
    hypothesis: Hypothesis | None = None


def stream(
    model: Decodable,
    batch: Batch,
    config: DecodingConfig,
    *,
    bos_id: int,
    eos_id: int,
    suppressed_ids: Iterable[int] = (),
) -> Iterator[StreamEvent]:
    """Write the report of one study, handing out tokens as soon as they are certain.

    All ``token_ids`` joined are always a beginning of the final report, and in the end all of it. Greedy decoding and
    sampling give one token per step; beam search gives what all reports that can still win have in common. The last
    event holds the hypothesis, equal to ``generate``'s.

    Args:
        model, config, bos_id, eos_id, suppressed_ids: as in ``generate``.
        batch: one study.

    Raises:
        ConfigError: the batch does not hold exactly one study; an id lies outside the vocabulary.
        StudyError: see ``generate``.
    """
    if len(batch) != 1:
        raise ConfigError(f"streaming takes one study at a time, got {len(batch)}: call it once per study")
    rules = Rules.build(config, bos_id=bos_id, eos_id=eos_id, suppressed_ids=suppressed_ids)
    return _stream(model, batch, rules)


def _stream(model: Decodable, batch: Batch, rules: Rules) -> Iterator[StreamEvent]:
    progress = begin(model, batch, rules)
    num_sent = 0
    while True:
        progress = advance(model, progress, rules)
        if not progress.rows:
            break
        certain = certain_tokens(progress, rules)
        if len(certain) > num_sent:
            yield StreamEvent(certain[num_sent:])
            num_sent = len(certain)
    hypothesis = progress.drafts[0]
    yield StreamEvent(hypothesis.token_ids[num_sent:], hypothesis)


def certain_tokens(progress: Progress, rules: Rules) -> list[int]:
    """The beginning that all reports share which can still win; ``progress`` holds one study.

    The winner is the best complete report so far or grows out of a live beam whose bound is above that report's rank
    (at an equal rank the earlier report wins). Both kinds only get fewer or longer, so what they share only grows.
    """
    best_rank = float(progress.best.ranks_CN[0, 0])
    bounds = rules.ranking.bound(progress.sums_CW, progress.num_tokens, rules.longest)[0].tolist()
    beams = progress.tokens_CWT[0, :, : progress.num_tokens].tolist()
    rivals = [beam for beam, bound in zip(beams, bounds, strict=True) if bound > best_rank]
    if best_rank > float("-inf"):
        num_kept = int(progress.best.lengths_CN[0, 0]) - int(progress.best.ended_CN[0, 0])
        rivals.append(progress.best.tokens_CNT[0, 0, :num_kept].tolist())
    return common_prefix(rivals)


def common_prefix(lists: list[list[int]]) -> list[int]:
    """The longest beginning that all lists share (at least one list)."""
    first, last = min(lists), max(lists)  # these two differ wherever any two do first
    length = next(
        (at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
    )
    return first[:length]
