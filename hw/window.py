"""The sliding-window unit: pixels in, row by row; whole windows out, for depthwise convolution."""

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.block_ram import BlockRam
from systolith.hw.config import Config
from systolith.hw.latency import WINDOW_LATENCY
from systolith.hw.multiplier import delayed
from systolith.hw.replica import copy_of

__all__ = ["TAP_ROWS", "Window", "WindowTag"]

#: Rows and columns of the largest window.
TAP_ROWS = 3


class WindowTag(data.Struct):
    """What the window unit must know of a pixel; static in a nest but for ``row_end``."""

    #: The pixel belongs to a window nest.
    window: unsigned(1)
    #: Last pixel of its row.
    row_end: unsigned(1)
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
        looked_up, found = Signal(), Signal()
        m.d.sync += [
            entered.eq(self.valid), first.eq(self.first), tag.eq(self.tag), looked_up.eq(entered),
            found.eq(looked_up), self.passing.eq(found),
            self.busy.eq(self.valid | entered | looked_up | found),
        ]
        x, whole = self._position(m, entered, first, tag)
        completes = delayed(m, entered & whole, 2, "completes")
        m.d.sync += self.complete.eq(completes)
        self._pixels(m, x, tag, found)
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

    def _pixels(self, m, x, tag, found):
        """Move pixels up the row memory and left through the taps.

        Each column of the array has its own copies of what moves its elements: there are many.
        """
        pair = data.ArrayLayout(self._pixel, TAP_ROWS - 1)
        width = self.config.window_width
        m.submodules.rows = memory = BlockRam(width=Shape.cast(pair).width,
                                              depth=1 << (width - 1).bit_length())
        m.d.comb += [memory.read.eq(1), memory.read_address.eq(x)]

        # one column of taps: the pixel, and what the row above left behind
        pixel = delayed(m, self.pixel, self.LATENCY - 1, "pixel")
        above = data.View(pair, memory.data)
        column = [Signal(self._pixel, name=f"column{ky}", reset_less=True)
                  for ky in range(TAP_ROWS)]
        taps = [[Signal(self._pixel, name=f"tap{ky}{kx}", reset_less=True)
                 for kx in range(TAP_ROWS)] for ky in range(TAP_ROWS)]
        rows, columns = delayed(m, tag.rows, 1, "rows"), delayed(m, tag.columns, 2, "columns")
        for n in range(self.config.columns):
            row = copy_of(m, _chosen(rows), name=f"row{n}")
            self._enter_chain(m, column, above, pixel, row, n)
            last = copy_of(m, _chosen(columns), name=f"last{n}")
            with m.If(copy_of(m, found, name=f"passing{n}")):
                for ky in range(TAP_ROWS):
                    self._enter_chain(m, taps[ky], taps[ky][1:], column[ky], last, n)
        m.d.comb += [
            memory.write.eq(copy_of(m, found, name="stores")),
            memory.write_address.eq(delayed(m, x, self.LATENCY - 1, "x")),
            memory.write_data.eq(Cat(column[1:])),
            *(self.taps[TAP_ROWS * ky + kx].eq(taps[ky][kx])
              for ky in range(TAP_ROWS) for kx in range(TAP_ROWS)),
        ]

    @staticmethod
    def _enter_chain(m, chain, behind, value, enters, n):
        """Move element n of ``behind`` one place up the chain; that of ``value`` enters."""
        for i in range(TAP_ROWS - 1):
            m.d.sync += chain[i][n].eq(Mux(enters[i], value[n], behind[i][n]))
        m.d.sync += chain[-1][n].eq(value[n])


def _chosen(last):
    """Return one bit for each place but the highest: the chain is entered there."""
    return Cat(last == i for i in range(TAP_ROWS - 1))
