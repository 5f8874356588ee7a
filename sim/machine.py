"""The instruction-level model: what a program computes, nest by nest, on NumPy memories."""

from collections import deque

import numpy as np

from systolith.hw.config import Config
from systolith.hw.isa import Engine
from systolith.sw.numerics import ADD_LEFT_SHIFT, requantize
from systolith.sw.program_view import IllegalInstruction, Instruction, NestView, instructions

__all__ = ["Machine", "MachineJob"]


class Machine:
    """Memories and engines of one device; runs a whole batch of images at once.

    Parameters
    ----------
    config : Config
        The device.
    batch : int
        Images side by side: each has its own copy of the memory.

    Attributes
    ----------
    memory : int8/int16[batch, elements]
        The unified memory.
    """

    def __init__(self, config: Config, batch: int = 1):
        self.config = config
        dtype = np.dtype(f"int{config.operand_bits}")
        # vectors may run past the end and meet zero weights: those elements are there, and zero
        self._size = 1 << config.address_bits
        self._memory = np.zeros((batch, self._size + config.lanes), dtype)
        self.words = np.zeros(0, np.uint32)

    @property
    def memory(self) -> np.ndarray:
        """The unified memory, [batch, elements]."""
        return self._memory[:, :self.config.memory_elements]

    def run(self, *, input_delta: int = 0, output_delta: int = 0) -> None:
        """Run the program once; the deltas are those of the job's parity (0 on even jobs).

        Raises
        ------
        IllegalInstruction
            If the words are no program, or its nests wait for each other for ever.
        """
        self._job(instructions(self.words, input_delta=input_delta, output_delta=output_delta,
                               training=self.config.training)).run()

    def _job(self, program: list[Instruction]) -> "MachineJob":
        return MachineJob(self, program)


class MachineJob:
    """One run: tiles on their way to the array, groups on their way to POST, tokens."""

    def __init__(self, machine: Machine, program: list[Instruction]):
        self.config = machine.config
        self.memory, self.size = machine._memory, machine._size
        self.waiting = {e: deque(i for i in program if i.engine is e and i.nest) for e in Engine}
        self.done = dict.fromkeys(Engine, 0)
        self.tiles: deque[np.ndarray] = deque()
        self.groups: deque[np.ndarray] = deque()
        self.open: np.ndarray | None = None
        # registers are zero before anything is loaded into them
        self.parameters = [np.zeros((1, machine.config.columns), np.int64)] * 4

    def run(self) -> None:
        """Run all nests.

        Raises
        ------
        IllegalInstruction
            If they wait for each other for ever.
        """
        steps = {Engine.LOAD: self._load, Engine.STREAM: self._stream, Engine.POST: self._post}
        while any(self.waiting.values()):
            moved = False
            for engine, step in steps.items():
                queue = self.waiting[engine]
                while queue and self._may_start(queue[0].nest) and step(queue[0].nest):
                    queue.popleft()
                    self.done[engine] += 1
                    moved = True
            if not moved:
                stuck = ", ".join(f"{e.name} at word {q[0].pc}"
                                  for e, q in self.waiting.items() if q)
                first = min(q[0].pc for q in self.waiting.values() if q)
                raise IllegalInstruction(f"the program stands still: {stuck} wait for each other",
                                         first)

    def _may_start(self, nest: NestView) -> bool:
        return nest.token is None or self.done[nest.token[0]] >= nest.token[1]

    def _gather(self, addresses: np.ndarray, length: int) -> np.ndarray:
        """Return vectors [batch, n, length] from element addresses."""
        places = (addresses % self.size)[:, None] + np.arange(length)
        return self.memory[:, places]

    # -- LOAD -------------------------------------------------------------------------------

    def _load(self, nest: NestView) -> bool:
        c = self.config
        addresses = nest.track(nest["BASE"]["address"] // c.lanes * c.lanes, "JUMP")
        words = self._gather(addresses, c.lanes)
        if words.shape[1] % c.load_words:
            raise IllegalInstruction(f"a LOAD of {words.shape[1]} words is no whole number of "
                                     f"tiles of {c.load_words}")
        parts = words[..., :c.load_parts * c.columns].reshape(
            len(words), -1, c.load_words, c.load_parts, c.columns)
        rows = parts.transpose(0, 1, 3, 2, 4).reshape(
            len(words), -1, c.load_words * c.load_parts, c.columns)[:, :, :c.rows]
        self.tiles.extend(rows[:, i].astype(np.float64) for i in range(rows.shape[1]))
        return True

    # -- STREAM -----------------------------------------------------------------------------

    def _stream(self, nest: NestView) -> bool:
        c, control = self.config, nest["CONTROL"]
        start, step = nest.levels()
        passes = np.flatnonzero(start >= control["pass_level"])
        if len(self.tiles) < len(passes):
            return False
        addresses = nest.track(nest["BASE"]["address"], "JUMP")
        accumulators = nest.accumulators() % c.accumulator_depth
        opens = start >= control["group_level"]
        closes = step >= control["group_level"]
        if control["hold"]:
            closes[-1] = False
        bounds = [*passes.tolist(), len(addresses)]
        clear = True
        for begin, end in zip(bounds[:-1], bounds[1:], strict=True):
            clear = bool(opens[begin]) if opens[begin] else False
            part = slice(begin, end)
            self._pass(control, nest, addresses[part], accumulators[part],
                       clear and not control["keep"])
            if closes[end - 1]:
                self.groups.append(self.open)
                self.open = None
        return True

    def _pass(self, control, nest, addresses, accumulators, clear) -> None:
        """Stream one pass against the next tile and add its sums to the open store."""
        c = self.config
        tile = self.tiles.popleft()
        if c.window and control["window"]:
            sums = self._window_sums(control, nest, addresses, tile)
            accumulators = (control["acc_base"] + np.arange(sums.shape[1])) % c.accumulator_depth
        else:
            # products and sums of a pass are exact in float64, and its matrix product is fast
            sums = self._gather(addresses, c.rows).astype(np.float64) @ tile
        sums = _wrap(np.asarray(sums, np.int64), c.psum_bits)
        if self.open is None:
            self.open = np.zeros((len(self.memory), c.accumulator_depth, c.columns), np.int64)
        if len(np.unique(accumulators)) == len(accumulators):
            if clear:
                self.open[:, accumulators] = sums
            else:
                self.open[:, accumulators] = _wrap(self.open[:, accumulators] + sums,
                                                   c.accumulator_bits)
            return
        for i, address in enumerate(accumulators):
            before = 0 if clear else self.open[:, address]
            self.open[:, address] = _wrap(before + sums[:, i], c.accumulator_bits)

    def _window_sums(self, control, nest, addresses, tile):
        """Return the sums of the whole windows of a patch, in the order they are emitted."""
        c = self.config
        width, height = (last + 1 for last in nest.lasts[:2])
        rows, columns = control["window_rows"] + 1, control["window_columns"] + 1
        patch = self._gather(addresses, c.columns).astype(np.int64).reshape(
            -1, height, width, c.columns)
        down, across = control["stride_y"] + 1, control["stride_x"] + 1
        total = 0
        for ky in range(rows):
            for kx in range(columns):
                taps = patch[:, ky:height - rows + 1 + ky:down, kx:width - columns + 1 + kx:across]
                total = total + taps * tile[:, None, None, 3 * ky + kx].astype(np.int64)
        return total.reshape(len(patch), -1, c.columns)

    # -- POST -------------------------------------------------------------------------------

    def _post(self, nest: NestView) -> bool:
        control = nest["CONTROL"]
        if control["fill"]:
            self._fill(nest)
            return True
        start, step = nest.levels()
        begins = np.flatnonzero(start >= control["group_level"])
        apart = self.config.columns // self.config.drain_columns
        if len(self.groups) < -(-len(begins) // apart):
            return False
        addresses = nest.track(nest["WRITE_BASE"]["address"], "WRITE_JUMP")
        residuals = nest.track(nest["RESIDUAL_BASE"]["address"], "RESIDUAL_JUMP")
        accumulators = nest.accumulators() % self.config.accumulator_depth
        ends = [*begins[1:].tolist(), len(addresses)]
        windows = step >= control["pool_level"]
        steps = self._steps(control, step)
        params = nest["PARAM_BASE"]["address"]
        for group, (begin, end) in enumerate(zip(begins, ends, strict=True)):
            if group % apart == 0:
                sums = self.groups.popleft()
            first = group % apart * self.config.drain_columns
            if control["reload"]:
                self.parameters = self._read_parameters(params)
                params += self.config.param_words * self.config.lanes
            part = slice(begin, end)
            self._group(nest, control, self._sums(sums, first), accumulators[part], steps[part],
                        windows[part], addresses[part], residuals[part], end == len(addresses))
        return True

    def _sums(self, group, first):
        """Return a group's sums from a column on."""
        return group[..., first:]

    def _steps(self, control, step) -> np.ndarray:
        """Return the slice of the columns each iteration takes."""
        if self.config.post_steps == 1:
            return np.zeros(len(step), np.int64)
        level = control["pool_level"]
        slices, current = [], 0
        for to in step.tolist():
            slices.append(current)
            current = current + 1 if to == level else 0 if to > level else current
        return np.array(slices)

    def _group(self, nest, control, sums, accumulators, steps, windows, addresses, residuals,
               last):
        c = self.config
        columns = steps[:, None] * c.post_lanes + np.arange(c.post_lanes)
        bias, multiplier, left, right = (values[:, columns] for values in self.parameters)
        x = _wrap(sums[:, accumulators[:, None], columns] + bias, c.sum_bits)
        bounds, zeros = nest["BOUNDS"], nest["ZEROS"]
        if not c.shallow:                        # it shifts the product and has all of its bits
            x = _wrap(x << left, 32) >> left
        y = requantize(x, multiplier, left, right) + zeros["result"]
        y = np.clip(y, bounds["low"], bounds["high"])
        if control["residual"] and c.residual:
            y = self._add(nest, y, residuals)
        ends = np.flatnonzero(windows)
        begins = np.concatenate(([0], ends[:-1] + 1))
        y = np.maximum.reduceat(y, begins, axis=1)
        mask = columns[ends] < control["valid"] if last else np.ones_like(columns[ends], bool)
        self._write(addresses[ends], y, mask)

    def _add(self, nest, y, residuals):
        zeros, scale, bounds = nest["ZEROS"], nest["ADD_SCALE"], nest["ADD_BOUNDS"]
        r = self._gather(residuals, self.config.post_lanes).astype(np.int64)

        def rescale(value, register, shift):
            return requantize(value, nest[register]["multiplier"], 0, scale[shift])

        y, r = (_wrap(value - zeros[zero] << ADD_LEFT_SHIFT, 32)
                for value, zero in ((y, "result"), (r, "residual")))
        operand, whole = (r, y) if scale["scales_residual"] else (y, r)
        total = _wrap(rescale(operand, "ADD_OPERAND", "operand_shift") + (whole >> 1), 32)
        total = rescale(total, "ADD_SUM", "sum_shift") + scale["zero_point"]
        return np.clip(total, bounds["low"], bounds["high"])

    def _read_parameters(self, address):
        """Return bias, multiplier, left and right, each [batch, drain_columns]."""
        c = self.config
        words = self._gather(np.array([address // c.lanes * c.lanes]), c.param_words * c.lanes)
        raw = np.ascontiguousarray(words.reshape(len(words), -1))
        wide = c.param_section_words[0] * c.lanes
        columns = c.drain_columns
        bias = raw[:, :wide].copy().view("<i4")[:, :columns].astype(np.int64)
        multiplier = raw[:, wide:2 * wide].copy().view("<u4")[:, :columns].astype(np.int64)
        shifts = raw[:, 2 * wide:].copy().view("<u2")[:, :columns].astype(np.int64)
        return bias, multiplier & 0x7FFFFFFF, shifts >> 6 & 15, shifts & 31

    def _fill(self, nest: NestView) -> None:
        addresses = nest.track(nest["WRITE_BASE"]["address"], "WRITE_JUMP")
        lanes = self.config.fill_lanes
        mask = np.broadcast_to(np.arange(lanes) < nest["CONTROL"]["valid"], (len(addresses), lanes))
        values = np.full((1, len(addresses), lanes), nest["ZEROS"]["result"])
        self._write(addresses, values, mask)

    def _write(self, addresses, values, mask) -> None:
        places = (addresses % self.size)[:, None] + np.arange(mask.shape[1])
        values = np.broadcast_to(values, (len(self.memory), *mask.shape))
        self.memory[:, places[mask]] = values[:, mask].astype(self.memory.dtype)


def _wrap(values: np.ndarray, bits: int) -> np.ndarray:
    """Return values as a register of ``bits`` holds them."""
    half = 1 << bits - 1
    return (values + half & (1 << bits) - 1) - half
