"""The sliding-window unit: pixels in, row by row; whole windows out, for depthwise convolution."""

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.block_ram import BlockRam
from systolith.hw.config import Config
from systolith.hw.latency import WINDOW_LATENCY
from systolith.hw.multiplier import delayed

__all__ = ["TAP_ROWS", "Window", "WindowTag"]

#: Rows and columns of the largest window.
TAP_ROWS = 3


class WindowTag(data.Struct):
    """What the window unit must know of a pixel; static in a nest but for ``row_end``."""

    #: The pixel belongs to a window nest.
    window: unsigned(1)
    #: Last pixel of its row.
    row_end: unsigned(1)
    #: Rows are shorter than ``Window.LATENCY`` pixels.
    narrow: unsigned(1)
    #: Size of the window minus one.
    rows: unsigned(2)
    columns: unsigned(2)
    #: Strides minus one.
    stride_y: unsigned(2)
    stride_x: unsigned(2)


class Window(wiring.Component):
    """``taps[3 * ky + kx] = pixel(y - rows + ky, x - columns + kx)`` for a pixel (y, x) a cycle.

    Of three pixels one above the other the lower two stay behind in the row memory, at address x,
    where the next pixel of this column finds those above it; of three side by side the right two
    stay in registers. Both chains are entered at the window's last tap (``tag.rows``,
    ``tag.columns``), so a smaller window just leaves taps unused.

    A pixel completes a window when (y, x) is ``(rows, columns)`` or a whole number of strides
    further. Rows shorter than ``LATENCY`` pixels must enter one pixel every ``LATENCY`` cycles: the
    pixel above must be in the row memory before it is read.

    Members
    -------
    valid : :py:`In(1)`
        A pixel enters; cycles without one may come at any time.
    first : :py:`In(1)`
        It is (0, 0) of a new map.
    tag : :py:`In(WindowTag)`
    pixel : :py:`In(ArrayLayout(signed(operand_bits), columns))`
    busy : :py:`Out(1)`
        There are pixels on their way.
    passing, complete : :py:`Out(1)`
        The pixel of ``LATENCY`` cycles ago leaves; it completes a window.
    taps : :py:`Out(ArrayLayout(ArrayLayout(signed(operand_bits), columns), 9))`
        That window, one cycle after ``complete``.
    """

    LATENCY = WINDOW_LATENCY

    def __init__(self, config: Config):
        self.config = config
        self._pixel = data.ArrayLayout(signed(config.operand_bits), config.columns)
        super().__init__({
            "valid": In(1), "first": In(1), "tag": In(WindowTag), "pixel": In(self._pixel),
            "busy": Out(1), "passing": Out(1), "complete": Out(1),
            "taps": Out(data.ArrayLayout(self._pixel, TAP_ROWS * TAP_ROWS)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        entered, first, tag = Signal(), Signal(), Signal(WindowTag)
        looked_up = Signal()
        m.d.sync += [entered.eq(self.valid), first.eq(self.first), tag.eq(self.tag),
                     looked_up.eq(entered), self.passing.eq(looked_up)]
        # registered on its own: ``passing`` has all the taps to move
        busy = Signal()
        m.d.sync += busy.eq(self.valid | entered | looked_up)
        m.d.comb += self.busy.eq(busy)
        x, whole = self._position(m, entered, first, tag)
        completes = Signal()
        m.d.sync += [completes.eq(entered & whole), self.complete.eq(completes)]
        self._pixels(m, x, delayed(m, tag, 2, "tag"))
        return m

    def _position(self, m, entered, first, tag):
        """Return the column of the pixel that entered, and whether it completes a window."""
        x, row_start = Signal(range(self.config.window_width)), Signal(init=1)
        # rows and columns still to pass until the next that completes windows
        rows, columns = Signal(2), Signal(2)
        rows_left, columns_left = Signal(2), Signal(2)
        m.d.comb += [rows_left.eq(Mux(first, tag.rows, rows)),
                     columns_left.eq(Mux(row_start, tag.columns, columns))]
        with m.If(entered):
            m.d.sync += [
                x.eq(Mux(tag.row_end, 0, x + 1)), row_start.eq(tag.row_end), rows.eq(rows_left),
                columns.eq(Mux(columns_left == 0, tag.stride_x, columns_left - 1)),
            ]
            with m.If(tag.row_end):
                m.d.sync += rows.eq(Mux(rows_left == 0, tag.stride_y, rows_left - 1))
        return x, (rows_left == 0) & (columns_left == 0)

    def _pixels(self, m, x, tag):
        """Move pixels up the row memory and left through the taps."""
        pair = data.ArrayLayout(self._pixel, TAP_ROWS - 1)
        width = self.config.window_width
        m.submodules.rows = memory = BlockRam(width=Shape.cast(pair).width,
                                              depth=1 << (width - 1).bit_length())
        m.d.comb += [memory.read.eq(1), memory.read_address.eq(x)]

        # one column of taps: the pixel, and what the row above left behind
        pixel = delayed(m, self.pixel, self.LATENCY, "pixel")
        above = data.View(pair, memory.data)
        column = [Signal(self._pixel, name=f"column{ky}") for ky in range(TAP_ROWS)]
        self._enter_chain(m.d.comb, column, [*above], pixel, tag.rows)
        m.d.comb += [memory.write.eq(self.passing),
                     memory.write_address.eq(delayed(m, x, 2, "x")),
                     memory.write_data.eq(Cat(column[1:]))]

        for ky in range(TAP_ROWS):
            taps = [Signal(self._pixel, name=f"tap{ky}{kx}", reset_less=True)
                    for kx in range(TAP_ROWS)]
            with m.If(self.passing):
                self._enter_chain(m.d.sync, taps, taps[1:], column[ky], tag.columns)
            m.d.comb += [self.taps[TAP_ROWS * ky + kx].eq(tap) for kx, tap in enumerate(taps)]

    @staticmethod
    def _enter_chain(domain, chain, behind, value, last):
        """Move ``behind`` one place up the chain; ``value`` enters at place ``last``."""
        for i, after in enumerate(behind):
            domain += chain[i].eq(Mux(last == i, value, after))
        domain += chain[-1].eq(value)
