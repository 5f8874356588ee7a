"""Train a 1-D CNN on MNIST-1D and quantise it to int8.

Writes ``mnist1d_float.onnx`` and ``mnist1d_int8.onnx`` beside this file::

    python examples/mnist1d/train.py --data mnist1d.npz
"""

from collections import OrderedDict

import torch
from torch import nn

from systolith.examples import training
from systolith.examples.zoo import ZOO

ENTRY = ZOO["mnist1d"]


class Network(nn.Sequential):
    """Forty samples float32[n, 1, 40] to ten logits."""

    def __init__(self):
        super().__init__(OrderedDict(
            **training.conv_block(1, 1, 32, 7, dimensions=1),
            **training.conv_block(2, 32, 48, 5, pool=True, dimensions=1),
            **training.conv_block(3, 48, 64, 5, pool=True, dimensions=1),
            **training.conv_block(4, 64, 64, 3, dimensions=1),
            flatten=nn.Flatten(), drop=nn.Dropout(0.3), fc=nn.Linear(640, 10)))


def augment(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale every signal a little and move it round by up to 3 samples: MNIST-1D is cyclic."""
    places = torch.arange(40) + torch.randint(-3, 4, (len(x), 1))
    scale = 1 + (torch.rand(len(x), 1, 1) * 2 - 1) * 0.15
    return scale * x.gather(2, (places % 40)[:, None]), y


def main() -> None:
    """Train, export, quantise, report."""
    data, epochs = training.start(__doc__, ENTRY, epochs=80)
    model = Network()
    training.fit(model, data.train_x, data.train_y, epochs=epochs, augment=augment)
    training.finish(model, ENTRY, data.train_x[:500], (data.test_x, data.test_y))


if __name__ == "__main__":
    main()
