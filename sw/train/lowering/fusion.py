"""Items that become nests together, because the map between them is not kept.

A convolution and the maximum over its results; the gradient of a maximum and that of the weights
before it, some images after the other.
"""

from collections.abc import Sequence

from systolith.hw.config import Config
from systolith.sw.train.graph import Conv, MaxPool, Network
from systolith.sw.train.steps import ConvWeights, Forward, Item, MaxBackward

__all__ = ["chunk_of", "fused_steps"]

#: Most images of a chunk: its maximum has to end before products begin.
_MOST = 2


def fused_steps(items: Sequence[Item], network: Network,
                config: Config) -> list[tuple[Item, ...]]:
    """Return items one by one, but for pairs of them.

    A convolution with the maximum that is its only reader, whose windows must cover every result
    once: then its range is that of all results. The gradient of such a maximum's input with the
    gradient of weights that alone reads it.
    """
    steps: list[tuple[Item, ...]] = []
    for item in items:
        before = steps[-1][-1] if steps else None
        if before is not None and (_fuse(before, item, network, config)
                                   or chunk_of((before, item), items, network, config)):
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


def chunk_of(step: Sequence[Item], items: Sequence[Item], network: Network,
             config: Config) -> int:
    """Return the images of a chunk of a maximum's gradient with that of weights, or 0.

    Parameters
    ----------
    step : sequence of Item
        What may be such a pair.
    items : sequence of Item
        All that may read what is between them.
    network : Network
        Theirs.
    config : Config
        How many sums a store holds: the maximum of a chunk is one group.
    """
    if len(step) != 2:
        return 0
    pool, weights = step
    if not (isinstance(pool, MaxBackward) and isinstance(weights, ConvWeights)
            and weights.dy == pool.result and pool.mask is None):
        return 0
    if any(pool.result in (getattr(item, "dy", None), *getattr(item, "parts", ()))
           for item in items if item is not weights):
        return 0
    node, (height, width, _) = pool.node, network.shapes[pool.node.output]
    covers = tuple(n * k for n, k in zip((height, width), node.kernel, strict=True))
    if node.stride != node.kernel or any(node.pads) or network.shapes[node.x][:2] != covers:
        return 0
    return min(_MOST, config.accumulator_depth // (height * width))
