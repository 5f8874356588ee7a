import pytest
from amaranth import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.controller import Indicators


class StandIn(wiring.Component):
    """A design of a second's place and route with the accelerator's pins, a memory and a MAC."""

    reset: In(1)
    rx: In(1)
    tx: Out(1)
    indicators: Out(Indicators)

    def __init__(self, build_hash: int):
        self.build_hash = build_hash
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=signed(8), depth=1024, init=[])
        read, write = memory.read_port(), memory.write_port()
        shift, product = Signal(32, init=self.build_hash), Signal(signed(16))
        m.d.sync += [shift.eq(shift << 1 | self.rx),
                     product.eq(read.data * shift[8:16].as_signed())]
        m.d.comb += [read.addr.eq(shift), write.addr.eq(shift), write.data.eq(shift),
                     write.en.eq(shift[31]), self.tx.eq(product.xor()),
                     Cat(self.indicators.busy, self.indicators.fault).eq(shift)]
        return m


@pytest.fixture
def stand_in():
    return lambda target, build_hash: StandIn(build_hash)
