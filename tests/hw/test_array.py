"""SystolicArray against matrix products."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from systolith.hw.array import SystolicArray
from systolith.hw.cluster_array import ClusterArray
from systolith.hw.config import Config
from systolith.hw.latency import claimable_word
from systolith.hw.shallow_array import ShallowArray
from tests.hw.shallow import SHALLOW

SHAPES = {
    "16x8": {"rows": 16, "columns": 8},
    "4x2": {"rows": 4, "columns": 2},
    "3x5": {"rows": 3, "columns": 5, "post_lanes": 5},
    "5x3": {"rows": 5, "columns": 3, "post_lanes": 3},
    "8x8-int16": {"rows": 8, "columns": 8, "operand_bits": 16},
    "2x32": {"rows": 2, "columns": 32},
    "32x2": {"rows": 32, "columns": 2},
    "9x2": {"rows": 9, "columns": 2},           # three of the eight parts of a word are not used
    "4x4-lut": {"rows": 4, "columns": 4, "multiplier": "lut"},
    "3x4-mixed": {"rows": 3, "columns": 4, "multiplier": "mixed", "dsp_columns": 1},
}


CLUSTERS = {
    "24x16": {"rows": 24, "columns": 16, "cluster_rows": 6, "cluster_columns": 2},
    "4x3-by-columns": {"rows": 4, "columns": 3, "post_lanes": 3, "cluster_columns": 2},
    "5x3-by-rows": {"rows": 5, "columns": 3, "post_lanes": 3, "cluster_rows": 3},
    "9x2-parts-in-clusters": {"rows": 9, "columns": 2, "cluster_rows": 4, "cluster_columns": 2},
    "8x2-one-cluster": {"rows": 8, "columns": 2, "cluster_rows": 8, "cluster_columns": 2},
    "5x4-mixed": {"rows": 5, "columns": 4, "cluster_rows": 2, "cluster_columns": 2,
                  "multiplier": "mixed", "dsp_columns": 1},
    "4x4-int16-lut": {"rows": 4, "columns": 4, "cluster_rows": 2, "cluster_columns": 2,
                      "multiplier": "lut", "operand_bits": 16},
}


def config(**fields):
    fields.setdefault("post_lanes", fields["columns"])
    return Config(**fields)


def extremes(rng, bits, *shape):
    """Return random elements, many of them the most negative and the most positive."""
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    values = rng.integers(low, high + 1, shape)
    return np.where(rng.random(shape) < 0.2, rng.choice([low, high], shape), values)


def words_of(c, tile):
    """Return the load words int[load_words, lanes] of a tile int[rows, columns]."""
    words = np.zeros((c.load_words, c.lanes), np.int64)
    for row in range(c.rows):
        part, word = divmod(row, c.load_words)
        words[word, part * c.columns:(part + 1) * c.columns] = tile[row]
    return words


class Schedule:
    """What drives the array's inputs in every cycle, by input name."""

    def __init__(self):
        self.inputs = {}

    def set(self, cycle, **values):
        self.inputs.setdefault(cycle, {}).update(values)

    def run(self, dut, cycles, idle):
        """Return psums int[cycles, columns]; inputs not set in a cycle are those of ``idle``."""
        seen = []

        async def bench(ctx):
            for cycle in range(cycles):
                for name, value in (idle | self.inputs.get(cycle, {})).items():
                    ctx.set(getattr(dut, name), value)
                seen.append([ctx.get(psum) for psum in dut.psums])
                await ctx.tick()

        sim = Simulator(dut)
        sim.add_clock(1e-6)
        sim.add_testbench(bench)
        sim.run()
        return np.array(seen)


def at_columns(seen, cycle, latency, together=1):
    """Return the sums of the vector of ``cycle``: ``together`` columns come in one cycle."""
    return [seen[cycle + latency + n // together, n] for n in range(seen.shape[1])]


IDLE = {"load": 0, "load_index": 0, "valid": 0, "swap": 0}


def stream_tiles(c, rng, *, tiles, bubbles, tap_share=0.0):
    """Run tiles, each loaded and swapped in as early as allowed; compare every sum with NumPy.

    Word 0 of the next tile comes in the cycle of the swap, or when the load before has ended.
    """
    dut = ShallowArray(c) if c.shallow else ClusterArray(c) if c.clustered else SystolicArray(c)
    filling = c.load_words if c.shallow else claimable_word(c) + 1
    schedule = Schedule()
    bits = c.operand_bits
    expected = {}
    vector_cycle = load_cycle = 0               # the first that are free
    for number in range(tiles):
        tile = extremes(rng, bits, c.rows, c.columns)
        if bits == 16:                          # the compiler sees to it that 32 bits never wrap
            tile //= c.rows
        for k, word in enumerate(words_of(c, tile)):
            schedule.set(load_cycle + k, load=1, load_index=k, load_data=word.tolist())
        cycle = swap = max(vector_cycle, load_cycle + filling)
        load_cycle = max(swap, load_cycle + c.load_words)
        for i in range(rng.integers(1, 12) if number % 3 else 1):
            while rng.random() < bubbles:       # what is not valid must not matter
                schedule.set(cycle, vector=extremes(rng, bits, c.rows).tolist())
                cycle += 1
            swap = cycle if i == 0 else swap
            vector = extremes(rng, bits, c.rows)
            schedule.set(cycle, vector=vector.tolist(), valid=1, swap=int(i == 0))
            expected[cycle] = vector @ tile
            if rng.random() < tap_share:
                taps = extremes(rng, bits, 9, c.columns)
                schedule.set(cycle, taps=taps.tolist(), use_taps=1)
                expected[cycle] = (taps * tile[:9]).sum(0) + vector[9:] @ tile[9:]
            cycle += 1
        vector_cycle, load_cycle = cycle, max(swap, load_cycle)
    idle = IDLE | ({"use_taps": 0} if c.window else {})
    seen = schedule.run(dut, vector_cycle + dut.latency + c.columns, idle)
    for cycle, sums in expected.items():
        got = at_columns(seen, cycle, dut.latency, c.columns if c.shallow else c.cluster_columns)
        np.testing.assert_array_equal(got, sums, f"cycle {cycle}")


@pytest.mark.parametrize("bubbles", [0, 0.3])
@pytest.mark.parametrize("stages", [3, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_products(shape, stages, bubbles):
    c = config(**SHAPES[shape], multiplier_stages=stages)
    big = c.rows * c.columns > 64
    stream_tiles(c, np.random.default_rng(stages), tiles=6 if big else 15, bubbles=bubbles)


@pytest.mark.parametrize("bubbles", [0, 0.3])
@pytest.mark.parametrize("shape", ["4x2", "3x5", "16x8", "8x8-int16"])
def test_shallow_products(shape, bubbles):
    c = config(**SHAPES[shape] | {"post_lanes": 1}, **SHALLOW)
    stream_tiles(c, np.random.default_rng(6), tiles=8, bubbles=bubbles)


@pytest.mark.parametrize("bubbles", [0, 0.3])
@pytest.mark.parametrize("shape", CLUSTERS)
def test_products_of_clusters(shape, bubbles):
    c = config(**CLUSTERS[shape], multiplier_stages=2)
    stream_tiles(c, np.random.default_rng(8), tiles=6 if c.rows == 24 else 15, bubbles=bubbles)


@pytest.mark.parametrize("clusters", [(1, 1), (4, 2), (5, 1), (1, 3)], ids=str)
@pytest.mark.parametrize("shape", [(9, 3), (10, 4), (16, 8)], ids=str)
def test_taps(shape, clusters):
    """Depthwise vectors between ordinary ones."""
    c = config(rows=shape[0], columns=shape[1], window=True, cluster_rows=clusters[0],
               cluster_columns=clusters[1], multiplier_stages=4 if clusters == (1, 1) else 2)
    stream_tiles(c, np.random.default_rng(4), tiles=6, bubbles=0.2, tap_share=0.6)


class Training:
    """Tiles, transposed tiles and outer products, one right behind the other."""

    def __init__(self, c, rng, bubbles):
        self.c, self.rng, self.bubbles = c, rng, bubbles
        self.schedule, self.expected = Schedule(), {}
        self.vector_cycle = self.load_cycle = 0  # the first that are free
        self.dirty = True                        # sums of other vectors are in the array
        self.begun = (0, False)                  # the last tile: when, and whether transposed

    def _elements(self, *shape):
        bits = self.c.operand_bits               # sums of 8-bit products must fit 32 bits
        return extremes(self.rng, bits, *shape) // (1 if self.c.training or bits == 8 else 64)

    def _pause(self):
        while self.rng.random() < self.bubbles:
            self._nothing()

    def tile(self, vectors, *, transposed=False):
        c, tile = self.c, self._elements(self.c.rows, self.c.columns)
        padded = np.zeros((c.columns, c.lanes), np.int64)
        padded[:, :c.rows] = tile.T
        words = padded if transposed else words_of(c, tile)
        flag = {"transposed": int(transposed)} if c.training else {}
        if self.begun[1] is not transposed:
            self.load_cycle = max(self.load_cycle, self.begun[0] + max(c.rows, c.columns))
        self.begun = self.load_cycle, transposed
        self.dirty = True
        for k, word in enumerate(words):
            self.schedule.set(self.load_cycle + k, load=1, load_index=k, load_data=word.tolist(),
                              **flag)
        self.vector_cycle = max(self.vector_cycle, self.load_cycle + 1)
        for i in range(vectors):
            self._pause()
            vector = self._elements(c.rows)
            self.schedule.set(self.vector_cycle, vector=vector.tolist(), valid=1, swap=int(i == 0))
            self.expected[self.vector_cycle] = vector @ tile
            if i == 0:
                self.load_cycle = max(self.vector_cycle, self.load_cycle + len(words))
            self.vector_cycle += 1

    def outer(self, vectors):
        c = self.c
        x, y = self._elements(vectors, c.rows), self._elements(vectors, c.columns)
        if self.dirty:
            self._nothing()
        for i in range(vectors):
            self._pause()
            self.schedule.set(self.vector_cycle, vector=x[i].tolist(), stream=y[i].tolist(),
                              valid=1, gather=1)
            self.vector_cycle += 1
        self.load_cycle = max(self.load_cycle, self.vector_cycle)
        for k, sums in enumerate((x.T @ y)[::-1]):
            self.expected[self.vector_cycle - 1 + k] = sums
        for k in range(c.rows):
            self._nothing(drain=int(k == 0))
        self.dirty = False

    def _nothing(self, **flags):
        vector = self._elements(self.c.rows).tolist()   # what is not valid must not matter
        self.schedule.set(self.vector_cycle, vector=vector, valid=0, **flags)
        self.vector_cycle += 1

    def check(self):
        dut = SystolicArray(self.c)
        idle = IDLE | {"gather": 0, "drain": 0}
        cycles = self.vector_cycle + dut.latency + self.c.columns
        seen = self.schedule.run(dut, cycles, idle)
        for cycle, sums in self.expected.items():
            np.testing.assert_array_equal(at_columns(seen, cycle, dut.latency), sums,
                                          f"cycle {cycle}")


@pytest.mark.parametrize("stages", [3, 4])
@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (6, 2)], ids=str)
def test_outer_products(shape, stages):
    """Output-stationary: x.T @ y over each run of vectors, drained row by row."""
    c = config(rows=shape[0], columns=shape[1], multiplier_stages=stages, output_stationary=True)
    run = Training(c, np.random.default_rng(9), 0.3)
    for length in (1, 7, 1, 1, 20, 3):
        run.outer(length)
    run.tile(4)
    run.outer(5)
    run.check()


@pytest.mark.parametrize("bubbles", [0, 0.3])
@pytest.mark.parametrize("shape", [(16, 8), (8, 4), (5, 3), (4, 4)], ids=str)
def test_training(shape, bubbles):
    """Tiles of both kinds and outer products in any order; 48-bit sums."""
    c = config(rows=shape[0], columns=shape[1], operand_bits=16, accumulator_bits=48,
               output_stationary=True, training=True)
    rng = np.random.default_rng(3)
    run = Training(c, rng, bubbles)
    for _ in range(6 if shape == (16, 8) else 14):
        kind, length = rng.integers(3), int(rng.integers(1, 9))
        if kind == 2:
            run.outer(length)
        else:
            run.tile(length, transposed=bool(kind))
    run.check()


def test_ordinary_tiles_with_output_stationary_hardware():
    c = config(rows=4, columns=3, output_stationary=True)
    stream_tiles(c, np.random.default_rng(5), tiles=8, bubbles=0.3)
