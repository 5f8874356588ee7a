"""A record of what became of each node, kept while a model is read."""

from collections.abc import Sequence
from dataclasses import replace

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.drafts import Draft
from systolith.sw.importer.node import Node
from systolith.sw.importer.values import Activation, State, Value
from systolith.sw.origin import Fate, Origin

__all__ = ["Ledger"]

#: Operators that only tell a scale.
_QUANTIZATION = ("QuantizeLinear", "DequantizeLinear", "QUANTIZE", "DEQUANTIZE")
#: Steps of the host that are no function of the model.
_SCALES = ("quantize", "dequantize")


class Ledger:
    """Tells a node's fate from what it did to the builder.

    Parameters
    ----------
    builder : Builder
        What the nodes add to.
    """

    def __init__(self, builder: Builder):
        self.builder = builder
        self.origins: list[Origin] = []
        #: Drafts that are accounted for.
        self._seen = 0

    def note(self, node: Node, fate: Fate) -> None:
        """Record a node that has not been imported; drafts it left behind are nobody's."""
        self._seen = len(self.builder.drafts)
        self.origins.append(Origin(name=node.name, op=node.op, fate=fate))

    def imported(self, node: Node, results: Sequence[Value]) -> None:
        """Record a node from its operands and results, and the operations added for it."""
        made = self._new()
        self.origins.append(Origin(name=node.name, op=node.op, **self._fate(node, results, made)))

    def went_on(self) -> None:
        """Give operations just added to the host's functions whose results are read after all."""
        for draft in self.builder.drafts[self._seen:]:
            for kind in draft.kind.split(", "):
                for i, origin in enumerate(self.origins):
                    if origin.fate is Fate.HOST and not origin.ops and _is(draft, kind, origin):
                        self.origins[i] = replace(origin, ops=(draft.name,))
                        break
        self._new()

    def written(self, output: Node) -> None:
        """Record the operations added for an output of the model, if any."""
        made = self._new()
        if made:
            self.origins.append(Origin(name=output.name, op=output.op, fate=Fate.OPERATION,
                                       ops=made))

    def _new(self) -> tuple[str, ...]:
        names = tuple(draft.name for draft in self.builder.drafts[self._seen:])
        self._seen = len(self.builder.drafts)
        return names

    def _fate(self, node: Node, results: Sequence[Value], made: tuple[str, ...]) -> dict:
        result = results[0]
        if not isinstance(result, Activation):
            return {"fate": Fate.CONSTANT}
        about = {"tensor": result.tensor}
        if made:
            return about | {"fate": Fate.OPERATION, "ops": made}
        source = next(x for x in node.inputs if isinstance(x, Activation))
        if result.state is State.PREPARED:
            return about | {"fate": Fate.PREPARATION}
        if any(step.kind not in _SCALES for step in result.steps[len(source.steps):]):
            return about | {"fate": Fate.HOST}
        if node.op in _QUANTIZATION:
            return about | {"fate": Fate.QUANTIZATION}
        draft = self.builder.slot(result).draft
        if draft is not None and node.name in draft.absorbed:
            return about | {"fate": Fate.FUSED, "ops": (draft.name,)}
        return about | {"fate": Fate.LAYOUT}


def _is(draft: Draft, kind: str, origin: Origin) -> bool:
    """Tell whether an operation is a function of the host: by its node, or its map and kind."""
    function = origin.op.removeprefix("QLinear").lower()
    return draft.node.name == origin.name or (draft.inputs == (origin.tensor,) and (
        kind.removesuffix("_tanh").replace("_", "") == function))
