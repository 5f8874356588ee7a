"""Depthwise nests on the whole core, against NumPy and the timing model."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from systolith.hw.config import Config
from systolith.sw import numerics
from systolith.sw.assembler import assemble
from systolith.sw.nests import LoadNest, Loop, PostNest, StreamNest
from systolith.sw.timing import measure
from tests.hw.core_bench import run_core

CONFIG = Config(rows=9, columns=2, post_lanes=2, banks=2, bank_words=256, program_words=1024,
                accumulator_depth=64, window=True, window_width=16)
RIGHT_SHIFT = 5


@dataclass(frozen=True)
class Case:
    """One layer: groups of two channels, each the sum of ``parts`` 3 x 3 pieces of its kernel."""

    outputs: tuple[int, int]
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    parts: int = 1
    groups: int = 1
    #: Not depthwise: every vector meets the tile directly.
    direct: bool = False
    #: The accumulators go on from the case before, which holds them.
    keep: bool = False
    hold: bool = False

    @property
    def patch(self) -> tuple[int, int]:
        return tuple((n - 1) * s + k for n, s, k in
                     zip(self.outputs, self.stride, self.kernel, strict=True))


class Builder:
    """Lays cases out in memory, makes their nests and computes what they must leave behind."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.memory = np.zeros(CONFIG.memory_elements, np.int8)
        self.used = 0
        self.nests = []
        self.expected = {}
        self.held = 0

    def place(self, elements):
        """Put elements at the next word; return their address."""
        address, lanes = self.used, CONFIG.lanes
        self.memory[address:address + elements.size] = elements.reshape(-1)
        self.used += -(-elements.size // lanes) * lanes
        return address

    def random(self, *shape):
        return self.rng.integers(-128, 128, shape, np.int8)

    def tiles(self, weights):
        """Place tiles int8[n, 9, 2] as LOAD reads them."""
        words = CONFIG.load_words
        padded = np.zeros((len(weights), words, CONFIG.lanes), np.int8)
        for row in range(CONFIG.rows):
            start = row // words * CONFIG.columns
            padded[:, row % words, start:start + CONFIG.columns] = weights[:, row]
        return self.place(padded), padded.shape[0] * words

    def parameters(self, bias):
        """Place one group's biases int32[2] with a multiplier of 2**-RIGHT_SHIFT."""
        sections = (bias.astype(np.int32), np.full(2, 1 << 30, np.int32),
                    np.full(2, RIGHT_SHIFT | 1 << 6, np.int16))
        words = np.zeros((CONFIG.param_words, CONFIG.lanes), np.int8)
        for word, section in zip(words, sections, strict=True):
            raw = section.view(np.int8)
            word[:raw.size] = raw
        return self.place(words)

    def add(self, case):
        """Append a case's nests."""
        (ho, wo), (h, w) = case.outputs, case.patch
        columns, pixels = CONFIG.columns, ho * wo
        images = self.random(case.groups, case.parts, h, w, columns)
        weights = self.random(case.groups * case.parts, CONFIG.rows, columns) // 8
        if not case.direct:                          # taps outside the kernel
            taps = weights.reshape(-1, 3, 3, columns)
            taps[:, case.kernel[0]:] = taps[:, :, case.kernel[1]:] = 0
        image_base = self.place(images)
        self.place(self.random(CONFIG.lanes))        # vectors run over the end of the last image
        tile_base, tile_words = self.tiles(weights)
        self.nests.append(LoadNest(base=tile_base, loops=[Loop(tile_words, CONFIG.lanes)]))
        size = h * w * columns
        outer = [Loop(case.parts, size), Loop(case.groups, case.parts * size)]
        if case.direct:
            inner = [Loop(wo, columns, acc=1), Loop(ho, wo * columns, acc=wo)]
        else:
            inner = [Loop(w, columns), Loop(h, w * columns)]
        self.nests.append(StreamNest(
            base=image_base, loops=inner + outer, pass_level=2, group_level=3, acc_base=3,
            keep=case.keep, hold=case.hold,
            window=None if case.direct else (*case.kernel, *case.stride)))
        sums = self.sums(case, image_base, weights.reshape(case.groups, case.parts, 9, columns))
        self.held = self.held + sums if case.keep else sums
        if not case.hold:
            bias = self.rng.integers(-99, 99, (case.groups, columns))
            params = [self.parameters(b) for b in bias]
            result = self.place(np.zeros(case.groups * pixels * columns, np.int8))
            self.nests.append(PostNest(
                base=result, group_level=1, acc_base=3, params=params[0], valid=columns,
                zero_point=0, loops=[Loop(pixels, columns, acc=1),
                                     Loop(case.groups, pixels * columns)]))
            scaled = numerics.requantize(self.held + bias[:, None], 1 << 30, 1, RIGHT_SHIFT)
            self.expected[result] = np.clip(scaled, -128, 127).reshape(-1)

    def sums(self, case, base, weights):
        """Return the accumulators int64[groups, pixels, 2]."""
        (ho, wo), (h, w), columns = case.outputs, case.patch, CONFIG.columns
        total = np.zeros((case.groups, ho * wo, columns), np.int64)
        for group, part in np.ndindex(case.groups, case.parts):
            start = base + (group * case.parts + part) * h * w * columns
            tile = weights[group, part].astype(np.int64)
            if case.direct:
                vectors = sliding_window_view(self.memory[start:], CONFIG.rows)[::columns]
                total[group] += vectors[:ho * wo].astype(np.int64) @ tile
                continue
            image = self.memory[start:start + h * w * columns].reshape(h, w, columns)
            view = sliding_window_view(image, case.kernel, axis=(0, 1))
            view = view[::case.stride[0], ::case.stride[1]].astype(np.int64)
            kernel = tile.reshape(3, 3, columns)[:case.kernel[0], :case.kernel[1]]
            total[group] += np.einsum("yxcij,ijc->yxc", view, kernel).reshape(-1, columns)
        return total

    def check(self):
        words = assemble(self.nests, CONFIG)
        after, cycles = run_core(CONFIG, words, self.memory)
        for base, expected in self.expected.items():
            np.testing.assert_array_equal(after[base:base + len(expected)], expected)
        timing = measure(CONFIG, words)
        assert cycles == [timing.cycles]
        return timing


@pytest.mark.parametrize("case", [
    Case((6, 6)),
    Case((4, 5), stride=(2, 2)),
    Case((3, 3), kernel=(2, 3), stride=(3, 1), groups=3),
    Case((4, 5), parts=3, groups=2),
    Case((1, 1), parts=4, groups=3),
    Case((8, 1), kernel=(3, 1), groups=2),
    Case((5, 2), kernel=(3, 1), stride=(1, 1), parts=2),
    Case((6, 6), kernel=(1, 1), stride=(2, 2), parts=2, groups=2),
], ids=repr)
def test_one_layer(case):
    bench = Builder(1)
    bench.add(case)
    timing = bench.check()
    assert timing.entries == case.groups * case.parts * np.prod(case.outputs)


def test_between_direct_nests():
    """Windows and direct vectors follow each other, and add to the same accumulators."""
    bench = Builder(2)
    for case in (Case((4, 4), direct=True, groups=2), Case((4, 4), stride=(2, 1), groups=2),
                 Case((2, 2), direct=True, parts=2), Case((2, 2), hold=True),
                 Case((2, 2), keep=True, direct=True, hold=True), Case((2, 2), keep=True),
                 Case((3, 3), direct=True)):
        bench.add(case)
    bench.check()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_random_layers(seed):
    """Short nests of every kind in random order."""
    bench = Builder(seed)
    rng = np.random.default_rng(seed)
    while bench.used < CONFIG.memory_elements - 1500:
        bench.add(Case(tuple(rng.integers(1, 5, 2).tolist()),
                       kernel=tuple(rng.integers(1, 4, 2).tolist()),
                       stride=tuple(rng.integers(1, 4, 2).tolist()),
                       parts=int(rng.integers(1, 4)), groups=int(rng.integers(1, 3)),
                       direct=bool(rng.integers(0, 3) == 0)))
    assert len(bench.expected) > 4
    bench.check()
