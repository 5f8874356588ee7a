"""Train LeNet-5 on MNIST, export it to ONNX and quantise it to int8 with onnxruntime.

Writes ``lenet_float.onnx``, ``lenet_int8.onnx`` and ``digits.npz`` beside this file. PyTorch is
needed here only (``pip install torch onnxscript``); nothing else in Systolith uses it::

    python examples/lenet/train.py --data mnist.npz

``mnist.npz`` holds ``train_images`` uint8[60000, 28, 28], ``train_labels`` uint8[60000],
``test_images`` uint8[10000, 28, 28] and ``test_labels`` uint8[10000] in the official order.
"""

import argparse
import math
import tempfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn
from torch.nn import functional

HERE = Path(__file__).parent
OPSET = 18
SHIPPED_DIGITS = 1000
CALIBRATION_DIGITS = 500


class LeNet(nn.Sequential):
    """LeNet-5 with ReLU and max pooling: float32[n, 1, 28, 28] in 0..1 to ten logits."""

    def __init__(self):
        super().__init__(OrderedDict(
            conv1=nn.Conv2d(1, 6, 5, padding=2), relu1=nn.ReLU(), pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5), relu2=nn.ReLU(), pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(400, 120), relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84), relu4=nn.ReLU(),
            fc3=nn.Linear(84, 10),
        ))


def as_input(images: np.ndarray) -> np.ndarray:
    """Return uint8[n, 28, 28] pixels as the network's input, float32[n, 1, 28, 28] in 0..1."""
    return images[:, None].astype(np.float32) / 255


def augment(x: torch.Tensor) -> torch.Tensor:
    """Turn, scale and shift every digit of a batch a little: 10 degrees, 10 %, 2 pixels at most."""
    n = len(x)
    angle = (torch.rand(n) * 2 - 1) * math.radians(10)
    scale = 1 + (torch.rand(n) * 2 - 1) * 0.1
    shift = (torch.rand(n, 2) * 2 - 1) * (2 / 14)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()], 1),
                        torch.stack([angle.sin(), angle.cos()], 1)], 1)
    theta = torch.cat([turn * scale[:, None, None], shift[:, :, None]], 2)
    grid = functional.affine_grid(theta, x.shape, align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def train(model: nn.Module, images: np.ndarray, labels: np.ndarray, epochs: int) -> None:
    """Fit ``model`` to uint8[n, 28, 28] digits with Adam and a one-cycle learning rate."""
    x, y = torch.from_numpy(as_input(images)), torch.from_numpy(labels.astype(np.int64))
    batch = 128
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=4e-3, total_steps=epochs * (len(x) // batch))
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(x))[:len(x) // batch * batch].split(batch):
            loss = functional.cross_entropy(model(augment(x[rows])), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * batch
        print(f"epoch {epoch + 1:2d}/{epochs}: loss {total / len(x):.4f}", flush=True)


def export(model: nn.Module, path: Path) -> None:
    """Write ``model`` as ONNX with a symbolic batch.

    Every layer becomes one node and gives it its name; the exporter's notes, which quote paths of
    the training machine, are dropped.
    """
    example = torch.zeros(2, 1, 28, 28)
    program = torch.onnx.export(
        model.eval(), (example,), dynamo=True, opset_version=OPSET, verbose=False,
        input_names=["image"], output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("n")},))
    proto = program.model_proto
    proto.graph.name = "lenet"
    for node, (name, _) in zip(proto.graph.node, model.named_children(), strict=True):
        node.name = name
    for item in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info,
                 *proto.graph.input, *proto.graph.output):
        del item.metadata_props[:]
    onnx.save(proto, path)


class Calibration(CalibrationDataReader):
    """Feeds digits, one batch, to onnxruntime's calibration."""

    def __init__(self, images: np.ndarray):
        self._batches = iter([{"image": as_input(images)}])

    def get_next(self):
        return next(self._batches, None)


def quantize(source: Path, target: Path, images: np.ndarray) -> None:
    """Quantise to QDQ: int8 activations, symmetric int8 weights per output channel."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder, "prepared.onnx")
        quant_pre_process(source, prepared, skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            prepared, target, Calibration(images), quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, per_channel=True,
            extra_options={"WeightSymmetric": True})


def accuracy(path: Path, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of digits an ONNX model names right, run by onnxruntime."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits, = session.run(None, {"image": as_input(images)})
    return float((logits.argmax(1) == labels).mean())


def main() -> None:
    """Train, export, quantise, report."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="MNIST as .npz, see above")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.use_deterministic_algorithms(True)
    data = np.load(args.data)
    test = data["test_images"], data["test_labels"]

    model = LeNet()
    train(model, data["train_images"], data["train_labels"], args.epochs)
    float_path, int8_path = HERE / "lenet_float.onnx", HERE / "lenet_int8.onnx"
    export(model, float_path)
    quantize(float_path, int8_path, data["train_images"][:CALIBRATION_DIGITS])
    np.savez_compressed(HERE / "digits.npz", images=test[0][:SHIPPED_DIGITS],
                        labels=test[1][:SHIPPED_DIGITS])
    for path in (float_path, int8_path):
        print(f"{path.name}: {path.stat().st_size} bytes, "
              f"{accuracy(path, *test):.2%} of {len(test[0])} test digits")


if __name__ == "__main__":
    main()
