"""Train LeNet-5 on MNIST and quantise it to int8.

Writes ``lenet_float.onnx``, ``lenet_int8.onnx`` and ``digits.npz`` beside this file::

    python examples/lenet/train.py --data mnist.npz

``mnist.npz`` holds ``train_images`` uint8[60000, 28, 28], ``train_labels`` uint8[60000],
``test_images`` uint8[10000, 28, 28] and ``test_labels`` uint8[10000] in the official order.
"""

from collections import OrderedDict

import numpy as np
import torch
from torch import nn

from systolith.examples import training
from systolith.examples.zoo import ZOO

ENTRY = ZOO["lenet"]
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


def augment(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn, scale and shift every digit of a batch a little."""
    return training.move(x, degrees=10, scale=0.1, shift=2 / 28)[0], y


def main() -> None:
    """Train, export, quantise, report."""
    data, epochs = training.start(__doc__, ENTRY, epochs=15)
    model = LeNet()
    training.fit(model, data.train_x, data.train_y, epochs=epochs, augment=augment,
                 loss=nn.CrossEntropyLoss())
    training.finish(model, ENTRY, data.train_x[:CALIBRATION_DIGITS], (data.test_x, data.test_y),
                    names=("image", "logits"))
    np.savez_compressed(
        ENTRY.path.with_name("digits.npz"),
        images=np.rint(data.test_x[:SHIPPED_DIGITS, 0] * 255).astype(np.uint8),
        labels=data.test_y[:SHIPPED_DIGITS])


if __name__ == "__main__":
    main()
