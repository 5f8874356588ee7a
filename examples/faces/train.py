"""Train a CNN that tells 40 people by their faces, and quantise it to int8.

Writes ``faces_float.onnx`` and ``faces_int8.onnx`` beside this file::

    python examples/faces/train.py --data orl_faces.npz
"""

from collections import OrderedDict

import torch
from torch import nn

from systolith.examples import training
from systolith.examples.zoo import ZOO

ENTRY = ZOO["faces"]


class Network(nn.Sequential):
    """Faces float32[n, 1, 64, 64] to 40 logits."""

    def __init__(self):
        super().__init__(OrderedDict(
            **training.conv_block(1, 1, 16, 5, stride=2),
            **training.conv_block(2, 16, 32, pool=True),
            **training.conv_block(3, 32, 48, pool=True),
            **training.conv_block(4, 48, 48, pool=True),
            flatten=nn.Flatten(), drop=nn.Dropout(0.4), fc=nn.Linear(768, 40)))


def augment(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirror half of the faces; turn, scale and shift all, and change their light."""
    x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)
    x, _ = training.move(x, degrees=10, scale=0.1, shift=0.05)
    return training.light(x), y


def main() -> None:
    """Train, export, quantise, report."""
    data, epochs = training.start(__doc__, ENTRY, epochs=150)
    model = Network()
    training.fit(model, data.train_x, data.train_y, epochs=epochs, augment=augment)
    training.finish(model, ENTRY, data.train_x, (data.test_x, data.test_y))


if __name__ == "__main__":
    main()
