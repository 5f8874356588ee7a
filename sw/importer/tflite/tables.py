"""LOGISTIC, TANH, GELU and HARD_SWISH at the end of a model: tables of 256 results for the host.

References
----------
``LUTPopulate`` in ``tensorflow/lite/kernels/internal/common.h`` (which LiteRT's reference resolver
uses for LOGISTIC, TANH and GELU), ``HardSwishPrepare`` in
``tensorflow/lite/kernels/activations.cc`` and
``tensorflow/lite/kernels/internal/reference/hard_swish.h``.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.tflite.operation import Operation
from systolith.sw.importer.values import Quantization, State, Value
from systolith.sw.ir import HostStep
from systolith.sw.numerics import quantize_multiplier, rounding_divide_by_pot

__all__ = ["HANDLERS"]

_LEVELS = np.arange(-128, 128)


def tabulated(results: Callable[[Operation, Quantization, Quantization], np.ndarray]
              ) -> Callable[[Builder, Operation], Value]:
    """Return the handler of an operator that is a function of one level, given all 256 results.

    ``results`` gets the node and the quantisation of its input and of its result.
    """
    def handler(builder: Builder, node: Operation) -> Value:
        x = node.feature_map()
        table = results(node, builder.slot(x).cell.value, node.quantization())
        levels = [int(level) for level in np.clip(table, -128, 127)]
        step = HostStep(kind="table", attributes={"levels": levels})
        return replace(x, state=State.HOST, steps=(*x.steps, step))
    return handler


def smooth(function: Callable[[np.ndarray], np.ndarray]
           ) -> Callable[[Operation, Quantization, Quantization], np.ndarray]:
    """Return the results of a function float64[...] -> float64[...] as float32 rounds them."""
    def results(node: Operation, source: Quantization, target: Quantization) -> np.ndarray:
        with np.errstate(all="ignore"):  # infinities saturate
            real = np.float32(source.scale) * (_LEVELS - source.zero_point).astype(np.float32)
            value = function(real.astype(np.float64)).astype(np.float32)
            scaled = (value * np.float32(1 / np.float32(target.scale))).astype(np.float64)
        scaled = np.clip(np.nan_to_num(scaled), -1e6, 1e6)
        return np.sign(scaled) * np.floor(np.abs(scaled) + 0.5) + target.zero_point
    return results


def logistic(x: np.ndarray) -> np.ndarray:
    """Return ``1 / (1 + exp(-x))``, its steps rounded to float32."""
    powers = np.exp(-x).astype(np.float32)
    return np.float32(1) / (np.float32(1) + powers)


def hard_swish(node: Operation, source: Quantization, target: Quantization) -> np.ndarray:
    """Return ``x * relu6(x + 3) / 6`` in TFLite's 16-bit fixed point."""
    fine = np.float32(source.scale) * np.float32(1 / 128)
    with np.errstate(over="ignore"):
        multiplier, exponent = _multiplier(node, fine / np.float32(target.scale))
    ramp, ramp_exponent = _multiplier(node, fine / np.float32(3 / 32768))
    if exponent > 0:
        node.refuse("its result's scale is too fine for its input's", "quantise the model again")
    x = (_LEVELS - source.zero_point) << 7
    scaled = _high_multiply(x, multiplier)
    ramped = _saturate(x << max(ramp_exponent - 1, 0)) if ramp_exponent > 0 else x
    ramped = _high_multiply(ramped, ramp)
    if ramp_exponent > 0:
        ramped = _saturate(ramped << 1)
    ramped = rounding_divide_by_pot(ramped, max(-ramp_exponent, 0))
    ramped = (ramped + (1 << 15)) >> 1
    product = ramped * scaled
    product = np.sign(product) * (np.abs(product) >> 15)
    return rounding_divide_by_pot(product, -exponent) + target.zero_point


def _multiplier(node: Operation, factor: np.float32) -> tuple[int, int]:
    """Return a factor as a 15-bit multiplier and an exponent."""
    try:
        multiplier, left, right = quantize_multiplier(float(factor))
    except ValueError as error:
        node.refuse(str(error), "quantise the model again")
    return min((multiplier + (1 << 15)) >> 16, (1 << 15) - 1), left - right


def _high_multiply(x: np.ndarray, factor: int) -> np.ndarray:
    """Return ``x * factor / 2**15``, int16 saturating and rounding as gemmlowp does."""
    product = x * factor
    nudged = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.sign(nudged) * (np.abs(nudged) >> 15)


def _saturate(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -(1 << 15), (1 << 15) - 1)


def gelu(node: Operation, source: Quantization, target: Quantization) -> np.ndarray:
    """Return ``x * P(X <= x)`` of a normal X, or its approximation by a hyperbolic tangent."""
    def exact(x: np.ndarray) -> np.ndarray:
        turned = (x * np.float32(-np.sqrt(0.5))).astype(np.float32)
        return x / 2 * np.float32([math.erfc(value) for value in turned])

    def approximate(x: np.ndarray) -> np.ndarray:
        single = x.astype(np.float32)
        inner = single + np.float32(0.044715) * single * single * single
        powers = np.tanh((np.float32(np.sqrt(2 / np.pi)) * inner).astype(np.float64))
        return np.float32(0.5) * single * (1 + powers.astype(np.float32))
    function = approximate if node.attribute("Approximate") else exact
    return smooth(function)(node, source, target)


HANDLERS = {
    "GELU": tabulated(gelu),
    "LOGISTIC": tabulated(smooth(logistic)),
    "TANH": tabulated(smooth(np.tanh)),
    "HARD_SWISH": tabulated(hard_swish),
}
