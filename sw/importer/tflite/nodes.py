"""The operators of a TFLite file as nodes."""

from collections.abc import Iterable

from systolith.sw.importer.nodes import ModelNode, model_nodes
from systolith.sw.importer.tflite.file import TensorInfo, TFLiteFile

__all__ = ["label_of", "tflite_nodes"]


def label_of(tensor: TensorInfo, number: int) -> str:
    """Return what messages call the operator that writes a tensor."""
    return tensor.name.split(";")[0] or f"tensor {number}"


def tflite_nodes(file: TFLiteFile) -> list[ModelNode]:
    """Return the operators of a TFLite model, in order."""
    def names(numbers: Iterable[int | None]) -> list[str]:
        return ["" if i is None else str(i) for i in numbers]

    constants = names(i for i, tensor in enumerate(file.tensors) if tensor.data is not None)
    return model_nodes(((label_of(file.tensors[op.outputs[0]], op.outputs[0]), op.kind,
                         names(op.inputs), names(op.outputs)) for op in file.operators),
                       {"", *constants}, set(names(file.inputs)), set(names(file.outputs)))
