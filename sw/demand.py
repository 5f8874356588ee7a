"""What every step of a network asks of a target, whether or not the network fits it."""

from dataclasses import dataclass

from systolith.hw.config import Config
from systolith.sw.compiler import maps_of
from systolith.sw.emit import pack_constants
from systolith.sw.errors import CapacityError, Problem
from systolith.sw.ir import Graph
from systolith.sw.lowering.lower import lower_step
from systolith.sw.lowering.plan import Plan
from systolith.sw.maps import Map
from systolith.sw.memory_plan import live_elements
from systolith.sw.steps import Step, fuse

__all__ = ["Demand", "demands"]


@dataclass(frozen=True, slots=True)
class Demand:
    """A step, and the memory it takes in bytes."""

    step: Step
    #: Empty where the target cannot run the step.
    plans: list[Plan]
    #: Weights and channel parameters.
    constants: int
    #: Feature maps that are in memory during the step.
    maps: int
    #: Which operation the target cannot run, why, and what to do.
    problem: Problem | None = None


def demands(graph: Graph, config: Config) -> list[Demand]:
    """Return the demands of the steps of a network without host operations."""
    steps, size = fuse(graph), config.operand_bits // 8
    maps = maps_of(graph, steps, config)
    found = []
    for step, alive in zip(steps, live_elements(graph, steps, maps, config), strict=True):
        plans, problem = _lowered(step, maps, graph, config)
        packed = [pack_constants(plan, config) for plan in plans]
        # what several plans have in common is stored once
        unique = {array.tobytes(): array.nbytes
                  for part in packed for array in (part.tiles, part.parameters)}
        found.append(Demand(step, plans, sum(unique.values()), alive * size, problem))
    return found


def _lowered(step: Step, maps: dict[str, Map], graph: Graph,
             config: Config) -> tuple[list[Plan], Problem | None]:
    """Return a step's plans, those of its core alone where the target cannot add to it."""
    try:
        return lower_step(step, [maps[name] for name in step.core.inputs], graph, config), None
    except CapacityError as error:
        problem = _problem(step, str(error))
    plans = _lowered(Step(step.core, step.pool), maps, graph, config)[0] if step.add else []
    return plans, problem


def _problem(step: Step, message: str) -> Problem:
    """Return a lowering's complaint, which begins with the operation's name, in its parts."""
    op = next((op for op in step.ops if message.startswith(f"{op.name}: ")), step.core)
    reason, _, advice = message.removeprefix(f"{op.name}: ").partition("; ")
    return Problem(op.name, op.kind, reason, advice)
