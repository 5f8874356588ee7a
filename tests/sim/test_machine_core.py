"""Machine, RTL and cycle model on random nests: also what no compiler would write.

Sums wrap, accumulator addresses repeat and groups stay open over nests. Only data races are left
out: every layer reads one half of the maps and writes the other one.
"""

import numpy as np
import pytest

from systolith.hw.config import Config
from systolith.hw.isa import Engine
from systolith.sim.machine import Machine
from systolith.sw.assembler import assemble
from systolith.sw.nests import LoadNest, Loop, PostNest, ResidualAdd, StreamNest, Token
from systolith.sw.timing import Standstill, measure
from tests.hw.core_bench import run_core
from tests.hw.shallow import SHALLOW

_SMALL = {"banks": 2, "bank_words": 256, "frame_bytes": 64, "accumulator_depth": 32,
          "program_words": 1024}
CORES = {
    "tall": Config(rows=4, columns=2, post_lanes=2, **_SMALL),
    "steps": Config(rows=4, columns=4, post_lanes=2, bank_ports="single", alignment=2,
                    accumulator_bits=20, fifo_depth=8, **_SMALL),
    "odd": Config(rows=5, columns=3, post_lanes=1, prefetch_descriptors=False, **_SMALL),
    "window": Config(rows=9, columns=3, post_lanes=3, window=True, window_width=8, **_SMALL),
    "shallow": Config(rows=5, columns=4, post_lanes=1, **SHALLOW, **_SMALL),
    "shallow single": Config(rows=4, columns=4, post_lanes=1, bank_ports="single", alignment=2,
                             accumulator_bits=24, **SHALLOW, **_SMALL),
    "shallow wide": Config(rows=4, columns=2, post_lanes=1, operand_bits=16, **SHALLOW, **_SMALL),
    "wide operands": Config(rows=4, columns=2, post_lanes=2, operand_bits=16, **_SMALL),
}
#: Groups of one nest, at most.
GROUPS = 3


class RandomProgram:
    """Random nests and the memory they start from.

    Memory is two halves of maps, then parameters, then weights, a quarter each.
    """

    def __init__(self, config: Config, rng: np.random.Generator):
        self.config, self.rng = config, rng
        self.quarter = config.memory_elements // 4
        # a shallow sum and its bias fit an accumulator together, as the compiler sees to
        half = 1 << (min(config.operand_bits, 12) if config.shallow else config.operand_bits) - 1
        self.memory = rng.integers(-half, half, config.memory_elements)
        for group in range(GROUPS * config.columns // config.drain_columns):
            elements = self._parameters()
            at = 2 * self.quarter + group * len(elements)
            self.memory[at:at + len(elements)] = elements
        self.weights = 3 * self.quarter
        self.nests: list = []
        self.posts = 0
        for layer in range(int(rng.integers(2, 4))):
            self._layer(layer % 2)

    def _below(self, limit: int) -> int:
        return int(self.rng.integers(limit))

    def _stride(self, reach: int) -> int:
        return self.config.alignment * int(self.rng.integers(-reach, reach + 1))

    def _place(self, half: int) -> int:
        """Return an aligned address well inside one half of the maps."""
        room = self.quarter // 4
        align = self.config.alignment
        return half * self.quarter + (room + self._below(room)) // align * align

    def _parameters(self) -> np.ndarray:
        """Return the elements of one group's parameters, laid out as the architecture says."""
        c, columns = self.config, self.config.drain_columns
        shifts = self.rng.integers(5, 16, columns) | self.rng.integers(0, 3, columns) << 6
        fields = (self.rng.integers(-4000, 4000, columns).astype("<i4"),
                  self.rng.integers(0, 1 << 31, columns).astype("<u4"), shifts.astype("<u2"))
        word_bytes = c.lanes * c.operand_bits // 8
        raw = b"".join(field.tobytes().ljust(words * word_bytes, b"\0") for field, words in
                       zip(fields, c.param_section_words, strict=True))
        return np.frombuffer(raw, f"<i{c.operand_bits // 8}")

    def _load(self, tiles: int, taps: np.ndarray | None = None) -> None:
        """Append tiles; with ``taps`` the weights of all other rows are zero."""
        c = self.config
        rows = np.arange(c.load_words)[:, None] + np.arange(c.load_parts) * c.load_words
        words = self.memory[self.weights:][:tiles * c.load_words * c.lanes]
        if taps is not None:
            parts = words.reshape(tiles, c.load_words, c.lanes)[..., :c.load_parts * c.columns]
            parts.reshape(tiles, c.load_words, c.load_parts, -1)[:, ~np.isin(rows, taps)] = 0
        self.nests.append(LoadNest(base=self.weights,
                                   loops=[Loop(tiles * c.load_words, c.lanes)]))
        self.weights += words.size
        assert self.weights <= self.config.memory_elements - self.config.lanes

    def _layer(self, half: int) -> None:
        """Append the nests of one layer, which reads ``half`` and writes the other one."""
        if self.config.window and self._below(3):
            shape = self._window()
        else:
            inner, across, down = self._vectors()
            shape = inner, across * down, None
        inner, pixels, window = shape
        groups, passes = 1 + self._below(GROUPS), 1 + self._below(3)
        acc_base, hold = self._below(self.config.accumulator_depth), not self._below(3)
        taps = None if window is None else np.add.outer(
            3 * np.arange(window[0]), np.arange(window[1])).ravel()
        self._load(passes * groups, taps)
        self.nests.append(StreamNest(
            base=self._place(half), acc_base=acc_base, pass_level=2, group_level=3, hold=hold,
            loops=[*inner, Loop(passes, self._stride(6)), Loop(groups, self._stride(6))],
            window=window, token=Token(Engine.POST, self.posts) if self.posts else None))
        if hold:
            self._load(1)
            self.nests.append(StreamNest(
                base=self._place(half), acc_base=acc_base, pass_level=1, group_level=1, keep=True,
                loops=[Loop(pixels, self._stride(3), acc=1)]))
        self._post(half, groups, pixels, acc_base)
        self._fill(half)

    def _vectors(self) -> tuple[list[Loop], int, int]:
        """Return the pixel loops of a pass, and the accumulators across and down."""
        across, down = 1 + self._below(5), 1 + self._below(3)
        again = not self._below(3)               # all rows add to the same accumulators
        loops = [Loop(across, self._stride(4), acc=1),
                 Loop(down, self._stride(9), acc=0 if again else across)]
        return loops, across, 1 if again else down

    def _window(self) -> tuple[list[Loop], int, tuple[int, int, int, int]]:
        """Return the loops over a patch, the windows in it, and kernel and strides."""
        rows, columns, down, across = (1 + self._below(3) for _ in range(4))
        height, width = rows + self._below(3), columns + self._below(5)
        pixels = ((height - rows) // down + 1) * ((width - columns) // across + 1)
        channels = self.config.columns
        return ([Loop(width, channels), Loop(height, channels * width)], pixels,
                (rows, columns, down, across))

    def _post(self, half: int, groups: int, pixels: int, acc_base: int) -> None:
        c = self.config
        add = None if self._below(3) else self._add(half)
        pool = 2 if pixels % 2 == 0 and add is None and self._below(2) else 1
        loops = [Loop(pool, acc=1)] if pool > 1 else []
        pool_level = len(loops)
        if c.post_steps > 1:
            loops.append(Loop(c.post_steps, c.post_lanes, residual=c.post_lanes))
        loops.append(Loop(pixels // pool, c.columns, acc=pool, residual=c.columns))
        apart = [Loop(c.columns // c.drain_columns, 1)] if c.drain_columns != c.columns else []
        self.nests.append(PostNest(
            base=self._place(1 - half), acc_base=acc_base, group_level=len(loops),
            loops=[*loops, *apart,
                   Loop(groups, pixels // pool * c.columns, residual=self._stride(9))],
            pool_level=pool_level, add=add, valid=1 + self._below(c.drain_columns),
            params=None if self.posts and not self._below(3) else 2 * self.quarter,
            zero_point=self._below(20) - 10, low=-100, high=110))
        self.posts += 1

    def _add(self, half: int) -> ResidualAdd:
        def scale(*shifts):
            return int(self.rng.integers(1 << 30, 1 << 31)), int(self.rng.integers(*shifts))

        return ResidualAdd(base=self._place(half), zero_point=self._below(20) - 10,
                           operand=scale(0, 3), scales_residual=bool(self._below(2)),
                           sum=scale(17, 21),
                           sum_zero_point=self._below(20) - 10, low=-120, high=121)

    def _fill(self, half: int) -> None:
        c, base = self.config, self._place(1 - half)
        if c.shallow:                            # fills powers of two, aligned
            valid = 1 << self._below(c.lane_bits + 1)
            base -= base % valid
        else:
            valid = 1 + self._below(c.post_lanes)
        self.nests.append(PostNest(
            base=base, fill=True, zero_point=33,
            loops=[Loop(1 + self._below(4), 8), Loop(1 + self._below(3), 40)], valid=valid))
        self.posts += 1


def run_both(config: Config, nests: list, memory: np.ndarray) -> np.ndarray:
    """Compare memories and cycles after one job; return the memory.

    Raises
    ------
    Standstill
        If the program waits for itself for ever.
    """
    words = assemble(nests, config)
    cycles = measure(config, words).cycles
    machine = Machine(config)
    machine.memory[0] = memory
    machine.words = words
    machine.run()
    after, measured = run_core(config, words, memory)
    np.testing.assert_array_equal(machine.memory[0], after)
    assert measured == [cycles]
    return after


def compare(config: Config, seed: int) -> bool:
    """Run a random program; False if it stands still."""
    program = RandomProgram(config, np.random.default_rng(seed))
    try:
        run_both(config, program.nests, program.memory)
    except Standstill:
        return False
    return True


@pytest.mark.parametrize("name", CORES)
def test_random_nests(name):
    assert sum(compare(CORES[name], seed) for seed in (2, 3)) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", CORES)
def test_many_random_nests(name):
    assert sum(compare(CORES[name], seed) for seed in range(100, 110)) >= 5


@pytest.mark.parametrize("passes, again", [(12, 1), (2, 11)], ids=["passes", "one pass"])
def test_sums_wrap(passes, again):
    """Twelve times the largest sum of a column: more than 20 bits hold.

    Eleven additions follow the first pass, which replaces.
    """
    config = CORES["steps"]
    memory = np.full(config.memory_elements, 127)
    params = 3 * config.memory_elements // 4
    parameters = np.array([0, 1 << 30, 8]).repeat(config.columns)
    wide, _, narrow = config.param_section_words
    raw = parameters[:-config.columns].astype("<i4").tobytes()
    raw += parameters[-config.columns:].astype("<i2").tobytes()
    assert len(raw) == (2 * wide + narrow) * config.lanes
    memory[params:params + len(raw)] = np.frombuffer(raw, np.int8)
    nests = [
        LoadNest(base=0, loops=[Loop(config.load_words, config.lanes), Loop(passes)]),
        StreamNest(base=0, loops=[Loop(again), Loop(passes)], pass_level=1, group_level=2),
        PostNest(base=64, loops=[Loop(config.post_steps, config.post_lanes), Loop(1)],
                 group_level=1, params=params, valid=config.columns, zero_point=0),
    ]
    total = 12 * config.rows * 127 ** 2
    assert total >= 1 << config.accumulator_bits - 1
    after = run_both(config, nests, memory)
    assert after[64:64 + config.columns].tolist() == [-128] * config.columns
