"""Arithmetic on a model's own float input, before it is quantised: the host does it.

Models that normalise their images themselves begin so.
"""

from dataclasses import replace

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.node import Node
from systolith.sw.importer.values import PADDING, Activation, State
from systolith.sw.ir import HostStep

__all__ = ["prepared"]


def prepared(builder: Builder, node: Node, x: Activation, kind: str,
             numbers: np.ndarray | None = None, **attributes: float) -> Activation:
    """Return a float input of the model with one more step of the host.

    Parameters
    ----------
    x : Activation
        The input, with or without steps.
    kind : str
        See :class:`systolith.sw.ir.HostStep`.
    numbers : float[...]
        The other operand, which broadcasts against x.
    """
    if (x.elements == PADDING).any():
        node.refuse("it changes the zeros of the Pad before it", "put the Pad behind it")
    if numbers is not None:
        attributes |= {"operand": _operand(builder, node, x, numbers).tolist()}
    return replace(x, state=State.PREPARED,
                   steps=(*x.steps, HostStep(kind=kind, attributes=attributes)))


def _operand(builder: Builder, node: Node, x: Activation, numbers: np.ndarray) -> np.ndarray:
    """Return numbers as they broadcast against the input as the model's user gives it."""
    try:
        full = np.broadcast_to(numbers, (1, *x.shape))[0]
    except ValueError:
        node.refuse(f"a constant of shape {numbers.shape} does not broadcast to {x.shape}",
                    "correct the model")
    own = np.ones(builder.slot(x).given)
    own.ravel()[x.elements] = full
    if not np.array_equal(own.ravel()[x.elements], full):
        node.refuse("it computes different numbers of one element of the model's input",
                    "compute before the input is repeated")
    for axis in range(own.ndim):
        first = own.take([0], axis)
        own = first if np.array_equal(np.broadcast_to(first, own.shape), own) else own
    return own
