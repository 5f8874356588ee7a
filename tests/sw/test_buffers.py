"""Buffers: every element of the user's array at its address, the zero point around it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from systolith.sw.buffers import Buffer
from systolith.sw.errors import DataError
from systolith.sw.ir import HostStep, Port, Tensor
from systolith.sw.maps import Halo, Map


def buffer(shape=(3, 4, 2), halo=(1, 2, 0, 1), channels=4, zero_point=-7, interleave=1,
           **port):
    """Return the buffer of a model whose arrays have their channels first."""
    h, w, c = shape
    tensor = Tensor(name="t", shape=shape, scale=0.5, zero_point=zero_point)
    port = Port(**{"name": "x", "tensor": "t", "shape": (c, h, w), "dtype": "int8",
                   "permutation": (1, 2, 0)} | port)
    return Buffer(port=port, tensor=tensor, address=96, delta=0, halo=halo, channels=channels,
                  interleave=interleave)


@st.composite
def buffers(draw):
    shape = tuple(draw(st.integers(1, 6)) for _ in range(3))
    halo = tuple(draw(st.integers(0, 3)) for _ in range(4))
    rows = draw(st.integers(1, 4))
    return buffer(shape, halo, rows * shape[2] + draw(st.integers(0, 3)),
                  draw(st.integers(-128, 127)), rows)


def placed_map(b):
    return Map(b.tensor, Halo(*b.halo), b.channels, interleave=b.interleave)


def random_array(b, seed=0):
    return np.random.default_rng(seed).integers(-128, 128, b.port.shape, np.int8)


@given(buffers(), st.integers(0, 1000))
def test_pack_puts_elements_where_the_compiler_expects_them(b, seed):
    array = random_array(b, seed)
    packed = b.pack(array)
    placed = placed_map(b)
    assert (packed.dtype, packed.shape) == (np.int8, (b.elements,))
    assert b.elements == placed.elements
    expected = np.full(b.elements, b.tensor.zero_point)
    h, w, c = b.tensor.shape
    for y, x, channel in np.ndindex(h, w, c):
        expected[placed.at(y, x, channel)] = array[channel, y, x]
    np.testing.assert_array_equal(packed, expected)


@given(buffers(), st.integers(0, 1000))
def test_unpack_takes_the_map_and_nothing_around_it(b, seed):
    memory = np.random.default_rng(seed).integers(-128, 128, b.elements, np.int8)
    placed = placed_map(b)
    got = b.unpack(memory)
    assert got.shape == b.port.shape
    for channel, y, x in np.ndindex(got.shape):
        assert got[channel, y, x] == memory[placed.at(y, x, channel)]


@given(buffers(), st.integers(0, 1000))
def test_only_the_span_changes_from_image_to_image(b, seed):
    one, other = b.pack(random_array(b, seed)), b.pack(random_array(b, seed + 1))
    assert np.array_equal(one[:b.span.start], other[:b.span.start])
    assert np.array_equal(one[b.span.stop:], other[b.span.stop:])
    placed = Map(b.tensor, Halo(*b.halo), b.channels, interleave=b.interleave)
    h, w, c = b.tensor.shape
    assert b.span.start == placed.at(0, 0) - placed.lead(0) * c
    assert b.span.stop == placed.at(h - 1, w) - placed.lead(h - 1) * c


@given(buffers())
def test_round_trip(b):
    array = random_array(b)
    np.testing.assert_array_equal(b.unpack(b.pack(array)), array)


def test_padded_shape():
    assert buffer().stored == (4, 7, 4)
    assert buffer().elements == 4 * 7 * 4
    assert buffer(channels=8, interleave=3).stored == (2, 7, 8)


def test_host_steps_are_done_on_the_way():
    """A float model: quantised on the way in, dequantised on the way out."""
    quantize = buffer((1, 2, 1), (0, 1, 0, 0), 1, zero_point=3, dtype="float32",
                      steps=(HostStep(kind="quantize"),))
    packed = quantize.pack(np.array([[[1.0, -1000.0]]], np.float32))
    assert packed.tolist() == [3, 5, -128]
    dequantize = buffer((1, 2, 1), (0, 1, 0, 0), 1, zero_point=3, dtype="float32",
                        steps=(HostStep(kind="dequantize"),))
    unpacked = dequantize.unpack(np.array([99, 5, -128], np.int8))
    assert unpacked.dtype == np.float32
    assert unpacked.tolist() == [[[1.0, -65.5]]]


def test_unsigned_model():
    b = buffer((1, 2, 1), (0, 0, 0, 0), 1, dtype="uint8", offset=-128)
    packed = b.pack(np.array([[[0, 255]]], np.uint8))
    assert packed.tolist() == [-128, 127]
    assert b.unpack(packed).tolist() == [[[0, 255]]]


@pytest.mark.parametrize("array, message", [
    (np.zeros((2, 4, 3), np.int8), "must have the shape nx2x3x4"),
    (np.zeros((1, 2, 3, 4), np.int8), "must have the shape nx2x3x4"),
    (np.zeros((2, 3, 4), np.int16), "must be of type int8, not int16"),
    (np.float32(1), "must have the shape nx2x3x4"),
], ids=["transposed", "batched", "type", "number"])
def test_wrong_array(array, message):
    with pytest.raises(DataError, match=message):
        buffer().pack(array)


def test_memory_of_another_size():
    with pytest.raises(ValueError, match="cannot reshape"):
        buffer().unpack(np.zeros(7, np.int8))
