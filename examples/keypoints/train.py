"""Train a CNN that finds 68 points of a face, and quantise it to int8.

Writes ``keypoints_float.onnx`` and ``keypoints_int8.onnx`` beside this file::

    python examples/keypoints/train.py --data facial_keypoints68_96x96.npz
"""

from collections import OrderedDict

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from systolith.examples import training
from systolith.examples.zoo import ZOO

ENTRY = ZOO["keypoints"]
SIZE = 96
#: The points of a mirrored face, in the order of the face itself (the 68 of iBUG 300-W).
MIRRORED = np.array([
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1)])


class Network(nn.Sequential):
    """Faces float32[n, 1, 96, 96] to x and y of 68 points in pixels, float32[n, 136].

    The last bias starts as the mean face, so the weights learn the way from there.
    """

    def __init__(self, mean: np.ndarray):
        super().__init__(OrderedDict(
            **training.conv_block(1, 1, 16, 5, stride=2, pool=True),
            **training.conv_block(2, 16, 32, pool=True),
            **training.conv_block(3, 32, 64, pool=True),
            **training.conv_block(4, 64, 96, pool=True),
            flatten=nn.Flatten(), fc1=nn.Linear(864, 128), relu5=nn.ReLU(),
            fc2=nn.Linear(128, 136)))
        with torch.no_grad():
            self.fc2.weight.mul_(10)             # pixels, not shares of them
            self.fc2.bias.copy_(torch.from_numpy(mean))


def augment(x: torch.Tensor, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirror half of the faces; turn, scale and shift all, and change their light."""
    mirror = torch.rand(len(x)) < 0.5
    x = torch.where(mirror[:, None, None, None], x.flip(3), x)
    places = points * (2 / SIZE) - 1             # edges of the picture at -1 and 1
    mirrored = places[:, MIRRORED] * torch.tensor([-1.0, 1.0])
    places = torch.where(mirror[:, None, None], mirrored, places)
    x, theta = training.move(x, degrees=15, scale=0.1, shift=0.04)
    back = torch.linalg.inv(theta[:, :, :2])
    places = (places - theta[:, None, :, 2]) @ back.transpose(1, 2)
    return training.light(x), (places + 1) * (SIZE / 2)


def loss(outputs: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Return the mean distance in pixels, smooth at zero."""
    return functional.smooth_l1_loss(outputs, points.flatten(1), beta=1.0)


def main() -> None:
    """Train, export, quantise, report."""
    data, epochs = training.start(__doc__, ENTRY, epochs=100)
    model = Network(data.train_y.mean(axis=0).reshape(-1))
    training.fit(model, data.train_x, data.train_y, epochs=epochs, augment=augment,
                 loss=loss)
    training.finish(model, ENTRY, data.train_x[:1000], (data.test_x, data.test_y))


if __name__ == "__main__":
    main()
