"""Train a 1-D CNN that hears the digits 0 to 9, and quantise it to int8.

Writes ``spoken_digits_float.onnx`` and ``spoken_digits_int8.onnx`` beside this file::

    python examples/spoken_digits/train.py --data fsdd_spoken_digits.npz
"""

from collections import OrderedDict

import torch
from torch import nn

from systolith.examples import training
from systolith.examples.zoo import ZOO

ENTRY = ZOO["spoken_digits"]


class Network(nn.Sequential):
    """Spectra float32[n, 32, 64], mel bands as channels along steps of time, to ten logits."""

    def __init__(self):
        super().__init__(OrderedDict(
            **training.conv_block(1, 32, 64, 5, dimensions=1),
            **training.conv_block(2, 64, 64, pool=True, dimensions=1),
            **training.conv_block(3, 64, 96, pool=True, dimensions=1),
            **training.conv_block(4, 96, 96, pool=True, dimensions=1),
            average=nn.AdaptiveAvgPool1d(1), flatten=nn.Flatten(), drop=nn.Dropout(0.3),
            fc=nn.Linear(96, 10)))


def augment(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Shift in time and by a band, change the loudness, and blank some time and some bands."""
    n, bands, steps = x.shape
    time = torch.arange(steps) + torch.randint(-6, 7, (n, 1))
    band = torch.arange(bands) + torch.randint(-1, 2, (n, 1))
    x = x.gather(2, time.clamp(0, steps - 1)[:, None].expand(-1, bands, -1))
    x = x.gather(1, band.clamp(0, bands - 1)[:, :, None].expand(-1, -1, steps))
    x = (x + (torch.rand(n, 1, 1) * 2 - 1) * 0.1).clamp(0, 1)
    blank = _run(n, steps, 8)[:, None] | _run(n, bands, 4)[:, :, None]
    return x.masked_fill(blank, 0), y


def _run(n: int, length: int, most: int) -> torch.Tensor:
    """Return bool[n, length] with a run of up to ``most`` ones at a random place."""
    start, size = torch.randint(0, length, (n, 1)), torch.randint(0, most + 1, (n, 1))
    places = torch.arange(length)
    return (places >= start) & (places < start + size)


def main() -> None:
    """Train, export, quantise, report."""
    data, epochs = training.start(__doc__, ENTRY, epochs=60)
    model = Network()
    training.fit(model, data.train_x, data.train_y, epochs=epochs, augment=augment)
    training.finish(model, ENTRY, data.train_x[:500], (data.test_x, data.test_y))


if __name__ == "__main__":
    main()
