"""What LOAD and POST engines of every kind of pipeline look like from outside."""

from amaranth.hdl import signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.descriptor import descriptor_port
from systolith.hw.isa import Engine
from systolith.hw.memory import read_port, vector_write_port

__all__ = ["load_members", "post_members"]


def load_members(config: Config) -> dict:
    """Return the members that :class:`systolith.hw.load.LoadEngine` explains."""
    return {
        "descriptor": In(descriptor_port(config, Engine.LOAD)),
        "completed": In(data.ArrayLayout(config.token_bits, len(Engine))),
        "memory": Out(read_port(config)),
        "load": Out(1), "load_index": Out(range(config.load_words)),
        "load_data": Out(data.ArrayLayout(config.operand_bits, config.lanes)),
        "tile_ready": Out(1), "swap": In(1), "finished": Out(1), "idle": Out(1),
    }


def post_members(config: Config) -> dict:
    """Return the members that :class:`systolith.hw.post.PostEngine` explains."""
    sums = data.ArrayLayout(signed(config.accumulator_bits), config.columns)
    return {
        "descriptor": In(descriptor_port(config, Engine.POST)),
        "completed": In(data.ArrayLayout(config.token_bits, len(Engine))),
        "memory": Out(read_port(config)), "write": Out(vector_write_port(config)),
        "filled": In(2), "release": Out(2), "drain_store": Out(1),
        "drain_address": Out(config.acc_address_bits), "drained": In(sums),
        "finished": Out(1), "idle": Out(1),
    }
