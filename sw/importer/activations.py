"""Relu, Clip, LeakyRelu and PRelu; Softmax and functions of one number, the host's work."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from systolith.sw.functions import DEFAULTS, FUNCTIONS
from systolith.sw.importer.builder import Builder
from systolith.sw.importer.drafts import AddDraft, Clamp
from systolith.sw.importer.elementwise import per_channel, scaled
from systolith.sw.importer.node import Node
from systolith.sw.importer.preparation import prepared
from systolith.sw.importer.quantization import OFFSETS, unary_operator
from systolith.sw.importer.values import HOSTED, PADDING, UNQUANTIZED, Activation, State, Value
from systolith.sw.ir import HostStep

__all__ = ["HANDLERS"]


def relu(builder: Builder, node: Node) -> Value:
    """Import Relu: a lower bound of 0."""
    return _clamp(builder, node, 0.0, np.inf)


def clip(builder: Builder, node: Node) -> Value:
    """Import Clip, its bounds operands or (before opset 11) attributes."""
    bounds = []
    for index, name, default in ((1, "min", -np.inf), (2, "max", np.inf)):
        value = node.attribute(name, default)
        if node.operand(index) is not None:
            value = node.number(index, name)
        bounds.append(float(value))
    return _clamp(builder, node, *bounds)


def _clamp(builder: Builder, node: Node, low: float, high: float) -> Activation:
    x = node.activation()
    if x.state in (State.RAW, *HOSTED):
        node.quantized()
    if low > high:
        node.refuse(f"its bounds {low:g} and {high:g} are reversed", "correct the model")
    zero_kept = low <= 0 <= high and x.state is not State.INTEGER
    if (x.elements == PADDING).any() and not zero_kept:
        node.refuse("it changes the zeros of the Pad before it", "put the Pad behind it")
    if x.state is State.INTEGER:
        offset = OFFSETS[x.dtype]
        clamp = Clamp(max(low + offset, -128), min(high + offset, 127), real=False)
    else:
        clamp = Clamp(low, high, real=True)
    if x.state is State.REAL and node.told not in (None, builder.slot(x).cell.value):
        return builder.unary(node, x, "average", clamps=[clamp])  # bounds on the new scale
    return builder.clamp(node, x, clamp)


def leaky_relu(builder: Builder, node: Node) -> Value:
    """Import LeakyRelu: one slope for all."""
    return _leaky(builder, node, np.array(node.attribute("alpha", 0.01)))


def p_relu(builder: Builder, node: Node) -> Value:
    """Import PRelu: a slope for each channel."""
    return _leaky(builder, node, node.constant(1, "list of slopes").astype(np.float64))


def _leaky(builder: Builder, node: Node, slopes: np.ndarray) -> Value:
    """Return the sum of the positive and the negative half, one of them always zero."""
    x = builder.whole(node, node.quantized())
    slopes = per_channel(builder, node, x, slopes)
    if not np.isfinite(slopes).all():
        node.refuse("a slope is not a finite number", "correct the model")
    nothing, ones = np.zeros(slopes.size), np.ones(slopes.size)
    positive = scaled(builder, node, x, ones, nothing, [Clamp(0, np.inf, real=True)])
    if (slopes >= 0).all():
        negative = scaled(builder, node, x, slopes, nothing, [Clamp(-np.inf, 0, real=True)],
                          like=positive)
    else:  # what a negative slope makes has no sign to be told by
        below = builder.unary(node, x, "max", clamps=[Clamp(-np.inf, 0, real=True)], like=x)
        negative = scaled(builder, node, below, slopes, nothing, like=positive)
    slot = builder.slot(positive)
    draft = AddDraft(**builder.labels(node, positive.tensor, negative.tensor))
    result = builder.add_draft(draft, slot.shape, 3, like=positive)
    return result.rearranged(positive.elements)


def softmax(builder: Builder, node: Node) -> Value:
    """Import Softmax or LogSoftmax, the host's work, at the end of the model."""
    x = node.quantized()
    rank = len(x.shape) + 1
    axis = node.attribute("axis", -1 if node.opset >= 13 else 1)
    axis = axis - rank if axis >= 0 else axis
    coerced = node.opset < 13 and int(np.prod(x.shape[axis:])) != x.shape[axis]
    if not -rank < axis < 0 or coerced:
        node.refuse("it runs over the batch or over several axes", "give it a single axis")
    kind = "log_softmax" if node.op == "LogSoftmax" else "softmax"
    steps = (HostStep(kind="dequantize"), HostStep(kind=kind, attributes={"axis": axis}))
    return replace(x, state=State.HOST, steps=steps)


def function(kind: str) -> Callable[[Builder, Node], Value]:
    """Return the handler of a function of one number, the host's work, at the end of the model.

    Where more follows, :class:`systolith.sw.importer.hosting.Continuation` makes a table of it. It
    may follow another function.
    """
    def handler(builder: Builder, node: Node) -> Value:
        attributes = {name: float(node.attribute(name, value))
                      for name, value in DEFAULTS.get(kind, {}).items()}
        if not all(map(math.isfinite, attributes.values())):
            node.refuse("an attribute is not a finite number", "correct the model")
        step, x = HostStep(kind=kind, attributes=attributes), node.activation()
        if x.state in UNQUANTIZED:
            return prepared(builder, node, x, kind, **attributes)
        if x.state is State.HOST and all(step.kind in FUNCTIONS for step in x.steps[1:]):
            return replace(x, steps=(*x.steps, step))
        return replace(node.quantized(), state=State.HOST, steps=(HostStep(kind="dequantize"),
                                                                  step))
    return handler


def gelu(builder: Builder, node: Node) -> Value:
    """Import Gelu, exact or with a hyperbolic tangent."""
    kinds = {"none": "gelu", "tanh": "gelu_tanh"}
    kind = node.attribute("approximate", "none")
    if kind not in kinds:
        node.refuse(f"its approximation is {kind!r}", f"ONNX knows {' and '.join(kinds)}")
    return function(kinds[kind])(builder, node)


_sigmoid = function("sigmoid")

HANDLERS = {
    "Relu": relu,
    "Clip": clip,
    "LeakyRelu": leaky_relu,
    "QLinearLeakyRelu": unary_operator(leaky_relu),
    "PRelu": p_relu,
    "Softmax": softmax,
    "LogSoftmax": softmax,
    "QLinearSoftmax": unary_operator(softmax),
    "Sigmoid": _sigmoid,
    "QLinearSigmoid": unary_operator(_sigmoid),
    "Gelu": gelu,
    **{op: function(kind) for op, kind in (
        ("Abs", "abs"), ("Celu", "celu"), ("Elu", "elu"), ("Erf", "erf"), ("Exp", "exp"),
        ("HardSigmoid", "hard_sigmoid"), ("HardSwish", "hard_swish"), ("Mish", "mish"),
        ("Neg", "neg"), ("Selu", "selu"), ("Softplus", "softplus"), ("Softsign", "softsign"),
        ("Tanh", "tanh"), ("ThresholdedRelu", "thresholded_relu"))},
}
