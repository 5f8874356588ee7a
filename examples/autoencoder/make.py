"""Make the autoencoder of MLPerf Tiny's anomaly detection, with random weights, and quantise it.

Writes ``autoencoder_float.onnx`` and ``autoencoder_int8.onnx`` beside this file::

    python examples/autoencoder/make.py
"""

from collections import OrderedDict

import torch
from torch import nn

from systolith.examples import training
from systolith.examples.zoo import ZOO

ENTRY = ZOO["autoencoder"]
WIDTH = 640
HIDDEN = (128, 128, 128, 128, 8, 128, 128, 128, 128)


class Network(nn.Sequential):
    """Spectra float32[n, 640] to float32[n, 640]: ten fully connected layers.

    References
    ----------
    Banbury et al. 2021, "MLPerf Tiny Benchmark", anomaly detection.
    """

    def __init__(self):
        layers, inputs = OrderedDict(), WIDTH
        for number, outputs in enumerate(HIDDEN, 1):
            layers |= {f"fc{number}": nn.Linear(inputs, outputs), f"relu{number}": nn.ReLU()}
            inputs = outputs
        layers[f"fc{len(HIDDEN) + 1}"] = nn.Linear(inputs, WIDTH)
        super().__init__(layers)


def main() -> None:
    """Make, export, quantise."""
    training.repeatable(seed=0)
    model = Network()
    training.randomise(model)
    training.finish(model, ENTRY, torch.rand(512, WIDTH).numpy())


if __name__ == "__main__":
    main()
