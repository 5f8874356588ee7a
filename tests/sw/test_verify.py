"""The graph's own rules: sound graphs pass, each broken rule is found."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from systolith.sw.ir import (
    Add,
    Conv,
    Graph,
    HostStep,
    Pool,
    Port,
    Real,
    Rearrange,
    Tensor,
)
from systolith.sw.passes.verify import verify
from tests.networks import random_graph, requant


@given(st.integers(0, 2**32 - 1))
def test_random_networks_are_sound(seed):
    verify(random_graph(np.random.default_rng(seed)))


def graph():
    return random_graph(np.random.default_rng(5), kinds=("conv",), layers=2, one_dimensional=False)


def change(g, index=0, **fields):
    g.ops[index] = replace(g.ops[index], **fields)


def unknown_input(g):
    change(g, inputs=("nowhere",))


def wrong_order(g):
    g.ops.reverse()


def written_twice(g):
    change(g, 1, output=g.ops[0].output)


def wrong_shape(g):
    name = g.ops[0].output
    h, w, c = g.tensors[name].shape
    g.tensors[name] = replace(g.tensors[name], shape=(h + 1, w, c))


def wrong_weights(g):
    change(g, weights=g.ops[0].weights.astype(np.int16))


def wrong_bias(g):
    change(g, bias=g.ops[0].bias[:-1])


def wrong_rescaling(g):
    requant = g.ops[0].requant
    change(g, requant=replace(requant, right=requant.right + 32))


def reversed_bounds(g):
    change(g, low=10, high=9)


def wrong_zero_point(g):
    name = g.ops[0].output
    g.tensors[name] = replace(g.tensors[name], zero_point=128)


def wrong_port(g):
    g.outputs[0] = replace(g.outputs[0], permutation=(0, 1, 1))


@pytest.mark.parametrize("spoil", [
    unknown_input, wrong_order, written_twice, wrong_shape, wrong_weights, wrong_bias,
    wrong_rescaling, reversed_bounds, wrong_zero_point, wrong_port])
def test_broken_graph_is_found(spoil):
    g = graph()
    assert all(isinstance(op, Conv) for op in g.ops)
    verify(g)
    spoil(g)
    with pytest.raises(ValueError):
        verify(g)


@pytest.mark.parametrize("fields", [
    {"mode": "minimum"}, {"pads": (9, 0, 0, 0)}, {"kernel": (50, 50)}])
def test_broken_pool_is_found(fields):
    g = random_graph(np.random.default_rng(5), kinds=("max",), layers=1)
    assert isinstance(g.ops[0], Pool)
    change(g, **fields)
    with pytest.raises(ValueError):
        verify(g)


@pytest.mark.parametrize("factors", [(0.4, 0.3, 1e-6), (0.25, 0.25, 1e-6)])
def test_an_addition_that_halves_neither_operand_is_found(factors):
    g = random_graph(np.random.default_rng(5), kinds=("residual",), layers=1)
    verify(g)
    assert isinstance(g.ops[-1], Add)
    change(g, -1, requant=requant(factors))
    with pytest.raises(ValueError, match="halves neither operand"):
        verify(g)


@pytest.mark.parametrize("spoil", [
    lambda places: places + places.size, lambda places: -1 - places, lambda places: places[:0]])
def test_broken_rearrangement_is_found(spoil):
    g = random_graph(np.random.default_rng(5), kinds=("rearranged",), layers=1)
    verify(g)
    assert isinstance(g.ops[0], Rearrange)
    change(g, places=spoil(g.ops[0].places))
    with pytest.raises(ValueError):
        verify(g)


@pytest.mark.parametrize("fields", [
    {"permutation": (0, 1, 1)}, {"shape": (2, 3)}, {"steps": (HostStep(kind="dequantize"),)}])
def test_broken_real_operation_is_found(fields):
    tensors = {name: Tensor(name=name, shape=(1, 2, 5), scale=0.1, zero_point=0) for name in "xy"}
    real = Real(name="r", kind="Softmax", inputs=("x",), output="y", shape=(5, 2),
                permutation=(0, 2, 1), steps=(HostStep(kind="dequantize"),
                                              HostStep(kind="quantize")))
    g = Graph(name="g", tensors=tensors, ops=[real], outputs=[], inputs=[
        Port(name="x", tensor="x", shape=(5, 2), dtype="int8", permutation=(0, 2, 1))])
    verify(g)
    change(g, **fields)
    with pytest.raises(ValueError):
        verify(g)
