"""The network's input with the rows under a kernel side by side: its kernel becomes one row.

Few input channels leave most of a vector empty, row after row of the kernel. Where all rows of a
kernel lie side by side, as channels, they fill whole vectors: 5 x 5 pixels of one channel are two
vectors instead of five. The host lays the input out like that when it writes it.
"""

from dataclasses import dataclass, replace

import numpy as np

from systolith.hw.config import Config
from systolith.sw.train.gradients import Plan
from systolith.sw.train.graph import Conv
from systolith.sw.train.steps import gradient_of

__all__ = ["Stacking", "stack"]


@dataclass(frozen=True, slots=True)
class Stacking:
    """A plan as the device runs it, and how arrays of the network become the device's.

    Attributes
    ----------
    plan : Plan
        The device's.
    node : Conv or None
        The convolution whose input is stacked, as the network has it.
    """

    plan: Plan
    node: Conv | None = None

    def input(self, x: np.ndarray) -> np.ndarray:
        """Return the input as the device has it, [n, h, w, c]."""
        if self.node is None:
            return x
        (kh, _), (sy, _), (top, _, bottom, _) = self.node.kernel, self.node.stride, self.node.pads
        height, width, channels = self.plan.network.shapes[self.plan.network.input]
        padded = np.pad(x, ((0, 0), (top, bottom), (0, 0), (0, 0)))
        rows = [padded[:, k:k + (height - 1) * sy + 1:sy] for k in range(kh)]
        return np.stack(rows, axis=3).reshape(len(x), height, width, channels)

    def _is_stacked(self, name: str) -> bool:
        weights = None if self.node is None else self.node.weights
        return weights is not None and name in (weights, gradient_of(weights))

    def stacked(self, name: str, array: np.ndarray) -> np.ndarray:
        """Return a parameter or gradient as the device has it."""
        if not self._is_stacked(name):
            return array
        outputs, _, width, _ = array.shape
        return array.swapaxes(1, 2).reshape(outputs, 1, width, -1)

    def unstacked(self, name: str, array: np.ndarray) -> np.ndarray:
        """Return a parameter or gradient of the device as the network has it."""
        if not self._is_stacked(name):
            return array
        outputs, _, width, _ = array.shape
        return array.reshape(outputs, width, self.node.kernel[0], -1).swapaxes(1, 2)


def stack(plan: Plan, config: Config) -> Stacking:
    """Return the plan with its input stacked, if the first convolution has fewer vectors then."""
    network = plan.network
    readers = network.consumers(network.input)
    node = readers[0] if len(readers) == 1 else None
    if not isinstance(node, Conv):
        return Stacking(plan)
    (height, width, channels), (kh, kw) = network.shapes[network.input], node.kernel
    if -(-kh * kw * channels // config.rows) >= kh * -(-kw * channels // config.rows):
        return Stacking(plan)
    if node.kernel == (height, width) and not any(node.pads):
        return Stacking(plan)                    # dense: all of it is side by side
    (_, left, _, right), (_, sx) = node.pads, node.stride
    other = replace(node, kernel=(1, kw), stride=(1, sx), pads=(0, left, 0, right))

    def changed(item):
        return replace(item, node=other) if item.node is node else item

    result = Stacking(plan, node)
    parameters = {name: result.stacked(name, values)
                  for name, values in network.parameters.items()}
    shapes = network.shapes | {
        network.input: (network.shapes[node.output][0], width, kh * channels)}
    nodes = [other if each is node else each for each in network.nodes]
    return replace(result, plan=replace(
        plan, network=replace(network, nodes=nodes, shapes=shapes, parameters=parameters),
        forward=tuple(map(changed, plan.forward)), backward=tuple(map(changed, plan.backward))))
