"""An ONNX node with its operands resolved, and the refusal of one."""

from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np

from systolith.sw.errors import Refusal
from systolith.sw.importer.values import (
    Activation,
    Constant,
    Quantization,
    QuantizedConstant,
    State,
    Value,
)

__all__ = ["Node", "RefusedError"]


class RefusedError(Exception):
    """A node that cannot be mapped."""

    def __init__(self, refusal: Refusal):
        super().__init__(str(refusal))
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the model: operator, attributes, operands."""

    name: str
    op: str
    #: Version of the operator's domain.
    opset: int
    inputs: tuple[Value | None, ...]
    #: Name of the first output.
    output: str
    attributes: dict[str, Any] = field(default_factory=dict)
    #: How many outputs the model names.
    outputs: int = 1
    #: What the QuantizeLinear tells that alone reads the result, if one does.
    told: Quantization | None = None

    def refuse(self, reason: str, advice: str) -> NoReturn:
        """Raise the refusal of this node: why, and what the user can do."""
        raise RefusedError(Refusal(self.name, self.op, reason, advice))

    def on(self, *inputs: Value | None) -> "Node":
        """Return this node with other operands."""
        return replace(self, inputs=inputs)

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or its default."""
        return self.attributes.get(name, default)

    def operand(self, index: int) -> Value | None:
        """Return an operand, None where it was left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, index: int, what: str) -> np.ndarray:
        """Return a constant operand's numbers (dequantised where it is quantised)."""
        value = self.operand(index)
        if isinstance(value, (Constant, QuantizedConstant)):
            return value.array
        self.refuse(f"its {what} is not a constant", "fold it into the model's initializers "
                    "(onnxruntime's offline optimisation does)")

    def number(self, index: int, what: str) -> float:
        """Return a constant operand that is one number."""
        array = self.constant(index, what)
        if array.size != 1:
            self.refuse(f"its {what} has {array.size} elements", "it must be one number: correct "
                        "the model")
        return float(array.item())

    def integers(self, index: int, attribute: str, what: str) -> list[int] | None:
        """Return integers that are an attribute in old opsets and an operand in new ones."""
        if self.operand(index) is not None:
            return [int(n) for n in self.constant(index, what).ravel()]
        value = self.attribute(attribute)
        return None if value is None else [int(n) for n in np.atleast_1d(value)]

    def activation(self, index: int = 0) -> Activation:
        """Return an operand that is a feature map."""
        value = self.operand(index)
        if not isinstance(value, Activation):
            self.refuse(f"operand {index} is a constant", "an operation on constants alone or "
                        "with swapped operands must be folded or swapped before")
        return value

    def quantized(self, index: int = 0) -> Activation:
        """Return an operand that is a dequantised feature map."""
        x = self.activation(index)
        if x.state is State.REAL:
            return x
        reason = {
            State.RAW: "it computes on the model's float input",
            State.PREPARED: "it computes on the model's float input",
            State.PENDING: "its input is a float result that was never quantised",
            State.HOST: "it follows a function of the host (Softmax, Sigmoid...) that is never "
                        "quantised",
            State.INTEGER: "it computes on integers without their scale",
        }[x.state]
        advice = {
            State.HOST: "quantise the function's result (QuantizeLinear, DequantizeLinear)",
            State.INTEGER: "put a DequantizeLinear before it",
        }.get(x.state, "quantise its input (QuantizeLinear, DequantizeLinear), as "
              "onnxruntime.quantization.quantize_static does")
        self.refuse(reason, advice)
