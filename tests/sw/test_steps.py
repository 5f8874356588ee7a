"""Fusion: what becomes one step, what must not, and in which order steps come."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.sw.ir import Add, Concat, Conv, Graph, Pool, Port, Tensor
from systolith.sw.steps import fuse
from tests.networks import FUSED, KINDS, random_graph, requant


def conv(x, y):
    return Conv(name=f"conv {y}", kind="Conv", inputs=(x,), output=y, bias=np.zeros(2, np.int32),
                weights=np.ones((2, 1, 1, 2), np.int8), requant=requant(np.ones(2)))


def pool(x, y, mode="max", pads=(0, 0, 0, 0)):
    return Pool(name=f"pool {y}", kind="Pool", inputs=(x,), output=y, mode=mode, kernel=(2, 2),
                pads=pads)


def add(a, b, y):
    return Add(name=f"add {y}", kind="Add", inputs=(a, b), output=y, requant=requant([0.5, 0.5, 1]))


def graph(*ops, outputs=None):
    """Return a graph with input x; the last operation's result is the output unless told."""
    names = ["x", *(op.output for op in ops)]
    tensors = {name: Tensor(name=name, shape=(4, 4, 2), scale=1.0, zero_point=0) for name in names}

    def port(name):
        return Port(name=name, tensor=name, shape=(2, 4, 4), dtype="int8", permutation=(1, 2, 0))

    return Graph(name="test", tensors=tensors, ops=list(ops), inputs=[port("x")],
                 outputs=[port(name) for name in outputs or names[-1:]])


def fused(*ops, outputs=None):
    """Return the steps as the results of their operations."""
    return [[op.output for op in step.ops] for step in fuse(graph(*ops, outputs=outputs))]


def test_maximum_joins_its_convolution():
    network = graph(conv("x", "a"), pool("a", "b"))
    (step,) = fuse(network)
    assert (step.core, step.pool, step.add) == (network.ops[0], network.ops[1], None)
    assert (step.x, step.output, step.residual, step.inputs) == ("x", "b", None, ["x"])


@pytest.mark.parametrize("ops, outputs", [
    ([conv("x", "a"), pool("a", "b", pads=(0, 1, 0, 0))], None),
    ([conv("x", "a"), pool("a", "b", mode="average")], None),
    ([conv("x", "a"), pool("a", "b")], ["a", "b"]),
    ([conv("x", "a"), pool("a", "b"), conv("a", "c")], ["b", "c"]),
    ([pool("x", "a"), pool("a", "b")], None),
    ([add("x", "x", "a"), pool("a", "b")], None),
    ([conv("x", "a"), conv("a", "b")], None),
], ids=["padded", "average", "output", "two readers", "after maximum", "after add", "convolution"])
def test_stays_apart(ops, outputs):
    assert fused(*ops, outputs=outputs) == [[op.output] for op in ops]


def concat(names, y, axis=2, factor=1.0, **bounds):
    return Concat(name=f"concat {y}", kind="Concat", inputs=tuple(names), output=y, axis=axis,
                  requant=requant(np.full(len(names), factor)), **bounds)


def joined(*ops, outputs=None, channels=4):
    """Return the network of operations, a concatenation of two parts the last."""
    network = graph(*ops, outputs=outputs)
    last = ops[-1].output
    network.tensors[last] = replace(network.tensors[last], shape=(4, 4, channels))
    return network


def test_parts_are_written_where_they_belong():
    network = joined(conv("x", "a"), conv("a", "b"), concat("ab", "c"))
    network.ops[1] = replace(network.ops[1], inputs=("x",))
    first, second = fuse(network)
    assert (first.output, first.place, second.output, second.place) == (
        "c", (0, 0, 0), "c", (0, 0, 2))
    assert [op.kind for op in second.ops] == ["Conv", "Concat"]


@pytest.mark.parametrize("ops, outputs, copied", [
    ([conv("x", "a"), conv("a", "b"), concat("ab", "c")], None, ["a"]),     # another reads it
    ([conv("x", "a"), concat("xa", "c")], None, ["x"]),                      # nobody writes it
    ([conv("x", "a"), conv("x", "b"), concat("ab", "c")], ["b", "c"], ["b"]),
    ([conv("x", "a"), conv("x", "b"), concat("ab", "c", factor=0.5)], None, ["a", "b"]),
    ([conv("x", "a"), conv("x", "b"), concat("ab", "c", low=0)], None, ["a", "b"]),
    ([conv("x", "a"), concat("aa", "c")], None, ["a", "a"]),
], ids=["two readers", "input", "output", "other scale", "bounds", "twice"])
def test_other_parts_are_copied(ops, outputs, copied):
    *makers, step = fuse(joined(*ops, outputs=outputs))
    assert isinstance(step.core, Concat) and step.inputs == step.streamed == copied
    assert step.x == copied[0]
    assert sum(maker.output == "c" for maker in makers) == 2 - len(copied)


def test_part_at_an_odd_channel_is_copied():
    network = joined(conv("x", "a"), conv("x", "b"), concat("ab", "c"), channels=5)
    network.tensors["a"] = replace(network.tensors["a"], shape=(4, 4, 3))
    assert fuse(network)[-1].streamed == ["b"]


@pytest.mark.parametrize("operands", [("b", "a"), ("a", "b")])
def test_addition_joins_the_later_convolution(operands):
    """The other operand is there before, whichever side it is on."""
    network = graph(conv("x", "a"), conv("a", "b"), add(*operands, "c"))
    first, second = fuse(network)
    assert [op.output for op in second.ops] == ["b", "c"]
    assert (second.x, second.output, second.residual) == ("a", "c", "a")
    assert second.inputs == ["a", "a"]
    assert first.residual is None


def test_addition_of_branches_joins_the_last_one():
    assert fused(conv("x", "a"), conv("x", "b"), add("a", "b", "c")) == [["a"], ["b", "c"]]


def test_addition_to_the_input():
    (step,) = fuse(graph(conv("x", "a"), add("x", "a", "b")))
    assert (step.residual, step.output) == ("x", "b")


def test_addition_of_a_value_to_itself():
    """POST cannot read what it has not written yet."""
    _, step = fuse(graph(conv("x", "a"), add("a", "a", "b")))
    assert (step.x, step.residual, step.inputs) == ("a", "a", ["a", "a"])


def test_addition_whose_convolution_is_read_elsewhere():
    assert fused(conv("x", "a"), add("a", "x", "b"), conv("a", "c"),
                 outputs=["b", "c"]) == [["a"], ["b"], ["c"]]


def test_one_follower_only():
    """A step ends after the first operation that joins."""
    assert fused(conv("x", "a"), pool("a", "b"), pool("b", "c")) == [["a", "b"], ["c"]]
    assert fused(conv("x", "a"), add("a", "x", "b"), pool("b", "c")) == [["a", "b"], ["c"]]


def test_follower_comes_early():
    """The fused operation is done with its convolution, not again at its own place."""
    assert fused(conv("x", "a"), conv("x", "b"), pool("a", "c"), add("b", "x", "d"),
                 outputs=["c", "d"]) == [["a", "c"], ["b", "d"]]


@pytest.mark.parametrize("seed", range(40))
def test_every_operation_once_after_its_operands(seed):
    network = random_graph(np.random.default_rng(seed), kinds=KINDS + FUSED, layers=8)
    steps = fuse(network)
    assert sorted(op.name for step in steps for op in step.ops) == sorted(
        op.name for op in network.ops)
    ready = {port.tensor for port in network.inputs}
    for step in steps:
        assert ready.issuperset(step.inputs)
        hidden = {op.output for op in step.ops[:-1]}
        assert not hidden & {port.tensor for port in network.outputs}
        assert all(consumer in step.ops for name in hidden for consumer in network.consumers(name))
        ready.add(step.output)


def wide(x, y):
    """A convolution with nine times the products of ``conv``."""
    return Conv(name=f"conv {y}", kind="Conv", inputs=(x,), output=y, bias=np.zeros(2, np.int32),
                weights=np.ones((2, 3, 3, 2), np.int8), requant=requant(np.ones(2)),
                pads=(1, 1, 1, 1))


@pytest.mark.parametrize("ops", [
    [wide("x", "a"), conv("x", "b"), add("a", "b", "c")],
    [wide("x", "a"), conv("x", "b"), add("b", "a", "c")],
    [conv("x", "b"), wide("x", "a"), add("a", "b", "c")],
])
def test_addition_joins_the_larger_convolution(ops):
    assert fused(*ops) == [["b"], ["a", "c"]]


def test_larger_convolution_stays_where_the_smaller_needs_what_follows():
    """Moving it would keep its input alive for longer."""
    ops = [wide("x", "a"), pool("x", "p"), conv("p", "b"), add("a", "b", "c")]
    assert fused(*ops) == [["a"], ["p"], ["b", "c"]]


def test_larger_convolution_stays_when_its_result_is_needed():
    ops = [wide("x", "a"), conv("x", "b"), add("a", "b", "c")]
    assert fused(*ops, outputs=["a", "c"]) == [["a"], ["b", "c"]]
