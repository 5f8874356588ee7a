"""Functions of one number that the host computes, as ONNX defines them, in float32.

Between a DequantizeLinear and a QuantizeLinear a chain of them is a table of 256 levels; at a
model's end they run as they are.

Reference
---------
``onnx/docs/Operators.md``, each operator's defaults and formula.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

__all__ = ["DEFAULTS", "FUNCTIONS"]

_Attributes = Mapping[str, float]
_erf = np.vectorize(math.erf, otypes=[np.float32])


def _sigmoid(x: np.ndarray, _: _Attributes) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _tanh(x: np.ndarray, _: _Attributes) -> np.ndarray:
    return np.tanh(x)


def _hard_sigmoid(x: np.ndarray, a: _Attributes) -> np.ndarray:
    return np.clip(np.float32(a["alpha"]) * x + np.float32(a["beta"]), np.float32(0), np.float32(1))


def _hard_swish(x: np.ndarray, _: _Attributes) -> np.ndarray:
    return x * _hard_sigmoid(x, {"alpha": 1 / 6, "beta": 0.5})


def _elu(x: np.ndarray, a: _Attributes) -> np.ndarray:
    return np.where(x < 0, np.float32(a["alpha"]) * np.expm1(x), x)


def _selu(x: np.ndarray, a: _Attributes) -> np.ndarray:
    return np.float32(a["gamma"]) * _elu(x, a)


def _celu(x: np.ndarray, a: _Attributes) -> np.ndarray:
    alpha = np.float32(a["alpha"])
    return np.maximum(x, 0) + np.minimum(alpha * np.expm1(x / alpha), np.float32(0))


def _softplus(x: np.ndarray, _: _Attributes) -> np.ndarray:
    return np.logaddexp(x, np.float32(0))


def _softsign(x: np.ndarray, _: _Attributes) -> np.ndarray:
    return x / (1 + np.abs(x))


def _mish(x: np.ndarray, a: _Attributes) -> np.ndarray:
    return x * np.tanh(_softplus(x, a))


def _gelu(x: np.ndarray, _: _Attributes) -> np.ndarray:
    return np.float32(0.5) * x * (1 + _erf(x / np.float32(math.sqrt(2))))


def _gelu_tanh(x: np.ndarray, _: _Attributes) -> np.ndarray:
    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x ** 3)
    return np.float32(0.5) * x * (1 + np.tanh(inner))


def _thresholded_relu(x: np.ndarray, a: _Attributes) -> np.ndarray:
    return np.where(x > np.float32(a["alpha"]), x, np.float32(0))


#: Function -> what it makes of float32[...] and its attributes.
FUNCTIONS: dict[str, Callable[[np.ndarray, _Attributes], np.ndarray]] = {
    "sigmoid": _sigmoid, "tanh": _tanh, "hard_sigmoid": _hard_sigmoid, "hard_swish": _hard_swish,
    "elu": _elu, "selu": _selu, "celu": _celu, "softplus": _softplus, "softsign": _softsign,
    "mish": _mish, "gelu": _gelu, "gelu_tanh": _gelu_tanh,
    "thresholded_relu": _thresholded_relu, "erf": lambda x, _: _erf(x),
    "exp": lambda x, _: np.exp(x), "abs": lambda x, _: np.abs(x), "neg": lambda x, _: -x,
}

#: Function -> its attributes where a node does not give them; none for those not here.
DEFAULTS: dict[str, dict[str, float]] = {
    "hard_sigmoid": {"alpha": 0.2, "beta": 0.5},
    "elu": {"alpha": 1.0},
    "selu": {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805},
    "celu": {"alpha": 1.0},
    "thresholded_relu": {"alpha": 1.0},
}
