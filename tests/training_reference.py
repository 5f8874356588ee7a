"""Training in float64, window by window: the plainest statement of each operation's gradient."""

import math

import numpy as np

from systolith.sw.train.graph import Add, AveragePool, Conv, MaxPool, Rectify


def _windows(node, size, results):
    """Yield (result y, result x, slice of a padded map) of all windows."""
    for y, x in np.ndindex(*results):
        top, left = y * node.stride[0], x * node.stride[1]
        yield y, x, np.s_[:, top:top + node.kernel[0], left:left + node.kernel[1]]


def _padded(x, node, value=0.0):
    top, left, bottom, right = node.pads
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def _cut(x, node, size):
    top, left = node.pads[:2]
    return x[:, top:top + size[0], left:left + size[1]]


def forward(node, inputs, parameters, shape):
    """Return the result of an operation, float64[n, h, w, c], without its ReLU."""
    x = inputs[0]
    y = np.zeros((len(x), *shape))
    if isinstance(node, Add):
        return inputs[0] + inputs[1]
    if isinstance(node, Rectify):
        return x.copy()
    padded = _padded(x, node, -math.inf if isinstance(node, MaxPool) else 0.0)
    for oy, ox, window in _windows(node, x.shape[1:3], shape[:2]):
        patch = padded[window]
        if isinstance(node, Conv):
            y[:, oy, ox] = np.einsum("nyxi,oyxi->no", patch, parameters[node.weights])
            if node.bias:
                y[:, oy, ox] += parameters[node.bias]
        else:
            reduce = np.max if isinstance(node, MaxPool) else np.mean
            y[:, oy, ox] = reduce(patch, axis=(1, 2))
    return y


def data_gradient(node, x, dy, parameters):
    """Return the gradient by a windowed operation's input."""
    padded = _padded(x, node, -math.inf if isinstance(node, MaxPool) else 0.0)
    dx = np.zeros(padded.shape)
    for oy, ox, window in _windows(node, x.shape[1:3], dy.shape[1:3]):
        if isinstance(node, Conv):
            dx[window] += np.einsum("no,oyxi->nyxi", dy[:, oy, ox], parameters[node.weights])
        elif isinstance(node, AveragePool):
            dx[window] += dy[:, oy, ox][:, None, None] / math.prod(node.kernel)
        else:
            patch = padded[window]
            n, h, w, c = patch.shape
            winner = patch.reshape(n, h * w, c).argmax(axis=1)
            hit = np.arange(h * w)[:, None] == winner[:, None]
            dx[window] += hit.reshape(n, h, w, c) * dy[:, oy, ox][:, None, None]
    return _cut(dx, node, x.shape[1:3])


def weight_gradient(node, x, dy, shape):
    """Return the gradient by a convolution's weights, summed over the batch."""
    padded, dw = _padded(x, node), np.zeros(shape)
    for oy, ox, window in _windows(node, x.shape[1:3], dy.shape[1:3]):
        dw += np.einsum("nyxi,no->oyxi", padded[window], dy[:, oy, ox])
    return dw


def bias_gradient(dy):
    """Return the gradient by a convolution's bias, summed over the batch."""
    return dy.sum(axis=(0, 1, 2))


def run(network, x, parameters):
    """Return all tensors, float64 by name."""
    values = {network.input: x}
    for node in network.nodes:
        y = forward(node, [values[name] for name in node.inputs], parameters,
                    network.shapes[node.output])
        rectified = node.rectify or isinstance(node, Rectify)
        values[node.output] = np.maximum(y, 0) if rectified else y
    return values


def loss_of(logits, targets, kind):
    """Return the summed loss, and its gradient by the logits."""
    flat = logits.reshape(len(logits), -1)
    if kind == "mse":
        distance = logits - targets
        return (distance ** 2).sum() / flat.shape[1], 2 * distance / flat.shape[1]
    shifted = flat - flat.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    samples = np.arange(len(flat))
    gradient = np.exp(logs)
    gradient[samples, targets] -= 1
    return -logs[samples, targets].sum(), gradient.reshape(logits.shape)


def gradients(network, x, targets, parameters, kind="cross-entropy"):
    """Return the loss, gradients by parameters, and all tensors' gradients."""
    values = run(network, x, parameters)
    loss, dy = loss_of(values[network.output], targets, kind)
    by = {name: np.zeros_like(value) for name, value in values.items()}
    by[network.output] = dy
    found = {}
    for node in reversed(network.nodes):
        dy = by[node.output]
        if node.rectify or isinstance(node, Rectify):
            dy = dy * (values[node.output] > 0)
        if isinstance(node, Add | Rectify):
            for name in node.inputs:
                by[name] = by[name] + dy
            continue
        source = values[node.x]
        by[node.x] = by[node.x] + data_gradient(node, source, dy, parameters)
        if isinstance(node, Conv):
            found[node.weights] = weight_gradient(node, source, dy,
                                                  parameters[node.weights].shape)
            if node.bias:
                found[node.bias] = bias_gradient(dy)
    return loss, found, by
