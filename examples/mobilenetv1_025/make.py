"""Make MobileNetV1 of width 0.25 for person detection, with random weights, and quantise it.

Writes ``mobilenetv1_025_float.onnx`` and ``mobilenetv1_025_int8.onnx`` beside this file::

    python examples/mobilenetv1_025/make.py
"""

from collections import OrderedDict

import torch
from torch import nn

from systolith.examples import training

NAME = "mobilenetv1_025"
#: Outputs and stride of each depthwise separable block.
BLOCKS = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2),
          (256, 1))


class Network(nn.Sequential):
    """Pictures float32[n, 3, 96, 96] in 0..1 to two logits.

    References
    ----------
    Howard et al. 2017, "MobileNets"; Banbury et al. 2021, "MLPerf Tiny Benchmark", visual wake
    words.
    """

    def __init__(self):
        channels = 8
        layers = OrderedDict(conv0=nn.Conv2d(3, channels, 3, 2, 1), relu0=nn.ReLU())
        for number, (outputs, stride) in enumerate(BLOCKS, 1):
            layers |= _block(number, channels, outputs, stride)
            channels = outputs
        super().__init__(layers | OrderedDict(
            average=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(channels, 2)))


def _block(number: int, inputs: int, outputs: int, stride: int) -> OrderedDict[str, nn.Module]:
    return OrderedDict({
        f"depthwise{number}": nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs),
        f"relu{number}a": nn.ReLU(),
        f"pointwise{number}": nn.Conv2d(inputs, outputs, 1), f"relu{number}b": nn.ReLU()})


def main() -> None:
    """Make, export, quantise."""
    training.repeatable(seed=0)
    model = Network()
    training.randomise(model)
    training.finish(model, NAME, torch.rand(64, 3, 96, 96).numpy())


if __name__ == "__main__":
    main()
