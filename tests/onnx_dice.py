"""Dice, and an ONNX model under construction from what they show."""

import itertools
import math

import numpy as np
import onnx
from onnx import helper

from tests.onnx_models import Model, reference

__all__ = ["NEWEST", "Dice"]

#: The newest opset that onnxruntime 1.20, the oldest allowed, runs.
NEWEST = 21
_TYPES = {np.int8: onnx.TensorProto.INT8, np.uint8: onnx.TensorProto.UINT8}


class Dice(Model):
    """A quantised model under construction, and the numbers to choose from.

    Attributes
    ----------
    exact : bool
        The operator only moves numbers: its result is on its operand's scale, and equal.
    ties : bool
        The operator's results often lie half-way between two levels.
    result : tuple of str
        Scale and zero point of a result that is already levels.
    """

    def __init__(self, seed):
        super().__init__((), seed=seed)
        self.batch = int(self.rng.choice([1, 3])) if self.odds(4) else "n"
        self.opset = self.some(11, NEWEST)
        self.dtype = self.pick(np.int8, np.uint8)
        self.maps, self.exact, self.ties, self.result = {}, False, False, None

    def some(self, low, high):
        """Return a random number, both bounds possible."""
        return int(self.rng.integers(low, high + 1))

    def pick(self, *values):
        """Return one of the values."""
        return values[self.some(0, len(values) - 1)]

    def odds(self, n):
        """Return true once in n times."""
        return self.some(1, n) == 1

    def lengths(self, axes=None, most=6):
        """Return random lengths of one to three axes, or of so many."""
        return tuple(self.some(1, most) for _ in range(axes or self.some(1, 3)))

    def grid(self, scale=None, zero_point=None):
        """Return the names of a scale and a zero point."""
        low = np.iinfo(self.dtype).min
        scale = math.exp(self.rng.uniform(-5, -3)) if scale is None else scale
        zero_point = self.some(low, low + 255) if zero_point is None else zero_point
        return self.constant(scale), self.constant(zero_point, self.dtype)

    def levels(self, size, grid=None):
        """Return a new input's levels and their grid; the input is float or levels itself."""
        name, grid = f"x{len(self.maps)}" if self.maps else "x", grid or self.grid()
        real = self.odds(2)
        self.maps[name] = tuple(size), np.float32 if real else self.dtype
        return self.node("QuantizeLinear", name, *grid) if real else name, grid

    def map(self, size, grid=None):
        """Return a new input, quantised, as float numbers."""
        levels, self.last = self.levels(size, grid)
        return self.node("DequantizeLinear", levels, *self.last)

    def weights(self, size, axis, quantised=True):
        """Return int8 weights as float numbers, one scale or one for each of an axis.

        They are of 7 bits: onnxruntime's sums of two products saturate at 16 bits on processors
        without an instruction for four.
        """
        values = self.constant(self.rng.integers(-63, 64, size), np.int8)
        each = self.opset >= 13 and self.odds(2)
        shape = (size[axis],) if each else ()
        scale = self.constant(0.3 / math.sqrt(np.prod(size)) * self.rng.uniform(0.01, 1, shape))
        zero = self.constant(np.zeros(shape), np.int8)
        if not quantised:
            return values, scale, zero
        fields = {"axis": axis - (len(size) if self.odds(2) else 0)} if each else {}
        return self.node("DequantizeLinear", values, scale, zero, **fields)

    def bias(self, count):
        """Return float numbers."""
        return self.constant(self.rng.normal(0, 1, count))

    def listed(self, op, x, since, axes, **fields):
        """Append a node whose axes are an operand from an opset on, and an attribute before."""
        if self.opset < since:
            return self.node(op, x, axes=axes, **fields)
        return self.node(op, x, self.integers(*axes), **fields)

    def axis(self, size, axis):
        """Return an axis behind the batch, counted from the front or from behind."""
        return axis + 1 if self.odds(2) else axis - len(size)

    def extent(self, y):
        """Return the range that most of a value's numbers for random inputs are in."""
        values = reference(self.finish(y), self.data())[0]
        low, high = np.quantile(values, [0.02, 0.98]) if values.size else (0, 0)
        return min(0.0, float(low)), max(0.0, float(high))

    def tell(self, y):
        """Quantise a result: on the last operand's scale if it is exact, else on one of its own."""
        if not self.exact:
            low, high = self.extent(y)
            low, high = (-1, 1) if high - low < 1e-6 else (low, high)
            least = np.iinfo(self.dtype).min
            scale = (high - low) / 255
            self.last = self.grid(scale, int(np.clip(round(least - low / scale), least,
                                                     least + 255)))
        levels = self.node("QuantizeLinear", y, *self.last)
        return levels if self.odds(3) else self.node("DequantizeLinear", levels, *self.last)

    def data(self, n=24):
        """Random inputs, extreme ones among them."""
        feed, n = {}, n if self.batch == "n" else self.batch
        for name, (size, dtype) in self.maps.items():
            if dtype == np.float32:
                feed[name] = self.rng.normal(0, 1.5, (n, *size)).astype(dtype)
                continue
            limits = np.iinfo(dtype)
            feed[name] = self.rng.integers(limits.min, limits.max + 1, (n, *size), dtype=dtype)
            if n > 2:
                feed[name][0], feed[name][1] = limits.min, limits.max
        return feed

    def finish(self, *outputs, shapes=()):
        inputs = [helper.make_tensor_value_info(
            name, _TYPES.get(dtype, onnx.TensorProto.FLOAT), [self.batch, *size])
            for name, (size, dtype) in self.maps.items()]
        results = [helper.make_tensor_value_info(
            name, _TYPES[self.dtype] if name.startswith("q") else onnx.TensorProto.FLOAT, shape)
            for name, shape in itertools.zip_longest(outputs, shapes)]
        graph = helper.make_graph(self.nodes, "test", inputs, results, self.initializers)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)
