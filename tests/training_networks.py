"""Random small networks of all operations that can be trained."""

import math

import numpy as np
from hypothesis import strategies as st

from systolith.sw.train.graph import Add, AveragePool, Conv, MaxPool, Network, Rectify


class Maker:
    """Builds a network layer by layer, each reading the one before."""

    def __init__(self, shape, seed=0, name="network"):
        self.random = np.random.default_rng(seed)
        self.network = Network(name=name, shapes={"x": shape}, nodes=[], input="x", output="x")

    @property
    def shape(self):
        return self.network.shapes[self.network.output]

    def _add(self, kind, shape, *inputs, **fields):
        name = f"{kind.__name__.lower()}{len(self.network.nodes)}"
        self.network.nodes.append(kind(name=name, inputs=inputs or (self.network.output,),
                                       output=f"{name}.y", **fields))
        self.network.shapes[f"{name}.y"] = shape
        self.network.output = f"{name}.y"
        return name

    def _results(self, kernel, stride, pads):
        h, w, _ = self.shape
        return ((h + pads[0] + pads[2] - kernel[0]) // stride[0] + 1,
                (w + pads[1] + pads[3] - kernel[1]) // stride[1] + 1)

    def conv(self, channels, kernel, stride=(1, 1), pads=(0, 0, 0, 0), rectify=False, bias=True):
        depth = self.shape[2]
        weights = f"w{len(self.network.nodes)}"
        scale = math.sqrt(2 / (depth * math.prod(kernel)))
        self.network.parameters[weights] = scale * self.random.standard_normal(
            (channels, *kernel, depth))
        if bias:
            self.network.parameters[weights + "b"] = 0.1 * self.random.standard_normal(channels)
        return self._add(Conv, (*self._results(kernel, stride, pads), channels), kernel=kernel,
                         stride=stride, pads=pads, rectify=rectify, weights=weights,
                         bias=weights + "b" if bias else None)

    def dense(self, outputs, rectify=False, bias=True):
        return self.conv(outputs, self.shape[:2], rectify=rectify, bias=bias)

    def pool(self, kind, kernel, stride, pads=(0, 0, 0, 0)):
        return self._add(kind, (*self._results(kernel, stride, pads), self.shape[2]),
                         kernel=kernel, stride=stride, pads=pads)

    def max(self, kernel=(2, 2), stride=(2, 2), pads=(0, 0, 0, 0)):
        return self.pool(MaxPool, kernel, stride, pads)

    def average(self, kernel=(2, 2), stride=(2, 2), pads=(0, 0, 0, 0)):
        return self.pool(AveragePool, kernel, stride, pads)

    def rectify(self):
        return self._add(Rectify, self.shape)

    def block(self, rectify=True):
        """A residual block: the branch is a 3 x 3 convolution."""
        before = self.network.output
        h, w, channels = self.shape
        kernel = (3 if h > 1 else 1, 3)
        pads = (kernel[0] // 2, 1, kernel[0] // 2, 1)
        self.conv(channels, kernel, pads=pads)
        return self._add(Add, (h, w, channels), before, self.network.output, rectify=rectify)


def lenet(seed=0):
    """LeNet-5 with ReLU on 28 x 28 images without padding: 44,426 parameters."""
    maker = Maker((28, 28, 1), seed, "lenet")
    for channels in (6, 16):
        maker.conv(channels, (5, 5), rectify=True)
        maker.max()
    for outputs in (120, 84):
        maker.dense(outputs, rectify=True)
    maker.dense(10)
    return maker.network


@st.composite
def networks(draw):
    """One to four layers and a dense one, 2-D or 1-D."""
    flat = draw(st.booleans())
    height = 1 if flat else draw(st.integers(4, 9))
    maker = Maker((height, draw(st.integers(4, 9)), draw(st.integers(1, 3))),
                  draw(st.integers(0, 1000)))
    for _ in range(draw(st.integers(1, 4))):
        h, w, _ = maker.shape
        kind = draw(st.sampled_from(["conv", "max", "average", "block", "rectify"]))
        kernel = (draw(st.integers(1, min(3, h))), draw(st.integers(1, min(3, w))))
        stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        pads = tuple(draw(st.integers(0, k - 1)) for k in (*kernel, *kernel))
        if kind == "conv":
            maker.conv(draw(st.integers(1, 5)), kernel, stride, pads, draw(st.booleans()),
                       draw(st.booleans()))
        elif kind in ("max", "average"):
            getattr(maker, kind)(kernel, stride, pads)
        elif kind == "block":
            maker.block(draw(st.booleans()))
        else:
            maker.rectify()
    maker.dense(draw(st.integers(2, 5)))
    return maker.network
