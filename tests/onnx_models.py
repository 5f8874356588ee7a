"""Small ONNX models for tests: built node by node, quantised and run by onnxruntime."""

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from systolith.sim import golden
from systolith.sim.reference import open_session
from systolith.sw.importer import import_onnx

FORMATS = {"qdq": QuantFormat.QDQ, "qlinear": QuantFormat.QOperator}
TYPES = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}


class Model:
    """A model under construction; methods return the name of a new value."""

    def __init__(self, shape, *, opset=17, batch="n", seed=0, dtype=TensorProto.FLOAT):
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.shape, self.batch, self.dtype = shape, batch, dtype
        self.nodes, self.initializers = [], []

    def constant(self, values, dtype=np.float32):
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def integers(self, *values):
        return self.constant(values, np.int64)

    def node(self, op, *inputs, **attributes):
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"node_{name}", **attributes))
        return name

    def normal(self, *shape):
        """A weight: normally distributed, of a size that keeps results near one."""
        fan_in = np.prod(shape[1:]) or 1
        return self.constant(self.rng.normal(0, 1 / np.sqrt(fan_in), shape))

    def conv(self, x, outputs, depth, kernel, bias=True, **attributes):
        bias = [self.constant(self.rng.normal(0, 0.3, outputs))] if bias else []
        return self.node("Conv", x, self.normal(outputs, depth, *kernel), *bias, **attributes)

    def gemm(self, x, outputs, inputs, **attributes):
        return self.node("Gemm", x, self.normal(outputs, inputs),
                         self.constant(self.rng.normal(0, 0.3, outputs)), transB=1, **attributes)

    def fake_quantize(self, x, scale, zero_point, dtype=np.int8):
        """Append QuantizeLinear and DequantizeLinear."""
        parameters = self.constant(scale), self.constant(zero_point, dtype)
        return self.node("DequantizeLinear", self.node("QuantizeLinear", x, *parameters),
                         *parameters)

    def batch_norm(self, x, channels):
        parts = [self.rng.normal(0, 1, channels), self.rng.normal(0, 0.3, channels),
                 self.rng.normal(0, 0.3, channels), self.rng.uniform(0.5, 2, channels)]
        return self.node("BatchNormalization", x, *map(self.constant, parts))

    def finish(self, *outputs, output_type=TensorProto.FLOAT, **model):
        graph = helper.make_graph(
            self.nodes, "test", [helper.make_tensor_value_info("x", self.dtype,
                                                               [self.batch, *self.shape])],
            [helper.make_tensor_value_info(name, output_type, None) for name in outputs],
            self.initializers)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8, **model)

    def data(self, n=16):
        """Inputs of a float model: normally distributed."""
        return self.rng.normal(0, 1, (n, *self.shape)).astype(np.float32)


class _Once(CalibrationDataReader):
    def __init__(self, x):
        self.batches = iter([{"x": x}])

    def get_next(self):
        return next(self.batches, None)


def quantized(model, data, *, form="qdq", activation="int8", prepare=True, per_channel=True,
              **extra):
    """Quantise a float model with onnxruntime, without the code under test."""
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        source, prepared, target = (Path(folder, f"{i}.onnx") for i in range(3))
        onnx.save(model, source)
        if prepare:
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared if prepare else source, target, _Once(data), quant_format=FORMATS[form],
            activation_type=TYPES[activation], weight_type=QuantType.QInt8,
            per_channel=per_channel, extra_options={"WeightSymmetric": True, **extra})
        return onnx.load(target)


def reference(model, x, optimised=True):
    """Return onnxruntime's outputs for an input, or for all of them by name."""
    serialised, inputs = model.SerializeToString(), x if isinstance(x, dict) else {"x": x}
    try:
        return open_session(serialised, optimised=optimised).run(None, inputs)
    except Fail:                                 # some exact kernels want other zero points
        return open_session(serialised, optimised=False).run(None, inputs)


def difference(model, x):
    """Return golden minus onnxruntime in steps of the output, one array an output."""
    graph = import_onnx(model, "test.onnx")
    results = []
    for port, ours, theirs in zip(graph.outputs, golden.run_model(graph, x), reference(model, x),
                                  strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        step = graph.tensors[port.tensor].scale if ours.dtype == np.float32 else 1
        results.append(np.rint((ours.astype(np.float64) - theirs) / step).astype(int))
    return results


def random_model(rng, layers=5):
    """Build a random float CNN of Conv, Relu, Clip, pools, Add, BatchNormalization and Gemm."""
    channels, size = int(rng.integers(1, 6)), int(rng.integers(6, 12))
    model = Model((channels, size, size), seed=int(rng.integers(1 << 30)))
    x = model.conv("x", channels, channels, (1, 1))
    for _ in range(layers):
        kind = rng.choice(["conv", "depthwise", "pointwise", "residual", "max", "average"])
        if kind in ("max", "average") and size >= 4:
            op = "MaxPool" if kind == "max" else "AveragePool"
            x = model.node(op, x, kernel_shape=[2, 2], strides=[2, 2])
            size //= 2
            continue
        kernel = 1 if kind in ("pointwise", "max", "average") else 3
        outputs = int(rng.integers(2, 9)) if kind in ("conv", "pointwise") else channels
        groups = channels if kind == "depthwise" else 1
        y = model.conv(x, outputs, channels // groups, (kernel, kernel), group=groups,
                       pads=[kernel // 2] * 4)
        y = model.batch_norm(y, outputs) if rng.random() < 0.3 else y
        y = model.node("Add", y, x) if kind == "residual" else y
        x, channels = (model.node("Relu", y) if rng.random() < 0.6 else y), outputs
    if rng.random() < 0.5:
        x, size = model.node("GlobalAveragePool", x), 1
    x = model.gemm(model.node("Flatten", x), 10, channels * size * size)
    return model, model.finish(x)
