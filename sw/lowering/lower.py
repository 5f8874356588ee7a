"""Which lowering an operation takes, and the halo it needs around its input."""

from dataclasses import replace

from systolith.hw.config import Config
from systolith.sw.errors import CapacityError
from systolith.sw.ir import Add, Concat, Conv, Graph, Pool, Select, TransposedConv
from systolith.sw.lowering.channelwise import lower_add, lower_average, lower_depthwise, lower_max
from systolith.sw.lowering.dense import lower_dense
from systolith.sw.lowering.placing import lower_concat, lower_select
from systolith.sw.lowering.plan import Plan
from systolith.sw.lowering.transposed import lower_transposed, transposed_halo
from systolith.sw.maps import Halo, Map
from systolith.sw.numerics import ADD_LEFT_SHIFT
from systolith.sw.steps import Step, Unit

__all__ = ["lower_step", "needed_halo", "unit_of"]


def needed_halo(step: Step, graph: Graph) -> Halo:
    """Return the halo a step's convolution reads around its input; others need none."""
    conv = step.core
    if isinstance(conv, TransposedConv):
        return transposed_halo(conv, graph.tensors[conv.x].shape[:2])
    if not isinstance(conv, Conv):
        return Halo()
    h, w, _ = graph.tensors[conv.x].shape
    rows, columns, _ = graph.tensors[conv.output].shape
    top, left, _, _ = conv.pads

    def after(size, results, axis, before):
        kernel = conv.dilation[axis] * (conv.weights.shape[1 + axis] - 1) + 1
        return max(0, (results - 1) * conv.stride[axis] + kernel - before - size)

    return Halo(top, left, after(h, rows, 0, top), after(w, columns, 1, left))


def lower_step(step: Step, sources: list[Map | None], graph: Graph,
               config: Config) -> list[Plan]:
    """Return the plans of a step, checked against the widths of accumulators and requantiser.

    ``sources`` are the inputs of its core; None: a part of a concatenation that is in its place.

    Raises
    ------
    CapacityError
        If a sum could overflow, or the configuration lacks a unit.
    """
    core, source = step.core, sources[0]
    if step.residual and not config.residual:
        raise CapacityError(f"{config.describe()} has no unit for adding feature maps",
                            "use a target with residual = true", (step.add or core).name)
    if step.residual and config.operand_bits + ADD_LEFT_SHIFT > 31:
        raise CapacityError(f"a sum of maps of {config.operand_bits} bits, lifted by "
                            f"{ADD_LEFT_SHIFT} bits before it is rescaled, can leave 32 bits",
                            "add 8-bit maps, or leave the addition out", (step.add or core).name)
    h, w, _ = graph.tensors[core.output].shape
    match core:
        case Conv() if _depthwise(core, graph):
            plans = lower_depthwise(core, source, (h, w), config)
        case Conv():
            plans = lower_dense(core, source, (h, w), config)
        case TransposedConv():
            plans = lower_transposed(core, source, config)
        case Select():
            plans = lower_select(core, source, config)
        case Concat():
            plans = lower_concat(core, sources, graph.places(core), config)
        case Pool(mode="max"):
            plans = lower_max(core, source, (h, w), config)
        case Pool():
            plans = lower_average(core, source, (h, w), config)
        case Add():
            plans = lower_add(core, source, (h, w), config)
    plans = [plan.checked(config, core.name) for plan in plans]
    if step.pool:
        plans = [_pooled(plan, step.pool) for plan in plans]
    return plans


def unit_of(step: Step, plans: list[Plan], graph: Graph) -> Unit:
    """Return what the plans of a step occupy."""
    if any(plan.window for plan in plans):
        return Unit.WINDOW
    match step.core:
        case Conv() if _depthwise(step.core, graph):
            return Unit.DIAGONAL
        case Pool(mode="average"):
            return Unit.DIAGONAL
        case Conv() | TransposedConv():
            return Unit.ARRAY
    return Unit.COPY


def _depthwise(conv: Conv, graph: Graph) -> bool:
    return 1 < conv.groups == graph.tensors[conv.x].shape[2] == len(conv.weights)


def _pooled(plan: Plan, pool: Pool) -> Plan:
    """Add a maximum over whole windows to a plan; results it leaves over are not computed."""
    axes = []
    for axis, kernel, stride in zip((plan.y, plan.x), pool.kernel, pool.stride, strict=True):
        windows = (axis.count - kernel) // stride + 1
        axes.append(axis.part(0, (windows - 1) * stride + kernel))
    return replace(plan, y=axes[0], x=axes[1], pool=(pool.kernel, pool.stride))
