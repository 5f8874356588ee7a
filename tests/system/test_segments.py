"""Networks with host operations through driver, link and compiled RTL."""

import numpy as np
import pytest

from systolith.hw.config import Config
from systolith.sim import golden
from systolith.sim.verilated import open_device
from systolith.sw.device import Device
from systolith.sw.errors import CapacityError
from systolith.sw.importer import import_onnx
from systolith.sw.importer.tflite import import_tflite
from systolith.sw.partition import compile_network
from systolith.sw.pipeline import Pipeline
from tests import onnx_models
from tests.tflite_check import inputs
from tests.tflite_hosted import activation, block, random_model
from tests.tflite_models import Model, reference
from tests.tflite_networks import convolve

CONFIG = Config(rows=8, columns=4, post_lanes=2, banks=3, bank_words=1024, accumulator_depth=64,
                frame_bytes=64)


def mobile_net():
    """Return an inverted residual behind a first layer, its inputs and outputs."""
    m = Model(np.random.default_rng(1))
    x = m.map((10, 10, 3))
    return m, [x], [block(m, activation(m, "HARD_SWISH", convolve(m, x, 8)))]


@pytest.mark.slow
def test_networks_in_segments_on_the_rtl():
    """LiteRT's reference kernels, golden model and RTL agree in every bit; cycles are predicted."""
    programs = []
    with Device(open_device("", CONFIG)) as device:
        for m, xs, ys in [mobile_net(), *map(random_model, range(20))]:
            data, arrays = m.finish(xs, ys), inputs(m, xs, 3)
            graph = import_tflite(data, "m.tflite")
            try:
                network = compile_network(graph, CONFIG)
            except CapacityError:
                continue
            if not isinstance(network, Pipeline):
                continue
            device.load(network)
            result, exact = device.run(*arrays), golden.run_model(graph, arrays[0])
            for got, ours, expected in zip(result.outputs, exact, reference(data, *arrays),
                                           strict=True):
                np.testing.assert_array_equal(got, ours)
                np.testing.assert_array_equal(got, expected)
            # without the next image on its way through the same memory
            alone = device.run(*(array[:1] for array in arrays))
            assert alone.cycles == (network.predicted_cycles,)
            programs.append(len(network.programs))
    assert len(programs) >= 12 and max(programs) >= 4


@pytest.mark.slow
def test_a_divided_network_on_the_rtl():
    """A fully connected layer of 1,152 inputs and 46,080 weights in a memory of 24,576 bytes."""
    m = onnx_models.Model((1, 14, 14))
    x = m.node("Flatten", m.node("Relu", m.conv("x", 8, 1, (3, 3))))
    x = m.gemm(m.node("Relu", m.gemm(x, 40, 1152)), 10, 40)
    images = m.data(3)
    graph = import_onnx(onnx_models.quantized(m.finish(x), images), "m.onnx")
    network = compile_network(graph, CONFIG, divide=True)
    assert len(network.programs) >= 3
    with Device(open_device("", CONFIG)) as device:
        device.load(network)
        ran = device.run(images)
        alone = device.run(images[:1])
    np.testing.assert_array_equal(ran.outputs[0], golden.run_model(graph, images)[0])
    assert alone.cycles == (network.predicted_cycles,)
