"""Reading a map before all of its channels are there: which parts of a plan need which of them.

Results leave the array group by group, and the last group of a step is in memory only long after
its vectors have been read. The next step need not wait for it where it meets channels in order:

- with a group of its own for every few channels (depthwise, copies), the last group waits alone;
- with a reduction over the channels of one pixel (pointwise), the last pass of the first group.
"""

from dataclasses import dataclass

from systolith.hw.config import Config
from systolith.sw.lowering.plan import Plan

__all__ = ["Piece", "early_channels", "pieces"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some of a tile's vectors: a range of groups, and of passes in each of them."""

    groups: tuple[int, int]
    passes: tuple[int, int]
    #: Input channels from 0 on that must be there; None: all.
    channels: int | None = None
    #: The accumulators are left to the next piece, or taken over from the one before.
    hold: bool = False
    keep: bool = False


def early_channels(plan: Plan, config: Config) -> int | None:
    """Return how many channels suffice for the first piece, or None if a plan needs all at once.

    Without descriptors ahead of time the second piece could not be given before the first is done,
    and that would wait for a POST nest that comes after both.
    """
    if not config.prefetch_descriptors or plan.blocks or plan.base:
        return None
    if plan.group_stride:
        return (plan.groups - 1) * plan.group_stride or None
    if (plan.y.span, plan.x.span) == (1, 1):
        return (plan.passes - 1) * config.rows or None
    return None


def pieces(plan: Plan, config: Config, whole: bool) -> list[Piece]:
    """Cut a plan, unless it is to stay ``whole``, into pieces in the order of its vectors."""
    everything = Piece((0, plan.groups), (0, plan.passes))
    early = early_channels(plan, config)
    if whole or early is None:
        return [everything]
    if plan.group_stride:
        cut = plan.groups - 1
        return [Piece((0, cut), (0, plan.passes), early), Piece((cut, plan.groups), (0, plan.passes))]
    cut = plan.passes - 1
    first = [Piece((0, 1), (0, cut), early, hold=True), Piece((0, 1), (cut, plan.passes), keep=True)]
    return first + ([Piece((1, plan.groups), (0, plan.passes))] if plan.groups > 1 else [])
