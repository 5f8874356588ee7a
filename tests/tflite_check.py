"""TFLite models against LiteRT's reference kernels, and their compiled programs on the machine."""

import numpy as np

from systolith.hw.config import Config
from systolith.sim import golden
from systolith.sim.machine_device import MachineDevice
from systolith.sw.device import Device
from systolith.sw.importer.tflite import import_tflite
from systolith.sw.partition import compile_network
from tests.tflite_models import SAME, VALID, reference

__all__ = ["check", "inputs", "result_size", "spread", "window"]

IMAGES = 12


def inputs(model, numbers, images=None):
    """Return random inputs of a model, extreme ones among them; as many as its batch of several."""
    images = images or (model.batch if model.batch > 1 else IMAGES)
    arrays = []
    for i in numbers:
        tensor = model.tensors[i]
        if tensor.dtype == "float32":
            x = model.rng.normal(0, 3, (images, *tensor.shape[1:])).astype(np.float32)
        else:
            limits = np.iinfo(tensor.dtype)
            x = model.rng.integers(limits.min, limits.max + 1, (images, *tensor.shape[1:]),
                                   dtype=tensor.dtype)
            x[0], x[1] = limits.min, limits.max
        arrays.append(x)
    return arrays


def check(model, xs, ys, arrays=None, machine=False):
    """Compare all outputs of a model with the reference kernels'."""
    data = model.finish(xs, ys)
    arrays = inputs(model, xs) if arrays is None else arrays
    graph = import_tflite(data, "m.tflite")
    feed = {model.tensors[i].name: array for i, array in zip(xs, arrays, strict=True)}
    outputs = golden.run_model(graph, feed)
    for got, expected in zip(outputs, reference(data, *arrays, whole=model.batch > 1), strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    if machine:
        config = Config()
        with Device(MachineDevice(config)) as device:
            device.load(compile_network(graph, config))
            ran = device.run(*arrays)
        for got, expected in zip(ran.outputs, outputs, strict=True):
            np.testing.assert_array_equal(got, expected)
    return graph


def window(**options):
    """Return the options of a window, those not given plain."""
    return {"Padding": VALID, "StrideH": 1, "StrideW": 1} | options


def spread(model, x, weights, depth):
    """Return a scale of the result that most accumulators reach and some leave."""
    t, w = model.tensors[x], model.tensors[weights]
    return float(t.scale[0] * np.median(w.scale) * 40 * np.sqrt(depth) * model.rng.uniform(.3, 2))


def result_size(shape, kernel, options):
    """Return the height and width of a convolution's result."""
    sizes = []
    for n, k, axis in zip(shape, kernel, "HW", strict=False):
        stride, span = options[f"Stride{axis}"], options.get(f"Dilation{axis}Factor", 1) * (k - 1)
        sizes.append(-(-(n if options["Padding"] == SAME else n - span) // stride))
    return sizes
