"""Exponents of all tensors, and what changes them: ranges come back, scales follow.

Saturation raises an exponent before the next step; 64 steps in a row that leave two bits unused
lower it. What would need an exponent beyond any sense has diverged, and is reported as that.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from systolith.sw.errors import TrainingError
from systolith.sw.train.gradients import Plan
from systolith.sw.train.graph import Conv
from systolith.sw.train.numerics import MAX_SHIFT, Range
from systolith.sw.train.steps import gradient_of

__all__ = ["Change", "Scales", "exponent_for", "quantize"]

#: Bits of an element's magnitude.
_BITS = 15
#: Steps after which a tensor that left two bits unused gets smaller steps.
_PATIENCE = 64
#: Largest exponent a tensor may have before training counts as diverged.
_LARGEST = 15
#: Bits that calibration leaves unused: of results; of gradients, whose ranges vary more.
_ROOM, _GRADIENT_ROOM = 1, 2
#: And of gradients that momentum keeps.
_MOMENTUM_ROOM = 2
_CALIBRATIONS = 40


@dataclass(frozen=True, slots=True)
class Change:
    """An exponent that was changed."""

    name: str
    by: int


def exponent_for(largest: float, room: int = 0) -> int:
    """Return the exponent with which ``largest`` leaves ``room`` bits (0.0 takes any: -15)."""
    if largest == 0:
        return -_BITS
    exponent = math.frexp(largest)[1] - _BITS
    return exponent + room + (round(math.ldexp(largest, -exponent)) > (1 << _BITS) - 1)


def quantize(values: np.ndarray, exponent: int) -> np.ndarray:
    """Return real values in steps of ``2**exponent``, rounded to nearest and saturated; int16."""
    steps = np.rint(np.ldexp(np.asarray(values, np.float64), -exponent))
    return np.clip(steps, -(1 << _BITS), (1 << _BITS) - 1).astype(np.int16)


class Scales:
    """The exponent of every tensor of a plan.

    Attributes
    ----------
    exponents : dict of name to int
        Feature maps, gradients and parameters.

    Parameters
    ----------
    plan : Plan
        The items of a training step.
    largest_input : float
        Largest magnitude of the network's input.
    """

    def __init__(self, plan: Plan, largest_input: float):
        self.plan = plan
        network = plan.network
        self._stored = {name(parameter) for parameter in plan.trained
                        for name in (str, gradient_of)}
        self._fixed = {item.result for item in plan.items if item.fixed} | plan.aliases.keys()
        self._peaks: dict[str, int] = {}
        self._quiet: dict[str, int] = {}
        self.exponents = self._parameters()
        self.exponents[network.input] = exponent_for(largest_input)
        for item in plan.items:                       # as if the terms had random signs
            bits = _BITS + item.terms(1, network.shapes).bit_length() // 2
            self.exponents[item.result] = item.sums(self.exponents) + min(MAX_SHIFT, bits)
            self.settle()

    def _parameters(self) -> dict[str, int]:
        """Return the exponents the network's parameters ask for."""
        return {name: exponent_for(float(np.abs(values).max(initial=0)), _ROOM)
                for name, values in self.plan.network.parameters.items()}

    def settle(self) -> None:
        """Bring exponents that others forbid to the next that is allowed."""
        for item in self.plan.items:
            if item.result not in self.exponents:
                break
            sums = item.sums(self.exponents)
            if item.result in self.plan.aliases:
                self.exponents[item.result] = self.exponents[self.plan.aliases[item.result]]
            elif item.fixed:
                self.exponents[item.result] = sums
            else:
                self.exponents[item.result] = _clamp(self.exponents[item.result], sums)
            if isinstance(item.node, Conv) and item.node.bias and item.result == item.node.output:
                self.exponents[item.node.bias] = _clamp(self.exponents[item.node.bias], sums)

    def observe(self, ranges: Mapping[str, Range]) -> list[Change]:
        """Follow the ranges of one step.

        Returns
        -------
        list of Change
            Of stored tensors too: their elements are to be shifted.

        Raises
        ------
        TrainingError
            If a tensor grows beyond any sense.
        """
        before = dict(self.exponents)
        raised = [name for name, found in ranges.items()
                  if name not in self._fixed and self._follow(name, found) > 0]
        self.settle()
        for name in raised:
            if not before[name] < self.exponents[name] <= _LARGEST:
                raise TrainingError(
                    f"{self.plan.network.name}: training diverged: {name} has outgrown steps of "
                    f"2**{before[name]}; lower the learning rate or scale the input")
        return [Change(name, exponent - before[name]) for name, exponent in self.exponents.items()
                if exponent != before[name]]

    def _follow(self, name: str, found: Range) -> int:
        """Change the exponent of a tensor by what its range asks for, and return by how much."""
        full = found.bits == _BITS and name in self._stored     # it is kept: leave room in time
        self._peaks[name] = max(self._peaks.get(name, 0), found.bits)
        self._quiet[name] = self._quiet.get(name, 0) + 1
        change = 0
        if found.saturated or full:
            change = 1
        elif self._quiet[name] < _PATIENCE:
            return 0
        elif 0 < self._peaks[name] <= _BITS - 2:
            change = -1
        self._peaks[name] = self._quiet[name] = 0
        self.exponents[name] += change
        return change

    def calibrate(self, measure: Callable[[Mapping[str, int]], Mapping[str, Range]]) -> None:
        """Choose exponents for the ranges of one batch.

        Parameters
        ----------
        measure : function of exponents
            Runs a batch without an update and returns the ranges of all results.
        """
        for _ in range(_CALIBRATIONS):
            before = dict(self.exponents)
            for name, found in measure(self.exponents).items():
                if name in self._fixed:
                    continue
                room = _ROOM if name in self.plan.network.shapes else _GRADIENT_ROOM
                if found.saturated:
                    self.exponents[name] += 4
                elif not found.bits:
                    self.exponents[name] -= 8
                else:
                    self.exponents[name] += found.bits - (_BITS - room)
            self.exponents |= self._parameters()
            self.settle()
            if self.exponents == before:
                break
        for parameter in self.plan.trained:      # with momentum they add up
            self.exponents[gradient_of(parameter)] += _MOMENTUM_ROOM
        self.settle()

    @property
    def stored_names(self) -> set[str]:
        """Tensors that stay in memory from step to step: parameters and their gradients."""
        return self._stored | self.plan.network.parameters.keys()

    def stored(self) -> dict[str, np.ndarray]:
        """Return the network's parameters in their steps, and gradients of 0; int16 by name."""
        arrays = {name: quantize(values, self.exponents[name])
                  for name, values in self.plan.network.parameters.items()}
        return arrays | {gradient_of(name): np.zeros_like(arrays[name])
                         for name in self.plan.trained}

    def state(self) -> dict[str, dict[str, int]]:
        """Return what :meth:`restore` needs to go on exactly."""
        return {"exponents": dict(self.exponents), "peaks": dict(self._peaks),
                "quiet": dict(self._quiet)}

    def restore(self, state: Mapping[str, Mapping[str, int]]) -> None:
        """Go on from a :meth:`state`."""
        self.exponents = dict(state["exponents"])
        self._peaks, self._quiet = dict(state["peaks"]), dict(state["quiet"])


def _clamp(exponent: int, sums: int) -> int:
    return min(max(exponent, sums), sums + MAX_SHIFT)
