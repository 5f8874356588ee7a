"""The systolic array: activations move right, sums move down, weights stay."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.carry import add_one_of
from systolith.hw.config import Config
from systolith.hw.latency import array_latency
from systolith.hw.multiplier import delayed, multiply_array
from systolith.hw.replica import copy_of

__all__ = ["SystolicArray", "taps"]


class SystolicArray(wiring.Component):
    """``psums[c] = sum over r of vector[r] * weights[r][c]``, a vector a cycle, no stalls.

    What enters PE (r, c) enters it ``r + c`` cycles late: activations, the swap that makes a new
    tile active, and the new tile's rows themselves. So all three are waves that move one row and
    one column a cycle, and the next tile can follow right behind the swap of the one before.

    Loading: word k of a tile is given with ``load`` in cycle t0 + k (no pauses). It holds rows k,
    k + load_words, ... (``load_parts`` of them); part p is delayed by p * load_words cycles, so
    row r reaches its PEs r + 1 cycles after t0. They keep it until the swap, when the multipliers'
    own registers take it. A vector with ``swap`` may enter from cycle t0 + 1 on; if it enters in
    cycle s, word 0 of the next tile may come from cycle s on.

    With ``config.window``, a vector with ``use_taps`` gives PE (r, c), r < 9, element taps[r][c]
    instead of its left neighbour's: depthwise convolution, nine taps a column.

    With ``config.output_stationary`` a vector with ``gather`` meets ``stream`` instead of a tile:
    PE (r, c) adds vector[r] * stream[c] to what it has, its psum, which stays. Then the sums leave,
    as psums do: R cycles without a vector follow, the first with ``drain``. The psums of the last
    gathered vector are the sums of row R - 1, those of the k-th cycle of row R - 2 - k; the R-th
    has none and leaves zeros behind. What is gathered next may come right behind them. Behind other
    vectors it needs a cycle without one, for where there is none zeros enter.

    With ``config.training`` a tile may come ``transposed``: word k (of C, not R) holds column k.
    A tile of the other kind may begin max(R, C) cycles after it.

    Members
    -------
    vector, valid, swap : In
        R signed elements; ``swap`` only with ``valid``.
    load, load_index, load_data : In
        A word of weights. Only word 0 needs ``load``, the others follow; with ``config.training``
        each needs it.
    taps, use_taps : In
        9 x C elements (only with ``config.window``).
    gather, stream, drain : In
        Only with ``config.output_stationary``; ``gather`` only with ``valid``.
    transposed : In
        With ``load``; only with ``config.training``.
    psums : :py:`Out(ArrayLayout(signed(psum_bits), C))`
        Column c of the vector of cycle t is there in cycle t + ``latency`` + c.
    """

    def __init__(self, config: Config):
        self.config = c = config
        element = signed(c.operand_bits)
        members = {
            "vector": In(data.ArrayLayout(element, c.rows)), "valid": In(1), "swap": In(1),
            "load": In(1), "load_index": In(range(c.load_words)),
            "load_data": In(data.ArrayLayout(element, c.lanes)),
            "psums": Out(data.ArrayLayout(signed(c.psum_bits), c.columns)),
        }
        if c.window:
            members["taps"] = In(data.ArrayLayout(data.ArrayLayout(element, c.columns), 9))
            members["use_taps"] = In(1)
        if c.output_stationary:
            members |= {"gather": In(1), "drain": In(1),
                        "stream": In(data.ArrayLayout(element, c.columns))}
        if c.training:
            members["transposed"] = In(1)
        super().__init__(members)

    @property
    def latency(self) -> int:
        """Cycles from a vector to column 0's sum."""
        return array_latency(self.config)

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config
        if c.window:
            self._use = taps(m, self.use_taps, c.rows + c.columns - 1, "use_taps")
        if c.output_stationary:
            self._valid = taps(m, self.valid, c.rows, "valid")
            self._gather = taps(m, self.gather, c.rows + c.multiplier_stages, "gather")
            self._keeps = self._sums_apart(m)

        activations = self._activations(m)
        products = self._products(m, platform, activations, self._weights(m))
        for column in range(c.columns):
            above = Const(0, signed(1))
            for row in range(c.rows):
                above = self._sum(m, platform, row, column, above, products[row][column])
            m.d.comb += self.psums[column].eq(above)
        return m

    def _activations(self, m):
        """Delay row r by r cycles and hand it from column to column."""
        c = self.config
        rows = []
        for r in range(c.rows):
            left = delayed(m, self.vector[r], r, f"row{r}")
            row = []
            for n in range(c.columns):
                source = left
                if c.window and r < 9:
                    tap = delayed(m, self.taps[r][n], r + n, f"tap{r}_{n}")
                    source = Mux(self._use[r + n], tap, left)
                if c.output_stationary and n == 0:
                    source = Mux(self._valid[r], left, 0)
                left = Signal(signed(c.operand_bits), name=f"act{r}_{n}", reset_less=True)
                m.d.sync += left.eq(source)
                row.append(left)
            rows.append(row)
        return rows

    def _weights(self, m):
        """Keep the next weight of every PE; return each with what makes it the active one."""
        c = self.config
        rows, columns = self._words(m)
        start = taps(m, self.load & (self.load_index == 0), 1, "start")[1]
        swap = taps(m, self.swap, 1, "swap")[1]
        if c.output_stationary:
            streams = self._wave(m, self.gather, "streams", own=True)
            start, swap = start | self.gather, swap | self._gather[1]
        takes = self._wave(m, start, "takes", own=c.output_stationary)
        swaps = self._wave(m, swap, "swaps", own=False)  # DSPs of a block share enables
        weights = [[None] * c.columns for _ in range(c.rows)]
        for n in range(c.columns):
            above = None
            for r in range(c.rows):
                part = r // c.load_words
                if r % c.load_words == 0:        # one delay line for the rows of a part
                    bus = delayed(m, rows[part * c.columns + n], part * c.load_words + n,
                                  f"bus{part}_{n}")
                weight = Signal(signed(c.operand_bits), name=f"weight{r}_{n}", reset_less=True)
                source = bus
                if c.training:                   # one of them is zero
                    source = bus | columns[r]
                if c.output_stationary:
                    streamed = above if r else delayed(m, self.stream[n], n, f"stream{n}")
                    source = Mux(streams[r][n], streamed, source)
                with m.If(takes[r][n]):
                    m.d.sync += weight.eq(source)
                weights[r][n] = (weight, swaps[r][n])
                above = weight
        return weights

    def _wave(self, m, value, name, *, own):
        """Return for PE (r, c) what ``value`` was r + c cycles ago.

        A register serves a diagonal. In an array that takes much of the chip each PE may have its
        ``own``, filled by its left neighbour's; those of the first column by the one above.
        """
        c = self.config
        if not own:
            ago = taps(m, value, c.rows + c.columns - 2, name)
            return [ago[r:r + c.columns] for r in range(c.rows)]
        wave = []
        for r, left in enumerate(taps(m, value, c.rows - 1, name)):
            row = [left]
            for n in range(1, c.columns):
                row.append(copy_of(m, row[-1], name=f"{name}{r}_{n}"))
            wave.append(row)
        return wave

    def _words(self, m):
        """Return a word of weights as one of rows, and in training as one of columns by row.

        It is zero as what it is not, so that either can be had without a choice.
        """
        c = self.config
        if not c.training:
            return delayed(m, self.load_data, 1, "words"), None
        rows, columns = (Signal.like(self.load_data, name=name, reset_less=True)
                         for name in ("words", "columns"))
        for kind, chosen in ((rows, self.load & ~self.transposed),
                             (columns, self.load & self.transposed)):
            m.d.sync += kind.as_value().eq(0)
            with m.If(chosen):
                m.d.sync += kind.eq(self.load_data)
        return rows, [delayed(m, columns[r], r, f"across{r}") for r in range(c.rows)]

    def _products(self, m, platform, activations, weights):
        """Multiply, column by column: from the left the DSP columns, then those in the fabric."""
        c = self.config
        products = [[None] * c.columns for _ in range(c.rows)]
        for kind, columns in (("dsp", range(c.columns_of_dsp)),
                              ("lut", range(c.columns_of_dsp, c.columns))):
            places = [(r, n) for n in columns for r in range(c.rows)]
            if not places:
                continue
            results = multiply_array(
                m, platform, [(activations[r][n], *weights[r][n]) for r, n in places], kind=kind,
                stages=c.multiplier_stages, name=f"{kind}_mac")
            for (r, n), product in zip(places, results, strict=True):
                products[r][n] = product
        return products

    def _sums_apart(self, m):
        """Return for each PE, when its product is there, "add it to its own sum".

        A row's sums stay from its first gathered vector on, until all rows' move on at once. A
        register of each PE's own, filled by its left neighbour's, says so: the array takes much of
        the chip.
        """
        c, stages = self.config, self.config.multiplier_stages
        drain = taps(m, self.drain, c.rows + stages, "drain")
        keeps = []
        for r in range(c.rows):
            stays, stayed = Signal(name=f"stays{r}"), Signal(name=f"stayed{r}")
            m.d.comb += stays.eq(self._gather[r + stages]
                                 | (stayed & ~drain[c.rows - 1 + stages]))
            m.d.sync += stayed.eq(stays)
            row = [stays]
            for n in range(c.columns):
                row.append(copy_of(m, row[-1], name=f"keeps{r}_{n}"))
            keeps.append(row[1:])
        return keeps

    def _sum(self, m, platform, row, column, above, product):
        c = self.config
        psum = Signal(signed(c.psum_bits), name=f"psum{row}_{column}", reset_less=True)
        total = add_one_of(m, platform, product, self._keeps[row][column], psum, above,
                           bits=c.psum_bits, name=f"total{row}_{column}"
                           ) if c.output_stationary else above + product
        m.d.sync += psum.eq(total)
        return psum


def taps(m, value, count, name):
    """Return ``value`` now and 1, 2, ... ``count`` cycles ago."""
    values = [value]
    for i in range(count):
        later = Signal(name=f"{name}_{i + 1}")
        m.d.sync += later.eq(values[-1])
        values.append(later)
    return values
