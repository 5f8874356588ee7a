"""Predict the cycles of the benchmark networks, and of a training step of LeNet-5, on a target.

    python bench/predict.py
    python bench/predict.py --layers --json

Inference: every network is compiled; its cycles are those of the exact cycle model, for one image
with nothing transferred beside it.

Training, per image of a batch: forward passes are compiled too, the fully connected layers on the
whole batch at once (a nest takes as many cycles with 16-bit operands as with 8). The backward
passes cannot be compiled; their nests are counted as ``passes * max(vectors, load_words)``, with R
rows and C columns, for a layer of k x k kernels, ``ci`` inputs and ``co`` outputs:

- gradient of the input, a convolution of the output's gradient with the kernel turned around:
  ``ceil(ci / C) * k * ceil(k * co / R)`` passes over the input's pixels;
- gradient of the weights, R x C of them at a time kept in the array (output stationary):
  ``ceil(co / C) * k * ceil(k * ci / R)`` passes over the output's pixels;
- update, once a batch: POST adds gradients to weights as residuals, ``post_lanes`` at a time.

Routing gradients through the pools, and the loss, are not counted.
"""

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field

from systolith.boards.targets import find_config
from systolith.examples.bars import most_cycles
from systolith.examples.synthetic import NETWORKS, lenet_dense, lenet_features
from systolith.hw.config import Config
from systolith.hw.latency import RESIDUAL_CYCLES
from systolith.sw.compiler import compile_graph
from systolith.sw.errors import CapacityError, SystolithError
from systolith.sw.ir import Add, Conv, Graph, Op
from systolith.sw.program import LayerInfo

#: Most cycles an image of a training step may take, and the batch.
TRAINING_BAR, BATCH = 10_000, 32
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


def training_step(config: Config, batch: int = BATCH) -> dict[str, float]:
    """Return the cycles per image of the parts of a training step of LeNet-5.

    Raises
    ------
    CapacityError
        If the forward passes do not fit.
    """
    features, dense = lenet_features(), lenet_dense(batch)
    parts = {"forward, convolutions": float(compile_graph(features, config).predicted_cycles),
             "forward, dense": compile_graph(dense, config).predicted_cycles / batch}
    weights = 0
    for graph, images, kind in ((features, batch, "convolution"), (dense, 1, "dense")):
        layers = [op for op in graph.ops if isinstance(op, Conv)]
        for i, op in enumerate(layers, 1):
            weights += op.weights.size
            if graph is dense or i > 1:          # nobody needs the gradient of the image
                parts[f"input gradient, {kind} {i}"] = _backward(
                    op, op.x, op.weights.shape[::3], graph, images, config) / batch
            parts[f"weight gradient, {kind} {i}"] = _backward(
                op, op.output, op.weights.shape[::-3], graph, images, config) / batch
    results = -(-weights // config.post_lanes)
    return parts | {"update": results * RESIDUAL_CYCLES / batch}


def _backward(op: Conv, pixels: str, channels: tuple[int, int], graph: Graph, images: int,
              config: Config) -> int:
    """Return the cycles of one gradient for ``images`` images.

    Parameters
    ----------
    op : Conv
        The layer.
    pixels : str
        Tensor whose pixels are the vectors of a pass.
    channels : tuple of int
        Channels along the rows and along the columns of the array.
    graph, images, config
        The layer's graph, the images of it in a batch, and the target.
    """
    h, w, _ = graph.tensors[pixels].shape
    along_rows, along_columns = channels
    _, kh, kw, _ = op.weights.shape
    passes = -(-along_columns // config.columns) * kh * -(-kw * along_rows // config.rows)
    return passes * max(h * w * images, config.load_words)


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


def training_macs() -> int:
    """Return the multiply-accumulates of a training step of LeNet-5 for one image."""
    forward = [graph.macs(op) for graph in (lenet_features(), lenet_dense(1)) for op in graph.ops]
    first, *rest = (macs for macs in forward if macs)
    return 2 * first + 3 * sum(rest)             # nobody needs the gradient of the image


def training_table(parts: dict[str, float], config: Config) -> str:
    """Return the parts of a training step as text, the longest first."""
    total = sum(parts.values())
    ordered = sorted(parts.items(), key=lambda item: -item[1])
    verdict = f"; MISSED: most in {ordered[0][0]}" if total > TRAINING_BAR else ""
    ideal = training_macs() / config.multipliers
    title = f"LeNet-5 training step, cycles per image of a batch of {BATCH}"
    lines = [f"{title}: {total:,.0f} (bar {TRAINING_BAR:,}{verdict})"]
    lines += [f"  {name:34}{cycles:9,.0f}{cycles / total:7.1%}" for name, cycles in ordered]
    lines.append(f"  {'(every multiplier busy, no update)':34}{ideal:9,.0f}{ideal / total:7.1%}")
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
        parts = training_step(config)
    except SystolithError as error:
        print(f"predict: {error}", file=sys.stderr)
        return error.exit_code
    if arguments.json:
        print(json.dumps({"networks": [asdict(p) | {"missed": p.missed} for p in predictions],
                          "training": {"bar": TRAINING_BAR, "batch": BATCH, "parts": parts}},
                         indent=1))
    else:
        print(network_table(predictions, arguments.layers), "",
              training_table(parts, config), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
