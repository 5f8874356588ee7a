"""How many rows of an input map lie side by side, so that convolutions take the fewest cycles.

The host puts inputs into memory, so their layout is free. A first layer of few channels has short
kernel rows: 5 x 5 over one channel are five runs of 5 elements, a pass each on an array of 16
rows. With three rows side by side a run of 15 elements covers three kernel rows.
"""

from dataclasses import replace

from systolith.hw.config import Config
from systolith.sw.ir import Conv, Graph
from systolith.sw.lowering.dense import lower_dense
from systolith.sw.maps import Map
from systolith.sw.steps import Step

__all__ = ["interleaved", "layouts"]

#: Cycles that a nest costs beside its vectors, roughly: with one there are few more than without.
_NEST_CYCLES = 8


def interleaved(source: Map, steps: list[Step], graph: Graph, config: Config) -> Map:
    """Return an input map in the layout that its readers take the fewest cycles with."""
    readers = [step for step in steps if source.tensor.name in step.inputs]
    choice = layouts(source, readers, graph, config)
    if len(choice) == 1:
        return source
    return min(choice, key=lambda layout: sum(
        _cycles(step, layout, graph, config) for step in readers))


def layouts(source: Map, readers: list[Step], graph: Graph, config: Config) -> list[Map]:
    """Return an input map as it is, and with ever more rows side by side as long as that may help.

    Only dense convolutions can read interleaved rows; with other readers, or a port that gives the
    map out again, there is no choice.
    """
    name = source.tensor.name
    if any(port.tensor == name for port in graph.outputs) or not all(
            _suitable(step, name) for step in readers):
        return [source]
    h, _, channels = source.tensor.shape
    most = max((_rows_of_use(step.core, channels, config) for step in readers), default=1)
    unit = config.alignment
    return [source] + [
        replace(source, interleave=rows, channels=-(-rows * channels // unit) * unit)
        for rows in range(2, min(most, h) + 1)]


def _suitable(step: Step, name: str) -> bool:
    core = step.core
    return (isinstance(core, Conv) and core.groups == 1 and core.dilation[1] == 1
            and step.residual != name)


def _rows_of_use(conv: Conv, channels: int, config: Config) -> int:
    """Return the most rows side by side that may help: a whole window, or a whole vector."""
    _, kh, kw, _ = conv.weights.shape
    if kh == 1:
        return 1
    return max(conv.dilation[0] * (kh - 1) + 1, config.rows // (kw * channels))


def _cycles(step: Step, source: Map, graph: Graph, config: Config) -> int:
    """Return about how many cycles a convolution keeps the array busy."""
    h, w, _ = graph.tensors[step.core.output].shape
    return sum(plan.groups * (plan.vectors + plan.period * _NEST_CYCLES)
               for plan in lower_dense(step.core, source, (h, w), config))
