"""The chain rule: a network becomes the items of one training step.

Walks the operations backward. Every reader of a tensor contributes one gradient; what cannot be
reached from a trained parameter gets none.
"""

import math
from collections import Counter
from dataclasses import dataclass

from systolith.sw.errors import UnsupportedError
from systolith.sw.train.graph import Add, AveragePool, Conv, MaxPool, Network, Node, Rectify
from systolith.sw.train.steps import (
    AverageBackward,
    BiasGradient,
    ConvData,
    ConvWeights,
    CrossEntropy,
    Forward,
    GradientSum,
    Item,
    Loss,
    MaxBackward,
    SquaredError,
    gradient_of,
    record_of,
)

__all__ = ["LOSSES", "Plan", "plan_training"]

#: Losses by the name a user gives.
LOSSES: dict[str, type[Loss]] = {"cross-entropy": CrossEntropy, "mse": SquaredError}


@dataclass(frozen=True, slots=True)
class Plan:
    """A training step, in order."""

    network: Network
    forward: tuple[Forward, ...]
    loss: Loss
    backward: tuple[Item, ...]
    #: Names of the parameters that are trained.
    trained: tuple[str, ...]
    #: Tensors whose exponent is that of another one: results of maxima and ReLUs.
    aliases: dict[str, str]

    @property
    def items(self) -> tuple[Item, ...]:
        """Forward, loss and backward."""
        return (*self.forward, self.loss, *self.backward)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a sample: forward, gradients of maps and of weights."""
        network = self.network
        return sum(math.prod(network.shapes[item.node.output][:2])
                   * network.parameters[item.node.weights].size
                   for item in self.items
                   if isinstance(item, Forward | ConvData | ConvWeights)
                   and isinstance(item.node, Conv))


def plan_training(network: Network, loss: str = "cross-entropy",
                  frozen: frozenset[str] | set[str] = frozenset()) -> Plan:
    """Return the items of a training step.

    Parameters
    ----------
    network : Network
        Forward operations.
    loss : str
        One of :data:`LOSSES`.
    frozen : set of str
        Operations whose parameters stay as they are.

    Raises
    ------
    UnsupportedError
        If the gradient has to pass operations that have none; the message names all of them.
    ValueError
        If nothing is left to train, or an operation to freeze is not there.
    """
    unknown = sorted(frozen - {node.name for node in network.nodes})
    if unknown:
        raise ValueError(f"{network.name}: there is no operation {unknown[0]!r} to freeze: it has "
                         + ", ".join(node.name for node in network.nodes))
    return _ChainRule(network, frozen).plan(LOSSES[loss])


class _ChainRule:
    """One walk backward."""

    def __init__(self, network: Network, frozen: frozenset[str] | set[str]):
        self.network = network
        self.trained: list[str] = []
        #: Tensors that depend on a trained parameter.
        self.reached: set[str] = set()
        for node in network.nodes:
            if isinstance(node, Conv) and node.name not in frozen:
                self.trained += node.parameters
                self.reached.add(node.output)
            elif self.reached.intersection(node.inputs):
                self.reached.add(node.output)
        if network.output not in self.reached:
            raise ValueError(f"{network.name}: there is nothing to train: all operations with "
                             "parameters are frozen, or the output does not depend on them")
        #: Gradients each tensor gets, and those it has got so far, by their names.
        self.expected = Counter(name for node in network.nodes if node.output in self.reached
                                for name in node.inputs if name in self.reached)
        self.parts: dict[str, list[str]] = {name: [] for name in self.expected}
        self.items: list[Item] = []
        self.aliases: dict[str, str] = {}

    def plan(self, loss: type[Loss]) -> Plan:
        """Return the items of a training step."""
        network = self.network
        passed = [node for node in reversed(network.nodes) if node.output in self.reached]
        problems = [f"{node.name} ({type(node).__name__}) has no gradient: freeze it and all "
                    "before it, or replace it" for node in passed if type(node) not in _RULES]
        if problems:
            raise UnsupportedError(network.name, problems)
        for node in passed:
            dy = self._gradient(node.output)
            _RULES[type(node)](self, node, dy)
        records = {item.record for item in self.items if isinstance(item, MaxBackward)}
        forward = []
        for node in network.nodes:
            record = record_of(node) if isinstance(node, MaxPool) else None
            forward.append(Forward(node=node, result=node.output,
                                   record=record if record in records else None))
            if isinstance(node, MaxPool | Rectify):
                self.aliases[node.output] = node.x
        output = network.output
        return Plan(network, tuple(forward),
                    loss(node=None, result=gradient_of(output), mask=self.mask(output),
                         logits=output),
                    tuple(self.items), tuple(self.trained), self.aliases)

    def mask(self, tensor: str) -> str | None:
        """Return the tensor that decides where the gradient of ``tensor`` passes its ReLU.

        A rectified tensor that only a maximum reads leaves that to the maximum's result: where
        the winner is not positive nothing comes back. So it need not be kept.
        """
        if self._rectified(tensor) and not self._pooled(tensor):
            return tensor
        producer = self.network.producer(tensor)
        if isinstance(producer, MaxPool) and self._rectified(producer.x) and self._pooled(
                producer.x):
            return tensor
        return None

    def _rectified(self, tensor: str) -> bool:
        producer = self.network.producer(tensor)
        return producer is not None and (producer.rectify or isinstance(producer, Rectify))

    def _pooled(self, tensor: str) -> bool:
        readers = self.network.consumers(tensor)
        return len(readers) == 1 and isinstance(readers[0], MaxPool)

    def contribute(self, tensor: str, item: type[Item], **fields) -> None:
        """Let an item write (part of) a tensor's gradient, if it needs one."""
        if tensor not in self.reached:
            return
        whole = self.expected[tensor] == 1
        parts = self.parts[tensor]
        name = gradient_of(tensor) if whole else f"{gradient_of(tensor)}, part {len(parts) + 1}"
        self.items.append(item(result=name, mask=self.mask(tensor) if whole else None, **fields))
        parts.append(name)

    def pooled(self, gradient: str) -> str:
        """Return a smaller map with the sum of a gradient, if there is one, else the gradient.

        What a maximum's backward step writes are the elements of the gradient it reads, each once.
        """
        writer = next((item for item in self.items if item.result == gradient), None)
        return writer.dy if isinstance(writer, MaxBackward) and writer.mask is None else gradient

    def share(self, tensor: str, dy: str) -> None:
        """Let the gradient of a result be (part of) that of a tensor, as it is."""
        if tensor in self.reached:
            self.parts[tensor].append(dy)

    def _gradient(self, tensor: str) -> str:
        """Return the name of a tensor's gradient, all parts of which are there."""
        name = gradient_of(tensor)
        if tensor == self.network.output:
            return name
        parts = self.parts[tensor]
        if parts == [name]:
            return name
        mask = self.mask(tensor)
        if len(parts) == 1 and mask is None:
            return parts[0]
        producer, (total, *others) = self.network.producer(tensor), parts
        for number, part in enumerate(others[:-1], 1):     # two at a time, as POST adds them
            result = f"{name}, sum {number}"
            self.items.append(GradientSum(node=producer, result=result, parts=(total, part)))
            total = result
        self.items.append(GradientSum(node=producer, result=name, mask=mask,
                                      parts=(total, *others[-1:])))
        return name


def _conv(rule: _ChainRule, node: Conv, dy: str) -> None:
    if node.weights in rule.trained:
        rule.items.append(ConvWeights(node=node, dy=dy, result=gradient_of(node.weights)))
    if node.bias in rule.trained:
        rule.items.append(BiasGradient(node=node, dy=rule.pooled(dy),
                                       result=gradient_of(node.bias)))
    # last: it may take the place of the map that weights were multiplied with
    rule.contribute(node.x, ConvData, node=node, dy=dy)


def _maximum(rule: _ChainRule, node: MaxPool, dy: str) -> None:
    rule.contribute(node.x, MaxBackward, node=node, dy=dy, record=record_of(node))


def _average(rule: _ChainRule, node: AveragePool, dy: str) -> None:
    rule.contribute(node.x, AverageBackward, node=node, dy=dy)


def _shared(rule: _ChainRule, node: Node, dy: str) -> None:
    for name in node.inputs:
        rule.share(name, dy)


#: Operation -> what its result's gradient adds to its inputs'.
_RULES = {Conv: _conv, MaxPool: _maximum, AveragePool: _average, Add: _shared, Rectify: _shared}
