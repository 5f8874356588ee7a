"""The model's inputs and outputs as ports: layout, type, the host's steps."""

from dataclasses import replace

from systolith.sw.importer.builder import Builder, Slot
from systolith.sw.importer.node import Node
from systolith.sw.importer.quantization import OFFSETS
from systolith.sw.importer.separation import transposition
from systolith.sw.importer.values import Activation, State
from systolith.sw.ir import HostStep, Port

__all__ = ["input_port", "output_port"]


def input_port(name: str, slot: Slot, shape: tuple[int, ...], dtype: str) -> Port:
    """Return the port of a model input of batchless ``shape``."""
    steps = (*slot.steps, HostStep(kind="quantize")) if dtype == "float32" else ()
    return Port(name=name, tensor=slot.name, shape=shape, dtype=dtype, steps=steps,
                permutation=transposition(slot.shape, slot.places), offset=OFFSETS.get(dtype, 0))


def output_port(node: Node, builder: Builder) -> Port:
    """Return the port of a model output, the only operand of ``node``.

    Raises
    ------
    RefusedError
        If it is no quantised feature map.
    """
    if not isinstance(node.inputs[0], Activation):
        node.refuse("it is a constant", "take it out of the model's outputs")
    x = node.activation()
    steps = x.steps
    if x.state is not State.INTEGER and x.state is not State.HOST:
        steps = (HostStep(kind="dequantize"),)
        node.quantized()
    x = builder.whole(node, x)
    if builder.slot(x).draft is None:  # buffers of inputs and of outputs take turns differently
        x = builder.unary(replace(node, op="Copy"), x, "max", like=x)
    slot = builder.slot(x)
    permutation = transposition(slot.shape, slot.places[x.elements.ravel()])
    if permutation is None:
        slot = builder.slots[builder.pin(node, x, x.elements.reshape(1, 1, -1))]
        permutation = (0, 1, 2)
    offset = OFFSETS[x.dtype] if x.state is State.INTEGER else 0
    return Port(name=node.name, tensor=slot.name, shape=x.shape, dtype=x.dtype, steps=steps,
                permutation=permutation, offset=offset)
