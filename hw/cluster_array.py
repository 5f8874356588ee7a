"""The array of clusters: rows are added before a register, columns share activations."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.array import waves
from systolith.hw.carry import add_all, multiply_on_carries
from systolith.hw.config import Config
from systolith.hw.latency import array_latency, load_cycle, part_delay
from systolith.hw.multiplier import delayed, multiply_held

__all__ = ["ClusterArray"]


class ClusterArray(wiring.Component):
    """``psums[c] = sum over r of vector[r] * weights[r][c]``, a vector a cycle, no stalls.

    The rows and columns of a cluster work in the same cycle. What enters cluster (i, k) enters it
    ``i + k`` cycles late: activations and the swap that makes a new tile active. The products of
    its rows are added, with the sum from above, into one register a column. So psums, activations
    and all that delays them take as many flip-flops as an array of so many clusters; between two
    registers lie a product, or the sum of a cluster, instead of a part of either.

    Loading: word k of a tile is given with ``load`` in cycle t0 + k (no pauses). A vector with
    ``swap`` may enter from cycle t0 + ``claimable_word`` + 1 on; if it enters in cycle s, word 0 of
    the next tile may come from cycle s on.

    With ``config.window``, a vector with ``use_taps`` gives row r < 9 of column c element
    taps[r][c]: depthwise convolution, nine taps a column.

    Members
    -------
    vector, valid, swap : In
        R signed elements.
    load, load_index, load_data : In
        A word of weights.
    taps, use_taps : In
        9 x C elements (only with ``config.window``).
    psums : :py:`Out(ArrayLayout(signed(psum_bits), C))`
        Column c of the vector of cycle t, in cycle t + ``latency`` + c // ``cluster_columns``.
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
        super().__init__(members)

    @property
    def latency(self) -> int:
        """Cycles from a vector to column 0's sum."""
        return array_latency(self.config)

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config
        below, columns = c.row_clusters - 1, c.column_clusters
        self._swap = waves(m, self.swap & self.valid, below, columns, "swap")
        self._start = waves(m, self.load & (self.load_index == 0),
                            max(load_cycle(c, r) for r in range(c.rows)), columns, "start")
        if c.window:
            self._use = waves(m, self.use_taps, below, columns, "use_taps")
        lefts = [delayed(m, self.vector[r], r // c.cluster_rows, f"row{r}") for r in range(c.rows)]
        for k in range(c.column_clusters):
            columns = range(k * c.cluster_columns, min((k + 1) * c.cluster_columns, c.columns))
            entering = [[self._entering(m, r, n, lefts[r]) for n in columns]
                        for r in range(c.rows)]
            kept = [self._kept(m, r, k, entering[r]) for r in range(c.rows)]
            for i, n in enumerate(columns):
                products = self._products(m, platform, n, [row[i] for row in entering],
                                          [row[i % len(row)] for row in kept])
                self._sums(m, platform, n, products)
            lefts = [row[0] for row in kept]
        return m

    def _entering(self, m, row, column, left):
        """Return what enters: the left neighbour's activation, or a tap of the column's own."""
        c = self.config
        if not c.window or row >= 9:
            return left
        i, k = row // c.cluster_rows, column // c.cluster_columns
        tap = delayed(m, self.taps[row][column], i + k, f"tap{row}_{column}")
        source = Signal.like(tap, name=f"source{row}_{column}")
        m.d.comb += source.eq(Mux(self._use[k][i], tap, left))
        return source

    def _kept(self, m, row, k, entering):
        """Register a row's activations: one for the cluster, or with taps one for each column."""
        shared = not self.config.window or row >= 9
        return [delayed(m, value, 1, f"act{row}_{k}_{i}")
                for i, value in enumerate(entering[:1] if shared else entering)]

    def _products(self, m, platform, column, entering, kept):
        """Multiply a column by its weights: in DSPs, which register for themselves, or fabric."""
        c = self.config
        shadows = self._shadows(m, column)
        products = []
        for i, start in enumerate(range(0, c.rows, c.cluster_rows)):
            rows = range(start, min(start + c.cluster_rows, c.rows))
            swap = self._swap[column // c.cluster_columns][i]
            if column < c.columns_of_dsp:
                products += multiply_held(m, platform, [(entering[r], shadows[r]) for r in rows],
                                          take=swap, name=f"dsp_mac{column}_{i}_")
                continue
            for r in rows:
                weight = Signal.like(shadows[r], name=f"weight{r}_{column}", reset_less=True)
                with m.If(swap):
                    m.d.sync += weight.eq(shadows[r])
                products.append(multiply_on_carries(m, platform, kept[r], weight, 1,
                                                    name=f"lut_mac{r}_{column}"))
        return products

    def _shadows(self, m, column):
        """Return the registers of a column of the next tile."""
        c = self.config
        shadows, k = [], column // c.cluster_columns
        for r in range(c.rows):
            part = r // c.load_words
            if r % c.load_words == 0:            # one delay line for the rows of a part
                bus = delayed(m, self.load_data[part * c.columns + column],
                              part_delay(c, part) + k, f"bus{part}_{column}")
            shadow = Signal(signed(c.operand_bits), name=f"shadow{r}_{column}", reset_less=True)
            with m.If(self._start[k][load_cycle(c, r)]):
                m.d.sync += shadow.eq(bus)
            shadows.append(shadow)
        return shadows

    def _sums(self, m, platform, column, products):
        """Add a column's products, cluster by cluster."""
        c = self.config
        above = []
        for i in range(c.row_clusters):
            terms = above + products[i * c.cluster_rows:(i + 1) * c.cluster_rows]
            psum = Signal(signed(c.psum_bits), name=f"psum{i}_{column}", reset_less=True)
            m.d.sync += psum.eq(add_all(m, platform, terms, bits=c.psum_bits,
                                        name=f"sum{i}_{column}"))
            above = [psum]
        m.d.comb += self.psums[column].eq(above[0])
