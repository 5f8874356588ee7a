"""Kernel, stride, padding and dilation of ONNX's windowed operators, 1-D and 2-D."""

from collections.abc import Sequence
from dataclasses import dataclass

from systolith.sw.importer.builder import Map
from systolith.sw.importer.node import Node

__all__ = ["Geometry", "read_geometry"]


@dataclass(frozen=True, slots=True)
class Geometry:
    """A window over a feature map, as (height, width); 1-D operators have height 1."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    #: Top, left, bottom, right, as the node has them; Pad nodes before it not included.
    pads: tuple[int, int, int, int]
    #: What ``ceil_mode`` adds at the bottom and right.
    excess: tuple[int, int]
    #: Height and width of the result.
    result: tuple[int, int]


def read_geometry(node: Node, source: Map, kernel: Sequence[int]) -> Geometry:
    """Read the window attributes of a node.

    Parameters
    ----------
    node : Node
        Conv, MaxPool, AveragePool or their quantised forms.
    source : Map
        What it reads.
    kernel : sequence of int
        Its window, one number for each spatial dimension.

    Raises
    ------
    RefusedError
        If the attributes do not match the input or the window does not fit.
    """
    rank = source.rank - 1
    ones = [1] * rank
    stride = node.attribute("strides", ones)
    dilation = node.attribute("dilations", ones)
    pads = node.attribute("pads", [0] * 2 * rank)
    if not (len(kernel) == len(stride) == len(dilation) == rank and len(pads) == 2 * rank):
        node.refuse(f"its window has {len(kernel)} dimensions, its input {rank}",
                    "1-D operators read (n, c, l), 2-D operators (n, c, h, w)")
    if min(*kernel, *stride, *dilation) < 1 or min(pads) < 0:
        node.refuse("its window has a size, stride or dilation below 1 or negative padding",
                    "correct the model")
    lift = [1] * (2 - rank)
    kernel, stride, dilation = ((*lift, *values) for values in (kernel, stride, dilation))
    edge = [0] * (2 - rank)
    begin, end = (*edge, *pads[:rank]), (*edge, *pads[rank:])
    axes = [_axis(node, *numbers) for numbers in zip(
        (source.shape[i] + source.pads[i] + source.pads[i + 2] for i in (0, 1)),
        kernel, stride, dilation, begin, end, strict=True)]
    before, after, excess, result = zip(*axes, strict=True)
    return Geometry(kernel, stride, dilation, (*before, *after), excess, result)


def _axis(node: Node, length: int, kernel: int, stride: int, dilation: int, before: int,
          after: int) -> tuple[int, int, int, int]:
    """Return padding before and after, what ceil_mode adds, and the length of the result."""
    span = dilation * (kernel - 1) + 1
    mode = node.attribute("auto_pad", "NOTSET")
    if mode == "VALID":
        before = after = 0
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        total = max(0, (-(-length // stride) - 1) * stride + span - length)
        before = total // 2 if mode == "SAME_UPPER" else -(-total // 2)
        after = total - before
    elif mode != "NOTSET":
        node.refuse(f"auto_pad is {mode!r}", "ONNX knows NOTSET, VALID, SAME_UPPER, SAME_LOWER")
    room = before + length + after - span
    if room < 0:
        node.refuse(f"its window of {span} is larger than its padded input of {room + span}",
                    "correct the model or give it a larger input")
    result = room // stride + 1
    excess = 0
    if node.attribute("ceil_mode", 0) and room % stride and result * stride < length + before:
        excess = stride - room % stride
        result += 1
    return before, after, excess, result
