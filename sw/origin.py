"""What became of the nodes of a model file."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Fate", "Origin"]


class Fate(StrEnum):
    """What the importer made of a node."""

    #: Operations of the network.
    OPERATION = "operation"
    #: Bounds or scales of an operation of another node.
    FUSED = "fused"
    #: Another view of a map: it moves or renames elements, nothing is computed.
    LAYOUT = "layout"
    #: Tells the scale of a map.
    QUANTIZATION = "quantization"
    #: Computed while the model is read.
    CONSTANT = "constant"
    #: A function the host runs, at the model's end or between two programs.
    HOST = "host"
    #: What the host does to a float input before it is quantised.
    PREPARATION = "preparation"
    #: Cannot be mapped.
    REFUSED = "refused"
    #: Reads what a refused node should have made, and was not looked at.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A node of the model file, and what it became."""

    #: Name and operator in the file.
    name: str
    op: str
    fate: Fate
    #: Names of the operations it became, or of the one it was fused into.
    ops: tuple[str, ...] = ()
    #: The feature map it reads or makes, if it is about one.
    tensor: str | None = None
