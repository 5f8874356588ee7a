"""How steps overlap: a map is read before all of its channels are there, halos come between groups.

Results leave the array group by group, and the last group of a step is in memory only long after
its vectors have been read. The next step need not wait for it where it meets channels in order:

- with a group of its own for every few channels (depthwise, copies), the last group waits alone;
- with a reduction over the channels of one pixel (pointwise), the last pass of the first group.
"""

from dataclasses import dataclass
from itertools import pairwise

from systolith.hw.config import Config
from systolith.hw.latency import RESIDUAL_CYCLES
from systolith.sw.lowering.plan import Plan

__all__ = ["Piece", "drain_parts", "early_channels", "pieces", "post_slack"]

#: Cycles POST spends on a group beside its results, roughly: parameters, and the pipeline's ends.
_GROUP_CYCLES = 25


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
    #: Which of the plan's reductions.
    reduction: int = 0


def early_channels(plan: Plan, config: Config) -> int | None:
    """Return how many input channels suffice for all but the last piece of a plan.

    None: it needs all at once. Without descriptors ahead of time the second piece could not be
    given before the first is done, and that would wait for a POST nest that comes after both.
    """
    if not config.prefetch_descriptors or plan.blocks or plan.base or plan.period > 1:
        return None
    if plan.group_stride:
        return (plan.groups - 1) * plan.group_stride or None
    if (plan.y.span, plan.x.span) == (1, 1):
        return (plan.passes - 1) * config.rows or None
    return None


def pieces(plan: Plan, early: int | None) -> list[Piece]:
    """Cut a plan into pieces in the order of its vectors: those of the first ``early`` channels.

    ``early`` is the plan's own number (:func:`early_channels`), or None to leave it whole.
    """
    groups, passes = (0, plan.groups), (0, plan.passes)
    if plan.period > 1:
        return _phases(plan)
    if early is None:
        return [Piece(groups, passes)]
    if plan.group_stride:
        cut = plan.groups - 1
        return [Piece((0, cut), passes, early), Piece((cut, plan.groups), passes)]
    cut = plan.passes - 1
    first = [Piece((0, 1), (0, cut), early, hold=True),
             Piece((0, 1), (cut, plan.passes), keep=True)]
    return first + ([Piece((1, plan.groups), passes)] if plan.groups > 1 else [])


def _phases(plan: Plan) -> list[Piece]:
    """Return a piece for each reduction that has rows, group by group.

    Each replaces what was in the accumulators of its own rows; the last one closes the group.
    """
    used = [(i, passes) for i, passes in enumerate(plan.passes_of) if plan.rows_of(i)[1]]
    return [Piece((group, group + 1), passes, hold=i != used[-1][0], reduction=i)
            for group in range(plan.groups) for i, passes in used]


def drain_parts(plan: Plan, fills: int, early: int | None,
                config: Config) -> list[tuple[int, int]]:
    """Cut the groups of a tile into the ranges that POST drains with a nest each.

    The first groups stand alone, for one of the ``fills`` of the halo after each of them: between
    two groups POST often waits, and seldom for so long as all fills take. The last range begins
    after the groups that make the ``early`` channels of the output.
    """
    cuts = {0, plan.groups}
    if plan.groups >= fills + 2:
        cuts |= set(range(1, fills + 1))
    if early is not None:
        cuts.add(min(-(-early // config.columns), plan.groups))
    return list(pairwise(sorted(cuts)))


def post_slack(plans: list[Plan], residual: bool, config: Config) -> int:
    """Return about how many cycles POST waits for the array during a step; less than 0: never."""
    slack = 0
    for plan in plans:
        sums = plan.y.count * plan.x.count
        vectors = plan.vectors
        if plan.window:
            rows, columns = plan.window
            vectors = plan.passes * ((plan.y.count - 1) * plan.y.stride + rows) * (
                (plan.x.count - 1) * plan.x.stride + columns)
        drain = sums * config.post_steps * (RESIDUAL_CYCLES if residual else 1)
        tiles = -(-sums // config.accumulator_depth)
        slack += plan.groups * (vectors - drain - tiles * _GROUP_CYCLES)
    return slack
