"""Items that become nests together: a convolution and the maximum over its results."""

from collections.abc import Sequence

from systolith.hw.config import Config
from systolith.sw.train.graph import Conv, MaxPool, Network
from systolith.sw.train.steps import Forward, Item

__all__ = ["fused_steps"]


def fused_steps(items: Sequence[Item], network: Network,
                config: Config) -> list[tuple[Item, ...]]:
    """Return items one by one, a convolution with the maximum that is its only reader.

    The maximum's windows must cover every result once: then its range is that of all results.
    """
    steps: list[tuple[Item, ...]] = []
    for item in items:
        before = steps[-1][-1] if steps else None
        if before is not None and _fuse(before, item, network, config):
            steps[-1] = (before, item)
        else:
            steps.append((item,))
    return steps


def _fuse(before: Item, item: Item, network: Network, config: Config) -> bool:
    if not (isinstance(before, Forward) and isinstance(item, Forward)):
        return False
    conv, pool = before.node, item.node
    if not (isinstance(conv, Conv) and isinstance(pool, MaxPool) and pool.x == conv.output):
        return False
    (height, width, _), (kh, kw) = network.shapes[conv.output], pool.kernel
    return (pool.stride == pool.kernel and not any(pool.pads) and not pool.rectify
            and height % kh == width % kw == 0 and kh * width <= config.accumulator_depth
            and network.consumers(conv.output) == [pool] and network.output != conv.output)
