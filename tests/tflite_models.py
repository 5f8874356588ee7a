"""Small TFLite models built operator by operator, and the reference kernels' answers to them."""

from dataclasses import dataclass, field

import flatbuffers
import numpy as np
import tflite
from ai_edge_litert.interpreter import Interpreter, OpResolverType

__all__ = ["NONE", "RELU", "RELU6", "RELU_N1_TO_1", "SAME", "VALID", "Model", "reference"]

SAME, VALID = 0, 1
NONE, RELU, RELU_N1_TO_1, RELU6 = range(4)


@dataclass
class Tensor:
    name: str
    shape: tuple
    dtype: str
    scale: tuple
    zero_point: tuple
    axis: int
    data: np.ndarray | None


@dataclass
class Model:
    """Tensors and operators; ``finish`` writes them as a flatbuffer. Tensors go by number."""

    rng: np.random.Generator
    tensors: list = field(default_factory=list)
    operators: list = field(default_factory=list)
    batch: int = 1

    def tensor(self, shape, dtype="int8", scale=(), zero_point=0, axis=0, data=None, name=None):
        """Add a tensor; a scale that is one number is one for all."""
        scale = tuple(np.atleast_1d(np.asarray(scale, np.float32)))
        zeros = tuple(np.broadcast_to(zero_point, len(scale)))
        name = f"t{len(self.tensors)}" if name is None else name
        self.tensors.append(Tensor(name, tuple(shape), dtype, scale, zeros, axis, data))
        return len(self.tensors) - 1

    def map(self, shape, like=None, scale=None, zero_point=None):
        """Add a feature map of batchless shape, its quantisation random or that of another."""
        if like is not None:
            scale, zero_point = self.tensors[like].scale[0], self.tensors[like].zero_point[0]
        scale = float(np.exp(self.rng.uniform(-5, -1))) if scale is None else scale
        zero_point = int(self.rng.integers(-128, 128)) if zero_point is None else zero_point
        return self.tensor((self.batch, *shape), "int8", scale, zero_point)

    def constant(self, array, **options):
        """Add a constant."""
        array = np.asarray(array)
        return self.tensor(array.shape, array.dtype.name, data=array, **options)

    def weights(self, shape, axis, per_channel=True):
        """Add random int8 weights, their scales along ``axis`` or one."""
        scale = np.exp(self.rng.uniform(-6, -3, shape[axis] if per_channel else 1))
        return self.constant(self.rng.integers(-127, 128, shape).astype(np.int8), scale=scale,
                             axis=axis)

    def bias(self, x, weights):
        """Add a random int32 bias with the scale that belongs to it."""
        scale = np.float32(self.tensors[x].scale[0]) * np.array(self.tensors[weights].scale)
        count = self.tensors[weights].shape[self.tensors[weights].axis]
        return self.constant(self.rng.integers(-5000, 5000, count).astype(np.int32), scale=scale)

    def op(self, kind, inputs, output, options=None, custom=None, **fields):
        """Add an operator; the fields are those of its options, in the schema's names."""
        outputs = output if isinstance(output, list) else [output]
        self.operators.append((kind, inputs, outputs, options, fields, custom))
        return output

    def finish(self, inputs, outputs, version=None):
        """Return the file."""
        writer = flatbuffers.Builder(1024)
        buffers = [self._buffer(writer, None)] + [
            self._buffer(writer, tensor.data) for tensor in self.tensors]
        tensors = [self._tensor(writer, i, tensor) for i, tensor in enumerate(self.tensors)]
        kinds = sorted({(op[0], op[5]) for op in self.operators}, key=str)
        codes = [self._code(writer, *kind) for kind in kinds]
        operators = [self._operator(writer, kinds, *op) for op in self.operators]
        vectors = [writer.CreateNumpyVector(np.array(v, np.int32)) for v in (inputs, outputs)]
        tensors, operators = _offsets(writer, tensors), _offsets(writer, operators)
        tflite.SubGraphStart(writer)
        tflite.SubGraphAddTensors(writer, tensors)
        tflite.SubGraphAddOperators(writer, operators)
        tflite.SubGraphAddInputs(writer, vectors[0])
        tflite.SubGraphAddOutputs(writer, vectors[1])
        graphs = _offsets(writer, [tflite.SubGraphEnd(writer)])
        codes, buffers = _offsets(writer, codes), _offsets(writer, buffers)
        tflite.ModelStart(writer)
        tflite.ModelAddVersion(writer, 3)
        tflite.ModelAddOperatorCodes(writer, codes)
        tflite.ModelAddSubgraphs(writer, graphs)
        tflite.ModelAddBuffers(writer, buffers)
        writer.Finish(tflite.ModelEnd(writer), b"TFL3")
        return bytes(writer.Output())

    @staticmethod
    def _buffer(writer, data):
        vector = None if data is None else writer.CreateNumpyVector(
            np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8))
        tflite.BufferStart(writer)
        if vector is not None:
            tflite.BufferAddData(writer, vector)
        return tflite.BufferEnd(writer)

    @staticmethod
    def _tensor(writer, i, tensor):
        name = writer.CreateString(tensor.name)
        shape = writer.CreateNumpyVector(np.array(tensor.shape, np.int32))
        scale = writer.CreateNumpyVector(np.array(tensor.scale, np.float32))
        zeros = writer.CreateNumpyVector(np.array(tensor.zero_point, np.int64))
        tflite.QuantizationParametersStart(writer)
        if tensor.scale:
            tflite.QuantizationParametersAddScale(writer, scale)
            tflite.QuantizationParametersAddZeroPoint(writer, zeros)
            tflite.QuantizationParametersAddQuantizedDimension(writer, tensor.axis)
        quantization = tflite.QuantizationParametersEnd(writer)
        tflite.TensorStart(writer)
        tflite.TensorAddName(writer, name)
        tflite.TensorAddShape(writer, shape)
        tflite.TensorAddType(writer, getattr(tflite.TensorType, tensor.dtype.upper()))
        tflite.TensorAddBuffer(writer, i + 1)
        tflite.TensorAddQuantization(writer, quantization)
        return tflite.TensorEnd(writer)

    @staticmethod
    def _code(writer, kind, custom):
        text = writer.CreateString(custom) if custom else None
        number = getattr(tflite.BuiltinOperator, kind)
        tflite.OperatorCodeStart(writer)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(writer, min(number, 127))
        tflite.OperatorCodeAddBuiltinCode(writer, number)
        tflite.OperatorCodeAddVersion(writer, _VERSIONS.get(kind, 1))
        if custom:
            tflite.OperatorCodeAddCustomCode(writer, text)
        return tflite.OperatorCodeEnd(writer)

    @staticmethod
    def _operator(writer, kinds, kind, inputs, outputs, options, fields, custom):
        table = None
        if options:
            fields = {name: writer.CreateNumpyVector(np.array(value, np.int32))
                      if isinstance(value, list) else value for name, value in fields.items()}
            getattr(tflite, f"{options}Start")(writer)
            for name, value in fields.items():
                getattr(tflite, f"{options}Add{name}")(writer, value)
            table = getattr(tflite, f"{options}End")(writer)
        vectors = [writer.CreateNumpyVector(np.array(v, np.int32)) for v in (inputs, outputs)]
        tflite.OperatorStart(writer)
        tflite.OperatorAddOpcodeIndex(writer, kinds.index((kind, custom)))
        tflite.OperatorAddInputs(writer, vectors[0])
        tflite.OperatorAddOutputs(writer, vectors[1])
        if options:
            tflite.OperatorAddBuiltinOptionsType(writer, getattr(tflite.BuiltinOptions, options))
            tflite.OperatorAddBuiltinOptions(writer, table)
        return tflite.OperatorEnd(writer)


#: Versions that an int8 operator must have for the interpreter to take it.
_VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "ADD": 2, "SUB": 2,
             "AVERAGE_POOL_2D": 2, "MAX_POOL_2D": 2, "MEAN": 2, "SOFTMAX": 2, "PAD": 2, "PADV2": 2,
             "QUANTIZE": 2, "DEQUANTIZE": 2, "CONCATENATION": 2, "RELU": 2, "RELU6": 2,
             "LOGISTIC": 2, "TANH": 2, "LEAKY_RELU": 2, "TRANSPOSE": 2, "TRANSPOSE_CONV": 3,
             "RESIZE_NEAREST_NEIGHBOR": 3, "STRIDED_SLICE": 2, "SLICE": 2, "SPLIT": 2,
             "SPLIT_V": 2, "MUL": 2, "GATHER": 2, "MIRROR_PAD": 2, "PRELU": 1,
             "SPACE_TO_DEPTH": 2, "REDUCE_MAX": 2, "MAXIMUM": 2, "MINIMUM": 2, "GELU": 2,
             "RESIZE_BILINEAR": 3, "TILE": 1, "SPACE_TO_BATCH_ND": 3, "BATCH_TO_SPACE_ND": 3}


def _offsets(writer, offsets):
    writer.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        writer.PrependUOffsetTRelative(offset)
    return writer.EndVector()


def reference(data, *inputs, whole=False):
    """Return the outputs of TFLite's reference kernels for inputs [n, ...]: a list of arrays.

    With ``whole`` the model's own batch is n, else 1.
    """
    interpreter = Interpreter(model_content=data,
                              experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    outputs = []
    batches = [inputs] if whole else [[a[None] for a in x] for x in zip(*inputs, strict=True)]
    for arrays in batches:
        for detail, array in zip(interpreter.get_input_details(), arrays, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        outputs.append([interpreter.get_tensor(detail["index"])
                        for detail in interpreter.get_output_details()])
    return [np.concatenate(arrays) for arrays in zip(*outputs, strict=True)]
