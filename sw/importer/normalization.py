"""Normalisation by the statistics of the image itself, the host's work."""

from dataclasses import replace

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.node import Node
from systolith.sw.importer.values import Activation, State, Value
from systolith.sw.ir import HostStep

__all__ = ["HANDLERS"]


def instance_normalization(builder: Builder, node: Node) -> Value:
    """Import InstanceNormalization: each channel by its own mean and deviation."""
    x = node.quantized()
    channels = (-1, *[1] * (len(x.shape) - 1))
    scale, bias = (node.constant(i, what).reshape(channels)
                   for i, what in ((1, "scale"), (2, "bias")))
    return _normalized(node, x, "instance_normalization", range(1, len(x.shape)), scale, bias)


def layer_normalization(builder: Builder, node: Node) -> Value:
    """Import LayerNormalization over the last axes."""
    x = node.quantized()
    rank = len(x.shape) + 1
    first = node.attribute("axis", -1) % rank
    if first < 1:
        node.refuse("it runs over the batch", "name axes behind it")
    bias = np.zeros(1) if node.operand(2) is None else node.constant(2, "bias")
    return _normalized(node, x, "layer_normalization", range(first - 1, rank - 1),
                       node.constant(1, "scale"), bias)


def _normalized(node: Node, x: Activation, kind: str, axes: range, scale: np.ndarray,
                bias: np.ndarray) -> Activation:
    """Return x less its mean over some axes of its batchless shape, by its deviation."""
    if node.outputs > 1:
        node.refuse("its mean and deviation are used too", "only its first output is supported")
    for name, numbers in (("scale", scale), ("bias", bias)):
        try:
            np.broadcast_to(numbers, x.shape)
        except ValueError:
            node.refuse(f"its {name} of shape {numbers.shape} does not broadcast to {x.shape}",
                        "correct the model")
    step = HostStep(kind=kind, attributes={
        "axes": [axis - len(x.shape) for axis in axes], "scale": scale.tolist(),
        "bias": bias.tolist(), "epsilon": float(node.attribute("epsilon", 1e-5))})
    return replace(x, state=State.HOST, steps=(HostStep(kind="dequantize"), step))


HANDLERS = {
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
}
