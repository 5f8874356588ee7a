"""Random small networks of all operations that can be trained, and samples to learn."""

import numpy as np
from hypothesis import strategies as st

from systolith.sw.train.builder import NetworkBuilder, randomise


def block(builder, rectify=True):
    """Add a residual block: the branch is a convolution of 3 x 3 (in 1-D 1 x 3)."""
    before = builder.network.output
    rows = 3 if builder.shape[0] > 1 else 1
    builder.conv(builder.shape[2], (rows, 3), pads=(rows // 2, 1, rows // 2, 1))
    builder.add(before, rectify=rectify)


def branches(builder, rectify=True):
    """Add a sum of two convolutions and what both read: a tensor with three readers."""
    before, channels = builder.network.output, builder.shape[2]
    first = builder.conv(channels, (1, 1))
    builder.network.output = before
    builder.conv(channels, (1, 1))
    builder.add(first)
    builder.add(before, rectify=rectify)


def finished(builder, seed=0):
    """Return the network with random weights and biases."""
    randomise(builder.network, seed)
    random = np.random.default_rng(seed + 1)
    for name, values in builder.network.parameters.items():
        if values.ndim == 1:
            builder.network.parameters[name] = 0.1 * random.standard_normal(values.shape)
    return builder.network


@st.composite
def windows(draw, shape):
    """A kernel, strides and padding for a map."""
    kernel = tuple(draw(st.integers(1, min(3, length))) for length in shape[:2])
    return (kernel, (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
            tuple(draw(st.integers(0, k - 1)) for k in (*kernel, *kernel)))


@st.composite
def networks(draw):
    """One to four layers and a dense one, 2-D or 1-D."""
    height = 1 if draw(st.booleans()) else draw(st.integers(4, 9))
    builder = NetworkBuilder("random", (height, draw(st.integers(4, 9)), draw(st.integers(1, 3))))
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["conv", "max", "average", "block", "branches",
                                      "rectify"]))
        _layer(draw, builder, kind)
    builder.dense(draw(st.integers(2, 5)))
    return finished(builder, draw(st.integers(0, 1000)))


def _layer(draw, builder, kind):
    kernel, stride, pads = draw(windows(builder.shape))
    if kind == "conv":
        builder.conv(draw(st.integers(1, 5)), kernel, stride=stride, pads=pads,
                     rectify=draw(st.booleans()), bias=draw(st.booleans()))
    elif kind == "max":
        builder.max_pool(kernel, stride, pads)
    elif kind == "average":
        builder.average_pool(kernel, stride, pads)
    elif kind == "block":
        block(builder, draw(st.booleans()))
    elif kind == "branches":
        branches(builder, draw(st.booleans()))
    elif kind == "dense":
        builder.dense(draw(st.integers(1, 9)), rectify=draw(st.booleans()))
    else:
        builder.rectify()


#: Layers by what they are called: kind, and whether their map is one row, or one pixel.
LAYERS = {"convolution": ("conv", False, False), "1-D convolution": ("conv", True, False),
          "fully connected": ("dense", True, True), "flatten": ("dense", False, False),
          "ReLU": ("rectify", False, False), "max pool": ("max", False, False),
          "1-D max pool": ("max", True, False), "average pool": ("average", False, False),
          "residual add": ("block", False, False), "three readers": ("branches", False, False)}


@st.composite
def layers(draw, name):
    """One of ``LAYERS`` behind a convolution (its input has a gradient then), and a dense one."""
    kind, row, pixel = LAYERS[name]
    builder = NetworkBuilder(name, (1 if row else draw(st.integers(2, 9)),
                                    1 if pixel else draw(st.integers(2, 9)),
                                    draw(st.integers(1, 3))))
    builder.conv(draw(st.integers(1, 9)), (1, 1), rectify=draw(st.booleans()))
    _layer(draw, builder, kind)
    builder.dense(draw(st.integers(2, 5)))
    return finished(builder, draw(st.integers(0, 1000)))


def small(classes=3, seed=0):
    """A convolution, a maximum and a dense layer on 6 x 6 pixels."""
    builder = NetworkBuilder("small", (6, 6, 1))
    builder.conv(4, (3, 3), rectify=True)
    builder.max_pool()
    builder.dense(classes)
    return finished(builder, seed)


def patches(count=96, classes=3, seed=0):
    """Return images [n, 6, 6, 1] with a bright patch, and its place: the class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    x = random.uniform(0, 0.5, (count, 6, 6, 1))
    for image, label in zip(x, labels, strict=True):
        image[2 * label:2 * label + 2, 1:5] += 0.4
    return x, labels
