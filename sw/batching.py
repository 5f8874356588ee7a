"""A network for several images at once, as a network: what is done together, what one by one.

Images of a *stacked* map lie one below the other: (n * h, w, c). A fully connected layer is a
convolution whose kernel is as large as an image; on a stacked map it has a stride of one image and
makes a pixel of each, so a tile of weights serves all of them. Everything else is done image after
image, on maps of their own.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from systolith.sw.ir import Add, Concat, Conv, Graph, Op, Pool, Port, Requant, Select, Tensor
from systolith.sw.numerics import quantize_multiplier

__all__ = ["batched", "image_of", "stacked"]


def batched(graph: Graph, images: int, by_layer: bool = True) -> Graph:
    """Return the network for so many images.

    What is done image after image comes layer by layer (while the results of one image are on
    their way to memory the next one is computed, and the program is shorter) or all layers of an
    image before those of the next one (which takes less memory).

    Every input and output of the model has a port on its stacked map or, where images have maps of
    their own, a port for each of them, one after the other; all of int8 maps as they are.
    """
    return _Batch(graph, images, by_layer).run()


def stacked(tensor: str, graph: Graph, model: Graph) -> bool:
    """Return whether a map of a batched graph holds several images of the model."""
    return tensor in model.tensors and graph.tensors[tensor] != model.tensors[tensor]


def image_of(tensor: str, image: int) -> str:
    """Return the name of the map that one image has of its own."""
    return f"{tensor}@{image}"


@dataclass(slots=True)
class _Batch:
    """A network under construction."""

    graph: Graph
    images: int
    by_layer: bool
    tensors: dict[str, Tensor] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    #: Operations met that are done image after image, not yet written down.
    waiting: list[Op] = field(default_factory=list)

    def run(self) -> Graph:
        inputs = [made for port in self.graph.inputs for made in self._input(port)]
        for op in self.graph.ops:
            if _together(op, self.graph):
                self._flush()
                for name in op.inputs:
                    self._stack(name)
                self._add(_widened(op, self.graph, self.images))
            else:
                self.waiting.append(op)
        self._flush()
        outputs = [made for port in self.graph.outputs for made in self._ports(port)]
        return replace(self.graph, tensors=self.tensors, ops=self.ops, inputs=inputs,
                       outputs=outputs)

    def _input(self, port: Port) -> list[Port]:
        """Return the ports of an input: stacked if nobody reads it otherwise."""
        readers = self.graph.consumers(port.tensor)
        if all(_together(op, self.graph) for op in readers):
            self._declare(port.tensor)
        else:
            for image in range(self.images):
                self._declare(port.tensor, image)
        return self._ports(port)

    def _ports(self, port: Port) -> list[Port]:
        names = [image_of(port.tensor, image) for image in range(self.images)] \
            if self._apart(port.tensor) else [port.tensor]
        return [Port(name=name, tensor=name, shape=self.tensors[name].shape, dtype="int8",
                     permutation=(0, 1, 2)) for name in names]

    def _apart(self, name: str) -> bool:
        """Return whether images have maps of their own."""
        return image_of(name, 0) in self.tensors

    def _declare(self, name: str, image: int | None = None) -> str:
        """Add a stacked map, or that of an image."""
        tensor = self.graph.tensors[name]
        h, w, c = tensor.shape
        if image is None:
            tensor = replace(tensor, shape=(self.images * h, w, c))
        else:
            tensor = replace(tensor, name=image_of(name, image))
        self.tensors[tensor.name] = tensor
        return tensor.name

    def _add(self, op: Op) -> None:
        if op.output not in self.tensors:
            self._declare(op.output)
        self.ops.append(op)

    def _stack(self, name: str) -> None:
        """Provide the stacked map of a tensor."""
        if name not in self.tensors:
            ones = np.tile(quantize_multiplier(1.0), (self.images, 1)).T.astype(np.int32)
            self._add(Concat(
                name=f"stack {name}", kind="stack", output=name, axis=0, requant=Requant(*ones),
                inputs=tuple(image_of(name, image) for image in range(self.images))))

    def _split(self, name: str) -> None:
        """Provide a map for every image of a tensor."""
        h, w, c = self.graph.tensors[name].shape
        for image in range(self.images):
            self._declare(name, image)
            self.ops.append(Select(
                name=f"split {name} {image}", kind="split", inputs=(name,),
                output=image_of(name, image), rows=tuple(range(image * h, (image + 1) * h)),
                columns=tuple(range(w)), channels=tuple(range(c))))

    def _flush(self) -> None:
        """Write down what waits, for every image."""
        made = {op.output for op in self.waiting}
        for name in dict.fromkeys(name for op in self.waiting for name in op.inputs):
            if name not in made and not self._apart(name):
                self._split(name)
        pairs = [(op, image) for op in self.waiting for image in range(self.images)]
        if not self.by_layer:
            pairs.sort(key=lambda pair: pair[1])
        for op, image in pairs:
            self._declare(op.output, image)
            self.ops.append(replace(
                op, name=image_of(op.name, image), output=image_of(op.output, image),
                inputs=tuple(image_of(name, image) for name in op.inputs)))
        self.waiting.clear()


def _together(op: Op, graph: Graph) -> bool:
    """Return whether an operation can read stacked maps and write one.

    So can what sees one pixel at a time of maps of one pixel, and what makes one pixel of a map.
    """
    inputs = [graph.tensors[name].shape for name in op.inputs]
    if graph.tensors[op.output].shape[:2] != (1, 1):
        return False
    flat = all(shape[:2] == (1, 1) for shape in inputs)
    match op:
        case Conv():
            h, w, _ = inputs[0]
            return op.weights.shape[1:3] == (h, w) and not any(op.pads) and (
                flat or op.dilation == (1, 1))
        case Pool():
            return flat and op.kernel == (1, 1)
        case Concat():
            return flat and op.axis == 2
        case Add() | Select():
            return flat
    return False


def _widened(op: Op, graph: Graph, images: int) -> Op:
    """Return an operation as it is done on stacked maps."""
    match op:
        case Conv():
            h, _, _ = graph.tensors[op.x].shape
            return replace(op, stride=(h, 1), dilation=(1, 1))
        case Pool():
            return replace(op, stride=(1, 1))
        case Select():
            return replace(op, rows=tuple(range(images)), columns=(0,))
    return op
