"""From PyTorch to the accelerator: train, export, quantise, compile, run, compare.

    pip install --group train
    python examples/from_pytorch.py

Nothing but ``network``, ``train`` and ``export`` needs PyTorch.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

import systolith
from systolith.boards.targets import find_config
from systolith.examples.reference import reference_outputs
from systolith.examples.stripes import CLASSES, stripes
from systolith.sw.importer.load import load_model
from systolith.sw.partition import compile_network
from systolith.sw.quantize import quantize

__all__ = ["main"]


def network() -> nn.Module:
    """Return a small CNN with the layers people use: batch norm, a residual, a pool."""

    class Residual(nn.Module):
        def __init__(self, channels: int):
            super().__init__()
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.relu(x + self.conv(x))

    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), Residual(8),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, len(CLASSES)))


def train(model: nn.Module, x: np.ndarray, labels: np.ndarray, steps: int = 300) -> None:
    """Fit the model."""
    x, labels = torch.from_numpy(x), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        batch = torch.randint(len(x), (64,))
        loss = nn.functional.cross_entropy(model(x[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def export(model: nn.Module, path: Path) -> None:
    """Write the float model with an open batch."""
    torch.onnx.export(
        model.eval(), (torch.zeros(2, 1, 16, 16),), path, dynamo=True, opset_version=18,
        input_names=["picture"], output_names=["direction"],
        dynamic_shapes=({0: torch.export.Dim("n")},), verbose=False)


def main() -> float:
    """Do it all; return the accelerator's accuracy."""
    torch.manual_seed(0)
    x, labels = stripes(2000, seed=1)
    x = x[:, None]                                            # PyTorch: channels first
    model = network()
    train(model, x, labels)
    with tempfile.TemporaryDirectory() as folder:
        float_path, path = Path(folder, "model.onnx"), Path(folder, "model_int8.onnx")
        export(model, float_path)
        onnx.save(quantize(onnx.load(float_path), "model.onnx", x[:200]), path)
        graph = load_model(path)
        test, wanted = stripes(200, seed=2)
        reference = reference_outputs(path, test[:, None])    # onnxruntime, int8
    program = compile_network(graph, find_config("ulx3s-85f"))
    with systolith.open("machine:", program.config) as device:     # sim: is the RTL itself
        device.load(program)
        answers = device.run(test[:, None]).outputs[0]
    accuracy = float((answers.argmax(axis=1) == wanted).mean())
    step = graph.tensors[graph.outputs[0].tensor].scale
    worst = np.abs(answers - reference).max() / step
    print(f"{accuracy:.1%} of {len(test)} pictures right, {program.predicted_cycles:,} cycles each;"
          f" at most {worst:.0f} steps of the output from onnxruntime")
    return accuracy


if __name__ == "__main__":
    main()
