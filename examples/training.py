"""What the zoo's training scripts share: fit in PyTorch, export to ONNX, quantise to int8.

Needs PyTorch, which nothing else in Systolith does: ``pip install --group train``.
"""

import argparse
import math
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional

from systolith.examples.datasets import Dataset
from systolith.examples.reference import reference_outputs
from systolith.examples.zoo import Entry
from systolith.sw.errors import DataError
from systolith.sw.quantize import quantize

__all__ = ["conv_block", "finish", "fit", "light", "move", "randomise", "repeatable", "start"]

_OPSET = 18
#: Samples of one step of training.
_BATCH = 64
#: Alters inputs and targets of a batch a little, each sample in its own way.
Augmentation = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def start(text: str, entry: Entry, epochs: int) -> tuple[Dataset, int]:
    """Read a training script's command line and its data, and make PyTorch repeatable.

    Parameters
    ----------
    text : str
        What the script does.
    entry : Entry
        What it trains.
    epochs : int
        Passes over the training data if the command line does not say.

    Returns
    -------
    data : Dataset
        The data set.
    epochs : int
        Passes over it.
    """
    parser = argparse.ArgumentParser(description=text,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True,
                        help=f"{entry.data}, see docs/zoo.md")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    repeatable(arguments.seed)
    try:
        return entry.read(arguments.data), arguments.epochs
    except DataError as error:
        parser.error(str(error))


def repeatable(seed: int) -> None:
    """Make PyTorch give the same numbers every time."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)                     # sums come out the same on any number of cores


def conv_block(number: int, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *,
               pool: bool = False, dimensions: int = 2) -> OrderedDict[str, nn.Module]:
    """Return a convolution that keeps the size, its normalisation, ReLU and maximum over 2."""
    conv, norm, pooling = ((nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d) if dimensions == 1
                           else (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d))
    layers = OrderedDict({
        f"conv{number}": conv(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        f"norm{number}": norm(outputs), f"relu{number}": nn.ReLU()})
    if pool:
        layers[f"pool{number}"] = pooling(2)
    return layers


def move(x: torch.Tensor, *, degrees: float, scale: float,
         shift: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn, scale and shift each image of a batch at random.

    Parameters
    ----------
    x : torch.Tensor
        Images float32[n, c, h, w].
    degrees, scale, shift : float
        Most that an image is turned, scaled (share of its size) and shifted (share of its size).

    Returns
    -------
    moved : torch.Tensor
        Of x's shape; the edge goes on outside.
    theta : torch.Tensor
        float32[n, 2, 3]: from places in the result to places in ``x``, both in -1..1.
    """
    n = len(x)

    def spread(*shape: int) -> torch.Tensor:
        return torch.rand(*shape) * 2 - 1

    angle, zoom = spread(n) * math.radians(degrees), 1 + spread(n) * scale
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()], 1),
                        torch.stack([angle.sin(), angle.cos()], 1)], 1)
    theta = torch.cat([turn * zoom[:, None, None], 2 * shift * spread(n, 2, 1)], 2)
    grid = functional.affine_grid(theta, x.shape, align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False), theta


def light(x: torch.Tensor) -> torch.Tensor:
    """Change brightness and contrast of each image float32[n, c, h, w] by up to a fifth."""
    contrast, brightness = (torch.rand(2, len(x), 1, 1, 1) * 2 - 1) * 0.2
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return ((x - mean) * (1 + contrast) + mean + brightness).clamp(0, 1)


def fit(model: nn.Module, x: np.ndarray, y: np.ndarray, *, epochs: int, augment: Augmentation,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        rate: float = 4e-3, decay: float = 1e-2) -> None:
    """Train with AdamW and a one-cycle learning rate.

    Parameters
    ----------
    model : nn.Module
        From a batch of x to a batch of y.
    x, y : np.ndarray
        Inputs float32[n, ...] and targets, classes uint8[n] or float32[n, ...].
    epochs : int
        Passes over the data.
    augment : Callable
        Of inputs and targets of a batch, to others.
    loss : Callable
        Of outputs and targets; cross-entropy with smoothed labels if left out.
    rate, decay : float
        Highest learning rate, weight decay.
    """
    inputs = torch.from_numpy(x)
    targets = torch.from_numpy(y if y.dtype.kind == "f" else y.astype(np.int64))
    loss = loss or nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=decay)
    steps = len(inputs) // _BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate,
                                                   total_steps=epochs * steps)
    model.train()
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(inputs))[:steps * _BATCH].split(_BATCH):
            batch, wanted = augment(inputs[rows], targets[rows])
            value = loss(model(batch), wanted)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
            total += value.item()
        print(f"epoch {epoch + 1:3d}/{epochs}: loss {total / steps:.4f}", flush=True)


def randomise(model: nn.Module) -> None:
    """Give a model random weights that keep the size of what passes through, layer by layer.

    References
    ----------
    He et al. 2015, "Delving Deep into Rectifiers".
    """
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.normal_(layer.bias, std=0.1)


def finish(model: nn.Module, entry: Entry, calibration: np.ndarray,
           test: tuple[np.ndarray, np.ndarray] | None = None,
           names: tuple[str, str] = ("input", "output")) -> None:
    """Export a trained model, quantise it, write both files and print what they are worth.

    Parameters
    ----------
    model : nn.Module
        What was trained; its layers' names become those of the file's nodes.
    entry : Entry
        What it is in the zoo.
    calibration : float32[n, ...]
        Training inputs that set the scales.
    test : pair of arrays, optional
        Inputs and targets of the entry's metric.
    names : pair of str
        Of the model's input and output.
    """
    export(model, calibration[:2], entry, names)
    quantized = quantize(onnx.load(entry.float_path), str(entry.float_path), calibration)
    onnx.save(quantized, entry.path)
    for path in (entry.float_path, entry.path):
        print(f"{path.name}: {path.stat().st_size} bytes{_worth(entry, path, test)}")


def _worth(entry: Entry, path: Path, test: tuple[np.ndarray, np.ndarray] | None) -> str:
    if test is None:
        return ""
    x, y = test
    return f", {entry.metric.describe(reference_outputs(path, x), y)} on {len(x)} test samples"


def export(model: nn.Module, example: np.ndarray, entry: Entry, names: tuple[str, str]) -> None:
    """Write an entry's float model as ONNX, with a symbolic batch and the layers' names.

    The exporter's notes, which quote paths of the training machine, are dropped.
    """
    program = torch.onnx.export(
        model.eval(), (torch.from_numpy(example),), dynamo=True, opset_version=_OPSET,
        verbose=False, input_names=names[:1], output_names=names[1:],
        dynamic_shapes=({0: torch.export.Dim("n")},))
    proto = program.model_proto
    proto.graph.name = entry.name
    for node in proto.graph.node:
        node.name = _layer(node)
    for item in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info,
                 *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del item.metadata_props[:]
    onnx.save(proto, entry.float_path)


def _layer(node: onnx.NodeProto) -> str:
    """Return the name of the layer a node comes from: that of its weights, or of its module."""
    for name in node.input:
        if name.endswith(".weight"):
            return name.removesuffix(".weight")
    notes = {entry.key: entry.value for entry in node.metadata_props}
    scopes = notes.get("pkg.torch.onnx.name_scopes", "")
    parts = [part.strip(" '[]") for part in scopes.split(",")]
    return ".".join(parts[-2:]) if len(parts) > 1 else node.name
