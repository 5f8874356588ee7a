"""Imported networks through driver, link and compiled RTL: operators that write elsewhere."""

import numpy as np
import pytest

from systolith.hw.config import Config
from systolith.sim import golden
from systolith.sim.verilated import open_device
from systolith.sw.compiler import compile_graph
from systolith.sw.device import Device
from systolith.sw.errors import CapacityError
from systolith.sw.importer import import_onnx
from systolith.sw.importer.tflite import import_tflite
from tests.onnx_models import Model, quantized
from tests.tflite_check import inputs
from tests.tflite_models import reference
from tests.tflite_networks import random_model

CONFIG = Config(rows=8, columns=4, post_lanes=2, banks=3, bank_words=1024, accumulator_depth=64,
                frame_bytes=64)


@pytest.mark.slow
def test_random_networks_on_the_rtl():
    """LiteRT's reference kernels, golden model and RTL agree in every bit; cycles are predicted."""
    backend, ran = open_device("", CONFIG), 0
    with Device(backend) as device:
        for seed in range(30):
            m, xs, ys = random_model(seed)
            data, arrays = m.finish(xs, ys), inputs(m, xs, 3)
            graph = import_tflite(data, "m.tflite")
            try:
                program = compile_graph(graph, CONFIG)
            except CapacityError:
                continue
            device.load(program)
            result = device.run(*arrays)
            feed = {m.tensors[i].name: array for i, array in zip(xs, arrays, strict=True)}
            for got, exact, expected in zip(result.outputs, golden.run_model(graph, feed),
                                            reference(data, *arrays), strict=True):
                np.testing.assert_array_equal(got, exact)
                np.testing.assert_array_equal(got, expected)
            # without the next image on its way through the same memory
            alone = device.run(*(array[:1] for array in arrays))
            assert alone.cycles == (program.predicted_cycles,)
            ran += 1
    assert ran >= 12


@pytest.mark.slow
def test_averages_and_means_of_onnx_on_the_rtl():
    """A divisor for each count of elements, and means over channels."""
    with Device(open_device("", CONFIG)) as device:
        for seed, (kernel, pads) in enumerate([([3, 3], [1, 1, 1, 1]), ([2, 4], [1, 0, 0, 3])]):
            m = Model((3, 6, 7), seed=seed)
            x = m.node("AveragePool", m.conv("x", 5, 3, (1, 1)), kernel_shape=kernel, pads=pads)
            y = m.node("AveragePool", m.conv(x, 4, 5, (1, 1)), kernel_shape=[2, 2])
            images = m.data(3)
            y = m.conv(m.node("ReduceMean", y, axes=[1]), 2, 1, (1, 1))
            graph = import_onnx(quantized(m.finish(x, y), images, form="qlinear"), "m.onnx")
            assert any(op.requant is not None and len(op.requant.left) == np.prod(kernel)
                       for op in graph.ops if op.kind == "QLinearAveragePool")
            program = compile_graph(graph, CONFIG)
            device.load(program)
            for got, exact in zip(device.run(images).outputs, golden.run_model(graph, images),
                                  strict=True):
                np.testing.assert_array_equal(got, exact)
            assert device.run(images[:1]).cycles == (program.predicted_cycles,)
