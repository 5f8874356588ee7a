"""Training in float64 by PyTorch: what :mod:`tests.training_reference` states, by autograd."""

import math

import numpy as np
import torch
from torch.nn import functional

from systolith.sw.train.graph import Add, AveragePool, Conv, MaxPool, Rectify


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def _forward(node, inputs, parameters):
    """Return the result of an operation on [n, h, w, c], without its ReLU."""
    if isinstance(node, Add):
        return inputs[0] + inputs[1]
    if isinstance(node, Rectify):
        return inputs[0]
    top, left, bottom, right = node.pads
    x = functional.pad(inputs[0].permute(0, 3, 1, 2), (left, right, top, bottom),
                       value=-math.inf if isinstance(node, MaxPool) else 0.0)
    if isinstance(node, Conv):
        y = functional.conv2d(x, parameters[node.weights].permute(0, 3, 1, 2),
                              parameters[node.bias] if node.bias else None, node.stride)
    else:
        pool = functional.max_pool2d if isinstance(node, MaxPool) else functional.avg_pool2d
        assert isinstance(node, MaxPool | AveragePool)
        y = pool(x, node.kernel, node.stride)
    return y.permute(0, 2, 3, 1)


def _rectified(node, y):
    return functional.relu(y) if node.rectify or isinstance(node, Rectify) else y


def forward(node, inputs, parameters, shape):
    """Return the result of an operation, float64[n, h, w, c], without its ReLU."""
    result = _forward(node, [_tensor(x) for x in inputs],
                      {name: _tensor(values) for name, values in parameters.items()})
    assert result.shape[1:] == shape
    return result.detach().numpy()


def data_gradient(node, x, dy, parameters):
    """Return the gradient by a windowed operation's input."""
    x = _tensor(x)
    y = _forward(node, [x], {name: _tensor(values) for name, values in parameters.items()})
    return torch.autograd.grad(y, x, torch.tensor(dy))[0].numpy()


def weight_gradient(node, x, dy, shape):
    """Return the gradient by a convolution's weights, summed over the batch."""
    weights = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    unbiased = {node.weights: weights, node.bias: None}
    y = _forward(node, [_tensor(x)], unbiased)
    return torch.autograd.grad(y, weights, torch.tensor(dy))[0].numpy()


def bias_gradient(dy):
    """Return the gradient by a convolution's bias, summed over the batch."""
    bias = torch.zeros(dy.shape[3], dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(bias.expand(dy.shape), bias, torch.tensor(dy))[0].numpy()


def _loss(logits, targets, kind):
    if kind == "mse":
        outputs = logits[0].numel()
        return functional.mse_loss(logits, torch.tensor(targets), reduction="sum") / outputs
    return functional.cross_entropy(logits.reshape(len(logits), -1), torch.tensor(targets),
                                    reduction="sum")


def loss_of(logits, targets, kind):
    """Return the summed loss, and its gradient by the logits."""
    logits = _tensor(logits)
    loss = _loss(logits, targets, kind)
    return loss.item(), torch.autograd.grad(loss, logits)[0].numpy()


def gradients(network, x, targets, parameters, kind="cross-entropy"):
    """Return the loss, gradients by parameters, and all tensors' gradients."""
    leaves = {name: _tensor(values) for name, values in parameters.items()}
    values = {network.input: _tensor(x)}
    for node in network.nodes:
        y = _rectified(node, _forward(node, [values[name] for name in node.inputs], leaves))
        y.retain_grad()
        values[node.output] = y
    loss = _loss(values[network.output], targets, kind)
    loss.backward()
    return (loss.item(), {name: leaf.grad.numpy() for name, leaf in leaves.items()},
            {name: value.grad.numpy() for name, value in values.items()})
