"""Maps read in an order in which they do not lie, in TFLite models: the host rearranges them."""

import numpy as np
import pytest

from systolith.sw.ir import Add, Concat, Conv, Rearrange, Select, TransposedConv
from tests.tflite_check import check
from tests.tflite_models import SAME, Model
from tests.tflite_networks import convolve, ints, transpose_conv


def reshape(m, x, *shape):
    """Add a RESHAPE to a batchless shape."""
    return m.op("RESHAPE", [x, ints(m, -1, *shape)], m.map(shape, like=x))


def transpose(m, x, *axes):
    """Add a TRANSPOSE of the batchless axes."""
    shape = [m.tensors[x].shape[1 + axis] for axis in axes]
    order = ints(m, 0, *(1 + axis for axis in axes))
    return m.op("TRANSPOSE", [x, order], m.map(shape, like=x))


def kinds(graph):
    return [type(op) for op in graph.ops]


def test_map_made_of_a_vector():
    """A generator or decoder: a fully connected layer, its results a small map."""
    m = Model(np.random.default_rng(0))
    x = m.map((1, 1, 6))
    y = transpose_conv(m, reshape(m, convolve(m, x, 48, 1), 3, 4, 4), 5, (3, 3), (2, 2), SAME)
    assert kinds(check(m, [x], [y], machine=True)) == [Conv, Rearrange, TransposedConv]


def test_boxes_of_several_maps():
    """A detection head: boxes of maps of several sizes, one list of all of them."""
    m = Model(np.random.default_rng(1))
    x = m.map((6, 5, 4))
    fine = convolve(m, x, 8, 1)
    p = m.op("SLICE", [x, ints(m, 0, 0, 0, 0), ints(m, 1, 3, 2, 4)], m.map((3, 2, 4), like=x),
             "SliceOptions")
    coarse = convolve(m, p, 12, 1)
    m.tensors[coarse].scale, m.tensors[coarse].zero_point = (
        m.tensors[fine].scale, m.tensors[fine].zero_point)
    lists = [reshape(m, fine, 60, 4), reshape(m, coarse, 18, 4)]
    y = m.op("CONCATENATION", lists, m.map((78, 4), like=fine), "ConcatenationOptions", Axis=1)
    found = kinds(check(m, [x], [y], machine=True))
    assert sorted(found, key=str) == sorted(
        [Conv, Select, Conv, Rearrange, Rearrange, Concat], key=str)


@pytest.mark.parametrize("swapped", [False, True])
def test_addition_of_different_orders(swapped):
    m = Model(np.random.default_rng(2))
    x = m.map((5, 5, 4))
    z = convolve(m, x, 6)
    operands = [z, transpose(m, z, 1, 0, 2)]
    y = m.op("ADD", operands[::-1] if swapped else operands,
             m.map((5, 5, 6), scale=m.tensors[z].scale[0] * 1.7), "AddOptions")
    assert kinds(check(m, [x], [y], machine=True)) == [Conv, Rearrange, Add]


def test_result_in_an_order_of_its_own():
    m = Model(np.random.default_rng(3))
    x = m.map((4, 6, 3))
    y = transpose(m, reshape(m, convolve(m, x, 5), 2, 2, 3, 10), 2, 0, 3, 1)
    assert kinds(check(m, [x], [y], machine=True)) == [Conv, Rearrange]


@pytest.mark.parametrize("seed", range(30))
def test_random_views(seed):
    """Reshaped and transposed any number of times before something reads it."""
    m = Model(np.random.default_rng(seed))
    x = m.map((int(m.rng.integers(1, 6)), int(m.rng.integers(1, 6)), int(m.rng.integers(1, 6))))
    y = convolve(m, x, 2 * int(m.rng.integers(1, 7)), 1)
    for _ in range(int(m.rng.integers(1, 4))):
        shape = m.tensors[y].shape[1:]
        if m.rng.integers(2):
            y = transpose(m, y, *m.rng.permutation(len(shape)).tolist())
        else:
            h, w, c = m.rng.permutation(shape).tolist()
            y = reshape(m, y, *([h * w, 1, c], [2, h * w * c // 2, 1], [h, c, w])[
                int(m.rng.integers(3))])
    read = int(m.rng.integers(3))
    if read == 1:
        y = convolve(m, y, 3, int(m.rng.choice([1, 3])))
    elif read == 2:
        other = m.map(m.tensors[y].shape[1:])
        z = m.map(m.tensors[y].shape[1:], scale=0.7)
        y = m.op("ADD", [y, other], z, "AddOptions")
        check(m, [x, other], [y], machine=True)
        return
    check(m, [x], [y], machine=True)
