"""Predict the cycles of the benchmark networks on a target.

    python bench/predict.py
    python bench/predict.py --layers --json

Every network is compiled; its cycles are those of the exact cycle model, for one image with
nothing transferred beside it. Training: ``bench/training.py``.
"""

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field

from systolith.boards.targets import find_config
from systolith.examples.bars import most_cycles
from systolith.examples.synthetic import NETWORKS
from systolith.hw.config import Config
from systolith.sw.compiler import compile_graph
from systolith.sw.errors import CapacityError, SystolithError
from systolith.sw.ir import Add, Conv, Graph, Op
from systolith.sw.program import LayerInfo

#: Reductions that fill less of their rows than this are called short.
_WELL_FILLED = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a network takes on a target; zeros and a note if it does not fit."""

    name: str
    macs: int
    bar: int | None
    cycles: int = 0
    peak_share: float = 0
    #: Bytes of weights, parameters and feature maps at the fullest moment.
    memory_bytes: int = 0
    program_words: int = 0
    layers: list[LayerInfo] = field(default_factory=list)
    notes: str = ""

    @property
    def missed(self) -> bool:
        """It does not fit, or takes longer than its bar."""
        return self.cycles == 0 or self.bar is not None and self.cycles > self.bar


def predict(graph: Graph, config: Config, bar: int | None = None) -> Prediction:
    """Compile a network and collect its figures."""
    macs = sum(graph.macs(op) for op in graph.ops)
    try:
        program = compile_graph(graph, config)
    except CapacityError as error:
        return Prediction(name=graph.name, macs=macs, bar=bar, notes=str(error))
    cycles = program.predicted_cycles
    elements = program.constant_elements + program.map_elements
    return Prediction(
        name=graph.name, macs=macs, bar=bar, cycles=cycles,
        peak_share=macs / config.multipliers / cycles, layers=program.layers,
        memory_bytes=elements * config.operand_bits // 8, program_words=len(program.words),
        notes=_losses(graph, program.layers, config) if bar and cycles > bar else "")


def _losses(graph: Graph, layers: list[LayerInfo], config: Config) -> str:
    """Say which kinds of layers spend the cycles beyond one for every ``multipliers`` MACs."""
    ops = {op.name: op for op in graph.ops}
    lost: Counter[str] = Counter()
    for layer in layers:
        reason = _reason(ops[layer.name], graph, layer, config)
        lost[reason] += layer.cycles - layer.macs // config.multipliers
    return "; ".join(f"{cycles:,} lost in {reason}" for reason, cycles in lost.most_common(3))


def _reason(op: Op, graph: Graph, layer: LayerInfo, config: Config) -> str:
    if not isinstance(op, Conv):
        return "additions" if isinstance(op, Add) else "pooling"
    _, kh, kw, inputs = op.weights.shape
    if op.groups > 1:
        return f"depthwise ({kh * kw} of {config.rows} rows busy)"
    h, w, _ = graph.tensors[op.output].shape
    if h * w < config.load_words:
        return f"loading weights ({config.load_words} cycles a tile, {h * w} used)"
    run = kw * inputs
    fill = run / (-(-run // config.rows) * config.rows)
    if fill < _WELL_FILLED:
        return f"{op.name} (kernel rows of {run} elements fill {fill:.0%} of the rows)"
    return "residual additions" if "Add" in layer.op else "full convolutions"


def network_table(predictions: list[Prediction], layers: bool) -> str:
    """Return the networks' figures as text."""
    heads = "".join(f"{head:>{width}}" for head, width in (
        ("MMAC", 8), ("cycles", 9), ("bar", 9), ("peak", 7), ("KiB", 7), ("words", 7)))
    lines = [f"{'network':26}{heads}  notes"]
    for p in predictions:
        bar = f"{p.bar:,}" if p.bar else ""
        verdict = "MISSED: " if p.missed else ""
        lines.append(
            f"{p.name:26}{p.macs / 1e6:8.3f}{p.cycles:9,}{bar:>9}{p.peak_share:7.1%}"
            f"{p.memory_bytes / 1024:7.1f}{p.program_words:7}  {verdict}{p.notes}".rstrip())
        if layers:
            lines += [f"  {layer.name + ' ' + layer.op:24}{layer.macs / 1e6:8.3f}{layer.cycles:9,}"
                      for layer in p.layers]
    return "\n".join(lines)


def main() -> int:
    """Print the predictions; bars missed are reported, not an error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="ulx3s-85f", help="target or configuration file")
    parser.add_argument("--layers", action="store_true", help="print every layer")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    try:
        config = find_config(arguments.target)
        predictions = [predict(make(), config, most_cycles(config.name, name))
                       for name, make in NETWORKS.items()]
    except SystolithError as error:
        print(f"predict: {error}", file=sys.stderr)
        return error.exit_code
    if arguments.json:
        print(json.dumps({"networks": [asdict(p) | {"missed": p.missed} for p in predictions]},
                         indent=1))
    else:
        print(network_table(predictions, arguments.layers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
