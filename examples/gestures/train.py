"""Train a CNN that reads the digits 0 to 9 from hands in sign language, and quantise it to int8.

Writes ``gestures_float.onnx`` and ``gestures_int8.onnx`` beside this file::

    python examples/gestures/train.py --data sign_digits_64x64.npz
"""

from collections import OrderedDict

import torch
from torch import nn

from systolith.examples import training
from systolith.examples.zoo import ZOO

ENTRY = ZOO["gestures"]


class Network(nn.Sequential):
    """Hands float32[n, 1, 64, 64] to ten logits."""

    def __init__(self):
        super().__init__(OrderedDict(
            **training.conv_block(1, 1, 16, 5, stride=2),
            **training.conv_block(2, 16, 32, pool=True),
            **training.conv_block(3, 32, 64, pool=True),
            **training.conv_block(4, 64, 64, pool=True),
            flatten=nn.Flatten(), drop=nn.Dropout(0.4), fc=nn.Linear(1024, 10)))


def augment(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn, scale and shift the hands, and change their light."""
    x, _ = training.move(x, degrees=15, scale=0.15, shift=0.08)
    return training.light(x), y


def main() -> None:
    """Train, export, quantise, report."""
    data, epochs = training.start(__doc__, ENTRY, epochs=50)
    model = Network()
    training.fit(model, data.train_x, data.train_y, epochs=epochs, augment=augment)
    training.finish(model, ENTRY, data.train_x[:500], (data.test_x, data.test_y))


if __name__ == "__main__":
    main()
