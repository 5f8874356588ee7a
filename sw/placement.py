"""Where an operation runs, and why there, in words."""

from enum import StrEnum

from systolith.hw.config import Config
from systolith.sw.demand import Demand
from systolith.sw.importer import layout, selection
from systolith.sw.importer.nodes import ModelNode
from systolith.sw.ir import Add, Concat, Conv, Op, Pool, Select, TransposedConv

__all__ = ["Place", "place_of_node", "place_of_op"]


class Place(StrEnum):
    """Where an operator's work is done."""

    ARRAY = "array"
    DEPTHWISE = "depthwise"
    POST = "post-processor"
    FUSED = "fused"
    FREE = "free"
    HOST = "host"
    CONSTANT = "constant"
    BLOCKED = "blocked"
    UNKNOWN = "not judged"
    MAPPABLE = "mappable"


_CODING = ("QuantizeLinear", "DequantizeLinear", "QUANTIZE", "DEQUANTIZE")
_AT_THE_END = ("Softmax", "QLinearSoftmax", "Sigmoid", "QLinearSigmoid", "Tanh", "HardSigmoid",
               "HardSwish", "SOFTMAX", "LOGISTIC", "TANH", "HARD_SWISH")
_LAYOUT = {*layout.HANDLERS, *selection.HANDLERS, "PAD", "PADV2", "RESHAPE", "SQUEEZE",
           "EXPAND_DIMS", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "GATHER",
           "SHAPE", "PACK", "UNPACK"}


def place_of_op(op: Op, demand: Demand, config: Config) -> tuple[Place, str]:
    """Return place and reason of an operation of a step."""
    step, problem = demand.step, demand.problem
    if problem and problem.node == op.name:
        return Place.BLOCKED, problem.reason
    if op is step.pool:
        return Place.POST, f"maximum of the results of {step.core.name!r}"
    if op is step.add:
        return Place.POST, f"added to the results of {step.core.name!r}"
    match op:
        case Conv() if 1 < op.groups == len(op.weights):
            return Place.DEPTHWISE, _depthwise(op, demand, config)
        case Conv() if op.groups > 1:
            return Place.ARRAY, f"{op.groups} groups, one after the other"
        case Conv():
            _, kh, kw, depth = op.weights.shape
            return Place.ARRAY, f"sums over {kh} x {kw} x {depth}"
        case TransposedConv():
            return Place.ARRAY, "a convolution for each phase of the stride"
        case Add():
            return Place.POST, "one operand passes the array unchanged, the other is added to it"
        case Select() | Concat():
            return Place.ARRAY, "elements change places: copied through an identity tile"
        case Pool(mode="max") if op.kernel == (1, 1):
            return Place.POST, "bounds or a scale of their own: copied through an identity tile"
        case Pool(mode="max"):
            return Place.POST, "maximum of what passes the array through an identity tile"
        case Pool():
            return Place.ARRAY, "sums of ones, divided when they are rescaled"
    return Place.ARRAY, ""


def _depthwise(op: Conv, demand: Demand, config: Config) -> str:
    if any(plan.window for plan in demand.plans):
        return "window unit: 3 x 3 taps of a channel side by side"
    if not config.window:
        return "diagonal tiles on the array: the target has no window unit"
    if op.dilation != (1, 1):
        return "diagonal tiles on the array: the window unit takes no dilation"
    return ("diagonal tiles on the array: faster than the window unit here, or its rows are too "
            "short for this map")


def place_of_node(node: ModelNode, host: str) -> tuple[Place, str]:
    """Return place and reason of a node that has no operation of its own.

    ``host`` is the operation that it became a part of, empty if there is none.
    """
    if not node.inputs:
        return Place.CONSTANT, "evaluated by the compiler"
    if node.operator in _CODING:
        if node.first:
            return Place.HOST, "int8 of the input's numbers"
        if node.last:
            return Place.HOST, "numbers of the output's int8"
        return Place.FREE, "scale and zero point of the operators beside it"
    if node.operator in _AT_THE_END:
        return Place.HOST, "with the output, or as a table before its reader"
    if node.operator in _LAYOUT or not host:
        return Place.FREE, "no element moves"
    return Place.FUSED, f"part of {host!r}: its bounds, or its weights, bias and scale"
